"""Reservations and idempotency ids in the Python clients, against a daemon that says what a test
wants: what `with` does at its end, and what is sent again."""

import asyncio
import json
import struct
import threading

import frame_layout
import make_frames
import pytest
from scripted_daemon import ScriptedDaemon, request_id, with_id
from tollgate import (
    AsyncClient,
    Client,
    Conflict,
    Denied,
    InvalidRequest,
    Refused,
    TimedOut,
    Unreachable,
    new_id,
    wire,
)

REPLIES = {v["name"]: bytes.fromhex(v["hex"])
           for v in json.loads(make_frames.FRAMES.read_text())["replies"]}
NAMES = {code: name for name, code in frame_layout.OPCODES.items()}
ANSWERS = {"RESERVE": "reserved", "EXTEND": "extended", "SETTLE": "settled", "CANCEL": "canceled",
           "CHECK": "allow-limits", "CONSUME": "consumed"}
HELD = bytes(range(1, 17))


class Script:
    """Answers each opcode with a vector, or ends the first connections at their first request."""

    def __init__(self, lost=0, **answers):
        self.answers, self.lost = {**ANSWERS, **answers}, lost
        self.lock = threading.Lock()

    def __call__(self, _, frame):
        with self.lock:
            if self.lost:
                self.lost -= 1
                return False
        reply = with_id(REPLIES[self.answers[NAMES[frame[4]]]], request_id(frame))
        # A denial of one opcode looks like that of another.
        return reply[:4] + bytes([frame[4] | 0x80]) + reply[5:]


def asked(daemon):
    return [NAMES[frame[4]] for frame in daemon.frames]


class Blocking:
    """Both clients look alike to a test."""

    def __init__(self, path, timeout=20):
        self.client = Client(path, timeout=timeout)

    def ask(self, verb, *arguments, **options):
        return getattr(self.client, verb)(*arguments, **options)

    def hold(self, work, **options):
        with self.client.reserve("t", operation="chat", units={"tokens": 500}, **options) as hold:
            for verb, arguments in work:
                if verb is None:
                    raise arguments
                getattr(hold, verb)(**arguments)
        return hold

    def close(self):
        self.client.close()


class Awaited:
    def __init__(self, path, timeout=20):
        self.loop = asyncio.new_event_loop()
        self.client = AsyncClient(path, timeout=timeout)

    def ask(self, verb, *arguments, **options):
        return self.loop.run_until_complete(getattr(self.client, verb)(*arguments, **options))

    def hold(self, work, **options):
        async def run():
            async with await self.client.reserve(
                    "t", operation="chat", units={"tokens": 500}, **options) as hold:
                for verb, arguments in work:
                    if verb is None:
                        raise arguments
                    await getattr(hold, verb)(**arguments)
            return hold

        return self.loop.run_until_complete(run())

    def close(self):
        self.loop.run_until_complete(self.client.close())
        self.loop.close()


@pytest.fixture(params=[Blocking, Awaited])
def connect(request):
    """Makes a client of either kind, and a scripted daemon behind it."""
    made = []

    def start(script, **options):
        daemon = ScriptedDaemon(script).__enter__()
        made.append((request.param(daemon.path, **options), daemon))
        return made[-1]

    yield start
    for client, daemon in made:
        client.close()
        daemon.__exit__()


def test_a_block_settles_at_the_estimate(connect):
    client, daemon = connect(Script())
    hold = client.hold([])
    assert asked(daemon) == ["RESERVE", "SETTLE"] and not hold.is_open
    settled = daemon.frames[1][16:]
    assert settled[:16] == hold.id and settled[16:] == bytes(8)
    assert hold.last.cost_micros == 1_827_500 and hold.ttl_ms == 60_000


def test_a_block_that_raises_cancels(connect):
    client, daemon = connect(Script())
    with pytest.raises(ZeroDivisionError):
        client.hold([("extend", {}), (None, ZeroDivisionError())])
    assert asked(daemon) == ["RESERVE", "EXTEND", "CANCEL"]


@pytest.mark.parametrize("refused", ["error-cancel-conflict", "error-cancel-notFound"])
def test_a_cancel_that_fails_does_not_hide_what_the_block_raised(connect, refused):
    client, daemon = connect(Script(CANCEL=refused))
    with pytest.raises(ZeroDivisionError):
        client.hold([(None, ZeroDivisionError())])
    assert asked(daemon) == ["RESERVE", "CANCEL"]


@pytest.mark.parametrize("end", [("settle", {"tokens": 731}), ("cancel", {})])
def test_what_the_block_ended_is_left_as_it_is(connect, end):
    client, daemon = connect(Script())
    assert not client.hold([end]).is_open
    with pytest.raises(ZeroDivisionError):
        client.hold([end, (None, ZeroDivisionError())])
    assert asked(daemon) == ["RESERVE", end[0].upper()] * 2


def test_what_was_not_recorded_is_settled_at_the_end(connect):
    """A SETTLE denied for want of a journal has ended nothing."""
    client, daemon = connect(Script(SETTLE="reserve-no-journal"))
    assert client.hold([("settle", {"tokens": 731})]).is_open
    assert asked(daemon) == ["RESERVE", "SETTLE", "SETTLE"]


def test_a_block_is_not_entered_where_nothing_is_held(connect):
    client, daemon = connect(Script(RESERVE="reserve-concurrency"))
    with pytest.raises(Denied, match="concurrencyExceeded") as raised:
        client.hold([(None, AssertionError("entered"))])
    assert raised.value.decision.reason_code == 60 and asked(daemon) == ["RESERVE"]


def test_a_dry_run_holds_nothing_and_ends_nothing(connect):
    client, daemon = connect(Script(RESERVE="reserve-would"))
    assert not client.hold([], dry_run=True).is_open
    with pytest.raises(InvalidRequest):
        client.hold([("settle", {})], dry_run=True)
    assert asked(daemon) == ["RESERVE", "RESERVE"]


@pytest.mark.parametrize("answer, goes_on", [
    ("extended", True), ("extend-stop", False), ("error-extend-notFound", False),
    ("error-extend-conflict", False)])
def test_extend_says_whether_to_go_on(answer, goes_on):
    with ScriptedDaemon(Script(EXTEND=answer)) as daemon, Client(daemon.path) as client:
        with client.reserve("t", operation="chat") as hold:
            assert hold.extend({"tokens": 1_000}, {"tokens": 450}, ttl_ms=9) is goes_on
        assert asked(daemon) == ["RESERVE", "EXTEND", "SETTLE"]
        body = daemon.frames[1][16:]
        assert struct.unpack_from("<BxHI", body, 16) == (1, 0, 9)
        assert struct.unpack("<QQ", body[-16:]) == (1_000, 450)


def test_units_used_are_held_where_no_other_number_is_given():
    body = wire.extend_body(HELD, {"calls": 3}, {"tokens": 450})
    assert body[24:] == (
        b"\x05calls" + struct.pack("<QQ", 3, 0) + b"\x06tokens" + struct.pack("<QQ", 450, 450))


REPEATED = [
    ("check", ["t"], {"operation": "chat", "idempotent": True}),
    ("check", ["t"], {"operation": "chat", "idempotency_id": HELD}),
    ("consume", ["o", "u", "p", "chat", {"tokens": 1}], {"idempotent": True}),
    ("reserve", ["t"], {"operation": "chat", "idempotent": True}),
    ("extend", [HELD], {}), ("settle", [HELD], {}), ("cancel", [HELD], {}),
]


@pytest.mark.parametrize("verb, arguments, options", REPEATED)
@pytest.mark.parametrize("lost", [1, 5])
def test_what_is_known_again_is_sent_until_it_is_answered(
        connect, verb, arguments, options, lost):
    client, daemon = connect(Script(lost=lost))
    assert client.ask(verb, *arguments, **options).allowed
    assert len(daemon.frames) == lost + 1
    # The same body, with the same id.
    assert len({frame[16:] for frame in daemon.frames}) == 1


@pytest.mark.parametrize("verb, arguments, options", [
    ("check", ["t"], {"operation": "chat"}), ("reserve", ["t"], {"operation": "chat"}),
    ("consume", ["o", "u", "p", "chat", {"tokens": 1}], {})])
def test_what_is_not_known_again_is_sent_once(connect, verb, arguments, options):
    client, daemon = connect(Script(lost=9))
    with pytest.raises(Unreachable):
        client.ask(verb, *arguments, **options)
    assert len(daemon.frames) == 1


def test_the_deadline_holds_for_all_repetitions(connect):
    client, daemon = connect(Script(lost=10**6), timeout=0.3)
    with pytest.raises((Unreachable, TimedOut)):
        client.ask("settle", HELD)
    assert 2 <= len(daemon.frames) < 100


def test_a_refusal_is_not_asked_again(connect):
    client, daemon = connect(Script(SETTLE="error-settle-conflict"))
    with pytest.raises(Conflict):
        client.ask("settle", HELD)
    assert len(daemon.frames) == 1


def test_each_request_draws_an_id_of_its_own(connect):
    client, daemon = connect(Script())
    for _ in range(50):
        client.ask("check", "t", operation="chat", idempotent=True)
    assert len({frame[-16:] for frame in daemon.frames}) == 50
    assert len({new_id() for _ in range(10_000)}) == 10_000
    assert all(frame[-20:-16] == b"\2\1\x10\0" for frame in daemon.frames)


@pytest.mark.parametrize("wrong", [
    lambda: wire.check_body("t", operation="x", idempotency_id=bytes(16)),
    lambda: wire.check_body("t", operation="x", idempotency_id=b"x" * 15),
    lambda: wire.consume_body("o", "u", "p", "x", {"t": 1}, idempotency_id=b"x" * 17),
    lambda: wire.reserve_body("t", operation="x", ttl_ms=-1),
    lambda: wire.reserve_body("t", operation="x", ttl_ms=2**32),
    lambda: wire.reserve_body("t", operation="x", ttl_ms=1.5),
    lambda: wire.reserve_body("t", operation="x", units={"t": 2**40 + 1}),
    lambda: wire.extend_body(HELD[:15]), lambda: wire.extend_body(HELD, used={"t": -1}),
    lambda: wire.extend_body(HELD, {f"a{i}": 1 for i in range(9)},
                             {f"b{i}": 1 for i in range(8)}),
    lambda: wire.extend_body(HELD, {"": 1}), lambda: wire.extend_body(HELD, ttl_ms=2**32),
    lambda: wire.settle_body(b""), lambda: wire.settle_body(HELD, {"t": 2**40 + 1}),
    lambda: wire.settle_body(HELD, {f"m{i}": 1 for i in range(17)}),
    lambda: wire.cancel_body(HELD + b"x"),
])
def test_what_is_out_of_range_is_not_sent(wrong):
    with pytest.raises(InvalidRequest):
        wrong()


def test_a_reply_that_allows_and_holds_nothing_lets_nobody_in(connect):
    client, _ = connect(Script(RESERVE="malformed-reserve-nothing"))
    with pytest.raises(Exception) as raised:
        client.hold([])
    assert type(raised.value).__name__ == "MalformedReply"
    assert not isinstance(raised.value, Refused)
