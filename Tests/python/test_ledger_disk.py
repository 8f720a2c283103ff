"""A disk that is full, read-only, or fails: what is billed is refused in plain words and nothing
that was told is lost, windowed limits go on, and it heals by itself (RELIABILITY, D6, D7, D9)."""

import contextlib
import os
import subprocess
import time

import pytest
from faulty_disk import FaultyDisk
from hardening import as_root, eventually, token
from ledger_daemon import PLAN, Burst, LedgerDaemon, LedgerPlace, daemon, used
from strace import injected
from tollgate import StorageFailed, new_id

REFUSED = "ledgerUnavailable"
# More than the segments that lie ready take.
CHARGES_MAX = 400_000


def fill(place):
    """Takes all the room that there is."""
    with open(place.path / "filler", "wb", buffering=0) as filler:
        size = 1 << 20
        while size:
            try:
                filler.write(bytes(size))
            except OSError:
                size //= 2
    return place.path / "filler"


def seconds_until_served(burst):
    began = time.monotonic()
    while "none" not in burst.charge(1):
        assert time.monotonic() - began < 20, burst.daemon.logged()
        time.sleep(0.01)
    return time.monotonic() - began


def go_through_trouble(one, burst, heal):
    """Charges until the disk refuses, looks at what that is like, and at how it ends."""
    burst.until(REFUSED, CHARGES_MAX)
    told = burst.told
    # What is not billed goes on, and nothing is charged in name alone.
    def reason(plan):
        return one.callers.check(
            token(one, plan=plan), operation="look", units={"tokens": 1}).reason

    assert reason("windowed_tier") == "none"
    # One quota may still find room where four have not: a few times.
    assert REFUSED in [reason("small_tier") for _ in range(64)]
    assert set(burst.charge(64)) == {REFUSED}
    assert burst.used() == told
    one.wait_for_state("refusing")
    status = one.status()
    assert status.trouble and status.trouble_at and status.advice
    assert one.process.poll() is None
    heal()
    assert seconds_until_served(burst) < 1.2
    one.wait_for_state("serving")
    # What ails the files ahead is told until the next are made.
    eventually(lambda: one.status().trouble is None, 5)
    burst.charge(1_000)
    assert burst.used() == burst.told
    one.die_and_start_again()
    burst.close()
    assert burst.used() == burst.told


def test_a_full_disk_refuses_and_heals_when_room_returns():
    place = LedgerPlace(size=48 << 20)
    try:
        with daemon(place) as one:
            burst = Burst(one)
            burst.charge(100)
            filler = fill(place)
            go_through_trouble(one, burst, filler.unlink)
    finally:
        place.remove()


def test_reservations_are_refused_by_a_full_disk_and_go_on_when_room_returns():
    """Reason 81 for each verb, and nothing is charged, held or let go; then it is done."""
    place = LedgerPlace(size=48 << 20)
    try:
        with daemon(place) as one:
            client, credential = one.callers, token(one, plan="pro_tier")

            def reserve(**more):
                return client.reserve(credential, operation="chat", units={"tokens": 50},
                                      detached=True, **more)

            def numbers():
                found = {entry.name: entry for entry in client.usage("acme", "ada", PLAN).limits}
                return found["user_tokens"].used, found["user_tokens"].held

            holds, identity = [reserve() for _ in range(3)], new_id()
            filler, burst = fill(place), Burst(one)
            # In its organization, so in its part of the journal.
            burst.until(REFUSED, CHARGES_MAX)
            before = numbers()
            assert before == (burst.told, 150)
            refused = [
                reserve(idempotency_id=identity).decision,
                client.extend(holds[0].id, {"tokens": 70}, {"tokens": 1}),
                client.settle(holds[1].id, {"tokens": 7}), client.cancel(holds[2].id),
                client.check(credential, operation="chat", idempotency_id=new_id()),
                client.consume("acme", "ada", PLAN, "chat", {"tokens": 1})]
            assert [(one.allowed, one.reason, one.reason_code) for one in refused] == [
                (False, REFUSED, 81)] * 6
            assert numbers() == before
            filler.unlink()
            assert seconds_until_served(burst) < 1.2
            assert reserve(idempotency_id=identity).allowed
            assert client.extend(holds[0].id, {"tokens": 70}, {"tokens": 1}).allowed
            assert client.settle(holds[1].id, {"tokens": 7}).allowed
            assert client.cancel(holds[2].id).allowed
            assert numbers() == (burst.told + 7, 120)
            one.die_and_start_again()
            assert numbers() == (burst.told + 7, 120)
    finally:
        place.remove()


def test_a_limit_on_files_refuses_and_heals_when_it_is_raised():
    with daemon() as one:
        burst = Burst(one)
        burst.charge(100)

        def limit(text):
            subprocess.run(as_root(["prlimit", f"--pid={one.process.pid}", f"--fsize={text}"]),
                           check=True)

        limit("65536:unlimited")
        go_through_trouble(one, burst, lambda: limit("unlimited:unlimited"))


def test_a_mount_gone_read_only_refuses_and_heals_when_it_can_be_written():
    """What is mapped for writing keeps a mount from being remounted; the kernel says what it says
    where an error of the disk has done it."""
    with daemon() as one, contextlib.ExitStack() as read_only:
        burst = Burst(one)
        burst.charge(100)
        read_only.enter_context(injected(one, "openat", "error=EROFS"))
        go_through_trouble(one, burst, read_only.close)


def test_on_failure_allow_goes_on_in_memory_and_says_so():
    place = LedgerPlace(size=48 << 20)
    try:
        with daemon(place, ledger={"on_failure": "allow"}) as one:
            burst = Burst(one)
            filler = fill(place)
            eventually(lambda: set(burst.charge(2_000)) == {"none"}
                       and one.status().state == "unjournaled", 60)
            assert one.status().trouble
            filler.unlink()
            one.wait_for_state("serving")
            assert burst.reasons == {"none"} and burst.used() == burst.told
            # Healed: all of it is on the disk now.
            one.die_and_start_again()
            burst.close()
            assert burst.used() == burst.told
    finally:
        place.remove()


@pytest.mark.parametrize("durability", ["second", "always"])
def test_a_sync_that_fails_once_is_made_good_in_new_files(durability):
    with daemon(ledger={"durability": durability}) as one:
        burst = Burst(one)
        burst.charge(500)
        with injected(one, "fdatasync", "error=EIO:when=1"):
            burst.charge(500)
            eventually(lambda: one.status().sync_failures > 0)
            one.wait_for_state("serving")
        assert seconds_until_served(burst) < 5
        burst.charge(500)
        assert burst.used() == burst.told
        one.die_and_start_again()
        burst.close()
        assert burst.used() == burst.told


@pytest.mark.parametrize("durability", ["second", "always"])
def test_where_no_sync_succeeds_it_ends_with_74_and_tells_nothing_more(durability):
    place = LedgerPlace()
    one = LedgerDaemon(place, ledger={"durability": durability})
    try:
        burst = Burst(one)
        burst.charge(500)
        with injected(one, "fdatasync,fsync", "error=EIO"):
            while burst.charge(100):
                pass
            assert one.process.wait(20) == 74
        assert "Input/output error" in one.logged()
        one.log.close()
        one.start()
        found, told = burst.used(), burst.told
        assert told <= found <= told + 256
        if durability == "always":
            # Told or not: it is what the disk was asked for before.
            assert found <= told + 256
        assert one.stop() == 0
    finally:
        one.remove()
        place.remove()


def test_a_snapshot_that_fails_behind_a_start_is_told_once_and_tried_again_in_a_while():
    """A start that resumed wants one of its own: no sooner than any other that fails."""
    place = LedgerPlace()
    disk = FaultyDisk(place.ledger)
    one = LedgerDaemon(place, environment=disk.environment)
    try:
        assert one.charge("acme", "ada", 5).allowed
        assert one.stop() == 0
        one.log.close()
        # The disk is full behind the last write that a start needs.
        for writes in range(1, 40):
            disk.fail("write", "ENOSPC", k=writes)
            try:
                one.start()
                break
            except AssertionError:
                assert one.process.wait(20) == 74
                one.log.close()
        eventually(lambda: one.status().snapshot_failures > 0)
        began = time.monotonic()
        while time.monotonic() < began + 4:
            assert one.status().snapshot_failures == 1
            time.sleep(0.1)
        # Who asks for one has its answer at once, whichever it is.
        with pytest.raises(StorageFailed):
            one.admins.snapshots.create()
        assert one.status().snapshot_failures == 2
        eventually(lambda: one.status().snapshot_failures > 2, 20)
        assert one.logged().count("no snapshot can be written") == 1
        disk.heal()
        assert one.admins.snapshots.create().generation > 1
        eventually(lambda: one.status().trouble is None)
        assert "over: no snapshot can be written" in one.logged()
        assert one.charge("acme", "ada", 5).allowed
        assert one.stop() == 0
    finally:
        one.remove()
        disk.remove()
        place.remove()


def test_a_second_daemon_on_the_same_ledger_ends_with_75():
    with daemon() as one:
        one.charge("acme", "ada", 7)
        other = one.directory / "other"
        done = subprocess.run(
            [*one.command()[:-6], "--data-socket", f"{other}.d", "--admin-socket", f"{other}.a",
             "--threads", "1"], capture_output=True, text=True, timeout=60, env=one.environment)
        assert done.returncode == 75, done.stderr
        assert "another process" in done.stderr
        with_one = used(one.callers, "acme", "ada")
        assert with_one["user_tokens"] == 7


def test_a_place_that_cannot_be_made_into_a_ledger_is_told_at_start():
    place = LedgerPlace()
    try:
        place.ledger.rmdir()
        place.ledger.write_text("a file")
        with pytest.raises(AssertionError) as told:
            LedgerDaemon(place)
        assert str(place.ledger) in str(told.value)
    finally:
        place.remove()
    assert os.path.exists(place.path) is False
