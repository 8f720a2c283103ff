"""What can be wrong with a request, its answer, or the way between."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .replies import Decision

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


class Denied(Exception):
    """Nothing is held, so the block of a `with` is not entered. `decision` says why."""

    def __init__(self, decision: "Decision") -> None:
        self.decision = decision
        super().__init__(decision.reason)


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


class Forbidden(Refused):
    """Not for this socket, or not for this process's role."""


class NotFound(Refused):
    """There is none of that id, or no such reservation any more; so looks what is another
    organization's, too."""


class AlreadyExists(Refused):
    """The id is taken."""


class InvalidValue(Refused):
    """A member of a call is wrong, or missing; `detail` is `member: what is wrong`."""


class Conflict(Refused):
    """It cannot be done as things stand now; `detail` says why and what to do. The reservation
    has ended otherwise, or the idempotency id stands for another request."""


class StorageFailed(Refused):
    """The daemon's disk failed. Nothing was changed."""


class NoDirectory(Refused):
    """The daemon's policy has no `directory`."""


class Busy(Refused):
    """Too many calls wait; ask again."""


class RefreshRefused(Refused):
    """The refresh token is not good, and the user must log in again. Every such token looks
    alike: unknown, spent, expired, revoked."""


REFUSALS = {
    7: Forbidden, 16: NotFound, 17: AlreadyExists, 18: InvalidValue, 19: Conflict,
    20: StorageFailed, 21: NoDirectory, 22: Busy, 23: RefreshRefused,
}
