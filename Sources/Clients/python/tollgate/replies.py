"""Bytes to replies, written from Protocol.md alone. What breaks the protocol raises
MalformedReply, and nothing else is raised."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Container, NamedTuple, Optional

from .errors import (
    CLOSING,
    REFUSALS,
    TOO_MANY_CONNECTIONS,
    MalformedReply,
    Refused,
    TollgateError,
    Unreachable,
)
from .wire import HEADER, ID_BYTES, LENGTH_MAX, LENGTH_MIN, REPLY, VERSION

REASONS = {
    0: "none", 1: "pathNotCanonical", 10: "credentialMissing", 11: "credentialInvalid",
    12: "credentialMalformed", 13: "algorithmNotAllowed", 14: "issuerUnknown", 15: "keyUnknown",
    16: "signatureInvalid", 17: "tokenExpired", 18: "tokenNotYetValid",
    19: "tokenLifetimeTooLong", 20: "audienceMismatch", 21: "claimInvalid",
    22: "credentialRevoked", 23: "credentialKindUnsupported", 24: "addressNotAllowed",
    30: "subscriptionInactive", 31: "planUnknown", 40: "operationUnknown", 41: "permissionDenied",
    50: "invalidCredentialLimited", 51: "rateLimited", 60: "concurrencyExceeded",
    70: "quotaExhausted", 80: "capacityExhausted", 81: "ledgerUnavailable",
    82: "auditUnavailable",
}
SCOPES = {1: "user", 2: "organization", 3: "address", 4: "credential"}
KINDS = {1: "rateLimit", 2: "quota", 3: "concurrency"}
EXPLAIN, COST, RESERVATION, DECISION_ID, CREDITS, WOULD_DENY = 1, 3, 4, 5, 6, 7


class Hello(NamedTuple):
    """What the daemon says of itself."""

    daemon_version: str
    policy_generation: int
    version: int
    features: int
    length_max: int
    in_flight_max: int


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
    shadow: bool = False
    """It refuses nobody; with `refuses`, it would have."""


@dataclass(frozen=True)
class Reservation:
    """What RESERVE made: its id, and how long it lives unless it is extended."""

    id: bytes
    ttl_ms: int


@dataclass(frozen=True)
class WouldDeny:
    """What is in shadow and would have refused. `limit` is None where it is the operation's
    permission."""

    reason: str
    reason_code: int
    limit: Optional[str]


@dataclass(frozen=True)
class Decision:
    """What the daemon decided. `retry_after_ms` is None when not given; `cost_micros`, in
    millionths of the operator's currency, where nothing was charged or the plan has no prices."""

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
    explanation: "tuple[LimitEntry, ...]" = ()
    cost_micros: Optional[int] = None
    reservation: Optional[Reservation] = None
    decision_id: Optional[str] = None
    """By which the audit log knows it, 16 hexadecimal digits; None where there is no log."""
    would_deny: Optional[WouldDeny] = None
    """Of one that is allowed: what would have refused it if it were not in shadow."""


@dataclass(frozen=True)
class CreditEntry:
    """A grant of units beyond a quota that can be used, now or (not `usable`) later. Instants are
    milliseconds since 1970; `expires_at` is None where it never ends."""

    quota: str
    id: str
    priority: int
    usable: bool
    units: int
    burnt: int
    effective_at: int
    expires_at: Optional[int]


@dataclass(frozen=True)
class Usage:
    """Every limit of a plan. `plan` is empty when nobody knows the caller. `credits` come in the
    order in which they burn."""

    plan: str
    limits: "tuple[LimitEntry, ...]"
    credits: "tuple[CreditEntry, ...]" = ()


class Header(NamedTuple):
    opcode: int
    status: int
    request_id: int
    body_bytes: int

    @property
    def is_about_the_connection(self) -> bool:
        """A refusal that belongs to no request."""
        return self.status != 0 and self.request_id == 0 and self.opcode == REPLY

    @property
    def ends_the_connection(self) -> bool:
        return self.status in CLOSING


def header(data: "bytes | bytearray") -> Header:
    """The header that `data`, of 16 bytes at least, begins with."""
    length, opcode, _, status, identity = HEADER.unpack_from(data)
    if not LENGTH_MIN <= length <= LENGTH_MAX:
        raise MalformedReply(f"a frame of length {length}")
    return Header(opcode, status, identity, length - LENGTH_MIN)


def refusal(status: int, body: bytes) -> Refused:
    return REFUSALS.get(status, Refused)(status, body.decode("utf-8", "replace"))


def end_of_connection(status: int, body: bytes) -> TollgateError:
    """A refusal that belongs to no request. Only the ceiling of connections comes before any
    request was read."""
    refused = refusal(status, body)
    return refused if status == TOO_MANY_CONNECTIONS else Unreachable(str(refused))


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
        try:
            return self.take(count).decode()
        except UnicodeDecodeError:
            raise MalformedReply("a text that is not UTF-8") from None

    def entry(self) -> LimitEntry:
        kind, scope, flags, name, meter = self.unpack("<BBBBB3x")
        used, held, limit, remaining, reset, length = self.unpack("<6Q")
        if kind not in KINDS or scope not in SCOPES:
            raise MalformedReply(f"a limit of kind {kind} and scope {scope}")
        return LimitEntry(
            KINDS[kind], SCOPES[scope], bool(flags & 1), self.text(name), self.text(meter),
            used, held, limit, remaining, reset, length, bool(flags & 2),
        )

    def entries(self, count: int) -> "tuple[LimitEntry, ...]":
        return tuple(self.entry() for _ in range(count))

    def credit(self) -> CreditEntry:
        quota, name, priority, usable = self.unpack("<BBBB4x")
        units, burnt, effective, expires = self.unpack("<4Q")
        return CreditEntry(
            self.text(quota), self.text(name), priority, bool(usable), units, burnt, effective,
            None if expires == 2**64 - 1 else expires)

    def end(self) -> None:
        if self.at != len(self.body):
            raise MalformedReply("bytes behind its end")

    def extensions(self, known: Container[int] = ()) -> "dict[int, bytes]":
        """The known fields of all that follow; the others are skipped, unless critical."""
        found: "dict[int, bytes]" = {}
        while self.at < len(self.body):
            tag, flags, length = self.unpack("<BBH")
            value = self.take(length)
            if tag in found:
                raise MalformedReply(f"extension field {tag} comes twice")
            if tag in known:
                found[tag] = value
            elif flags & 1:
                raise MalformedReply(f"extension field {tag} is critical and not known")
        return found


def hello(body: bytes) -> Hello:
    reader = _Reader(body)
    version, features, length_max, in_flight, generation, name = reader.unpack("<H2xIIIQB7x")
    if version != VERSION:
        raise MalformedReply(f"version {version} was not offered")
    text = reader.text(name)
    reader.extensions()
    return Hello(text, generation, version, features, length_max, in_flight)


def ping(body: bytes, sent: bytes) -> bytes:
    if body != sent:
        raise MalformedReply("PING came back changed")
    return body


def decision(body: bytes) -> Decision:
    reader = _Reader(body)
    verdict, flags, reason, retry = reader.unpack("<BBHI")
    numbers = reader.unpack("<6Q")
    lengths = reader.unpack("<6B2x")
    if verdict not in (1, 2) or (verdict == 1) != (reason == 0):
        raise MalformedReply("verdict and reason contradict")
    user, organization, plan, rate, quota, operation = (reader.text(n) for n in lengths)
    fields = reader.extensions(known=(EXPLAIN, COST, RESERVATION, DECISION_ID, WOULD_DENY))
    explanation: "tuple[LimitEntry, ...]" = ()
    if EXPLAIN in fields:
        value = _Reader(fields[EXPLAIN])
        explanation = value.entries(*value.unpack("<H"))
        value.end()
    return Decision(
        verdict == 1, REASONS.get(reason, f"reason {reason}"), reason, bool(flags & 1),
        bool(flags & 8), bool(flags & 16), retry or None,
        Limit(rate, *numbers[:3]) if flags & 2 else None,
        Limit(quota, *numbers[3:]) if flags & 4 else None,
        user, organization, plan, operation, explanation, _cost(fields.get(COST)),
        _reservation(fields.get(RESERVATION), verdict == 1),
        _decision_id(fields.get(DECISION_ID)), _would_deny(fields.get(WOULD_DENY), verdict == 1),
    )


def _would_deny(value: Optional[bytes], allowed: bool) -> Optional[WouldDeny]:
    if value is None:
        return None
    reader = _Reader(value)
    code, length = reader.unpack("<HBx")
    limit = reader.text(length)
    reader.end()
    if not allowed:
        raise MalformedReply("a denial that would be one")
    return WouldDeny(REASONS.get(code, f"reason {code}"), code, limit or None)


def _decision_id(value: Optional[bytes]) -> Optional[str]:
    if value is None:
        return None
    reader = _Reader(value)
    (number,) = reader.unpack("<Q")
    reader.end()
    return f"{number:016x}"


def _cost(value: Optional[bytes]) -> Optional[int]:
    if value is None:
        return None
    reader = _Reader(value)
    (cost,) = reader.unpack("<Q")
    reader.end()
    return cost


def _reservation(value: Optional[bytes], allowed: bool) -> Optional[Reservation]:
    if value is None:
        return None
    reader = _Reader(value)
    identity = reader.take(ID_BYTES)
    (ttl_ms,) = reader.unpack("<I4x")
    reader.end()
    if not allowed:
        raise MalformedReply("a denial with a reservation")
    return Reservation(identity, ttl_ms)


def reserved(body: bytes) -> Decision:
    """RESERVE's: what it allows, it holds."""
    answer = decision(body)
    if answer.allowed and not answer.dry_run and answer.reservation is None:
        raise MalformedReply("it allows, and names no reservation")
    return answer


def usage(body: bytes) -> Usage:
    reader = _Reader(body)
    count, plan = reader.unpack("<HB5x")
    named, limits = reader.text(plan), reader.entries(count)
    value = reader.extensions(known=(CREDITS,)).get(CREDITS)
    return Usage(named, limits, () if value is None else _credits(value))


def _credits(value: bytes) -> "tuple[CreditEntry, ...]":
    reader = _Reader(value)
    (count,) = reader.unpack("<H")
    found = tuple(reader.credit() for _ in range(count))
    reader.end()
    return found


# Of STATS, how many numbers found no room in the reply.
STATS_LEFT_OUT = "tollgate_stats_left_out"


def stats(body: bytes) -> "dict[str, int]":
    reader = _Reader(body)
    values: "dict[str, int]" = {}
    for _ in range(*reader.unpack("<I")):
        kind, length, value = reader.unpack("<BBQ")
        if kind not in (1, 2):
            raise MalformedReply(f"a number of kind {kind}")
        values[reader.text(length)] = value
    reader.extensions()
    return values


def generation(body: bytes) -> int:
    """RELOAD's."""
    reader = _Reader(body)
    (value,) = reader.unpack("<Q")
    reader.extensions()
    return value


def nothing(body: bytes) -> None:
    """SHUTDOWN's."""
    _Reader(body).extensions()
