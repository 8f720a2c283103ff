"""tollgate-http --top-organizations: who is named, how many, and to whom."""

import os
import re

import audit_daemon as audit
import pytest
import test_daemon
from hardening import eventually
from http_exporter import OPENMETRICS, Exporter, lint, samples
from prometheus_client.openmetrics.parser import text_string_to_metric_families

ODD = 'sales "EU" \\ north'


def spend(daemon, organization, count, tokens=1, user="ada"):
    secret = test_daemon.pyjwt_token(daemon, sub=user, org=organization, plan=audit.SMALL)
    for _ in range(count):
        daemon.callers.check(secret, operation="look", units={"tokens": tokens})


def label(text):
    return text.replace("\\", "\\\\").replace('"', '\\"')


def decisions(found):
    """Organization, as its label has it, and verdict to the count."""
    pattern = (r'tollgate_organization_decisions_total\{organization="(.*)",personal="false",'
               r'verdict="(.*)"\}')
    return {match.groups(): value for name, value in found.items()
            if (match := re.fullmatch(pattern, name))}


def test_the_busiest_are_named_and_no_more_than_were_asked_for():
    with audit.daemon() as daemon, Exporter(daemon.admin, "--top-organizations", 2) as exporter:
        # Counting begins with the first scrape.
        assert exporter.scrape()["tollgate_organizations_counted"] == 1
        for organization, count in ((ODD, 30), ("beta", 20), ("gamma", 10)):
            spend(daemon, organization, count)
        spend(daemon, "beta", 4, tokens=2_000)
        wanted = {(label(ODD), "allow"): 30, (label(ODD), "deny"): 0, ("beta", "allow"): 20,
                  ("beta", "deny"): 4}
        eventually(lambda: decisions(exporter.scrape()) == wanted)
        ratio = "tollgate_organization_quota_used_ratio"

        def ratios():
            return {name: value for name, value in exporter.scrape().items() if ratio in name}

        eventually(lambda: ratios() == {
            f'{ratio}{{organization="{label(name)}",personal="false",quota="small_tokens",'
            f'scope="organization"}}': used for name, used in ((ODD, 0.03), ("beta", 0.02))})
        text = exporter.ask()[2]
        lint(text)
        families = {family.name for family in text_string_to_metric_families(
            exporter.ask(Accept=OPENMETRICS)[2])}
        assert {"tollgate_organization_decisions", ratio} <= families


def test_users_count_without_their_names():
    with audit.daemon() as daemon, Exporter(daemon.admin, "--top-organizations", 5) as exporter:
        for user, tokens in (("zoe", 300), ("ada", 700)):
            daemon.charge("acme", user, tokens * 10**9)
        ratio = "tollgate_organization_quota_used_ratio"
        series = {f'{ratio}{{organization="acme",personal="false",quota="{quota}",'
                  f'scope="{scope}"}}': value for quota, scope, value in (
                      ("tokens", "organization", 1), ("user_tokens", "user", 0.7))}
        eventually(lambda: series.items() <= exporter.scrape().items())
        assert not re.search(r'"[^"]*(ada|zoe)', exporter.ask()[2])


def test_nobody_is_named_unless_that_is_asked_for():
    with audit.daemon() as daemon, Exporter(daemon.admin) as exporter:
        spend(daemon, "acme", 3)
        assert daemon.admins.top.show(limit=1).nearest
        text = exporter.ask()[2]
    assert "acme" not in text and "tollgate_organization" not in text.replace(
        "tollgate_organizations ", "")


def test_without_an_audit_log_there_are_no_decisions(start_daemon):
    daemon = start_daemon()
    with Exporter(daemon.admin, "--top-organizations", 1) as exporter:
        found = exporter.scrape()
    assert found["tollgate_organizations_counted"] == 0 and not decisions(found)


@pytest.mark.parametrize("role, may", [("observe", False), ("watch", True)])
def test_on_the_data_socket_it_wants_the_role_watch(start_daemon, role, may):
    roles = {"check": {"users": [1]}, role: {"users": [os.geteuid()]}}
    daemon = start_daemon(settings={"roles": roles})
    with Exporter(daemon.data, "--top-organizations", 1) as exporter:
        found = samples(exporter.ask()[2])
        assert found["tollgate_up"] == 1 and "tollgate_frames_total" in found
        assert ("tollgate_organizations_counted" in found) == may
        assert ("give this process's user the role watch" in exporter.said()) != may
