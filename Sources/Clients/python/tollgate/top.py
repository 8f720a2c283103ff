"""The call of those who watch: who is busiest, and who is nearest to the end of a quota."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from .calls import Group, Mode, Request, call
from .documents import Period, Units
from .json_bodies import member


@dataclass(frozen=True)
class BusyOrganization:
    """`recent` are decisions of late, of which each counts half as much after every 30 seconds, and
    which may be too many by `recent_error`. `allowed` and `denied` are whole ones, since the
    organization is counted apart; they begin anew where others took its place meanwhile."""

    organization: str
    personal: bool
    recent: int
    recent_error: int
    allowed: int
    denied: int


@dataclass(frozen=True)
class NearestQuota:
    """Of an organization (`user` is None) or a user; `held` is no part of `used`. A `share` is a
    user's cap within an organization's quota; one in `shadow` refuses nobody."""

    organization: str
    personal: bool
    user: Optional[str]
    plan: str
    quota: str
    meter: str
    period: Period
    used: Units
    held: Units
    limit: Units
    ends_at: Optional[int]
    share: bool
    shadow: bool


@dataclass(frozen=True)
class Top:
    """`nearest` is as of `at`. Decisions are counted since `since_at`, the first time that somebody
    asked; None: they are not, for there is no audit log. Who is not counted apart had at most
    `missed_max` of late. Of allowed CHECKs one in `sample_one_in` is counted."""

    at: int
    since_at: Optional[int]
    sample_one_in: int
    missed_max: int
    busiest: Tuple[BusyOrganization, ...]
    nearest: Tuple[NearestQuota, ...]


class Watch(Group[Mode]):
    @call
    def show(self, limit: Optional[int] = None) -> "Request[Top]":
        """Of either list at most `limit`: 1 to 100, by default 10."""
        return Request("top.show", {"limit": limit}, member("top", Top))
