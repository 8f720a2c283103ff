"""What the audit log's commands say is true of what was decided, and finds what is asked for."""

import csv
import json
import subprocess

import audit_daemon as audit
import pytest
import test_daemon
from commandline import TOLLGATE
from hardening import eventually

# Of an address, of a permission, and of a meter with a weight.
POLICY = audit.POLICY.replace(
    "operations:",
    "address_limits: {address_rate: {limit: 1000, window: 1m}}\n"
    "operations:\n  batch: {permission: can_batch, charges: {tokens: {units: 1}}}", 1).replace(
    "look: {charges: {tokens: {units: 0}}}", "look: {charges: {tokens: {units: 0, weight: 3}}}")
SMALL = audit.SMALL


@pytest.fixture(scope="module")
def daemon():
    with audit.daemon(policy=POLICY) as made:
        yield made


def token(daemon, organization, plan=SMALL):
    return test_daemon.pyjwt_token(daemon, sub="ada", org=organization, plan=plan)


def explained(daemon, decision):
    """As people read it, and its limits by name as programs do."""
    place = ("--directory", daemon.place.audit)
    eventually(lambda: any(
        one["id"] == decision.decision_id for one in audit.records(daemon.place)), 20)
    text = audit.tollgate("explain", decision.decision_id, *place)
    told = json.loads(audit.tollgate("explain", decision.decision_id, *place, "--json"))
    return text, {one["name"]: one for one in told["limits"]}, told


def test_who_was_charged_and_not_asked_is_not_said_to_have_had_room(daemon):
    """A quota far beyond its limit "had room", and so had an address that nobody named."""
    for _ in range(2):
        charged = daemon.charge("over", "ada", 900, plan=SMALL)
    assert charged.allowed
    text, limits, _ = explained(daemon, charged)
    assert limits["small_tokens"]["used"] == 1_800 and limits["small_tokens"]["limit"] == 1_000
    assert limits["small_tokens"]["outcome"] == "charged"
    assert "1,800 used of 1,000 tokens; charged, not asked" in text
    assert "had room" not in text and "address_rate" not in text


def test_each_step_of_a_reservation_says_what_it_asked(daemon):
    with daemon.callers.reserve(
            token(daemon, "held"), operation="chat", units={"tokens": 10}) as hold:
        steps = [hold.decision, daemon.callers.extend(hold.id, {"tokens": 20}, {"tokens": 5}),
                 hold.settle({"tokens": 5_000})]
    outcomes = []
    for step in steps:
        text, limits, _ = explained(daemon, step)
        assert step.allowed and "address_rate" not in limits
        assert ("had room" in text or "Limits that were looked at" in text) == (step is steps[0])
        outcomes.append(limits["small_tokens"]["outcome"])
    assert outcomes == ["had_room", "not_recorded", "charged"]
    # Of the last.
    assert "5,000 used of 1,000 tokens; charged, not asked" in text


@pytest.mark.parametrize("address, names", [
    (None, {"small_tokens"}), ("192.0.2.7", {"small_tokens", "address_rate"})])
def test_an_address_is_asked_for_only_where_there_is_one(daemon, address, names):
    more = {} if address is None else {"address": address}
    asked = daemon.callers.check(
        token(daemon, "asked"), operation="chat", units={"tokens": 1}, **more)
    text, limits, _ = explained(daemon, asked)
    assert set(limits) == names and {one["outcome"] for one in limits.values()} == {"had_room"}
    assert "Limits that were looked at" in text


def test_a_permission_that_was_wanted_is_named(daemon):
    denied = daemon.callers.check(token(daemon, "asked"), operation="batch")
    assert denied.reason == "permissionDenied"
    text, _, told = explained(daemon, denied)
    assert "permissionDenied: it needs the permission can_batch" in text
    assert told["permission"] == "can_batch"


def ids(daemon, *words):
    return [one["id"] for one in audit.records(daemon.place, *words)]


def test_decisions_are_found_by_address_plan_and_verdict_and_counted(daemon):
    secret = token(daemon, "found")
    made = {}
    for address in ["198.51.100.7", "198.51.100.8", "203.0.113.9", "2001:db8:1:2::3",
                    "2001:db8:1:2::4", "2001:db8:1:3::4"]:
        made[address] = daemon.callers.check(
            secret, operation="chat", units={"tokens": 1}, address=address).decision_id
    eventually(lambda: set(made.values()) <= set(ids(daemon)), 20)
    for block, wanted in [
            ("198.51.100.7", ["198.51.100.7"]),
            ("198.51.100.0/24", ["198.51.100.7", "198.51.100.8"]),
            ("2001:db8:1:2::/64", ["2001:db8:1:2::3", "2001:db8:1:2::4"]),
            ("2001:db8:1:2:0:0:0:3", ["2001:db8:1:2::3"]), ("203.0.113.0/32", [])]:
        assert ids(daemon, "--address", block) == [made[one] for one in wanted], block
    everything = audit.records(daemon.place)
    for words, wanted in [
            (["--plan", SMALL], lambda one: one["plan"] == SMALL),
            (["--plan", audit.PLAN], lambda one: one["plan"] == audit.PLAN),
            (["--decision", "deny"], lambda one: one["verdict"] == "deny"),
            (["--decision", "allow"], lambda one: one["verdict"] == "allow"),
            (["--plan", SMALL, "--decision", "allow", "--address", "198.51.100.0/24"],
             lambda one: (one["address"] or "").startswith("198.51.100."))]:
        found = list(filter(wanted, everything))
        assert audit.records(daemon.place, *words) == found, words
        asked = ("audit", "query", "--directory", daemon.place.audit, "--count", *words)
        assert audit.tollgate(*asked) == f"{len(found)}\n"
        assert json.loads(audit.tollgate(*asked, "--json")) == {"count": len(found)}


@pytest.mark.parametrize("words, said", [
    (["--address", "192.0.2.7/24"], "zeros behind it"), (["--address", "acme"], "an address is"),
    (["--decision", "maybe"], "allow"), (["--decision", "deny", "--allowed"], "give one of"),
    (["--count", "--all"], "give one of"), (["--since", "tomorrow"], "length of time ago"),
    (["--until", "tomorrow"], "length of time ago")])
def test_a_question_that_is_none_is_told(daemon, words, said):
    done = subprocess.run(
        [TOLLGATE, "audit", "query", "--directory",
         str(daemon.place.audit), *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 64 and said in done.stderr and "from now" not in done.stderr


def test_an_export_goes_to_a_file_and_has_units_before_weights(daemon, tmp_path):
    decision = daemon.callers.check(
        token(daemon, "weighed", audit.PLAN), operation="look", units={"tokens": 5})
    eventually(lambda: decision.decision_id in ids(daemon), 20)
    base = ("audit", "export", "--directory", daemon.place.audit)
    lines = audit.tollgate(*base)
    assert audit.tollgate(*base, "--json", "--no-color") == lines
    path = tmp_path / "out.csv"
    assert audit.tollgate(*base, "--format", "csv", "-o", path, "--no-color") == ""
    assert path.stat().st_mode & 0o777 == 0o600
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == len(lines.splitlines())
    (row,) = [row for row in rows if row["id"] == decision.decision_id]
    assert row["charges"] == "tokens=15" and row["units"] == "tokens=5"
    before = path.read_bytes()
    audit.tollgate(*base, "-o", path, code=74)
    assert path.read_bytes() == before
    audit.tollgate(*base, "--json", "--format", "csv", code=64)
    audit.tollgate("audit", "export", "--directory", tmp_path / "none", "-o", tmp_path / "x",
                   code=66)
    assert not (tmp_path / "x").exists()
