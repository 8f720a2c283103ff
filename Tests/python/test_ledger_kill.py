"""Kills at random moments under load: what was acknowledged is there to the unit, nothing is there
twice, and a retry by id after the restart has the first answer (RELIABILITY, D1, C4)."""

import os
import random
import threading
import time

from ledger_daemon import PLAN, LedgerDaemon, LedgerPlace, used
from tollgate import Client, TollgateError

KILLS = int(os.environ.get("TOLLGATE_KILLS", "60"))
CLIENTS = 8
ORGANIZATIONS = 3


class Payer:
    """Charges a user of its own, one request after the other, and notes what it was told.

    `told` are the units acknowledged; `pending` what has no answer: its units and its id, if it
    has one."""

    def __init__(self, number, path, seed):
        self.organization, self.user = f"o{number % ORGANIZATIONS}", f"u{number}"
        self.path, self.random = path, random.Random(seed)
        self.told, self.calls, self.pending, self.answered = 0, 0, None, 0
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.is_ending, self.failure = False, None
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            self.go.acquire()
            if self.is_ending:
                return
            try:
                self.charge_until_it_dies()
            except BaseException as failure:
                self.failure = failure
            self.done.release()

    def charge_until_it_dies(self):
        with Client(self.path, timeout=1) as client:
            if self.pending is not None:
                self.ask(client, *self.pending)
            while True:
                units = self.random.choice([0, 1, 1, 7, 1_000, self.random.randrange(1 << 20)])
                has_id = self.random.random() < 0.6
                identity = self.random.randbytes(16) if has_id else None
                self.pending = (units, identity)
                if not self.ask(client, units, identity):
                    return

    def ask(self, client, units, identity):
        more = {} if identity is None else {"idempotency_id": identity}
        try:
            decision = client.consume(
                self.organization, self.user, PLAN, "chat",
                {"tokens": units, "calls": 1}, **more)
        except TollgateError:
            return False
        assert decision.allowed, decision
        self.told, self.calls, self.pending = self.told + units, self.calls + 1, None
        self.answered += 1
        return True

    def settle(self, client):
        """After a restart: what had no answer is asked for again, by its id; without one it may
        have been carried out or not, and what is there from now on counts."""
        if self.pending is not None and self.pending[1] is not None:
            assert self.ask(client, *self.pending)
        found = used(client, self.organization, self.user)
        tokens, calls = found["user_tokens"], found["user_calls"]
        if self.pending is not None:
            units, _ = self.pending
            assert (tokens, calls) in (
                (self.told, self.calls), (self.told + units, self.calls + 1)), (
                self.user, tokens - self.told, calls - self.calls, units)
            self.told, self.calls, self.pending = tokens, calls, None
        assert (tokens, calls) == (self.told, self.calls), (
            self.user, tokens - self.told, calls - self.calls)


def check(payers, client):
    for payer in payers:
        payer.settle(client)
    for number in range(ORGANIZATIONS):
        mine = [payer for payer in payers if payer.organization == f"o{number}"]
        found = used(client, f"o{number}")
        assert found["tokens"] == sum(payer.told for payer in mine)
        assert found["calls"] == sum(payer.calls for payer in mine)


def test_nothing_is_lost_and_nothing_is_doubled_by_kills():
    seed = int(os.environ.get("TOLLGATE_SEED", random.randrange(1 << 32)))
    print("seed", seed)
    chance = random.Random(seed)
    place = LedgerPlace()
    began, retried = time.monotonic(), 0
    daemon = LedgerDaemon(place, ledger={"snapshot_interval": "1s"}, threads=2)
    payers = [Payer(number, daemon.data, seed + number) for number in range(CLIENTS)]
    try:
        for _ in range(KILLS):
            for payer in payers:
                payer.go.release()
            time.sleep(chance.uniform(0, 0.15))
            daemon.kill()
            for payer in payers:
                payer.done.acquire()
                assert payer.failure is None, payer.failure
            retried += sum(payer.pending is not None and payer.pending[1] is not None
                           for payer in payers)
            daemon.start()
            with Client(daemon.data, timeout=20) as client:
                check(payers, client)
        answered = sum(payer.answered for payer in payers)
        print(f"{KILLS} kills in {time.monotonic() - began:.0f} s, {answered} charges answered,"
              f" {retried} asked for again by id")
        assert answered > 10 * KILLS and (retried > 0 or KILLS < 20)
        assert daemon.stop() == 0
        daemon.start()
        with Client(daemon.data, timeout=20) as client:
            check(payers, client)
        assert daemon.stop() == 0
    finally:
        for payer in payers:
            payer.is_ending = True
            payer.go.release()
        daemon.remove()
        place.remove()
