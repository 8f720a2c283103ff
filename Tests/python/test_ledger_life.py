"""Usage over the daemon's life: ends, starts, snapshots, and what an operator is told."""

import csv
import io
import json
import threading
import time

import pytest
from commandline import Cli
from conftest import POLICY as BARE_POLICY
from hardening import eventually, token
from ledger_daemon import PLAN, Burst, daemon, start_ledger, used  # noqa: F401
from tollgate import Client, Conflict, InvalidValue, TollgateError

NOT_DONE, DEGRADED, USAGE, CONFIGURATION = 1, 1, 64, 78


def test_usage_is_there_to_the_unit_after_a_kill_and_after_an_end():
    with daemon() as one:
        for number in range(200):
            assert one.charge(f"o{number % 7}", f"u{number % 20}", number).allowed
        before = {(org, user): used(one.callers, f"o{org}", f"u{user}")
                  for org in range(7) for user in range(20)}
        one.die_and_start_again()

        def now():
            return {(org, user): used(one.callers, f"o{org}", f"u{user}")
                    for org in range(7) for user in range(20)}

        assert now() == before
        assert sum(used(one.callers, f"o{org}")["tokens"] for org in range(7)) == sum(range(200))
        assert one.stop() == 0
        one.start()
        assert now() == before
        assert one.status().life == 3


def test_an_end_under_load_loses_nothing_that_was_told():
    with daemon(threads=2) as one:
        bursts = [Burst(one, f"o{number}", f"u{number}") for number in range(4)]
        is_over = threading.Event()

        def load(burst):
            while not is_over.is_set() and burst.charge(64):
                pass

        for _ in range(5):
            is_over.clear()
            threads = [threading.Thread(target=load, args=[burst]) for burst in bursts]
            for thread in threads:
                thread.start()
            time.sleep(0.15)
            assert one.stop() == 0
            is_over.set()
            for thread in threads:
                thread.join()
            one.start()
            for burst in bursts:
                burst.close()
                # The last batch may have been charged in part without an answer.
                found = burst.used()
                assert burst.told <= found <= burst.told + 256, (found, burst.told)
                burst.told = found
        assert sum(burst.told for burst in bursts) > 1_000


@pytest.mark.parametrize("durability", ["second", "always"])
def test_limits_hold_over_restarts(durability):
    with daemon(ledger={"durability": durability}) as one:
        charged = 0
        for _ in range(5):
            decision = one.callers.check(
                token(one, plan="small_tier"), operation="look", units={"tokens": 300})
            charged += 300 if decision.allowed else 0
            one.die_and_start_again()
        assert charged == 900
        assert used(one.callers, "acme", plan="small_tier")["small_tokens"] == 900


def test_always_answers_from_many_connections_at_once():
    with daemon(ledger={"durability": "always"}) as one:
        bursts = [Burst(one, f"o{number % 3}", f"u{number}") for number in range(16)]
        threads = [threading.Thread(target=burst.charge, args=[300]) for burst in bursts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [burst.told for burst in bursts] == [300] * 16
        one.die_and_start_again()
        for burst in bursts:
            burst.close()
            assert burst.used() == 300


def test_snapshots_are_made_when_asked_for_and_by_the_clock():
    with daemon(ledger={"snapshot_interval": "1s"}) as one:
        one.charge("acme", "ada", 5)
        made = one.admins.snapshots.create()
        listed = list(one.admins.snapshots.list())
        assert listed[0] == made and made.bytes > 0
        assert abs(made.at - time.time() * 1_000) < 60_000
        eventually(lambda: list(one.admins.snapshots.list())[0].generation > made.generation)
        # A third may be there for as long as it takes to remove the oldest.
        eventually(lambda: len(list(one.admins.snapshots.list())) == 2)
        assert len(one.place.files("snapshot")) >= 2
        assert Cli(one).json("snapshot", "list")["items"][0]["generation"] > made.generation
        said = Cli(one).json("snapshot", "create")["snapshot"]
        assert said["generation"] > made.generation
        one.die_and_start_again()
        assert used(one.callers, "acme", "ada")["user_tokens"] == 5


def test_health_tells_what_the_ledger_does():
    with daemon() as one:
        one.charge("acme", "ada", 5)
        cli = Cli(one)
        said = cli("health").stdout
        assert said.startswith("healthy: version ") and "serving" in said
        assert str(one.place.ledger) in said and "durability  second" in said
        health = cli.json("health")
        assert health["healthy"] and health["problems"] == []
        assert health["ledger"]["state"] == "serving" and health["ledger"]["appended"] > 0
        eventually(lambda: one.status().lag_milliseconds == 0)
        stats = one.admins.stats()
        assert stats["tollgate_ledger_state{state=\"serving\"}"] == 1
        assert stats["tollgate_journal_slots_total"] >= stats["tollgate_journal_synced_slots_total"]


def test_without_a_ledger_it_says_that_usage_is_forgotten(start_daemon):
    one = start_daemon(policy=BARE_POLICY)
    assert "forgotten" in one.logged()
    cli = Cli(one)
    health = cli.json("health")
    assert health["healthy"] and health["ledger"]["state"] == "off"
    assert "forgotten" in cli("health").stdout
    with Client(one.admin) as client:
        for make in (client.snapshots.create, lambda: list(client.snapshots.list()),
                     lambda: list(client.closed_usage.list("2026-10")),
                     lambda: client.closed_usage.prune("2026-10")):
            with pytest.raises(Conflict):
                make()
    cli("snapshot", "create", code=NOT_DONE)


def test_what_goes_on_is_exported_when_that_is_asked_for():
    with daemon() as one:
        one.charge("acme", "ada", 5)
        one.charge("acme", "bo", 7)
        cli = Cli(one)
        today = time.strftime("%Y-%m", time.gmtime())
        closed = cli("usage", "export", "--period", today, code=NOT_DONE).stderr
        assert "--open" in closed
        said = cli("usage", "export", "--period", "1970-01", "--open").stdout
        rows = {(row["user"], row["limit"]): row for row in csv.DictReader(io.StringIO(said))}
        assert rows["ada", "user_tokens"]["used"] == "5" and rows["", "tokens"]["used"] == "12"
        assert rows["", "tokens"]["organization"] == "acme"
        assert rows["", "tokens"]["open"] == "true" and rows["", "tokens"]["ends_at"] == ""
        lines = cli("usage", "export", "--period", "1970-01", "--open", "--format", "jsonl",
                    "--organization", "acme").stdout.splitlines()
        assert sum(json.loads(line)["used"] for line in lines
                   if json.loads(line)["limit"] == "user_tokens") == 12
        events = [json.loads(line) for line in cli(
            "usage", "export", "--period", "1970-01", "--open", "--format", "cloudevents"
        ).stdout.splitlines()]
        assert {event["specversion"] for event in events} == {"1.0"}
        assert len({event["id"] for event in events}) == len(events) == len(rows)
        kept = one.directory / "usage.csv"
        cli("usage", "export", "--period", "1970-01", "--open", "-o", kept)
        assert kept.read_text() == said
        cli("usage", "export", "--period", "1970-01", "--open", "-o", kept, code=74)


def test_periods_are_months_or_days():
    with daemon() as one:
        for text in ("2026", "2026-13", "2026-02-30", "2026-1", "x", "2026-10-1"):
            with pytest.raises(InvalidValue):
                list(one.admins.closed_usage.list(text))
            if text not in ("2026-13", "2026-02-30"):
                Cli(one)("usage", "export", "--period", text, code=USAGE)


def test_an_organization_is_still_shown_without_a_command():
    with daemon() as one:
        one.charge("acme", "ada", 5)
        shown = Cli(one).json("usage", "acme", "ada")
        assert shown == Cli(one).json("usage", "show", "acme", "ada")
        assert shown["plan"] == PLAN


def test_the_client_tells_that_the_daemon_is_gone(start_ledger):  # noqa: F811
    one = start_ledger()
    one.charge("acme", "ada", 1)
    one.kill()
    with pytest.raises(TollgateError):
        one.charge("acme", "ada", 1)
    one.start()
    assert one.charge("acme", "ada", 1).allowed
    assert used(one.callers, "acme", "ada")["user_tokens"] == 2
