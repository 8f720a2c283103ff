"""A blocking client: one connection, safe to share between threads, a deadline per request."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Any, Mapping, Optional, Sequence

from . import wire
from .wire import Decision, MalformedReply, Refused, TimedOut, Unreachable, Usage


class Client:
    """Asks the daemon, and raises TollgateError when there is no answer.

    What no answer means is for the caller to state; `is_allowed` denies unless told otherwise.
    """

    def __init__(self, path: str = "/run/tollgate/tollgate.sock", timeout: float = 1.0) -> None:
        self.path, self.timeout = path, timeout
        self._lock = threading.Lock()
        self._socket: Optional[socket.socket] = None
        self._next_id = 1

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._drop()

    def check(self, token: str, **question: Any) -> Decision:
        return wire.decision(self._request(wire.CHECK, wire.check_body(token, **question)))

    def check_many(self, bodies: Sequence[bytes]) -> "list[Decision]":
        """Bodies made by `wire.check_body`, sent at once; decisions in their order."""
        decisions: "list[Decision]" = []
        for start in range(0, len(bodies), 256):
            replies = self._exchange(wire.CHECK, bodies[start : start + 256])
            decisions += map(wire.decision, replies)
        return decisions

    def is_allowed(self, token: str, *, fail_open: bool = False, **question: Any) -> bool:
        """Whether the caller may go on; without an answer only if `fail_open`."""
        try:
            return self.check(token, **question).allowed
        except wire.TollgateError:
            return fail_open

    def consume(
        self, organization: str, user: str, plan: str, operation: str,
        units: Mapping[str, int], **options: bool,
    ) -> Decision:
        body = wire.consume_body(organization, user, plan, operation, units, **options)
        return wire.decision(self._request(wire.CONSUME, body))

    def usage(
        self, organization: str, user: str = "", plan: str = "", personal: bool = False
    ) -> Usage:
        return wire.usage(
            self._request(wire.USAGE, wire.usage_body(organization, user, plan, personal))
        )

    def ping(self, payload: bytes = b"ping") -> bytes:
        return self._request(wire.PING, payload)

    def hello(self, name: str = "python") -> "tuple[str, int]":
        """The daemon's version and the generation of its policy."""
        encoded = name.encode()
        body = self._request(
            wire.HELLO, struct.pack("<HHIB3x", 1, 1, 0, len(encoded)) + encoded
        )
        if len(body) < 32:
            raise MalformedReply("it ends too early")
        return body[32 : 32 + body[24]].decode(), struct.unpack_from("<Q", body, 16)[0]

    def stats(self) -> "dict[str, int]":
        return wire.stats(self._request(wire.STATS, b""))

    def reload(self) -> int:
        return int(struct.unpack("<Q", self._request(wire.RELOAD, b""))[0])

    def shutdown(self, grace_ms: int = 5_000) -> None:
        self._request(wire.SHUTDOWN, struct.pack("<I", grace_ms))

    def _request(self, opcode: int, body: bytes) -> bytes:
        return self._exchange(opcode, [body])[0]

    def _exchange(self, opcode: int, bodies: Sequence[bytes]) -> "list[bytes]":
        with self._lock:
            deadline = time.monotonic() + self.timeout
            try:
                return self._attempt(opcode, bodies, deadline)
            except socket.timeout:
                self._drop()
                raise TimedOut(f"no answer within {self.timeout} s") from None
            except Refused:
                raise
            except OSError as error:
                self._drop()
                raise Unreachable(f"{self.path}: {error}") from error
            except wire.TollgateError:
                self._drop()
                raise

    def _attempt(
        self, opcode: int, bodies: Sequence[bytes], deadline: float
    ) -> "list[bytes]":
        connection = self._connect()
        first = self._next_id
        self._next_id += len(bodies)
        frames = b"".join(
            wire.frame(opcode, first + index, body) for index, body in enumerate(bodies)
        )
        self._arm(connection, deadline)
        connection.sendall(frames)
        replies: "dict[int, bytes]" = {}
        refusal: Optional[Refused] = None
        while len(replies) < len(bodies):
            length, kind, _, status, identity = wire.HEADER.unpack(
                self._receive(connection, wire.HEADER.size, deadline)
            )
            if not 12 <= length <= wire.LENGTH_MAX:
                raise MalformedReply("a frame's length")
            body = self._receive(connection, length - 12, deadline)
            if not first <= identity < first + len(bodies) or kind != opcode | wire.REPLY:
                if status:
                    self._drop()
                    raise Refused(status, body.decode("utf-8", "replace"))
                continue
            if status:
                refusal = Refused(status, body.decode("utf-8", "replace"))
            replies[identity] = body
        if refusal is not None:
            raise refusal
        return [replies[first + index] for index in range(len(bodies))]

    def _connect(self) -> socket.socket:
        if self._socket is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.settimeout(self.timeout)
            try:
                made.connect(self.path)
            except OSError:
                made.close()
                raise
            self._socket = made
        return self._socket

    def _arm(self, connection: socket.socket, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout()
        connection.settimeout(left)

    def _receive(self, connection: socket.socket, count: int, deadline: float) -> bytes:
        parts = []
        while count:
            self._arm(connection, deadline)
            part = connection.recv(min(count, 65_536))
            if not part:
                raise Unreachable(f"{self.path}: the connection ended before the answer")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
