"""Who may make which call on which socket, by the user and the groups of the process that
connected (RELIABILITY, N2)."""

import json
import os
import socket
import subprocess

import hardening
import pytest
from conftest import ROOT
from directory_frozen import frozen  # noqa: F401
from directory_world import ask
from hardening import PYTHON, as_root, eventually
from tollgate import wire

CALLS = {call["call"]: call["role"]
         for call in json.loads((ROOT / "Tests/Vectors/frames.json").read_text())["calls"]}
# Users that nobody is, and groups that nobody is in.
CHECK, ISSUE, ADMIN, IN_CHECK, IN_ISSUE, IN_ADMIN, OBSERVE, IN_OBSERVE, \
    WATCH, IN_WATCH = range(61_001, 61_011)
STRANGER = 61_000
ROLES = {
    "check": {"users": [CHECK], "groups": [IN_CHECK]},
    "issue": {"users": [ISSUE], "groups": [IN_ISSUE]},
    "admin": {"users": [ADMIN], "groups": [IN_ADMIN]},
    "observe": {"users": [OBSERVE], "groups": [IN_OBSERVE]},
    "watch": {"users": [WATCH], "groups": [IN_WATCH]},
}
SETTINGS = {"roles": ROLES, "data_socket": {"mode": "0666"},
            "admin_socket": {"mode": "0666", "group": "daemon"}}
# A peer's user, first group and further groups; whether it may check, issue, administer.
PEERS = {
    "a stranger": (STRANGER, STRANGER, [], ()),
    "a stranger by number of group": (IN_ADMIN, ADMIN, [ISSUE], ()),
    "check": (CHECK, STRANGER, [], ("check",)),
    "check by first group": (STRANGER, IN_CHECK, [], ("check",)),
    "check by another group": (STRANGER, STRANGER, [1_234, IN_CHECK], ("check",)),
    "issue": (ISSUE, STRANGER, [], ("issue",)),
    "issue by first group": (STRANGER, IN_ISSUE, [], ("issue",)),
    "issue by another group": (STRANGER, STRANGER, [IN_ISSUE, 1_234], ("issue",)),
    "observe": (OBSERVE, STRANGER, [], ("observe",)),
    "watch": (WATCH, STRANGER, [], ("watch", "observe")),
    "watch by another group": (STRANGER, STRANGER, [IN_WATCH], ("watch", "observe")),
    "issue and watch": (ISSUE, STRANGER, [IN_WATCH], ("issue", "watch", "observe")),
    "check and observe": (CHECK, STRANGER, [IN_OBSERVE], ("check", "observe")),
    "check and issue": (CHECK, STRANGER, [IN_ISSUE], ("check", "issue")),
    "admin": (ADMIN, STRANGER, [], ("check", "issue", "admin")),
    "admin by first group": (STRANGER, IN_ADMIN, [], ("check", "issue", "admin")),
    "admin by another group": (STRANGER, STRANGER, [1_234, IN_ADMIN], ("check", "issue", "admin")),
    "admin and observe": (ADMIN, STRANGER, [IN_OBSERVE], ("check", "issue", "admin", "observe")),
    "admin by the group of the socket": (STRANGER, 1, [], ("check", "issue", "admin")),
}
# Sends each frame of its standard input, hexadecimal, and says what status came back ("ask"); hands
# its connection over to who is at its standard input ("give"); or sends one frame on the connection
# that its standard input is ("use").
PEER = """
import array, socket, struct, sys
def exactly(count):
    data = b""
    while len(data) < count:
        part = peer.recv(count - len(data))
        if not part: sys.exit(3)
        data += part
    return data
action, what = sys.argv[1:]
if action == "use":
    peer, frames = socket.socket(fileno=0), [what]
else:
    peer, frames = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), sys.stdin
    peer.connect(what)
if action == "give":
    other, frames = socket.socket(fileno=0), []
    other.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                            array.array("i", [peer.fileno()]))])
    other.recv(1)
for line in frames:
    peer.sendall(bytes.fromhex(line))
    length, _, _, status = struct.unpack("<IBBH", exactly(8))
    exactly(length - 4)
    print(status, flush=True)
"""


def as_peer(name, *arguments):
    uid, gid, groups, _ = PEERS[name]
    further = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    return as_root(["setpriv", f"--reuid={uid}", f"--regid={gid}", further, PYTHON, "-c", PEER,
                    *arguments])


def statuses(name, path, frames):
    asked = subprocess.run(as_peer(name, "ask", path), input="\n".join(one.hex() for one in frames),
                           capture_output=True, text=True, timeout=60)
    assert asked.returncode == 0, asked.stderr
    return [int(line) for line in asked.stdout.split()]


def call_frame(name, members):
    return wire.frame(wire.CALL, 7, json.dumps({"call": name, **members}).encode())


def every_call(world, backup):
    """Those that only read first; what takes the most away last."""
    changes = sorted(world.changes(), key=lambda change: change[0] in ("org.delete", "revoke.user"))
    ledger = [("ledger.status", {}), ("snapshot.create", {}), ("snapshot.list", {}),
              ("usage.closed", {"period": "2026-10"}), ("usage.prune", {"period": "2026-10"})]
    alerts = [("alert.list", {}), ("alert.ack", {"id": 1}), ("alert.test", {}),
              ("silence.create", {"for_seconds": 60}), ("silence.list", {}),
              ("silence.remove", {"id": 1})]
    made = [*world.reads(), ("top.show", {}), *ledger, *alerts,
            ("backup.create", {"path": str(backup)}), *changes]
    assert {call for call, _ in made} == set(CALLS)
    return made


@pytest.fixture
def daemon(frozen):  # noqa: F811
    with frozen.copy(settings=SETTINGS) as made:
        made.directory.chmod(0o755)
        yield made


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_may_make_the_calls_of_its_roles_and_no_other(frozen, daemon, tmp_path, name):
    roles = PEERS[name][3]
    calls = every_call(frozen.world, tmp_path / "copy")
    is_refused = True
    for path, is_admin_socket in ((daemon.data, False), (daemon.admin, True)):
        # An admin needs no other role on the admin socket; on the other one root is nobody.
        may = [call for call, _ in calls if is_admin_socket and "admin" in roles
               or CALLS[call] in roles and (is_admin_socket or CALLS[call] in ("issue", "watch"))]
        found = statuses(name, path, [call_frame(*one) for one in calls])
        assert [call for (call, _), status in zip(calls, found) if status != 7] == may
        # What only reads is answered, and nothing is allowed in name alone.
        if may:
            assert 0 in found and not {4, 20, 21, 22} & set(found)
            is_refused = False
    check = check_frame(frozen.world)
    assert statuses(name, daemon.data, [check]) == [0 if "check" in roles else 7]
    # Statistics, with a body and without; and never the policy again, or the end.
    numbers = [wire.frame(wire.STATS, 7, b""), wire.frame(wire.STATS, 7, b"x")]
    others = [wire.frame(wire.RELOAD, 7, b""), wire.frame(wire.SHUTDOWN, 7, bytes(4))]
    observes, administers = "observe" in roles, "admin" in roles
    assert statuses(name, daemon.data, numbers + others) == [
        *([0, 4] if observes else [7, 7]), 7, 7]
    assert statuses(name, daemon.admin, numbers) == (
        [0, 4] if observes or administers else [7, 7])
    if not administers:
        assert statuses(name, daemon.admin, others) == [7, 7]
    if is_refused:
        assert not (tmp_path / "copy").exists()
        assert frozen.seen(daemon) == frozen.before
    elif "admin" in roles:
        assert (tmp_path / "copy").exists()
        uids = {entry["uid"] for entry in daemon.all_of("log.list")}
        assert PEERS[name][0] in uids


def check_frame(world):
    body = wire.check_body(world.keys["bob"], operation="models")
    return wire.frame(wire.CHECK, 7, body)


@pytest.mark.parametrize("name, socket_name", [("a stranger", "data"), ("issue", "admin"),
                                               ("issue", "data"), ("check", "admin")])
def test_the_log_names_who_was_refused_and_what(frozen, daemon, tmp_path, name, socket_name):
    path = daemon.data if socket_name == "data" else daemon.admin
    peer = subprocess.Popen(as_peer(name, "ask", path), stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)
    calls = dict(every_call(frozen.world, tmp_path / "copy"))
    refused = [call for call, role in CALLS.items() if role not in PEERS[name][3]]
    missing = {call: f"{call} refused on the {socket_name} socket: uid {PEERS[name][0]}, pid "
               for call in refused}

    def all_told():
        # Only so many lines are written a second: those that were left out are caused again.
        for call in list(missing)[:8]:
            peer.stdin.write(call_frame(call, calls[call]).hex() + "\n")
            peer.stdin.flush()
            assert peer.stdout.readline() == "7\n", call
        said = daemon.logged()
        for call in [call for call, words in missing.items() if words in said]:
            del missing[call]
        return not missing

    eventually(all_told, seconds=60)
    peer.communicate()
    assert frozen.seen(daemon) == frozen.before


def test_a_connection_keeps_the_rights_of_who_made_it(frozen, daemon):
    suspend = ("org.suspend", {"organization": "acme"})
    # A stranger's, used by us.
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    for path in (daemon.admin, daemon.data):
        stranger = subprocess.Popen(as_peer("a stranger", "give", path), stdin=theirs)
        _, passed, _, _ = socket.recv_fds(ours, 1, 1)
        with socket.socket(fileno=passed[0]) as peer:
            peer.settimeout(20)
            assert ask(peer, *suspend)[0] == 7
            assert ask(peer, "token.issue", {"organization": "acme", "user": "ada"})[0] == 7
            # Also when the process that connected is no more.
            ours.send(b"x")
            assert stranger.wait(20) == 0
            assert ask(peer, *suspend)[0] == 7
    # An administrator's, used by a stranger.
    with hardening.connect(daemon.admin, timeout=None) as peer:
        asked = subprocess.run(as_peer("a stranger", "use", call_frame(*suspend).hex()),
                               stdin=peer, capture_output=True, text=True, timeout=20)
    assert asked.stdout == "0\n", asked.stderr
    last = daemon.done("log.list", limit=1)["items"][0]
    assert (last["uid"], last["organization"]) == (os.geteuid(), "acme")
