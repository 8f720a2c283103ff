"""Reservations and idempotency ids against the real daemon: each verb, what a caller's death leaves
(C7), the times to live, what a cut charges, and requests that come ten times at once (C4)."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT
from test_daemon import pyjwt_token
from tollgate import Client, Conflict, Denied, NotFound, new_id

POLICY = """
version: 1
meters: [calls, tokens]
operations:
  chat:
    permission: can_use_gpt4o
    charges: {calls: {units: 0}, tokens: {units: 0, weight: 10}}
plans:
  pro_tier:
    permissions: [can_use_gpt4o]
    quotas:
      monthly_tokens: {scope: organization, meter: tokens, limit: LIMIT, period: month}
    concurrency:
      streams: {scope: organization, limit: STREAMS}
    holds: {ttl_default: 60s, ttl_max: 10m, cut_stream: CUT}
    prices: {tokens: 3}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
"""
CHAT = {"operation": "chat"}
# What a hold may outlive its caller by.
GONE_WITHIN = 0.1


def policy(limit=1_000_000, streams=2_000, cut="reported"):
    return (POLICY.replace("LIMIT", str(limit)).replace("STREAMS", str(streams))
            .replace("CUT", cut))


@pytest.fixture
def world(start_daemon):
    """A daemon, a client, a token, and what the organization has used, held and open."""
    class World:
        def __init__(self, **options):
            self.daemon = start_daemon(policy=policy(**options))
            self.token = pyjwt_token(self.daemon)
            self.client = Client(self.daemon.data, timeout=20)

        def reserve(self, tokens, **options):
            return self.client.reserve(self.token, units={"tokens": tokens}, **CHAT, **options)

        def numbers(self):
            looked = self.client.reserve(self.token, dry_run=True, explain=True, **CHAT).decision
            limits = {entry.kind: entry for entry in looked.explanation}
            quota = limits["quota"]
            return quota.used, quota.held, limits["concurrency"].used

    made = []

    def start(**options):
        made.append(World(**options))
        return made[-1]

    yield start
    for one in made:
        one.client.close()


def until(read, wanted, seconds):
    """How long it takes until `read()` is `wanted`."""
    begun = time.monotonic()
    while (got := read()) != wanted:
        assert time.monotonic() - begun < seconds, (got, wanted)
        time.sleep(0.002)
    return time.monotonic() - begun


def test_an_estimate_is_held_extended_and_settled(world):
    w = world()
    with w.reserve(400) as hold:
        assert hold.decision.quota.remaining == 1_000_000 - 4_000
        assert hold.decision.cost_micros == 1_200 and hold.ttl_ms == 60_000
        assert w.numbers()[:2] == (0, 4_000)
        assert hold.extend({"tokens": 900}, {"tokens": 380})
        assert w.numbers()[:2] == (0, 9_000)
        settled = hold.settle(tokens=731)
    assert settled.allowed and not settled.overage and settled.cost_micros == 731 * 3
    assert w.numbers()[:2] == (7_310, 0)
    # Again the same; with other units a conflict; canceled or extended not at all.
    assert w.client.settle(hold.id, {"tokens": 731}) == settled
    with pytest.raises(Conflict):
        w.client.settle(hold.id, {"tokens": 732})
    with pytest.raises(Conflict):
        w.client.cancel(hold.id)
    assert hold.extend() is False
    assert w.numbers()[:2] == (7_310, 0)


def test_the_end_of_a_block_is_the_estimate_and_an_exception_nothing(world):
    w = world()
    with w.reserve(40):
        pass
    assert w.numbers()[:2] == (400, 0)
    with pytest.raises(ZeroDivisionError), w.reserve(40):
        raise ZeroDivisionError
    assert w.numbers()[:2] == (400, 0)


def test_what_is_canceled_may_be_settled_after_all(world):
    w = world()
    hold = w.reserve(40)
    first = hold.cancel()
    assert w.client.cancel(hold.id) == first and w.numbers()[:2] == (0, 0)
    assert w.client.settle(hold.id, {"tokens": 7}).allowed
    assert w.numbers()[:2] == (70, 0)


def test_a_stream_is_stopped_where_the_quota_ends_and_settled_past_it(world):
    w = world(limit=1_000)
    with w.reserve(60) as hold:
        assert hold.extend({"tokens": 100}, {"tokens": 60})
        assert hold.extend({"tokens": 101}, {"tokens": 99}) is False
        assert hold.last.reason == "quotaExhausted"
        with pytest.raises(Denied):
            w.reserve(1).__enter__()
        assert hold.settle(tokens=120).overage
    assert w.numbers()[:2] == (1_200, 0)


def test_as_many_are_open_as_the_plan_says(world):
    w = world(streams=3)
    holds = [w.reserve(1) for _ in range(3)]
    refused = w.reserve(1)
    assert not refused.allowed and refused.decision.reason == "concurrencyExceeded"
    explained = w.reserve(1, explain=True).decision.explanation
    (streams,) = [entry for entry in explained if entry.kind == "concurrency"]
    assert (streams.used, streams.limit, streams.refuses) == (3, 3, True)
    holds[1].settle()
    assert w.reserve(1).allowed and not w.reserve(1).allowed


def test_nobody_knows_an_id_that_was_not_given(world):
    w = world()
    hold = w.reserve(5)
    changed = bytes([hold.id[0], *hold.id[1:-1], hold.id[-1] ^ 1])
    for ask in (w.client.settle, w.client.cancel, w.client.extend):
        with pytest.raises(NotFound):
            ask(changed)
        with pytest.raises(NotFound):
            ask(bytes(16))


CALLER = """
import sys
sys.path.insert(0, sys.argv[1])
from tollgate import Client
client = Client(sys.argv[2], timeout=20)
for index in range(int(sys.argv[4])):
    hold = client.reserve(sys.argv[3], operation="chat", units={"tokens": 2},
                          detached=sys.argv[5] == "detached")
    assert hold.allowed, hold.decision
    assert hold.extend({"tokens": 2}, {"tokens": 1})
print("held", flush=True)
sys.stdin.read()
"""


def caller(w, count, how="tied"):
    process = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(ROOT / "Sources/Clients/python"), w.daemon.data,
         w.token, str(count), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


@pytest.mark.parametrize("cut, charged", [("estimate", 20), ("reported", 10), ("nothing", 0)])
def test_a_thousand_holds_are_gone_at_once_when_their_caller_is_killed(world, cut, charged):
    w = world(cut=cut)
    process = caller(w, 1_000)
    assert w.numbers() == (0, 20_000, 1_000)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    took = until(w.numbers, (1_000 * charged, 0, 0), 10)
    print(f"holds gone after {took * 1_000:.1f} ms")
    assert took <= GONE_WITHIN


def test_what_is_detached_outlives_its_caller(world):
    w = world()
    process = caller(w, 10, "detached")
    process.kill()
    process.wait()
    # Another connection that ends is one more that takes none of them along.
    with Client(w.daemon.data, timeout=20) as other:
        other.ping()
    time.sleep(2 * GONE_WITHIN)
    assert w.numbers() == (0, 200, 10)


def test_a_hold_ends_with_its_connection_and_is_settled_nevertheless(world):
    w = world()
    with Client(w.daemon.data, timeout=20) as other:
        hold = other.reserve(w.token, units={"tokens": 50}, **CHAT)
        assert hold.extend(used={"tokens": 20})
        assert w.numbers() == (0, 500, 1)
    until(w.numbers, (200, 0, 0), 10)
    # The true amount, less what the cut has charged.
    assert w.client.settle(hold.id, {"tokens": 70}).allowed
    assert w.numbers() == (700, 0, 0)


def test_a_time_to_live_ends_it_and_extending_begins_it_anew(world):
    w = world()
    begun = time.monotonic()
    hold = w.reserve(50, ttl_ms=400)
    assert hold.ttl_ms == 400
    until(w.numbers, (0, 0, 0), 10)
    assert 0.4 <= time.monotonic() - begun < 0.4 + 2
    assert hold.extend() is False

    begun = time.monotonic()
    longer = w.reserve(50, ttl_ms=400)
    while time.monotonic() - begun < 1.2:
        assert longer.extend(ttl_ms=400)
        time.sleep(0.05)
    assert w.numbers() == (0, 500, 1)
    assert w.reserve(1, ttl_ms=2**32 - 1).ttl_ms == 600_000


def all_at_once(count, work):
    """The results of `work` on so many threads, begun together."""
    gate, results, failures = threading.Barrier(count), [None] * count, []

    def run(index):
        try:
            gate.wait(20)
            results[index] = work(index)
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=[index]) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    return results


@pytest.mark.parametrize("verb", ["check", "consume", "reserve"])
def test_ten_requests_with_one_id_are_one_charge_and_ten_answers_alike(world, verb):
    w = world()
    for round_ in range(20):
        identity = new_id()
        clients = [Client(w.daemon.data, timeout=20) for _ in range(10)]

        def ask(index):
            client = clients[index]
            if verb == "consume":
                return client.consume("acme", "ada", "pro_tier", "chat", {"tokens": 7},
                                      idempotency_id=identity)
            if verb == "check":
                return client.check(w.token, units={"tokens": 7}, idempotency_id=identity, **CHAT)
            return client.reserve(
                w.token, units={"tokens": 7}, idempotency_id=identity, detached=True,
                **CHAT).decision

        answers = all_at_once(10, ask)
        assert len({repr(answer) for answer in answers}) == 1 and answers[0].allowed
        used, held, _ = w.numbers()
        assert used + held == 70 * (round_ + 1)
        for client in clients:
            client.close()


def test_an_id_is_good_for_one_request(world):
    w = world()
    identity = new_id()
    assert w.client.check(w.token, units={"tokens": 7}, idempotency_id=identity, **CHAT).allowed
    for ask in (
        lambda: w.client.check(w.token, units={"tokens": 8}, idempotency_id=identity, **CHAT),
        lambda: w.client.consume("acme", "ada", "pro_tier", "chat", {"tokens": 7},
                                 idempotency_id=identity),
        lambda: w.reserve(7, idempotency_id=identity),
    ):
        with pytest.raises(Conflict):
            ask()
    assert w.numbers()[:2] == (70, 0)


def test_a_denial_is_decided_anew(world):
    w = world(limit=100)
    identity = new_id()
    hold = w.reserve(5)
    assert not w.client.check(
        w.token, units={"tokens": 6}, idempotency_id=identity, **CHAT).allowed
    hold.cancel()
    assert w.client.check(w.token, units={"tokens": 6}, idempotency_id=identity, **CHAT).allowed
    assert w.numbers()[:2] == (60, 0)


def test_callers_that_race_for_a_quota_get_exactly_that(world):
    """Reserving, settling less, canceling and dying: never more than there is, and in the end
    exactly what was settled."""
    w = world(limit=2_000)
    settled = []

    def work(index):
        with Client(w.daemon.data, timeout=20) as client:
            for turn in range(30):
                hold = client.reserve(w.token, units={"tokens": 5}, **CHAT)
                if not hold.allowed:
                    continue
                used, held, _ = w_numbers(client)
                assert used + held <= 2_000
                if (index + turn) % 3 == 0:
                    hold.cancel()
                elif (index + turn) % 3 == 1:
                    hold.settle(tokens=2)
                    settled.append(20)
                # Else its connection's end cuts it: nothing was reported.

    def w_numbers(client):
        quota = next(e for e in client.usage("acme", "ada").limits if e.kind == "quota")
        return quota.used, quota.held, None

    all_at_once(16, work)
    until(w.numbers, (sum(settled), 0, 0), 10)
    assert 0 < sum(settled) <= 2_000
