"""What is exported of closed periods is what callers were told, to the unit, whatever was killed or
ended meanwhile, and nothing is pruned that could not have been exported (RELIABILITY, C6, T4)."""

import collections
import contextlib
import csv
import datetime
import io
import json
import os
import random
import zoneinfo

import pytest
from commandline import Cli
from fake_clock import FakeClock
from hardening import token
from ledger_daemon import daemon
from ledger_payers import PLANS, RACED, Payer, live, use_up
from tollgate import new_id

HOURS = datetime.timedelta(hours=1)
FORMATS = ("csv", "jsonl", "cloudevents")


def seeded():
    seed = int(os.environ.get("TOLLGATE_SEED", random.randrange(1 << 32)))
    print("seed", seed)
    return random.Random(seed)


@contextlib.contextmanager
def world(now, **ledger):
    clock = FakeClock(now)
    try:
        with daemon(policy=PLANS, environment=clock.environment, ledger=ledger) as one:
            yield one, clock
    finally:
        clock.remove()


def begin(now, period, zone="UTC"):
    """The local day on which a period began."""
    day = now.astimezone(zoneinfo.ZoneInfo(zone)).date()
    if period == "week":
        day -= datetime.timedelta(days=day.weekday())
    return str(day.replace(day=1) if period == "month" else day)


class Books:
    """Units by organization, user, limit and the day on which its period began."""

    def __init__(self):
        self.told = collections.Counter()

    def add(self, now, organization, user, tokens, calls):
        for key, units in (
            ((user, "user_day", begin(now, "day")), tokens),
            (("", "tokyo_day", begin(now, "day", "Asia/Tokyo")), tokens),
            (("", "month", begin(now, "month")), tokens),
            (("", "calls_week", begin(now, "week")), calls),
        ):
            self.told[(organization, *key)] += units

    def of(self, month):
        return {key: units for key, units in self.told.items()
                if key[3].startswith(month) and units}


def exported(cli, month, kind="csv", *options):
    """As `Books.of`: what one format says."""
    said = cli("usage", "export", "--period", month, "--format", kind, *options).stdout
    if kind == "csv":
        rows = list(csv.DictReader(io.StringIO(said)))
    else:
        rows = [json.loads(line) for line in said.splitlines()]
    if kind == "cloudevents":
        assert len({row["id"] for row in rows}) == len(rows)
        rows = [row["data"] for row in rows]
    keys = [(row["organization"], row["user"] or "", row["limit"], row["begins_on"])
            for row in rows]
    assert len(set(keys)) == len(keys)
    return {key: int(row["used"]) for key, row in zip(keys, rows)
            if int(row["used"]) and row["period"] != "total"}


def spend(one, clock, chance, books):
    """Charges of every kind, of some users."""
    for _ in range(40):
        organization, user = f"o{chance.randrange(3)}", f"u{chance.randrange(4)}"
        tokens, now = chance.choice([0, 1, 7, chance.randrange(1 << 40)]), clock.now()
        about = {"sub": user, "org": organization, "plan": "pro_tier",
                 "iat": int(now.timestamp()), "exp": int(now.timestamp()) + 3_000}
        # CONSUME charges what it names alone.
        kind = chance.randrange(3)
        if kind == 0:
            assert one.callers.consume(
                organization, user, "pro_tier", "chat", {"tokens": tokens}).allowed
        elif kind == 1:
            identity = new_id()
            answers = [one.callers.check(token(one, **about), operation="chat",
                                         units={"tokens": tokens}, idempotency_id=identity)
                       for _ in range(2)]
            assert answers[0].allowed and answers[0] == answers[1]
        else:
            with one.callers.reserve(token(one, **about), operation="chat",
                                     units={"tokens": chance.randrange(1 << 30)}) as hold:
                if chance.random() < 0.3:
                    hold.cancel()
                    continue
                assert hold.settle(tokens=tokens).allowed
        books.add(now, organization, user, tokens, int(kind != 0))


@pytest.mark.parametrize("durability", ["second", "always"])
def test_what_is_exported_is_what_callers_were_told(durability):
    chance, books = seeded(), Books()
    start = datetime.datetime(2026, 10, 27, 13, tzinfo=datetime.UTC)
    with world(start, durability=durability) as (one, clock):
        cli = Cli(one)
        for step in range(15):
            clock.set(start + 12 * step * HOURS)
            spend(one, clock, chance, books)
            ending = chance.randrange(4)
            if ending == 0:
                one.die_and_start_again()
            elif ending == 1:
                assert one.stop() == 0
                one.start()
            elif ending == 2:
                one.admins.snapshots.create()
        for kind in FORMATS:
            assert exported(cli, "2026-10", kind) == books.of("2026-10"), kind
        one.die_and_start_again()
        assert exported(cli, "2026-10") == books.of("2026-10")
        # November goes on: it can neither be exported as a whole, nor pruned.
        november = books.of("2026-11")
        cli("usage", "export", "--period", "2026-11", code=1)
        refused = cli("usage", "prune", "--period", "2026-11", "--yes", code=1)
        assert "go on" in refused.stderr
        assert exported(cli, "2026-11", "jsonl", "--open") == november
        cli("usage", "prune", "--period", "2026-10", "--yes")
        assert exported(cli, "2026-10") == {}
        one.die_and_start_again()
        assert exported(cli, "2026-10") == {}
        assert exported(cli, "2026-11", "csv", "--open") == november


def test_a_charge_at_the_edge_of_a_period_is_in_exactly_one():
    chance, edges = seeded(), int(os.environ.get("TOLLGATE_EDGES", "12"))
    midnight = datetime.datetime(2026, 10, 2, tzinfo=datetime.UTC)
    with world(midnight - 12 * HOURS) as (one, clock):
        payers = [Payer(number, one, chance) for number in range(4)]
        for _ in range(edges):
            # Midnight comes under load, and kill -9 before, at, or after it.
            clock.set(midnight - datetime.timedelta(milliseconds=150))
            live(one, clock.now(), payers, chance, one.kill)
            # The rest of the day's quota, before the next edge.
            payers[0].raced += use_up(one, clock.now())
            clock.set(midnight + 11 * HOURS)
            midnight += 24 * HOURS
            one.callers.ping()
        clock.set(midnight + 12 * HOURS)
        found = exported(Cli(one), "2026-10", "csv", "--open")
        ever = {(entry.name, user): entry.used for user in ["", *(p.user for p in payers)]
                for org, plan in (("acme", "pro_tier"), ("race", "raced_tier"))
                for entry in one.callers.usage(org, user, plan).limits if "ever" in entry.name}
        for payer in payers:
            days = [units for key, units in found.items() if key[1:3] == (payer.user, "user_day")]
            assert sum(days) == payer.told == ever["user_ever", payer.user]
            assert len(days) > edges / 2
        raced = {key[3]: units for key, units in found.items() if key[2] == "raced"}
        assert sum(raced.values()) == sum(p.raced for p in payers) == ever["raced_ever", ""]
        # Of every day that had begun with it: exactly what there is.
        first = min(raced)
        assert all(units == RACED for day, units in raced.items() if day != first), raced
        assert len(raced) >= edges
