"""Limits in shadow, from outside: they refuse nobody, and everyone is told what they would have."""

import datetime
import json

import audit_daemon as audit
import hardening
import test_daemon
from fake_clock import FakeClock
from hardening import eventually


def token(daemon):
    return test_daemon.pyjwt_token(daemon, sub="ada", org="small", plan=audit.SMALL)


def rewrite(daemon, old, new):
    text = daemon.policy.read_text()
    assert text.count(old) >= 1, (old, text)
    daemon.policy.write_text(text.replace(old, new))
    daemon.admins.reload()


def would_deny(daemon):
    return {name: value for name, value in daemon.admins.stats().items()
            if name.startswith("tollgate_would_deny_total")}


QUOTA = 'tollgate_would_deny_total{reason="quotaExhausted",limit="small_tokens"}'


def test_a_quota_in_shadow_is_told_everywhere_and_billed_in_full():
    with audit.daemon() as daemon:
        secret, place = token(daemon), daemon.place
        enforced, shadow = shadowed(daemon)
        rewrite(daemon, enforced, shadow)
        first = daemon.callers.check(secret, operation="chat", units={"tokens": 900})
        assert first.allowed and first.would_deny is None and first.quota is None
        beyond = daemon.callers.check(
            secret, operation="chat", units={"tokens": 200}, explain=True)
        assert beyond.allowed and beyond.would_deny.limit == "small_tokens"
        assert beyond.would_deny.reason == "quotaExhausted"
        told = {one.name: one for one in beyond.explanation}
        assert told["small_tokens"].refuses and told["small_tokens"].shadow
        assert told["small_tokens"].used == 1_100
        with daemon.callers.reserve(secret, operation="chat", units={"tokens": 50}) as hold:
            assert hold.decision.would_deny.limit == "small_tokens"
            hold.settle({"tokens": 60})
        assert would_deny(daemon)[QUOTA] == 2
        assert health(daemon)["shadow"] == {"policy": False, "limits": 1, "would_deny": 2}
        # Enforced, it has been used up; in shadow again, the count goes on.
        rewrite(daemon, shadow, enforced)
        denied = daemon.callers.check(secret, operation="chat", units={"tokens": 1})
        assert denied.reason == "quotaExhausted" and denied.would_deny is None
        rewrite(daemon, enforced, shadow)
        assert daemon.callers.check(secret, operation="chat", units={"tokens": 1}).allowed
        assert would_deny(daemon)[QUOTA] == 3
        report = daemon.callers.usage("small", "ada", audit.SMALL)
        entry = {one.name: one for one in report.limits}["small_tokens"]
        assert (entry.used, entry.limit, entry.shadow) == (1_161, 1_000, True)
        eventually(lambda: len(audit.records(place, "--would-deny")) == 3, 20)
        records = audit.records(place, "--would-deny")
        assert all(one["would_deny"] == ["small_tokens"] for one in records)
        assert {one["verdict"] for one in records} == {"allow"}
        text = audit.tollgate("explain", beyond.decision_id, "--directory", place.audit)
        assert "allowed, because what would have denied it is in shadow: small_tokens" in text
        assert "900 used of 1,000 tokens; in shadow, would refuse" in text, text
        assert "would deny: small_tokens" in audit.tollgate(
            "audit", "query", "--directory", place.audit, "--would-deny")


def test_a_policy_in_shadow_lets_everything_through_but_bad_credentials():
    with audit.daemon() as daemon:
        secret, place = token(daemon), daemon.place
        daemon.policy.write_text("shadow: true\n" + daemon.policy.read_text())
        daemon.admins.reload()
        assert health(daemon)["shadow"]["policy"] is True
        answer = daemon.callers.check(secret, operation="chat", units={"tokens": 5_000})
        assert answer.allowed and answer.would_deny.limit == "small_tokens"
        assert daemon.callers.check("nonsense", operation="chat").reason == "credentialInvalid"
        shown = json.loads(audit.tollgate("policy", "show", daemon.policy, "--json"))
        assert shown["shadow"] is True
        eventually(lambda: len(audit.records(place)) == 2, 20)
        assert [one["would_deny"] for one in audit.records(place)] == [["small_tokens"], []]


def test_a_closed_period_of_a_quota_in_shadow_is_exported_in_full():
    clock = FakeClock(datetime.datetime(2026, 10, 31, 12, tzinfo=datetime.UTC))
    policy = audit.POLICY.replace("limit: 1000, period: total", "limit: 1000, period: day")
    policy = policy.replace("period: day}", "period: day, shadow: true}")
    try:
        with audit.daemon(policy=policy, environment=clock.environment) as daemon:
            for tokens in (900, 700, 1):
                assert daemon.callers.check(
                    at(daemon, clock), operation="chat", units={"tokens": tokens}).allowed
            with daemon.callers.reserve(
                    at(daemon, clock), operation="chat", units={"tokens": 50}) as hold:
                hold.settle({"tokens": 70})
            for _ in range(3):
                clock.set(clock.now() + datetime.timedelta(hours=20))
                assert daemon.callers.check(
                    at(daemon, clock), operation="chat", units={"tokens": 5}).would_deny is None
            rows = [json.loads(line) for line in audit.tollgate(
                "usage", "export", "--admin-socket", daemon.admin, "--period", "2026-10",
                "--format", "jsonl").splitlines()]
            assert [(one["limit"], one["begins_on"], int(one["used"])) for one in rows] == [
                ("small_tokens", "2026-10-31", 1_671)]
    finally:
        clock.remove()


def at(daemon, clock):
    now = int(clock.now().timestamp())
    return hardening.token(
        daemon, sub="ada", org="small", plan=audit.SMALL, iat=now, exp=now + 3_000)


def health(daemon):
    return json.loads(audit.tollgate(
        "health", "--json", "--socket", daemon.data, "--admin-socket", daemon.admin))


def shadowed(daemon):
    """The small plan's quota as it stands in the policy, and in shadow."""
    line = next(line for line in daemon.policy.read_text().splitlines() if "small_tokens" in line)
    start = line.index("small_tokens")
    enforced = line[start:]
    end = enforced.index("}") + 1
    enforced = enforced[:end]
    return enforced, enforced[:-1] + ", shadow: true}"
