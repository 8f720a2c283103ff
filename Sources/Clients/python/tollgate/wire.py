"""Frames to bytes and back, written from Protocol.md alone."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, field
from typing import Mapping, Optional, Union

HELLO, PING, CHECK, CONSUME, USAGE = 0x01, 0x02, 0x10, 0x11, 0x12
STATS, RELOAD, SHUTDOWN = 0x40, 0x41, 0x42
REPLY = 0x80
HEADER = struct.Struct("<IBBHQ")
LENGTH_MAX = 65_536
RETRY_NEVER = 0xFFFFFFFF

STATUSES = (
    "ok malformedFrame frameTooLarge unknownOpcode malformedBody unsupportedVersion "
    "unsupportedField forbidden unknownMeter unitsOutOfRange unknownPlan unknownOperation "
    "tooManyConnections unavailable policyInvalid internalError"
).split()
REASONS = {
    0: "none", 1: "pathNotCanonical", 10: "credentialMissing", 11: "credentialInvalid",
    12: "credentialMalformed", 13: "algorithmNotAllowed", 14: "issuerUnknown", 15: "keyUnknown",
    16: "signatureInvalid", 17: "tokenExpired", 18: "tokenNotYetValid",
    19: "tokenLifetimeTooLong", 20: "audienceMismatch", 21: "claimInvalid",
    22: "credentialRevoked", 23: "credentialKindUnsupported", 30: "subscriptionInactive",
    31: "planUnknown", 40: "operationUnknown", 41: "permissionDenied",
    50: "invalidCredentialLimited", 51: "rateLimited", 60: "concurrencyExceeded",
    70: "quotaExhausted", 80: "capacityExhausted",
}
SCOPES = {1: "user", 2: "organization", 3: "address", 4: "credential"}
KINDS = {1: "rateLimit", 2: "quota"}


class TollgateError(Exception):
    """No answer. Whether the request was carried out is not known, except with Refused."""


class Unreachable(TollgateError):
    """The daemon cannot be reached, or the connection ended before the answer."""


class TimedOut(TollgateError):
    """The deadline passed before the answer came."""


class MalformedReply(TollgateError):
    """The answer breaks the protocol."""


class Refused(TollgateError):
    """The daemon did not take the request: nothing was charged."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = STATUSES[status] if status < len(STATUSES) else f"status {status}"
        self.detail = detail
        super().__init__(f"{self.status}: {detail}")


@dataclass(frozen=True)
class Limit:
    """A rate limit or quota as a decision carries it. Reset in milliseconds."""

    name: str
    limit: int
    remaining: int
    reset_ms: int


@dataclass(frozen=True)
class LimitEntry:
    """A limit as USAGE and explanations carry it."""

    kind: str
    scope: str
    refuses: bool
    name: str
    meter: str
    used: int
    held: int
    limit: int
    remaining: int
    reset_ms: int
    length_ms: int


@dataclass(frozen=True)
class Decision:
    """What the daemon decided. `retry_after_ms` is None when not given."""

    allowed: bool
    reason: str
    reason_code: int
    dry_run: bool
    personal: bool
    overage: bool
    retry_after_ms: Optional[int]
    rate_limit: Optional[Limit]
    quota: Optional[Limit]
    user: str
    organization: str
    plan: str
    operation: str
    explanation: "tuple[LimitEntry, ...]" = field(default=())


@dataclass(frozen=True)
class Usage:
    plan: str
    limits: "tuple[LimitEntry, ...]"


def frame(opcode: int, request_id: int, body: bytes) -> bytes:
    if 12 + len(body) > LENGTH_MAX:
        raise ValueError("the request is larger than a frame")
    return HEADER.pack(12 + len(body), opcode, 0, 0, request_id) + body


def _meters(units: Mapping[str, int]) -> bytes:
    parts = []
    for name, count in units.items():
        encoded = name.encode()
        parts.append(struct.pack("<B", len(encoded)) + encoded + struct.pack("<Q", count))
    return b"".join(parts)


def check_body(
    token: str,
    *,
    operation: Optional[str] = None,
    method: Optional[str] = None,
    path: Optional[str] = None,
    address: Union[str, None] = None,
    units: Optional[Mapping[str, int]] = None,
    dry_run: bool = False,
    explain: bool = False,
) -> bytes:
    if (operation is None) == (path is None or method is None):
        raise ValueError("give operation, or method and path")
    credential = token.encode()
    name = (operation if operation is not None else path or "").encode()
    verb = (method or "").encode() if operation is None else b""
    family, packed = 0, b""
    if address is not None:
        parsed = ipaddress.ip_address(address)
        family, packed = parsed.version, parsed.packed
    meters = units or {}
    fixed = struct.pack(
        "<BBBBHHHB5x16s",
        1 if credential else 0,
        family,
        1 if operation is not None else 2,
        len(meters),
        (1 if dry_run else 0) | (2 if explain else 0),
        len(credential),
        len(name),
        len(verb),
        packed,
    )
    return fixed + credential + verb + name + _meters(meters)


def consume_body(
    organization: str, user: str, plan: str, operation: str, units: Mapping[str, int],
    *, personal: bool = False, dry_run: bool = False, explain: bool = False,
) -> bytes:
    texts = [text.encode() for text in (organization, user, plan, operation)]
    flags = (1 if dry_run else 0) | (2 if explain else 0) | (4 if personal else 0)
    fixed = struct.pack(
        "<BBBBHB9x", len(texts[0]), len(texts[1]), len(texts[2]), len(units), flags, len(texts[3])
    )
    return fixed + b"".join(texts) + _meters(units)


def usage_body(organization: str, user: str, plan: str, personal: bool) -> bytes:
    texts = [text.encode() for text in (organization, user, plan)]
    fixed = struct.pack("<BBBBHH", *map(len, texts), 0, 4 if personal else 0, 0)
    return fixed + b"".join(texts)


class _Reader:
    def __init__(self, body: bytes) -> None:
        self.body, self.at = body, 0

    def take(self, count: int) -> bytes:
        if len(self.body) - self.at < count:
            raise MalformedReply("it ends too early")
        self.at += count
        return self.body[self.at - count : self.at]

    def unpack(self, layout: str) -> "tuple[int, ...]":
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def text(self, count: int) -> str:
        return self.take(count).decode("utf-8", "replace")

    def entry(self) -> LimitEntry:
        kind, scope, flags, name, meter = self.unpack("<BBBBB3x")
        numbers = self.unpack("<6Q")
        return LimitEntry(
            KINDS.get(kind, str(kind)), SCOPES.get(scope, str(scope)), bool(flags & 1),
            self.text(name), self.text(meter), *numbers,
        )


def decision(body: bytes) -> Decision:
    reader = _Reader(body)
    verdict, flags, reason, retry = reader.unpack("<BBHI")
    numbers = reader.unpack("<6Q")
    lengths = reader.unpack("<6B2x")
    user, organization, plan, rate, quota, operation = (reader.text(n) for n in lengths)
    if verdict not in (1, 2) or (verdict == 1) != (reason == 0):
        raise MalformedReply("verdict and reason contradict")
    explanation: "tuple[LimitEntry, ...]" = ()
    while reader.at < len(body):
        tag, field_flags, length = reader.unpack("<BBH")
        value = _Reader(reader.take(length))
        if tag == 1:
            (count,) = value.unpack("<H")
            explanation = tuple(value.entry() for _ in range(count))
        elif field_flags & 1:
            raise MalformedReply("a critical extension field that is not known")
    return Decision(
        verdict == 1, REASONS.get(reason, f"reason {reason}"), reason, bool(flags & 1),
        bool(flags & 8), bool(flags & 16), retry or None,
        Limit(rate, *numbers[:3]) if flags & 2 else None,
        Limit(quota, *numbers[3:]) if flags & 4 else None,
        user, organization, plan, operation, explanation,
    )


def usage(body: bytes) -> Usage:
    reader = _Reader(body)
    count, plan = reader.unpack("<HB5x")
    name = reader.text(plan)
    return Usage(name, tuple(reader.entry() for _ in range(count)))


def stats(body: bytes) -> "dict[str, int]":
    reader = _Reader(body)
    values = {}
    for _ in range(reader.unpack("<I")[0]):
        _, length, value = reader.unpack("<BBQ")
        values[reader.text(length)] = value
    return values
