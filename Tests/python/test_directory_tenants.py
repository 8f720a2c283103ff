"""Tenants are apart: whatever is asked for one of them, with whatever ids of another, nothing of
another comes back, nothing of another changes, and its ids look like ids of nobody."""

import base64
import json
import os
import random

import pytest
from directory_daemon import (
    directory,  # noqa: F401, a fixture
    start_directory,  # noqa: F401, a fixture
)
from directory_flood import call_frame
from hardening import connect, read_reply
from tollgate import wire

TENANTS, STEPS = 5, 700
FOREIGN = 0.35
LIMITS = ["burst", "monthly_calls", "monthly_tokens"]


class Tenant:
    """An organization whose every text holds a mark that nothing else does. `ids`: what was made
    for it, by kind."""

    def __init__(self, number, source, personal=False):
        self.mark = f"q{number}x{source.randrange(16**8):08x}"
        self.personal = personal
        self.id = f"org-{self.mark}"
        # What no one else may ever see of it: its texts, and ids that the daemon made up.
        self.own = {self.mark}
        self.ids = {"user": [self.id] if personal else [], "key": [], "session": [], "jti": []}
        self.secrets, self.accesses = [], []
        # Another's ids that it had revoked as its own, and is shown again: for tokens of issuers
        # that are served by their claims.
        self.told = ""

    def name(self, source, what):
        return f"{what}-{self.mark}-{source.randrange(10_000)}"

    def learn(self, reply):
        """What a reply to a call for it made."""
        for kind in ("user", "key", "session"):
            made = reply.get(kind)
            if made and made["id"] not in self.ids[kind]:
                self.ids[kind].append(made["id"])
                self.own.add(made["id"])
        if "secret" in reply:
            self.secrets.append(reply["secret"])
        if "access_token" in reply:
            self.accesses.append(reply["access_token"])
            jti = json.loads(payload(reply["access_token"]))["jti"]
            self.ids["jti"].append(jti)
            self.own.add(jti)


def payload(token):
    part = token.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


# Of each call that acts for an organization: what it takes beside it. Ids may be another's.
CALLS = {
    "org.show": (), "org.rename": ("name",), "org.change_plan": ("plan", "preview?"),
    "org.cancel_plan_change": (), "org.set_subscription": ("time_zone",),
    "user.create": ("new",), "user.list": ("page",), "user.show": ("user",),
    "user.rename": ("user", "name"), "user.set_role": ("user", "role"),
    "user.suspend": ("user",), "user.resume": ("user",), "user.delete": ("user",),
    "key.create": ("user", "name"), "key.list": ("user?", "page"), "key.show": ("key",),
    "key.rotate": ("key",), "key.edit": ("key", "name"), "key.revoke": ("key",),
    "token.issue": ("user",), "session.list": ("user", "page"), "session.show": ("session",),
    "session.revoke": ("session",), "revoke.token": ("jti",), "revoke.user": ("user",),
    "revoke.list": ("page",), "override.set": ("limit", "units", "user?"),
    "override.remove": ("limit", "user?"), "override.list": ("page",), "log.list": ("page",),
}
# Made more often, so that there is something to find.
WEIGHTS = [8 if call in ("user.create", "key.create", "token.issue", "user.resume") else
           0.3 if call in ("user.delete", "revoke.user") else 2 for call in CALLS]


class Walk:
    """Random callers and calls; each reply is looked through."""

    def __init__(self, daemon, source):
        self.daemon, self.source = daemon, source
        self.tenants = [Tenant(number, source, number == TENANTS - 1)
                        for number in range(TENANTS)]
        self.peer, self.data = connect(daemon.admin), connect(daemon.data)
        self.cursors, self.refused, self.done = {}, 0, 0
        for one in self.tenants:
            self.ask(one, {"call": "org.create", "id": one.id, "name": one.name(source, "org"),
                           "personal": one.personal, "plan": "pro_tier"})
            if not one.personal:
                self.ask(one, {"call": "user.create", "organization": one.id,
                               "id": one.name(source, "user")})
            for call in ("key.create", "token.issue"):
                self.ask(one, {"call": call, "organization": one.id, "user": one.ids["user"][-1]})
        self.records = self.exported()

    def close(self):
        self.peer.close()
        self.data.close()

    def pick(self, tenant, kind):
        """An id of the kind, and whose it is."""
        others = [one for one in self.tenants if one is not tenant]
        whose = self.source.choice(others) if self.source.random() < FOREIGN else tenant
        ids = whose.ids[kind]
        return (self.source.choice(ids), whose) if ids else ("nobody", None)

    def members(self, tenant, takes):
        """What a call is given, and whether an id among it is another's."""
        made, foreign, source = {"organization": tenant.id}, False, self.source
        for what in takes:
            if what[-1] == "?" and source.random() < 0.5:
                continue
            what = what.rstrip("?")
            if what in tenant.ids:
                made[what], whose = self.pick(tenant, what)
                foreign |= whose is not tenant
            elif what == "new":
                made |= {"id": tenant.name(source, "user"), "name": tenant.name(source, "name")}
            elif what == "page":
                made["limit"] = source.choice([1, 2, 1000])
                # A cursor of whomever: it is a place, and gives nobody's right.
                if self.cursors and source.random() < 0.4:
                    made["after"] = source.choice(list(self.cursors.values()))
            else:
                made[what] = {
                    "name": tenant.name(source, "name"), "units": source.randrange(1, 60),
                    "plan": source.choice(["free_tier", "pro_tier"]), "preview": True,
                    "limit": source.choice(LIMITS), "role": source.choice(["member", "owner"]),
                    "time_zone": source.choice(["UTC", "Europe/Berlin"])}[what]
        return made, foreign

    def ask(self, tenant, request):
        """Status and object or detail; nothing of another tenant in it that was not asked with."""
        self.peer.sendall(call_frame(**request))
        _, status, _, body = read_reply(self.peer)
        self.look(tenant, body, json.dumps(request))
        reply = body.decode() if status else json.loads(body)
        if status == 0:
            tenant.learn(reply)
            if reply.get("next"):
                self.cursors[tenant.mark, request["call"]] = reply["next"]
        return status, reply

    def look(self, tenant, body, asked=""):
        text, known = body.decode("utf-8", "replace"), asked + tenant.told
        for other in self.tenants:
            if other is not tenant:
                leaked = [one for one in other.own if one in text and one not in known]
                assert not leaked, (leaked, asked, text)

    def step(self):
        tenant, source = self.source.choice(self.tenants), self.source
        call, = source.choices(list(CALLS), WEIGHTS)
        members, foreign = self.members(tenant, CALLS[call])
        # With an unknown jti or user those revoke what may be of another issuer.
        may_pass = call in ("revoke.token", "revoke.user")
        status, reply = self.ask(tenant, {"call": call, **members})
        assert status in (0, 16, 17, 18, 19), (status, call, reply)
        if foreign:
            assert may_pass or status in (16, 18, 19), (call, members, reply)
            if may_pass:
                tenant.told += json.dumps(members)
            self.refused += 1
        self.done += status == 0
        now = self.exported()
        changed = {one for one in now | self.records if one not in now or one not in self.records}
        assert {whose for whose, _ in changed} <= {tenant.id}, (call, members, changed)
        assert not changed or not foreign or may_pass, (call, members, changed)
        self.records = now

    def exported(self):
        """All records, each with whose it is; without the use of keys, which is noted later."""
        return {
            (one["id"] if one["type"] == "organization" else one["organization"],
             json.dumps({**one, "last_used_at": None}, sort_keys=True))
            for one in self.daemon.admins.directory.export_records()}

    def decide(self):
        """CHECK with a credential of somebody, and USAGE and CONSUME about them."""
        tenant = self.source.choice(self.tenants)
        user = self.pick(tenant, "user")[0]
        question = dict(operation="chat", explain=True)
        frames = [(wire.CHECK, wire.check_body(one, **question)) for one in (
            self.source.choice(tenant.secrets), *tenant.accesses[-1:])]
        frames += [
            (wire.USAGE, wire.usage_body(tenant.id, user, "", tenant.personal)),
            (wire.CONSUME, wire.consume_body(
                tenant.id, user, "pro_tier", "chat", {"tokens": 1}, personal=tenant.personal))]
        self.data.sendall(b"".join(
            wire.frame(opcode, 1, body) for opcode, body in frames))
        for _ in frames:
            _, status, _, body = read_reply(self.data)
            assert status == 0
            self.look(tenant, body, user)


def test_nothing_of_another_tenant_ever_comes_back(directory):  # noqa: F811, the fixture
    seed = int(os.environ.get("SEED", 0)) or int.from_bytes(os.urandom(4), "little")
    print("seed", seed)
    walk = Walk(directory, random.Random(seed))
    for number in range(STEPS):
        walk.step()
        if number % 3 == 0:
            walk.decide()
    assert walk.refused > STEPS / 10 and walk.done > STEPS / 3
    # Tokens say nothing of others either, and every list holds all that is its tenant's alone.
    for tenant in walk.tenants:
        for token in tenant.accesses:
            walk.look(tenant, payload(token))
        for call in ("user.list", "key.list", "override.list", "revoke.list", "log.list"):
            status, reply = walk.ask(tenant, {
                "call": call, "organization": tenant.id, "limit": 1000})
            assert status == 0
            assert {one["organization"] for one in reply["items"]} <= {tenant.id}
    walk.close()


class Apart:
    """acme, whose ids are asked for, and beta, for which they are asked."""

    def __init__(self, daemon):
        self.daemon = daemon
        admin = daemon.admins
        for organization in ("acme", "beta"):
            admin.organizations.create(organization, plan="pro_tier")
        admin.users.create("beta", "bob")

    def replies(self, ids):
        """Of every call for beta with these ids: status and detail, to the byte."""
        with connect(self.daemon.admin) as peer:
            for call, members in self.calls(ids):
                peer.sendall(call_frame(call, organization="beta", **members))
                _, status, _, body = read_reply(peer)
                yield call, json.dumps(members), status, body

    @staticmethod
    def calls(ids):
        for call in ("user.show", "user.suspend", "user.resume", "user.delete", "token.issue",
                     "session.list", "key.create", "key.list"):
            yield call, {"user": ids["user"]}
        yield "user.rename", {"user": ids["user"], "name": "x"}
        yield "user.set_role", {"user": ids["user"], "role": None}
        for call in ("key.show", "key.rotate", "key.revoke", "key.edit"):
            yield call, {"key": ids["key"]}
        for call in ("session.show", "session.revoke"):
            yield call, {"session": ids["session"]}
        yield "override.set", {"limit": "burst", "units": 1, "user": ids["user"]}
        yield "override.remove", {"limit": "burst", "user": ids["user"]}
        yield "override.remove", {"limit": "burst"}
        for call in ("user.list", "override.list", "revoke.list"):
            yield call, {}


def test_an_id_of_another_tenant_looks_to_the_byte_like_one_of_nobody(directory):  # noqa: F811
    apart, admin = Apart(directory), directory.admins
    nobody = {"user": "ada", "key": "k" * 16, "session": "s" * 22}
    before = [(call, status, body) for call, _, status, body in apart.replies(nobody)]
    admin.users.create("acme", "ada")
    admin.overrides.set("acme", "burst", 7)
    admin.overrides.set("acme", "burst", 9, user="ada")
    key, tokens = admin.keys.create("acme", "ada"), admin.tokens.issue("acme", "ada")
    admin.revoke.token("acme", "their-jti")
    theirs = {"user": "ada", "key": key.key.id, "session": tokens.session.id}
    after = [(call, status, body) for call, _, status, body in apart.replies(theirs)]
    assert after == before
    refused = {call for call, status, _ in before if status == 16}
    assert len(refused) == 18 and {status for _, status, _ in before} == {0, 16}
    # What beta revokes is beta's: names, sessions and tokens of acme go on.
    jti = json.loads(payload(tokens.access_token))["jti"]
    admin.revoke.token("beta", jti)
    admin.revoke.user("beta", "ada")
    for credential in (key.secret, tokens.access_token):
        assert directory.decide(credential) == "pro_tier"
    assert not admin.tokens.refresh(tokens.refresh_token).retried


@pytest.mark.parametrize("opcode", ["usage", "consume"])
def test_what_one_tenant_used_does_not_count_for_another(directory, opcode):  # noqa: F811
    Apart(directory)
    admin, callers = directory.admins, directory.callers
    for organization in ("acme", "beta"):
        admin.users.create(organization, "same")
    secrets = {one: admin.keys.create(one, "same").secret for one in ("acme", "beta")}
    for count in range(1, 6):
        directory.decide(secrets["acme"])
        if opcode == "consume":
            callers.consume("acme", "same", "pro_tier", "chat", {"tokens": 100})
        used = {one.name: one.used for one in callers.usage("acme", "same").limits}
        assert used["monthly_calls"] == count
        other = {one.name: one.used for one in callers.usage("beta", "same").limits}
        assert set(other.values()) <= {0}
    assert directory.decide(secrets["beta"]) == "pro_tier"
