"""Every call, by what it is about."""

from __future__ import annotations

from typing import Any, Callable, Generic

from .accounts import Credits, Organizations, Overrides, Plans, Users
from .alerts import Alerts, Silences
from .calls import Mode, Request
from .credentials import Keys, Revoke, Sessions, SigningKeys, Tokens
from .top import Watch
from .upkeep import Backups, Directory, Log
from .usage import ClosedUsage, Ledger, Snapshots


class Groups(Generic[Mode]):
    """What both clients carry.

    Ids and names are texts of 1 to 128 bytes. An instant that is given is an `int`, milliseconds
    since 1970, or a `datetime` with a time zone. All calls want the admin socket and a process of
    the role admin, but `tokens` and `sessions.end`, which want the role issue, on either socket,
    and `top`, which is for the role watch too, on either socket.
    """

    def __init__(self, ask: "Callable[[Request[Any]], Any]", listing: "type[Any]") -> None:
        self.organizations: Organizations[Mode] = Organizations(ask, listing)
        self.users: Users[Mode] = Users(ask, listing)
        self.overrides: Overrides[Mode] = Overrides(ask, listing)
        self.credits: Credits[Mode] = Credits(ask, listing)
        self.plans: Plans[Mode] = Plans(ask, listing)
        self.keys: Keys[Mode] = Keys(ask, listing)
        self.tokens: Tokens[Mode] = Tokens(ask, listing)
        self.sessions: Sessions[Mode] = Sessions(ask, listing)
        self.revoke: Revoke[Mode] = Revoke(ask, listing)
        self.signing_keys: SigningKeys[Mode] = SigningKeys(ask, listing)
        self.log: Log[Mode] = Log(ask, listing)
        self.backups: Backups[Mode] = Backups(ask, listing)
        self.directory: Directory[Mode] = Directory(ask, listing)
        self.ledger: Ledger[Mode] = Ledger(ask, listing)
        self.snapshots: Snapshots[Mode] = Snapshots(ask, listing)
        self.closed_usage: ClosedUsage[Mode] = ClosedUsage(ask, listing)
        self.alerts: Alerts[Mode] = Alerts(ask, listing)
        self.silences: Silences[Mode] = Silences(ask, listing)
        self.top: Watch[Mode] = Watch(ask, listing)
