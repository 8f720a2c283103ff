"""The limit that refused a decision, the same in the table, in JSON Lines and in CSV."""

import csv
import io
import json

import audit_daemon as audit
import pytest
import test_daemon
from hardening import eventually

POLICY = audit.POLICY.replace(
    "operations:",
    "address_limits: {address_rate: {limit: 2, window: 1h}}\n"
    "operations:\n  batch: {permission: can_batch, charges: {tokens: {units: 1}}}", 1).replace(
    "plans:", """plans:
  tight_tier:
    rate_limits:
      calls_minute: {scope: user, limit: 2, window: 1m}
      tokens_hour: {scope: organization, meter: tokens, limit: 100, window: 1h}
    quotas:
      daily_tokens: {scope: organization, meter: tokens, limit: 1000000, period: total}
    concurrency: {streams: {scope: user, limit: 1}}
""", 1)
TIGHT = "tight_tier"


@pytest.fixture(scope="module")
def daemon():
    with audit.daemon(policy=POLICY) as made:
        yield made


def token(daemon, organization, plan=TIGHT):
    return test_daemon.pyjwt_token(daemon, sub="ada", org=organization, plan=plan)


def shown(daemon, decision):
    """What stands in JSON, CSV, the table and explain of a decision."""
    place = ("--directory", daemon.place.audit)
    eventually(lambda: any(
        one["id"] == decision.decision_id for one in audit.records(daemon.place)), 20)
    (record,) = [
        one for one in audit.records(daemon.place) if one["id"] == decision.decision_id]
    (row,) = [row for row in csv.DictReader(io.StringIO(
        audit.tollgate("audit", "export", *place, "--format", "csv")))
        if row["id"] == decision.decision_id]
    header, *lines = audit.tollgate("audit", "query", *place, "--all").splitlines()
    (line,) = [line for line in lines if line.endswith(decision.decision_id)]
    last = line.split()[-2]
    told = json.loads(audit.tollgate("explain", decision.decision_id, *place, "--json"))
    assert told["decision"]["refused_by"] == record["refused_by"]
    words = audit.tollgate("explain", decision.decision_id, *place)
    return record["refused_by"], row["refused_by"], last, words


def refused(daemon, decision, limit):
    known, in_csv, last, words = shown(daemon, decision)
    assert (known, in_csv, last) == (limit, limit, limit)
    assert f" {limit} has no room for it" in words


def test_of_several_limits_it_is_the_one_that_the_reply_named(daemon):
    secret = token(daemon, "several")
    for _ in range(2):
        assert daemon.callers.check(secret, operation="chat", units={"tokens": 1}).allowed
    both = daemon.callers.check(secret, operation="chat", units={"tokens": 101})
    assert both.reason == "rateLimited" and both.rate_limit.name == "tokens_hour"
    refused(daemon, both, "tokens_hour")
    one = daemon.callers.check(secret, operation="chat", units={"tokens": 1})
    assert one.rate_limit.name == "calls_minute"
    refused(daemon, one, "calls_minute")


def test_it_is_the_limit_of_open_reservations_though_others_are_shown(daemon):
    secret = token(daemon, "open")
    with daemon.callers.reserve(secret, operation="chat", units={"tokens": 1}):
        second = daemon.callers.reserve(secret, operation="chat", units={"tokens": 1})
        assert second.decision.reason == "concurrencyExceeded"
    refused(daemon, second.decision, "streams")


def test_it_is_the_quota_or_the_address(daemon):
    quota = daemon.callers.check(
        token(daemon, "small", audit.SMALL), operation="chat", units={"tokens": 1_001})
    assert quota.reason == "quotaExhausted"
    refused(daemon, quota, "small_tokens")
    secret = token(daemon, "address", audit.PLAN)
    for _ in range(3):
        from_there = daemon.callers.check(
            secret, operation="chat", units={"tokens": 1}, address="192.0.2.7")
    assert from_there.reason == "rateLimited"
    refused(daemon, from_there, "address_rate")


def test_it_is_none_where_no_limit_refused(daemon):
    for decision in (
            daemon.callers.check(token(daemon, "fine"), operation="chat", units={"tokens": 1}),
            daemon.callers.check(token(daemon, "fine"), operation="batch"),
            daemon.callers.check("nonsense", operation="chat")):
        known, in_csv, _, words = shown(daemon, decision)
        assert known is None and in_csv == "" and "has no room" not in words


def test_an_address_of_ipv4_in_one_of_ipv6_is_told_how_it_stands_there(daemon):
    done = audit.ended("audit", "query", "--directory", daemon.place.audit, "--address",
                       "::ffff:192.0.2.5", code=64)
    assert "write 192.0.2.5" in done.stderr
