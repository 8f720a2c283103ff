"""A disk that is full, may not be written, or fails to sync: the change is refused with what to
do, nothing has changed, checks go on (RELIABILITY, S49, S50)."""

import os
import signal
import subprocess

import pytest
from directory_frozen import frozen  # noqa: F401
from directory_world import DirectoryDaemon, World, new_state
from hardening import as_root
from strace import injected
from tollgate import Client

SMALL_DISK = ["unshare", "--mount", "sh", "-c",
              'mount -t tmpfs -o size=2m,mode=0700 none "$0" && exec "$@"']
# Modes hold for root too, without this.
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
UNPRIVILEGED = [] if os.geteuid() == 0 else ["--map-root-user"]


class Seen:
    """What a daemon answers and decides about its world."""

    def __init__(self, daemon, world):
        with Client(daemon.data, timeout=20) as client:
            self.decided = world.decisions(client)
        self.records = daemon.all_of("directory.export")
        self.log = daemon.all_of("log.list")
        self.keys = daemon.all_of("signing_key.list")

    def __eq__(self, other):
        return vars(self) == vars(other)


def refuse_all(daemon, world, words):
    """Each change is refused with these words, and none has changed anything."""
    before = Seen(daemon, world)
    for call, members in world.changes():
        status, detail = daemon.call(call, **members)
        assert status == 20, (call, members, status, detail)
        assert any(one in detail for one in words), (call, detail)
        assert str(daemon.state) in detail, (call, detail)
    assert Seen(daemon, world) == before


def work_again(daemon, world):
    """Changes are made once more, and hold."""
    daemon.done("user.suspend", organization="acme", user="ada")
    with Client(daemon.data, timeout=20) as client:
        decision = client.check(world.keys["ada"], operation="models")
        assert decision.reason == "credentialInvalid"
        assert client.check(world.keys["bob"], operation="models").allowed
    daemon.done("signing_key.add", id="after")
    assert daemon.done("user.show", organization="acme", user="ada")["user"][
        "status"] == "suspended"


def test_a_full_disk_refuses_changes_until_there_is_room():
    state = new_state()
    prefix = [*SMALL_DISK[:1], *UNPRIVILEGED, *SMALL_DISK[1:], str(state / "directory")]
    with DirectoryDaemon(state=state, prefix=prefix) as daemon:
        daemon.owns_state = True
        world = World(daemon)
        inside = f"/proc/{daemon.process.pid}/root{state}/directory"
        filler = f"{inside}/filler"
        full = subprocess.run(as_root(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"]),
                              capture_output=True, text=True)
        assert "No space left" in full.stderr, full.stderr
        refuse_all(daemon, world, ["make room", "No space left on device"])
        assert "change refused" in daemon.logged()
        subprocess.run(as_root(["rm", filler]), check=True)
        left = subprocess.run(as_root(["ls", f"{inside}/signing"]), check=True,
                              capture_output=True, text=True).stdout.split()
        assert sorted(left) == sorted(
            f"{key}.key" for key in (world.first_key, "second", "spare"))
        work_again(daemon, world)
        assert daemon.stop() == 0


def test_a_file_that_may_not_grow_refuses_changes_until_it_may():
    with DirectoryDaemon() as daemon:
        world = World(daemon)

        def limit(bytes):
            subprocess.run(as_root(["prlimit", "--pid", str(daemon.process.pid),
                                    f"--fsize={bytes}:"]), check=True)

        # The journal's head fits, and a signing key, but no page.
        limit(2_048)
        refuse_all(daemon, world, ["nothing was changed"])
        limit("unlimited")
        work_again(daemon, world)
        assert daemon.stop() == 0


def test_a_directory_that_may_not_be_written_refuses_changes_until_it_may():
    with DirectoryDaemon(prefix=BOUND) as daemon:
        world = World(daemon)
        folder = daemon.database.parent
        # Empty between two changes. One that is there SQLite would make writable.
        (folder / "directory.sqlite-journal").unlink()
        for one in (folder, folder / "signing"):
            one.chmod(0o500)
        refuse_all(daemon, world, ["nothing was changed", "Permission denied"])
        for one in (folder, folder / "signing"):
            one.chmod(0o700)
        work_again(daemon, world)
        # A start says so too.
        assert daemon.stop() == 0
        daemon.database.chmod(0o400)
        started = subprocess.run(daemon.command(), env=daemon.environment, capture_output=True,
                                 text=True, timeout=20)
        assert started.returncode == 74, started
        assert f"{daemon.database}: Permission denied" in started.stderr
        daemon.database.chmod(0o600)
        daemon.start()
        assert daemon.stop() == 0


@pytest.mark.parametrize("call", ["user.suspend", "token.refresh", "signing_key.retire"])
def test_a_sync_that_fails_ends_the_daemon_and_acknowledges_nothing(frozen, call):
    members = next(members for name, members in frozen.world.changes() if name == call)
    with frozen.copy() as daemon:
        assert daemon.call(call, **members)[0] == 0
        after = frozen.seen(daemon)
    # Of the journal, of its head, of the pages: before these the change is not made. Of the
    # emptied journal: it is made, and nobody knows whether it lasts. Left out is the second, of
    # the folder: the journal was there already, and SQLite passes over it.
    for sync, is_there in ((1, False), (3, False), (4, False), (5, True)):
        with frozen.copy() as daemon:
            with injected(daemon, "fdatasync", f"error=EIO:when={sync}"):
                # No status: each of them would say what is not known.
                with pytest.raises(ConnectionError):
                    daemon.call(call, **members)
                assert daemon.ended() == 74, daemon.logged()
            assert "a sync failed, so what is on the disk is not known" in daemon.logged()
            daemon.start()
            assert frozen.seen(daemon) == (after if is_there else frozen.before), sync


def test_a_signing_key_whose_file_is_not_synced_is_refused(frozen):
    for sync in (1, 2):
        with frozen.copy() as daemon:
            before = Seen(daemon, frozen.world)
            with injected(daemon, "fsync", f"error=EIO:when={sync}"):
                status, detail = daemon.call("signing_key.add", id="third")
            assert status == 20 and str(daemon.state) in detail
            assert Seen(daemon, frozen.world) == before
            daemon.done("signing_key.add", id="third")
            assert daemon.kill() == -signal.SIGKILL
            daemon.start()
            assert "third" in [key["id"] for key in daemon.all_of("signing_key.list")]
            assert daemon.stop() == 0
