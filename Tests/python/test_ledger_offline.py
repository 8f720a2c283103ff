"""A ledger that no daemon has open: looked at, and said what is wrong with it, where, and what to
do (RELIABILITY, D5, D8, D9)."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
from commandline import FORBIDDEN, NO_INPUT, NOT_DONE, OK, TOLLGATE, TRY_AGAIN, USAGE, Cli
from hardening import NOBODY, as_root
from ledger_daemon import daemon
from ledger_damage import KilledLedger, cut, flip, written

CLI = Cli(None)


@pytest.fixture(scope="module")
def killed():
    made = KilledLedger(seed=20)
    yield made
    made.remove()


@pytest.fixture
def ledger(killed):
    killed.restore()
    return killed.place.ledger


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def middle(path):
    places = written(path)
    return places[len(places) // 2]


def test_what_a_kill_left_is_whole_and_shows_what_was_told(killed, ledger):
    before = contents(ledger)
    said = CLI.json("ledger", "verify", ledger)
    assert said["whole"] and said["starts"] and said["refusal"] is None
    assert {pathlib.Path(file["path"]).name for file in said["files"]} == {
        path.name for path in before} - {"lock"}
    assert "whole: a start reads generation 3" in CLI("ledger", "verify", ledger).stdout
    assert CLI("ledger", "verify", f"{ledger}///", "--quiet").stdout == ""
    shown = CLI.json("ledger", "inspect", ledger, "--limit", "1000")
    assert shown["starts"] and shown["generation"] == 3 and shown["life"] == 1
    assert [one["generation"] for one in shown["generations"]] == [3, 2]
    assert len(shown["segments"]) == len(list(ledger.glob("journal-*")))
    assert shown["closed_archived"] == 2 and shown["closed_waiting"] == 0
    assert len(shown["shards"]) == 64 and shown["counters_in_all"] == len(shown["counters"])
    counters = {(one["organization"], one["user"]): one["used"] for one in shown["counters"]
                if one["limit"] == "user_tokens"}
    assert {key: counters[key] for key in killed.told} == killed.told
    organizations = {one["organization"]: one["used"] for one in shown["counters"]
                     if one["limit"] == "tokens" and one["user"] is None}
    for organization, units in organizations.items():
        assert units == sum(used for (own, _), used in killed.told.items() if own == organization)
    text = CLI("ledger", "inspect", ledger, "--organization", "o1", "--shards").stdout
    assert "GENERATION" in text and "SEGMENT" in text and "NEXT SEQUENCE" in text
    assert "o1" in text and "filler" not in text
    one = CLI("ledger", "inspect", ledger, "--limit", "1")
    assert f"--limit {shown['counters_in_all']}" in one.stderr
    CLI("ledger", "inspect", ledger, "--limit", "0", code=USAGE)
    assert CLI("ledger", "repair", ledger).stdout == f"{ledger}: nothing to repair\n"
    assert contents(ledger) == before


def damage_marker(ledger):
    flip(ledger / "ledger.id", 20)
    return [("ledger.id", 0)]


def remove_marker(ledger):
    (ledger / "ledger.id").unlink()
    return [("ledger.id", 0)]


def damage_newest(ledger):
    path = sorted(ledger.glob("snapshot-*"))[-1]
    flip(path, middle(path))
    return [(path.name, None)]


def damage_both(ledger):
    paths = sorted(ledger.glob("snapshot-*"))
    for path in paths:
        flip(path, middle(path))
    return [(path.name, None) for path in paths]


def damage_head(ledger):
    path = sorted(ledger.glob("journal-*"))[1]
    flip(path, 40)
    return [(path.name, 0)]


def damage_middle(ledger):
    path = sorted(ledger.glob("journal-*"))[1]
    flip(path, middle(path))
    return [(path.name, None)]


def damage_region(ledger):
    """The header of the first region of a segment."""
    path = sorted(ledger.glob("journal-*"))[2]
    flip(path, 4_096 + 20)
    return [(path.name, 4_096)]


def damage_size(ledger):
    path = sorted(ledger.glob("journal-*"))[0]
    cut(path, 300_000)
    return [(path.name, 300_000)]


def remove_segment(ledger):
    path = sorted(ledger.glob("journal-*"))[2]
    path.unlink()
    return [(path.name, 0)]


def damage_usage(ledger):
    path = sorted(ledger.glob("usage-*"))[0]
    flip(path, path.stat().st_size - 3)
    return [(path.name, 576)]


def damage_usage_head(ledger):
    path = sorted(ledger.glob("usage-*"))[0]
    flip(path, 20)
    return [(path.name, 0)]


def damage_all(ledger):
    return [*damage_marker(ledger), *damage_newest(ledger), *damage_middle(ledger),
            *damage_usage_head(ledger)]


DAMAGES = [damage_marker, remove_marker, damage_newest, damage_both, damage_head, damage_middle,
           damage_region, damage_size, remove_segment, damage_usage, damage_usage_head, damage_all]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_each_damaged_file_is_named_with_its_place(ledger, damage):
    wanted = damage(ledger)
    before = contents(ledger)
    done = CLI("ledger", "verify", ledger, code=NOT_DONE)
    said = json.loads(CLI("ledger", "verify", ledger, "--json", code=NOT_DONE).stdout)
    damaged = {pathlib.Path(file["path"]).name: file["failures"]
               for file in said["files"] if not file["whole"]}
    for name, offset in wanted:
        places = [failure["offset"] for failure in damaged[name]]
        assert all(place is not None for place in places), damaged
        assert offset is None or offset in places, (name, damaged)
        assert f"{ledger}/{name}, byte {places[0]}: " in done.stdout
    assert set(damaged) <= {name for name, _ in wanted} | {
        path.name for path in ledger.glob("journal-*")}
    assert f"tollgate ledger repair {ledger} --dry-run" in done.stderr
    # All that is whole is told to be.
    assert len(said["files"]) >= len(before) - 1
    CLI("ledger", "inspect", ledger, "--limit", "3", code=OK if said["starts"] else NOT_DONE)
    assert contents(ledger) == before


def test_a_torn_end_is_a_note(killed, ledger):
    """The host went away while a page was being written: in a file that nobody synced."""
    path = sorted(ledger.glob("journal-*"))[-1]
    flip(path, 4_096 * 7 + 5, bit=2)
    done = CLI("ledger", "verify", ledger)
    assert f"note: {path}, byte {4_096 * 7}: " in done.stdout and "a start cuts it" in done.stdout
    said = CLI.json("ledger", "verify", ledger)
    notes = [note for file in said["files"] for note in file["notes"]]
    assert said["whole"] and [note["cut_by_start"] for note in notes] == [True]
    assert "nothing to repair" in CLI("ledger", "repair", ledger, "--yes").stdout
    one = killed.start()
    try:
        assert killed.found(one) == killed.told
        assert "are cut off, and kept in quarantine" in one.logged()
        assert one.stop() == 0
    finally:
        one.remove()


def test_snapshots_are_verified_one_by_one_and_beside_a_daemon(ledger):
    old, new = sorted(ledger.glob("snapshot-*"))
    assert str(old) in CLI("snapshot", "verify", ledger).stdout
    flip(new, middle(new))
    CLI("snapshot", "verify", old)
    said = CLI("snapshot", "verify", new, code=NOT_DONE)
    assert f"{new}: damaged: byte " in said.stdout
    done = json.loads(CLI("snapshot", "verify", f"{ledger}/", "--json", code=NOT_DONE).stdout)
    assert [file["whole"] for file in done["files"]] == [True, False]
    CLI("snapshot", "verify", ledger / "ledger.id", code=NOT_DONE)
    CLI.error("snapshot", "verify", ledger / "nothing", code=NO_INPUT)
    CLI.error("snapshot", "verify", "/tmp/none/at/all", code=NO_INPUT)
    with daemon() as one:
        one.charge("acme", "ada", 5)
        one.admins.snapshots.create()
        assert "generation 2" in CLI("snapshot", "verify", one.place.ledger).stdout


def test_a_ledger_that_a_daemon_has_open_is_left_alone():
    with daemon() as one:
        one.charge("acme", "ada", 5)
        for words in (["verify"], ["inspect"], ["repair", "--yes"], ["repair", "--dry-run"]):
            said = CLI.error("ledger", words[0], one.place.ledger, *words[1:], code=TRY_AGAIN)
            assert "tollgate stop" in said
        assert one.charge("acme", "ada", 5).allowed


def test_what_is_absent_or_no_ledger_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "outer/ledger").mkdir(parents=True)
    for command in ("verify", "inspect", "repair"):
        for name in ("absent", "empty", "file", "empty/", "file/x"):
            said = CLI.error("ledger", command, tmp_path / name, code=NO_INPUT)
            assert "ledger: path:" in said
        assert "did you mean" in CLI.error("ledger", command, tmp_path / "outer", code=NO_INPUT)
        CLI("ledger", command, code=USAGE)
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_making_that_did_not_end_is_nothing_to_repair(tmp_path, ledger):
    place = tmp_path / "ledger"
    place.mkdir()
    shutil.copy(ledger / "ledger.id", place / "ledger.making")
    for command in ("verify", "inspect", "repair"):
        assert "a start makes it anew" in CLI("ledger", command, place).stdout


def test_a_directory_that_cannot_be_written_is_looked_at_and_not_repaired(ledger):
    flip(ledger / "ledger.id", 20)
    subprocess.run(as_root(["mount", "--bind", str(ledger), str(ledger)]), check=True)
    try:
        subprocess.run(as_root(["mount", "-o", "remount,ro,bind", str(ledger)]), check=True)
        CLI("ledger", "verify", ledger, code=NOT_DONE)
        CLI("ledger", "inspect", ledger, code=NOT_DONE)
        CLI("ledger", "repair", ledger, "--dry-run")
        said = CLI.error("ledger", "repair", ledger, "--yes", code=74)
        assert "Read-only file system" in said and "writable" in said
    finally:
        subprocess.run(as_root(["umount", str(ledger)]), check=True)


def test_only_the_directorys_owner_repairs(killed, ledger):
    flip(ledger / "ledger.id", 20)
    killed.place.path.chmod(0o755)
    subprocess.run(as_root(["chown", "-R", "65534", str(ledger)]), check=True)
    try:
        before = contents(ledger)
        said = CLI.error("ledger", "repair", ledger, "--yes", code=FORBIDDEN)
        assert f"-- tollgate ledger repair {ledger}" in said
        CLI("ledger", "repair", ledger, "--dry-run")
        assert contents(ledger) == before
        # As it says, with the command where this test has it.
        command = said.split("run: ")[1].strip().replace("tollgate", TOLLGATE, 1)
        if os.access("/usr/sbin/runuser", os.X_OK):
            done = subprocess.run([*command.split(), "--yes"], capture_output=True, text=True)
            assert done.returncode == 0, (command, done)
        owners = {path.stat().st_uid for path in ledger.rglob("*")}
        assert owners == {65534}
        # One file of root's among them.
        subprocess.run(as_root(["chown", "0", str(ledger / "ledger.id")]), check=True)
        seen = CLI("ledger", "verify", ledger, code=NOT_DONE)
        assert f"chown 65534 {ledger}/ledger.id" in seen.stderr
        refused = subprocess.run(
            [*NOBODY, TOLLGATE, "ledger", "verify", str(ledger)], capture_output=True, text=True)
        assert refused.returncode == NOT_DONE, refused
    finally:
        subprocess.run(as_root(["chown", "-R", str(os.geteuid()), str(ledger)]), check=True)
    ledger.chmod(0o700)
    refused = subprocess.run(
        [*NOBODY, TOLLGATE, "ledger", "verify", str(ledger)], capture_output=True, text=True)
    assert refused.returncode == FORBIDDEN and "run" in refused.stderr, refused


def test_a_start_that_is_refused_names_a_command_that_works(killed, ledger):
    for damage in (damage_marker, remove_marker, damage_both, damage_head, damage_region,
                   damage_usage_head):
        killed.restore()
        damage(ledger)
        before = contents(ledger)
        with pytest.raises(AssertionError) as told:
            killed.start()
        said = str(told.value)
        assert "tollgate: " not in said and "run: tollgate ledger repair " in said, said
        assert contents(ledger) == before
        words = said.split("run: tollgate ")[1].split("\n")[0].split()
        CLI(*words, "--yes")
        one = killed.start()
        try:
            found = killed.found(one)
            assert all(found[key] <= killed.told[key] for key in found)
            assert one.stop() == 0
        finally:
            one.remove()
