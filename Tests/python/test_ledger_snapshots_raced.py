"""Snapshots back to back, with the smallest files of the journal, under a load that fills them, in
one life, with kill -9 at its end: totals are what was told, and the files have no hole
(RELIABILITY, D10). Many short lives: test_ledger_kill.py; files of 64 KiB: the simulation."""

import contextlib
import itertools
import os
import threading
import time

import pytest
from commandline import Cli
from ledger_daemon import Burst, daemon
from tollgate import Client, Conflict, TollgateError, wire

SECONDS = float(os.environ.get("TOLLGATE_SNAPSHOT_SECONDS", "5"))
EVERY = 0.05
# The least that the policy takes.
SEGMENT_BYTES = 1 << 20
ROUND = 64
# Of many shards.
LOADS, ORGANIZATIONS = 3, 150


@pytest.mark.parametrize("durability", ["second", "always"])
def test_snapshots_back_to_back_lose_nothing_and_leave_no_hole(durability):
    settings = {"durability": durability, "segment_bytes": SEGMENT_BYTES}
    with daemon(ledger=settings) as one:
        loads = [[Burst(one, f"o{number}-{load}") for number in range(ORGANIZATIONS)]
                 for load in range(LOADS)]
        bursts = [burst for load in loads for burst in load]
        is_over, made, failures = threading.Event(), [], []

        def load(bursts):
            try:
                for burst, following in itertools.pairwise(itertools.cycle(bursts)):
                    if is_over.is_set() or len(burst.charge(ROUND)) < ROUND:
                        return
                    # On one connection.
                    following.peer, burst.peer = burst.peer, None
            except BaseException as failure:
                failures.append(failure)

        def snapshots():
            # Until it is killed.
            with Client(one.admin, timeout=20) as admin, contextlib.suppress(TollgateError):
                while not is_over.is_set():
                    # Another may have been written for the size of the journal.
                    with contextlib.suppress(Conflict):
                        made.append(admin.snapshots.create().generation)
                    time.sleep(EVERY)

        threads = [threading.Thread(target=load, args=[bursts]) for bursts in loads]
        threads.append(threading.Thread(target=snapshots))
        for thread in threads:
            thread.start()
        time.sleep(SECONDS)
        # Before the clients: some requests are in flight.
        one.process.kill()
        is_over.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert one.process.wait(20) == -9
        one.log.close()
        # Three lie ready from the beginning.
        newest = max(int(path.name[8:20]) for path in one.place.files("journal"))
        assert newest > 3 and len(made) > SECONDS
        assert made == sorted(set(made))
        # Exits 1 where something is damaged.
        Cli(one)("ledger", "verify", one.place.ledger)
        one.start()
        for burst in bursts:
            burst.close()
            found = burst.used()
            assert burst.told <= found <= burst.told + min(ROUND, wire.IN_FLIGHT_MAX)
            burst.told = found
        assert sum(burst.told for burst in bursts) > 1_000
        one.die_and_start_again()
        assert all(burst.used() == burst.told for burst in bursts)
