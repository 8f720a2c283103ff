"""A daemon with a directory, and a small world in it, for the tests of what a directory keeps."""

import json
import os
import pathlib
import shutil
import sqlite3
import tempfile
import time

import conftest
import hardening
from tollgate import wire

PRO = "limit: 1000, period: month}\n  open_tier:"
FREE = """limit: 1000, period: month}
  free_tier:
    rate_limits: {burst: {scope: user, limit: 600, window: 1s}}
    quotas:
      monthly_tokens:
        {scope: organization, meter: tokens, limit: 1000, period: month, credits: true}
  open_tier:"""
TAKES = "limit: 1000, period: month, credits: true}\n"
# Checks come as fast as they like.
POLICY = conftest.POLICY.replace("limit: 5,", "limit: 500,").replace(
    PRO, FREE.replace("limit: 1000, period: month}\n", TAKES, 1))
GRACE = "60s"


class DirectoryDaemon(conftest.Daemon):
    """With a directory in `state`, which is kept when the daemon is removed if it was given.

    `tokens` is the policy's section, by its names; `None` is none. `directory` adds to its own."""

    def __init__(self, *, state=None, settings=None, tokens=(), directory=(), **options):
        self.owns_state = state is None
        self.state = pathlib.Path(state or new_state())
        uid = os.geteuid()
        roles = {"issue": {"users": [uid]}, "admin": {"users": [uid]}}
        sections = {"directory": {
            "path": str(self.state / "directory"),
            "peppers": [{"generation": 1, "file": str(self.state / "pepper")}], **dict(directory)}}
        if tokens is not None:
            sections["tokens"] = {"issuer": "https://tollgate.example.com",
                                  "refresh_grace": GRACE, **dict(tokens)}
        # JSON is YAML.
        text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in sections.items())
        super().__init__(policy=POLICY + text, settings={"roles": roles, **(settings or {})},
                         **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    @property
    def database(self):
        return self.state / "directory/directory.sqlite"

    def call(self, name, /, **members):
        return call(self.admin, name, **members)

    def done(self, name, /, **members):
        status, reply = self.call(name, **members)
        assert status == 0, (name, status, reply)
        return reply

    def all_of(self, name, /, **members):
        """Of a list, from its beginning to its end."""
        items, after = [], None
        while True:
            part = self.done(name, after=after, **members)
            items += part["items"]
            after = part["next"]
            if after is None:
                return items

    def kill(self):
        self.process.kill()
        return self.ended()

    def ended(self):
        code = self.process.wait(20)
        self.log.close()
        return code

    def remove(self):
        super().remove()
        if self.owns_state:
            shutil.rmtree(self.state)


def new_state(pepper=None):
    state = pathlib.Path(tempfile.mkdtemp(prefix="tgd", dir="/tmp"))
    (state / "directory").mkdir(mode=0o700)
    secret = state / "pepper"
    secret.write_bytes(pepper or os.urandom(32))
    secret.chmod(0o600)
    return state


def copied(state):
    copy = pathlib.Path(tempfile.mkdtemp(prefix="tgd", dir="/tmp"))
    shutil.copytree(state, copy, dirs_exist_ok=True)
    return copy


def ask(peer, name, members):
    """One CALL on a connection: its status, and the document or the detail."""
    body = json.dumps({"call": name, **members}).encode()
    peer.sendall(wire.frame(wire.CALL, 7, body))
    _, status, _, answer = hardening.read_reply(peer)
    return status, json.loads(answer) if status == 0 else answer.decode()


def call(path, name, /, **members):
    with hardening.connect(path) as peer:
        return ask(peer, name, members)


class World:
    """What stands in the directory, and the secrets of its keys and tokens."""

    def __init__(self, daemon):
        done, self.keys, self.tokens = daemon.done, {}, {}
        first, = done("signing_key.list")["items"]
        self.first_key = first["id"]
        done("signing_key.add", id="second")
        done("signing_key.promote", id="second")
        done("signing_key.add", id="spare")
        for organization in ("acme", "beta"):
            done("org.create", id=organization, plan="pro_tier")
        done("org.create", id="eve", personal=True, plan="pro_tier")
        done("org.create", id="idle")
        for organization, user in (("acme", "ada"), ("acme", "bob"), ("acme", "dora"),
                                   ("beta", "ben"), ("idle", "ida"), ("eve", "eve")):
            if user != "eve":
                done("user.create", organization=organization, id=user)
            made = done("key.create", organization=organization, user=user)
            self.keys[user] = made["secret"]
            setattr(self, f"{user}_key", made["key"]["id"])
        for user in ("ada", "bob"):
            self.tokens[user] = done("token.issue", organization="acme", user=user)
        self.session = self.tokens["ada"]["session"]["id"]
        # Two generations behind: its return is a theft.
        stolen = self.tokens["stolen"] = done("token.issue", organization="acme", user="ada")
        spent = done("token.refresh", refresh_token=stolen["refresh_token"])
        self.tokens["spent"] = spent
        self.theft = {"refresh_token": stolen["refresh_token"]}
        self.tokens["last"] = done("token.refresh", refresh_token=spent["refresh_token"])
        done("user.suspend", organization="acme", user="dora")
        done("org.suspend", organization="idle")
        done("override.set", organization="acme", user="ada", limit="burst", units=7)
        done("credit.grant", organization="acme", quota="monthly_tokens", units=7, id="old")
        done("org.change_plan", organization="beta", plan="free_tier", when="period_end")
        done("revoke.token", organization="acme", jti="some-token")

    def changes(self):
        """Every call that changes something, in each of its forms: the members of each."""
        acme, ada = {"organization": "acme"}, {"organization": "acme", "user": "ada"}
        plan = {**acme, "plan": "free_tier"}
        key = {**acme, "key": self.ada_key}
        refresh = {"refresh_token": self.tokens["ada"]["refresh_token"]}
        return [
            ("org.create", {"id": "new", "plan": "pro_tier"}),
            ("org.create", {"id": "zoe", "personal": True, "plan": "free_tier"}),
            ("org.rename", {**acme, "name": "Acme 2"}),
            ("org.suspend", acme),
            ("org.resume", {"organization": "idle"}),
            ("org.delete", acme),
            ("org.change_plan", plan),
            ("org.change_plan", {**plan, "mode": "prorate"}),
            ("org.change_plan", {**plan, "mode": "reset"}),
            ("org.change_plan", {**plan, "when": "period_end"}),
            ("org.change_plan", {**plan, "organization": "idle"}),
            ("org.cancel_plan_change", {"organization": "beta"}),
            ("org.set_subscription", {**acme, "status": "canceled"}),
            ("user.create", {**acme, "id": "cy"}),
            ("user.rename", {**ada, "name": "Ada 2"}),
            ("user.set_role", {**ada, "role": None}),
            ("user.suspend", ada),
            ("user.resume", {**acme, "user": "dora"}),
            ("user.delete", ada),
            ("key.create", ada),
            ("key.rotate", {**key, "overlap_seconds": 0}),
            ("key.edit", {**key, "permissions": [], "name": "edited"}),
            ("key.revoke", key),
            ("token.issue", ada),
            ("token.refresh", refresh),
            ("token.refresh", self.theft),
            ("session.end", refresh),
            ("session.revoke", {**acme, "session": self.session}),
            ("revoke.token", {**acme, "jti": "another"}),
            ("revoke.user", ada),
            ("revoke.organization", acme),
            ("override.set", {**acme, "user": "bob", "limit": "burst", "units": 3}),
            ("override.set", {**acme, "limit": "monthly_tokens", "units": 5}),
            ("override.remove", {**ada, "limit": "burst"}),
            ("credit.grant", {**acme, "quota": "monthly_tokens", "units": 3, "id": "new"}),
            ("credit.void", {**acme, "id": "old"}),
            ("signing_key.add", {"id": "third"}),
            ("signing_key.add", {}),
            ("signing_key.promote", {"id": "spare"}),
            ("signing_key.retire", {"id": "spare"}),
            ("directory.import", {"records": RECORDS}),
        ]

    def reads(self):
        """Every other call, and one that changes no row."""
        acme, ada = {"organization": "acme"}, {"organization": "acme", "user": "ada"}
        return [
            ("org.list", {}), ("org.show", acme), ("user.list", acme), ("user.show", ada),
            ("key.list", acme), ("key.show", {**acme, "key": self.ada_key}),
            ("session.list", ada), ("session.show", {**acme, "session": self.session}),
            ("revoke.list", acme), ("override.list", acme), ("credit.list", acme),
            ("signing_key.list", {}),
            ("plan.list", {}), ("plan.show", {"plan": "pro_tier"}), ("log.list", {}),
            ("directory.status", {}), ("directory.export", {}),
        ]

    def decisions(self, client):
        """On every credential there is, as a table that two daemons can be compared by."""
        credentials = {f"key of {user}": secret for user, secret in self.keys.items()}
        credentials |= {f"token of {name}": tokens["access_token"]
                        for name, tokens in self.tokens.items()}
        found = {}
        for name, credential in credentials.items():
            for operation in ("models", "chat"):
                one = client.check(credential, operation=operation, dry_run=True)
                found[name, operation] = (
                    one.reason, one.organization, one.plan, one.rate_limit and one.rate_limit.limit,
                    one.quota and one.quota.limit)
        return found


THEN = 1_700_000_000_000
RECORDS = [
    {"type": "organization", "id": "moved", "name": "moved", "personal": False,
     "status": "active", "created_at": THEN, "subscription": {
         "plan": "pro_tier", "status": "active", "anchor_at": THEN, "time_zone": "UTC",
         "since_at": THEN, "pending": None}},
    {"type": "user", "organization": "moved", "id": "mia", "name": "mia", "role": "owner",
     "status": "active", "created_at": THEN},
    {"type": "override", "organization": "moved", "user": "mia", "limit": "burst", "units": 9,
     "expires_at": None},
    {"type": "revocation", "organization": "moved", "personal": False, "kind": "token",
     "subject": "jti", "at": THEN, "expires_at": int(time.time()) * 1_000 + 3_600_000},
]


def tables(database):
    """Every row of every table of a copy, once it is sound; nobody has the file open."""
    with tempfile.TemporaryDirectory() as folder:
        for name in (database.name, database.name + "-journal"):
            if (database.parent / name).exists():
                shutil.copy(database.parent / name, folder)
        copy = sqlite3.connect(f"{folder}/{database.name}")
        try:
            assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert copy.execute("PRAGMA foreign_key_check").fetchall() == []
            names = [name for name, in copy.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")]
            return {name: copy.execute(f"SELECT * FROM {name}").fetchall() for name in names}
        finally:
            copy.close()


def check_families(found):
    """Of a session that was not ended, exactly one refresh token can be used (R4)."""
    unspent = [row[1:3] for row in found["refresh_tokens"] if row[-1] is None]
    for row in found["refresh_families"]:
        assert unspent.count(row[:2]) == 1 or row[-1] is not None, row[:2]


def fault(step, times=1):
    return {"TOLLGATE_FAULT_STEP": f"{step}:{times}"}
