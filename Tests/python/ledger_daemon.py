"""A real daemon with a ledger, what its clients were told, and what it says it has."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from conftest import Daemon
from hardening import as_root
from tollgate import Client, TollgateError, replies, wire

POLICY = """
version: 1
meters: [calls, tokens]
operations:
  chat: {charges: {calls: {units: 1}, tokens: {units: 0}}}
  look: {charges: {tokens: {units: 0}}}
plans:
  pro_tier:
    rate_limits: {burst: {scope: user, limit: 1000000000, window: 1s}}
    quotas:
      user_tokens: {scope: user, meter: tokens, limit: 1000000000000, period: total}
      user_calls: {scope: user, meter: calls, limit: 1000000000000, period: total}
      tokens: {scope: organization, meter: tokens, limit: 1000000000000, period: total}
      calls: {scope: organization, meter: calls, limit: 1000000000000, period: total}
  small_tier:
    quotas: {small_tokens: {scope: organization, meter: tokens, limit: 1000, period: total}}
  windowed_tier:
    rate_limits: {per_hour: {scope: user, meter: tokens, limit: 1000000, window: 1h}}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
"""
PLAN, SMALL = "pro_tier", "small_tier"
SEGMENT_BYTES = 1 << 20


class LedgerPlace:
    """Where a ledger lies, beside any daemon: what is left of one. `size` in bytes: on a disk of
    its own of that size."""

    def __init__(self, size=None):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="tgl", dir="/tmp"))
        self.is_mounted = size is not None
        if self.is_mounted:
            subprocess.run(as_root(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755",
                                    "tmpfs", str(self.path)]), check=True)
            subprocess.run(as_root(["chown", str(os.geteuid()), str(self.path)]), check=True)
        self.ledger = self.path / "ledger"
        self.ledger.mkdir(mode=0o700)

    def policy(self, settings, policy):
        ledger = {"path": str(self.ledger), "segment_bytes": SEGMENT_BYTES, **settings}
        return policy + f"ledger: {json.dumps(ledger)}\n"

    def files(self, kind):
        return sorted(self.ledger.glob(f"{kind}-*"))

    def remove(self):
        if self.is_mounted:
            subprocess.run(as_root(["umount", "-l", str(self.path)]), check=True)
        shutil.rmtree(self.path, ignore_errors=self.is_mounted)


class LedgerDaemon(Daemon):
    """`ledger` are settings of the policy's section of that name."""

    def __init__(self, place, *, ledger=None, policy=POLICY, **options):
        self.place = place
        super().__init__(policy=place.policy(ledger or {}, policy), **options)
        self.admins = Client(self.admin, timeout=120)
        self.callers = Client(self.data, timeout=20)

    def kill(self):
        self.process.kill()
        code = self.process.wait()
        self.log.close()
        return code

    def die_and_start_again(self):
        """As kill -9 leaves it."""
        self.kill()
        self.start()

    def charge(self, organization, user, tokens, *, plan=PLAN, **more):
        return self.callers.consume(organization, user, plan, "chat", {"tokens": tokens}, **more)

    def status(self):
        return self.admins.ledger.status()

    def wait_for_state(self, state, seconds=20):
        from hardening import eventually
        eventually(lambda: self.status().state == state, seconds)

    def remove(self):
        self.admins.close()
        self.callers.close()
        super().remove()


def used(client, organization, user="", plan=PLAN):
    """Units by the name of the limit; of quotas alone."""
    report = client.usage(organization, user, plan)
    return {entry.name: entry.used for entry in report.limits if entry.kind == "quota"}


@contextlib.contextmanager
def daemon(place=None, **options):
    """One for a `with`; it is to end well, unless the test ended it."""
    own = place is None
    place = place or LedgerPlace()
    made = LedgerDaemon(place, **options)
    try:
        yield made
        if made.process.returncode is None:
            assert made.process.poll() is None, "the daemon died: " + made.logged()
            assert made.stop() == 0
    finally:
        made.remove()
        if own:
            place.remove()


@pytest.fixture
def start_ledger():
    """Starts daemons with a ledger; `place` begins where another left off."""
    made, places = [], []

    def start(place=None, **options):
        place = place or LedgerPlace()
        if place not in places:
            places.append(place)
        made.append(LedgerDaemon(place, **options))
        return made[-1]

    yield start
    for one in made:
        if one.process.returncode is None:
            assert one.process.poll() is None, "the daemon died: " + one.logged()
            assert one.stop() == 0
        one.remove()
    for one in places:
        one.remove()


def is_gone(error):
    """Whether the daemon could not be asked, and may have carried out what it was."""
    return isinstance(error, TollgateError) and type(error).__name__ in ("Unreachable", "TimedOut")


class Burst:
    """Charges of one token each, many at a time on one connection; counts what was told."""

    def __init__(self, daemon, organization="acme", user="ada", plan=PLAN):
        self.daemon, self.told, self.reasons = daemon, 0, set()
        self.subject = (organization, user, plan)
        self.peer = None

    def charge(self, count):
        """The decisions' reasons, none for what was allowed; fewer where the daemon went away."""
        from hardening import connect, read_reply
        found = []
        try:
            if self.peer is None:
                self.peer = connect(self.daemon.data)
            body = wire.consume_body(*self.subject, "look", {"tokens": 1})
            for start in range(0, count, wire.IN_FLIGHT_MAX):
                asked = min(wire.IN_FLIGHT_MAX, count - start)
                self.peer.sendall(b"".join(
                    wire.frame(wire.CONSUME, index + 1, body) for index in range(asked)))
                for _ in range(asked):
                    _, status, _, reply = read_reply(self.peer)
                    assert status == 0, (status, reply)
                    found.append(replies.decision(reply).reason)
        except (ConnectionError, OSError):
            self.close()
        self.told += found.count("none")
        self.reasons |= set(found)
        return found

    def until(self, reason, charges_max):
        """Charges until one is answered so; how many it took."""
        made = 0
        while made < charges_max:
            found = self.charge(256)
            assert len(found) == 256, "the daemon went away: " + self.daemon.logged()
            made += len(found)
            if reason in found:
                return made
        raise AssertionError(f"{made} charges, and none was {reason}: {self.reasons}")

    def close(self):
        if self.peer is not None:
            self.peer.close()
        self.peer = None

    def used(self):
        organization, user, plan = self.subject
        with Client(self.daemon.data, timeout=20) as client:
            return used(client, organization, user, plan)["user_tokens"]
