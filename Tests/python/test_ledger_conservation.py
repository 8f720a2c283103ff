"""Conservation: what callers were told was charged, what the counters have (with what is closed by
resets), what is exported and what the audit log says are the same sum, to the unit, at every quiet
point of a mixed load, also behind kill -9 and an end (RELIABILITY, C6)."""

import collections
import random
import threading
import time

import audit_daemon as audit
from directory_daemon import Place
from hardening import eventually, token
from ledger_daemon import PLAN, is_gone
from ledger_damage import RESET_PLAN, policy_with
from test_ledger_billing import seeded
from tollgate import Client, TollgateError, new_id

ORGANIZATIONS, PAYERS, ROUNDS = 2, 4, 4
CHARGING = ("check", "consume", "settle")


class Payer:
    """One request after the other, each of which may be made again: by its id, or for it names a
    reservation. `told` are tokens that were charged, `open` the estimates of what is reserved."""

    def __init__(self, number, one, chance):
        self.organization, self.user = f"o{number % ORGANIZATIONS}", f"u{number}"
        self.one, self.chance = one, random.Random(chance.random())
        self.told, self.open, self.ended, self.again = 0, {}, [], []
        self.pending, self.is_over, self.failure = None, False, None

    def run(self):
        self.token = token(self.one, sub=self.user, org=self.organization, plan=PLAN)
        try:
            with Client(self.one.data, timeout=5) as client:
                while not self.is_over:
                    self.ask(client)
        except TollgateError as error:
            self.failure = None if is_gone(error) else error
        except BaseException as failure:
            self.failure = failure

    def ask(self, client):
        self.pending = self.pending or self.next()
        self.pending(client)
        self.pending = None

    def ask_again(self, client):
        """What had no answer when the daemon was killed."""
        before = self.told
        name = self.names
        self.ask(client)
        self.again.append((*name, self.told - before))

    def next(self):
        tokens, more = self.chance.randrange(1 << 20), self.chance.randrange(100)
        identity = new_id()
        about = {"operation": "chat", "units": {"tokens": tokens}, "idempotency_id": identity}
        kinds = ["check", "consume", "reserve", "reserve"]
        kinds += ["extend", "settle", "cancel"] if self.open else []
        kinds += ["settle late"] if self.ended else []
        kind = self.chance.choice(kinds)
        hold = self.chance.choice(sorted(self.open)) if self.open else None

        def check(client):
            assert client.check(self.token, **about).allowed
            self.told += tokens

        def consume(client):
            assert client.consume(self.organization, self.user, PLAN, "chat", {"tokens": tokens},
                                  idempotency_id=identity).allowed
            self.told += tokens

        def reserve(client):
            made = client.reserve(self.token, detached=True, **about)
            assert made.allowed
            self.open[made.id] = tokens

        def extend(client):
            wanted = self.open[hold] + more
            assert client.extend(hold, {"tokens": wanted}, {"tokens": 1}).allowed
            self.open[hold] = wanted

        def settle(client):
            # More than was held, less, or as much.
            actual = max(0, self.open[hold] + self.chance_of[identity])
            assert client.settle(hold, {"tokens": actual}).allowed
            self.told += actual
            del self.open[hold]

        def cancel(client):
            assert client.cancel(hold).allowed
            self.ended.append(hold)
            del self.open[hold]

        def settle_late(client):
            assert client.settle(self.ended[-1], {"tokens": more}).allowed
            self.told += more
            self.ended.pop()

        self.chance_of = {identity: self.chance.choice([0, more, -more])}
        late = self.ended[-1] if kind == "settle late" else hold
        self.names = ((kind, identity) if kind in CHARGING[:2] else ("settle", late or identity))
        return {"check": check, "consume": consume, "reserve": reserve, "extend": extend,
                "settle": settle, "cancel": cancel, "settle late": settle_late}[kind]


class Books:
    """Three accounts of the same tokens, by organization and user."""

    def __init__(self, one, payers):
        self.one, self.payers = one, payers

    def told(self):
        return {(payer.organization, payer.user): payer.told for payer in self.payers}

    def exported(self):
        """Counters and what resets have closed: of users, and of organizations."""
        found = collections.Counter()
        for entry in self.one.admins.closed_usage.list("1970-01", including_open=True):
            if entry.limit in ("user_tokens", "tokens"):
                found[entry.organization, entry.user or ""] += entry.used
        return found

    def audited(self):
        found, first = collections.Counter(), set()
        for record in audit.records(self.one.place, "--decision", "allow"):
            assert record["charges"] or record["repeated"], record
            if record["kind"] in CHARGING and not record["repeated"]:
                first |= {(record["kind"], record[name]) for name in
                          ("idempotency_id", "reservation")}
                found[record["organization"], record["user"]] += sum(
                    charge["weighted"] for charge in record["charges"]
                    if charge["meter"] == "tokens")
        # Killed between the journal and the log, and told after it: there as repeated alone.
        for payer in self.payers:
            for kind, name, units in payer.again:
                if (kind, name.hex()) not in first:
                    found[payer.organization, payer.user] += units
        return found

    def compare(self):
        told = self.told()
        exported = self.exported()
        assert {key: exported[key] for key in told} == told
        sums = collections.Counter()
        held = collections.Counter()
        for payer in self.payers:
            sums[payer.organization] += payer.told
            held[payer.organization] += sum(payer.open.values())
        assert {organization: exported[organization, ""] for organization in sums} == sums
        for organization in sums:
            found = {entry.name: entry.held for entry in
                     self.one.callers.usage(organization, "", self.plan(organization)).limits}
            assert found["tokens"] == held[organization]
        eventually(lambda: self.audited() == told, 10)

    def plan(self, organization):
        return self.one.admins.organizations.show(organization).subscription.plan


def reset(one, organization, plan):
    """Begins its quotas anew."""
    with Client(one.admin, timeout=20) as admin:
        admin.organizations.change_plan(organization, plan, mode="reset")


def test_what_was_charged_is_counted_and_audited_to_the_unit():
    chance, directory = seeded(), Place()
    try:
        with audit.daemon(policy=policy_with(directory), ledger={"durability": "always"}) as one:
            for number in range(ORGANIZATIONS):
                one.admins.organizations.create(f"o{number}", plan=PLAN)
            payers = [Payer(number, one, chance) for number in range(PAYERS)]
            books = Books(one, payers)
            for round in range(ROUNDS):
                live(one, payers, chance, round)
                books.compare()
            assert all(payer.told for payer in payers) and any(payer.open for payer in payers)
            # Of periods that a reset has closed, the most.
            assert sum(entry.used for entry in one.admins.closed_usage.list(
                "1970-01", including_open=True) if not entry.open) > 0
    finally:
        directory.remove()


def live(one, payers, chance, round):
    """Under load, with a reset amid it; then it is quiet, ends, or is killed."""
    for payer in payers:
        payer.is_over = False
    threads = [threading.Thread(target=payer.run) for payer in payers]
    for thread in threads:
        thread.start()
    time.sleep(chance.uniform(0.05, 0.15))
    for number in range(ORGANIZATIONS):
        reset(one, f"o{number}", (RESET_PLAN, PLAN)[round % 2])
    time.sleep(chance.uniform(0.02, 0.1))
    if round % 2:
        one.kill()
    for payer in payers:
        payer.is_over = True
    for thread in threads:
        thread.join()
    if round % 2:
        one.start()
    elif round:
        assert one.stop() == 0
        one.start()
    with Client(one.data, timeout=20) as client:
        for payer in payers:
            assert payer.failure is None, payer.failure
            if payer.pending is not None:
                payer.ask_again(client)
