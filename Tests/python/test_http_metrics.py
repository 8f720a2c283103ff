"""tollgate-http in front of a real daemon: its numbers are those of what was asked."""

import re
import threading

import pytest
import test_alerts
import test_http_rules
from conftest import ROOT
from hardening import eventually
from http_exporter import (OPENMETRICS, Exporter, Prometheus, everything, lint, metrics, samples)
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tollgate import Client

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture(scope="module")
def world():
    """A daemon that has everything, and a decision of some kinds."""
    with everything() as made, Exporter(made.admin, port=True) as exporter:
        spend(made, 30)
        assert made.callers.check("nonsense", operation="look").reason != "none"
        yield made, exporter


def spend(made, count, **more):
    for _ in range(count):
        test_alerts.spend(made, 1, **more)


def test_the_counts_are_those_of_what_was_asked(daemon):
    with Exporter(daemon.admin) as exporter, Client(daemon.data) as client:
        def counts():
            found = exporter.scrape()
            return {name: found[name] for name in found if "decisions_total" in name}

        before = counts()
        token = test_alerts.test_daemon.pyjwt_token(daemon)
        allowed = sum(client.check(token, operation="chat").allowed for _ in range(20))
        refused = [client.check("nonsense", operation="chat") for _ in range(3)]
        unknown = client.check(token, operation="nothing")
        after = counts()
    assert 0 < allowed < 20 and len(refused) == 3 and unknown.reason == "operationUnknown"
    grown = {name: after[name] - before[name] for name in after if after[name] > before[name]}
    deny = 'tollgate_decisions_total{verdict="deny",reason='
    assert grown == {
        'tollgate_decisions_total{verdict="allow",reason="none"}': allowed,
        f'{deny}"rateLimited"}}': 20 - allowed, f'{deny}"credentialMalformed"}}': 3,
        f'{deny}"operationUnknown"}}': 1,
        'tollgate_operation_decisions_total{operation="chat",verdict="allow"}': allowed,
        'tollgate_operation_decisions_total{operation="chat",verdict="deny"}':
            20 - allowed + 3,
    }


def test_counts_by_operation_outlive_a_reload_that_turns_operations_round(daemon):
    def allowed(exporter, operation):
        name = f'tollgate_operation_decisions_total{{operation="{operation}",verdict="allow"}}'
        return exporter.scrape().get(name)

    with Exporter(daemon.admin) as exporter, Client(daemon.data) as client:
        token = test_alerts.test_daemon.pyjwt_token(daemon, plan="open_tier")
        for _ in range(3):
            assert client.check(token, operation="models").allowed
        policy = daemon.policy.read_text()
        first = "operations:\n  extra: {}\n  a\\\"b: {}\n"
        daemon.policy.write_text(policy.replace("operations:\n", first.replace("\\\"", '"')))
        with Client(daemon.admin) as admin:
            admin.reload()
            for name, count in [("models", 2), ("extra", 4), ('a"b', 5)]:
                for _ in range(count):
                    assert client.check(token, operation=name).allowed
            found = {name: allowed(exporter, name) for name in ("models", "extra", 'a\\"b', "chat")}
            assert found == {"models": 5, "extra": 4, 'a\\"b': 5, "chat": 0}
            daemon.policy.write_text(policy)
            admin.reload()
            assert client.check(token, operation="models").allowed
            daemon.policy.write_text("version: 2\n")
            with pytest.raises(Exception, match="version"):
                admin.reload()
        last = exporter.scrape()
        assert allowed(exporter, "models") == 6 and allowed(exporter, "extra") == 4
        assert last['tollgate_policy_reloads_total{result="success"}'] == 2
        assert last['tollgate_policy_reloads_total{result="failure"}'] == 1
        assert last["tollgate_policy_generation"] == 3
        lint(exporter.ask()[2])


def test_a_policy_of_many_operations_is_counted_within_bounds(daemon):
    names = [f"{'n' * 90}{number}" for number in range(300)]
    many = "".join(f"  {name}: {{}}\n" for name in names)
    daemon.policy.write_text(daemon.policy.read_text().replace("operations:\n",
                                                               "operations:\n" + many))
    with Exporter(daemon.admin) as exporter, Client(daemon.data) as client:
        with Client(daemon.admin) as admin:
            admin.reload()
        token = test_alerts.test_daemon.pyjwt_token(daemon, plan="open_tier")
        for name in names:
            assert client.check(token, operation=name).allowed
        found = exporter.scrape()
    counted = [value for name, value in found.items()
               if "operation_decisions" in name and 'verdict="allow"' in name]
    assert len(counted) == 64 and sum(counted) == 300 and max(counted) > 200
    assert found["tollgate_frames_total"] > 300


@pytest.mark.parametrize("accept, given", [
    ("", TEXT), ("*/*", TEXT), ("text/plain", TEXT), ("application/json", TEXT),
    (OPENMETRICS, OPEN), ("application/openmetrics-text", OPEN),
    ("application/openmetrics-text; version=0.0.1", TEXT),
    ("application/openmetrics-text;version=1.0.0;q=0.3,text/plain;q=0.5", TEXT),
    ("application/openmetrics-text;version=1.0.0;q=0,*/*", TEXT),
    ("application/openmetrics-text;version=1.0.0;q=nan", TEXT),
    ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
     "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPEN), (";,;q=,=,\t", TEXT)])
def test_the_format_is_the_one_that_is_asked_for(world, accept, given):
    status, headers, body = world[1].ask(Accept=accept)
    assert status == 200 and headers["content-type"] == given
    assert body.endswith("# EOF\n") == (given == OPEN)


def test_both_formats_are_well_formed_and_say_the_same(world):
    text, opened = world[1].ask()[2], world[1].ask(Accept=OPENMETRICS)[2]
    lint(text)
    families = list(text_string_to_metric_families(opened))
    parsed = {sample.name for family in families for sample in family.samples}
    assert parsed == metrics(text)
    kinds = {family.name: family.type for family in families}
    assert kinds["tollgate_frame_duration_seconds"] == "histogram"
    assert kinds["tollgate_decisions"] == "counter" and kinds["tollgate_build"] == "info"
    assert all(family.documentation for family in families)
    # What does not move between the two.
    still = [name for name in samples(text) if "decisions" in name or "policy" in name]
    assert len(still) > 30
    assert all(samples(text)[name] == samples(opened)[name] for name in still)


def test_every_metric_has_words_of_its_own_and_units_are_base_units(world):
    text = world[1].ask()[2]
    assert "not known to this version" not in text
    assert not [name for name in metrics(text)
                if re.search(r"nanoseconds|milliseconds|_(counter|gauge|histogram)(_|$)", name)]
    assert samples(text)["tollgate_http_skipped_statistics"] == 0


def test_no_label_is_about_a_caller(world):
    text = world[1].ask()[2]
    labels = set(re.findall(r'[{,](\w+)="', text))
    assert labels == {"verdict", "reason", "status", "state", "result", "operation", "le",
                      "version", "path", "overload", "code"}
    assert not re.search(r'="(ada|acme)', text)


@pytest.fixture(scope="module")
def with_organizations(world):
    """What is exported where organizations may be named."""
    with Exporter(world[0].admin, "--top-organizations", 3) as exporter:
        exporter.scrape()
        spend(world[0], 5)
        eventually(lambda: "tollgate_organization_decisions_total" in metrics(exporter.ask()[2]))
        yield exporter.ask()[2]


def test_whatever_rules_and_dashboard_name_is_exported(with_organizations):
    missing = test_http_rules.named() - metrics(with_organizations)
    assert not missing


def test_the_readme_names_metrics_that_are_exported(with_organizations):
    readme = (ROOT / "README.md").read_text()
    chapter = readme.split("\n## Metrics\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`(tollgate_\w+)", chapter))
    families = {name.removesuffix("_bucket") for name in metrics(with_organizations)}
    assert len(named) > 10 and not named - families


def test_a_histogram_adds_up(world):
    found = world[1].scrape()
    name = "tollgate_frame_duration_seconds"
    counts = [value for sample, value in found.items() if sample.startswith(f"{name}_bucket")]
    assert counts == sorted(counts) and len(counts) == 22
    assert counts[-1] == found[f"{name}_count"] and found[f"{name}_sum"] > 0
    assert found[f"{name}_count"] <= found["tollgate_frames_total"]
    assert found["tollgate_resident_memory_bytes"] > 1 << 20 and found["tollgate_cpu_seconds_total"]


def test_a_real_prometheus_has_the_counts():
    with everything() as made, Exporter(made.admin, port=True) as exporter, \
            Prometheus(exporter.port) as prometheus:
        eventually(lambda: prometheus.query("tollgate_up") == 1, 30)
        spend(made, 100)
        for _ in range(7):
            assert not made.callers.check("nonsense", operation="look").allowed
        eventually(lambda: prometheus.query("sum(tollgate_decisions_total)") == 107)
        assert prometheus.query('tollgate_decisions_total{verdict="allow"}') == 100
        assert prometheus.query('tollgate_decisions_total{reason="credentialMalformed"}') == 7
        assert prometheus.query(
            'tollgate_operation_decisions_total{operation="look",verdict="allow"}') == 100
        assert prometheus.query("tollgate_audit_recorded_total") == 107
        rules = prometheus.get("/api/v1/rules")["data"]["groups"]
        eventually(lambda: all(
            rule["health"] == "ok" for group in prometheus.get("/api/v1/rules")["data"]["groups"]
            for rule in group["rules"]))
        assert sum(len(group["rules"]) for group in rules) == len(test_http_rules.SCENARIOS) + 2
        target = prometheus.get("/api/v1/targets")["data"]["activeTargets"][0]
        assert target["health"] == "up" and not target["lastError"]
        # A daemon that is killed, and another one in its place.
        made.kill()
        eventually(lambda: prometheus.query("tollgate_up") == 0)
        assert prometheus.query('up{job="tollgate"}') == 1
        made.start()
        eventually(lambda: prometheus.query("tollgate_up") == 1)


def test_many_scrapers_at_once_all_get_whole_answers(world):
    made, exporter = world
    failures = []

    def scrape():
        try:
            for _ in range(10):
                assert exporter.scrape()["tollgate_up"] == 1
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=scrape) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert made.callers.check("nonsense", operation="look").reason
