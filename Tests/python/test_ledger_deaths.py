"""A daemon that aborts under load, or that has no memory left: every counter is what its callers
were told (RELIABILITY, D2). Kills at each call of the disk: test_ledger_kill_calls.py."""

import contextlib
import datetime
import pathlib
import re
import signal
import subprocess

import pytest
from hardening import as_root, connect
from ledger_daemon import Burst, daemon
from ledger_payers import PLANS, Payer, live
from test_ledger_billing import seeded
from test_ledger_disk import go_through_trouble
from tollgate import wire

DEATHS = 4
# What ends a process that asks for memory and gets none.
OUT_OF_MEMORY = {-signal.SIGABRT, -signal.SIGILL, -signal.SIGTRAP, -signal.SIGSEGV}
PEERS = 900


def now():
    return datetime.datetime.now(datetime.UTC)


def limit(one, what, units):
    subprocess.run(as_root(["prlimit", f"--pid={one.process.pid}", f"--{what}={units}:unlimited"]),
                   check=True)


def has(one, what):
    """Bytes that the process has of `VmSize` or `VmData`."""
    status = pathlib.Path(f"/proc/{one.process.pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) * 1_024


def compare(one, payers):
    ever = {payer.user: {entry.name: entry.used for entry in
                         one.callers.usage("acme", payer.user, "pro_tier").limits}
            for payer in payers}
    assert {user: limits["user_ever"] for user, limits in ever.items()} == {
        payer.user: payer.told for payer in payers}
    raced = {entry.name: entry.used for entry in
             one.callers.usage("race", "", "raced_tier").limits}
    assert raced["raced_ever"] == sum(payer.raced for payer in payers)


@pytest.mark.parametrize("durability", ["second", "always"])
def test_an_abort_under_load_costs_nothing(durability):
    chance = seeded()
    with daemon(policy=PLANS, ledger={"durability": durability}) as one:
        payers = [Payer(number, one, chance) for number in range(4)]

        def abort():
            one.process.send_signal(signal.SIGABRT)
            assert one.process.wait(20) == -signal.SIGABRT
            one.log.close()

        for _ in range(DEATHS):
            live(one, now(), payers, chance, abort)
            compare(one, payers)
        assert all(payer.told for payer in payers)


@pytest.mark.parametrize("durability", ["second", "always"])
def test_a_death_for_want_of_memory_under_load_costs_nothing(durability):
    """Of what it writes to, but mapped files, it may have no more than now: half a frame of each of
    many peers takes more."""
    chance = seeded()
    with daemon(policy=PLANS, ledger={"durability": durability}) as one:
        payers = [Payer(number, one, chance, ["capacityExhausted"]) for number in range(4)]

        def starve():
            limit(one, "data", has(one, "VmData"))
            half = wire.frame(wire.PING, 1, bytes(60_000))[:50_000]
            with contextlib.ExitStack() as peers, contextlib.suppress(OSError):
                for _ in range(PEERS):
                    peers.enter_context(connect(one.data, timeout=2)).sendall(half)
            assert one.process.wait(20) in OUT_OF_MEMORY
            one.log.close()

        for _ in range(DEATHS):
            live(one, now(), payers, chance, starve)
            compare(one, payers)
        assert all(payer.told for payer in payers)


def test_where_no_file_can_be_mapped_it_refuses_and_goes_on_when_memory_is_there():
    with daemon() as one:
        burst = Burst(one)
        burst.charge(100)
        limit(one, "as", has(one, "VmSize"))

        def heal():
            assert "more memory" in one.status().advice
            limit(one, "as", "unlimited")

        go_through_trouble(one, burst, heal)
