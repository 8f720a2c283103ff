"""The life of the Python clients' connections: deadlines, restarts, late answers, fail modes."""

import asyncio
import os
import struct
import threading
import time

import frame_layout
import pytest
from scripted_daemon import ScriptedDaemon, request_id
from tollgate import (
    AsyncClient,
    Client,
    InvalidRequest,
    MalformedReply,
    Refused,
    TimedOut,
    TollgateError,
    Unreachable,
    check_body,
    wire,
)

KINDS = pytest.mark.parametrize("kind", [Client, AsyncClient])
NOWHERE = "/tmp/there-is-no-such.sock"


def reply(frame, body=None, status=0):
    """PING's, for any opcode."""
    body = frame[16:] if body is None else body
    return frame_layout.frame(frame[4] | 0x80, request_id(frame), body, status=status)


class Steps:
    """The same steps for both clients: every call is awaited or made."""

    def __init__(self, kind, path, **options):
        self.client = kind(path, **options)
        self.loop = asyncio.new_event_loop() if kind is AsyncClient else None

    def __getattr__(self, name):
        def call(*arguments, **options):
            made = getattr(self.client, name)(*arguments, **options)
            return self.loop.run_until_complete(made) if self.loop else made

        return call

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        if self.loop:
            self.loop.close()


TOO_LARGE = [
    lambda c: c.check("t" * 8_193, operation="chat"),
    lambda c: c.check("\ud800", operation="chat"),
    lambda c: c.check("t"),
    lambda c: c.check("t", operation="chat", method="GET"),
    lambda c: c.check("t", method="GET"),
    lambda c: c.check("t", operation=""),
    lambda c: c.check("t", operation="o" * 129),
    lambda c: c.check("t", operation="é" * 65),
    lambda c: c.check("t", method="", path="/"),
    lambda c: c.check("t", method="M" * 33, path="/"),
    lambda c: c.check("t", method="GET", path=""),
    lambda c: c.check("t", method="GET", path="/" * 8_193),
    lambda c: c.check("t", operation="chat", address="300.1.1.1"),
    lambda c: c.check("t", operation="chat", units={"m": 2**40 + 1}),
    lambda c: c.check("t", operation="chat", units={"m": -1}),
    lambda c: c.check("t", operation="chat", units={"m": 1.5}),
    lambda c: c.check("t", operation="chat", units={"": 1}),
    lambda c: c.check("t", operation="chat", units={"m" * 129: 1}),
    lambda c: c.check("t", operation="chat", units={f"m{i}": 1 for i in range(17)}),
    lambda c: c.is_allowed("t" * 8_193, operation="chat", fail_open=True),
    lambda c: c.consume("", "u", "p", "o", {"m": 1}),
    lambda c: c.consume("o", "u" * 129, "p", "o", {"m": 1}),
    lambda c: c.consume("o", "u", "p", "o", {}),
    lambda c: c.usage(""),
    lambda c: c.usage("o", "u" * 129),
    lambda c: c.usage("o", "u", "p" * 129),
    lambda c: c.ping(bytes(65)),
    lambda c: c.hello("n" * 65),
    lambda c: c.shutdown(-1),
    lambda c: c.shutdown(2**32),
]


@KINDS
def test_arguments_beyond_the_limits_are_refused_before_anything_is_sent(kind):
    assert issubclass(InvalidRequest, ValueError) and not issubclass(InvalidRequest, TollgateError)
    with Steps(kind, NOWHERE) as client:
        for ask in TOO_LARGE:
            with pytest.raises(InvalidRequest):
                ask(client)


@KINDS
def test_without_a_daemon_nobody_passes_unless_the_caller_says_so(kind):
    with Steps(kind, NOWHERE) as closed, Steps(kind, NOWHERE, fail_open=True) as opened:
        with pytest.raises(Unreachable):
            closed.ping()
        assert closed.is_allowed("t", operation="chat") is False
        assert closed.is_allowed("t", operation="chat", fail_open=True) is True
        assert opened.is_allowed("t", operation="chat") is True
        assert opened.is_allowed("t", operation="chat", fail_open=False) is False


@KINDS
def test_a_request_refused_for_its_own_faults_never_passes_where_failing_is_open(kind):
    with ScriptedDaemon(lambda _, frame: reply(frame, b"no", status=4)) as daemon:
        with Steps(kind, daemon.path, fail_open=True) as client, pytest.raises(Refused):
            client.is_allowed("t", operation="chat")
    with ScriptedDaemon(lambda _, frame: reply(frame, b"no decision")) as daemon:
        with Steps(kind, daemon.path, fail_open=True) as client, pytest.raises(MalformedReply):
            client.is_allowed("t", operation="chat")
    with ScriptedDaemon(lambda _, frame: reply(frame, b"no", status=13)) as daemon:
        with Steps(kind, daemon.path, fail_open=True) as client:
            assert client.is_allowed("t", operation="chat") is True
            assert client.is_allowed("t", operation="chat", fail_open=False) is False


@KINDS
def test_a_connection_that_the_daemon_ended_is_replaced_without_an_error(kind):
    with ScriptedDaemon(lambda _, frame: reply(frame)) as daemon:
        with Steps(kind, daemon.path, timeout=20) as client:
            for round in range(1, 4):
                assert client.ping(b"x") == b"x"
                assert len(daemon.connections) == round
                daemon.connections[-1].shutdown(2)
                # However little the loop has run, the next request finds out by itself.
        assert len(daemon.frames) == 3


@KINDS
def test_a_request_that_may_have_arrived_is_never_sent_again(kind):
    with ScriptedDaemon(lambda *_: False) as daemon, Steps(kind, daemon.path, timeout=20) as client:
        with pytest.raises(Unreachable):
            client.consume("o", "u", "p", "chat", {"tokens": 1})
        assert len(daemon.frames) == 1
        with pytest.raises(Unreachable):
            client.check("t", operation="chat")
        assert len(daemon.frames) == 2


@KINDS
def test_a_late_answer_never_reaches_another_request(kind):
    held = []

    def answer(_, frame):
        if frame[16:] == b"slow":
            held.append(reply(frame, b"late"))
            return None
        return b"".join(held) + reply(frame)

    with ScriptedDaemon(answer) as daemon, Steps(kind, daemon.path) as client:
        for _ in range(3):
            client.client.timeout = 0.05
            with pytest.raises(TimedOut):
                client.ping(b"slow")
            client.client.timeout = 20
            if kind is Client:
                held.clear()  # its connection is gone, and the answer with it
            assert client.ping(b"fast") == b"fast"
            held.clear()


def test_a_cancelled_request_leaves_the_connection_to_the_others():
    held = []

    def answer(_, frame):
        if frame[16:] != b"go":
            held.append(reply(frame))
            return None
        return b"".join(reversed(held)) + reply(frame)

    async def ask(path):
        async with AsyncClient(path, timeout=20) as client:
            tasks = [asyncio.create_task(client.ping(b"%d" % n)) for n in range(20)]
            while len(held) < 20:
                await asyncio.sleep(0.001)
            for task in tasks[::2]:
                task.cancel()
            assert await client.ping(b"go") == b"go"
            held.clear()
            assert await asyncio.gather(*tasks[1::2]) == [b"%d" % n for n in range(1, 20, 2)]
            assert await client.ping(b"go")
            assert client._connection.waiting == {} and client._connection.places._value == 256

    with ScriptedDaemon(answer) as daemon:
        asyncio.run(ask(daemon.path))
        assert len(daemon.connections) == 1


@KINDS
def test_answers_may_come_in_any_order(kind):
    frames = []

    def answer(_, frame):
        frames.append(frame)
        if len(frames) < 50:
            return None
        return b"".join(reply(f, decision(f)) for f in reversed(frames))

    def decision(frame):
        user = f"user-{frame[-1]}"
        return frame_layout.decision({
            "allowed": True, "reason_code": 0, "dry_run": False, "personal": False,
            "overage": False, "retry_after_ms": None, "rate_limit": None, "quota": None,
            "user": user, "organization": "", "plan": "", "operation": "", "explanation": None,
            "extensions": [],
        })

    bodies = [check_body("t", operation=chr(48 + index)) for index in range(50)]
    with ScriptedDaemon(answer) as daemon, Steps(kind, daemon.path, timeout=20) as client:
        users = [decision.user for decision in client.check_many(bodies)]
    assert users == [f"user-{48 + index}" for index in range(50)]


@KINDS
def test_one_refused_among_many_is_raised_and_the_connection_stays(kind):
    def answer(_, frame):
        return reply(frame, b"no", status=8)

    with ScriptedDaemon(answer) as daemon, Steps(kind, daemon.path, timeout=20) as client:
        for _ in range(2):
            with pytest.raises(Refused):
                client.check_many([check_body("t", operation="chat")] * 300)
        assert len(daemon.connections) == 1


@KINDS
def test_the_deadline_holds_for_a_daemon_that_is_silent(kind):
    with ScriptedDaemon(lambda *_: None) as daemon, Steps(kind, daemon.path, timeout=.05) as client:
        for _ in range(3):
            before = time.monotonic()
            with pytest.raises(TimedOut):
                client.ping()
            assert time.monotonic() - before < 10


def test_the_deadline_holds_for_a_thread_that_waits_for_its_turn():
    with ScriptedDaemon(lambda *_: None) as daemon, Client(daemon.path, timeout=0.5) as client:
        errors = []

        def ask():
            try:
                client.ping()
            except TollgateError as error:
                errors.append(error)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(errors) == 8 and {type(error) for error in errors} == {TimedOut}


def test_a_forked_process_makes_a_connection_of_its_own():
    with ScriptedDaemon(lambda _, frame: reply(frame)) as daemon:
        with Client(daemon.path, timeout=20) as client:
            client.ping()
            child = os.fork()
            if child == 0:
                os._exit(0 if client.ping(b"child") == b"child" else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert client.ping(b"parent") == b"parent"
            assert len(daemon.connections) == 2


def test_one_client_serves_one_loop_after_another():
    with ScriptedDaemon(lambda _, frame: reply(frame)) as daemon:
        client = AsyncClient(daemon.path, timeout=20)
        for _ in range(3):
            assert asyncio.run(client.ping()) == b"ping"


@KINDS
def test_many_large_answers_do_not_stall_who_still_writes(daemon, kind):
    """4 MiB of questions and as much of answers, on one connection, over the real daemon."""
    bodies = [
        check_body("t" * 8_000, method="GET", path="/" + "p" * 8_000, explain=True)] * 2_000
    with Steps(kind, daemon.data, timeout=60) as client:
        decisions = client.check_many(bodies)
    assert {decision.reason for decision in decisions} == {"credentialInvalid"}


@KINDS
def test_every_opcode_is_asked_of_the_real_daemon(daemon, kind):
    with Steps(kind, daemon.admin, timeout=20) as client:
        hello = client.hello()
        assert (hello.version, hello.policy_generation, hello.length_max) == (1, 1, 65_536)
        assert client.reload() == 2
        assert client.stats()["tollgate_policy_generation"] == 2
        assert client.usage("nobody").plan == ""
        assert client.check("", operation="chat").reason == "credentialMissing"
        assert client.consume("o", "u", "pro_tier", "chat", {"tokens": 200}).overage
        assert client.usage("o", "u").plan == "pro_tier"
    with Steps(kind, daemon.data, timeout=20) as client:
        with pytest.raises(Refused) as refusal:
            client.stats()
        assert refusal.value.status == "forbidden"


@KINDS
def test_a_daemon_ends_when_a_client_asks(kind):
    from conftest import Daemon

    daemon = Daemon()
    try:
        with Steps(kind, daemon.admin, timeout=20) as client:
            client.shutdown(grace_ms=1_000)
        assert daemon.process.wait(10) == 0
    finally:
        daemon.remove()


def test_the_frame_of_a_ping_is_as_the_document_draws_it():
    assert wire.frame(wire.PING, 7, b"ping") == struct.pack("<IBBHQ", 16, 2, 0, 0, 7) + b"ping"
