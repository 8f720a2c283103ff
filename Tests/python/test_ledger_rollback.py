"""An old copy of a ledger, put back in its place, is noticed by what the directory remembers of it
(RELIABILITY, S54, D9); and what README says is not noticed, is not."""

import shutil

import pytest
from commandline import Cli
from ledger_damage import KilledLedger
from ledger_daemon import daemon, used
from hardening import eventually
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


def copied(one, copy):
    """Once no file is being made; anew where one went away meanwhile."""
    def stood_still():
        eventually(lambda: len(one.place.files("journal")) >= 3
                   and not list(one.place.ledger.glob("*.part")))
        try:
            shutil.copytree(one.place.ledger, copy)
        except shutil.Error:
            shutil.rmtree(copy)
        return copy.exists()
    eventually(stood_still)


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
        copied(one, copy)
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


def test_ledger_and_directory_put_back_together_are_an_honest_start(killed):
    killed.restore()
    lives(killed)
    killed.restore()
    said, found = lives(killed)
    assert found == killed.told and "old copy" not in said


def test_a_copy_since_the_newest_snapshot_is_not_noticed_after_a_kill(killed):
    killed.restore()
    copy = killed.place.path / "copy"
    one = killed.start()
    try:
        copied(one, copy)
        assert one.charge("o0", "u0", 5).allowed
        one.kill()
    finally:
        one.remove()
    shutil.rmtree(killed.place.ledger)
    shutil.move(copy, killed.place.ledger)
    _, found = lives(killed)
    # The charge since is forgotten.
    assert found == killed.told


def test_without_a_directory_nothing_is_noticed_and_the_start_says_so():
    with daemon(ledger={"durability": "always"}) as one:
        copy = one.place.path / "copy"
        assert one.charge("acme", "ada", 7).allowed
        one.kill()
        assert "an old copy, put back in its place, would not be noticed" in one.logged()
        shutil.copytree(one.place.ledger, copy)
        one.start()
        assert one.charge("acme", "ada", 50).allowed
        # What another host may remember: it never goes down, but by an old copy.
        before = Cli(one).json("health")["ledger"]["snapshot"]["generation"]
        assert one.stop() == 0
        shutil.rmtree(one.place.ledger)
        shutil.move(copy, one.place.ledger)
        one.process = one.start()
        assert used(one.callers, "acme", "ada")["user_tokens"] == 7
        assert Cli(one).json("health")["ledger"]["snapshot"]["generation"] <= before


def test_with_a_directory_the_start_does_not_say_so(killed):
    killed.restore()
    said, _ = lives(killed)
    assert "would not be noticed" not in said


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
