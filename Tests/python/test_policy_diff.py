"""tollgate policy diff: what another policy has otherwise, and what of a log is replayed."""

import base64
import datetime
import json
import os
import shutil

import audit_daemon as audit
import pytest
import test_daemon
from commandline import USAGE, Cli
from hardening import eventually

POLICY = """
version: 1
meters: [calls, tokens]
operations:
  chat: {routes: [POST /v1/chat], charges: {calls: {units: 1}, tokens: {units: 0, weight: 2}}}
  batch: {permission: can_batch, charges: {calls: {units: 1}}}
plans:
  pro_tier:
    permissions: [can_batch, can_rest]
    rate_limits: {per_second: {scope: user, limit: 30, window: 1s}}
    quotas: {monthly: {scope: organization, meter: tokens, limit: 4000, period: month}}
    prices: {tokens: 5}
  free_tier:
    quotas: {calls: {scope: organization, limit: 15, period: total}}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
audit: {path: /var/lib/tollgate/audit}
alerts: {path: /var/lib/tollgate/alerts}
"""


LATER = "2200-01-01"


def fresh_key():
    return base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")


@pytest.fixture
def diff(tmp_path):
    """Changes of POLICY by replacements, as lines and as documents."""
    cli = Cli(None)
    key = tmp_path / "main.key"
    key.write_text(fresh_key())
    key.chmod(0o600)
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(POLICY)

    def changes(*replacements, code=1):
        text = POLICY
        for one, other in replacements:
            assert text.count(one) == 1, one
            text = text.replace(one, other)
        new.write_text(text)
        lines = cli("policy", "diff", old, new, code=code).stdout.splitlines()
        found = cli.json("policy", "diff", old, new, code=code)
        assert found["differences"] == len(found["changes"])
        assert [one["text"] for one in found["changes"]] == [
            line[2:] for line in lines if line[0] in "+-~"]
        return lines, found["changes"]
    changes.paths = (old, new)
    return changes


# What is replaced, and all that is said of it.
CASES = [
    ("window: 1s", "window: 90s",
     ["~ plan pro_tier: rate limit per_second: window 1 s becomes 90 s"]),
    ("limit: 30,", "limit: 31,", ["~ plan pro_tier: rate limit per_second: limit 30 becomes 31"]),
    ("limit: 4000,", "limit: unlimited,",
     ["~ plan pro_tier: quota monthly: limit 4000 becomes unlimited"]),
    ("period: month}", "period: month, shadow: true}",
     ["~ plan pro_tier: quota monthly: is in shadow now: it refuses nobody"]),
    ("[can_batch, can_rest]", "[can_batch, can_fly]",
     ["- plan pro_tier: grants permission can_rest no more",
      "+ plan pro_tier: grants permission can_fly"]),
    ("[can_batch, can_rest]", "[can_rest, can_batch]",
     ["~ plan pro_tier: permissions in another order: can_rest, can_batch"]),
    ("    prices: {tokens: 5}\n", "", ["- plan pro_tier: price of tokens is gone: 5"]),
    ("tokens: 5}", "tokens: 6}", ["~ plan pro_tier: price of tokens: 5 becomes 6"]),
    ("{permission: can_batch, charges", "{charges",
     ["~ operation batch: needs no permission now, and needed can_batch"]),
    ("weight: 2", "weight: 3", ["~ operation chat: charge of tokens: weight 2 becomes 3"]),
    ("[POST /v1/chat]", "[POST /v2/chat]",
     ["- operation chat: routes: POST /v1/chat gone",
      "+ operation chat: routes: POST /v2/chat added"]),
    ("audit: {path: /var/lib/tollgate/audit}", "audit: {path: /var/lib/tollgate/audit, keep: 90d}",
     ["~ audit: keep none becomes 90 d",
      "1 of these in force only after a restart of the daemon."]),
    ("alerts: {path: /var/lib/tollgate/alerts}",
     "alerts: {path: /var/lib/tollgate/alerts, rules: {sudden_rise: {factor: 9}}}",
     ["~ alert rule sudden_rise: factor 3 becomes 9"]),
    ("path: /var/lib/tollgate/alerts", "path: /var/lib/tollgate/alarms",
     ["~ alerts: path /var/lib/tollgate/alerts becomes /var/lib/tollgate/alarms",
      "1 of these in force only after a restart of the daemon."]),
]


@pytest.mark.parametrize("one, other, said", CASES)
def test_each_change_is_said_in_words(diff, one, other, said):
    assert diff((one, other))[0] == said


def test_whole_plans_operations_and_limits_come_and_go(diff):
    free = POLICY[POLICY.index("  free_tier:"):POLICY.index("issuers:")]
    lines, changes = diff(
        (free, "  new_tier:\n    rate_limits: {burst: {scope: user, limit: 7, window: 2s}}\n"),
        ("meters: [calls, tokens]", "meters: [calls, tokens, pages]"),
        ("  batch: {", "  read: {charges: {pages: {units: 2}}}\n  batch: {"))
    assert [line[0] for line in lines] == ["+", "-", "+", "+"]
    added = {"/".join(one["path"]) for one in changes if one["change"] == "added"}
    assert added == {"meters", "plans/new_tier", "operations/read"}
    assert lines[1].startswith("- plan free_tier is gone: ") and "15" in lines[1]
    assert "burst" in lines[2] and "limit 7" in lines[2] and "window 2 s" in lines[2], lines
    assert lines[3].startswith("+ operation read is added: charges (pages (units 2")
    assert not any(one["restart"] for one in changes)


def test_the_same_and_a_key_that_is_another_under_its_name(diff):
    assert diff(code=0)[0] == ["The two policies come to the same."]
    old, new = diff.paths
    elsewhere = new.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(new.parent / "main.key", elsewhere)
    moved = elsewhere / "new.yaml"
    moved.write_text(POLICY)
    cli = Cli(None)
    cli("policy", "diff", old, moved, code=0)
    (elsewhere / "main.key").write_text(fresh_key())
    said = cli("policy", "diff", old, moved, code=1).stdout
    assert said.startswith("~ issuer main: key main-1 HS256") and "another" in said
    for place in (new.parent, elsewhere):
        assert (place / "main.key").read_text() not in said


def test_options_of_a_replay_want_one(diff):
    old, _ = diff.paths
    for command in (("--since", "1h"), ("--until", "1h"), ("--limit", "3")):
        assert "give --replay too" in Cli(None).error(
            "policy", "diff", old, old, *command, code=USAGE)
    Cli(None)("policy", "diff", old, old, "--format", "csv", code=USAGE)


def test_only_what_was_decided_at_that_time_is_replayed():
    place = audit.AuditPlace()
    try:
        with audit.daemon(place) as daemon:
            secret = test_daemon.pyjwt_token(daemon, sub="ada", org="small", plan=audit.SMALL)

            def ask(count):
                for _ in range(count):
                    assert daemon.callers.check(secret, operation="chat").allowed
            ask(3)
            eventually(lambda: len(audit.records(place)) == 3, 20)
            middle = max(one["time_ms"] for one in audit.records(place)) + 1
            eventually(lambda: datetime.datetime.now().timestamp() * 1_000 > middle + 1_100, 10)
            ask(4)
            eventually(lambda: len(audit.records(place)) == 7, 20)
            at = datetime.datetime.fromtimestamp(middle // 1_000 + 1, datetime.UTC)
            at = at.strftime("%Y-%m-%dT%H:%M:%SZ")

            def replayed(*words, code=0):
                return audit.tollgate(
                    "policy", "diff", daemon.policy, daemon.policy, "--replay", place.audit,
                    "--json", *words, code=code)
            assert json.loads(replayed())["decisions"] == 7
            assert json.loads(replayed("--since", at))["decisions"] == 4
            assert json.loads(replayed("--until", at))["decisions"] == 3
            assert json.loads(replayed("--since", at, "--until", LATER))["decisions"] == 4
            replayed("--since", LATER, code=66)
            replayed("--since", at, "--until", at, code=64)
    finally:
        place.remove()
