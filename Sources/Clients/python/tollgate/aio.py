"""An asyncio client: one connection, requests pipelined, answers matched by their id."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import TYPE_CHECKING, Mapping, Optional, Sequence, TypeVar

from . import replies, wire
from .calls import AsyncListing, Awaited, Request
from .client import is_without_answer
from .errors import MalformedReply, TimedOut, TollgateError, Unreachable
from .groups import Groups
from .holds import AsyncHold
from .replies import Decision, Hello, Usage

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")


class AsyncClient(Groups[Awaited]):
    """Asks the daemon from any number of tasks of one event loop.

    As `Client`: connects when first used and again after the daemon ended the connection, a
    deadline of `timeout` seconds for all that a request waits for, no request sent twice if a byte
    of it may have arrived, but for calls that only read and what the daemon knows again, denies
    without an answer unless told otherwise. The answer to a request that was cancelled or ran out
    of time is dropped when it comes.
    """

    def __init__(
        self, path: str = "/run/tollgate/tollgate.sock", timeout: float = 1.0,
        *, fail_open: bool = False,
    ) -> None:
        self.path, self.timeout, self.fail_open = path, timeout, fail_open
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        # Made in the loop that uses it, as Python 3.9 wants.
        self._connecting: Optional[asyncio.Lock] = None
        self._connection: Optional[_Connection] = None
        super().__init__(self._call, AsyncListing)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._loop is asyncio.get_running_loop():
            await connection.close()

    async def check(
        self, credential: str, *, idempotent: bool = False, **question: "Unpack[wire.Question]",
    ) -> Decision:
        again = wire.identify(question, idempotent)
        body = wire.check_body(credential, **question)
        return replies.decision(await self._request(wire.CHECK, body, is_known_again=again))

    async def reserve(
        self, credential: str, *, idempotent: bool = False, **estimate: "Unpack[wire.Estimate]",
    ) -> AsyncHold:
        """Holds an estimate until it is settled: `async with await client.reserve(…) as hold:`."""
        again = wire.identify(estimate, idempotent)
        body = wire.reserve_body(credential, **estimate)
        answer = await self._request(wire.RESERVE, body, is_known_again=again)
        return AsyncHold(self, replies.reserved(answer))

    async def extend(
        self, reservation: bytes, units: Optional[Mapping[str, int]] = None,
        used: Optional[Mapping[str, int]] = None, *, ttl_ms: int = 0, explain: bool = False,
    ) -> Decision:
        """Whether work under a reservation may go on: allowed, or to be stopped."""
        body = wire.extend_body(reservation, units, used, ttl_ms=ttl_ms, explain=explain)
        return replies.decision(await self._request(wire.EXTEND, body, is_known_again=True))

    async def settle(
        self, reservation: bytes, units: Optional[Mapping[str, int]] = None,
        *, explain: bool = False,
    ) -> Decision:
        """Ends a reservation with what was used; a meter without units at its estimate."""
        body = wire.settle_body(reservation, units, explain=explain)
        return replies.decision(await self._request(wire.SETTLE, body, is_known_again=True))

    async def cancel(self, reservation: bytes, *, explain: bool = False) -> Decision:
        """Ends a reservation, and charges nothing."""
        body = wire.cancel_body(reservation, explain=explain)
        return replies.decision(await self._request(wire.CANCEL, body, is_known_again=True))

    async def check_many(self, bodies: Sequence[bytes]) -> "list[Decision]":
        """Bodies made by `wire.check_body`, sent at once; decisions in their order. Raises when
        one of them has no decision; the others may have been charged then."""
        decisions: "list[Decision]" = []
        for start in range(0, len(bodies), wire.IN_FLIGHT_MAX):
            tasks = [
                asyncio.ensure_future(self._request(wire.CHECK, body))
                for body in bodies[start : start + wire.IN_FLIGHT_MAX]
            ]
            try:
                decisions += map(replies.decision, await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        return decisions

    async def is_allowed(
        self, credential: str, *, fail_open: Optional[bool] = None,
        **question: "Unpack[wire.Question]",
    ) -> bool:
        """Whether the caller may go on; where the daemon cannot be asked, only if `fail_open`.
        A request at fault itself (InvalidRequest, Refused), or a reply (MalformedReply), raises,
        open or not."""
        try:
            return (await self.check(credential, **question)).allowed
        except TollgateError as error:
            if not is_without_answer(error):
                raise
            return self.fail_open if fail_open is None else fail_open

    async def consume(
        self, organization: str, user: str, plan: str, operation: str,
        units: Mapping[str, int], *, personal: bool = False, dry_run: bool = False,
        explain: bool = False, idempotent: bool = False, idempotency_id: Optional[bytes] = None,
    ) -> Decision:
        if idempotent and idempotency_id is None:
            idempotency_id = wire.new_id()
        body = wire.consume_body(
            organization, user, plan, operation, units, personal=personal, dry_run=dry_run,
            explain=explain, idempotency_id=idempotency_id)
        again = idempotency_id is not None
        return replies.decision(await self._request(wire.CONSUME, body, is_known_again=again))

    async def usage(
        self, organization: str, user: str = "", plan: str = "", personal: bool = False
    ) -> Usage:
        body = wire.usage_body(organization, user, plan, personal)
        return replies.usage(await self._request(wire.USAGE, body))

    async def ping(self, payload: bytes = b"ping") -> bytes:
        body = wire.ping_body(payload)
        return replies.ping(await self._request(wire.PING, body), body)

    async def hello(self, name: str = "python-asyncio") -> Hello:
        """The daemon's version, the generation of its policy, and its ceilings."""
        return replies.hello(await self._request(wire.HELLO, wire.hello_body(name)))

    async def stats(self) -> "dict[str, int]":
        """On the admin socket; on the data socket for the role observe.

        How many numbers found no room in the reply is one of them, `STATS_LEFT_OUT`: while it is
        not 0, what is missing need not be 0.
        """
        return replies.stats(await self._request(wire.STATS, b""))

    async def reload(self) -> int:
        """On the admin socket: the generation of the policy now in force."""
        return replies.generation(await self._request(wire.RELOAD, b""))

    async def shutdown(self, grace_ms: int = 5_000) -> None:
        """On the admin socket: ends the daemon."""
        body = wire.shutdown_body(grace_ms)
        replies.nothing(await self._request(wire.SHUTDOWN, body))

    async def _call(self, request: "Request[T]") -> T:
        body = request.body()
        return request.answer(await self._request(wire.CALL, body, request.only_reads))

    async def _request(
        self, opcode: int, body: bytes, only_reads: bool = False, *, is_known_again: bool = False,
    ) -> bytes:
        asking = (
            self._persist(opcode, body) if is_known_again else self._ask(opcode, body, only_reads))
        try:
            return await asyncio.wait_for(asking, self.timeout)
        except asyncio.TimeoutError:
            raise TimedOut(f"no answer within {self.timeout} s") from None

    async def _persist(self, opcode: int, body: bytes) -> bytes:
        """Asks until there is an answer, also of a daemon that is started anew meanwhile."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout
        for pause in wire.pauses():
            try:
                return await self._ask(opcode, body, True)
            except _Closed:
                raise
            except Unreachable:
                if deadline - loop.time() <= pause:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("not reached")

    async def _ask(self, opcode: int, body: bytes, again: bool) -> bytes:
        while True:
            connection = await self._connect()
            try:
                status, reply = await connection.ask(opcode, body)
            except _NothingSent:
                continue
            except _Closed:
                raise
            except Unreachable:
                if not again:
                    raise
                again = False
                continue
            if status:
                raise replies.refusal(status, reply)
            return reply

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._connecting is None:
            # The connection of another loop, which has ended, is not of use here.
            self._loop, self._connecting, self._connection = loop, asyncio.Lock(), None
        async with self._connecting:
            connection = self._connection
            if connection is not None and connection.has_ended():
                await connection.close()
                self._connection = connection = None
            if connection is None:
                try:
                    made = await _connected(self.path)
                    connection = _Connection(
                        self.path, *await asyncio.open_unix_connection(sock=made))
                except OSError as error:
                    raise Unreachable(f"{self.path}: {error}") from error
                self._connection = connection
            return connection


class _NothingSent(Exception):
    """The connection ended while a request waited for its turn on it."""


class _Closed(Unreachable):
    """By who uses the client."""


class _Connection:
    """One connection and the requests on it that have no answer yet."""

    def __init__(
        self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.path, self.reader, self.writer = path, reader, writer
        self.next_id = 1
        # By request id: the opcode of the answer, and who waits for it; a request given up stays
        # until its answer comes, and keeps its place among those in flight.
        self.waiting: "dict[int, tuple[int, asyncio.Future[tuple[int, bytes]]]]" = {}
        self.places = asyncio.Semaphore(wire.IN_FLIGHT_MAX)
        self.failure: Optional[TollgateError] = None
        self.poll = select.poll()
        self.poll.register(writer.get_extra_info("socket").fileno(), select.POLLRDHUP)
        self.listener = asyncio.ensure_future(self._listen())

    def has_ended(self) -> bool:
        """Known, or not yet told by the event loop."""
        return self.failure is not None or bool(self.poll.poll(0))

    async def close(self) -> None:
        """Takes what has come, if it ended by itself."""
        if not self.has_ended():
            self.listener.cancel()
        await asyncio.gather(self.listener, return_exceptions=True)
        self._fail(_Closed("closed"))

    async def ask(self, opcode: int, body: bytes) -> "tuple[int, bytes]":
        await self.places.acquire()
        if self.failure is not None:
            self.places.release()
            raise _NothingSent()
        identity = self.next_id
        self.next_id += 1
        answer: "asyncio.Future[tuple[int, bytes]]"
        answer = asyncio.get_running_loop().create_future()
        self.waiting[identity] = (opcode | wire.REPLY, answer)
        try:
            self.writer.write(wire.frame(opcode, identity, body))
            try:
                await self.writer.drain()
            except OSError:
                pass  # the listener learns of it too, after the answers that came before
            return await answer
        finally:
            answer.cancel()

    async def _listen(self) -> None:
        failure: TollgateError = _Closed("closed")
        try:
            while True:
                header = replies.header(await self.reader.readexactly(wire.HEADER.size))
                body = await self.reader.readexactly(header.body_bytes)
                if header.is_about_the_connection:
                    raise replies.end_of_connection(header.status, body)
                opcode, answer = self.waiting.get(header.request_id, (0, None))
                if answer is None or opcode != header.opcode:
                    raise MalformedReply("the answer to a request that was not asked")
                del self.waiting[header.request_id]
                self.places.release()
                if not answer.done():
                    answer.set_result((header.status, body))
                if header.ends_the_connection:
                    raise Unreachable(f"{self.path}: the daemon ends the connection")
        except (asyncio.IncompleteReadError, OSError) as error:
            failure = Unreachable(f"{self.path}: {error}")
        except TollgateError as error:
            failure = error
        finally:
            self._fail(failure)

    def _fail(self, error: TollgateError) -> None:
        if self.failure is not None:
            return
        self.failure = error
        self.writer.close()
        for _, answer in self.waiting.values():
            self.places.release()
            if not answer.done():
                answer.set_exception(error)
        self.waiting = {}


async def _connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.setblocking(False)
    try:
        while True:
            try:
                made.connect(path)
                return made
            except BlockingIOError:
                # The daemon's queue of connections is full (unix(7)); the caller has a deadline.
                await asyncio.sleep(0.002)
    except BaseException:
        made.close()
        raise
