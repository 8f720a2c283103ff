"""CALL's bodies: members to JSON, and JSON to documents. What is wrong with a request raises
InvalidRequest before a byte is sent; what is wrong with a reply, MalformedReply."""

from __future__ import annotations

import dataclasses
import json
import typing
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, TypeVar, Union

from .documents import Page, Units
from .errors import InvalidRequest, MalformedReply
from .wire import IDENTIFIER_MAX, LENGTH_MAX, LENGTH_MIN

T = TypeVar("T")
# What JSON numbers hold exactly in every language (RFC 8259, section 6).
WHOLE_MAX = 2**53
UNITS_MAX = 2**63 - 1
DEPTH_MAX, MEMBERS_MAX = 16, 128
# Of one import.
RECORDS_MAX = 1_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
Instant = Union[int, datetime]
Read = Callable[[Mapping[str, object]], T]
Record = Mapping[str, object]
# Texts of their own length: secrets, cursors, paths.
LONG = frozenset(("refresh_token", "after", "path", "note"))
READS = frozenset(("list", "show", "status", "export", "closed"))


def request(call: str, members: Mapping[str, object]) -> bytes:
    """The body of a call. Members that are None are left out; `NULL` sends a null."""
    document: "dict[str, object]" = {"call": call}
    for name, value in members.items():
        if value is not None:
            document[name] = None if value is NULL else _sent(name, value)
    body = _encoded(document)
    if LENGTH_MIN + len(body) > LENGTH_MAX:
        raise InvalidRequest("the call is larger than a frame")
    return body


class _Null:
    """None as a value of its own, where leaving a member out means something else."""


NULL = _Null()


def _encoded(document: object) -> bytes:
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError):
        # What it was stays out of the message: it may be a secret.
        raise InvalidRequest("an argument that cannot be written as JSON in UTF-8") from None


def _sent(name: str, value: object) -> object:
    if isinstance(value, str):
        return value if name in LONG else _short(name, value)
    if isinstance(value, datetime):
        return _whole(name, milliseconds(value))
    if isinstance(value, int):
        return value if isinstance(value, bool) else _whole(name, value)
    return value


def _short(name: str, text: str) -> str:
    size = len(text.encode("utf-8", "replace"))
    if not 1 <= size <= IDENTIFIER_MAX:
        raise InvalidRequest(f"{name} is {size} bytes long; 1 to {IDENTIFIER_MAX} are allowed")
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text):
        raise InvalidRequest(f"{name} holds a control character")
    return text


def _whole(name: str, number: int) -> int:
    if not 0 <= number <= WHOLE_MAX:
        raise InvalidRequest(f"{name} is 0 to 2^53, not {number}")
    return number


def milliseconds(instant: datetime) -> int:
    """Since 1970, without rounding up."""
    if instant.tzinfo is None:
        raise InvalidRequest("an instant without a time zone says nothing; give it one")
    return (instant - EPOCH) // timedelta(milliseconds=1)


def texts(what: str, values: "Optional[Sequence[str]]") -> "Optional[list[str]]":
    """A list of them: a lone text is a sequence too, of its characters."""
    if values is None:
        return None
    if isinstance(values, str):
        raise InvalidRequest(f"{what} is a list of texts, not one text")
    return [_short(what, value) for value in values]


def batches(
    records: "typing.Iterable[Record]", bytes_max: int = LENGTH_MAX - LENGTH_MIN - 64
) -> "typing.Iterator[list[Record]]":
    """The records in parts that each fit into one call of `directory.import_records`."""
    part: "list[Record]" = []
    size = 0
    for record in records:
        added = len(_encoded(record)) + 1
        if len(part) == RECORDS_MAX or part and size + added > bytes_max:
            yield part
            part, size = [], 0
        part.append(record)
        size += added
    if part:
        yield part


def document(body: bytes) -> "dict[str, object]":
    """The strict JSON object that a reply is."""
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_members_of, parse_int=_integer,
            parse_float=_no_integer, parse_constant=_no_integer)
        _hold_to_depth(value, DEPTH_MAX)
        # Lone surrogates, which JSON can spell and UTF-8 cannot.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise MalformedReply(f"not strict JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise MalformedReply("JSON that is no object")
    return value


def _members_of(pairs: "list[tuple[str, object]]") -> "dict[str, object]":
    members = dict(pairs)
    if len(members) != len(pairs) or len(members) > MEMBERS_MAX:
        raise ValueError("a member comes twice, or there are too many")
    return members


def _integer(text: str) -> int:
    number = int(text)
    if not -(2**63) < number < 2**63:
        raise ValueError("a number beyond 64 bits")
    return number


def _no_integer(text: str) -> object:
    raise ValueError("a number that is no integer")


def _hold_to_depth(value: object, left: int) -> None:
    if isinstance(value, (dict, list)):
        if not left:
            raise MalformedReply(f"JSON deeper than {DEPTH_MAX}")
        for inner in value.values() if isinstance(value, dict) else value:
            _hold_to_depth(inner, left - 1)


def of(kind: "type[T]") -> "Read[T]":
    """Reads the whole reply as one document."""
    return lambda reply: _read(kind, reply, "the reply")


def member(name: str, kind: "type[T]") -> "Read[T]":
    """Reads the document that stands in one member."""
    return lambda reply: _read(kind, reply.get(name), name)


def page(kind: "type[T]") -> "Read[Page[T]]":
    return lambda reply: Page(
        _read(Tuple[kind, ...], reply.get("items"), "items"),
        _read(Optional[str], reply.get("next"), "next"))


@lru_cache(maxsize=None)
def _members(kind: type) -> "Tuple[tuple[str, str, object, bool], ...]":
    """Of each field: its name, its member's, its type, and whether it must be there."""
    hints = typing.get_type_hints(kind)
    return tuple(
        (one.name, one.metadata.get("member", one.name), hints[one.name],
         one.default is dataclasses.MISSING)
        for one in dataclasses.fields(kind))


def _read(kind: Any, value: object, what: str) -> Any:
    """`value` as the type of a field of a document. Absent is as good as null."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Union:
        return None if value is None else _read(inner[0], value, what)
    if origin is tuple:
        if isinstance(value, list):
            return tuple(_read(inner[0], one, what) for one in value)
    elif dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, dict):
            return kind(**{
                name: _read(hint, value[key] if key in value else None, f"{what}.{key}")
                for name, key, hint, needed in _members(kind) if needed or key in value})
    elif origin is typing.Literal:
        if isinstance(value, str) and value in inner:
            return value
    elif kind is int or kind is Units:
        most = WHOLE_MAX if kind is int else UNITS_MAX
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
            return value
    elif isinstance(value, dict if origin is not None else kind):
        return value
    raise MalformedReply(f"{what} is missing, or of the wrong type")
