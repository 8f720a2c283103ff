"""A wall clock that is ahead when the daemon starts is not believed: no quota is renewed by it, and
no id that was answered is answered anew."""

import datetime

import pytest
from commandline import NOT_DONE, Cli
from fake_clock import FakeClock
from ledger_daemon import LedgerDaemon, LedgerPlace, used
from tollgate import new_id

POLICY = """
version: 1
meters: [tokens]
operations:
  look: {charges: {tokens: {units: 0}}}
plans:
  pro_tier:
    quotas:
      a_day: {scope: organization, meter: tokens, limit: 100, period: day}
      a_month: {scope: organization, meter: tokens, limit: 100, period: month}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
"""
NOON = datetime.datetime(2026, 10, 5, 12, tzinfo=datetime.UTC)
USED_UP = {"a_day": 100, "a_month": 100}


@pytest.fixture
def scene():
    clock, place = FakeClock(NOON), LedgerPlace()
    one = LedgerDaemon(place, policy=POLICY, threads=1, environment=clock.environment)
    yield one, clock
    one.kill()
    one.remove()
    place.remove()
    clock.remove()


def consume(one, units, idempotency_id=None):
    return one.callers.consume("acme", "ada", "pro_tier", "look", {"tokens": units},
                               idempotency_id=idempotency_id).reason


@pytest.mark.parametrize("days", [2, 400, 3_650])
@pytest.mark.parametrize("is_killed", [False, True])
def test_a_clock_that_is_ahead_at_a_start_renews_nothing(scene, days, is_killed):
    one, clock = scene
    answered = new_id()
    assert consume(one, 100, answered) == "none"
    if is_killed:
        one.kill()
    else:
        assert one.stop() == 0
    clock.set(NOON + datetime.timedelta(days=days))
    one.start()
    assert used(one.callers, "acme") == USED_UP
    assert consume(one, 100, answered) == "none"
    assert used(one.callers, "acme") == USED_UP
    # Said in the log, by health, in the statistics.
    assert "the wall clock is ahead of what the ledger knows" in one.logged()
    assert one.status().clock_held
    assert "not believed" in Cli(one)("health", code=NOT_DONE).stdout
    assert one.admins.stats()["tollgate_clock_held_forward"] == 1
    # Again at the next start, and no more once it is right.
    one.die_and_start_again()
    assert one.status().clock_held and used(one.callers, "acme") == USED_UP
    one.kill()
    clock.set(NOON + datetime.timedelta(minutes=5))
    one.start()
    assert not one.status().clock_held
    assert used(one.callers, "acme") == USED_UP


def test_a_clock_that_is_ahead_at_a_start_is_believed_once_it_is_confirmed(scene):
    one, clock = scene
    assert consume(one, 100) == "none"
    one.kill()
    clock.set(NOON + datetime.timedelta(days=40))
    one.start()
    assert used(one.callers, "acme") == USED_UP
    Cli(one)("reload")
    assert used(one.callers, "acme") == {"a_day": 0, "a_month": 0}
    assert not one.status().clock_held
    # Also by the next start, before any snapshot says so.
    assert consume(one, 1) == "none"
    one.die_and_start_again()
    assert not one.status().clock_held
    assert used(one.callers, "acme") == {"a_day": 1, "a_month": 1}
