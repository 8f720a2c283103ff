"""tollgate health tells of the audit log and the alerts: whether they record, and what to do."""

import json

import audit_daemon as audit
import pytest
import test_alerts
import test_daemon
from commandline import Cli
from hardening import eventually
from test_ledger_disk import fill
from tollgate import Client


def health(daemon, code):
    cli = Cli(daemon)
    said = cli("health", code=code).stdout
    return said, cli.json("health", code=code)


def test_a_daemon_that_records_says_where():
    with audit.daemon() as daemon:
        daemon.charge("acme", "ada", 1)
        eventually(lambda: daemon.admins.stats()["tollgate_audit_recorded_total"] == 1)
        said, told = health(daemon, 0)
        assert "healthy" in said and f"recording, {daemon.place.audit}; 1 decisions" in said
        assert told["audit"] == {
            "state": "recording", "path": str(daemon.place.audit), "recorded": 1, "dropped": 0,
            "refused": 0, "waiting_bytes": 0}
        assert told["alerts"] is None and told["problems"] == []


@pytest.mark.parametrize("overload", ["block", "drop"])
def test_an_audit_log_that_cannot_be_written_is_not_healthy(overload):
    """Requests were refused for it, and the daemon was called healthy."""
    place = audit.AuditPlace(size="24m")
    try:
        settings = {"overload": overload, "ring_bytes": 262_144}
        with audit.daemon(place, audit=settings) as daemon:
            filler = fill(place)
            stats = daemon.admins.stats

            refused = 0
            with Client(daemon.data, timeout=20) as client:
                secret = test_daemon.pyjwt_token(
                    daemon, sub="ada", org="acme", plan="windowed_tier")
                for number in range(12_000):
                    decision = client.check(secret, operation="look", units={"tokens": 1})
                    refused += decision.reason == "auditUnavailable"
                    if refused or number % 50 == 0 and stats()["tollgate_audit_dropped_total"]:
                        break
            said, told = health(daemon, 2 if overload == "block" else 1)
            if overload == "block":
                assert said.startswith("failing") and "auditUnavailable" in said
                assert told["audit"]["state"] == "refusing"
                assert told["audit"]["refused"] == refused > 0
            else:
                assert said.startswith("degraded") and "left out" in said
                assert told["audit"]["state"] == "dropping"
                assert told["audit"]["dropped"] > 0 == refused
            assert told["healthy"] is False and "make room" in said
            assert str(place.audit) in told["problems"][-1]["what"]
            filler.unlink()
            eventually(lambda: "recording again" in daemon.logged(), 20)
            # The ledger lies there too.
            eventually(lambda: not stats()["tollgate_ledger_trouble"], 20)
            said, told = health(daemon, 0)
            assert told["audit"]["state"] == "recording"
            assert ("left out" if overload == "drop" else "refused for want of room") in said
    finally:
        place.remove()


def test_alerts_that_cannot_be_written_are_not_healthy():
    with test_alerts.daemon(test_alerts.TODAY) as daemon:
        assert health(daemon, 0)[1]["alerts"]["writable"] is True
        # A directory where the next state is to be written before it takes its name.
        state = daemon.place.alerts / "alerts.state"
        eventually(state.exists)
        part = state.with_name("alerts.state.part")
        (part / "in the way").mkdir(parents=True)
        test_alerts.spend(daemon, 900)
        eventually(lambda: daemon.admins.stats()["tollgate_alerts_failing"] == 1, 20)
        said, told = health(daemon, 1)
        assert said.startswith("degraded") and "the disk takes no alerts" in said
        assert told["alerts"]["writable"] is False and told["alerts"]["untold"] >= 1
        assert told["alerts"]["write_failures"] >= 1 and told["alerts"]["spool"] is None
        (part / "in the way").rmdir()
        part.rmdir()
        eventually(lambda: daemon.admins.stats()["tollgate_alerts_failing"] == 0, 20)
        said, told = health(daemon, 0)
        assert told["alerts"]["untold"] == 0 and told["alerts"]["fired"] >= 1
        assert json.dumps(told["problems"]) == "[]"
