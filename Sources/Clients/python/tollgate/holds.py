"""Reservations as what `with` is for: work that is paid for when its units are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping, Optional

from .errors import Conflict, Denied, InvalidRequest, NotFound, TollgateError
from .replies import Decision

if TYPE_CHECKING:
    from .aio import AsyncClient
    from .client import Client

Units = Optional[Mapping[str, int]]


class _Held:
    """What RESERVE decided, and what came of it since."""

    def __init__(self, decision: Decision) -> None:
        self.decision = self.last = decision
        # Neither settled nor canceled by this object. The daemon may have ended it all the same.
        self.is_open = decision.reservation is not None

    @property
    def allowed(self) -> bool:
        return self.decision.allowed

    @property
    def id(self) -> bytes:
        """What any process of the same role may extend, settle and cancel it by."""
        if self.decision.reservation is None:
            raise InvalidRequest("nothing is held: it was denied, or a dry run")
        return self.decision.reservation.id

    @property
    def ttl_ms(self) -> int:
        """What RESERVE granted: it is cut then, if it is not extended."""
        return self.decision.reservation.ttl_ms if self.decision.reservation else 0

    def _enter(self) -> None:
        if not self.allowed:
            raise Denied(self.decision)

    def _took(self, decision: Decision, *, ended: bool) -> Decision:
        self.last = decision
        if ended and decision.allowed:
            self.is_open = False
        return decision


class Hold(_Held):
    """A reservation of a `Client`. As the target of `with` it raises Denied where nothing was
    held, and ends with the block: settled at its estimate, or canceled on an exception, unless
    `settle` or `cancel` was called inside. `last` is the latest decision on it.

    It is tied to the client's connection unless it is `detached`: with that it ends, also where
    the client gave the connection up after a deadline. It may be settled nevertheless."""

    def __init__(self, client: "Client", decision: Decision) -> None:
        super().__init__(decision)
        self._client = client

    def __enter__(self) -> "Hold":
        self._enter()
        return self

    def __exit__(self, kind: Optional[type], *_: object) -> None:
        if not self.is_open:
            return
        if kind is None:
            self.settle()
            return
        try:
            self.cancel()
        except TollgateError:
            pass  # it ends with its time to live; what the block raised is what matters

    def extend(
        self, units: Units = None, used: Units = None, *, ttl_ms: int = 0, explain: bool = False,
    ) -> bool:
        """Whether to go on. `units` to hold in all, and `used` of them so far; the time to live
        begins anew. False also where the reservation has ended: stop, and settle."""
        try:
            decision = self._client.extend(
                self.id, units, used, ttl_ms=ttl_ms, explain=explain)
        except (Conflict, NotFound):
            return False
        return self._took(decision, ended=False).allowed

    def settle(self, units: Units = None, *, explain: bool = False, **more: int) -> Decision:
        """Ends it with what was used, `settle(tokens=731)`; a meter without units settles at its
        estimate."""
        decision = self._client.settle(self.id, {**(units or {}), **more}, explain=explain)
        return self._took(decision, ended=True)

    def cancel(self, *, explain: bool = False) -> Decision:
        """Ends it, and charges nothing."""
        return self._took(self._client.cancel(self.id, explain=explain), ended=True)


class AsyncHold(_Held):
    """As `Hold`, of an `AsyncClient`: `async with await client.reserve(…) as hold:`."""

    def __init__(self, client: "AsyncClient", decision: Decision) -> None:
        super().__init__(decision)
        self._client = client

    async def __aenter__(self) -> "AsyncHold":
        self._enter()
        return self

    async def __aexit__(self, kind: Optional[type], *_: object) -> None:
        if not self.is_open:
            return
        if kind is None:
            await self.settle()
            return
        try:
            await self.cancel()
        except TollgateError:
            pass  # it ends with its time to live; what the block raised is what matters

    async def extend(
        self, units: Units = None, used: Units = None, *, ttl_ms: int = 0, explain: bool = False,
    ) -> bool:
        """Whether to go on. `units` to hold in all, and `used` of them so far; the time to live
        begins anew. False also where the reservation has ended: stop, and settle."""
        try:
            decision = await self._client.extend(
                self.id, units, used, ttl_ms=ttl_ms, explain=explain)
        except (Conflict, NotFound):
            return False
        return self._took(decision, ended=False).allowed

    async def settle(self, units: Units = None, *, explain: bool = False, **more: int) -> Decision:
        """Ends it with what was used, `settle(tokens=731)`; a meter without units settles at its
        estimate."""
        decision = await self._client.settle(self.id, {**(units or {}), **more}, explain=explain)
        return self._took(decision, ended=True)

    async def cancel(self, *, explain: bool = False) -> Decision:
        """Ends it, and charges nothing."""
        return self._took(await self._client.cancel(self.id, explain=explain), ended=True)
