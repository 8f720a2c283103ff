"""Calls on the ledger's files that a signal interrupts, that do less than they were asked for, or
that say "again": in service and at a start (RELIABILITY, D7). EIO: test_ledger_calls.py."""

import pytest
from test_ledger_calls import CALLS, Scene

# What the kernel may interrupt; of the others it says nothing.
INTERRUPTED = ("open", "write", "sync", "allocate", "read")
AGAIN = "Resource temporarily unavailable"
# Of a start.
FIRST, STEP, CALLS_MAX = 3, 29, 400


@pytest.fixture
def scene():
    made = Scene()
    yield made
    made.remove()


@pytest.mark.parametrize("fault", ["interrupted", "short"])
def test_what_is_interrupted_or_done_by_half_is_done(scene, fault):
    """Every call of each kind, in a life, at its end and at the starts behind it: nobody sees it,
    and nothing is in trouble."""
    kinds = INTERRUPTED if fault == "interrupted" else ("write", "read")
    logged = scene.one.logged()
    for kind in kinds:
        if fault == "interrupted":
            scene.disk.fail(kind, "EINTR")
        else:
            scene.disk.shorten(kind)
    for ending in (scene.one.kill, scene.one.stop):
        for _ in range(12):
            scene.burst.charge(768)
            scene.one.admins.snapshots.create()
        status = scene.one.status()
        assert (status.trouble, status.sync_failures, status.snapshot_failures) == (None, 0, 0)
        assert ending() in (0, -9)
        scene.one.start()
        scene.burst.close()
        assert scene.burst.used() == scene.burst.told
    for kind in kinds:
        assert scene.disk.failed(kind) > 0, kind
    assert "error" not in scene.one.logged()[len(logged):]
    scene.disk.heal()
    scene.one.die_and_start_again()
    scene.burst.close()
    assert scene.burst.used() == scene.burst.told


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_that_says_again_is_refused_or_made_good(scene, kind):
    for k in range(1, CALLS[kind] + 1 if CALLS[kind] > 3 else 2):
        scene.disk.fail(kind, "EAGAIN", k, times=1)
        scene.work_until(lambda: scene.disk.failed(kind) == 1)
        scene.disk.heal()
        scene.recover()
    scene.compare()


@pytest.mark.parametrize("kind", ["read", "map", "write", "sync"])
def test_a_start_at_which_a_call_says_again_serves_or_says_so(scene, kind):
    k = told = 0
    is_over = False
    while not is_over:
        k += 1 if k < FIRST else STEP
        assert k < CALLS_MAX
        scene.burst.charge(300)
        scene.one.kill()
        scene.disk.fail(kind, "EAGAIN", k, times=1)
        try:
            scene.one.start()
        except AssertionError:
            told += 1
            logged = scene.one.logged()
            assert scene.one.process.wait(20) in (74, 75, 78), logged
            assert AGAIN in logged.splitlines()[-1], logged
            scene.one.log.close()
        is_over = scene.disk.failed(kind) == 0
        scene.disk.heal()
        if scene.one.process.returncode is not None:
            scene.one.start()
        scene.burst.close()
        assert scene.burst.used() == scene.burst.told
    assert told > 0
