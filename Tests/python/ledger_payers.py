"""Callers that know to the unit what they were told, whatever becomes of the daemon meanwhile."""

import random
import threading
import time

from hardening import token
from tollgate import Client, TollgateError, new_id

PLANS = """
version: 1
meters: [calls, tokens]
operations:
  chat: {charges: {calls: {units: 1}, tokens: {units: 0}}}
plans:
  pro_tier:
    quotas:
      user_day: {scope: user, meter: tokens, limit: unlimited, period: day}
      user_ever: {scope: user, meter: tokens, limit: unlimited, period: total}
      tokyo_day: {scope: organization, meter: tokens, limit: unlimited, period: day,
                  time_zone: Asia/Tokyo}
      month: {scope: organization, meter: tokens, limit: unlimited, period: month}
      calls_week: {scope: organization, meter: calls, limit: unlimited, period: week}
  raced_tier:
    quotas:
      raced: {scope: organization, meter: calls, limit: 120, period: day}
      raced_ever: {scope: organization, meter: calls, limit: unlimited, period: total}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
"""
RACED = 120


class Payer:
    """Asks for one call of the raced quota after the other, and for tokens of its own, each with an
    id; `told` are the tokens that it was told. `refusals`: other reasons to be refused that the
    test expects, which charge nothing."""

    def __init__(self, number, one, chance, refusals=()):
        self.user, self.one, self.random = f"u{number}", one, random.Random(chance.random())
        self.told, self.raced, self.pending, self.is_over = 0, 0, None, False
        self.failure, self.refusals = None, refusals

    def run(self):
        try:
            with Client(self.one.data, timeout=0.4) as client:
                while not self.is_over and self.ask(client):
                    self.pending = None
        except BaseException as failure:
            self.failure = failure

    def ask(self, client):
        """False when there is no answer; then what was asked is `pending`."""
        if self.pending is None:
            self.pending = (self.random.random() < 0.5, self.random.randrange(1 << 20), new_id())
        is_raced, tokens, identity = self.pending
        try:
            if is_raced:
                decision = client.check(self.token, operation="chat", idempotency_id=identity)
                assert decision.allowed or decision.reason in (
                    "quotaExhausted", *self.refusals), decision
                self.raced += decision.allowed
            else:
                decision = client.consume("acme", self.user, "pro_tier", "chat",
                                          {"tokens": tokens}, idempotency_id=identity)
                assert decision.allowed or decision.reason in self.refusals, decision
                self.told += tokens if decision.allowed else 0
        except TollgateError as error:
            assert type(error).__name__ in ("Unreachable", "TimedOut"), error
            return False
        return True


def live(one, now, payers, chance, end):
    """Under load until `end` ends the daemon, and then its next life, in which what had no answer
    is asked again. `now` is the daemon's wall clock."""
    for payer in payers:
        payer.token = race_token(one, payer.user, now)
        payer.is_over = False
    threads = [threading.Thread(target=payer.run) for payer in payers]
    for thread in threads:
        thread.start()
    time.sleep(chance.uniform(0.05, 0.25))
    end()
    for payer in payers:
        payer.is_over = True
    for thread in threads:
        thread.join()
    one.start()
    with Client(one.data, timeout=20) as client:
        for payer in payers:
            assert payer.failure is None, payer.failure
            if payer.pending is not None:
                assert payer.ask(client)
                payer.pending = None


def race_token(one, user, now):
    now = int(now.timestamp())
    return token(one, sub=user, org="race", plan="raced_tier", iat=now, exp=now + 3_000)


def use_up(one, now):
    """Asks for what is left of the raced quota; how much it was."""
    about, rest = race_token(one, "rest", now), 0
    with Client(one.data, timeout=20) as client:
        while client.check(about, operation="chat").allowed:
            rest += 1
    return rest
