"""Peers that send too much, too little, or never read: the others are served, and what the
daemon spends on them is bounded."""

import array
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time

import pytest
from hardening import (
    allow_descriptors, connect, cpu_seconds, descriptors, eventually, ping, read_exactly,
    read_reply, read_to_end, token)
from tollgate import Client, Refused, TollgateError, Unreachable, wire


def requests(daemon):
    """One frame of each kind, small and large."""
    bearer = token(daemon)
    return [
        ping(1), ping(2, b"y" * 64), wire.frame(wire.HELLO, 3, struct.pack("<HHIB3x", 1, 1, 0, 0)),
        wire.frame(wire.CHECK, 4, wire.check_body(
            bearer, method="GET", path="/v1/models/m", address="2001:db8::1", explain=True)),
        wire.frame(wire.CHECK, 5, wire.check_body("", operation="models")),
        wire.frame(wire.CONSUME, 6, wire.consume_body(
            "acme", "ada", "open_tier", "chat", {"tokens": 1})),
        wire.frame(wire.USAGE, 7, wire.usage_body("acme", "ada", "", False)),
    ]


def test_a_frame_is_understood_wherever_its_bytes_are_split(start_daemon):
    # With one thread the second connection's answer shows that the first one's bytes were read.
    daemon = start_daemon(threads=1)
    with connect(daemon.data) as peer, connect(daemon.data) as witness:
        for frame in requests(daemon):
            for split in range(1, len(frame)):
                peer.sendall(frame[:split])
                witness.sendall(ping())
                assert read_reply(witness)[1] == 0
                peer.sendall(frame[split:])
                opcode, status, identity, _ = read_reply(peer)
                assert (opcode, status, identity) == (
                    frame[4] | 0x80, 0, int.from_bytes(frame[8:16], "little"))
        # Many frames in pieces that have nothing to do with where they begin.
        source = random.Random(11)
        stream = b"".join(ping(number) for number in range(1_000))
        while stream:
            size = source.randrange(1, 60)
            peer.sendall(stream[:size])
            stream = stream[size:]
        assert {read_reply(peer)[2] for _ in range(1_000)} == set(range(1_000))


def test_a_length_out_of_range_ends_its_connection_and_no_other(daemon):
    before = daemon.resident_kib()
    with connect(daemon.data) as other:
        for length in (0, 1, 11, 65_537, 2**31 - 1, 2**31, 2**32 - 1):
            for tail in (b"", b"\x02\0\0\0" + b"\0" * 8, b"\x02\0\0\0" + b"z" * 60_000):
                with connect(daemon.data) as peer:
                    peer.sendall(struct.pack("<I", length) + tail[:1])
                    try:
                        peer.sendall(tail[1:])
                    except OSError:
                        pass
                    assert read_reply(peer)[1] == (1 if length < 12 else 2)
                    with pytest.raises(OSError):
                        read_exactly(peer, 1)
            other.sendall(ping())
            assert read_reply(other)[1] == 0
    with connect(daemon.data) as peer:
        largest = wire.frame(wire.PING, 8, b"p" * (65_536 - 12))
        peer.sendall(largest + ping(9))
        assert [read_reply(peer)[1:3] for _ in range(2)] == [(4, 8), (0, 9)]
    assert daemon.resident_kib() < before + 8 * 1024


def test_descriptors_that_a_peer_sends_are_dropped(daemon):
    with connect(daemon.data) as peer:
        before, resident = descriptors(daemon.process.pid), daemon.resident_kib()
        kept, other = socket.socketpair()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [other.fileno()] * 253))]
        for number in range(20):
            peer.sendmsg([ping(number)], rights)
            assert read_reply(peer)[2] == number
        # In the daemon they are gone: no copy of the end that is closed here is left open.
        other.close()
        kept.settimeout(20)
        assert kept.recv(1) == b""
        kept.close()
        assert descriptors(daemon.process.pid) == before
        assert daemon.resident_kib() < resident + 4 * 1024


class Neighbours(threading.Thread):
    """Ask for decisions, one at a time, while others misbehave."""

    def __init__(self, daemon):
        super().__init__()
        self.daemon, self.bearer = daemon, token(daemon)
        self.done, self.served, self.failure = threading.Event(), 0, None

    def run(self):
        try:
            with Client(self.daemon.data, timeout=20) as client:
                while not self.done.is_set():
                    assert client.check(self.bearer, operation="chat").allowed
                    self.served += 1
        except (AssertionError, TollgateError) as error:
            self.failure = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()
        assert self.failure is None and self.served > 0, self.failure


def pour_until_closed(peers, chunk):
    """Sends whole frames on each, as fast as they are taken, without reading any reply."""
    left = {peer.fileno(): (peer, 0) for peer in peers}
    poller = select.poll()
    for peer in peers:
        peer.setblocking(False)
        poller.register(peer, select.POLLOUT)
    deadline = time.monotonic() + 60
    while left:
        assert time.monotonic() < deadline, f"{len(left)} were kept that never read"
        for number, _ in poller.poll(1_000):
            peer, at = left[number]
            try:
                left[number] = (peer, (at + peer.send(chunk[at:])) % len(chunk))
            except BlockingIOError:
                pass
            except OSError:
                poller.unregister(peer)
                del left[number]


def test_half_frames_and_peers_that_never_read_are_closed_and_the_others_served(daemon):
    allow_descriptors(6_000)
    before = daemon.resident_kib()
    halves = [connect(daemon.data) for _ in range(2_000)]
    silent = [connect(daemon.data) for _ in range(2_000)]
    with Neighbours(daemon) as neighbours, Client(daemon.admin, timeout=20) as admin:
        header, check = ping()[:9], requests(daemon)[3]
        for number, peer in enumerate(halves):
            peer.sendall((header, check[:40], check[:-1])[number % 3])
        chunk = b"".join(ping(number, b"q" * 64) for number in range(200))
        largest, done = [0], threading.Event()

        def watch():
            while not done.wait(0.05):
                largest.append(daemon.resident_kib())

        watcher = threading.Thread(target=watch)
        watcher.start()
        pour_until_closed(silent, chunk)
        for peer in halves:
            assert read_to_end(peer) == b""
        done.set()
        watcher.join()
        # 128 MiB for what waits, and room for what the allocator keeps.
        assert max(largest) < before + 200 * 1024
        stats = admin.stats()
        assert stats["tollgate_connections"] <= 3
        closes = stats["tollgate_deadline_closes_total"] + stats["tollgate_buffer_closes_total"]
        assert closes == 4_000
        for peer in halves + silent:
            peer.close()
    daemon.wait_for_log("closed at a deadline")


def test_ten_thousand_connections_are_served_and_one_more_is_told_why_not(start_daemon):
    allow_descriptors(10_400)
    daemon = start_daemon(settings={"connections_max": 10_000})
    before = daemon.resident_kib()
    peers = [connect(daemon.data) for _ in range(10_000)]
    for number, peer in enumerate(peers):
        peer.sendall(ping(number))
    for number, peer in enumerate(peers):
        assert read_reply(peer)[2] == number
    assert daemon.resident_kib() < before + 16 * 1024
    for _ in range(100):
        with connect(daemon.data) as late:
            assert read_reply(late)[1] == 12
    # An operator is let in all the same.
    with Client(daemon.admin) as admin:
        assert admin.stats()["tollgate_connections"] == 10_001
        assert admin.stats()["tollgate_connections_refused_total"] == 100
    daemon.wait_for_log("connections_max is 10000")
    for peer in peers:
        peer.close()
    with Client(daemon.data, timeout=20) as client:
        assert client.ping() == b"ping"


def test_each_user_has_a_share_of_the_connections_where_the_policy_says_so(start_daemon):
    daemon = start_daemon(settings={"connections_per_user_max": 5})
    eventually(lambda: Client(daemon.admin).stats()["tollgate_connections"] == 1)
    peers = [connect(daemon.data) for _ in range(5)]
    with connect(daemon.data) as sixth:
        assert read_reply(sixth)[1] == 12
    peers.pop().close()

    def is_let_in():
        try:
            with Client(daemon.data) as client:
                return client.ping() == b"ping"
        except (Refused, Unreachable):
            return False

    eventually(is_let_in)
    for peer in peers:
        peer.close()


class Knocking(threading.Thread):
    """Connects again and again, whatever becomes of it, and keeps a crowd waiting."""

    def __init__(self, path):
        super().__init__()
        self.path, self.done, self.crowd = path, threading.Event(), []

    def run(self):
        while not self.done.is_set():
            peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            peer.setblocking(False)
            try:
                peer.connect(self.path)
            except BlockingIOError:
                # The queue is full: that is what is wanted.
                peer.close()
                time.sleep(0.001)
                continue
            self.crowd.append(peer)
            if len(self.crowd) > 4_500:
                self.crowd.pop(0).close()


def test_without_descriptors_the_daemon_waits_and_takes_no_processor_time(start_daemon):
    allow_descriptors(6_000)
    daemon = start_daemon(settings={"connections_max": 4_000})
    with Client(daemon.data) as early, Client(daemon.admin) as admin:
        early.ping()
        admin.stats()
        subprocess.run(
            ["prlimit", f"--pid={daemon.process.pid}", "--nofile=256:8192"], check=True)
        knocking = Knocking(daemon.data)
        knocking.start()
        eventually(lambda: admin.stats()["tollgate_connections_refused_total"] > 0)
        began, spent = time.monotonic(), cpu_seconds(daemon.process.pid)
        while time.monotonic() < began + 1.5:
            assert early.ping() == b"ping"
            time.sleep(0.1)
        spent = cpu_seconds(daemon.process.pid) - spent
        elapsed = time.monotonic() - began
        refused = admin.stats()["tollgate_connections_refused_total"]
        knocking.done.set()
        knocking.join()
        assert spent < 0.2 * elapsed
        assert refused < 200 * elapsed
        assert admin.stats()["tollgate_connections"] < 600
        for peer in knocking.crowd:
            peer.close()
        with Client(daemon.data, timeout=20) as late:
            assert late.ping() == b"ping"
    daemon.wait_for_log("connections refused")


def test_a_greedy_neighbour_does_not_keep_polite_ones_waiting(start_daemon):
    daemon = start_daemon(threads=1)
    count = 200_000
    greedy = connect(daemon.data, timeout=60)
    frame = wire.frame(wire.CHECK, 0, wire.check_body(token(daemon), operation="chat"))
    reply = 0
    with connect(daemon.data) as peer:
        peer.sendall(frame)
        _, status, _, body = read_reply(peer)
        assert status == 0 and body[0] == 1
        reply = 16 + len(body)
    got, sent = 0, threading.Event()

    def pour():
        block = frame * 500
        for _ in range(count // 500):
            greedy.sendall(block)
        sent.set()

    def drink():
        nonlocal got
        while got < count * reply:
            got += len(greedy.recv(1 << 20))

    threads = [threading.Thread(target=work) for work in (pour, drink)]
    polite = [connect(daemon.data) for _ in range(100)]
    for thread in threads:
        thread.start()
    eventually(lambda: got > 0)
    rounds = 0
    while not sent.is_set():
        for number, peer in enumerate(polite):
            peer.sendall(ping(number))
        for number, peer in enumerate(polite):
            assert read_reply(peer)[2] == number
        rounds += 1
    for thread in threads:
        thread.join()
    assert got == count * reply
    # Were the greedy one served until it is content, there would be one round.
    assert rounds >= 20
    for peer in [greedy, *polite]:
        peer.close()


FREE_FOR_ADDRESSES = """
version: 1
operations: {open: {}}
plans: {open_tier: {}}
address_limits: {address: {limit: LIMIT, window: 1h}}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
"""


def address_flood(daemon, count, v6):
    """Replies' verdicts to CHECKs from as many random addresses, pipelined."""
    body = bytearray(wire.check_body(
        token(daemon), operation="open", address="2001:db8::" if v6 else "192.0.2.1"))
    head = wire.frame(wire.CHECK, 0, bytes(body))
    before, after = head[:32], head[48:]
    verdicts = [0, 0, 0]
    with connect(daemon.data, timeout=60) as peer:
        for _ in range(count // 200):
            noise = os.urandom(200 * 8)
            peer.sendall(b"".join(
                before + noise[at:at + (8 if v6 else 4)] + bytes(8 if v6 else 12) + after
                for at in range(0, 1_600, 8)))
            for _ in range(200):
                _, status, _, reply = read_reply(peer)
                assert status == 0
                verdicts[reply[0]] += 1
    return verdicts


def test_invented_addresses_cost_bounded_memory(start_daemon):
    policy = FREE_FOR_ADDRESSES.replace("LIMIT", "1000000000")
    daemon = start_daemon(policy=policy, settings={"addresses_max": 5_000})
    address_flood(daemon, 10_000, v6=False)
    before = daemon.resident_kib()
    for v6 in (False, True):
        assert address_flood(daemon, 100_000, v6) == [0, 100_000, 0]
    assert daemon.resident_kib() < before + 16 * 1024
    with Client(daemon.admin) as admin:
        stats = admin.stats()
    # Beside them, each of 64 shards has one for all the others.
    assert 0 < stats["tollgate_addresses"] <= 5_064
    assert stats["tollgate_address_overflows_total"] > 190_000
    daemon.wait_for_log("addresses beyond addresses_max")


def test_addresses_beyond_the_ceiling_share_one_limit_and_are_never_unlimited(start_daemon):
    policy = FREE_FOR_ADDRESSES.replace("LIMIT", "3")
    daemon = start_daemon(policy=policy, settings={"addresses_max": 100})
    allowed = address_flood(daemon, 10_000, v6=True)[1]
    assert 100 <= allowed <= 3 * 110
