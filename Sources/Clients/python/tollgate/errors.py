"""What can be wrong with a request, its answer, or the way between."""

from __future__ import annotations

STATUSES = (
    "ok", "malformedFrame", "frameTooLarge", "unknownOpcode", "malformedBody",
    "unsupportedVersion", "unsupportedField", "forbidden", "unknownMeter", "unitsOutOfRange",
    "unknownPlan", "unknownOperation", "tooManyConnections", "unavailable", "policyInvalid",
    "internalError", "notFound", "alreadyExists", "invalidValue", "conflict", "storageFailed",
    "noDirectory", "busy", "refreshRefused",
)
TOO_MANY_CONNECTIONS, UNAVAILABLE, INTERNAL_ERROR = 12, 13, 15
# The daemon closes the connection behind these.
CLOSING = frozenset((1, 2, TOO_MANY_CONNECTIONS, UNAVAILABLE, INTERNAL_ERROR))
# These are about the daemon's state, not about the request.
DAEMONS_OWN = frozenset((TOO_MANY_CONNECTIONS, UNAVAILABLE, INTERNAL_ERROR))


class InvalidRequest(ValueError):
    """The arguments break the protocol's limits. Nothing was sent."""


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

    def __init__(self, code: int, detail: str) -> None:
        self.code = code
        self.status = STATUSES[code] if code < len(STATUSES) else f"status {code}"
        self.detail = detail
        super().__init__(f"{self.status}: {detail}")
