"""A real daemon with a directory, and what the tests of customers' lives do with it."""

import base64
import dataclasses
import json
import os
import pathlib
import shutil
import tempfile
import time

import pytest
from conftest import Daemon
from tollgate import Client

POLICY = """
version: 1
meters: [calls, tokens]
operations:
  chat: {permission: can_use_gpt4o, charges: {calls: {units: 1}, tokens: {units: 0}}}
  batch: {permission: can_access_batch_api}
  models: {}
plans:
  free_tier:
    rate_limits: {burst: {scope: user, limit: 4, window: 1m}}
    quotas:
      monthly_calls: {scope: user, limit: 5, period: month}
      monthly_tokens: {scope: organization, meter: tokens, limit: 100, period: month}
  pro_tier:
    permissions: [can_use_gpt4o]
    rate_limits: {burst: {scope: user, limit: 60, window: 1m, override_max: 600}}
    quotas:
      monthly_calls: {scope: user, limit: 500, period: month}
      monthly_tokens: {scope: organization, meter: tokens, limit: 1000, period: month}
  enterprise_tier: {permissions: [can_use_gpt4o, can_access_batch_api]}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
reveal_credential_failures: true
invalid_credentials: {limit: 1000000, window: 1s}
"""
DAY = 86_400_000
TOKENS = {"issuer": "https://tollgate.example.com"}


class Place:
    """Where a directory and its pepper stand, beside any daemon: what is left of one."""

    def __init__(self, pepper=None):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="tgd", dir="/tmp"))
        self.directory = self.path / "directory"
        self.directory.mkdir(mode=0o700)
        self.pepper = pepper or os.urandom(32)
        key = self.path / "pepper.key"
        key.write_bytes(base64.urlsafe_b64encode(self.pepper).rstrip(b"="))
        key.chmod(0o600)

    def policy(self, tokens):
        parts = {
            "directory": {
                "path": str(self.directory),
                "sessions_per_user_max": 1_000,
                "peppers": [{"generation": 1, "file": str(self.path / "pepper.key")}]},
            "tokens": {**TOKENS, **tokens}}
        return POLICY + "".join(f"{key}: {json.dumps(part)}\n" for key, part in parts.items())

    def remove(self):
        shutil.rmtree(self.path)


class DirectoryDaemon(Daemon):
    """`tokens` are settings of the policy's section of that name."""

    def __init__(self, place, *, tokens=None, **options):
        self.place = place
        super().__init__(policy=place.policy(tokens or {}), **options)
        self.admins = Client(self.admin, timeout=20)
        self.callers = Client(self.data, timeout=20)

    def die_and_start_again(self):
        """As kill -9 leaves it."""
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.start()

    def decide(self, credential, operation="chat", **question):
        """The decision in a word: the plan that allows it, or the reason."""
        decision = self.callers.check(credential, operation=operation, **question)
        return decision.plan if decision.allowed else decision.reason

    def remove(self):
        self.admins.close()
        self.callers.close()
        super().remove()


def everything(client):
    """All that the directory says of itself but when keys were used, which may be a little old
    after a kill."""
    organizations = list(client.organizations.list())
    said = [*organizations, *client.log.list(), *client.signing_keys.list(),
            client.directory.status()]
    for one in organizations:
        users = list(client.users.list(one.id))
        said += [*users, *client.overrides.list(one.id), *client.revoke.list(one.id)]
        said += [dataclasses.replace(key, last_used_at=None) for key in client.keys.list(one.id)]
        for user in users:
            said += client.sessions.list(one.id, user.id)
    return said


def now():
    return time.time_ns() // 1_000_000


def sign_up(daemon, organization="acme", user="ada", plan="pro_tier"):
    """A customer with one key and one login."""
    admin = daemon.admins
    admin.organizations.create(organization, plan=plan)
    admin.users.create(organization, user, role="owner")
    return (admin.keys.create(organization, user),
            admin.tokens.issue(organization, user))


def after_a_kill(daemon):
    """That nothing of what the daemon had said is otherwise when it starts again."""
    before = everything(daemon.admins)
    daemon.die_and_start_again()
    assert everything(daemon.admins) == before


def claims(token):
    """Of an access token, unverified."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def header(token):
    part = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def refused(error, make):
    """The detail of the refusal that `make` meets."""
    try:
        made = make()
        if hasattr(made, "page"):
            list(made)
    except error as refusal:
        assert type(refusal) is error
        return refusal.detail
    raise AssertionError(f"not refused: {made}")


@pytest.fixture
def start_directory():
    """Starts daemons with a directory; `place` begins where another left off."""
    made, places = [], []

    def start(place=None, **options):
        if place is None:
            place = Place()
        if place not in places:
            places.append(place)
        made.append(DirectoryDaemon(place, **options))
        return made[-1]

    yield start
    for one in made:
        if one.process.returncode is None:
            assert one.process.poll() is None, "the daemon died: " + one.logged()
            assert one.stop() == 0
        one.remove()
    for one in places:
        one.remove()


@pytest.fixture
def directory(start_directory):
    return start_directory()
