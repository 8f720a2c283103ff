"""Reservations and idempotency ids over the daemon's ends, and over the ends of callers, windows
and periods: one charge, answers alike, a quota that comes out to the unit (RELIABILITY, C4, C7)."""

import datetime
import os
import signal
import threading
import time
import types

import pytest
from fake_clock import FakeClock
from hardening import token
from ledger_daemon import daemon
from test_reservations import GONE_WITHIN, all_at_once, caller, until
from tollgate import Client, Conflict, NotFound, TollgateError, new_id

POLICY = """
version: 1
meters: [calls, tokens]
idempotency: {lifetime: LIFETIME}
operations:
  chat: {charges: {calls: {units: 1}, tokens: {units: 0}}}
plans:
  pro_tier:
    rate_limits: {burst: {scope: user, meter: calls, limit: 1000000, window: 1s}}
    quotas:
      user_tokens: {scope: user, meter: tokens, limit: LIMIT, period: day}
      tokens: {scope: organization, meter: tokens, limit: LIMIT, period: month}
      ever: {scope: organization, meter: tokens, limit: unlimited, period: total}
    concurrency:
      streams: {scope: organization, limit: 100000}
    holds: {ttl_default: 60s, ttl_max: 10m, cut_stream: reported}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
    lifetime_max: 24h
"""
ENDS = [signal.SIGKILL, signal.SIGTERM]


def world(limit=1_000_000_000, lifetime="10m", **options):
    text = POLICY.replace("LIMIT", str(limit), 2).replace("LIFETIME", lifetime)
    return daemon(policy=text, **options)


def of(one, user="ada", **more):
    return token(one, sub=user, plan="pro_tier", **more)


def end(one, how):
    if how == signal.SIGKILL:
        one.kill()
    else:
        assert one.stop() == 0


def numbers(client, user="ada"):
    """Tokens used and held, of the user and the organization alike, and how many are open."""
    found = {entry.name: entry for entry in client.usage("acme", user, "pro_tier").limits}
    quota = found["tokens"]
    assert found["ever"].used == quota.used
    return quota.used, quota.held, found["streams"].used


@pytest.mark.parametrize("durability", ["second", "always"])
@pytest.mark.parametrize("how", ENDS)
def test_answers_are_given_again_as_they_were_after_a_restart(how, durability):
    with world(ledger={"durability": durability}) as one:
        credential, client = of(one), one.callers
        ids = [new_id() for _ in range(3)]

        def ask():
            return [
                client.check(credential, operation="chat", units={"tokens": 7},
                             idempotency_id=ids[0]),
                client.consume("acme", "ada", "pro_tier", "chat", {"tokens": 11},
                               idempotency_id=ids[1]),
                client.reserve(credential, operation="chat", units={"tokens": 13}, detached=True,
                               idempotency_id=ids[2]).decision]

        held = [client.reserve(credential, operation="chat", units={"tokens": 100}, detached=True)
                for _ in range(2)]

        def finish():
            return [client.settle(held[0].id, {"tokens": 17}), client.cancel(held[1].id)]

        first = ask() + finish()
        assert all(answer.allowed for answer in first) and numbers(client) == (35, 13, 1)
        # What differs is another request, and charges nothing.
        for _ in range(2):
            with pytest.raises(Conflict):
                client.check(credential, operation="chat", units={"tokens": 8},
                             idempotency_id=ids[0])
            with pytest.raises(Conflict):
                client.settle(held[0].id, {"tokens": 18})
            end(one, how)
            one.start()
            assert ask() + finish() == first
            assert numbers(client) == (35, 13, 1)


@pytest.mark.parametrize("how", ENDS)
def test_what_is_detached_is_held_over_a_restart_and_the_rest_is_cut(how):
    with world() as one:
        credential, client = of(one), one.callers

        def reserve(tokens, **more):
            hold = client.reserve(credential, operation="chat", units={"tokens": tokens}, **more)
            assert hold.allowed
            return hold

        tied, detached = reserve(100), reserve(1_000, detached=True)
        assert client.extend(tied.id, {"tokens": 100}, {"tokens": 30}).allowed
        assert client.extend(detached.id, {"tokens": 2_000}, {"tokens": 5}).allowed
        begun, brief = time.monotonic(), reserve(10_000, detached=True, ttl_ms=2_000)
        assert numbers(client) == (0, 12_100, 3)
        end(one, how)
        one.start()
        started = time.monotonic()
        found = numbers(client)
        # In time, or it shows nothing of the brief one.
        if started - begun < 1.9:
            assert found == (30, 12_000, 2)
        until(lambda: numbers(client), (30, 2_000, 1), 5)
        # Over a restart it goes on by the wall clock's milliseconds.
        assert time.monotonic() - begun >= 1.99
        with pytest.raises(Conflict):
            client.extend(tied.id)
        with pytest.raises(Conflict):
            client.extend(brief.id)
        assert client.extend(detached.id, {"tokens": 2_500}, {"tokens": 6}).allowed
        # The true amounts, late or not.
        assert client.settle(tied.id, {"tokens": 70}).allowed
        assert client.settle(brief.id, {"tokens": 9}).allowed
        assert client.settle(detached.id, {"tokens": 400}).allowed
        assert numbers(client) == (479, 0, 0)
        end(one, how)
        # Time goes on while there is no daemon.
        one.start()
        lost = reserve(50, detached=True, ttl_ms=600)
        end(one, how)
        time.sleep(0.7)
        one.start()
        assert numbers(client) == (479, 0, 0)
        assert client.settle(lost.id, {"tokens": 1}).allowed
        with pytest.raises(NotFound):
            client.settle(new_id(), {"tokens": 1})
        assert numbers(client) == (480, 0, 0)


def test_ten_requests_with_one_id_are_one_charge_while_the_daemon_is_killed():
    with world() as one:
        credential, charged, verbs = of(one), 0, 0
        for turn in range(24):
            identity, verb = new_id(), turn % 3
            clients = [Client(one.data, timeout=20) for _ in range(10)]

            def ask(index, verb=verb, identity=identity, clients=clients):
                # Some come before the death, some at it, some when it is over.
                time.sleep(index * 0.004)
                if verb == 0:
                    return clients[index].check(credential, operation="chat", units={"tokens": 7},
                                                idempotency_id=identity)
                if verb == 1:
                    return clients[index].consume("acme", "ada", "pro_tier", "chat",
                                                  {"tokens": 7}, idempotency_id=identity)
                return clients[index].reserve(
                    credential, operation="chat", units={"tokens": 7}, detached=True,
                    idempotency_id=identity).decision

            def kill(turn=turn):
                time.sleep(0.002 * turn)
                one.kill()
                one.start()

            killer = threading.Thread(target=kill)
            killer.start()
            answers = all_at_once(10, ask)
            killer.join()
            verbs += verb == 2
            charged += 7
            assert answers[0].allowed and all(answer == answers[0] for answer in answers)
            used, held, open_ = numbers(one.callers)
            assert (used + held, open_) == (charged, verbs)
            for client in clients:
                client.close()


def test_an_id_is_good_over_the_end_of_a_window_and_of_a_period():
    clock = FakeClock(datetime.datetime(2026, 10, 31, 23, 59, 58, tzinfo=datetime.UTC))
    try:
        with world(environment=clock.environment) as one:
            identities = [new_id() for _ in range(50)]
            now = int(clock.now().timestamp())
            credential = of(one, iat=now, exp=now + 80_000)

            def ask():
                return [one.callers.check(credential, operation="chat", units={"tokens": 9},
                                          idempotency_id=identity) for identity in identities]

            first = ask()
            assert numbers(one.callers) == (450, 0, 0)
            # The window of a second ends, and then the day and the month.
            time.sleep(1.1)
            clock.set(datetime.datetime(2026, 11, 1, 0, 0, 1, tzinfo=datetime.UTC))
            for _ in range(2):
                assert ask() == first
                found = {entry.name: entry.used
                         for entry in one.callers.usage("acme", "ada", "pro_tier").limits}
                assert found == {"burst": 0, "user_tokens": 0, "tokens": 0, "ever": 450,
                                 "streams": 0}
                one.die_and_start_again()
    finally:
        clock.remove()


def test_an_id_whose_lifetime_is_over_stands_for_nothing():
    with world(lifetime="1s") as one:
        credential, identity = of(one), new_id()

        def ask():
            return one.callers.check(credential, operation="chat", units={"tokens": 9},
                                     idempotency_id=identity)

        first = ask()
        assert ask() == first and numbers(one.callers)[0] == 9
        one.kill()
        time.sleep(1.2)
        one.start()
        assert ask().allowed and numbers(one.callers)[0] == 18
        time.sleep(1.2)
        assert ask().allowed and numbers(one.callers)[0] == 27


class Racer:
    """Reserves, extends, settles, cancels, or goes away, until the quota refuses for good."""

    def __init__(self, number, one):
        self.number, self.one, self.told, self.gone = number, one, 0, 0
        self.credential = of(one, f"u{number % 16}")

    def run(self):
        client = Client(self.one.data, timeout=30)
        for turn in range(40):
            hold = client.reserve(self.credential, operation="chat", units={"tokens": 40})
            if not hold.allowed:
                assert hold.decision.reason == "quotaExhausted"
                continue
            kind = (self.number + turn) % 5
            if kind == 0:
                assert hold.cancel().allowed
            elif kind == 1:
                # It may go on or not; 40 tokens are its own.
                goes_on = hold.extend({"tokens": 90}, {"tokens": 40})
                tokens = 90 if goes_on else 40
                assert hold.settle(tokens=tokens).allowed
                self.told += tokens
            elif kind in (2, 3):
                assert hold.settle(tokens=7).allowed
                self.told += 7
            else:
                # It dies: what it had reported is charged.
                assert hold.extend({"tokens": 40}, {"tokens": 3})
                client.close()
                self.told, self.gone = self.told + 3, self.gone + 1
                client = Client(self.one.data, timeout=30)
        client.close()


@pytest.mark.parametrize("durability", ["second", "always"])
def test_a_quota_comes_out_to_the_unit_whatever_64_callers_do(durability):
    limit = 30_000
    with world(limit, ledger={"durability": durability}) as one:
        racers = [Racer(number, one) for number in range(64)]
        # And one that is killed with its hands full, meanwhile; 2 tokens each, 1 reported.
        process = caller(types.SimpleNamespace(daemon=one, token=of(one)), 300)

        def work(index):
            if index == 64:
                time.sleep(0.2)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                return
            racers[index].run()

        all_at_once(65, work)
        told = sum(racer.told for racer in racers) + 300
        took = until(lambda: numbers(one.callers), (told, 0, 0), 10)
        assert took <= GONE_WITHIN and told <= limit and sum(r.gone for r in racers) > 50
        one.die_and_start_again()
        assert numbers(one.callers) == (told, 0, 0)
        # The rest of it, one by one and from all sides: to the unit.
        rest = [0] * 16

        def drain(index):
            with Client(one.data, timeout=30) as client:
                credential = of(one, f"u{index}")
                while client.check(credential, operation="chat", units={"tokens": 1}).allowed:
                    rest[index] += 1

        all_at_once(16, drain)
        assert told + sum(rest) == limit and numbers(one.callers) == (limit, 0, 0)
        one.die_and_start_again()
        assert numbers(one.callers) == (limit, 0, 0)
        with pytest.raises(TollgateError):
            one.callers.settle(bytes(16), {"tokens": 1})
