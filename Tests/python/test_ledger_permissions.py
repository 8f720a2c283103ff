"""A ledger that others may write to is not opened: exit 78, with the command that mends it."""

import os
import subprocess

import pytest
from ledger_daemon import PLAN, start_ledger, used  # noqa: F401

CONFIGURATION = 78
NOBODY = 65534


@pytest.fixture
def ended(start_ledger):  # noqa: F811
    """A daemon that has ended, and left a ledger."""
    one = start_ledger()
    assert one.charge("acme", "ada", 5).allowed
    assert one.stop() == 0
    return one


def refusal(one):
    """What a start says that does not open the ledger."""
    done = subprocess.run(one.command(), capture_output=True, text=True, env=one.environment,
                          timeout=20, check=False)
    assert done.returncode == CONFIGURATION, (done.returncode, done.stderr)
    return done.stderr


def mended_as_it_says(one, said):
    command = said.split("run: ")[-1].splitlines()[0].strip()
    subprocess.run(command.split(), check=True)
    one.start()
    assert used(one.callers, "acme", "ada", PLAN)["user_tokens"] == 5
    assert one.stop() == 0


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(ended, mode):
    os.chmod(ended.place.ledger, mode)
    said = refusal(ended)
    assert f"chmod go-w {ended.place.ledger}" in said
    mended_as_it_says(ended, said)


@pytest.mark.parametrize("kind", ["ledger.id", "journal-*", "snapshot-*", "lock"])
def test_a_file_that_others_may_write_to_is_refused(ended, kind):
    path = sorted(ended.place.ledger.glob(kind))[-1]
    os.chmod(path, 0o606)
    said = refusal(ended)
    assert f"chmod go-w {path}" in said
    mended_as_it_says(ended, said)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
@pytest.mark.parametrize("is_folder", [True, False])
def test_what_belongs_to_another_is_refused(ended, is_folder):
    path = ended.place.ledger if is_folder else ended.place.ledger / "ledger.id"
    os.chown(path, NOBODY, NOBODY)
    said = refusal(ended)
    assert f"chown {os.geteuid()} {path}" in said
    mended_as_it_says(ended, said)


def test_a_link_to_a_directory_is_refused(ended):
    moved = ended.place.path / "elsewhere"
    ended.place.ledger.rename(moved)
    ended.place.ledger.symlink_to(moved)
    assert "name the real one" in refusal(ended)
    ended.place.ledger.unlink()
    moved.rename(ended.place.ledger)
    ended.start()


def test_what_others_may_only_read_is_taken(ended):
    os.chmod(ended.place.ledger, 0o755)
    for path in ended.place.ledger.iterdir():
        os.chmod(path, 0o644)
    ended.start()
    assert used(ended.callers, "acme", "ada", PLAN)["user_tokens"] == 5
