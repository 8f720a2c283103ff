"""Client of the Tollgate daemon (Protocol.md, version 1). Standard library only."""

from .alerts import Alert, Silence
from .aio import AsyncClient
from .client import Client
from .documents import (
    Backup,
    Credit,
    DirectoryStatus,
    Imported,
    Key,
    KeyRate,
    LedgerHealth,
    LimitChange,
    LogEntry,
    NewKey,
    Organization,
    Override,
    Overrun,
    Page,
    PendingChange,
    Pepper,
    PeriodUsage,
    Plan,
    PlanChange,
    PlanLimit,
    Preview,
    Pruned,
    Revocation,
    Revoked,
    RevokedSession,
    Session,
    SigningKey,
    Snapshot,
    Subscription,
    Tokens,
    User,
)
from .errors import (
    AlreadyExists,
    Busy,
    Conflict,
    Denied,
    Forbidden,
    InvalidRequest,
    InvalidValue,
    MalformedReply,
    NoDirectory,
    NotFound,
    Refused,
    RefreshRefused,
    StorageFailed,
    TimedOut,
    TollgateError,
    Unreachable,
)
from .holds import AsyncHold, Hold
from .json_bodies import batches
from .replies import (
    STATS_LEFT_OUT, CreditEntry, Decision, Hello, Limit, LimitEntry, Reservation, Usage, WouldDeny,
)
from .top import BusyOrganization, NearestQuota, Top
from .wire import check_body, new_id

__all__ = [
    "Alert", "AlreadyExists", "AsyncClient",
    "AsyncHold", "Backup", "Busy", "BusyOrganization", "Client", "Conflict", "Credit",
    "CreditEntry", "Decision", "Denied", "DirectoryStatus", "Forbidden", "Hello", "Hold",
    "Imported", "InvalidRequest", "InvalidValue", "Key", "KeyRate", "LedgerHealth", "Limit",
    "LimitChange", "LimitEntry", "LogEntry", "MalformedReply", "NearestQuota",
    "NewKey", "NoDirectory", "NotFound",
    "Organization", "Override", "Overrun", "Page", "PendingChange", "Pepper", "PeriodUsage", "Plan",
    "PlanChange", "PlanLimit", "Preview", "Pruned", "RefreshRefused", "Refused", "Reservation",
    "Revocation", "Revoked", "RevokedSession", "STATS_LEFT_OUT", "Session", "SigningKey",
    "Silence", "Snapshot", "StorageFailed",
    "Subscription", "TimedOut", "Tokens", "Top", "TollgateError", "Unreachable", "Usage", "User",
    "WouldDeny", "batches", "check_body", "new_id",
]
