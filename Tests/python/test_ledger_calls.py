"""EIO and ENOSPC at the k-th call of each kind on the ledger's files: the daemon stays up, says
what is wrong, recovers when the fault ends, and its books are what clients were told, also after a
kill (RELIABILITY, D6, D7). After a sync that failed nothing of its file is synced or read again."""

import concurrent.futures
import contextlib
import json
import os
import subprocess
import threading

import pytest
from commandline import TOLLGATE, Cli
from disk_order import Order
from disk_trace import traced
from faulty_disk import FaultyDisk
from hardening import eventually
from ledger_daemon import Burst, LedgerDaemon, LedgerPlace
from tollgate import Client, TollgateError

ERRORS = {"EIO": "Input/output error", "ENOSPC": "No space left on device"}
# A file of the journal is made of four writes and one of each other call, and two lie ready.
CALLS = {"open": 5, "write": 5, "sync": 5, "rename": 3, "unlink": 2, "map": 2, "allocate": 2}
ROUNDS_MAX = 120


class Scene:
    """A daemon on a disk that can fail, and a client that charges it."""

    def __init__(self):
        self.place = LedgerPlace()
        self.disk = FaultyDisk(self.place.ledger)
        self.one = LedgerDaemon(
            self.place, environment=self.disk.environment, ledger={"durability": "always"})
        self.burst = Burst(self.one)
        self.burst.charge(200)
        # Made while it serves.
        eventually((self.place.ledger / "group.tgg").exists)

    def work_until(self, is_done):
        """Charges, enough for further files of the journal, and snapshots."""
        for _ in range(ROUNDS_MAX):
            if is_done():
                return
            assert len(self.burst.charge(768)) == 768, self.one.logged()
            self.snapshot()
        raise AssertionError("it did not come to it")

    @contextlib.contextmanager
    def working(self):
        """Beside what is done with it, and until it has healed: replies of charges that a sync was
        to cover wait for one that succeeds."""
        is_over = threading.Event()

        def work():
            while not is_over.is_set():
                assert len(self.burst.charge(768)) == 768, self.one.logged()
                self.snapshot()

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            worker = pool.submit(work)
            try:
                yield
            finally:
                self.disk.heal()
                is_over.set()
            worker.result()

    def snapshot(self):
        with Client(self.one.admin, timeout=20) as admin:
            try:
                admin.snapshots.create()
            except TollgateError:
                # Where it fails, health says so.
                pass

    def health(self):
        """The exit code of `tollgate health`, and what it prints."""
        done = subprocess.run(
            [TOLLGATE, "health", "--json"], capture_output=True, text=True, timeout=30,
            env=Cli(self.one).env)
        return done.returncode, json.loads(done.stdout or done.stderr)

    def recover(self):
        """Without a restart: charges are taken again, and there is no trouble left."""
        eventually(lambda: "none" in self.burst.charge(1), 10)
        # What could not be removed, or archived, is tried with the next snapshot.
        eventually(lambda: (self.snapshot(), self.health()[0] == 0)[1], 15)

    def compare(self):
        assert self.one.process.poll() is None, self.one.logged()
        assert self.burst.used() == self.burst.told
        self.one.die_and_start_again()
        self.burst.close()
        assert self.burst.used() == self.burst.told

    def remove(self):
        self.burst.close()
        self.one.remove()
        self.disk.remove()
        self.place.remove()


@pytest.fixture
def scene():
    made = Scene()
    yield made
    made.remove()


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("kind", CALLS)
def test_a_call_that_fails_once_costs_nothing(scene, kind, error):
    for k in range(1, CALLS[kind] + 1):
        scene.disk.fail(kind, error, k, times=1)
        scene.work_until(lambda: scene.disk.failed(kind) == 1)
        scene.disk.heal()
        scene.recover()
        scene.compare()


# Where no sync succeeds it ends with 74: test_ledger_disk.py.
LASTING = [(kind, error) for kind in CALLS for error in ERRORS if (kind, error) != ("sync", "EIO")]


@pytest.mark.parametrize("kind, error", LASTING)
def test_while_calls_fail_health_says_so_and_it_goes_on_when_they_end(scene, kind, error):
    scene.disk.fail(kind, error)
    with scene.working():
        eventually(lambda: scene.disk.failed(kind) > 0 and scene.health()[0] != 0)
        code, said = scene.health()
        assert code in (1, 2)
        assert ERRORS[error] in json.dumps(said), said
    scene.recover()
    scene.compare()


def test_a_file_whose_sync_failed_is_never_synced_or_believed_again(scene, tmp_path):
    """The sync fails, and for a while no other file can be made: it refuses, and says so."""
    present = os.listdir(scene.place.ledger)
    given_up = scene.place.files("journal")[0]
    before = given_up.read_bytes()
    scene.disk.fail("open", "ENOSPC")
    # Seen by the kernel, and so by the trace: the first of each thread.
    with traced(scene.one, tmp_path / "trace", inject=["fdatasync:error=EIO:when=1"]):
        with scene.working():
            scene.one.wait_for_state("refusing")
            # Of another connection, of which nothing waits.
            others = Burst(scene.one, "others")
            assert others.charge(1) == ["ledgerUnavailable"]
            others.close()
            assert scene.one.status().sync_failures >= 1
            code, said = scene.health()
            assert code == 2 and ERRORS["ENOSPC"] in json.dumps(said), said
        scene.recover()
        scene.burst.charge(500)
    order = Order(scene.place.ledger, present).read(
        (tmp_path / "trace").read_text().splitlines())
    assert order.problems == [] and order.counts["replies"] > 500
    assert order.counts["syncs that failed"] >= 1
    assert scene.burst.used() == scene.burst.told
    # What the disk has of it may be what it had before: nothing more is asked of it.
    scene.one.kill()
    if given_up.exists():
        given_up.write_bytes(before)
    scene.one.start()
    scene.burst.close()
    assert scene.burst.used() == scene.burst.told
