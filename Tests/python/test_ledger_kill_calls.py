"""A kill at each call that the ledger makes of its disk, in service and at a start: what was told
is there, nothing is there twice, and the next start serves (RELIABILITY, D2)."""

import signal

import pytest
from test_ledger_calls import CALLS, Scene
from tollgate import wire

STARTS_MAX = 200
# A start opens every file: so many of these calls in a row, and then each seventh.
ALL_OPENED = 12


@pytest.fixture
def scene():
    made = Scene()
    yield made
    made.remove()


def is_dead(scene):
    """Killed, and by nothing else."""
    code = scene.one.process.poll()
    assert code in (None, -signal.SIGKILL), scene.one.logged()
    return code is not None


def compare(scene):
    """What callers were told, and at most what was being answered besides."""
    scene.burst.close()
    found, told = scene.burst.used(), scene.burst.told
    assert told <= found <= told + wire.IN_FLIGHT_MAX
    scene.burst.told = found


@pytest.mark.parametrize("kind", CALLS)
def test_a_kill_at_any_call_costs_nothing(scene, kind):
    for k in range(1, CALLS[kind] + 1):
        scene.disk.kill(kind, k)
        for _ in range(120):
            scene.burst.charge(768)
            scene.snapshot()
            if is_dead(scene):
                break
        # The process may be on its way out.
        assert scene.one.process.wait(20) == -signal.SIGKILL and scene.disk.failed(kind) == 1
        scene.disk.heal()
        scene.one.log.close()
        scene.one.start()
        compare(scene)


@pytest.mark.parametrize("kind", CALLS)
def test_a_kill_at_any_call_of_a_start_costs_nothing(scene, kind):
    """Behind a kill, with a journal that no sync had covered."""
    k = kills = 0
    while k < STARTS_MAX:
        k += 1 if k < ALL_OPENED or kind != "open" else 7
        scene.burst.charge(300)
        scene.one.kill()
        scene.disk.kill(kind, k)
        try:
            scene.one.start()
        except AssertionError:
            assert scene.one.process.wait(20) == -signal.SIGKILL
        # It served, and was killed at what comes then: or it is over.
        is_over = scene.disk.failed(kind) == 0
        scene.disk.heal()
        if not is_over:
            kills += 1
            scene.one.process.wait(20)
            scene.one.log.close()
            scene.one.start()
        compare(scene)
        if is_over:
            break
    assert k < STARTS_MAX and kills > 0
