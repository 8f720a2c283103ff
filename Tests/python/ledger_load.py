"""Callers of a ledger who know at each moment what they were told, and compare a backup that was
made meanwhile with it."""

import contextlib
import threading
import types

import pytest
from commandline import Cli
from hardening import eventually, token
from ledger_daemon import Burst, used
from tollgate import Client, Conflict, NotFound, TollgateError, new_id

POLICY = """
version: 1
meters: [calls, tokens]
operations:
  chat: {charges: {calls: {units: 1}, tokens: {units: 0}}}
  look: {charges: {tokens: {units: 0}}}
plans:
  pro_tier:
    quotas:
      user_day: {scope: user, meter: tokens, limit: 1000000000, period: day}
      ever: {scope: organization, meter: tokens, limit: unlimited, period: total}
    concurrency:
      streams: {scope: organization, limit: 100000}
    holds: {ttl_default: 10m, ttl_max: 10m}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
"""
HELD, SETTLED = 1_000, 3


def numbers(client, organization):
    """Tokens used and held of an organization, and how many of its reservations are open."""
    found = {entry.name: entry for entry in client.usage(organization, "ada", "pro_tier").limits}
    return found["ever"].used, found["ever"].held, found["streams"].used


class Caller(threading.Thread):
    """One thing after the other in an organization of its own: a charge with an id, a hold, its
    end, a charge without an id. `states[n]`: what is there after n of them, of which `told` were
    answered; `asked`, by that n: what had an id, and its answer; `holds`: what is open then."""

    def __init__(self, one, number, now=None):
        super().__init__()
        self.socket, self.organization = one.data, f"o{number}"
        times = {} if now is None else {"iat": int(now.timestamp()),
                                        "exp": int(now.timestamp()) + 3_000}
        self.credential = token(one, org=self.organization, plan="pro_tier", **times)
        self.states, self.told = [(0, 0, 0)], 0
        self.asked, self.holds = {}, {}
        self.is_over, self.failure = False, None

    def run(self):
        try:
            with Client(self.socket, timeout=20) as client:
                while not self.is_over:
                    for step in (self.ask, self.reserve, self.settle, self.charge):
                        step(client)
                        self.told += 1
        except TollgateError as failure:
            if not self.is_over:
                self.failure = failure

    def begin(self, used, held=0):
        """What will be there once it is done."""
        self.states.append((self.states[-1][0] + used, held, int(held > 0)))
        return len(self.states) - 1

    def question(self, number, identity):
        return (self.organization, "ada", "pro_tier", "chat", {"tokens": number % 7 + 1},
                identity)

    def ask_of(self, client, question):
        *positional, identity = question
        return client.consume(*positional, idempotency_id=identity)

    def ask(self, client):
        number = len(self.states)
        question = self.question(number, new_id())
        self.begin(number % 7 + 1)
        answer = self.ask_of(client, question)
        assert answer.allowed
        self.asked[number] = (question, answer)

    def reserve(self, client):
        number = self.begin(0, HELD)
        self.holds[number] = client.reserve(
            self.credential, operation="chat", units={"tokens": HELD}, detached=True)
        assert self.holds[number].allowed

    def settle(self, client):
        number = self.begin(SETTLED)
        assert client.settle(self.holds[number - 1].id, {"tokens": SETTLED}).allowed

    def charge(self, client):
        self.begin(2)
        assert client.consume(
            self.organization, "ada", "pro_tier", "chat", {"tokens": 2}).allowed


class Filler(threading.Thread):
    """Charges of one token that fill the journal; of `begun`, `told` were allowed. A snapshot in
    between, again and again, lets go of it."""

    def __init__(self, one):
        super().__init__()
        self.burst, self.admin = Burst(one, "filler"), one.admin
        self.begun, self.is_over = 0, False

    @property
    def told(self):
        return self.burst.told

    def run(self):
        with Client(self.admin, timeout=30) as admin:
            while not self.is_over:
                for _ in range(4):
                    self.begun += 256
                    self.burst.charge(256)
                with contextlib.suppress(Conflict):  # While another one is written.
                    admin.snapshots.create()
        self.burst.close()


class Load:
    """Callers that go on until the end, and one who fills the journal."""

    def __init__(self, one, now=None):
        self.callers = [Caller(one, number, now) for number in range(3)]
        self.filler = Filler(one)
        self.threads = [*self.callers, self.filler]

    def __enter__(self):
        for each in self.threads:
            each.start()
        return self

    def __exit__(self, *_):
        for each in self.threads:
            each.is_over = True
        for each in self.threads:
            each.join()
        assert not [each.failure for each in self.callers if each.failure]

    def wait(self, more=8):
        """Until each was told so much more than now."""
        wanted = [each.told + more for each in self.callers]
        eventually(lambda: all(each.told >= told and each.is_alive()
                               for each, told in zip(self.callers, wanted)))

    def backup(self, ledger, path):
        """Of each caller: how much was told before it began, and begun before it had ended."""
        told = [each.told for each in self.threads]
        said = Cli(None).json("ledger", "backup", ledger, path)
        assert said["path"] == str(path) and said["ledger"] == str(ledger)
        assert said["organizations"] >= len(self.callers) and said["files"] >= 3
        begun = [len(each.states) - 1 for each in self.callers] + [self.filler.begun]
        return types.SimpleNamespace(
            path=path, told=told, begun=begun, generation=said["generation"])

    def check(self, backup, client):
        """That what is restored stands between the two; then that it goes on from there."""
        filled = used(client, "filler", "ada")["ever"]
        assert backup.told[-1] <= filled <= backup.begun[-1]
        for each, told, begun in zip(self.callers, backup.told, backup.begun):
            found = numbers(client, each.organization)
            at = each.states.index(found, told, begun + 1)
            last = max((number for number in each.asked if number <= at), default=None)
            if last is not None:
                question, answer = each.asked[last]
                assert each.ask_of(client, question) == answer
                assert numbers(client, each.organization) == found
            # One that was asked later is new.
            later = min((number for number in each.asked if number > at), default=None)
            if later is not None:
                units = each.asked[later][0][4]["tokens"]
                assert each.ask_of(client, each.asked[later][0]).allowed
                found = (found[0] + units, *found[1:])
                assert numbers(client, each.organization) == found
            if at in each.holds:
                assert found[1:] == (HELD, 1)
                assert client.settle(each.holds[at].id, {"tokens": SETTLED}).allowed
                assert numbers(client, each.organization) == (found[0] + SETTLED, 0, 0)
            unknown = min((number for number in each.holds if number > at), default=None)
            if unknown is not None:
                with pytest.raises(NotFound):
                    client.settle(each.holds[unknown].id, {"tokens": SETTLED})
