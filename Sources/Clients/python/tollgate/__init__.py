"""Client of the Tollgate daemon (Protocol.md, version 1). Standard library only."""

from .aio import AsyncClient
from .client import Client
from .wire import (
    Decision,
    Limit,
    LimitEntry,
    MalformedReply,
    Refused,
    TimedOut,
    TollgateError,
    Unreachable,
    Usage,
)

__all__ = [
    "AsyncClient", "Client", "Decision", "Limit", "LimitEntry", "MalformedReply", "Refused",
    "TimedOut", "TollgateError", "Unreachable", "Usage",
]
