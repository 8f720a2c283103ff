"""The request vectors over the daemon's real sockets: whole, cut short, with every bit flipped."""

import base64
import json
import pathlib
import socket
import struct
import threading

import frame_layout
import frame_rules
import make_frames
import pytest
from conftest import Daemon
from tollgate import Client, replies

VECTORS = json.loads(make_frames.FRAMES.read_text())
REQUESTS = VECTORS["requests"]
SHUTDOWN = frame_layout.OPCODES["SHUTDOWN"]
BATCH = 128


class VectorDaemon(Daemon):
    """A daemon that has just begun with the vectors' policy and key."""

    def __init__(self):
        super().__init__()
        key = VECTORS["key"]
        assert base64.urlsafe_b64decode(key + "=") == frame_layout.KEY
        (self.directory / "main.key").write_text(key)
        self.policy.write_text((make_frames.ROOT / VECTORS["policy"]).read_text())
        with Client(self.admin, timeout=20) as admin:
            assert admin.reload() == 2

    def connect(self, where):
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(20)
        peer.connect(self.admin if where == "admin" else self.data)
        return peer


@pytest.fixture
def daemon():
    made = VectorDaemon()
    yield made
    if made.process.poll() is None:
        assert made.stop() == 0
    made.remove()


def frames(data):
    """Whole frames as opcode, id, status, body."""
    found = []
    while data:
        length, opcode, reserved, status, identity = struct.unpack_from("<IBBHQ", data)
        assert reserved == 0 and 12 <= length <= 65_536 and len(data) >= 4 + length
        found.append((opcode, identity, status, data[16:4 + length]))
        data = data[4 + length:]
    return found


def read_to_end(peer):
    data = b""
    while True:
        try:
            part = peer.recv(65_536)
        except ConnectionResetError:
            # It was closed with bytes that nobody had read.
            return data
        if not part:
            return data
        data += part


def read_one(peer):
    data = b""
    while len(data) < 16 or len(data) < 4 + struct.unpack_from("<I", data)[0]:
        part = peer.recv(65_536)
        assert part, "the connection ended before the answer"
        data += part
    (one,) = frames(data)
    return one


@pytest.mark.parametrize("vector", [v for v in REQUESTS if v["opcode"] != "SHUTDOWN"
                                    or v["status"]], ids=lambda v: v["name"])
def test_a_request_has_the_status_and_the_connection_the_fate_that_its_vector_states(
        vector, shared):
    daemon = shared
    with daemon.connect(vector["socket"]) as peer:
        peer.sendall(bytes.fromhex(vector["hex"]))
        opcode, identity, status, body = read_one(peer)
        assert (identity, status) == (vector["id"], vector["status"]), body
        assert opcode & 0x80
        if vector["opcode"]:
            assert opcode == frame_layout.OPCODES[vector["opcode"]] | 0x80
        if status:
            assert 0 < len(body) <= 1_024 and body.decode()
        if vector["reason"]:
            assert replies.decision(body).reason == vector["reason"]
        if vector["closes"]:
            assert read_to_end(peer) == b""
        else:
            peer.sendall(struct.pack("<IBBHQ", 12, 2, 0, 0, 5))
            assert read_one(peer)[:3] == (0x82, 5, 0)


@pytest.fixture(scope="module")
def shared():
    made = VectorDaemon()
    yield made
    assert made.stop() == 0
    made.remove()


@pytest.mark.parametrize("vector", [v for v in REQUESTS if v["opcode"] == "SHUTDOWN"
                                    and not v["status"]], ids=lambda v: v["name"])
def test_shutdown_is_answered_and_then_the_daemon_ends(vector, daemon):
    with daemon.connect("admin") as peer:
        peer.sendall(bytes.fromhex(vector["hex"]))
        assert read_one(peer) == (0xC2, vector["id"], 0, b"")
        assert read_to_end(peer) == b""
    assert daemon.process.wait(10) == 0
    assert not pathlib.Path(daemon.data).exists()


def test_the_oracle_agrees_with_every_vector():
    for vector in REQUESTS:
        stream = bytes.fromhex(vector["hex"])
        (answer,) = frame_rules.answers(stream, vector["socket"] == "admin")
        # No operation charges 17 meters, so that frame has two faults.
        more = {8} if vector["name"] == "consume-meters-17" else set()
        if vector["opcode"] in ("EXTEND", "SETTLE", "CANCEL"):
            more = {16}  # besides whatever is wrong with it
        if (vector["fields"] or {}).get("idempotency_id"):
            more = {19}  # had the id come before
        assert answer[1] == vector["id"], vector["name"]
        assert {vector["status"]} <= answer[2] <= {vector["status"]} | more, vector["name"]


class Neighbour(threading.Thread):
    """Uses the daemon while others abuse it."""

    def __init__(self, daemon):
        super().__init__()
        self.daemon_path, self.served, self.failure = daemon.data, 0, None
        self.done = threading.Event()

    def run(self):
        token = frame_layout.token(sub="neighbour", org="next door", plan="pro_tier")
        try:
            with Client(self.daemon_path, timeout=20) as client:
                while self.served == 0 or not self.done.wait(0.01):
                    assert client.ping(b"still there") == b"still there"
                    assert client.check(token, operation="chat").allowed
                    self.served += 1
        except Exception as failure:
            self.failure = failure

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()
        assert self.failure is None and self.served > 0


def ends_the_daemon(stream, where):
    return where == "admin" and any(
        opcode == SHUTDOWN | 0x80 and 0 in statuses
        for opcode, _, statuses in frame_rules.answers(stream, True))


def ask(daemon, streams, where):
    """Sends each stream on a connection of its own, ends it, holds the answers to the oracle."""
    peers = [daemon.connect(where) for _ in streams]
    for peer, stream in zip(peers, streams):
        peer.sendall(stream)
        try:
            peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # closed already, at a header that cannot be
    for peer, stream in zip(peers, streams):
        with peer:
            got = frames(read_to_end(peer))
        expected = frame_rules.answers(stream, where == "admin")
        # RELOAD and top.show are answered later than their connection has ended.
        if any(opcode == 0xC1 and 0 in statuses or opcode == 0xD0 and b"top.show" in stream
               and 0 in statuses for opcode, _, statuses in expected):
            continue
        assert len(got) == len(expected), (stream.hex(), got, expected)
        for (opcode, identity, status, body), wanted in zip(got, expected):
            assert (opcode, identity) == wanted[:2] and status in wanted[2], (
                stream.hex(), status, body, wanted)
            if status:
                assert 0 < len(body) <= 1_024 and body.decode()
            elif opcode in (0x90, 0x91, 0x93):
                # CONSUME carries the names back as they came, text or not.
                replies.decision(ascii_only(body) if opcode == 0x91 else body)


def ascii_only(body):
    end = 64 + body[56] + body[57]
    return body[:64] + bytes(byte & 0x7F for byte in body[64:end]) + body[end:]


def pour(daemon, streams, where):
    streams = [stream for stream in streams if not ends_the_daemon(stream, where)]
    before = daemon.resident_kib()
    with Neighbour(daemon):
        for start in range(0, len(streams), BATCH):
            ask(daemon, streams[start:start + BATCH], where)
    assert daemon.process.poll() is None
    assert daemon.resident_kib() < before + 32 * 1_024
    return len(streams)


def flips(frame):
    for index in range(len(frame)):
        for bit in range(8):
            yield frame[:index] + bytes([frame[index] ^ 1 << bit]) + frame[index + 1:]


@pytest.mark.parametrize("where", ["data", "admin"])
def test_every_prefix_of_every_request_is_answered_or_ended(daemon, where):
    streams = [
        stream[:length] for vector in REQUESTS if vector["socket"] == where
        for stream in [bytes.fromhex(vector["hex"])] for length in range(len(stream))]
    assert pour(daemon, streams, where) >= (10_000 if where == "data" else 100)


@pytest.mark.parametrize("where", ["data", "admin"])
def test_every_flipped_bit_of_every_request_is_answered_as_documented(daemon, where):
    streams = [
        flipped for vector in REQUESTS if vector["socket"] == where
        for flipped in flips(bytes.fromhex(vector["hex"]))]
    assert pour(daemon, streams, where) >= (100_000 if where == "data" else 500)


def test_requests_may_be_as_large_as_the_limits_say_and_no_larger(daemon):
    good = {
        **VECTORS["requests"][0]["fields"], "credential_kind": 1, "credential": "t" * 8_192,
        "address": None, "operation": None, "method": "G" * 32, "path": "/" + "p" * 8_191,
        "meters": [], "dry_run": False, "explain": False, "extensions": [],
    }
    largest = frame_layout.extension(9, bytes(65_535 - 4 - 16_500))
    cases = [
        (good, 0), ({**good, "credential": "t" * 8_193}, 4),
        ({**good, "path": "/" + "p" * 8_192}, 4), ({**good, "extensions": [largest]}, 0),
    ]
    with daemon.connect("data") as peer:
        for fields, status in cases:
            peer.sendall(frame_layout.frame(0x10, 1, frame_layout.check(fields)))
            assert read_one(peer)[2] == status
        room = 65_536 - 12 - len(frame_layout.check(good)) - 4
        whole = {**good, "extensions": [frame_layout.extension(9, bytes(room))]}
        frame = frame_layout.frame(0x10, 2, frame_layout.check(whole))
        assert len(frame) == 65_540
        peer.sendall(frame)
        assert read_one(peer)[2] == 0


def test_usage_and_dry_runs_leave_the_plan_that_was_last_decided_with(daemon):
    by_plan = {
        plan: frame_layout.token(sub="ada", org="acme", plan=plan)
        for plan in ("pro_tier", "free_tier")}
    with Client(daemon.data, timeout=20) as client:
        assert client.check(by_plan["pro_tier"], operation="chat").allowed
        assert client.usage("acme", "ada").plan == "pro_tier"
        assert client.usage("acme", "ada", plan="free_tier").plan == "free_tier"
        assert client.usage("acme", "ada").plan == "pro_tier"
        client.check(by_plan["free_tier"], operation="models", dry_run=True)
        assert client.usage("acme", "ada").plan == "pro_tier"
        assert client.usage("acme").plan == "pro_tier"
        client.check(by_plan["free_tier"], operation="models")
        assert client.usage("acme", "ada").plan == "free_tier"


def test_an_explained_consume_marks_the_limits_that_it_took_past_their_end(daemon):
    units = {"calls": 600_000_000, "tokens": 200_000_000}
    with Client(daemon.data, timeout=20) as client:
        for dry_run in (True, False):
            over = client.consume(
                "acme", "ada", "pro_tier", "chat", units, explain=True, dry_run=dry_run)
            assert over.allowed and over.overage and over.retry_after_ms is None
            assert {entry.name: entry.refuses for entry in over.explanation} == {
                "per_minute": False, "monthly_tokens": True}


def test_a_client_that_ends_its_side_gets_every_answer_first(daemon):
    one = frame_layout.frame(0x02, 7, bytes(64))
    with daemon.connect("data") as peer:
        sender = threading.Thread(
            target=lambda: (peer.sendall(one * 20_000), peer.shutdown(socket.SHUT_WR)))
        sender.start()
        got = read_to_end(peer)
        sender.join()
    assert got == frame_layout.frame(0x82, 7, bytes(64)) * 20_000
