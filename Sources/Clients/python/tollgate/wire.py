"""Requests to bytes, written from Protocol.md alone. Every limit is looked at before a byte is
sent: what breaks one raises InvalidRequest, a ValueError."""

from __future__ import annotations

import ipaddress
import secrets
import struct
from typing import Iterator, Literal, Mapping, Optional, TypedDict

from .errors import InvalidRequest

HELLO, PING, CHECK, CONSUME, USAGE = 0x01, 0x02, 0x10, 0x11, 0x12
RESERVE, EXTEND, SETTLE, CANCEL = 0x13, 0x14, 0x15, 0x16
STATS, RELOAD, SHUTDOWN = 0x40, 0x41, 0x42
CALL = 0x50
REPLY = 0x80
HEADER = struct.Struct("<IBBHQ")
VERSION = 1
LENGTH_MIN, LENGTH_MAX = 12, 65_536
IN_FLIGHT_MAX = 256
IDENTIFIER_MAX = 128
CREDENTIAL_MAX, PATH_MAX, METHOD_MAX = 8_192, 8_192, 32
METERS_MAX, UNITS_MAX = 16, 2**40
PING_MAX, CLIENT_NAME_MAX = 64, 64
# Of a reservation, and of a request that may be repeated.
ID_BYTES = 16
TTL_MAX_MS = 2**32 - 1
IDEMPOTENCY_ID = 2
RETRY_NEVER, RESET_NEVER = 2**32 - 1, 2**64 - 1
Kind = Literal["token", "key"]
KINDS = {"token": 1, "key": 2}
KEY_PREFIX = "tg_"


def pauses() -> "Iterator[float]":
    """Seconds between attempts to reach the daemon."""
    pause = 0.005
    while True:
        yield pause
        pause = min(2 * pause, 0.1)


def new_id() -> bytes:
    """An idempotency id that no other request has."""
    return secrets.token_bytes(ID_BYTES - 1) + b"\1"


class Question(TypedDict, total=False):
    """What CHECK asks beside the credential: an operation, or a method and a path. `kind` is
    "token" or "key"; left out, a credential that begins with "tg_" is an API key."""

    kind: Optional[Kind]
    operation: Optional[str]
    method: Optional[str]
    path: Optional[str]
    address: Optional[str]
    units: Optional[Mapping[str, int]]
    dry_run: bool
    explain: bool
    idempotency_id: Optional[bytes]


class Estimate(Question, total=False):
    """What RESERVE asks beside the credential: `units` are the estimate, `ttl_ms` how long to hold
    it (0: the plan's default), and `detached` lets it outlive the connection."""

    ttl_ms: int
    detached: bool


def identify(question: Question, draw: bool) -> bool:
    """Draws an idempotency id if asked to and none is given; whether the request has one."""
    if draw and question.get("idempotency_id") is None:
        question["idempotency_id"] = new_id()
    return question.get("idempotency_id") is not None


def frame(opcode: int, request_id: int, body: bytes) -> bytes:
    if LENGTH_MIN + len(body) > LENGTH_MAX:
        raise InvalidRequest("the request is larger than a frame")
    return HEADER.pack(LENGTH_MIN + len(body), opcode, 0, 0, request_id) + body


def _text(value: str, what: str, least: int, most: int) -> bytes:
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        # The text itself stays out of the message: it may be a credential.
        raise InvalidRequest(f"{what} cannot be written in UTF-8") from None
    if not least <= len(encoded) <= most:
        raise InvalidRequest(f"{what} is {len(encoded)} bytes long; {least} to {most} are allowed")
    return encoded


def _address(text: Optional[str]) -> "tuple[int, bytes]":
    if text is None:
        return 0, b""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidRequest(f"{text!r} is neither an IPv4 nor an IPv6 address") from None
    return address.version, address.packed


def _meters(units: Mapping[str, int], least: int) -> "tuple[int, bytes]":
    if not least <= len(units) <= METERS_MAX:
        raise InvalidRequest(f"{len(units)} meters; {least} to {METERS_MAX} are allowed")
    parts = []
    for name, count in units.items():
        encoded = _text(name, "a meter's name", 1, IDENTIFIER_MAX)
        if not isinstance(count, int) or not 0 <= count <= UNITS_MAX:
            raise InvalidRequest(f"units of {name} are whole and 0 to 2^40, not {count!r}")
        parts.append(struct.pack("<B", len(encoded)) + encoded + struct.pack("<Q", count))
    return len(units), b"".join(parts)


def _repeatable(idempotency_id: Optional[bytes]) -> bytes:
    """The extension field, critical: a daemon that does not know it must not charge."""
    if idempotency_id is None:
        return b""
    identity = bytes(idempotency_id)
    if len(identity) != ID_BYTES or not any(identity):
        raise InvalidRequest(f"an idempotency id is {ID_BYTES} bytes that are not all 0")
    return struct.pack("<BBH", IDEMPOTENCY_ID, 1, ID_BYTES) + identity


def _reservation(identity: bytes) -> bytes:
    if len(identity) != ID_BYTES:
        raise InvalidRequest(f"a reservation's id is {ID_BYTES} bytes, not {len(identity)}")
    return bytes(identity)


def _ttl(ttl_ms: int) -> int:
    if not isinstance(ttl_ms, int) or not 0 <= ttl_ms <= TTL_MAX_MS:
        raise InvalidRequest(f"a time to live is 0 to 2^32 - 1 milliseconds, not {ttl_ms!r}")
    return ttl_ms


def hello_body(name: str) -> bytes:
    encoded = _text(name, "the client's name", 0, CLIENT_NAME_MAX)
    return struct.pack("<HHIB3x", VERSION, VERSION, 0, len(encoded)) + encoded


def ping_body(payload: bytes) -> bytes:
    if len(payload) > PING_MAX:
        raise InvalidRequest(f"PING carries up to {PING_MAX} bytes, not {len(payload)}")
    return bytes(payload)


def check_body(
    credential: str,
    *,
    kind: Optional[Kind] = None,
    operation: Optional[str] = None,
    method: Optional[str] = None,
    path: Optional[str] = None,
    address: Optional[str] = None,
    units: Optional[Mapping[str, int]] = None,
    dry_run: bool = False,
    explain: bool = False,
    idempotency_id: Optional[bytes] = None,
) -> bytes:
    """An access token or an API key; an empty one asks without a credential."""
    flags = (1 if dry_run else 0) | (2 if explain else 0)
    return _question(
        flags, 0, credential, kind, operation, method, path, address, units, idempotency_id)


def reserve_body(
    credential: str,
    *,
    kind: Optional[Kind] = None,
    operation: Optional[str] = None,
    method: Optional[str] = None,
    path: Optional[str] = None,
    address: Optional[str] = None,
    units: Optional[Mapping[str, int]] = None,
    dry_run: bool = False,
    explain: bool = False,
    idempotency_id: Optional[bytes] = None,
    ttl_ms: int = 0,
    detached: bool = False,
) -> bytes:
    """As `check_body`; `units` are the estimate, and 0 is the plan's own time to live."""
    flags = (1 if dry_run else 0) | (2 if explain else 0) | (8 if detached else 0)
    return _question(
        flags, _ttl(ttl_ms), credential, kind, operation, method, path, address, units,
        idempotency_id)


def _question(
    flags: int, ttl_ms: int, credential: str, kind: Optional[Kind], operation: Optional[str],
    method: Optional[str], path: Optional[str], address: Optional[str],
    units: Optional[Mapping[str, int]], idempotency_id: Optional[bytes],
) -> bytes:
    encoded = _text(credential, "the credential", 0, CREDENTIAL_MAX)
    if kind is None:
        kind = "key" if credential.startswith(KEY_PREFIX) else "token"
    elif kind not in KINDS:
        raise InvalidRequest('a credential is of kind "token" or "key"')
    if operation is not None and method is None and path is None:
        by, verb = 1, b""
        name = _text(operation, "the operation", 1, IDENTIFIER_MAX)
    elif operation is None and method is not None and path is not None:
        by, verb = 2, _text(method, "the method", 1, METHOD_MAX)
        name = _text(path, "the path", 1, PATH_MAX)
    else:
        raise InvalidRequest("give either operation, or method and path")
    family, packed = _address(address)
    count, meters = _meters(units or {}, 0)
    fixed = struct.pack(
        "<BBBBHHHBxI16s", KINDS[kind] if encoded else 0, family, by, count, flags, len(encoded),
        len(name), len(verb), ttl_ms, packed,
    )
    return fixed + encoded + verb + name + meters + _repeatable(idempotency_id)


def extend_body(
    reservation: bytes, units: Optional[Mapping[str, int]] = None,
    used: Optional[Mapping[str, int]] = None, *, ttl_ms: int = 0, explain: bool = False,
) -> bytes:
    """`units` to hold in all, and `used` of them so far. Of a meter whose units are not given, what
    is used is held; one whose use is not given was not used yet."""
    units, used = units or {}, used or {}
    names = list(dict.fromkeys([*units, *used]))
    count, _ = _meters({name: used.get(name, 0) for name in names}, 0)
    _meters({name: units.get(name, 0) for name in names}, 0)
    meters = b"".join(
        struct.pack("<B", len(name.encode())) + name.encode()
        + struct.pack("<QQ", units.get(name, used.get(name, 0)), used.get(name, 0))
        for name in names)
    fixed = struct.pack(
        "<16sBxHI", _reservation(reservation), count, 2 if explain else 0, _ttl(ttl_ms))
    return fixed + meters


def settle_body(
    reservation: bytes, units: Optional[Mapping[str, int]] = None, *, explain: bool = False,
) -> bytes:
    """A meter without units settles at its estimate."""
    count, meters = _meters(units or {}, 0)
    fixed = struct.pack("<16sBxH4x", _reservation(reservation), count, 2 if explain else 0)
    return fixed + meters


def cancel_body(reservation: bytes, *, explain: bool = False) -> bytes:
    return struct.pack("<16sH6x", _reservation(reservation), 2 if explain else 0)


def consume_body(
    organization: str, user: str, plan: str, operation: str, units: Mapping[str, int],
    *, personal: bool = False, dry_run: bool = False, explain: bool = False,
    idempotency_id: Optional[bytes] = None,
) -> bytes:
    named = {
        "the organization": organization, "the user": user, "the plan": plan,
        "the operation": operation,
    }
    texts = [_text(text, what, 1, IDENTIFIER_MAX) for what, text in named.items()]
    count, meters = _meters(units, 1)
    flags = (1 if dry_run else 0) | (2 if explain else 0) | (4 if personal else 0)
    fixed = struct.pack(
        "<BBBBHB9x", len(texts[0]), len(texts[1]), len(texts[2]), count, flags, len(texts[3])
    )
    return fixed + b"".join(texts) + meters + _repeatable(idempotency_id)


def usage_body(organization: str, user: str = "", plan: str = "", personal: bool = False) -> bytes:
    texts = [
        _text(organization, "the organization", 1, IDENTIFIER_MAX),
        _text(user, "the user", 0, IDENTIFIER_MAX),
        _text(plan, "the plan", 0, IDENTIFIER_MAX),
    ]
    fixed = struct.pack("<BBBBHH", *map(len, texts), 0, 4 if personal else 0, 0)
    return fixed + b"".join(texts)


def shutdown_body(grace_ms: int) -> bytes:
    if not 0 <= grace_ms < 2**32:
        raise InvalidRequest(f"the grace is 0 to 2^32 - 1 milliseconds, not {grace_ms}")
    return struct.pack("<I", grace_ms)
