"""Calls about the ledger: how it does, its snapshots, what was used in periods that are over."""

from __future__ import annotations

from typing import Optional

from . import documents as docs
from .calls import Group, Mode, Request, call, listing
from .documents import Page
from .json_bodies import member, of, page


class Ledger(Group[Mode]):
    @call
    def status(self) -> "Request[docs.LedgerHealth]":
        """Without a ledger its state is "off"."""
        return Request("ledger.status", {}, member("ledger", docs.LedgerHealth))


class Snapshots(Group[Mode]):
    @call
    def create(self) -> "Request[docs.Snapshot]":
        """Answered when it is on the disk."""
        return Request("snapshot.create", {}, member("snapshot", docs.Snapshot))

    @listing
    def list(self) -> "Request[Page[docs.Snapshot]]":
        """Those that are kept, the newest first."""
        return Request("snapshot.list", {}, page(docs.Snapshot))


class ClosedUsage(Group[Mode]):
    @listing
    def list(
        self, period: str, *, organization: Optional[str] = None,
        including_open: bool = False,
    ) -> "Request[Page[docs.PeriodUsage]]":
        """Of periods that began in a month ("2026-10") or on a day ("2026-10-31"). Raises Conflict
        while one of them goes on, unless those that do are asked for as well, as they are now."""
        return Request(
            "usage.closed",
            {"period": period, "organization": organization, "open": including_open or None},
            page(docs.PeriodUsage))

    @call
    def prune(self, period: str, *, not_exported: bool = False) -> "Request[docs.Pruned]":
        """Takes them out of the archive, for good. Raises Conflict where not all of them were
        listed since the daemon started, unless that is said to be right (`not_exported`)."""
        return Request(
            "usage.prune", {"period": period, "not_exported": not_exported or None},
            of(docs.Pruned))
