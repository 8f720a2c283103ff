"""An asyncio client: one connection, requests pipelined, answers matched by their id."""

from __future__ import annotations

import asyncio
from typing import Any, Mapping, Optional

from . import wire
from .wire import Decision, MalformedReply, Refused, TimedOut, Unreachable, Usage


class AsyncClient:
    """Asks the daemon from any number of tasks of one event loop."""

    def __init__(self, path: str = "/run/tollgate/tollgate.sock", timeout: float = 1.0) -> None:
        self.path, self.timeout = path, timeout
        self._writer: Optional[asyncio.StreamWriter] = None
        self._listener: "Optional[asyncio.Task[None]]" = None
        self._waiting: "dict[int, asyncio.Future[tuple[int, bytes]]]" = {}
        self._next_id = 1
        self._connecting = asyncio.Lock()
        # The protocol allows 256 requests without an answer.
        self._in_flight = asyncio.Semaphore(256)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
        self._fail(Unreachable("closed"))

    async def check(self, token: str, **question: Any) -> Decision:
        return wire.decision(await self._request(wire.CHECK, wire.check_body(token, **question)))

    async def consume(
        self, organization: str, user: str, plan: str, operation: str,
        units: Mapping[str, int], **options: bool,
    ) -> Decision:
        body = wire.consume_body(organization, user, plan, operation, units, **options)
        return wire.decision(await self._request(wire.CONSUME, body))

    async def usage(
        self, organization: str, user: str = "", plan: str = "", personal: bool = False
    ) -> Usage:
        body = wire.usage_body(organization, user, plan, personal)
        return wire.usage(await self._request(wire.USAGE, body))

    async def ping(self, payload: bytes = b"ping") -> bytes:
        return await self._request(wire.PING, payload)

    async def _request(self, opcode: int, body: bytes) -> bytes:
        try:
            return await asyncio.wait_for(self._ask(opcode, body), self.timeout)
        except asyncio.TimeoutError:
            raise TimedOut(f"no answer within {self.timeout} s") from None

    async def _ask(self, opcode: int, body: bytes) -> bytes:
        async with self._in_flight:
            writer = await self._connect()
            identity = self._next_id
            self._next_id += 1
            answer = asyncio.get_running_loop().create_future()
            self._waiting[identity] = answer
            try:
                writer.write(wire.frame(opcode, identity, body))
                await writer.drain()
                status, reply = await answer
            except OSError as error:
                raise Unreachable(f"{self.path}: {error}") from error
            finally:
                self._waiting.pop(identity, None)
        if status:
            raise Refused(status, reply.decode("utf-8", "replace"))
        return bytes(reply)

    async def _connect(self) -> asyncio.StreamWriter:
        async with self._connecting:
            if self._writer is None:
                try:
                    reader, self._writer = await asyncio.open_unix_connection(self.path)
                except OSError as error:
                    raise Unreachable(f"{self.path}: {error}") from error
                self._listener = asyncio.create_task(self._listen(reader))
            return self._writer

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                header = await reader.readexactly(wire.HEADER.size)
                length, _, _, status, identity = wire.HEADER.unpack(header)
                if not 12 <= length <= wire.LENGTH_MAX:
                    raise MalformedReply("a frame's length")
                body = await reader.readexactly(length - 12)
                answer = self._waiting.get(identity)
                if answer is not None and not answer.done():
                    answer.set_result((status, body))
        except (asyncio.IncompleteReadError, OSError) as error:
            self._fail(Unreachable(f"{self.path}: {error}"))
        except MalformedReply as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)
