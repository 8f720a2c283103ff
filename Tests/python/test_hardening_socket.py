"""Where the sockets stand, who may use them, and how they are handed over."""

import os
import pathlib
import shutil
import socket
import stat
import subprocess
import tempfile
import time

import pytest
from conftest import Daemon
from hardening import NOBODY, PYTHON, as_root, connect, read_reply
from tollgate import Client, Refused, wire


@pytest.fixture
def place():
    made = pathlib.Path(tempfile.mkdtemp(prefix="tgn1", dir="/tmp"))
    yield made
    subprocess.run(as_root(["rm", "-rf", str(made)]), check=True)


def run_once(daemon, data, environment=None):
    """Runs another daemon with the policy of this one until it ends: exit code and words."""
    command = daemon.command()
    command[command.index("--data-socket") + 1] = str(data)
    command[command.index("--admin-socket") + 1] = str(daemon.directory / "other-admin.sock")
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=20,
        env=daemon.environment | (environment or {}))
    return ended.returncode, ended.stderr


def mode(path, bits):
    path.mkdir(exist_ok=True)
    path.chmod(bits)
    return path


def owned(path, uid):
    path.mkdir(exist_ok=True)
    subprocess.run(as_root(["chown", f"{uid}:{uid}", str(path)]), check=True)
    return path


def linked(path, target):
    path.symlink_to(target)
    return path


def written(path):
    path.write_text("something of somebody's")
    return path


def fifo(path):
    os.mkfifo(path)
    return path


def below_a_foreign_entry(place):
    outer = mode(place / "tmp", 0o1777)
    inner = mode(owned(outer / "x", 65534), 0o755)
    subprocess.run(as_root(["mkdir", "-m", "700", str(inner / "own")]), check=True)
    subprocess.run(as_root(["chown", str(os.geteuid()), str(inner / "own")]), check=True)
    return inner / "own/d.sock"


LAYOUTS = {
    "abstract": (lambda place: "@tollgate", 78, "absolute path"),
    "relative": (lambda place: "d.sock", 78, "absolute path"),
    "108 bytes": (lambda place: "/" + "a" * 107, 78, "shorter"),
    "no directory": (lambda place: place / "missing/d.sock", 78, "create it"),
    "all may write": (lambda place: mode(place, 0o777) / "d.sock", 78, "written by others"),
    "a group may write": (lambda place: mode(place, 0o770) / "d.sock", 78, "written by others"),
    "sticky": (lambda place: mode(place, 0o1777) / "d.sock", 78, "written by others"),
    "another owner": (
        lambda place: mode(owned(place / "x", 65534), 0o755) / "d.sock", 78, "written by others"),
    "all may write higher up": (
        lambda place: mode(mode(place / "up", 0o777) / "in", 0o700) / "d.sock", 78,
        "another directory in the place"),
    "another's in a sticky one": (below_a_foreign_entry, 78, "belongs to another user"),
    "directory is a link": (
        lambda place: linked(place / "l", mode(place / "x", 0o700)) / "d.sock", 78,
        "symbolic link"),
    "socket is a link": (
        lambda place: linked(place / "d.sock", "/tmp/elsewhere.sock"), 78, "not a socket"),
    "a file": (lambda place: written(place / "d.sock"), 78, "not a socket"),
    "a fifo": (lambda place: fifo(place / "d.sock"), 78, "not a socket"),
    "a directory": (lambda place: mode(place / "d.sock", 0o700), 78, "not a socket"),
    "lock is a link": (
        lambda place: linked(place / "d.sock.lock", written(place / "f")).parent / "d.sock", 73,
        "lock file"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_unsafe_place_is_refused_and_left_as_it_is(daemon, place, layout):
    make, code, words = LAYOUTS[layout]
    path = make(place)
    before = sorted(str(entry) for entry in place.rglob("*") if entry.suffix != ".lock")
    ended, said = run_once(daemon, path)
    assert ended == code and words in said, said
    after = sorted(str(entry) for entry in place.rglob("*") if entry.suffix != ".lock")
    assert after == before


def test_a_live_socket_is_not_touched_and_a_dead_one_is_replaced(daemon, place):
    live = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    live.bind(str(place / "d.sock"))
    live.listen(0)
    inode = os.stat(place / "d.sock").st_ino
    ended, said = run_once(daemon, place / "d.sock")
    assert ended == 75 and "listens there" in said
    # Nor when it is so busy that it takes no connection.
    crowd = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(8)]
    for peer in crowd:
        peer.setblocking(False)
        try:
            peer.connect(str(place / "d.sock"))
        except BlockingIOError:
            pass
    assert run_once(daemon, place / "d.sock")[0] == 75
    assert os.stat(place / "d.sock").st_ino == inode
    for peer in [live, *crowd]:
        peer.close()
    # This daemon's own, while it runs; then one that was left by a kill.
    assert run_once(daemon, daemon.data)[0] == 75
    daemon.process.kill()
    daemon.process.wait()
    assert pathlib.Path(daemon.data).exists()
    daemon.start()


def test_a_start_that_fails_leaves_no_socket(daemon, place):
    assert run_once(daemon, daemon.directory / "other-admin.sock")[0] == 78
    shutil.rmtree(place)
    place.mkdir(mode=0o700)
    command = daemon.command()
    command[command.index("--data-socket") + 1] = str(place / "d.sock")
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 75 and not (place / "d.sock").exists()


def test_sockets_have_their_modes_and_group_whatever_the_umask(start_daemon):
    group = os.getgroups()[0] if os.geteuid() else 1
    import grp

    settings = {"data_socket": {"mode": "0660", "group": grp.getgrgid(group).gr_name}}
    for umask in ("0", "0777"):
        made = start_daemon(
            settings=settings, prefix=["/bin/sh", "-c", f'umask {umask}; exec "$0" "$@"'])
        data, admin = os.stat(made.data), os.stat(made.admin)
        assert stat.S_IMODE(data.st_mode) == 0o660 and data.st_gid == group
        assert stat.S_IMODE(admin.st_mode) == 0o600
        assert made.stop() == 0
        assert not pathlib.Path(made.data).exists() and not pathlib.Path(made.admin).exists()


def test_no_socket_is_abstract(daemon):
    with Client(daemon.data) as client:
        client.ping()
        links = subprocess.run(
            as_root(["find", f"/proc/{daemon.process.pid}/fd", "-printf", "%l\n"]), check=True,
            capture_output=True, text=True).stdout.split()
        inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
        paths = [
            fields[7] for fields in (
                line.split() for line in pathlib.Path("/proc/net/unix").read_text().split("\n"))
            if len(fields) > 7 and fields[6] in inodes]
    assert sorted(set(paths)) == sorted([daemon.admin, daemon.data])


# Sends one PING and one STATS on its standard input or on a connection of its own; exit code 0:
# both answered, 7: STATS forbidden, 13: not let in. Or connects, and sends the descriptor.
VISITOR = """
import array, socket, struct, sys
def frame(opcode): return struct.pack("<IBBHQ", 12, opcode, 0, 0, 1)
def ask(peer):
    statuses = []
    for opcode in (2, 0x40):
        peer.sendall(frame(opcode))
        head = b""
        while len(head) < 16: head += peer.recv(16 - len(head))
        length, status = struct.unpack_from("<I", head)[0], struct.unpack_from("<H", head, 6)[0]
        while length > 12: length -= len(peer.recv(length - 12))
        statuses.append(status)
    sys.exit(0 if statuses == [0, 0] else statuses[1])
own = socket.socket(fileno=0)
own.setblocking(True)
if sys.argv[1] == "use": ask(own)
peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
try: peer.connect(sys.argv[2])
except PermissionError: sys.exit(13)
if sys.argv[1] == "ask": ask(peer)
own.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [peer.fileno()]))])
own.recv(1)
"""


def visitor(action, path, standard_input):
    return subprocess.Popen(
        as_root([*NOBODY, PYTHON, "-c", VISITOR, action, path]), stdin=standard_input)


def test_another_user_does_not_administer_however_it_comes_by_the_socket(start_daemon):
    made = start_daemon(
        settings={"admin_socket": {"mode": "0666"}, "data_socket": {"mode": "0666"}})
    made.directory.chmod(0o755)
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    for path, code in ((made.admin, 7), (made.data, 7)):
        assert visitor("ask", path, theirs).wait(20) == code
    os.chmod(made.admin, 0o600)
    assert visitor("ask", made.admin, theirs).wait(20) == 13
    os.chmod(made.admin, 0o666)
    # Rights are those of whoever connected. Ours, used by another user:
    with connect(made.admin) as peer:
        assert visitor("use", made.admin, peer).wait(20) == 0
    # Another user's, used by us:
    sender = visitor("send", made.admin, theirs)
    _, passed, _, _ = socket.recv_fds(ours, 1, 1)
    with socket.socket(fileno=passed[0]) as peer:
        peer.settimeout(20)
        for opcode in (wire.STATS, wire.RELOAD):
            peer.sendall(wire.frame(opcode, 1, b""))
            assert read_reply(peer)[1] == 7
    ours.send(b"x")
    assert sender.wait(20) == 0
    made.wait_for_log("an operator's opcode")
    with Client(made.admin) as admin:
        assert admin.reload() == 2
    for end in (ours, theirs):
        end.close()


class Activated(Daemon):
    """A daemon whose sockets are made, kept and handed over by its parent."""

    def __init__(self, names="data:admin", **options):
        self.names, self.listeners = names, []
        super().__init__(**options)

    def start(self):
        if not self.listeners:
            for path in (self.data, self.admin):
                made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                made.bind(path)
                made.listen(4_096)
                self.listeners.append(made)
        self.pass_fds = first, second = [made.fileno() for made in self.listeners]
        self.prefix = [
            "/bin/bash", "-c",
            f"exec 3<&{first} 4<&{second} {first}<&- {second}<&-; export LISTEN_PID=$$; "
            'exec "$0" "$@"']
        self.environment |= {"LISTEN_FDS": "2", "LISTEN_FDNAMES": self.names}
        return super().start()

    def command(self):
        # The paths of the options are not to be used.
        return [
            part + ".unused" if part in (self.data, self.admin) else part
            for part in super().command()]


def test_sockets_handed_over_outlive_the_daemon_and_what_was_asked_meanwhile():
    made = Activated()
    for _ in range(5):
        with Client(made.admin) as admin:
            assert admin.stats()["tollgate_policy_generation"] == 1
        assert made.stop() == 0
        # Nobody is there, and nobody is refused: the kernel keeps what is asked.
        early = [connect(made.data) for _ in range(50)]
        for number, peer in enumerate(early):
            peer.sendall(wire.frame(wire.PING, number, b"early"))
        made.start()
        for number, peer in enumerate(early):
            assert read_reply(peer)[2:] == (number, b"early")
            peer.close()
    assert not pathlib.Path(made.data + ".unused").exists()
    assert made.stop() == 0
    assert pathlib.Path(made.data).exists() and pathlib.Path(made.admin).exists()
    for listener in made.listeners:
        listener.close()
    made.remove()


@pytest.mark.parametrize("count, names", [("2", "data:data"), ("2", "admin:admin"), ("3", ""),
                                          ("-1", ""), ("x", "")])
def test_sockets_handed_over_that_cannot_be_told_apart_are_refused(daemon, count, names):
    command = ["/bin/sh", "-c", 'export LISTEN_PID=$$; exec "$0" "$@"', *daemon.command()]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=20,
        env=daemon.environment | {"LISTEN_FDS": count, "LISTEN_FDNAMES": names})
    assert ended.returncode == 78 and "LISTEN_FD" in ended.stderr


def test_a_daemon_tells_the_service_manager_what_it_does(start_daemon):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tgn", dir="/tmp"))
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(directory / "notify"))
    manager.settimeout(20)
    made = start_daemon(
        environment={"NOTIFY_SOCKET": str(directory / "notify"), "WATCHDOG_USEC": "900000"})

    def heard(word):
        deadline = time.monotonic() + 20
        while word not in (said := manager.recv(4_096).decode()).split("\n"):
            assert time.monotonic() < deadline, f"{word} was not said"
        return said

    heard("READY=1")
    heard("WATCHDOG=1")
    made.process.send_signal(1)
    said = heard("RELOADING=1")
    microseconds = int(said.split("MONOTONIC_USEC=")[1].split()[0])
    assert 0 <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000 - microseconds < 60_000_000
    heard("READY=1")
    # A storm of reloads keeps the watchdog fed.
    heard("WATCHDOG=1")
    for _ in range(200):
        made.process.send_signal(1)
    heard("WATCHDOG=1")
    heard("WATCHDOG=1")
    # A bad policy, too, ends in READY: the daemon serves on with the one in force.
    made.policy.write_text("nonsense")
    with Client(made.admin) as admin, pytest.raises(Refused):
        admin.reload()
    made.process.terminate()
    heard("STOPPING=1")
    assert made.process.wait(10) == 0
    manager.close()
    shutil.rmtree(directory)
