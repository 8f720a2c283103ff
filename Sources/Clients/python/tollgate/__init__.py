"""Client of the Tollgate daemon (Protocol.md, version 1). Standard library only."""

from .aio import AsyncClient
from .client import Client
from .documents import (
    Backup,
    DirectoryStatus,
    Imported,
    Key,
    KeyRate,
    LimitChange,
    LogEntry,
    NewKey,
    Organization,
    Override,
    Overrun,
    Page,
    PendingChange,
    Pepper,
    Plan,
    PlanChange,
    PlanLimit,
    Preview,
    Revocation,
    Revoked,
    RevokedSession,
    Session,
    SigningKey,
    Subscription,
    Tokens,
    User,
)
from .errors import (
    AlreadyExists,
    Busy,
    Conflict,
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
from .json_bodies import batches
from .replies import Decision, Hello, Limit, LimitEntry, Usage
from .wire import check_body

__all__ = [
    "AlreadyExists", "AsyncClient", "Backup", "Busy", "Client", "Conflict", "Decision",
    "DirectoryStatus", "Forbidden", "Hello", "Imported", "InvalidRequest", "InvalidValue", "Key",
    "KeyRate", "Limit", "LimitChange", "LimitEntry", "LogEntry", "MalformedReply", "NewKey",
    "NoDirectory", "NotFound", "Organization", "Override", "Overrun", "Page", "PendingChange",
    "Pepper", "Plan", "PlanChange", "PlanLimit", "Preview", "RefreshRefused", "Refused",
    "Revocation", "Revoked", "RevokedSession", "Session", "SigningKey", "StorageFailed",
    "Subscription", "TimedOut", "Tokens", "TollgateError", "Unreachable", "Usage", "User",
    "batches", "check_body",
]
