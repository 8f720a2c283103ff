"""Deploy/soak judges: its figures on samples that are made here, and a run of some seconds."""

import json
import os
import random
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "Tests/soak"))
import judge  # noqa: E402

MIB = 1 << 20
TEN_MINUTES = 600


def lives(count, per_hour, *, noise=0.3, seed=1, kept=0.0):
    """Samples of bytes each second: a rise in MiB/h, noise in MiB; at first each life takes up 20
    MiB, and `kept` MiB more than the one before it."""
    drawn, found = random.Random(seed), []
    for life in range(count):
        began = life * (TEN_MINUTES + 5)
        found.append([(began + at, MIB * (
            20 * min(1, at / 60) + kept * life + per_hour * at / 3_600 + drawn.gauss(0, noise)))
            for at in range(TEN_MINUTES)])
    return found


def test_memory_that_stays_is_met_and_a_leak_is_not():
    assert judge.memory(lives(24, 0)).met is True
    leak = judge.memory(lives(24, 5))
    assert leak.met is False and 4 < leak.value < 6
    assert "NOT MET" in leak.line()


@pytest.mark.parametrize("seed", range(20))
def test_chance_alone_is_seldom_called_a_leak(seed):
    assert judge.memory(lives(6, 0, seed=seed, noise=2)).met is not False


def test_too_little_is_not_known_rather_than_met():
    assert judge.memory([]).met is None
    assert judge.memory([[(0, 1), (1, 1)]]).met is None
    short = judge.memory([life[:200] for life in lives(1, 0, noise=2)])
    assert short.met is None and "not known yet" in short.line()
    assert judge.latency([(0, 1.0)]).met is None


def test_what_is_kept_from_life_to_life_is_seen():
    assert judge.memory_between(lives(24, 0)).met is True
    assert judge.memory_between(lives(24, 0, kept=0.5)).met is False
    # Of a single life nothing can be told.
    assert judge.memory_between(lives(1, 0)).met is None


def test_a_descriptor_that_is_lost_now_and_then_is_seen():
    def files(lost_every):
        return [[(life * 700 + at, 40 + (at // lost_every if lost_every else 0))
                 for at in range(TEN_MINUTES)] for life in range(6)]

    assert judge.descriptors(files(0)).met is True
    assert judge.descriptors(files(150)).met is False


def test_a_p99_that_rises_by_a_third_is_seen_and_a_steady_one_is_not():
    drawn = random.Random(3)
    steady = [(at * 100, 0.001 * drawn.uniform(0.97, 1.03)) for at in range(24)]
    rising = [(at, value * (1 + at / 2_300 / 3)) for at, value in steady]
    assert judge.latency(steady).met is True
    found = judge.latency(rising)
    assert found.met is False and 20 < found.value < 40


def test_a_percentile_is_the_value_that_so_many_are_not_above():
    assert judge.percentile(range(1, 101), 0.99) == 99
    assert judge.percentile([7], 0.99) == 7


def run(*arguments, **environment):
    built = os.environ.get("TOLLGATED", str(ROOT / ".build/debug/tollgated"))
    return subprocess.run(
        [ROOT / "Deploy/soak", *arguments], cwd="/", capture_output=True, text=True, timeout=200,
        env={**os.environ, "TOLLGATED": built, **environment})


def test_a_run_of_some_seconds_kills_compares_and_judges():
    # Lives long enough for their latency to be measured on a busy host, too.
    done = run("--minutes", "0.4", "--kill-minutes", "0.15", "--json")
    said = json.loads(done.stdout)
    assert said["problems"] == [] and said["kills"] >= 1, done.stderr
    assert said["requests"] > 1_000 and said["users_compared"] >= 500
    assert said["p99_ms"] > 0 and all(memory > 1 for memory in said["memory_mib"])
    assert {figure["name"] for figure in said["figures"]} == {
        "memory within a life", "memory from life to life", "open descriptors", "drift of p99"}
    # Nobody knows so soon what memory does; the p99 of so short a time may go either way.
    memory = [figure for figure in said["figures"] if figure["name"].startswith("memory")]
    assert [figure["met"] for figure in memory] == [None, None]
    assert done.returncode == any(figure["met"] is False for figure in said["figures"])
    assert "half of what they can ask" in done.stderr


def test_a_daemon_that_loses_what_was_told_is_a_problem(tmp_path):
    """One whose ledger is put away behind its back at each start."""
    real = os.environ.get("TOLLGATED", str(ROOT / ".build/debug/tollgated"))
    forgets = tmp_path / "tollgated"
    forgets.write_text(f"""#!/bin/sh
ledger=$(sed -nE 's/^ledger: .*"path": "([^"]+)".*/\\1/p' "$2")
rm -f "$ledger"/*
exec {real} "$@" --accept-rollback
""")
    forgets.chmod(0o755)
    done = run("--minutes", "0.05", "--kill-minutes", "0.05", TOLLGATED=str(forgets))
    assert done.returncode == 1
    assert "problem: bulk0 u0000: found " in done.stdout


def test_its_help_says_what_it_takes_and_nonsense_is_refused():
    done = run("--help")
    assert done.returncode == 0
    for option in ("--hours", "--minutes", "--kill-minutes", "--json"):
        assert option in done.stdout
    assert run("--minutes", "0").returncode == 2
    assert run("--hours", "1", "--minutes", "1").returncode == 2


@pytest.mark.parametrize("p99, said", [(None, "none"), (1.25, "1.25 ms")])
def test_lives_without_a_latency_are_told_of_all_the_same(p99, said):
    report = {"requests": 1234, "kills": 2, "users_compared": 5, "p99_ms": p99}
    assert judge.summary(report) == f"1,234 requests, 2 kills, 5 users compared, p99 {said}"
