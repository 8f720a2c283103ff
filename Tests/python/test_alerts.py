"""A real daemon tells what its rules find: once, over kills, and only once it is kept."""

import contextlib
import json
import random

import audit_daemon as audit
import test_daemon
from hardening import eventually

SMALL = "small_tier"
MONTHLY = audit.POLICY.replace(
    "limit: 1000, period: total", "limit: 1000, period: month").replace(
    "small_tier:", "small_tier:\n    prices: {tokens: 100000}", 1)


# What these would find depends on the day.
TODAY = {"quota_exhausted_early": {"enabled": False}, "quota_forecast": {"enabled": False}}


class AlertPlace(audit.AuditPlace):
    rules = {}

    def policy(self, settings, policy):
        self.alerts = self.path / "alerts"
        alerts = {"path": str(self.alerts), "rules": self.rules}
        return super().policy(settings, policy) + f"alerts: {json.dumps(alerts)}\n"


@contextlib.contextmanager
def daemon(rules=None):
    place = AlertPlace()
    place.rules = rules or {}
    try:
        with audit.daemon(place, policy=MONTHLY) as made:
            yield made
    finally:
        place.remove()


def told(daemon, *words):
    """Oldest first."""
    text = audit.tollgate("alerts", "list", "--directory", daemon.place.alerts, "--json", *words)
    return json.loads(text)[::-1]


def spend(daemon, tokens, organization="acme"):
    token = test_daemon.pyjwt_token(daemon, sub="ada", org=organization, plan=SMALL)
    return daemon.callers.check(token, operation="look", units={"tokens": tokens})


def test_each_threshold_is_told_once_over_kills():
    source = random.Random(4)
    with daemon({**TODAY, "costly_operation": {"enabled": False}}) as made:
        used = 0
        while used < 1_000:
            step = min(source.randint(1, 40), 1_000 - used)
            assert spend(made, step).allowed
            used += step
            if source.random() < 0.15:
                made.die_and_start_again()
        for _ in range(3):
            assert not spend(made, 10).allowed
            made.die_and_start_again()
        assert not spend(made, 10).allowed
        eventually(lambda: len(told(made)) == 3, 20)
        alerts = told(made)
        stats = made.admins.stats()
    assert [one["threshold"] for one in alerts] == [80, 95, 100]
    assert len({one["id"] for one in alerts}) == 3
    assert {(one["organization"], one["quota"], one["limit"]) for one in alerts} == {
        ("acme", "small_tokens", 1_000)}
    assert {one["rule"] for one in alerts} == {"quota_threshold"}
    assert stats["tollgate_alerts_write_failures_total"] == 0


def test_what_fires_is_logged_listed_and_counted():
    with daemon({**TODAY, "invalid_credentials": {"count": 20}}) as made:
        for _ in range(30):
            made.callers.check("nonsense", operation="look", address="192.0.2.7")
        spend(made, 999, "beta")
        spend(made, 1, "beta")
        eventually(lambda: len(told(made)) >= 5, 20)
        rules = [one["rule"] for one in told(made)]
        assert sorted(rules) == [
            "costly_operation", "invalid_credentials", *["quota_threshold"] * 3]
        assert [one["organization"] for one in told(made, "--organization", "beta")] == (
            ["beta"] * (len(rules) - 1))
        assert len(told(made, "--rule", "invalid_credentials", "-n", "1")) == 1
        eventually(lambda: made.admins.stats()["tollgate_alerts_fired_total"] == len(rules), 20)
        logged = made.logged()
    for one in rules:
        assert f": {one}: " in logged
    assert "organization beta: 80 % of quota small_tokens used: 999 of 1000" in logged


def test_a_quota_in_shadow_is_told_of_as_one_that_refuses_nobody():
    with daemon({**TODAY, "costly_operation": {"enabled": False}}) as made:
        text = made.policy.read_text()
        enforced = "limit: 1000, period: month"
        assert enforced in text
        made.policy.write_text(text.replace(enforced, enforced + ", shadow: true"))
        made.admins.reload()
        for _ in range(11):
            assert spend(made, 100).allowed
        eventually(lambda: len(told(made)) == 3, 20)
        made.die_and_start_again()
        assert spend(made, 100).allowed
        alerts = told(made)
        asked = list(made.admins.alerts.list())
        made.policy.write_text(text)
        made.admins.reload()
        assert not spend(made, 100).allowed
        eventually(lambda: len(told(made)) == 6, 20)
        later = told(made)
    assert [one["threshold"] for one in alerts] == [80, 95, 100]
    assert all(one["shadow"] and one["severity"] == "warning" for one in alerts)
    assert all("in shadow and refuses nobody" in one["text"] for one in alerts)
    assert [one.shadow for one in asked] == [True, True, True]
    assert later[:3] == alerts and not any("shadow" in one for one in later[3:])
    assert [one["severity"] for one in later[3:]] == ["warning", "warning", "critical"]
