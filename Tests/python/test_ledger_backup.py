"""Backups of a ledger that are made while it is charged: each, put in the ledger's place, is what
stood there at one moment, with everything that was told before it began (RELIABILITY, D15)."""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import shlex
import shutil
import sqlite3
import subprocess
import tempfile

import pytest
from commandline import (
    FORBIDDEN, NO_INPUT, NOT_DONE, OUTPUT, TOLLGATE, TRY_AGAIN, USAGE, Cli)
from conftest import ROOT
from directory_daemon import Place
from fake_clock import FakeClock
from hardening import NOBODY, as_root, eventually
from ledger_daemon import LedgerPlace, daemon
from ledger_damage import KilledLedger, flip
from ledger_load import POLICY, Load
from test_ledger_billing import exported
from test_ledger_offline import contents, middle

BACKUPS = int(os.environ.get("TOLLGATE_BACKUPS", "5"))
CLI = Cli(None)
# The smallest files, and with the load below a snapshot all the time: files come and go while they
# are copied.
BUSY = {"segment_bytes": 1 << 20, "snapshot_interval": "1s"}


def put(copy, ledger):
    shutil.rmtree(ledger)
    shutil.copytree(copy, ledger)


@pytest.mark.parametrize("durability", ["second", "always"])
def test_a_backup_under_load_is_what_stood_at_one_moment(durability):
    with daemon(policy=POLICY, ledger={"durability": durability, **BUSY}) as one:
        made = []
        with Load(one) as load:
            for number in range(BACKUPS):
                load.wait()
                path = one.place.path / f"backup-{number}"
                made.append(load.backup(one.place.ledger, path))
                assert path.stat().st_mode & 0o7777 == 0o700
                assert {file.stat().st_mode & 0o7777 for file in path.iterdir()} == {0o600}
                assert not list(one.place.path.glob("*.part"))
        assert one.status().state == "serving"
        one.kill()
        for backup in made:
            put(backup.path, one.place.ledger)
            one.start()
            load.check(backup, one.callers)
            one.kill()


def steps():
    """What README says of a restore, line by line."""
    text = (ROOT / "README.md").read_text()
    block = text.split("To restore one, as root:\n\n```\n")[1].split("```")[0]
    return [line.split("#")[0].strip() for line in block.strip().splitlines()]


def noted(accounts):
    """The generation that the directory remembers, in a copy: a reader would be in its way."""
    copy = accounts.path / "looked-at"
    shutil.copy(accounts.directory / "directory.sqlite", copy)
    with contextlib.closing(sqlite3.connect(f"file:{copy}?immutable=1", uri=True)) as database:
        try:
            rows = database.execute("SELECT generation FROM ledger_mark").fetchall()
        except sqlite3.DatabaseError:  # Copied while it was written to.
            return 0
    return rows[0][0] if rows else 0


def test_a_restore_goes_as_the_readme_says():
    """From end to end, with a directory that remembers how far the ledger was, and a day that is
    over and in the archive."""
    start = datetime.datetime(2026, 10, 27, 13, tzinfo=datetime.UTC)
    clock, accounts = FakeClock(start), Place()
    parts = {"directory": {"path": str(accounts.directory), "peppers": [
        {"generation": 1, "file": str(accounts.path / "pepper.key")}]},
        "tokens": {"issuer": "https://tollgate.example.com"}}
    policy = POLICY + "".join(f"{key}: {json.dumps(part)}\n" for key, part in parts.items())
    try:
        with daemon(policy=policy, environment=clock.environment, ledger=BUSY) as one:
            for user in range(20):
                assert one.charge("old", f"u{user}", user + 1, plan="pro_tier").allowed
            for hours in (14, 24):
                clock.set(start + datetime.timedelta(hours=hours))
                one.callers.ping()
            closed = exported(Cli(one), "2026-10-27")
            assert sum(closed.values()) == 210
            with Load(one, now=clock.now()) as load:
                load.wait()
                backup = load.backup(one.place.ledger, one.place.path / "backup")
                load.wait()
            # Later than what the backup has.
            one.admins.snapshots.create()
            eventually(lambda: noted(accounts) > backup.generation)
            one.kill()
            lines = steps()
            assert len(lines) == 6 and lines[1] == "tollgate stop"
            assert lines[5] == "runuser -u tollgate -- tollgated -c FILE --accept-rollback"
            for line in [lines[0], *lines[2:5]]:
                words = [word.replace("/var/lib/tollgate/ledger", str(one.place.ledger))
                         .replace("/backups/ledger", str(backup.path))
                         for word in shlex.split(line)]
                subprocess.run([TOLLGATE if words[0] == "tollgate" else words[0], *words[1:]],
                               check=True, capture_output=True)
            with pytest.raises(AssertionError) as told:
                one.start()
            said = str(told.value)
            assert "an old copy is there" in said
            assert "start once with: tollgated --accept-rollback" in said
            assert one.process.wait() == 78
            one.arguments = ["--accept-rollback"]
            one.start()
            assert one.status().state == "serving"
            assert exported(Cli(one), "2026-10-27") == closed
            load.check(backup, one.callers)
            # The daemon's own from then on.
            assert one.stop() == 0
            one.arguments = []
            one.start()
            assert exported(Cli(one), "2026-10-27") == closed
    finally:
        clock.remove()
        accounts.remove()


@pytest.fixture(scope="module")
def killed():
    made = KilledLedger(seed=60)
    yield made
    made.remove()


@pytest.fixture
def ledger(killed):
    killed.restore()
    return killed.place.ledger


@pytest.fixture
def target(tmp_path):
    yield tmp_path / "backup"
    assert not (tmp_path / "backup.part").exists()


def test_without_a_daemon_it_is_the_same_ledger(killed, ledger, target):
    before = contents(ledger)
    text = CLI("ledger", "backup", f"{ledger}/", f"{target}/").stdout
    assert text.startswith(f"{target}: whole: generation 3 and ")
    assert contents(ledger) == before
    left_out = {"lock", "snapshot-000000000002.tgs"}
    assert {path.name: data for path, data in contents(target).items()} == {
        path.name: data for path, data in before.items() if path.name not in left_out}
    # What is zero takes no room.
    blocks = [sum(path.stat().st_blocks for path in folder.iterdir())
              for folder in (ledger, target)]
    assert blocks[1] < blocks[0]
    put(target, ledger)
    one = killed.start()
    assert killed.found(one) == killed.told
    assert one.stop() == 0
    one.remove()


def test_what_a_terminal_sees(ledger, target):
    sent, code = CLI.typed("", "ledger", "backup", ledger, target)
    assert code == 0 and "copied" in sent and "MiB" in sent and "whole" in sent


def test_where_it_cannot_go(ledger, target, tmp_path):
    before = contents(ledger)

    def refused(code, words, path=target):
        assert words in CLI.error("ledger", "backup", ledger, path, code=code)

    for make in (target.mkdir, target.touch, lambda: target.symlink_to("nowhere")):
        make()
        refused(NOT_DONE, "is there already")
        (target.rmdir if target.is_dir() else target.unlink)()
    refused(NOT_DONE, "is there already", "/")
    refused(USAGE, "names no new directory", "")
    refused(USAGE, "names no new directory", tmp_path / "..")
    refused(USAGE, "lies in the ledger itself", ledger / "backup")
    (tmp_path / "inside").symlink_to(ledger)
    refused(USAGE, "lies in the ledger itself", tmp_path / "inside/backup")
    refused(OUTPUT, "No such file or directory", tmp_path / "nowhere/backup")
    part = pathlib.Path(f"{target}.part")
    part.mkdir()
    (part / "letters").touch()
    refused(NOT_DONE, "is in the way")
    assert [path.name for path in part.iterdir()] == ["letters"]
    shutil.rmtree(part)
    part.mkdir()
    held = os.open(part, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)
    refused(TRY_AGAIN, "another backup")
    os.close(held)
    part.rmdir()
    assert contents(ledger) == before


def test_what_is_no_ledger(tmp_path, target):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no ledger" in CLI.error("ledger", "backup", empty, target, code=NO_INPUT)
    (empty / "ledger.making").touch()
    assert "its making" in CLI.error("ledger", "backup", empty, target, code=NO_INPUT)
    CLI.error("ledger", "backup", empty / "ledger.making", target, code=NO_INPUT)
    CLI.error("ledger", "backup", empty / "nowhere", target, code=NO_INPUT)
    CLI.error("ledger", "backup", tmp_path, code=USAGE)


def test_whose_it_is_not(ledger, killed):
    folder = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
    killed.place.path.chmod(0o755)

    def refused(words):
        done = subprocess.run(
            [*as_root(NOBODY), TOLLGATE, "ledger", "backup", str(ledger), str(folder / "backup")],
            capture_output=True, text=True)
        assert done.returncode == FORBIDDEN and words in done.stderr, done.stderr
        assert list(folder.iterdir()) == []

    folder.chmod(0o755)
    refused("cannot make the directory")
    folder.chmod(0o777)
    refused("the ledger belongs to")
    folder.rmdir()


def test_a_damaged_ledger_is_no_backup(ledger, target):
    """Of the older snapshot, which a start does without, it needs nothing."""
    snapshots = sorted(ledger.glob("snapshot-*"))
    flip(snapshots[0], middle(snapshots[0]))
    CLI("ledger", "backup", ledger, target)
    shutil.rmtree(target)
    flip(snapshots[1], middle(snapshots[1]))
    said = CLI.error("ledger", "backup", ledger, target, code=NOT_DONE)
    assert "is not whole" in said and snapshots[1].name in said and "snapshot create" in said
    assert not target.exists()


def test_where_there_is_no_room(ledger, killed):
    small = LedgerPlace(size=1 << 20)
    try:
        before = contents(ledger)
        said = CLI.error("ledger", "backup", ledger, small.path / "backup", code=OUTPUT)
        assert "No space left" in said and "make room" in said
        assert [path.name for path in small.path.iterdir()] == ["ledger"]
        assert contents(ledger) == before
    finally:
        small.remove()


@pytest.mark.parametrize("call, when", [
    ("pwrite64", 40), ("fdatasync", 3), ("fsync", 1), ("fsync", 2), ("/^rename", 1)])
def test_one_that_is_killed_leaves_nothing_that_looks_whole(call, when, ledger, target):
    done = subprocess.run(
        [*as_root(["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                   f"inject={call}:signal=KILL:when={when}"]),
         TOLLGATE, "ledger", "backup", str(ledger), str(target)], capture_output=True, text=True)
    assert done.returncode != 0 and not target.exists()
    part = pathlib.Path(f"{target}.part")
    assert part.exists()
    if not (part / "ledger.id").exists():
        # Also under another name it is none.
        said = subprocess.run([TOLLGATE, "ledger", "verify", str(part)], capture_output=True)
        assert said.returncode in (NOT_DONE, NO_INPUT)
    CLI("ledger", "backup", ledger, target)
    assert CLI.json("ledger", "verify", target)["whole"]
