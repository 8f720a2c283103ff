"""What hands do to a ledger's files, and how it is told: files that are removed, that are none, or
that another build wrote."""

import os
import subprocess

import pytest
from commandline import CONFIGURATION, NOT_DONE, TRY_AGAIN, Cli
from hardening import eventually
from ledger_daemon import LedgerDaemon, LedgerPlace, used


@pytest.fixture
def place():
    made = LedgerPlace()
    yield made
    made.remove()


@pytest.fixture
def one(place):
    made = LedgerDaemon(place)
    yield made
    if made.process.poll() is None:
        made.kill()
    made.remove()


def charge(one, units):
    assert one.charge("acme", "ada", units).allowed


def tokens(one):
    return used(one.callers, "acme")["tokens"]


def refusal(one, code):
    done = subprocess.run(one.command(), capture_output=True, text=True, env=one.environment,
                          timeout=20, check=False)
    assert done.returncode == code, (done.returncode, done.stderr)
    return done.stderr


def test_a_ledger_whose_journal_is_gone_does_not_begin_at_nothing(one, place):
    charge(one, 5)
    one.kill()
    for file in place.files("journal"):
        file.unlink()
    said = refusal(one, CONFIGURATION)
    assert "all files of the journal" in said and f"tollgate ledger repair {place.ledger}" in said
    cli = Cli(None)
    assert "all files of the journal" in cli("ledger", "verify", place.ledger, code=NOT_DONE).stdout
    assert "all missing" in cli("ledger", "repair", place.ledger, "--yes").stdout
    cli("ledger", "verify", place.ledger)
    one.start()
    charge(one, 7)
    one.die_and_start_again()
    assert tokens(one) == 7
    assert one.stop() == 0


def test_files_of_the_journal_that_are_removed_under_a_daemon_are_written_anew(one, place):
    charge(one, 5)
    gone = {file.name for file in place.files("journal")}
    for name in gone:
        (place.ledger / name).unlink()
    eventually(lambda: "was removed while the daemon writes to it" in one.logged(), 10)
    one.wait_for_state("serving")
    eventually(lambda: one.status().trouble is None, 10)
    charge(one, 7)
    assert not gone & {file.name for file in place.files("journal")}
    one.die_and_start_again()
    assert tokens(one) == 12
    assert one.logged().count("was removed while the daemon writes to it") == 1
    assert one.stop() == 0


def test_a_group_log_that_is_removed_under_a_daemon_is_written_anew(place):
    one = LedgerDaemon(place, ledger={"durability": "always"})
    try:
        log = place.ledger / "group.tgg"
        eventually(log.exists, 10)
        charge(one, 5)
        log.unlink()
        eventually(lambda: "was removed while the daemon writes to it" in one.logged(), 10)
        eventually(lambda: one.status().trouble is None and log.exists(), 10)
        charge(one, 7)
        one.die_and_start_again()
        assert tokens(one) == 12
        assert one.stop() == 0
    finally:
        if one.process.poll() is None:
            one.kill()
        one.remove()


def test_a_removed_lock_lets_nobody_else_in(one, place):
    charge(one, 5)
    (place.ledger / "lock").unlink()
    other = LedgerDaemon.__new__(LedgerDaemon)
    other.__dict__ = dict(one.__dict__)
    other.data, other.admin = one.data + "2", one.admin + "2"
    assert str(place.ledger) in refusal(other, TRY_AGAIN)
    cli = Cli(None)
    for command in ("verify", "inspect"):
        cli("ledger", command, place.ledger, code=TRY_AGAIN)
    cli("ledger", "repair", place.ledger, "--yes", code=TRY_AGAIN)
    charge(one, 7)
    one.die_and_start_again()
    assert tokens(one) == 12
    assert one.stop() == 0


@pytest.mark.parametrize("name", ["ledger.id", "lock", "snapshot", "journal"])
@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_what_is_no_file_is_said_to_be_none(one, place, name, kind):
    charge(one, 5)
    assert one.stop() == 0
    found = place.files(name)[-1] if name in ("snapshot", "journal") else place.ledger / name
    aside = place.path / "aside"
    found.rename(aside)
    if kind == "fifo":
        os.mkfifo(found, 0o600)
    else:
        found.symlink_to(aside)
    said = refusal(one, CONFIGURATION)
    assert f"{found}: is no regular file: move it out" in said
    found.unlink()
    aside.rename(found)
    one.start()
    assert tokens(one) == 5
    assert one.stop() == 0


def test_an_older_snapshot_of_another_build_hinders_nobody(one, place):
    charge(one, 5)
    one.admins.snapshots.create()
    one.kill()
    oldest, newest = place.files("snapshot")
    assert oldest != newest
    raw = bytearray(oldest.read_bytes())
    raw[8:10] = (99).to_bytes(2, "little")
    raw[124:128] = crc32c(raw[:124]).to_bytes(4, "little")
    oldest.write_bytes(raw)
    cli = Cli(None)
    assert "version 99" in cli("ledger", "verify", place.ledger).stdout
    cli("ledger", "repair", place.ledger, "--yes")
    one.start()
    assert tokens(one) == 5
    assert one.stop() == 0


def crc32c(data):
    """RFC 3720, B.4: begun with all ones, and turned over at the end."""
    value = 0xffffffff
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
    return value ^ 0xffffffff
