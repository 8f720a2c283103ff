"""The calls of the directory, once for both clients.

A method of a group says what to ask and how to read the answer; the client behind the group asks.
With a `Client` the method's value is the answer, with an `AsyncClient` it is awaited.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generic,
    Iterator,
    Mapping,
    Optional,
    TypeVar,
)

from . import json_bodies
from .documents import Page
from .errors import MalformedReply
from .json_bodies import READS, Read

T = TypeVar("T")
LIMIT = 100


class Blocking:
    """Marks the groups of a `Client`."""


class Awaited:
    """Marks the groups of an `AsyncClient`."""


Mode = TypeVar("Mode", Blocking, Awaited)


@dataclass(frozen=True)
class Request(Generic[T]):
    """A call: its name, its members (secrets may be among them), how to read its reply."""

    call: str
    members: Mapping[str, object] = field(repr=False)
    read: "Read[T]"

    @property
    def only_reads(self) -> bool:
        """Whether it may be asked twice."""
        return self.call.split(".")[1] in READS or self.members.get("preview") is True

    def body(self) -> bytes:
        return json_bodies.request(self.call, self.members)

    def answer(self, body: bytes) -> T:
        return self.read(json_bodies.document(body))

    def behind(self, after: Optional[str], limit: int) -> "Request[T]":
        return replace(self, members={**self.members, "after": after, "limit": limit})


def cursor(page: "Page[T]", after: Optional[str]) -> Optional[str]:
    """Where the next part begins. One that stays where it is would never end."""
    if page.next is not None and page.next == after:
        raise MalformedReply("the cursor of a list did not move")
    return page.next


class Listing(Generic[T]):
    """A list, asked for part by part while it is gone through; each loop begins anew."""

    def __init__(
        self, ask: "Callable[[Request[Page[T]]], Page[T]]", request: "Request[Page[T]]"
    ) -> None:
        self._ask, self._request = ask, request

    def __iter__(self) -> "Iterator[T]":
        after: Optional[str] = None
        while True:
            page = self.page(after)
            yield from page.items
            after = cursor(page, after)
            if after is None:
                return

    def page(self, after: Optional[str] = None, limit: int = LIMIT) -> "Page[T]":
        """One part: of up to `limit` (1,000 at most), behind the cursor `after`."""
        return self._ask(self._request.behind(after, limit))


class AsyncListing(Generic[T]):
    """As `Listing`, for `async for`."""

    def __init__(
        self, ask: "Callable[[Request[Page[T]]], Awaitable[Page[T]]]",
        request: "Request[Page[T]]",
    ) -> None:
        self._ask, self._request = ask, request

    async def __aiter__(self) -> "AsyncIterator[T]":
        after: Optional[str] = None
        while True:
            page = await self.page(after)
            for item in page.items:
                yield item
            after = cursor(page, after)
            if after is None:
                return

    async def page(self, after: Optional[str] = None, limit: int = LIMIT) -> "Page[T]":
        """One part: of up to `limit` (1,000 at most), behind the cursor `after`."""
        return await self._ask(self._request.behind(after, limit))


class Group(Generic[Mode]):
    """Calls that belong together."""

    def __init__(self, ask: "Callable[[Request[Any]], Any]", listing: "type[Any]") -> None:
        self._ask, self._listing = ask, listing


if TYPE_CHECKING:
    from typing import overload

    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")

    class call(Generic[P, T]):
        """What the decorator below makes of a method, by the group's mode."""

        def __init__(self, build: "Callable[Concatenate[Any, P], Request[T]]") -> None: ...

        @overload
        def __get__(self, group: "Group[Blocking]", owner: object = ...) -> "Callable[P, T]": ...
        @overload
        def __get__(
            self, group: "Group[Awaited]", owner: object = ...
        ) -> "Callable[P, Coroutine[Any, Any, T]]": ...
        def __get__(self, group: Any, owner: object = ...) -> Any: ...

    class listing(Generic[P, T]):
        def __init__(
            self, build: "Callable[Concatenate[Any, P], Request[Page[T]]]"
        ) -> None: ...

        @overload
        def __get__(
            self, group: "Group[Blocking]", owner: object = ...
        ) -> "Callable[P, Listing[T]]": ...
        @overload
        def __get__(
            self, group: "Group[Awaited]", owner: object = ...
        ) -> "Callable[P, AsyncListing[T]]": ...
        def __get__(self, group: Any, owner: object = ...) -> Any: ...

else:

    def call(build):
        """Makes a method that builds a request one that asks it."""

        @functools.wraps(build)
        def ask(self, *arguments, **options):
            return self._ask(build(self, *arguments, **options))

        return ask

    def listing(build):
        """Makes a method that builds the request of a list one that gives the list."""

        @functools.wraps(build)
        def ask(self, *arguments, **options):
            return self._listing(self._ask, build(self, *arguments, **options))

        return ask
