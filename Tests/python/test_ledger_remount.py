"""A ledger's file system that the kernel remounts read-only, and writable again (RELIABILITY,
D6)."""

import subprocess

import pytest
from hardening import as_root
from ledger_daemon import Burst, LedgerDaemon, LedgerPlace, daemon
from test_ledger_disk import go_through_trouble


def mount(*arguments, fails=False):
    done = subprocess.run(as_root(["mount", *map(str, arguments)]), capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr


@pytest.fixture
def place():
    made = LedgerPlace(size=64 << 20)
    yield made
    made.remove()


def test_a_remount_of_its_directory_refuses_and_heals_when_it_can_be_written(place):
    """What is mapped for writing keeps a file system from being remounted read-only as a whole. A
    mount of the directory on top of it, of which nothing is open yet, is: from there on every
    file that is made, named or removed meets the kernel's EROFS."""
    with daemon(place) as one:
        burst = Burst(one)
        burst.charge(100)
        assert "busy" in mount("-o", "remount,ro", place.path, fails=True)
        mount("--bind", place.ledger, place.ledger)
        try:
            mount("-o", "remount,bind,ro", place.ledger)
            go_through_trouble(
                one, burst, lambda: mount("-o", "remount,bind,rw", place.ledger))
        finally:
            subprocess.run(as_root(["umount", "-l", str(place.ledger)]), check=True)
        # Without the mount again, and what was charged by way of it is there.
        one.die_and_start_again()
        burst.close()
        assert burst.used() == burst.told


def test_a_start_on_a_file_system_that_is_read_only_is_refused_and_changes_nothing(place):
    with daemon(place) as one:
        burst = Burst(one)
        burst.charge(100)
        burst.close()
        one.kill()
        files = {path: path.stat().st_mtime_ns for path in place.ledger.iterdir()}
        mount("-o", "remount,ro", place.path)
        try:
            with pytest.raises(AssertionError) as told:
                LedgerDaemon(place)
            said = str(told.value)
            assert "Read-only file system" in said and str(place.ledger) in said
            assert files == {path: path.stat().st_mtime_ns for path in place.ledger.iterdir()}
        finally:
            mount("-o", "remount,rw", place.path)
        one.start()
        assert burst.used() == burst.told
        burst.close()
