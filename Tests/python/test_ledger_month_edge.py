"""Months that end under load of several callers, with kill -9 before, at or after the edge: each
charge is in exactly one month, none has more than its quota, and what is exported is what callers
were told (RELIABILITY, T4). Edges of days: test_ledger_billing.py."""

import datetime
import os

from commandline import Cli
from fake_clock import FakeClock
from ledger_daemon import daemon
from ledger_payers import PLANS, RACED, Payer, live, use_up
from test_ledger_billing import exported, seeded

POLICY = PLANS.replace("limit: 120, period: day", "limit: 120, period: month")
# Further at once it would not be believed.
STEP = datetime.timedelta(hours=20)
BEFORE = datetime.timedelta(milliseconds=150)


def walk(one, clock, until):
    """A clock that goes on for weeks, as a running daemon sees it."""
    while clock.now() < until:
        clock.sleep(min(STEP, until - clock.now()))
        one.callers.ping()


def months(first, count):
    """When the next so many begin."""
    begins = []
    while len(begins) < count:
        first = (first + datetime.timedelta(days=32)).replace(day=1)
        begins.append(first)
    return begins


def test_a_charge_at_the_edge_of_a_month_is_in_exactly_one():
    chance, count = seeded(), int(os.environ.get("TOLLGATE_EDGES", "12")) // 3
    october = datetime.datetime(2026, 10, 1, tzinfo=datetime.UTC)
    edges = months(october, count)
    clock = FakeClock(edges[0] - 2 * STEP)
    try:
        with daemon(policy=POLICY, environment=clock.environment) as one:
            payers = [Payer(number, one, chance) for number in range(4)]
            for edge in edges:
                walk(one, clock, edge - BEFORE)
                live(one, clock.now(), payers, chance, one.kill)
                # It may have been killed before the edge.
                clock.set(max(clock.now(), edge + BEFORE))
                payers[0].raced += use_up(one, clock.now())
            # Over in every time zone.
            walk(one, clock, months(edges[-1], 1)[0] + 2 * STEP)
            one.die_and_start_again()
            told = {payer.user: payer.told for payer in payers}
            found = {}
            for begin in [october, *edges]:
                month = f"{begin:%Y-%m}"
                found[month] = exported(Cli(one), month)
                # What began in it, and nothing else.
                assert {day[:7] for *_, day in found[month] if day[:7] != month} <= {
                    f"{begin - datetime.timedelta(days=7):%Y-%m}"}
            raced = {month: entries.get(("race", "", "raced", f"{month}-01"), 0)
                     for month, entries in found.items()}
            assert sum(raced.values()) == sum(payer.raced for payer in payers)
            # Used up in every month but the first, in which few asked: to the unit.
            assert raced.pop("2026-10") <= RACED
            assert raced == {f"{edge:%Y-%m}": RACED for edge in edges}
            days = {user: 0 for user in told}
            for entries in found.values():
                for (organization, user, limit, _), units in entries.items():
                    if (organization, limit) == ("acme", "user_day"):
                        days[user] += units
            assert days == told
            billed = [entries.get(("acme", "", "month", f"{month}-01"), 0)
                      for month, entries in found.items()]
            assert sum(billed) == sum(told.values()) and billed[0] > 0
    finally:
        clock.remove()
