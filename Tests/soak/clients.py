"""Clients of a soak, each a process of its own, and the books that they keep.

The parent says `("go", rate)`; a client then asks until the daemon goes away, or until it is told
`stop`, and answers with what it was told since."""

import random
import signal
import struct
import time

from hardening import connect, read_exactly
from tollgate import Client, TollgateError, new_id, replies, wire

BATCH = 64
DECISION = struct.Struct("<BBH")
SECONDS_TO_ANSWER = 5
# What a charge may be refused with while a file of the journal is being made, or the audit log
# waits: nothing is charged then.
PASSING = {81, 82}
# Longer than a kill and the start after it take.
IDEMPOTENCY_SECONDS = 60
LATENCIES_MAX = 1_000_000


class Bulk:
    """Many at a time on one connection: CHECKs of tokens and keys, and CONSUMEs, a token each.

    `told[n]` is what user n was told; `open[n]` what had no answer when the daemon went away."""

    def __init__(self, path, organization, credentials, plan):
        self.path, self.organization, self.users = path, organization, sorted(credentials)
        self.told, self.open = [0] * len(self.users), [0] * len(self.users)
        self.refused, self.gone, self.strange = 0, 0, set()
        frames = []
        for number, user in enumerate(self.users):
            if number % 3 == 0:
                opcode, body = wire.CONSUME, wire.consume_body(
                    organization, user, plan, "look", {"tokens": 1})
            else:
                opcode, body = wire.CHECK, wire.check_body(
                    credentials[user], operation="look", units={"tokens": 1})
            frames.append(wire.frame(opcode, number + 1, body))
        self.batches = [(start, min(BATCH, len(frames) - start), b"".join(
            frames[start : start + BATCH])) for start in range(0, len(frames), BATCH)]

    def go(self, rate, pipe):
        """`rate` in requests a second; none: as many as there can be."""
        began, asked, turn = time.monotonic(), 0, 0
        try:
            with connect(self.path) as peer:
                while not pipe.poll():
                    start, count, data = self.batches[turn % len(self.batches)]
                    turn += 1
                    if rate:
                        time.sleep(max(0, began + asked / rate - time.monotonic()))
                    self.batch(peer, start, count, data)
                    asked += count
        except OSError:
            # The daemon was killed; who killed it knows.
            self.gone += 1
        return {"asked": asked, "seconds": time.monotonic() - began}

    def batch(self, peer, start, count, data):
        for number in range(start, start + count):
            self.open[number] += 1
        peer.sendall(data)
        for _ in range(count):
            length, _, _, status, identity = wire.HEADER.unpack(read_exactly(peer, 16))
            body = read_exactly(peer, length - 12)
            number = identity - 1
            self.open[number] -= 1
            verdict, _, reason = DECISION.unpack_from(body) if status == 0 else (0, 0, status)
            if verdict == 1:
                self.told[number] += 1
            elif status == 0 and reason in PASSING:
                self.refused += 1
            else:
                self.strange.add(f"status {status}, reason {reason}")

    def settle(self, found):
        """What the daemon has of each user is what was told, and maybe what had no answer."""
        wrong = []
        for number, user in enumerate(self.users):
            least, most = self.told[number], self.told[number] + self.open[number]
            if not least <= found(self.organization, user) <= most:
                wrong.append(f"{self.organization} {user}: found"
                             f" {found(self.organization, user)}, told {least} to {most}")
            self.told[number], self.open[number] = found(self.organization, user), 0
        return wrong


class Single:
    """One thing after the other, timed: charges with ids, and holds from RESERVE to their end. What
    had no answer is asked again after the start, by its id, so that its books are exact."""

    def __init__(self, path, organization, credentials, plan):
        self.path, self.organization, self.plan = path, organization, plan
        self.credentials, self.users = credentials, sorted(credentials)
        self.told = dict.fromkeys(self.users, 0)
        self.random = random.Random(organization)
        self.holds, self.pending = [], None
        self.latencies, self.refused, self.strange = [], 0, set()

    def go(self, rate, pipe):
        began, asked = time.monotonic(), 0
        with Client(self.path, timeout=SECONDS_TO_ANSWER) as client:
            try:
                while not pipe.poll():
                    if rate:
                        time.sleep(max(0, began + asked / rate - time.monotonic()))
                    self.pending = self.pending or self.draw()
                    self.ask(client, *self.pending)
                    asked += 1
            except TollgateError as error:
                if type(error).__name__ not in ("Unreachable", "TimedOut"):
                    self.strange.add(repr(error))
        return {"asked": asked, "seconds": time.monotonic() - began,
                "latencies": self.latencies.copy()}

    def draw(self):
        if self.holds and (len(self.holds) > 20 or self.random.random() < 0.5):
            user, hold = self.holds[self.random.randrange(len(self.holds))]
            verb = self.random.choice(["extend", "settle", "settle", "cancel"])
            return verb, user, hold, self.random.randrange(100)
        user = self.random.choice(self.users)
        verb = self.random.choice(["check", "consume", "reserve"])
        return verb, user, new_id(), self.random.randrange(100)

    def ask(self, client, verb, user, identity, units):
        began, tokens = time.monotonic(), {"tokens": units}
        if verb == "check":
            answer = client.check(self.credentials[user], operation="look", units=tokens,
                                  idempotency_id=identity)
        elif verb == "consume":
            answer = client.consume(self.organization, user, self.plan, "look", tokens,
                                    idempotency_id=identity)
        elif verb == "reserve":
            answer = client.reserve(
                self.credentials[user], operation="look", units={"tokens": 50}, detached=True,
                ttl_ms=600_000, idempotency_id=identity)
            answer, hold = answer.decision, answer
        elif verb == "extend":
            answer = client.extend(identity, {"tokens": 50 + units}, {"tokens": 0})
        elif verb == "settle":
            answer = client.settle(identity, tokens)
        else:
            answer = client.cancel(identity)
        if len(self.latencies) < LATENCIES_MAX:
            self.latencies.append((began, time.monotonic() - began))
        self.note(verb, user, identity, units, answer, hold if verb == "reserve" else None)
        self.pending = None

    def note(self, verb, user, identity, units, answer, hold):
        if not answer.allowed:
            if answer.reason_code in PASSING:
                self.refused += 1
            else:
                self.strange.add(f"{verb}: {answer.reason}")
            return
        if verb in ("check", "consume", "settle"):
            self.told[user] += units
        if verb == "reserve":
            self.holds.append((user, hold.id))
        if verb in ("settle", "cancel"):
            self.holds.remove((user, identity))

    def settle(self, found):
        wrong = []
        for user in self.users:
            if found(self.organization, user) != self.told[user]:
                wrong.append(f"{self.organization} {user}: found"
                             f" {found(self.organization, user)}, told {self.told[user]}")
        return wrong

    def ask_again(self):
        """What had no answer: the answer that it had, or would have had."""
        try:
            with Client(self.path, timeout=SECONDS_TO_ANSWER) as client:
                if self.pending:
                    self.ask(client, *self.pending)
        except TollgateError as error:
            self.strange.add(f"{self.pending[0]}, asked again: {error!r}")
        self.pending = None


def serve(kind, arguments, plan, pipe):
    """The client's process: one round for each `go`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client = kind(*arguments, plan)
    while True:
        said = pipe.recv()
        if said[0] == "end":
            return
        if said[0] == "settle":
            pipe.send(client.settle(lambda organization, user: said[1][organization, user]))
        elif said[0] == "go":
            pipe.send({**client.go(said[1], pipe), "refused": client.refused,
                       "strange": sorted(client.strange)})
            client.strange, client.refused = set(), 0
            if isinstance(client, Single):
                client.latencies = []
        elif said[0] == "again":
            if isinstance(client, Single):
                client.ask_again()
            pipe.send(sorted(client.strange))
            client.strange = set()
        # "stop" ends a round, if it still went on.
