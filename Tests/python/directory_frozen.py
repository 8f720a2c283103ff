"""A directory with a world in it, frozen, and what a daemon on a copy of it makes of a kill."""

import re
import shutil
import signal

import directory_world
import hardening
import pytest
from directory_world import DirectoryDaemon, World, copied, tables
from tollgate import Client

# What a change makes anew: instants, digests, ids of sessions and of keys.
VARYING = r"(?<![\w-])(?:1\d{12}|[0-9a-f]{64}|[\w-]{22}|(?:tg_live_)?\w{16})(?![\w-])"


class Frozen:
    """A directory with a world in it, closed, to be copied as often as one likes."""

    def __init__(self):
        daemon = DirectoryDaemon()
        self.world = World(daemon)
        assert daemon.stop() == 0
        self.state = copied(daemon.state)
        daemon.remove()
        self.raw = repr(hexadecimal(tables(self.state / "directory/directory.sqlite")))
        with self.copy() as daemon:
            self.before = self.seen(daemon)

    def copy(self, **options):
        return Copy(self.state, **options)

    def masked(self, value):
        """As text, without what is new and differs each time: instants, ids, digests."""
        return re.sub(VARYING, lambda found: found[0] if found[0] in self.raw else "new",
                      repr(value))

    def rows(self, daemon):
        """Of a daemon that has ended; what was used last is not part of any change."""
        found = tables(daemon.database)
        directory_world.check_families(found)
        found["api_keys"] = [row[:-1] for row in found["api_keys"]]
        # A reset's id is drawn anew each time.
        found["resets"] = [(row[0], None, *row[2:]) for row in found["resets"]]
        return {name: sorted(map(self.masked, rows)) for name, rows in hexadecimal(found).items()}

    def seen(self, daemon):
        """What a daemon answers and decides, then kills it to see what it keeps."""
        with Client(daemon.data, timeout=20) as client:
            decided = self.world.decisions(client)
        records = daemon.all_of("directory.export")
        for record in records:
            record.pop("last_used_at", None)
        said = sorted(self.masked(one) for one in [*records, *daemon.all_of("log.list")])
        assert daemon.kill() == -signal.SIGKILL
        return decided, said, self.rows(daemon)


class Copy:
    """A daemon on a copy of a directory; both are gone afterwards."""

    def __init__(self, state, **options):
        self.state, self.options = copied(state), options

    def __enter__(self):
        try:
            self.daemon = DirectoryDaemon(state=self.state, **self.options)
        except BaseException:
            shutil.rmtree(self.state)
            raise
        return self.daemon

    def __exit__(self, *_):
        self.daemon.remove()
        shutil.rmtree(self.state)


def hexadecimal(found):
    """Tables, their bytes as text."""
    return {name: [[cell.hex() if isinstance(cell, bytes) else cell for cell in row]
                   for row in rows] for name, rows in found.items()}


@pytest.fixture(scope="module")
def frozen():
    made = Frozen()
    yield made
    shutil.rmtree(made.state)


def cut_short(daemon, call, members):
    """What the change was answered, if it was, and whether the daemon was killed. Calls of one
    connection are carried out in order: once the second is answered, the first was not cut."""
    answer = None
    with hardening.connect(daemon.admin) as peer:
        try:
            answer = directory_world.ask(peer, call, members)
            directory_world.ask(peer, "directory.status", {})
            return answer, False
        except ConnectionError:
            assert daemon.ended() == -signal.SIGKILL
            return answer, True


def check_files(daemon, may_be_left):
    """A signing key that can verify has its file, one that is retired has none."""
    folder = daemon.state / "directory/signing"
    files = {path.name: path for path in folder.iterdir()}
    states = {key["id"]: key["state"] for key in daemon.done("signing_key.list")["items"]}
    alive = {f"{name}.key" for name, state in states.items() if state != "retired"}
    assert alive <= set(files) and not any(
        f"{name}.key" in files for name, state in states.items() if state == "retired")
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files.values())
    left = set(files) - alive
    assert len(left) <= may_be_left, left
