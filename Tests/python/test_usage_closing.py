"""Exports wait for room in the journal, and what was not exported is not pruned by mistake."""

import datetime

import pytest
from commandline import Cli
from fake_clock import FakeClock
from hardening import connect, read_reply
from ledger_daemon import daemon
from ledger_payers import PLANS
from test_ledger_billing import HOURS, exported, world
from tollgate import Conflict, replies, wire

NOON = datetime.datetime(2026, 10, 27, 13, tzinfo=datetime.UTC)
USERS = 2_000


def charge_many(one, organization, users):
    """One token of each user; the sum is `users`."""
    peer = connect(one.data)
    for start in range(0, users, 200):
        bodies = [wire.consume_body(organization, f"u{user}", "pro_tier", "chat", {"tokens": 1})
                  for user in range(start, min(users, start + 200))]
        peer.sendall(b"".join(wire.frame(wire.CONSUME, index + 1, body)
                              for index, body in enumerate(bodies)))
        for _ in bodies:
            assert replies.decision(read_reply(peer)[3]).allowed
    peer.close()


def test_an_export_waits_until_the_journal_has_room():
    # All in one shard, whose journal is brought in pieces of 16 KiB.
    with world(NOON) as (one, clock):
        charge_many(one, "acme", USERS)
        for hours in (20, 40):
            clock.set(NOON + hours * HOURS)
            one.callers.ping()
        days = {key: units for key, units in exported(Cli(one), "2026-10-27").items()
                if key[2] == "user_day"}
        assert len(days) == USERS and set(days.values()) == {1}
        assert "error" not in one.logged()
        one.die_and_start_again()
        assert sum(exported(Cli(one), "2026-10-27").values()) == 2 * USERS


@pytest.fixture
def over():
    """A day that is over, on which 5 tokens were used, and the next, which goes on."""
    with world(NOON) as (one, clock):
        one.charge("acme", "ada", 5, plan="pro_tier")
        for hours in (20, 40):
            clock.set(NOON + hours * HOURS)
            one.callers.ping()
        yield one, clock


def prune(one, *options, code=0):
    return Cli(one)("usage", "prune", "--period", "2026-10-27", "--yes", *options, code=code)


def test_what_was_never_exported_is_not_pruned(over):
    one, _ = over
    said = prune(one, code=1).stderr
    assert "not exported" in said and "--not-exported" in said
    # Of one organization alone, and of another day: that is not all.
    exported(Cli(one), "2026-10-27", "csv", "--organization", "acme")
    exported(Cli(one), "2026-10-26")
    prune(one, code=1)
    with pytest.raises(Conflict):
        one.admins.closed_usage.prune("2026-10-27")
    assert sum(exported(Cli(one), "2026-10-27").values()) == 10
    assert "2 entries" in prune(one).stdout
    assert exported(Cli(one), "2026-10-27") == {}


def test_what_was_not_listed_to_its_end_is_not_pruned(over):
    one, _ = over
    listing = one.admins.closed_usage.list("2026-10-27")
    first = listing.page(limit=1)
    assert len(first.items) == 1 and first.next
    with pytest.raises(Conflict):
        one.admins.closed_usage.prune("2026-10-27")
    # From further on it is not all, wherever that place comes from.
    assert first.next != "c.1.0.2"
    listing.page("c.1.0.2")
    with pytest.raises(Conflict):
        one.admins.closed_usage.prune("2026-10-27")
    after = first.next
    while after:
        after = listing.page(after, limit=1).next
    assert one.admins.closed_usage.prune("2026-10-27").pruned == 2


def test_what_was_exported_before_a_restart_is_asked_about_again(over):
    one, _ = over
    exported(Cli(one), "2026-10-27")
    one.die_and_start_again()
    prune(one, code=1)
    # Nothing was closed by this start, and it is all of the day nevertheless.
    assert "2 entries" in prune(one, "--not-exported").stdout


def test_what_is_over_is_closed_before_it_is_pruned(over):
    one, _ = over
    assert one.admins.closed_usage.prune("2026-10-27", not_exported=True).pruned == 2
    assert exported(Cli(one), "2026-10-27") == {}
    one.die_and_start_again()
    assert exported(Cli(one), "2026-10-27") == {}
