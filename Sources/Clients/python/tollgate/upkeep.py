"""Calls about the directory itself: its log, backups, moving in and out."""

from __future__ import annotations

from typing import Optional, Sequence

from . import documents as docs
from .calls import Group, Mode, Request, call, listing
from .documents import Page
from .json_bodies import Read, Record, of, page


RECORDS: "Read[Page[Record]]" = page(dict)


class Log(Group[Mode]):
    @listing
    def list(self, organization: Optional[str] = None) -> "Request[Page[docs.LogEntry]]":
        """Every change by whom, the newest first."""
        return Request("log.list", {"organization": organization}, page(docs.LogEntry))


class Backups(Group[Mode]):
    @call
    def create(self, path: str) -> "Request[docs.Backup]":
        """A copy of the directory in a file of the daemon's host that is not there yet."""
        return Request("backup.create", {"path": path}, of(docs.Backup))


class Directory(Group[Mode]):
    @call
    def status(self) -> "Request[docs.DirectoryStatus]":
        return Request("directory.status", {}, of(docs.DirectoryStatus))

    @listing
    def export_records(self) -> "Request[Page[Record]]":
        """Organizations, users, overrides, grants, keys (hashed) and revocations, as
        `import_records` takes them."""
        return Request("directory.export", {}, RECORDS)

    @call
    def import_records(self, records: Sequence[Record]) -> "Request[docs.Imported]":
        """All of them or none; `batches` cuts many into parts that fit a call. Records that are
        there and equal are left, so that an import broken off may be run again."""
        return Request("directory.import", {"records": [*records]}, of(docs.Imported))
