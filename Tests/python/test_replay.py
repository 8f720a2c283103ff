"""What another policy would have decided: the log of a real daemon, run through two policies."""

import json
import random
import threading

import audit_daemon as audit
import test_daemon
from hardening import eventually
from tollgate import Client

POLICY = """
version: 1
meters: [calls, tokens]
operations:
  chat: {charges: {calls: {units: 1}, tokens: {units: 0, weight: 2}}}
  batch: {permission: can_batch, charges: {calls: {units: 1}}}
plans:
  pro_tier:
    rate_limits:
      per_second: {scope: user, limit: 30, window: 1s}
      tokens_per_second: {scope: organization, meter: tokens, limit: 3000, window: 1s, mode: smooth}
    quotas:
      daily: {scope: user, limit: 80, period: day}
      tokens: {scope: organization, meter: tokens, limit: 4000, period: month}
    concurrency: {open: {scope: user, limit: 3}}
    prices: {tokens: 5}
  free_tier:
    permissions: [can_batch]
    quotas: {calls: {scope: organization, limit: 15, period: total}}
address_limits: {address: {limit: 90, window: 1s}}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
"""


def traffic(daemon, number, count=250):
    """Everything that a log tells of, by one client; verdicts in its order."""
    source = random.Random(number)
    told = []
    with Client(daemon.data, timeout=20) as client:
        for _ in range(count):
            plan = source.choice(["pro_tier"] * 4 + ["free_tier"])
            secret = test_daemon.pyjwt_token(
                daemon, sub=f"u{source.randrange(4)}", org=f"o{source.randrange(2)}", plan=plan)
            units = {"tokens": source.randrange(40)}
            address = f"192.0.2.{source.randrange(2)}"
            # All that is drawn, before anything is asked: what follows does not depend on it.
            what, more, least = source.randrange(10), source.randrange(80), source.randrange(60)
            ends = source.randrange(16)
            if what == 0:
                told.append(client.check(secret, operation="batch", address=address).reason)
            elif what == 1:
                told.append(client.consume("o1", "u1", "pro_tier", "chat", units).reason)
            elif what == 2:
                told.append(client.check("nonsense", operation="chat", address=address).reason)
            elif what < 6:
                hold = client.reserve(secret, operation="chat", units=units, address=address)
                told.append(hold.decision.reason)
                if hold.decision.allowed:
                    if hold.extend({"tokens": more}) and ends < 4:
                        hold.cancel()
                    elif ends > 4:
                        hold.settle({"tokens": least})
            else:
                told.append(client.check(
                    secret, operation="chat", units=units, address=address,
                    dry_run=ends == 0).reason)
    return told


def replay(daemon, new, code, *more):
    return json.loads(audit.tollgate(
        "policy", "diff", daemon.policy, new, "--replay", daemon.place.audit, "--json", *more,
        code=code))


def other(daemon, old, new):
    """The daemon's policy with something else in it."""
    text = daemon.policy.read_text()
    assert text.count(old) == 1, old
    path = daemon.policy.with_name("other.yaml")
    path.write_text(text.replace(old, new))
    return path


def test_an_unchanged_policy_makes_every_recorded_decision():
    with audit.daemon(threads=2, policy=POLICY) as daemon:
        threads = [threading.Thread(target=traffic, args=(daemon, n)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert daemon.stop() == 0
        recorded = audit.records(daemon.place)
        assert len({one["reason"] for one in recorded}) >= 5, {one["reason"] for one in recorded}
        found = replay(daemon, daemon.policy, 0)
        assert found["decisions"] == len(recorded) and found["differences"] == 0
        assert set(found["not_judged"].values()) == {0}, found
        assert found["quotas_begun_before"] == found["quotas_changed_between"] == 0, found
        assert found["judged"] > len(recorded) // 2
        # A higher price changes nobody's verdict; a permission that is gone does.
        stricter = other(daemon, "permissions: [can_batch]", "permissions: []")
        lost = replay(daemon, stricter, 1)["changes"]
        allowed = [one for one in recorded
                   if one["operation"] == "batch" and one["verdict"] == "allow"]
        denied = [one for one in lost if one["now"] == "refused"]
        assert [(one["reason"], one["decisions"]) for one in denied] == [
            ("permissionDenied", len(allowed))]


def test_a_lower_quota_refuses_what_a_daemon_with_it_refuses():
    quota = "limit: 4000, period: month"
    policy = POLICY.replace("limit: 30,", "limit: 30000,").replace(
        "limit: 3000,", "limit: 3000000,").replace("limit: 90,", "limit: 9000000,")
    lower = policy.replace(quota, quota.replace("4000", "1500"))
    with audit.daemon(policy=policy) as daemon, audit.daemon(policy=lower) as second:
        was, would = traffic(daemon, 7), traffic(second, 7)
        assert daemon.stop() == 0
        found = replay(daemon, other(daemon, quota, quota.replace("4000", "1500")), 1)
    assert len(was) == len(would) and set(found["not_judged"].values()) == {0}
    first = sum(a == "none" and b != "none" for a, b in zip(was, would))
    refused = [one for one in found["changes"] if one["now"] == "refused"]
    assert first > 10 and all(one["limit"] == "tokens" for one in refused), (first, refused)
    extends = sum(one["decisions"] for one in refused) - first
    assert extends >= 0, (first, refused)
    assert sum(one["cost_micros"] for one in refused) > 0
    assert refused[0]["organizations"][0]["name"] in ("o0", "o1")


def test_what_the_log_cannot_tell_is_said():
    with audit.daemon(policy=POLICY) as daemon:
        secret = test_daemon.pyjwt_token(daemon, sub="ada", org="acme", plan="free_tier")
        for _ in range(60):
            daemon.callers.check(secret, operation="chat")
        eventually(lambda: len(audit.records(daemon.place)) == 60, 20)
        # A policy that was not the one that decided.
        lie = other(daemon, "limit: 15, period: total", "limit: 5, period: total")
        found = json.loads(audit.tollgate(
            "policy", "diff", lie, daemon.policy, "--replay", daemon.place.audit, "--json"))
        assert found["differences"] == 0
        assert found["not_judged"]["other_numbers"] == 60, found
        assert "cannot be judged" in audit.tollgate(
            "policy", "diff", lie, daemon.policy, "--replay", daemon.place.audit)
