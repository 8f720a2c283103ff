"""What a repair saves of a ledger, seen by the daemon that starts with it, and compared with what
callers were told (RELIABILITY, D5)."""

import json
import os
import random
import subprocess

import pytest
from commandline import NOT_DONE, OK, TOLLGATE, USAGE, Cli
from ledger_damage import HEADER, KilledLedger, cut, flip, written, zero
from test_ledger_offline import (
    DAMAGES, contents, damage_both, damage_middle, damage_newest, middle, remove_segment)

CLI = Cli(None)
ROUNDS = int(os.environ.get("TOLLGATE_REPAIRS", "10"))
# What is whole elsewhere, or is read from another generation.
LOSSLESS = {"damage_marker", "remove_marker", "damage_newest"}


@pytest.fixture(scope="module")
def killed():
    made = KilledLedger(seed=30)
    yield made
    made.remove()


@pytest.fixture
def ledger(killed):
    killed.restore()
    return killed.place.ledger


def look(killed):
    """What a daemon serves that starts there, and charges once."""
    one = killed.start()
    try:
        found = killed.found(one)
        assert one.charge("o0", "u0", 1).allowed
        assert one.stop() == 0
    finally:
        one.remove()
    return found


def repaired(killed):
    """What the repair said, once a daemon has started with it, and what that serves."""
    ledger = killed.place.ledger
    before = {path.name: data for path, data in contents(ledger).items()}
    planned = CLI.json("ledger", "repair", ledger, "--dry-run")
    assert {path.name: data for path, data in contents(ledger).items()} == before
    report = CLI.json("ledger", "repair", ledger, "--yes")
    assert report["done"] == report["needed"] and report["losses"] == planned["losses"]
    # Nothing that was there is gone.
    kept = list(contents(ledger).values())
    assert all(data in kept for name, data in before.items() if name != "lock")
    CLI("ledger", "verify", ledger)
    assert not CLI.json("ledger", "repair", ledger, "--yes")["needed"]
    counters = {(one["organization"], one["user"]): one["used"] for one in CLI.json(
        "ledger", "inspect", ledger, "--limit", "1000")["counters"]
        if one["limit"] == "user_tokens"}
    found = look(killed)
    for key, told in killed.told.items():
        assert found[key] == counters.get(key, 0)
        assert found[key] <= told, (key, report)
    if {loss["kind"] for loss in report["losses"]} <= {"closed", "tail"}:
        assert found == killed.told, report
    return report, found


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_repaired_ledger_serves_what_is_left(killed, ledger, damage):
    damage(ledger)
    report, found = repaired(killed)
    assert report["needed"]
    if damage.__name__ in LOSSLESS:
        assert report["losses"] == [] and found == killed.told
    short = {organization for (organization, _), used in found.items()
             if used < killed.told[organization, _]}
    uncertain = {one["organization"] for one in report["uncertain"]}
    if report["losses"] and damage is not damage_both:
        assert short <= uncertain


def test_two_damaged_snapshots_make_one_whole(killed, ledger):
    """Of different shards: each is taken from where it is whole."""
    old, new = sorted(ledger.glob("snapshot-*"))
    flip(old, HEADER["snapshot"] + 40)
    places = [place for place in written(new) if place > HEADER["snapshot"] + 32]
    flip(new, places[len(places) // 3])
    report, found = repaired(killed)
    assert report["losses"] == [] and found == killed.told


def test_it_says_what_it_will_do_and_asks(killed, ledger):
    damage_newest(ledger)
    damage_middle(ledger)
    before = contents(ledger)
    said = CLI("ledger", "repair", ledger, "--dry-run").stdout
    for words in ("damaged\n", "will do\n", "write a new generation", f"{ledger}/quarantine/"):
        assert words in said
    assert "--yes" in CLI("ledger", "repair", ledger, code=USAGE).stderr
    sent, code = CLI.typed("n\n", "ledger", "repair", ledger)
    assert code == NOT_DONE and "nothing was changed" in sent
    assert contents(ledger) == before
    sent, code = CLI.typed("y\n", "ledger", "repair", ledger)
    assert code == 0 and "repaired" in sent


def test_without_any_snapshot_only_beginning_empty_helps(killed, ledger):
    for path in ledger.glob("snapshot-*"):
        flip(path, 20)
    before = contents(ledger)
    said = CLI.error("ledger", "repair", ledger, "--yes", code=NOT_DONE)
    assert f"tollgate ledger repair {ledger} --begin-empty" in said
    assert contents(ledger) == before
    report = CLI.json("ledger", "repair", ledger, "--begin-empty", "--yes")
    assert report["done"] and report["read"] == 0 and report["written"] == 4
    assert set(look(killed).values()) == {0}
    assert CLI.json("ledger", "inspect", ledger)["closed_archived"] == 2


def test_closed_periods_outlive_a_repair(killed, ledger):
    remove_segment(ledger)
    repaired(killed)
    assert CLI.json("ledger", "inspect", ledger)["closed_archived"] == 2


def test_random_damage_is_repaired(killed):
    seed = int(os.environ.get("TOLLGATE_SEED", random.randrange(1 << 32)))
    print(f"seed {seed}: TOLLGATE_SEED={seed} repeats this")
    rng = random.Random(seed)
    kinds = {"whole": 0, "saved": 0, "losses": 0, "hopeless": 0}
    for number in range(ROUNDS):
        killed.restore()
        done = []
        for _ in range(rng.randrange(1, 4)):
            paths = [path for path in sorted(killed.place.ledger.iterdir())
                     if path.is_file() and path.name != "lock"]
            path = rng.choice(paths)
            places = written(path) or [0]
            place = rng.choice(places)
            way = rng.choice(["flip", "flip", "flip", "zero", "cut"])
            done.append((path.name, way, place))
            if way == "flip":
                flip(path, place, rng.randrange(8))
            elif way == "zero":
                zero(path, place // 512 * 512, min(512, path.stat().st_size - place // 512 * 512))
            else:
                cut(path, place)
        print(f"round {number}: {done}")
        is_starting = said(killed, "verify")["starts"]
        planned = said(killed, "repair", "--dry-run")
        if planned is None:
            assert not is_starting
            kinds["hopeless"] += 1
            continue
        report, _ = repaired(killed)
        kind = "losses" if report["losses"] else "saved"
        kinds[kind if report["needed"] else "whole"] += 1
    print(kinds)
    assert kinds["saved"] + kinds["losses"] > 0


def said(killed, *words):
    """What a command says of the ledger as JSON; `None` where only beginning empty helps."""
    done = subprocess.run([TOLLGATE, "ledger", words[0], str(killed.place.ledger), *words[1:],
                           "--json"], capture_output=True, text=True)
    assert done.returncode in (OK, NOT_DONE), done
    if not done.stdout:
        assert "--begin-empty" in done.stderr
        return None
    return json.loads(done.stdout)
