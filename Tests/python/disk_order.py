"""What must have come before what, in a trace of a daemon with `durability: always`
(RELIABILITY, D7, D11):

- No reply that tells of a charge leaves before a sync of the journal, or of the group log, that
  began after its request was read has returned; or before a whole snapshot that began after it is
  durable.
- Nothing is written to the group log before what was written last is synced, nor its head anew
  before the journal was synced behind all of it.
- A file gets its name after its sync, a snapshot also after the journal's if the journal went on
  while it was copied. A file of the journal is used once its name is durable.
- A snapshot is told of once its name is durable, and until then nothing is removed.
- A snapshot is removed once two newer ones are durable; a file of the journal once two are that
  were begun after it was last synced.
- A file whose sync failed is never synced again, nor opened."""

import collections
import dataclasses
import re
import struct

from disk_trace import events
from tollgate import replies, wire

VERBS = {wire.CHECK, wire.CONSUME, wire.RESERVE, wire.EXTEND, wire.SETTLE, wire.CANCEL}
PART = ".part"
GENERATIONS_KEPT = 2
# SnapshotFormat.swift: a block's kind, and where its content begins; a row of the table of shards.
SHARDS_KIND, BLOCK_HEADER, SHARD_ROW = 5, 32, 40
# GroupLogFormat.swift: where batches begin, behind the heads.
FIRST_BATCH = 8_192
# Before the trace.
EVER = -1


@dataclasses.dataclass
class File:
    """Lines at which something about it was last known to be so."""

    opened: int = EVER
    written: int = EVER
    # Begin and end of the last sync that succeeded.
    synced: "tuple[int, int]" = (EVER, EVER)
    named: int = EVER
    is_durable: bool = True
    # Of a group log: a batch was written since its head was.
    is_begun: bool = False
    has_failed: bool = False
    # Of a snapshot: whether the journal went on while a shard was copied.
    has_run_on: bool = False


class Order:
    """Reads a trace. `problems` says at which line what was wrong; `counts` what was seen.

    `ledger` is the directory's path, `present` are the names in it as the trace begins,
    `repeated` idempotency ids that are sent more than once."""

    def __init__(self, ledger, present=(), repeated=()):
        self.ledger, self.repeated = str(ledger), list(repeated)
        self.files = {f"{self.ledger}/{name}": File() for name in present}
        self.counts, self.problems = collections.Counter(), []
        self.line = 0
        # Begin of the latest sync of the journal, or whole snapshot, that ended well.
        self.covered = EVER
        self.journal_synced = EVER
        self.first_read = {}
        self.asked, self.unread, self.unsent = {}, {}, {}
        self.running = {}

    def problem(self, words):
        self.problems.append(f"line {self.line + 1}: {words}")

    def kind(self, path):
        """Of a file of the ledger, by its name: journal, snapshot or group; and whether it is a
        part."""
        name = path.removeprefix(self.ledger + "/") if path.startswith(self.ledger + "/") else ""
        kind = "group" if name.startswith("group.tgg") else name.split("-")[0]
        return kind if kind in ("journal", "snapshot", "group") else None, path.endswith(PART)

    def read(self, lines):
        for self.line, is_begin, call in events(lines):
            name = {"renameat": "rename", "renameat2": "rename", "unlinkat": "unlink",
                    "fsync": "sync", "fdatasync": "sync"}.get(call.name, call.name)
            step = getattr(self, f"{name}_{'begins' if is_begin else 'ends'}", None)
            if step:
                step(call)
        return self

    # MARK: requests and replies

    def recvfrom_ends(self, call):
        if call.is_good and call.result > 0 and (call.file or "").startswith("socket:"):
            for opcode, _, identity, body in self.frames(
                    self.unread, call, call.result):
                if opcode in VERBS:
                    begun = self.line
                    for repeated in self.repeated:
                        if repeated in body:
                            begun = self.first_read.setdefault(repeated, begun)
                    self.asked[call.file, identity] = begun
                    self.counts["requests"] += 1

    def sendto_begins(self, call):
        if not call.is_good:
            return
        for opcode, status, identity, body in self.frames(self.unsent, call, call.result):
            generation = re.search(rb'"generation":\s*(\d+)', body)
            if generation and opcode & ~wire.REPLY == wire.CALL:
                self.tell(int(generation.group(1)))
            asked = self.asked.pop((call.file, identity), None)
            if asked is None or status != 0 or not replies.decision(body).allowed:
                continue
            self.counts["replies"] += 1
            if self.covered <= asked:
                self.problem(f"a reply leaves before a sync: asked at line {asked + 1}")

    def frames(self, kept, call, count):
        """Whole frames; what is left waits for the next call of that socket."""
        texts = call.texts()
        if call.is_cut or not texts:
            self.problem("the trace does not show all that was sent")
            return
        data = kept.get(call.file, b"") + texts[0][:count]
        while len(data) >= wire.HEADER.size:
            length, opcode, _, status, identity = wire.HEADER.unpack_from(data)
            if len(data) < length + 4:
                break
            yield opcode, status, identity, data[wire.HEADER.size : length + 4]
            data = data[length + 4 :]
        kept[call.file] = data

    def tell(self, generation):
        file = self.files.get(f"{self.ledger}/snapshot-{generation:012}.tgs")
        self.counts["snapshots told"] += 1
        if file is None or not file.is_durable:
            self.problem(f"snapshot {generation} is told of before its name is durable")

    # MARK: files

    def openat_ends(self, call):
        if not call.is_good:
            return
        path = call.texts()[0].decode()
        if "O_CREAT" in call.arguments:
            self.files[path] = File(opened=call.begun, is_durable=False)
        elif self.failed(path):
            self.problem(f"{path} is opened, whose sync had failed")

    def failed(self, path):
        return path in self.files and self.files[path].has_failed

    def pwrite64_begins(self, call):
        file, kind = self.files.get(call.file), self.kind(call.file or "")
        if file is None or kind != ("group", False):
            return
        if file.written != EVER and file.synced[0] <= file.written:
            self.problem(f"{call.file} is written to before what was written last is synced")
        is_head = int(call.arguments.rsplit(",", 1)[1]) < FIRST_BATCH
        if is_head and file.is_begun and self.journal_synced <= file.synced[1]:
            self.problem(f"{call.file} begins anew before a sync of the journal")
        file.is_begun = not is_head
        self.counts["group logs begun anew"] += is_head

    def pwrite64_ends(self, call):
        file = self.files.get(call.file)
        if file is None or not call.is_good:
            return
        file.written = self.line
        if self.kind(call.file)[0] != "snapshot":
            return
        block = call.texts()[0]
        if len(block) > BLOCK_HEADER and block[:2] == struct.pack("<H", SHARDS_KIND):
            rows = block[BLOCK_HEADER : BLOCK_HEADER + struct.unpack_from("<I", block, 4)[0]]
            file.has_run_on = any(
                start != end for start, end, *_ in struct.iter_unpack("<5Q", rows))

    def sync_begins(self, call):
        path = call.file
        if path == self.ledger:
            return
        file = self.files.setdefault(path, File())
        self.running[id(call)] = file
        if file.has_failed:
            self.problem(f"{path} is synced again after a sync of it had failed")
        kind, is_part = self.kind(path)
        if kind in ("journal", "group") and not is_part and not file.is_durable:
            self.problem(f"{path} is used before its name is durable")

    def sync_ends(self, call):
        if call.file == self.ledger:
            return self.directory_synced(call)
        file = self.running.pop(id(call))
        if not call.is_good:
            self.counts["syncs that failed"] += 1
            file.has_failed = True
            return
        file.synced = (call.begun, self.line)
        kind, is_part = self.kind(call.file)
        if kind == "journal" and not is_part:
            self.counts["syncs"] += 1
            self.covered = max(self.covered, call.begun)
            self.journal_synced = max(self.journal_synced, call.begun)
        if kind == "group" and not is_part:
            self.counts["group commits"] += 1
            self.covered = max(self.covered, call.begun)

    def directory_synced(self, call):
        if not call.is_good:
            return
        for path, file in self.files.items():
            kind, is_part = self.kind(path)
            if not kind or is_part or file.is_durable or file.named >= call.begun:
                continue
            file.is_durable = True
            self.counts[f"{kind}s"] += 1
            if kind == "snapshot":
                self.covered = max(self.covered, file.opened)

    def rename_begins(self, call):
        before, after = (text.decode() for text in call.texts()[:2])
        file = self.files.get(before)
        kind, _ = self.kind(after)
        if not call.is_good or file is None or kind is None:
            return
        if file.synced[0] <= file.written:
            self.problem(f"{after} gets its name before what it holds was synced")
        if kind == "snapshot" and file.has_run_on:
            self.counts["snapshots behind the journal"] += 1
            if self.journal_synced <= file.synced[1]:
                self.problem(f"{after} gets its name before a sync of the journal")
        self.files[after] = self.files.pop(before)

    def rename_ends(self, call):
        after = call.texts()[1].decode()
        if call.is_good and after in self.files:
            self.files[after].named = self.line

    def unlink_begins(self, call):
        path = call.texts()[0].decode()
        kind, is_part = self.kind(path)
        if call.is_good and kind in ("journal", "snapshot") and not is_part:
            self.remove(path, kind)
        if call.is_good:
            self.files.pop(path, None)

    def remove(self, path, kind):
        snapshots = {other: file for other, file in self.files.items()
                     if self.kind(other) == ("snapshot", False)}
        if any(not file.is_durable for file in snapshots.values()):
            self.problem(f"{path} is removed before the directory was synced")
        newer = [file for other, file in snapshots.items() if file.is_durable and (
            other > path if kind == "snapshot" else file.opened > self.last_use(path))]
        self.counts[f"{kind}s removed"] += 1
        if len(newer) < GENERATIONS_KEPT:
            self.problem(f"{path} is removed with {len(newer)} newer snapshots")

    def last_use(self, path):
        """Before the trace began, as far as it tells: earlier than any snapshot."""
        file = self.files.get(path)
        return EVER - 1 if file is None or file.synced[1] == EVER else file.synced[1]
