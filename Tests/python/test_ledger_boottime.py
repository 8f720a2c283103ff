"""Steps of the wall clock and jumps of boottime, in a life and over ends, kills and starts of the
host: no period that is over is opened again, a step closes one day at the most, and windows follow
boottime, and over a start of the host are never shorter than they should be (RELIABILITY, T1)."""

import datetime

import pytest
from commandline import Cli
from fake_clock import FakeClock
from ledger_daemon import LedgerDaemon, LedgerPlace
from test_ledger_billing import exported

POLICY = """
version: 1
meters: [tokens]
operations:
  chat: {charges: {tokens: {units: 0}}}
plans:
  pro_tier:
    rate_limits: {an_hour: {scope: user, meter: tokens, limit: 1000000, window: 1h}}
    quotas:
      a_day: {scope: organization, meter: tokens, limit: unlimited, period: day}
      a_month: {scope: organization, meter: tokens, limit: unlimited, period: month}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
"""
NOON = datetime.datetime(2026, 10, 5, 12, tzinfo=datetime.UTC)
DAY, HOUR = datetime.timedelta(days=1), datetime.timedelta(hours=1)
MINUTE, MILLISECOND = datetime.timedelta(minutes=1), datetime.timedelta(milliseconds=1)
ENDS = ["goes on", "ends", "is killed"]


class Scene:
    def __init__(self):
        self.clock, self.place = FakeClock(NOON), LedgerPlace()
        self.one = LedgerDaemon(
            self.place, policy=POLICY, threads=1, environment=self.clock.environment)

    def charge(self, units):
        assert self.one.charge("acme", "ada", units).allowed

    def used(self):
        return {entry.name: entry.used
                for entry in self.one.callers.usage("acme", "ada", "pro_tier").limits}

    def quotas(self):
        used = self.used()
        return used["a_day"], used["a_month"]

    def end(self, how):
        """Of a life; what is saved of windows is in a snapshot."""
        if how == "ends":
            assert self.one.stop() == 0
        elif how == "is killed":
            self.one.admins.snapshots.create()
            self.one.kill()

    def begin(self, how):
        if how != "goes on":
            self.one.start()

    def remove(self):
        self.one.kill()
        self.one.remove()
        self.place.remove()
        self.clock.remove()


@pytest.fixture
def scene():
    made = Scene()
    yield made
    made.remove()


@pytest.mark.parametrize("how", ENDS)
def test_no_step_opens_a_day_that_is_over(scene, how):
    scene.charge(40)
    scene.clock.sleep(20 * HOUR)
    scene.charge(1_000)
    assert scene.quotas() == (1_000, 1_040)
    steps = [MILLISECOND, MINUTE, HOUR, 2 * DAY, 400 * DAY, 3_650 * DAY]
    charged = 1_000
    for step in [sign * step for step in steps for sign in (1, -1)]:
        right = scene.clock.now()
        scene.end(how)
        scene.clock.set(right + step)
        scene.begin(how)
        scene.charge(1)
        charged += 1
        assert scene.quotas() == (charged, charged + 40), step
        assert scene.one.status().clock_held == (step > DAY), step
        scene.clock.set(right + MINUTE)
        scene.charge(1)
        charged += 1
        assert scene.quotas() == (charged, charged + 40), step
        assert not scene.one.status().clock_held
    scene.clock.sleep(DAY)
    assert scene.quotas() == (0, charged + 40)
    days = {key[3]: units for key, units in
            exported(Cli(scene.one), "2026-10", "csv", "--open").items() if key[2] == "a_day"}
    assert days == {"2026-10-05": 40, "2026-10-06": charged}


@pytest.mark.parametrize("how", ENDS)
def test_a_step_forward_closes_one_day_and_one_that_is_held_goes_on_by_boottime(scene, how):
    scene.charge(40)
    scene.end(how)
    scene.clock.set(NOON + 20 * HOUR)
    scene.begin(how)
    assert scene.quotas() == (0, 40)
    scene.charge(7)
    # 50 days ahead: not believed, and the host's own time goes on.
    scene.end(how)
    scene.clock.set(NOON + 50 * DAY)
    scene.begin(how)
    assert scene.quotas() == (7, 47) and scene.one.status().clock_held
    scene.clock.pass_in_boottime(15 * HOUR)
    assert scene.quotas() == (7, 47)
    scene.clock.pass_in_boottime(2 * HOUR)
    assert scene.quotas() == (0, 47) and scene.one.status().clock_held


def test_a_host_that_slept_is_believed_and_boottime_alone_moves_no_period(scene):
    scene.charge(40)
    used = 40
    for by in (30 * DAY, DAY):
        scene.clock.pass_in_boottime(by)
        scene.charge(1)
        used += 1
        assert scene.quotas() == (used, used), by
        scene.one.die_and_start_again()
        assert scene.quotas() == (used, used), by
    scene.clock.sleep(40 * DAY)
    assert scene.quotas() == (0, 0) and not scene.one.status().clock_held


@pytest.mark.parametrize("how", ENDS)
def test_windows_follow_boottime_whatever_the_wall_clock_says(scene, how):
    scene.charge(500)
    for step in (20 * HOUR, -2 * DAY, 400 * DAY, -3_650 * DAY):
        right = scene.clock.now()
        scene.end(how)
        scene.clock.set(right + step)
        scene.begin(how)
        assert scene.used()["an_hour"] == 500, step
        scene.clock.set(right)
    scene.end(how)
    scene.clock.pass_in_boottime(58 * MINUTE)
    scene.begin(how)
    assert scene.used()["an_hour"] == 500
    scene.end(how)
    scene.clock.pass_in_boottime(5 * MINUTE)
    scene.begin(how)
    assert scene.used()["an_hour"] == 0


@pytest.mark.parametrize("how", ENDS[1:])
def test_over_a_start_of_the_host_a_window_is_no_shorter_than_it_should_be(scene, how):
    for passed, is_over in ((MINUTE, False), (-3_650 * DAY, False), (54 * MINUTE, False),
                            (66 * MINUTE, True)):
        before = scene.used()["an_hour"]
        scene.charge(500)
        right = scene.clock.now()
        scene.end(how)
        scene.clock.boot_again()
        scene.clock.set(right + passed)
        scene.begin(how)
        assert scene.used()["an_hour"] == (0 if is_over else before + 500), passed
        # Not back from where it was believed: that time counts as not passed yet.
        scene.clock.set(max(right, scene.clock.now()))
