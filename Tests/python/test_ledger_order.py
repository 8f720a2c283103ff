"""What a real daemon with `durability: always` does in which order, as strace wrote it down, while
several clients charge, reserve and ask again, and snapshots are written (RELIABILITY, D11)."""

import concurrent.futures
import os
import re
import time

import pytest
from disk_order import Order
from disk_trace import traced
from hardening import connect, read_reply, token
from ledger_daemon import PLAN, Burst, LedgerDaemon, LedgerPlace, used
from tollgate import Client, new_id, replies, wire

# In one organization, and so in one shard, which is copied in several slices.
USERS = 6_000
# The load goes on until so many files of the journal were removed.
REMOVED, SECONDS_MAX = 4, 60
PAIRS = 60


class Load:
    """A daemon under load, traced; what its clients were told."""

    def __init__(self, log):
        self.place = LedgerPlace()
        self.one = LedgerDaemon(
            self.place, ledger={"durability": "always"})
        self.told, self.repeated = {}, [new_id() for _ in range(PAIRS)]
        try:
            self.fill("crowd")
            present = os.listdir(self.place.ledger)
            with traced(self.one, log):
                self.deadline = time.monotonic() + SECONDS_MAX
                with concurrent.futures.ThreadPoolExecutor() as pool:
                    for work in [pool.submit(self.charge, "o1", 1), pool.submit(
                            self.charge, "o2", 128), pool.submit(self.charge, "crowd", 128),
                            pool.submit(self.reserve, "o4"), pool.submit(self.repeat, "o5"),
                            pool.submit(self.snapshots)]:
                        work.result()
            self.found = {name: used(self.one.callers, name, "ada")["user_tokens"]
                          for name in self.told}
            assert self.one.stop() == 0
        finally:
            self.one.remove()
            self.place.remove()
        self.lines = log.read_text().splitlines()
        self.order = lambda lines: Order(self.place.ledger, present, self.repeated).read(lines)

    def fill(self, organization):
        peer = connect(self.one.data)
        for start in range(0, USERS, wire.IN_FLIGHT_MAX):
            users = range(start, min(USERS, start + wire.IN_FLIGHT_MAX))
            peer.sendall(b"".join(wire.frame(wire.CONSUME, user + 1, wire.consume_body(
                organization, f"u{user}", PLAN, "look", {"tokens": 1})) for user in users))
            for _ in users:
                assert replies.decision(read_reply(peer)[3]).allowed
        peer.close()

    def is_over(self):
        assert time.monotonic() < self.deadline, self.one.logged()
        files = [path for path in self.place.files("journal") if path.suffix == ".tgj"]
        # They are numbered from 1. One that a quiet organization still writes to stays.
        return int(files[-1].stem.split("-")[1]) - len(files) >= REMOVED

    def charge(self, organization, at_once):
        burst = Burst(self.one, organization)
        while not self.is_over():
            assert set(burst.charge(at_once)) <= {"none", "ledgerUnavailable"}
        burst.close()
        self.told[organization] = burst.told

    def reserve(self, organization):
        credential, told = token(self.one, plan=PLAN, org=organization), 0
        with Client(self.one.data, timeout=20) as client:
            while not self.is_over():
                hold = client.reserve(credential, operation="chat", units={"tokens": 50})
                client.extend(hold.id, {"tokens": 70}, {"tokens": 1})
                if told % 3 == 0:
                    client.cancel(hold.id)
                told += 7 if client.settle(hold.id, {"tokens": 7}).allowed else 0
        self.told[organization] = told

    def repeat(self, organization):
        """Each id on two connections at once: the second answer is the first, from memory."""
        peers = [connect(self.one.data) for _ in range(2)]
        for number, identity in enumerate(self.repeated):
            body = wire.consume_body(
                organization, "ada", PLAN, "look", {"tokens": 1}, idempotency_id=identity)
            for peer in peers:
                peer.sendall(wire.frame(wire.CONSUME, number + 1, body))
            for peer in peers:
                _, status, _, reply = read_reply(peer)
                assert status == 0 and replies.decision(reply).allowed
        for peer in peers:
            peer.close()
        self.told[organization] = PAIRS

    def snapshots(self):
        with Client(self.one.admin, timeout=30) as admin:
            while not self.is_over():
                admin.snapshots.create()
                time.sleep(0.1)


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    return Load(tmp_path_factory.mktemp("order") / "trace")


def test_no_reply_and_no_name_comes_before_what_it_stands_for_is_on_the_disk(load):
    order = load.order(load.lines)
    assert order.problems == []
    assert load.found == load.told
    least = {"requests": 500, "replies": 500, "syncs": 10, "group commits": 200,
             "group logs begun anew": 3, "snapshots": 5, "journals": 4,
             "snapshots told": 5, "snapshots removed": 3, "journals removed": REMOVED,
             "snapshots behind the journal": 1}
    assert {name: order.counts[name] for name, count in least.items()
            if order.counts[name] < count} == {}


# Begins of calls that are left out of the trace, as if they had never been made.
NEVER_MADE = {
    "a sync of the group log": (r"fdatasync\(.*group\.tgg>", "a reply leaves before a sync"),
    "a sync of the journal": (r"fdatasync\(.*journal-\d+\.tgj>", "begins anew before a sync"),
    "a sync of a snapshot": (r"fdatasync\(.*snapshot-\d+\.tgs\.part>", "gets its name before what"),
    "a sync of a new file of the journal": (
        r"fdatasync\(.*journal-\d+\.tgj\.part>", "gets its name before what"),
    "a sync of the directory": (r" fsync\(", "before its name is durable"),
}


@pytest.mark.parametrize("what", NEVER_MADE)
def test_in_its_own_trace_the_lack_of_a_sync_is_noticed(load, what):
    call, words = NEVER_MADE[what]
    first = next(number for number, line in enumerate(load.lines) if re.search(call, line[:200]))
    some = load.lines[: first + 600]
    assert load.order(some).problems == []
    kept = [line for line in some if not re.search(call, line[:200])]
    assert words in "\n".join(load.order(kept).problems)


def test_in_its_own_trace_a_reply_that_is_sent_at_once_is_noticed(load):
    some, read, moved = load.lines[:1_500], {}, 0
    for number, line in enumerate(some):
        call = re.match(r"\d+ +(recvfrom|sendto)\(\d+<(socket:\[\d+\])>, .* = \d+$", line)
        if call and call.group(1) == "recvfrom":
            read.setdefault(call.group(2), number)
        elif call and call.group(2) in read and moved < 8:
            asked = read.pop(call.group(2)) + 1
            after = load.order([*some[:asked], line])
            unread = load.order([*some[: asked - 1], line])
            # It tells of a charge that was read there, and not of one read before and synced since.
            if after.counts["replies"] > unread.counts["replies"]:
                moved += 1
                assert "a reply leaves before a sync" in "".join(after.problems), number
    assert moved
