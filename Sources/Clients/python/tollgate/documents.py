"""What the daemon keeps, as calls give it back.

Instants (`…_at`) are milliseconds since 1970, durations (`…_seconds`) seconds. Members that a
later daemon adds are left out. Secrets are kept out of `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Literal, Mapping, NewType, Optional, Tuple, TypeVar

T = TypeVar("T")
Role = Literal["owner", "admin", "member"]
Standing = Literal["active", "suspended"]
# The first three are served.
SubscriptionStatus = Literal["trialing", "active", "past_due", "suspended", "canceled"]
ChangeMode = Literal["carry", "prorate", "reset"]
When = Literal["now", "period_end"]
KeyState = Literal["active", "rotating", "expired", "revoked"]
CreditState = Literal["active", "pending", "exhausted", "expired", "voided"]
RevokedKind = Literal["token", "session", "user", "organization"]
SigningKeyState = Literal["verifying", "signing", "retiring", "retired"]
LimitKind = Literal["rate_limit", "quota"]
LimitScope = Literal["user", "organization"]
LedgerState = Literal["off", "serving", "refusing", "unjournaled"]
Durability = Literal["second", "always"]
Period = Literal["day", "week", "month", "billing_month", "total"]
Units = NewType("Units", int)  # What is billed, exactly: up to 2^63 - 1.


@dataclass(frozen=True)
class PendingChange:
    """A plan change that waits for the end of the billing month."""

    plan: str
    mode: ChangeMode
    at: int


@dataclass(frozen=True)
class Subscription:
    plan: str
    status: SubscriptionStatus
    anchor_at: int
    time_zone: str
    since_at: int
    pending: Optional[PendingChange]


@dataclass(frozen=True)
class Organization:
    """A personal one is of the user of the same id alone."""

    id: str
    name: str
    personal: bool
    status: Standing
    created_at: int
    subscription: Optional[Subscription]


@dataclass(frozen=True)
class User:
    """Who has no `role` has no seat, and is refused."""

    organization: str
    id: str
    name: str
    role: Optional[Role]
    status: Standing
    created_at: int


@dataclass(frozen=True)
class KeyRate:
    """A key's own rate limit: calls in 1, 60, 3,600 or 86,400 seconds."""

    limit: int
    window_seconds: int


@dataclass(frozen=True)
class Key:
    """An API key, without its secret.

    `permissions` and `addresses` are None where the key is not narrowed."""

    organization: str
    id: str
    prefix: str
    user: str
    name: str
    environment: str
    creator: str
    created_at: int
    last_used_at: Optional[int]
    expires_at: Optional[int]
    revoked_at: Optional[int]
    state: KeyState
    rotating_until_at: Optional[int]
    permissions: Optional[Tuple[str, ...]]
    addresses: Optional[Tuple[str, ...]]
    rate: Optional[KeyRate]
    pepper: int


@dataclass(frozen=True)
class NewKey:
    """`secret` is what callers present; the daemon shows it this once."""

    key: Key
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Session:
    """A login. `reason` of its end: it was asked for, or a refresh token was used twice."""

    organization: str
    id: str
    user: str
    created_at: int
    expires_at: int
    idle_seconds: int
    revoked_at: Optional[int]
    reason: Optional[Literal["asked", "reuse"]]


@dataclass(frozen=True)
class Tokens:
    """What a login gives. `retried`: the refresh token had been used a moment ago, and this is
    what that use was given."""

    access_token: str = field(repr=False)
    token_type: str
    expires_in_seconds: int
    expires_at: int
    refresh_token: str = field(repr=False)
    session: Session
    retried: bool = False


@dataclass(frozen=True)
class Override:
    """Another amount of a plan's limit, for an organization or (`user`) one of its users."""

    organization: str
    user: Optional[str]
    limit: str
    units: int
    expires_at: Optional[int]


@dataclass(frozen=True)
class Credit:
    """Units granted to an organization beyond a quota, and what is burnt of them."""

    organization: str
    id: str
    quota: str
    meter: str
    units: int
    burnt: Optional[int]
    remaining: Optional[int]
    priority: int
    state: Optional[CreditState]
    effective_at: int
    expires_at: Optional[int]
    note: str
    created_at: int
    voided_at: Optional[int]


@dataclass(frozen=True)
class Revocation:
    """Kept until `expires_at`, when all that it refuses has expired."""

    organization: str
    personal: bool
    kind: RevokedKind
    subject: str
    at: int
    expires_at: int


@dataclass(frozen=True)
class Revoked:
    """`known` is False where the directory has no such subject. It is revoked all the same."""

    revocation: Revocation
    known: bool


@dataclass(frozen=True)
class RevokedSession:
    session: Session
    revocation: Revocation


@dataclass(frozen=True)
class SigningKey:
    """From `retirable_at` on no token lives that only this key verifies."""

    id: str
    algorithm: str
    state: SigningKeyState
    added_at: int
    promoted_at: Optional[int]
    demoted_at: Optional[int]
    retired_at: Optional[int]
    retirable_at: Optional[int]


@dataclass(frozen=True)
class PlanLimit:
    """A rate limit has a window, a quota a period."""

    name: str
    kind: LimitKind
    scope: LimitScope
    meter: str
    limit: int
    window_milliseconds: Optional[int]
    period: Optional[Literal["day", "week", "month", "billing_month", "total"]]


@dataclass(frozen=True)
class Plan:
    name: str
    permissions: Tuple[str, ...]
    limits: Tuple[PlanLimit, ...]


@dataclass(frozen=True)
class LimitChange:
    """None where the plan does not have the limit."""

    name: str
    kind: LimitKind
    scope: LimitScope
    meter: str
    before: Optional[int]
    after: Optional[int]


@dataclass(frozen=True)
class Overrun:
    """Who has used more than the new plan grants, and until when that counts (None: for ever)."""

    user: Optional[str]
    limit: str
    meter: str
    used: int
    limit_after: int
    until_at: Optional[int]


@dataclass(frozen=True)
class Preview:
    """What a plan change does, worked out before it. `over` may be cut short; `over_count` says
    how many there are."""

    from_plan: Optional[str] = field(metadata={"member": "from"})
    to_plan: str = field(metadata={"member": "to"})
    mode: ChangeMode
    effective_at: int
    permissions_lost: Tuple[str, ...]
    permissions_gained: Tuple[str, ...]
    limits: Tuple[LimitChange, ...]
    over: Tuple[Overrun, ...]
    over_count: int


@dataclass(frozen=True)
class PlanChange:
    organization: Organization
    effective_at: int
    preview: Preview


@dataclass(frozen=True)
class LogEntry:
    """Who changed what. `before` and `after` are the subject's documents; secrets never stand in
    them."""

    number: int
    at: int
    uid: int
    pid: int
    organization: Optional[str]
    action: str
    subject: str
    before: Optional[Mapping[str, object]]
    after: Optional[Mapping[str, object]]


@dataclass(frozen=True)
class Backup:
    path: str
    bytes: int


@dataclass(frozen=True)
class Pepper:
    """How many keys' secrets are hashed with this generation of the pepper."""

    generation: int
    keys: int
    configured: bool


@dataclass(frozen=True)
class DirectoryStatus:
    path: str
    organizations: int
    users: int
    keys: int
    sessions: int
    revocations: int
    peppers: Tuple[Pepper, ...]


@dataclass(frozen=True)
class Imported:
    """`unchanged` records were there already, and equal."""

    created: int
    unchanged: int


@dataclass(frozen=True)
class Snapshot:
    """`at` is when it was begun."""

    generation: int
    at: int
    bytes: int


@dataclass(frozen=True)
class LedgerHealth:
    """`refusing`: the disk takes nothing, and what would charge a quota is refused; `trouble` and
    `advice` say why, and what to do. `appended` and `synced` count slots of the journal."""

    state: LedgerState
    durability: Optional[Durability]
    path: Optional[str]
    life: int
    trouble: Optional[str]
    trouble_at: Optional[int]
    advice: Optional[str]
    appended: int
    synced: int
    lag_milliseconds: int
    syncs: int
    sync_failures: int
    segments: int
    journal_bytes: int
    snapshots: int
    snapshot_failures: int
    snapshot: Optional[Snapshot]
    closed_waiting: int
    reservations: int
    idempotency_records: int
    clock_held: bool


@dataclass(frozen=True)
class PeriodUsage:
    """What an organization (`user` is None) or a user used of a quota in one period. The period
    began on the date `begins_on`, in the quota's time zone; one that is `open` goes on. A `share`
    is the user's part of an organization's quota, whose own entry has these units in it."""

    organization: str
    personal: bool
    user: Optional[str]
    limit: str
    meter: str
    period: Period
    begins_on: str
    ends_at: Optional[int]
    used: Units
    credits: Units
    open: bool
    share: bool


@dataclass(frozen=True)
class Pruned:
    """Entries of the archive that are gone."""

    pruned: int


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list. `next` is the cursor of the part behind it; None at the end."""

    items: Tuple[T, ...]
    next: Optional[str]
