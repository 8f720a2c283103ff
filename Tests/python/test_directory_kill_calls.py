"""`kill -9` at every system call that a change makes on the disk: the steps between the steps."""

import contextlib
import subprocess

import pytest
from directory_frozen import check_files, cut_short, frozen  # noqa: F401
from hardening import as_root, eventually

DISK = ("pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "unlink")


@contextlib.contextmanager
def injected(daemon, name, what):
    """`what` happens to the daemon's system calls of that name, counted by thread from now on."""
    command = as_root(["strace", "-f", "-q", "-p", str(daemon.process.pid), "-o", "/dev/null",
                       "-e", f"trace={name}", "-e", f"inject={name}:{what}"])
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        tasks = f"/proc/{daemon.process.pid}/task"
        eventually(lambda: all_traced(tasks))
        yield
    finally:
        tracer.terminate()
        tracer.communicate(timeout=20)


def all_traced(tasks):
    listed = subprocess.run(["sh", "-c", f"grep -h TracerPid {tasks}/*/status"],
                            capture_output=True, text=True).stdout.split("\n")
    return all(line.split()[1] != "0" for line in listed if line)


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
