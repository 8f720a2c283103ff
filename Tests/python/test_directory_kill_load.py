"""A hundred kills at random instants while changes of every kind are under way: what was
acknowledged is there, what was not is there wholly or not at all (RELIABILITY, D12, R4)."""

import os
import random
import signal
import threading
import time

import directory_world
import hardening
from directory_world import DirectoryDaemon, tables
from tollgate import Client

KILLS = 100
WORKERS = 3
# The exchange of a refresh token is no change of an operator's.
UNLOGGED = ("token.refresh",)


class Worker:
    """Changes an organization of its own, one call after the other, and notes what it was told.

    `facts` is what must stand in the directory; `pending` the call that has no answer yet."""

    def __init__(self, name, daemon, seed):
        self.name, self.random = name, random.Random(seed)
        self.acknowledged, self.kinds = 0, set()
        self.facts, self.secrets, self.lost, self.pending = set(), {}, 0, None
        self.users, self.units = 0, 0
        daemon.done("org.create", id=name, plan="pro_tier")
        daemon.done("user.create", organization=name, id="owner")
        self.facts |= {("plan", "pro_tier"), ("user", "owner", "active")}
        tokens = daemon.done("token.issue", organization=name, user="owner")
        self.refresh, self.session = tokens["refresh_token"], tokens["session"]["id"]
        self.lines = len(daemon.all_of("log.list", organization=name))

    def of(self, kind):
        return sorted(fact for fact in self.facts if fact[0] == kind)

    def next_change(self):
        """The call, its members, the facts that go, and those that come, given the reply."""
        kind = self.random.choice(["create", "suspend", "key", "revoke", "plan", "override",
                                   "refresh", "refresh", "login"])
        mine = {"organization": self.name}
        live = [key for key in self.of("key") if key[2] == "live"]
        if kind == "suspend" and len(self.of("user")) > 1:
            user = self.random.choice([user for user in self.of("user") if user[1] != "owner"])
            call, then = (("suspend", "suspended") if user[2] == "active" else
                          ("resume", "active"))
            return (f"user.{call}", {**mine, "user": user[1]}, {user},
                    lambda _: {("user", user[1], then)})
        if kind == "key":
            return ("key.create", {**mine, "user": "owner"}, set(),
                    lambda reply: {("key", reply["key"]["id"], "live")})
        if kind == "revoke" and live:
            key = self.random.choice(live)
            return ("key.revoke", {**mine, "key": key[1]}, {key},
                    lambda _: {("key", key[1], "revoked")})
        if kind == "plan":
            plan, = self.of("plan")
            to = "free_tier" if plan[1] == "pro_tier" else "pro_tier"
            return ("org.change_plan", {**mine, "plan": to}, {plan}, lambda _: {("plan", to)})
        if kind == "override":
            self.units += 1
            units = self.units
            return ("override.set", {**mine, "limit": "burst", "units": units, "user": "owner"},
                    set(self.of("override")), lambda _: {("override", units)})
        if kind == "refresh":
            return "token.refresh", {"refresh_token": self.refresh}, set(), lambda _: set()
        if kind == "login":
            return ("token.issue", {**mine, "user": "owner"}, set(),
                    lambda reply: {("session", reply["session"]["id"])})
        self.users += 1
        user = f"u{self.users}"
        return ("user.create", {**mine, "id": user}, set(),
                lambda _: {("user", user, "active")})

    def run(self, path):
        """Until the daemon is no more."""
        try:
            with hardening.connect(path) as peer:
                while True:
                    self.pending = self.next_change()
                    call, members, gone, come = self.pending
                    status, reply = directory_world.ask(peer, call, members)
                    assert status == 0, (call, status, reply)
                    self.take(call, gone, come(reply), reply)
        except (ConnectionError, FileNotFoundError):
            pass

    def take(self, call, gone, come, reply):
        self.facts = self.facts - gone | come
        if call == "key.create":
            self.secrets[reply["key"]["id"]] = reply["secret"]
        if call == "token.refresh":
            self.refresh = reply["refresh_token"]
        self.acknowledged += 1
        self.lines += call not in UNLOGGED
        self.kinds.add(call)
        self.pending = None

    def compare(self, found):
        """What stands there is what was acknowledged, with the call under way or without it; goes
        on from it."""
        if self.pending is not None:
            call, _, gone, come = self.pending
            if call in ("key.create", "token.issue"):
                # Its id is known to nobody but the directory.
                new = found - self.facts
                assert len(new) <= 1 and all(
                    fact[0] == ("key" if call == "key.create" else "session") for fact in new)
                self.facts |= new
                self.lines += len(new)
            elif found != self.facts:
                self.facts = self.facts - gone | come(None)
                self.lines += 1
        assert found == self.facts, (self.name, self.pending, found ^ self.facts)

    def go_on(self, daemon, client):
        """Decisions are those of the facts, and the refresh token can be used once more."""
        for _, key, state in self.of("key")[-4:]:
            if key in self.secrets:
                decision = client.check(self.secrets[key], operation="models", dry_run=True)
                plan, = self.of("plan")
                assert decision.allowed == (state == "live"), decision
                assert not decision.allowed or decision.plan == plan[1]
        tokens = daemon.done("token.refresh", refresh_token=self.refresh)
        was_pending = self.pending is not None and self.pending[0] == "token.refresh"
        assert was_pending or not tokens["retried"]
        assert tokens["session"]["id"] == self.session
        assert client.check(tokens["access_token"], operation="models", dry_run=True).allowed
        self.refresh, self.pending = tokens["refresh_token"], None
        return tokens["retried"]


def facts(found, name, session):
    """Of one organization, as the tables have them."""
    def of(table):
        return [row for row in found[table] if row[0] == name]

    made = {("plan", row[1]) for row in of("subscriptions")}
    made |= {("user", row[1], row[3]) for row in of("users")}
    made |= {("key", row[1], "live" if row[-2] is None else "revoked") for row in of("api_keys")}
    made |= {("override", row[3]) for row in of("overrides") if row[1] == "owner"}
    return made | {("session", row[1]) for row in of("refresh_families") if row[1] != session}


def test_what_was_acknowledged_outlives_a_hundred_kills():
    seed = int(os.environ.get("TOLLGATE_SEED", random.randrange(1 << 32)))
    print("seed", seed)
    chance = random.Random(seed)
    # None of the sessions is ended for another's sake: a fast machine begins more than a hundred.
    with DirectoryDaemon(threads=1, directory={"sessions_per_user_max": 1_000}) as daemon:
        workers = [Worker(f"w{index}", daemon, seed + index) for index in range(WORKERS)]
        retried = acknowledged = kills = 0
        # A slow machine answers nothing before some of them: then there are more.
        while kills < KILLS or acknowledged <= KILLS and kills < 10 * KILLS:
            kills += 1
            threads = [threading.Thread(target=one.run, args=[daemon.admin]) for one in workers]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(0.002, 0.06))
            assert daemon.kill() == -signal.SIGKILL
            for thread in threads:
                thread.join()
            found = tables(daemon.database)
            directory_world.check_families(found)
            for worker in workers:
                worker.compare(facts(found, worker.name, worker.session))
                assert worker.lines == [row[4] for row in found["admin_log"]].count(worker.name)
            daemon.start()
            with Client(daemon.data, timeout=20) as client:
                retried += sum(worker.go_on(daemon, client) for worker in workers)
            acknowledged = sum(worker.acknowledged for worker in workers)
        kinds = set().union(*(worker.kinds for worker in workers))
        print(f"{kills} kills, {acknowledged} acknowledged, {retried} rotations found made")
        assert acknowledged > KILLS and len(kinds) == 9, kinds
        assert daemon.stop() == 0
