"""Client of the Tollgate daemon (Protocol.md, version 1). Standard library only."""

from .aio import AsyncClient
from .client import Client
from .errors import (
    InvalidRequest,
    MalformedReply,
    Refused,
    TimedOut,
    TollgateError,
    Unreachable,
)
from .replies import Decision, Hello, Limit, LimitEntry, Usage
from .wire import check_body

__all__ = [
    "AsyncClient", "Client", "Decision", "Hello", "InvalidRequest", "Limit", "LimitEntry",
    "MalformedReply", "Refused", "TimedOut", "TollgateError", "Unreachable", "Usage",
    "check_body",
]
