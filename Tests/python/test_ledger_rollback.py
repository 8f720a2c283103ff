"""An old copy of a ledger, put back in its place, is noticed by what the directory remembers of it
(RELIABILITY, S54, D9)."""

import shutil

import pytest
from ledger_damage import KilledLedger
from directory_daemon import Place


@pytest.fixture(scope="module")
def killed():
    made = KilledLedger(seed=40)
    yield made
    made.remove()


def lives(killed, *, arguments=()):
    """One life that charges; what it logged, and what was used when it began."""
    one = killed.start(arguments=arguments)
    try:
        found = killed.found(one)
        assert one.charge("o0", "u0", 1).allowed
        said = one.logged()
        assert one.stop() == 0
    finally:
        one.remove()
    return said, found


def refused(killed):
    before = {path: path.read_bytes() for path in killed.place.ledger.iterdir()
              if path.is_file() and path.name != "lock"}
    with pytest.raises(AssertionError) as told:
        killed.start()
    said = str(told.value)
    assert "--accept-rollback" in said and str(killed.place.ledger) in said, said
    after = {path: path.read_bytes() for path in killed.place.ledger.iterdir()
             if path.is_file() and path.name != "lock"}
    assert after == before
    return said


def generations(killed):
    return [int(path.name[9:21]) for path in killed.place.files("snapshot")]


def test_an_old_copy_is_refused_until_it_is_accepted(killed):
    killed.restore(directory=False)
    lives(killed)
    newest = max(generations(killed))
    killed.restore(directory=False)
    assert f"generation {newest} was there" in refused(killed)
    refused(killed)
    said, found = lives(killed, arguments=["--accept-rollback"])
    assert "an old copy is there" in said and found == killed.told
    # No number is used twice: the other future of that copy is older than this one now.
    assert min(generations(killed)) > newest
    lives(killed)


def test_a_copy_from_before_the_last_end_is_noticed(killed):
    """The last snapshot, which an end writes, is remembered too."""
    one = killed.start(arguments=["--accept-rollback"])
    copy = killed.place.path / "copy"
    try:
        shutil.copytree(killed.place.ledger, copy)
        assert one.stop() == 0
    finally:
        one.remove()
    shutil.rmtree(killed.place.ledger)
    shutil.move(copy, killed.place.ledger)
    assert "an old copy is there" in refused(killed)


def test_an_emptied_place_and_another_ledger_are_noticed(killed):
    killed.restore(directory=False)
    lives(killed, arguments=["--accept-rollback"])
    shutil.rmtree(killed.place.ledger)
    killed.place.ledger.mkdir(mode=0o700)
    assert "there is no ledger" in refused(killed)
    lives(killed, arguments=["--accept-rollback"])
    killed.restore(directory=False)
    assert "another ledger" in refused(killed)


def test_a_directory_that_knows_no_ledger_takes_any(killed):
    killed.restore(directory=False)
    other = Place()
    try:
        one = killed.start(directory=other)
        assert killed.found(one) == killed.told
        assert one.stop() == 0
        one.remove()
    finally:
        other.remove()
