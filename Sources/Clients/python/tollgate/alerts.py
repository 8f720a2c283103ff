"""Calls about alerts: taking note of them, keeping them back for a time, testing their way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional

from .calls import Group, Mode, Request, call, listing
from .documents import Page
from .json_bodies import Instant, member, page

AlertKind = Literal[
    "quota_threshold", "quota_exhausted_early", "quota_forecast", "invalid_credentials",
    "refresh_reuse", "key_networks", "sudden_rise", "costly_operation", "daemon_trouble", "test"]
AlertSeverity = Literal["info", "warning", "critical"]


@dataclass(frozen=True)
class Alert:
    """What an operator was told of, once; of the kind "test" nothing is the matter. What it is not
    about is None; `threshold`, `value` and `limit` are 0 where they do not matter. With `shadow`
    the quota that it is about refuses nobody."""

    id: int
    rule: str
    kind: AlertKind
    severity: AlertSeverity
    at: int
    text: str
    organization: Optional[str]
    personal: bool
    user: Optional[str]
    key: Optional[str]
    address: Optional[str]
    quota: Optional[str]
    operation: Optional[str]
    trouble: Optional[str]
    threshold: int
    value: int
    limit: int
    period_ends_at: Optional[int]
    exhausted_at: Optional[int]
    shadow: bool
    silenced: bool
    acknowledged_at: Optional[int]
    acknowledged_by: Optional[int]
    note: str


@dataclass(frozen=True)
class Silence:
    """Nobody is told of alerts of the rule and about all that is said here; None is any."""

    id: int
    rule: Optional[str]
    organization: Optional[str]
    personal: Optional[bool]
    user: Optional[str]
    key: Optional[str]
    address: Optional[str]
    quota: Optional[str]
    operation: Optional[str]
    trouble: Optional[str]
    at: int
    until_at: int
    uid: int
    note: str


ALERT = member("alert", Alert)
SILENCE = member("silence", Silence)


class Alerts(Group[Mode]):
    @listing
    def list(
        self, *, rule: Optional[str] = None, organization: Optional[str] = None
    ) -> "Request[Page[Alert]]":
        """The newest 1,000, the newest first."""
        return Request(
            "alert.list", {"rule": rule, "organization": organization}, page(Alert))

    @call
    def ack(self, id: int, *, note: Optional[str] = None) -> "Request[Alert]":
        """Says that somebody has taken note of it; another note takes the former's place."""
        return Request("alert.ack", {"id": id, "note": note}, ALERT)

    @call
    def test(self, rule: Optional[str] = None) -> "Request[Alert]":
        """Sends a test where alerts go, whatever is silenced."""
        return Request("alert.test", {"rule": rule}, ALERT)


class Silences(Group[Mode]):
    @call
    def create(
        self, *, rule: Optional[str] = None, organization: Optional[str] = None,
        personal: Optional[bool] = None, user: Optional[str] = None, key: Optional[str] = None,
        address: Optional[str] = None, quota: Optional[str] = None,
        operation: Optional[str] = None, trouble: Optional[str] = None,
        until_at: Optional[Instant] = None, for_seconds: Optional[int] = None,
        note: Optional[str] = None,
    ) -> "Request[Silence]":
        """Of alerts about all that is given; `until_at`, or `for_seconds`, at most 366 days."""
        return Request("silence.create", {
            "rule": rule, "organization": organization, "personal": personal, "user": user,
            "key": key, "address": address, "quota": quota, "operation": operation,
            "trouble": trouble, "until_at": until_at, "for_seconds": for_seconds, "note": note},
            SILENCE)

    @listing
    def list(self) -> "Request[Page[Silence]]":
        """Those that hold, the newest first."""
        return Request("silence.list", {}, page(Silence))

    @call
    def remove(self, id: int) -> "Request[Silence]":
        """Ends it before its time."""
        return Request("silence.remove", {"id": id}, SILENCE)
