"""A blocking client: one connection, safe to share between threads, a deadline per request."""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Mapping, Optional, Sequence, TypeVar

from . import replies, wire
from .calls import Blocking, Listing, Request
from .errors import DAEMONS_OWN, MalformedReply, Refused, TimedOut, TollgateError, Unreachable
from .groups import Groups
from .holds import Hold
from .replies import Decision, Hello, Usage

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")


def is_without_answer(error: TollgateError) -> bool:
    """Whether the daemon could not be asked. A request that it refuses for the request's own
    faults is no such case: a caller could bring that about, and pass where failing is open."""
    if isinstance(error, Refused):
        return error.code in DAEMONS_OWN
    return not isinstance(error, MalformedReply)


class Client(Groups[Blocking]):
    """Asks the daemon, and raises TollgateError when there is no answer.

    Connects when first used, and again when the daemon has ended the connection. A request is
    sent again only if surely no byte of it arrived, or if it is a call that only reads; a call
    that changes something and has no answer may have been carried out. What the daemon knows
    again is repeated, over new connections, as long as there is time: a request that carries an
    idempotency id (`idempotent=True` draws one), and those that extend, settle and cancel.
    `timeout`, in seconds, holds for everything a request waits for. What no answer means is for
    the caller to state: `is_allowed` denies unless told otherwise, here for all its requests or
    there for one.
    """

    def __init__(
        self, path: str = "/run/tollgate/tollgate.sock", timeout: float = 1.0,
        *, fail_open: bool = False,
    ) -> None:
        self.path, self.timeout, self.fail_open = path, timeout, fail_open
        self._lock = threading.Lock()
        self._link: Optional[_Link] = None
        super().__init__(self._call, Listing)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._drop()

    def check(
        self, credential: str, *, idempotent: bool = False, **question: "Unpack[wire.Question]",
    ) -> Decision:
        again = wire.identify(question, idempotent)
        body = wire.check_body(credential, **question)
        return replies.decision(self._request(wire.CHECK, body, again))

    def reserve(
        self, credential: str, *, idempotent: bool = False, **estimate: "Unpack[wire.Estimate]",
    ) -> Hold:
        """Holds an estimate until it is settled: `with client.reserve(…) as hold:`."""
        again = wire.identify(estimate, idempotent)
        body = wire.reserve_body(credential, **estimate)
        return Hold(self, replies.reserved(self._request(wire.RESERVE, body, again)))

    def extend(
        self, reservation: bytes, units: Optional[Mapping[str, int]] = None,
        used: Optional[Mapping[str, int]] = None, *, ttl_ms: int = 0, explain: bool = False,
    ) -> Decision:
        """Whether work under a reservation may go on: allowed, or to be stopped."""
        body = wire.extend_body(reservation, units, used, ttl_ms=ttl_ms, explain=explain)
        return replies.decision(self._request(wire.EXTEND, body, True))

    def settle(
        self, reservation: bytes, units: Optional[Mapping[str, int]] = None,
        *, explain: bool = False,
    ) -> Decision:
        """Ends a reservation with what was used; a meter without units at its estimate."""
        body = wire.settle_body(reservation, units, explain=explain)
        return replies.decision(self._request(wire.SETTLE, body, True))

    def cancel(self, reservation: bytes, *, explain: bool = False) -> Decision:
        """Ends a reservation, and charges nothing."""
        body = wire.cancel_body(reservation, explain=explain)
        return replies.decision(self._request(wire.CANCEL, body, True))

    def check_many(self, bodies: Sequence[bytes]) -> "list[Decision]":
        """Bodies made by `wire.check_body`, sent at once; decisions in their order. Raises when
        one of them has no decision; the others may have been charged then."""
        decisions: "list[Decision]" = []
        for start in range(0, len(bodies), wire.IN_FLIGHT_MAX):
            part = self._exchange(wire.CHECK, bodies[start : start + wire.IN_FLIGHT_MAX])
            decisions += map(replies.decision, part)
        return decisions

    def is_allowed(
        self, credential: str, *, fail_open: Optional[bool] = None,
        **question: "Unpack[wire.Question]",
    ) -> bool:
        """Whether the caller may go on; where the daemon cannot be asked, only if `fail_open`.
        A request at fault itself (InvalidRequest, Refused), or a reply (MalformedReply), raises,
        open or not."""
        try:
            return self.check(credential, **question).allowed
        except TollgateError as error:
            if not is_without_answer(error):
                raise
            return self.fail_open if fail_open is None else fail_open

    def consume(
        self, organization: str, user: str, plan: str, operation: str,
        units: Mapping[str, int], *, personal: bool = False, dry_run: bool = False,
        explain: bool = False, idempotent: bool = False, idempotency_id: Optional[bytes] = None,
    ) -> Decision:
        if idempotent and idempotency_id is None:
            idempotency_id = wire.new_id()
        body = wire.consume_body(
            organization, user, plan, operation, units, personal=personal, dry_run=dry_run,
            explain=explain, idempotency_id=idempotency_id)
        return replies.decision(self._request(wire.CONSUME, body, idempotency_id is not None))

    def usage(
        self, organization: str, user: str = "", plan: str = "", personal: bool = False
    ) -> Usage:
        body = wire.usage_body(organization, user, plan, personal)
        return replies.usage(self._request(wire.USAGE, body))

    def ping(self, payload: bytes = b"ping") -> bytes:
        body = wire.ping_body(payload)
        return replies.ping(self._request(wire.PING, body), body)

    def hello(self, name: str = "python") -> Hello:
        """The daemon's version, the generation of its policy, and its ceilings."""
        return replies.hello(self._request(wire.HELLO, wire.hello_body(name)))

    def stats(self) -> "dict[str, int]":
        """On the admin socket; on the data socket for the role observe.

        How many numbers found no room in the reply is one of them, `STATS_LEFT_OUT`: while it is
        not 0, what is missing need not be 0.
        """
        return replies.stats(self._request(wire.STATS, b""))

    def reload(self) -> int:
        """On the admin socket: the generation of the policy now in force."""
        return replies.generation(self._request(wire.RELOAD, b""))

    def shutdown(self, grace_ms: int = 5_000) -> None:
        """On the admin socket: ends the daemon."""
        replies.nothing(self._request(wire.SHUTDOWN, wire.shutdown_body(grace_ms)))

    def _call(self, request: "Request[T]") -> T:
        body = request.body()
        return request.answer(self._exchange(wire.CALL, [body], request.only_reads)[0])

    def _request(self, opcode: int, body: bytes, is_known_again: bool = False) -> bytes:
        return self._exchange(opcode, [body], is_known_again=is_known_again)[0]

    def _exchange(
        self, opcode: int, bodies: Sequence[bytes], only_reads: bool = False,
        *, is_known_again: bool = False,
    ) -> "list[bytes]":
        deadline = time.monotonic() + self.timeout
        if not self._lock.acquire(timeout=max(0.0, self.timeout)):
            raise TimedOut(f"no turn within {self.timeout} s")
        try:
            if not is_known_again:
                return self._attempt(opcode, bodies, deadline, only_reads)
            return self._persist(opcode, bodies, deadline)
        finally:
            # What is still to come on this connection must not answer a later request.
            if self._link is not None and not self._link.is_at_rest:
                self._drop()
            self._lock.release()

    def _persist(self, opcode: int, bodies: Sequence[bytes], deadline: float) -> "list[bytes]":
        """Asks until there is an answer, also of a daemon that is started anew meanwhile."""
        for pause in wire.pauses():
            try:
                return self._attempt(opcode, bodies, deadline, True)
            except Unreachable:
                if deadline - time.monotonic() <= pause:
                    raise
            time.sleep(pause)
        raise AssertionError("not reached")

    def _attempt(
        self, opcode: int, bodies: Sequence[bytes], deadline: float, only_reads: bool
    ) -> "list[bytes]":
        if self._link is not None and self._link.is_stale():
            self._drop()
        for last in (False, True):
            if self._link is None:
                self._link = _Link(self.path, deadline)
            try:
                return self._link.exchange(opcode, bodies, deadline)
            except Unreachable as error:
                self._drop()
                if last or not (only_reads or isinstance(error, _NothingArrived)):
                    raise
        raise AssertionError("not reached")

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()


class _NothingArrived(Unreachable):
    """The connection ended before any byte of the request was taken."""


class _Link:
    """One connection, for one exchange at a time."""

    def __init__(self, path: str, deadline: float) -> None:
        self.path, self.process = path, os.getpid()
        self.socket = _connected(path, deadline)
        self.poll = select.poll()
        self.next_id = 1
        self.received = bytearray()
        # Every request has its answer, and the daemon did not say that it ends the connection.
        self.is_at_rest = True

    def close(self) -> None:
        self.socket.close()

    def is_stale(self) -> bool:
        """Ended by the daemon, or of the process that this one was forked from. Nothing is
        expected between exchanges, so whatever there is to read ends the connection."""
        self.poll.register(self.socket, select.POLLIN)
        return self.process != os.getpid() or bool(self.poll.poll(0))

    def exchange(
        self, opcode: int, bodies: Sequence[bytes], deadline: float
    ) -> "list[bytes]":
        first = self.next_id
        self.next_id += len(bodies)
        frames = memoryview(b"".join(
            wire.frame(opcode, first + index, body) for index, body in enumerate(bodies)))
        answers: "dict[int, bytes]" = {}
        refused: Optional[Refused] = None
        self.is_at_rest = False
        total, rest = len(frames), self._send(frames)
        # Reads while it still writes: the daemon stops reading from who does not read.
        while len(answers) < len(bodies):
            if not self._take(deadline, writing=bool(rest)):
                if len(rest) == total and not answers:
                    raise _NothingArrived(f"{self.path}: the connection has ended")
                raise Unreachable(f"{self.path}: the connection ended before the answer")
            for header, body in self._frames():
                if header.is_about_the_connection:
                    raise replies.end_of_connection(header.status, body)
                index = header.request_id - first
                if not 0 <= index < len(bodies) or index in answers:
                    raise MalformedReply("the answer to a request that was not asked")
                if header.opcode != opcode | wire.REPLY:
                    raise MalformedReply("the answer to another opcode")
                if header.ends_the_connection:
                    raise replies.refusal(header.status, body)
                if header.status and refused is None:
                    refused = replies.refusal(header.status, body)
                answers[index] = body
            rest = self._send(rest)
        self.is_at_rest = True
        if refused is not None:
            raise refused
        return [answers[index] for index in range(len(bodies))]

    def _send(self, frames: memoryview) -> memoryview:
        """What is left to send. A connection that takes no more may still have answers."""
        while frames:
            try:
                frames = frames[self.socket.send(frames) :]
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                    raise Unreachable(f"{self.path}: {error}") from error
                break
        return frames

    def _take(self, deadline: float, writing: bool) -> bool:
        """Waits until there is more, or room to write; False at the end."""
        left = deadline - time.monotonic()
        self.poll.register(self.socket, select.POLLIN | (select.POLLOUT if writing else 0))
        if left <= 0 or not self.poll.poll(math.ceil(left * 1_000)):
            raise TimedOut(f"no answer from {self.path} in time")
        try:
            part = self.socket.recv(65_536)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        self.received += part
        return bool(part)

    def _frames(self) -> "list[tuple[replies.Header, bytes]]":
        """The whole frames among what was received."""
        found = []
        at = 0
        while len(self.received) - at >= wire.HEADER.size:
            header = replies.header(self.received[at : at + wire.HEADER.size])
            end = at + wire.HEADER.size + header.body_bytes
            if len(self.received) < end:
                break
            found.append((header, bytes(self.received[at + wire.HEADER.size : end])))
            at = end
        del self.received[:at]
        return found


def _connected(path: str, deadline: float) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.setblocking(False)
    try:
        while True:
            try:
                made.connect(path)
                return made
            except BlockingIOError:
                # The daemon's queue of connections is full (unix(7)).
                if time.monotonic() >= deadline:
                    raise TimedOut(f"{path}: no connection in time") from None
                time.sleep(0.002)
    except OSError as error:
        made.close()
        raise Unreachable(f"{path}: {error}") from error
    except BaseException:
        made.close()
        raise
