"""Deploy/prometheus and Deploy/grafana: each alert fires when it is to, and only then; whatever
they name is a metric that tollgate-http really has."""

import json
import re
import subprocess

import promql_parser
import pytest
from conftest import ROOT

RULES = ROOT / "Deploy/prometheus/tollgate.rules.yaml"
DASHBOARD = ROOT / "Deploy/grafana/tollgate.json"
PROMTOOL = ROOT / ".venv/bin/promtool"


def promtool(*words, code=0, **options):
    done = subprocess.run([PROMTOOL, *map(str, words)], capture_output=True, text=True,
                          timeout=60, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def flag(name, labels=""):
    """A gauge that is 0, and 1 for a while: minutes 10 to 29."""
    return {f"tollgate_{name}{{{labels}}}": "0x9 1x19 0x40"}


def bumped(name, labels=""):
    """A counter that grows in minutes 10 to 14 alone."""
    return {f"tollgate_{name}_total{{{labels}}}": "0x10 1+1x4 5x60"}


def buckets(fast, slow):
    """A histogram whose observations a minute take at most 1 ms, and from minute 20 on 20 ms."""
    return {f'tollgate_frame_duration_seconds_bucket{{le="{bound}"}}': values for bound, values in [
        ("0.001", f"0+{fast}x20 {fast * 20}+{slow}x60"), ("0.032768", f"0+{fast}x80"),
        ("+Inf", f"0+{fast}x80")]}


def decisions(allowed, denied, reason="rateLimited"):
    """A minute, up to minute 200 and from then on."""
    def grow(one, other):
        return f"0+{one}x200 {one * 200}+{other}x40"
    return {'tollgate_decisions_total{verdict="allow",reason="none"}': grow(*allowed),
            f'tollgate_decisions_total{{verdict="deny",reason="{reason}"}}': grow(*denied)}


STATE = 'state="refusing"'
# Alert → its series by minute, minutes at which it fires, minutes at which it does not.
SCENARIOS = {
    "TollgateDown": ({"tollgate_up": "1x9 0x9 1x20"}, [12, 17], [9, 10, 21]),
    "TollgateExporterDown": ({'up{job="tollgate"}': "1x9 0x9 1x20",
                              'up{job="other"}': "0x40"}, [16], [12, 21]),
    "TollgateRestarting": ({"tollgate_start_timestamp_seconds": "5x9 6 7 8x80"}, [14], [9, 10, 60]),
    "TollgateRefusesCharges": (flag("ledger_state", STATE), [12, 25], [9, 32]),
    "TollgateLedgerTrouble": (flag("ledger_trouble"), [12, 25], [9, 10, 32]),
    "TollgateSyncsFail": (bumped("journal_sync_failures"), [13, 20], [9, 40]),
    "TollgateJournalLags": ({"tollgate_journal_lag_seconds": "1x9 11x9 10x20"}, [12], [9, 10, 25]),
    "TollgateSnapshotOld": ({"tollgate_snapshot_age_seconds": "0+60x80 0x20"}, [67], [60, 62, 90]),
    "TollgateSnapshotsFail": (bumped("snapshot_failures"), [13, 40], [9, 79]),
    "TollgateAuditTrouble": (flag("audit_trouble"), [12], [9, 32]),
    "TollgateAuditRefuses": (bumped("decisions", 'verdict="deny",reason="auditUnavailable"'),
                             [13], [9, 25]),
    "TollgateAuditDrops": (bumped("audit_dropped"), [13], [9, 25]),
    "TollgateAuditUnproven": (flag("audit_unproven"), [11, 25], [9, 32]),
    # Of the smallest ring a half is never 2 MiB.
    "TollgateAuditLags": ({"tollgate_audit_waiting_bytes": "120000x9 140000x9 0x20",
                           "tollgate_audit_ring_bytes": "262144x40"}, [12], [9, 10, 22]),
    # A tenth of all, and from minute 200 on half of all.
    "TollgateDenialsRise": (decisions((900, 500), (100, 500)), [215], [190, 201]),
    "TollgateInvalidCredentials": (decisions((0, 0), (0, 1200), "signatureInvalid"),
                                   [210], [190, 200]),
    "TollgateRefreshReuse": (bumped("refresh_reuse"), [13], [9, 40]),
    "TollgateNothingEnforced": ({"tollgate_policy_in_shadow": "0x9 1x1500 0x20"},
                                [1_460], [9, 40, 1_400, 1_520]),
    "TollgateTablesFull": (bumped("capacity_refusals"), [13], [9, 25]),
    "TollgateAddressesFull": (bumped("address_overflows"), [13], [9, 25]),
    "TollgateConnectionsRefused": (bumped("connections_refused"), [13], [9, 25]),
    "TollgateSlow": (buckets(1_000, 900), [35], [15, 21]),
    "TollgateClockHeld": (flag("clock_held_forward"), [11], [9, 32]),
    "TollgateReloadFailed": (bumped("policy_reloads", 'result="failure"'), [13], [9, 40]),
    "TollgateAlertsUndelivered": ({"tollgate_alerts_spool_waiting": "0x9 3x30 0x30"},
                                  [35], [9, 20, 60]),
    "TollgateAlertsLost": (flag("alerts_spool_full") | bumped("alerts_spool_dropped"),
                           [12, 25], [9, 45]),
    "TollgateAlertsUnwritten": (bumped("alerts_write_failures"), [13], [9, 40]),
    "TollgateAlertsUntold": (bumped("alerts_lost"), [13], [9, 40]),
    "TollgateAlertsForget": (bumped("alerts_evicted"), [13, 60], [9, 79]),
    "TollgateNumbersMissing": (flag("stats_left_out") | {
        "tollgate_http_skipped_statistics": "0x40 2x10 0x20"}, [16, 25, 47], [9, 11, 36, 55]),
}
# What is near, and is not to fire.
QUIET = {
    "TollgateDenialsRise": decisions((900, 800), (100, 200)),
    "TollgateAuditLags": {"tollgate_audit_waiting_bytes": "3000000x40",
                          "tollgate_audit_ring_bytes": "16777216x40"},
    "TollgateInvalidCredentials": decisions((0, 0), (0, 5_000), "tokenExpired"),
    "TollgateSlow": buckets(1_000, 995),
    "TollgateReloadFailed": bumped("policy_reloads", 'result="success"'),
    "TollgateRefusesCharges": flag("ledger_state", 'state="serving"'),
}


# Metrics that no rule names, and why.
ELSEWHERE = "another rule tells it sooner, or the same"
CALLERS = "the callers' own affair, or an operator's wish: no fault of the daemon's"
SIZE = "a size or a rate: whether it is too much, the host's own monitoring knows"
FACT = "says what is so, for the dashboard"
UNRULED = {
    ELSEWHERE: [
        "alerts_failing", "alerts_waiting", "audit_refused", "journal_synced_slots",
        "journal_syncs", "snapshots", "closed_periods_waiting", "closed_periods_archived", "uptime_seconds",
        "operation_decisions", "organization_decisions", "organization_quota_used_ratio",
        "http_stats_duration_seconds",
    ],
    CALLERS: [
        "refused_frames", "deadline_closes", "buffer_closes", "would_deny", "sessions_displaced",
        "policy_limits_in_shadow", "calls", "alerts_fired", "alerts_silenced", "alerts_tests",
        "alerts_suppressed", "http_requests", "http_timeouts", "http_displaced_connections",
        "http_refused_connections",
    ],
    SIZE: [
        "frames", "received_bytes", "sent_bytes", "connections_accepted", "connections",
        "organizations", "users", "addresses", "tables_bytes", "directory_organizations",
        "directory_users", "directory_keys", "directory_revocations", "directory_image_bytes",
        "directory_commits", "journal_slots", "journal_bytes", "journal_files", "snapshot_bytes",
        "reservations", "idempotency_records", "audit_recorded", "audit_segments", "audit_bytes",
        "cpu_seconds", "resident_memory_bytes", "http_connections",
    ],
    FACT: [
        "audit", "build", "http_build", "policy_generation", "policy_read_timestamp_seconds",
        "organizations_counted",
    ],
}


def with_instance(series):
    name, _, labels = series.rstrip("}").partition("{")
    all_labels = ",".join(filter(None, [labels, 'instance="one"']))
    return f"{name}{{{all_labels}}}"


def scenario(alert, series, fires, quiet):
    def expect(minute, samples):
        expression = f'count by (instance) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
        return {"expr": expression, "eval_time": f"{minute}m", "exp_samples": samples}
    return {
        "interval": "1m", "name": alert,
        "input_series": [{"series": with_instance(name), "values": values}
                         for name, values in series.items()],
        "promql_expr_test":
            [expect(minute, [{"labels": '{instance="one"}', "value": 1}]) for minute in fires]
            + [expect(minute, []) for minute in quiet]}


def check(tmp_path, scenarios, code=0):
    # JSON is YAML.
    tests = tmp_path / "rules.test.yaml"
    tests.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m",
                                 "tests": scenarios}))
    return promtool("test", "rules", tests, code=code)


def test_the_rules_are_well_formed():
    assert "SUCCESS" in promtool("check", "rules", RULES)
    promtool("check", "config", ROOT / "Deploy/prometheus/prometheus.yml")


def test_each_alert_fires_when_it_is_to_and_only_then(tmp_path):
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert sorted(alerts) == sorted(SCENARIOS)
    check(tmp_path, [scenario(alert, *rest) for alert, rest in SCENARIOS.items()]
          + [scenario(alert, series, [], [215 if alert in ("TollgateDenialsRise",
                                          "TollgateInvalidCredentials") else 40, 15, 12])
             for alert, series in QUIET.items()])


def test_invalid_credentials_are_those_that_the_daemons_own_rule_counts():
    engine = (ROOT / "Sources/TollgateCore/Alerts/AlertEngine.swift").read_text()
    body = engine.partition("static func isInvalid(")[2].partition("default:")[0]
    counted = re.findall(r"\.([a-zA-Z]+)", body.partition("case ")[2])
    rule = RULES.read_text().partition("- alert: TollgateInvalidCredentials")[2]
    (matched,) = re.findall(r'reason=~"([^"]+)"', rule.partition("for:")[0])
    assert len(counted) >= 11 and "credentialRevoked" in counted
    assert sorted(matched.split("|")) == sorted(counted)


@pytest.mark.parametrize("fires, quiet", [([9], []), ([], [15])])
def test_a_wrong_expectation_is_seen(tmp_path, fires, quiet):
    """So that a scenario that says nothing does not pass."""
    said = check(tmp_path, [scenario("TollgateDown", {"tollgate_up": "1x9 0x9"}, fires, quiet)], 1)
    assert "FAILED" in said


def test_what_an_alert_says_names_the_instance(tmp_path):
    check(tmp_path, [{
        "interval": "1m", "input_series": [{"series": 'tollgate_up{instance="one"}',
                                            "values": "0x10"}],
        "alert_rule_test": [{"eval_time": "5m", "alertname": "TollgateDown", "exp_alerts": [{
            "exp_labels": {"severity": "critical", "instance": "one"},
            "exp_annotations": {
                "summary": "The daemon of one does not answer.",
                "description": "Callers are denied, or fail open where they say so. "
                               "Look at the daemon's log."}}]}]}])


# MARK: the dashboard

def expressions():
    """Where it stands → the expression."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = {}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            query = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
            found[variable["name"]] = query.group(1)
    return found


def selectors(node, found):
    """The names of metrics in a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        found.add(node.name)
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        child = getattr(node, name, None)
        if isinstance(child, promql_parser.Expr):
            selectors(child, found)
    for child in getattr(node, "args", []):
        selectors(child, found)
    return found


def names(expression):
    # What Grafana puts in before it asks.
    text = expression.replace("$__rate_interval", "5m").replace("$instance", "one")
    return selectors(promql_parser.parse(text), set())


def rule_expressions():
    text = RULES.read_text()
    found = re.findall(r"^ +expr: (?:\|\n((?:^ {10,}.*\n)+)|(.*)$)", text, re.M)
    return [block or line for block, line in found]


def recorded():
    return set(re.findall(r"- record: (\S+)", RULES.read_text()))


def named():
    """Every metric that rules and dashboard name."""
    found = set()
    for expression in [*rule_expressions(), *expressions().values()]:
        found |= names(expression)
    return found - recorded() - {"up"}


def test_every_metric_has_a_rule_or_a_reason_for_having_none():
    text = (ROOT / "Sources/tollgate-http/Metrics/MetricHelp.swift").read_text()
    families = set(re.findall(r'"tollgate_(\w+)":', text))
    ruled = set()
    for expression in rule_expressions():
        ruled |= names(expression)
    ruled = {re.sub("_(total|bucket|info)$", "", name.removeprefix("tollgate_"))
             for name in ruled - recorded() - {"up"}}
    unruled = [name for reason in UNRULED.values() for name in reason]
    assert len(families) > 80 and "audit_unproven" in ruled
    assert len(unruled) == len(set(unruled)) and not ruled & set(unruled)
    assert ruled | set(unruled) == families, (ruled | set(unruled)) ^ families


def test_every_expression_parses_and_is_looked_at():
    assert len(rule_expressions()) == len(SCENARIOS) + len(recorded())
    assert len(expressions()) >= 20
    for where, expression in expressions().items():
        assert names(expression), where


def test_the_dashboard_has_what_grafana_wants():
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert dashboard["schemaVersion"] >= 36 and dashboard["uid"] and dashboard["title"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${DS_PROMETHEUS}" and panel["description"]
            units = panel["fieldConfig"]["defaults"]["unit"]
            assert units in {"short", "reqps", "s", "bytes", "percentunit", "Bps", "dtdurations"}


def test_a_panel_shows_each_instance_or_the_one_that_is_chosen():
    for where, expression in expressions().items():
        text = expression.replace('instance=~"$instance"', "")
        if where != "instance":
            assert text != expression, where
