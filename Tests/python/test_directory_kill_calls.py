"""`kill -9` at every system call that a change makes on the disk: the steps between the steps."""

import pytest
from directory_frozen import check_files, cut_short, frozen  # noqa: F401
from strace import injected

DISK = ("pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "unlink")


@pytest.mark.parametrize(
    "call", ["token.refresh", "user.delete", "signing_key.add", "signing_key.retire"])
def test_a_kill_at_any_call_on_the_disk_leaves_all_of_a_change_or_nothing(frozen, call):
    members = next(members for name, members in frozen.world.changes() if name == call)
    with frozen.copy() as daemon:
        assert daemon.call(call, **members)[0] == 0
        after = frozen.seen(daemon)
    made = {name: kills(frozen, call, members, name, after) for name in DISK}
    print(call, made)
    assert len(made["pwrite64"]) > 10 and len(made["fdatasync"]) == 5
    # The journal that could undo it is emptied: only then is it made.
    assert made["ftruncate"] == [False] and made["fdatasync"] == [False] * 4 + [True]
    assert not any(made["pwrite64"])
    files = {"signing_key.add": (2, 1), "signing_key.retire": (0, 0)}.get(call, (0, 0))
    assert (len(made["fsync"]), len(made["rename"])) == files


def kills(frozen, call, members, name, after):
    """At each system call of that name: whether the change was there after it."""
    made = []
    while True:
        with frozen.copy() as daemon:
            with injected(daemon, name, f"signal=SIGKILL:when={len(made) + 1}"):
                answer, is_killed = cut_short(daemon, call, members)
            if not is_killed:
                return made
            daemon.start()
            check_files(daemon, may_be_left=int(call == "signing_key.add"))
            found = frozen.seen(daemon)
            made.append(found == after)
            assert made[-1] or found == frozen.before, (call, name, len(made))
            assert made[-1] or answer is None, "acknowledged, and not there"
