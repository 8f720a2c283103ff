"""A quota of the disk, a limit on files and a file system that is read-only, at each call on the
ledger's files that can say so: what was told is there, health names it and what to do, and it heals
by itself (RELIABILITY, D6). ENOSPC at each call: test_ledger_calls.py."""

import json

import pytest
from hardening import eventually
from test_ledger_calls import CALLS, Scene

ERRORS = {"EDQUOT": ("Disk quota exceeded", "make room"), "EFBIG": ("File too large", "LimitFSIZE"),
          "EROFS": ("Read-only file system", "writable again")}
# As open(2), pwrite(2), fsync(2), fallocate(2), rename(2) and unlink(2) have them.
PAIRS = [("open", "EDQUOT"), ("open", "EROFS"), ("write", "EDQUOT"), ("write", "EFBIG"),
         ("sync", "EDQUOT"), ("allocate", "EDQUOT"), ("allocate", "EFBIG"), ("rename", "EDQUOT"),
         ("rename", "EROFS"), ("unlink", "EROFS")]


@pytest.fixture(scope="module")
def scene():
    made = Scene()
    yield made
    made.remove()


@pytest.mark.parametrize("kind, error", PAIRS)
def test_what_a_call_refuses_is_told_and_costs_nothing(scene, kind, error):
    # Where a file of the journal must be full first, the lasting fault below is enough.
    for k in range(1, CALLS[kind] + 1 if kind != "allocate" else 1):
        scene.disk.fail(kind, error, k, times=1)
        scene.work_until(lambda: scene.disk.failed(kind) == 1)
        scene.disk.heal()
    scene.recover()
    words, advice = ERRORS[error]
    scene.disk.fail(kind, error)
    with scene.working():
        eventually(lambda: scene.disk.failed(kind) > 0 and scene.health()[0] != 0)
        code, said = scene.health()
        assert code in (1, 2) and words in json.dumps(said), said
        assert advice in json.dumps(said), said
    scene.recover()
    scene.compare()
