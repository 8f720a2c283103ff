"""The daemon as a service written in another language sees it: tokens of independent libraries,
decisions, limits, bad input over the real socket."""

import asyncio
import json
import os
import random
import signal
import socket
import struct
import threading
import time

import jwt
import pytest
from conftest import Daemon
from jwcrypto import jwk
from jwcrypto import jwt as jose
from tollgate import AsyncClient, Client, Refused, TollgateError, Unreachable, wire


def claims(**extra):
    now = int(time.time())
    return {
        "iss": "https://login.example.com", "aud": "https://api.example.com", "sub": "ada",
        "org": "acme", "plan": "pro_tier", "iat": now, "exp": now + 600, **extra,
    }


def pyjwt_token(daemon, **extra):
    return jwt.encode(claims(**extra), daemon.secret, "HS256", headers={"kid": "main-1"})


def jwcrypto_token(daemon, **extra):
    key = jwk.JWK(kty="oct", k=wire_b64(daemon.secret))
    token = jose.JWT(header={"alg": "HS256", "kid": "main-1", "typ": "JWT"}, claims=claims(**extra))
    token.make_signed_token(key)
    return token.serialize()


def wire_b64(data):
    import base64

    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("mint", [pyjwt_token, jwcrypto_token])
def test_tokens_of_independent_libraries_are_decided(daemon, mint):
    with Client(daemon.data) as client:
        allowed = client.check(
            mint(daemon), method="POST", path="/v1/chat/completions?stream=1",
            address="192.0.2.7", units={"tokens": 12}, explain=True)
        assert allowed.allowed and (allowed.user, allowed.organization) == ("ada", "acme")
        assert allowed.quota.remaining == 880 and allowed.rate_limit.name == "burst"
        assert {entry.name for entry in allowed.explanation} == {"burst", "monthly_tokens"}
        assert client.check(mint(daemon), operation="batch").reason == "permissionDenied"
        wrong = jwt.encode(claims(), os.urandom(32), "HS256", headers={"kid": "main-1"})
        assert client.check(wrong, operation="chat").reason == "credentialInvalid"
        assert client.check("", operation="chat").reason == "credentialMissing"
        usage = client.usage("acme", "ada")
        assert {e.name: e.used for e in usage.limits} == {"burst": 1, "monthly_tokens": 120}


def test_a_refused_caller_passes_at_the_time_it_was_told(daemon):
    with Client(daemon.data) as client:
        token = pyjwt_token(daemon)
        for _ in range(5):
            assert client.check(token, operation="models").allowed
        refused = client.check(token, operation="models")
        assert refused.reason == "rateLimited" and refused.retry_after_ms > 0
        time.sleep(refused.retry_after_ms / 1000)
        assert client.check(token, operation="models").allowed


def test_a_quota_is_gone_when_it_is_gone(daemon):
    with Client(daemon.data) as client:
        token = pyjwt_token(daemon)
        assert client.check(token, operation="chat", units={"tokens": 90}).allowed
        refused = client.check(token, operation="chat", units={"tokens": 11})
        assert refused.reason == "quotaExhausted" and refused.quota.remaining == 100
        assert client.check(token, operation="chat", units={"tokens": 10}).allowed
        over = client.consume("acme", "ada", "pro_tier", "chat", {"tokens": 5})
        assert over.allowed and over.overage
        with pytest.raises(Refused) as refusal:
            client.check(token, operation="models", units={"tokens": 1})
        assert refusal.value.status == "unknownMeter"


def test_pipelined_and_concurrent_requests_each_have_their_own_answer(daemon):
    users = [f"user-{index}" for index in range(200)]

    async def ask():
        async with AsyncClient(daemon.data, timeout=20) as client:
            return await asyncio.gather(
                *(client.check(pyjwt_token(daemon, sub=user), operation="models")
                  for user in users))

    assert [decision.user for decision in asyncio.run(ask())] == users
    with Client(daemon.data, timeout=20) as client:
        bodies = [
            wire.check_body(pyjwt_token(daemon, sub=user), operation="models") for user in users]
        assert [decision.user for decision in client.check_many(bodies)] == users


def test_reloads_under_load_lose_no_request(daemon):
    token = pyjwt_token(daemon, plan="open_tier")
    body = wire.check_body(token, operation="chat")
    stop, counts = threading.Event(), []

    def pour():
        with Client(daemon.data, timeout=20) as client:
            while not stop.is_set():
                counts.append(sum(d.allowed for d in client.check_many([body] * 64)))

    threads = [threading.Thread(target=pour) for _ in range(2)]
    for thread in threads:
        thread.start()
    with Client(daemon.admin, timeout=20) as admin:
        good = daemon.policy.read_text()
        for round in range(20):
            bad = good.replace("scope: user", "scope: usr")
            daemon.policy.write_text(good if round % 2 else bad)
            if round % 2:
                admin.reload()
            else:
                with pytest.raises(Refused) as refusal:
                    admin.reload()
                assert "policy.yaml:" in refusal.value.detail and "user" in refusal.value.detail
    stop.set()
    for thread in threads:
        thread.join()
    assert counts and set(counts) == {64}


def test_a_killed_daemon_starts_again_on_its_sockets(daemon):
    with Client(daemon.data) as client:
        client.ping()
        daemon.process.kill()
        daemon.process.wait()
        with pytest.raises(TollgateError):
            client.ping()
        assert not client.is_allowed("x", operation="chat")
        assert client.is_allowed("x", operation="chat", fail_open=True)
        daemon.start()
        assert client.ping() == b"ping"


def frames(daemon):
    token = pyjwt_token(daemon)
    return [
        wire.frame(wire.PING, 1, b"x"),
        wire.frame(wire.HELLO, 2, struct.pack("<HHIB3x", 1, 1, 0, 0)),
        wire.frame(wire.CHECK, 3, wire.check_body(
            token, operation="chat", address="::1", units={"tokens": 1}, explain=True)),
        wire.frame(wire.CONSUME, 4, wire.consume_body("a", "b", "pro_tier", "chat", {"calls": 1})),
        wire.frame(wire.USAGE, 5, wire.usage_body("a", "b", "", False)),
    ]


def connect(daemon):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(5)
    made.connect(daemon.data)
    return made


def test_bad_bytes_end_one_connection_at_most_and_memory_stays(daemon):
    before = daemon.resident_kib()
    source = random.Random(7)
    for good in frames(daemon):
        for length in range(len(good)):
            with connect(daemon) as peer:
                peer.sendall(good[:length])
        for index in range(len(good)):
            changed = bytearray(good)
            changed[index] ^= 1 << source.randrange(8)
            with connect(daemon) as peer:
                peer.sendall(bytes(changed))
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass
    for _ in range(300):
        with connect(daemon) as peer:
            try:
                peer.sendall(source.randbytes(source.randrange(1, 4000)))
            except OSError:
                pass
    with Client(daemon.data) as client:
        assert client.ping() == b"ping"
    assert daemon.resident_kib() < before + 32 * 1024


def test_half_frames_and_a_thousand_idle_connections_do_not_keep_others_waiting(daemon):
    before = daemon.resident_kib()
    peers = [connect(daemon) for _ in range(900)]
    half = frames(daemon)[2][:-1]
    for peer in peers[::2]:
        peer.sendall(half)
    with Client(daemon.data) as client:
        for _ in range(50):
            assert client.ping() == b"ping"
    assert daemon.resident_kib() < before + 16 * 1024
    closed = peers[0]
    closed.settimeout(10)
    assert closed.recv(1) == b"", "a half frame was kept for longer than 5 s"
    for peer in peers:
        peer.close()


def test_other_opcodes_need_the_admin_socket(daemon):
    with Client(daemon.data) as client:
        for call in (client.stats, client.reload, client.shutdown):
            with pytest.raises(Refused) as refusal:
                call()
            assert refusal.value.status == "forbidden"
    with Client(daemon.admin) as admin:
        assert admin.stats()["tollgate_policy_generation"] == 1
        assert admin.hello()[1] == 1
    with pytest.raises(Unreachable):
        Client("/tmp/there-is-no-such.sock").ping()


def test_secrets_stay_out_of_the_log(daemon):
    token = pyjwt_token(daemon)
    with Client(daemon.data) as client:
        client.check(token, operation="chat")
        client.check(token + "x", operation="chat")
    log = (daemon.directory / "log").read_bytes()
    for secret in (token.encode(), daemon.secret, wire_b64(daemon.secret).encode()):
        assert secret not in log
    assert json.dumps(log.decode())


def test_a_crash_writes_no_memory_to_the_log():
    made = Daemon()
    try:
        with Client(made.data) as client:
            client.check(pyjwt_token(made), operation="chat")
        made.process.send_signal(signal.SIGILL)
        assert made.process.wait(20) == -signal.SIGILL
        log = (made.directory / "log").read_text()
        assert "ready" in log
        for part in ("Crash", "Backtrace", "Registers", "Thread 0"):
            assert part not in log
    finally:
        made.remove()
