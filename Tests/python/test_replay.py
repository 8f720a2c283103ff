"""What another policy would have decided: the log of a real daemon, run through two policies."""

import collections
import csv
import datetime
import io
import json
import random
import shutil
import subprocess
import threading
import time

import audit_daemon as audit
import pytest
import test_daemon
from fake_clock import FakeClock
from hardening import as_root, eventually
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


def verdict(decision):
    """The reason, and the limit that refused."""
    shown = {"rateLimited": decision.rate_limit, "quotaExhausted": decision.quota}
    limit = shown.get(decision.reason)
    return decision.reason, limit and limit.name


def traffic(daemon, number, count=250, extends=True):
    """Everything that a log tells of, by one client; verdicts in its order. Without `extends` what
    it asks is the same, whatever it is answered."""
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
                told.append(verdict(client.check(secret, operation="batch", address=address)))
            elif what == 1:
                told.append(verdict(client.consume("o1", "u1", "pro_tier", "chat", units)))
            elif what == 2:
                told.append(
                    verdict(client.check("nonsense", operation="chat", address=address)))
            elif what < 6:
                hold = client.reserve(secret, operation="chat", units=units, address=address)
                told.append(verdict(hold.decision))
                if hold.decision.allowed and not extends:
                    hold.cancel() if ends < 4 else hold.settle({"tokens": least})
                elif hold.decision.allowed:
                    if hold.extend({"tokens": more}) and ends < 4:
                        hold.cancel()
                    elif ends > 4:
                        hold.settle({"tokens": least})
            else:
                told.append(verdict(client.check(
                    secret, operation="chat", units=units, address=address,
                    dry_run=ends == 0)))
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
        # What those no longer use lets in others, who may take the room of some that come later.
        denied = {one["reason"]: one["decisions"] for one in lost if one["now"] == "refused"}
        assert denied["permissionDenied"] == len(allowed), lost


def test_a_lower_quota_refuses_what_a_daemon_with_it_refuses():
    quota = "limit: 4000, period: month"
    policy = POLICY.replace("limit: 30,", "limit: 30000,").replace(
        "limit: 3000,", "limit: 3000000,").replace("limit: 90,", "limit: 9000000,")
    lower = policy.replace(quota, quota.replace("4000", "1500"))
    with audit.daemon(policy=policy) as daemon, audit.daemon(policy=lower) as second:
        was, would = (traffic(one, 7, extends=False) for one in (daemon, second))
        assert daemon.stop() == 0
        new = other(daemon, quota, quota.replace("4000", "1500"))
        found = replay(daemon, new, 1)
        listed = list(csv.DictReader(io.StringIO(audit.tollgate(
            "policy", "diff", daemon.policy, new, "--replay", daemon.place.audit,
            "--format", "csv", code=1))))
    assert len(was) == len(would) and set(found["not_judged"].values()) == {0}
    # Exactly what the daemon with the lower quota decided otherwise.
    changed = collections.Counter()
    for (reason, limit), (now, by) in zip(was, would):
        if (reason, limit) != (now, by):
            way = "refused" if reason == "none" else "allowed" if now == "none" else "other_reason"
            changed[(way, *((reason, limit) if now == "none" else (now, by)))] += 1
    assert changed[("refused", "quotaExhausted", "tokens")] > 10, changed
    assert changed == {(one["now"], one["reason"], one["limit"]): one["decisions"]
                       for one in found["changes"]}
    refused = [one for one in found["changes"] if one["now"] == "refused"]
    assert sum(one["cost_micros"] for one in refused) > 0
    assert refused[0]["organizations"][0]["name"] in ("o0", "o1")
    # One row of each, in their order, that come to the same.
    assert changed == collections.Counter(
        (one["now"], one["reason"], one["limit"] or None) for one in listed)
    assert [one["time"] for one in listed] == sorted(one["time"] for one in listed)
    assert sum(int(one["cost_micros"]) for one in listed) == sum(
        one["cost_micros"] for one in found["changes"])


def test_what_the_log_cannot_tell_is_said():
    with audit.daemon(policy=POLICY) as daemon:
        secret = test_daemon.pyjwt_token(daemon, sub="ada", org="acme", plan="free_tier")
        for _ in range(60):
            daemon.callers.check(secret, operation="chat")
        eventually(lambda: len(audit.records(daemon.place)) == 60, 20)
        # A policy that was not the one that decided.
        lie = other(daemon, "limit: 15, period: total", "limit: 5, period: total")
        found = json.loads(audit.tollgate(
            "policy", "diff", lie, daemon.policy, "--replay", daemon.place.audit, "--json",
            code=65))
        assert found["differences"] == 0
        assert found["not_judged"]["other_numbers"] == 60, found
        # Nothing was compared: that is no clean bill.
        assert "cannot be judged" in audit.tollgate(
            "policy", "diff", lie, daemon.policy, "--replay", daemon.place.audit, code=65)


SLOW = POLICY.replace("limit: 30,", "limit: 30000,").replace("limit: 3000,", "limit: 3000000,")
TOKENS = "limit: 4000, period: month"


def asked(daemon, count, operation="chat", units=None, plan="pro_tier"):
    secret = test_daemon.pyjwt_token(daemon, sub="ada", org="acme", plan=plan)
    return [daemon.callers.check(secret, operation=operation, units=units or {})
            for _ in range(count)]


def begin_log_anew(place):
    shutil.rmtree(place.audit)
    place.audit.mkdir(mode=0o700)


def test_a_policy_that_leaves_shadow_refuses_what_it_would_have():
    with audit.daemon(policy="shadow: true\n" + SLOW) as daemon:
        told = asked(daemon, 5, "batch") + asked(daemon, 90)
        assert all(one.allowed for one in told)
        assert daemon.stop() == 0
        would = collections.Counter(
            tuple(one["would_deny"]) for one in audit.records(daemon.place) if one["would_deny"])
        assert would == {("permission",): 5, ("daily",): 15}
        assert replay(daemon, daemon.policy, 0)["judged"] == 95
        found = replay(daemon, other(daemon, "shadow: true\n", ""), 1)
    assert found["not_judged"]["unexplained"] == 0
    # What a permission refuses is not counted: five calls more are in the day's quota.
    assert [(one["reason"], one["limit"], one["decisions"]) for one in found["changes"]] == [
        ("quotaExhausted", "daily", 10), ("permissionDenied", None, 5)]


def test_quotas_that_had_begun_before_the_log_count_what_it_tells():
    shadow = SLOW.replace(TOKENS, TOKENS + ", shadow: true")
    pool = SLOW.replace(TOKENS, TOKENS + ", member_max: 3900")
    for policy, changed in ((shadow, (", shadow: true", "")), (pool, ("4000", "2100"))):
        place = audit.AuditPlace()
        try:
            with audit.daemon(place, policy=policy) as daemon:
                daemon.callers.consume("acme", "ada", "pro_tier", "chat", {"tokens": 1_000})
            begin_log_anew(place)
            with audit.daemon(place, policy=policy) as daemon:
                spent = asked(daemon, 50, units={"tokens": 30})
                assert daemon.stop() == 0
                same = replay(daemon, daemon.policy, 0 if policy is shadow else 65)
                assert same["differences"] == 0
                new = daemon.policy.with_name("new.yaml")
                text = daemon.policy.read_text()
                line = next(line for line in text.splitlines() if "scope: organization, meter: "
                            "tokens" in line and "period: month" in line)
                new.write_text(text.replace(line, line.replace(*changed).replace("3900", "2000")))
                found = replay(daemon, new, 1 if policy is shadow else 65)
            if policy is shadow:
                # 2,000 were used: each that the log marks, and no other.
                would = sum(one.would_deny is not None for one in spent)
                assert would == 17 and found["quotas_begun_before"] == 1, found
                assert [(one["limit"], one["decisions"]) for one in found["changes"]] == [
                    ("tokens", would)]
            else:
                assert found["not_judged"]["begun_before"] == len(spent), found
                assert found["judged"] == 0
        finally:
            place.remove()


def test_units_that_nobody_named_are_those_of_each_policy():
    with audit.daemon(policy=SLOW) as daemon:
        asked(daemon, 30)
        secret = test_daemon.pyjwt_token(daemon, sub="bob", org="acme", plan="pro_tier")
        for _ in range(9):
            hold = daemon.callers.reserve(secret, operation="chat", units={"tokens": 1})
            hold.settle({"tokens": 1})
        assert daemon.stop() == 0
        found = replay(
            daemon, other(daemon, "{calls: {units: 1}, tokens", "{calls: {units: 10}, tokens"), 1)
    # 80 a day are eight of them, held or not.
    users = {one["name"]: one["decisions"] for one in found["changes"][0]["users"]}
    assert len(found["changes"]) == 1 and found["changes"][0]["limit"] == "daily"
    assert users == {"acme/ada": 22, "acme/bob": 1}


def test_a_log_goes_on_when_the_machine_was_started_again():
    later = as_root(["unshare", "--time", "--boottime", "1000000"])
    if subprocess.run([*later, "true"], check=False).returncode:
        pytest.skip("needs a boottime of its own")
    policy = SLOW.replace("limit: 30000,", "limit: 5,")
    place = audit.AuditPlace()
    try:
        with audit.daemon(place, policy=policy, prefix=later) as daemon:
            assert [one.allowed for one in asked(daemon, 6)] == [True] * 5 + [False]
        # Elsewhere the ledger would know that the host was started.
        shutil.rmtree(place.ledger)
        place.ledger.mkdir(mode=0o700)
        with audit.daemon(place, policy=policy) as daemon:
            for _ in range(3):
                time.sleep(1.3)  # A window that nothing but time empties.
                assert [one.allowed for one in asked(daemon, 6)] == [True] * 5 + [False]
            assert daemon.stop() == 0
            found = replay(daemon, daemon.policy, 0)
            assert found["judged"] == 24 and set(found["not_judged"].values()) == {0}, found
            stricter = replay(daemon, other(daemon, "limit: 5,", "limit: 3,"), 1)["changes"]
            assert [(one["limit"], one["decisions"]) for one in stricter] == [("per_second", 8)]
    finally:
        place.remove()


def test_the_order_holds_over_restarts_within_a_second():
    with audit.daemon(policy=SLOW) as daemon:
        for life in range(4):
            if life:
                daemon.die_and_start_again()
            assert all(one.allowed for one in asked(daemon, 18, units={"tokens": 1}))
        asked(daemon, 20)
        assert daemon.stop() == 0
        told = audit.records(daemon.place)
        assert len(told) == 92 and [one["reason"] for one in told[80:]] == ["quotaExhausted"] * 12
        # Of one life the places in the shard go on; the next begins anew.
        begun = [at for at in range(1, 92) if told[at]["order"] < told[at - 1]["order"]]
        assert begun == [18, 36, 54]
        apart = [told[at]["time_ms"] - told[at - 1]["time_ms"] for at in begun]
        assert min(apart) < 1_000, "the daemon starts too slowly for what is tested"
        found = replay(daemon, daemon.policy, 0)
    assert found["judged"] == 92 and found["quotas_changed_between"] == 0, found


def test_the_order_holds_where_the_wall_clock_is_set_back():
    # Ahead at first, so that tokens issued now are never of the future.
    clock = FakeClock(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=250))
    policy = SLOW.replace("limit: 30000,", "limit: 5,")
    try:
        with audit.daemon(policy=policy, environment=clock.environment) as daemon:
            for _ in range(3):
                assert [one.allowed for one in asked(daemon, 6)] == [True] * 5 + [False]
                clock.set(clock.now() - datetime.timedelta(seconds=100))
                time.sleep(1.3)
            assert daemon.stop() == 0
            told = audit.records(daemon.place)
            assert told[6]["time_ms"] < told[5]["time_ms"] - 60_000
            found = replay(daemon, daemon.policy, 0)
            assert found["judged"] == 18, found
            assert (found["quotas_begun_before"], found["quotas_changed_between"]) == (0, 0)
    finally:
        clock.remove()


def test_a_place_without_a_decision_is_no_clean_bill():
    with audit.daemon(policy=POLICY) as daemon:
        assert daemon.stop() == 0
        begin_log_anew(daemon.place)
        audit.tollgate("policy", "diff", daemon.policy, daemon.policy, "--replay",
                       daemon.place.audit, code=66)


def test_a_log_that_is_given_twice_is_refused(tmp_path):
    with audit.daemon() as daemon:
        daemon.charge("acme", "ada", 1)
        assert daemon.stop() == 0
        place = daemon.place.audit
        for second in (place, f"{place}/", audit.copy_of(daemon.place, tmp_path / "copy")):
            done = audit.ended("policy", "diff", daemon.policy, daemon.policy, "--replay", place,
                               second, code=64)
            assert "segment 1 of one log" in done.stderr and done.stdout == ""
        # Of one log, in two places: what was put aside, and what goes on.
        with audit.daemon(daemon.place) as again:
            again.charge("acme", "ada", 1)
            assert again.stop() == 0
        aside = tmp_path / "aside"
        aside.mkdir()
        first, _ = audit.segments(daemon.place)
        first.rename(aside / first.name)
        found = json.loads(audit.tollgate(
            "policy", "diff", daemon.policy, daemon.policy, "--replay", aside, place, "--json"))
        assert found["decisions"] == 2
