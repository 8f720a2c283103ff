"""`kill -9` between any two steps of every change: it is wholly there or wholly absent, and what
was acknowledged is there (RELIABILITY, D12 and R4)."""

import json
import re
import shutil
import signal
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ROOT
from directory_world import DirectoryDaemon, World, fault, tables
from directory_frozen import check_files, cut_short, frozen  # noqa: F401
from tollgate import Client

# In their order within a change. A step that stands behind `committed` finds the change made.
ABSENT = ("key_written", "key_synced", "key_renamed", "key_durable", "began", "changed", "logged")
THERE = ("committed", "published", "key_removed", "replied")
READS = ("list", "show", "status", "export")
# Of the ledger and of alerts, whose own tests kill them.
NOT_OF_THE_DIRECTORY = ("ledger", "snapshot", "usage", "alert", "silence")


def changing_calls():
    calls = json.loads((ROOT / "Tests/Vectors/frames.json").read_text())["calls"]
    names = [call["call"] for call in calls if call["call"] != "backup.create"]
    return [name for name in names if name.split(".")[1] not in READS
            and name.split(".")[0] not in NOT_OF_THE_DIRECTORY]


def check_refresh(daemon, world, is_there):
    """Whatever became of the rotation, its holder goes on with the token it has."""
    mine = world.tokens["ada"]["refresh_token"]
    again = daemon.done("token.refresh", refresh_token=mine)
    assert again["retried"] == is_there
    with Client(daemon.data, timeout=20) as client:
        assert client.check(again["access_token"], operation="models").allowed
    onward = daemon.done("token.refresh", refresh_token=again["refresh_token"])
    assert not onward["retried"]


@pytest.mark.parametrize("call", changing_calls())
def test_a_kill_at_any_step_leaves_all_of_a_change_or_nothing(frozen, call):
    forms = [members for name, members in frozen.world.changes() if name == call]
    assert forms, "the world has no such change"
    for members in forms:
        with frozen.copy() as daemon:
            status, _ = daemon.call(call, **members)
            assert status in (0, 23), status
            after = frozen.seen(daemon)
        assert after != frozen.before
        steps = [step for step in ABSENT + THERE
                 if not step.startswith("key_") or call.startswith("signing_key.")]
        with ThreadPoolExecutor(4) as pool:
            times = pool.map(lambda step: at(frozen, call, members, step, after), steps)
            reached = dict(zip(steps, times))
        assert all(reached[step] for step in ("began", "changed", "logged", "committed", "replied"))
        print(call, reached)


def at(frozen, call, members, step, after):
    """Kills at each time that the step is reached; how often that is."""
    times = 0
    while True:
        with frozen.copy(environment=fault(step, times + 1)) as daemon:
            answer, is_killed = cut_short(daemon, call, members)
            if not is_killed:
                return times
            times += 1
            is_there = step in THERE
            assert is_there or answer is None, "acknowledged before it was on the disk"
            expected = after if is_there else frozen.before
            assert frozen.rows(daemon) == expected[2], (call, members, step, times)
            daemon.environment.pop("TOLLGATE_FAULT_STEP")
            daemon.start()
            check_files(daemon, may_be_left=int(call == "signing_key.add" and not is_there))
            decided = frozen.seen(daemon)
            assert decided == expected, (call, members, step, times)
            if call == "token.refresh" and members != frozen.world.theft:
                daemon.start()
                check_refresh(daemon, frozen.world, is_there)
                assert daemon.kill() == -signal.SIGKILL
            if members == {"id": "third"} and not is_there:
                daemon.start()
                # What a cut left of its file is no hindrance.
                daemon.done(call, **members)
                assert daemon.kill() == -signal.SIGKILL


def test_every_step_that_the_daemon_names_is_tried():
    named = set()
    for path, kind in (("TollgateStorage/Directory/DirectoryStore.swift", "DirectoryStep"),
                       ("TollgateServer/Directory/FaultPoint.swift", "ServiceStep")):
        text = (ROOT / "Sources" / path).read_text()
        body = text.split(f"enum {kind}")[1].split("\n}")[0]
        for line in re.findall(r"^ +case (.*)$", body, re.MULTILINE):
            named |= {part.split('"')[1] if '"' in part else part for part in line.split(", ")}
    assert named == {*ABSENT, *THERE}


def cut_start(daemon, step):
    cut = subprocess.run(daemon.command(), env=daemon.environment | fault(step),
                         capture_output=True, timeout=20)
    assert cut.returncode == -signal.SIGKILL, (step, cut.stderr)


def test_a_first_start_that_is_killed_is_made_up_for_by_the_next():
    for step in (*ABSENT, "committed"):
        with DirectoryDaemon() as daemon:
            assert daemon.stop() == 0
            shutil.rmtree(daemon.state / "directory")
            (daemon.state / "directory").mkdir(mode=0o700)
            cut_start(daemon, step)
            daemon.start()
            key, = daemon.done("signing_key.list")["items"]
            assert key["state"] == "signing"
            check_files(daemon, may_be_left=int(step != "committed"))
            World(daemon)
            assert daemon.stop() == 0


def test_a_due_change_of_plans_that_is_killed_is_made_by_the_next_start(frozen):
    for step in ("began", "changed", "logged", "committed"):
        with frozen.copy() as daemon:
            assert daemon.stop() == 0
            rows = sqlite3.connect(daemon.database)
            rows.execute("UPDATE subscriptions SET next_at = 1 WHERE organization = 'beta'")
            rows.commit()
            rows.close()
            lines = len(tables(daemon.database)["admin_log"])
            cut_start(daemon, step)
            found = tables(daemon.database)
            is_there = step == "committed"
            plans = dict(row[:2] for row in found["subscriptions"])
            assert plans["beta"] == ("free_tier" if is_there else "pro_tier")
            assert len(found["admin_log"]) == lines + is_there
            daemon.start()
            assert daemon.done("org.show", organization="beta")["organization"][
                "subscription"]["plan"] == "free_tier"
            assert len(daemon.all_of("log.list")) == lines + 1
            assert daemon.stop() == 0
