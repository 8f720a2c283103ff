"""The commands that speak to the daemon, for people and as JSON."""

import json
import threading

from commandline import (
    BAD_DATA, CONFIGURATION, DENIED, NO_INPUT, PRO, UNREACHABLE, USAGE, Cli, alone, cli)
from conftest import Daemon


def test_check_shows_a_decision(cli):
    token = cli.token_file(*PRO)
    said = cli("check", "--token-file", token, "-o", "chat", "-u", "tokens=3", "--explain").stdout
    assert said.startswith("allow\n") and "ada of acme, plan pro_tier" in said
    assert "burst: 4 of 5 left" in said and "monthly_tokens: 970 of 1000 left" in said
    header, *rows = [line.split() for line in said.splitlines() if "user" in line or "LIMIT" in line
                     or "organization" in line][-3:]
    assert header[0] == "LIMIT" and [row[3] for row in rows] == ["1", "30"]

    denied = cli("check", "--token-file", token, "-o", "batch", code=DENIED).stdout
    assert denied.startswith("deny  permissionDenied\n")
    said = cli("check", "--token-file", token, "--method", "GET", "--path", "/v1/models/x?y=z",
               "--address", "2001:db8::1", "--dry-run").stdout
    assert "dry run: nothing charged" in said and "operation" in said


def test_check_prints_a_decision_as_json(cli):
    token = cli.token_file(*PRO)
    decision = cli.json("check", "--token-file", token, "-o", "chat", "--units", "tokens=7",
                        "--explain")
    assert decision["verdict"] == "allow" and decision["reason"] == "none"
    assert decision["quota"] == {
        "name": "monthly_tokens", "limit": 1000, "remaining": 930,
        "reset_ms": decision["quota"]["reset_ms"]}
    assert [(l["name"], l["used"], l["refuses"]) for l in decision["limits"]] == [
        ("burst", 1, False), ("monthly_tokens", 70, False)]
    never = cli.json("check", "--token-file", token, "-o", "chat", "-u", "tokens=101", "--explain",
                     code=DENIED)
    assert never["reason"] == "quotaExhausted" and not never["retry_helps"]
    assert never["retry_after_ms"] is None and never["limits"][1]["refuses"]
    for _ in range(4):
        cli("check", "--token-file", token, "-o", "models")
    fast = cli.json("check", "--token-file", token, "-o", "models", code=DENIED)
    assert fast["reason"] == "rateLimited" and fast["retry_helps"]
    assert 0 < fast["retry_after_ms"] <= 1_100 and fast["rate_limit"]["remaining"] == 0


def test_tokens_come_from_a_file_standard_input_or_the_environment(cli):
    token = cli.token_file(*PRO)
    text = token.read_text()
    for arguments, options in [
        (("--token-file", token), {}), (("--token-file", "-"), {"stdin": text}),
        ((), {"env": {"TOLLGATE_TOKEN": text.strip()}}),
    ]:
        assert cli.json("check", "-o", "models", *arguments, **options)["user"] == "ada"
    missing = cli("check", "-o", "models", code=DENIED)
    assert missing.stdout == "deny  credentialMissing\n  operation  models\n"
    assert "--token-file" in missing.stderr and "TOLLGATE_TOKEN" in missing.stderr
    # A directory, a file that is not there, and more than any token.
    assert "Is a directory" in cli.error("check", "-o", "x", "--token-file", "/tmp", code=NO_INPUT)
    cli.error("check", "-o", "x", "--token-file", "/nowhere", code=NO_INPUT)
    cli.error("check", "-o", "x", "--token-file", "-", stdin="x" * 9_000, code=USAGE)
    cli.error("check", "-o", "x", "--token-file", "-", stdin="x" * (2 << 20), code=BAD_DATA)


def test_no_secret_may_be_an_argument(cli):
    for option in ("--token", "--secret", "--key", "--password"):
        cli("check", "-o", "chat", option, "x", code=USAGE)
        cli("token", "mint", "--user", "x", option, "x", code=USAGE)


def test_usage_shows_what_was_used(cli):
    token = cli.token_file(*PRO)
    cli("check", "--token-file", token, "-o", "chat", "-u", "tokens=3")
    said = cli("usage", "acme", "ada").stdout
    assert said.startswith("plan pro_tier\nLIMIT ")
    assert [line.split()[3] for line in said.splitlines()[2:]] == ["1", "30"]
    report = cli.json("usage", "acme", "ada")
    assert (report["plan"], report["user"]) == ("pro_tier", "ada")
    assert {limit["name"]: limit["used"] for limit in report["limits"]} == {
        "burst": 1, "monthly_tokens": 30}
    organization = cli.json("usage", "acme")
    assert organization["user"] is None
    assert [limit["name"] for limit in organization["limits"]] == ["monthly_tokens"]
    assert "nothing is known of nobody" in cli("usage", "nobody").stdout
    assert cli.json("usage", "nobody") == {
        "organization": "nobody", "user": None, "plan": None, "limits": [], "credits": []}
    assert len(cli.json("usage", "nobody", "x", "--plan", "pro_tier")["limits"]) == 2
    assert "no limits" in cli("usage", "nobody", "x", "--plan", "open_tier").stdout
    cli.error("usage", "nobody", "--plan", "no_tier", code=USAGE)
    cli.error("usage", "x" * 129, code=USAGE)


def test_a_lone_users_usage(cli):
    token = cli.token_file("--plan", "pro_tier")
    said = cli("check", "--token-file", token, "-o", "chat", "-u", "tokens=2").stdout
    assert "ada on its own, plan pro_tier" in said
    report = cli.json("usage", "ada", "--personal")
    assert {limit["name"]: limit["used"] for limit in report["limits"]} == {
        "burst": 1, "monthly_tokens": 20}


def test_stats_shows_counters_and_gauges(cli):
    cli("check", "-o", "models", code=DENIED)
    said = cli("stats").stdout.splitlines()
    assert said[0].split() == ["NAME", "KIND", "VALUE"]
    name = 'tollgate_decisions_total{verdict="deny",reason="credentialMissing"}'
    assert [line.split() for line in said if name in line] == [[name, "total", "1"]]
    assert not any(line.endswith(" 0") for line in said)
    assert len(cli("stats", "--all").stdout.splitlines()) > len(said)
    numbers = cli.json("stats")
    assert numbers[name] == 1 and numbers["tollgate_policy_generation"] == 1
    assert any(value == 0 for value in numbers.values())


def test_top_watches_decisions(cli):
    token = cli.token_file(*PRO)
    stop = threading.Event()

    def load():
        while not stop.is_set():
            cli("check", "--token-file", token, "-o", "chat", "--dry-run")
            cli("check", "-o", "chat", code=DENIED)

    loader = threading.Thread(target=load)
    loader.start()
    try:
        lines = cli("top", "--count", 2, "--interval", 0.5, "--json").stdout.splitlines()
        table = cli("top", "--count", 1, "--interval", 0.5).stdout
        live = cli.on_terminal("top", "--count", 2, "--interval", 0.2)
    finally:
        stop.set()
        loader.join()
    looks = [json.loads(line) for line in lines]
    assert len(looks) == 2
    for look in looks:
        decisions = look["decisions"]
        assert look["seconds"] >= 0.5 and decisions["all"]["per_second"] > 0
        assert decisions["all"]["total"] == (
            decisions["allowed"]["total"] + decisions["denied"]["total"])
        assert decisions["by_reason"]["credentialMissing"]["total"] == decisions["denied"]["total"]
        assert look["gauges"]["tollgate_policy_generation"] == 1
    assert looks[1]["decisions"]["all"]["total"] > looks[0]["decisions"]["all"]["total"]

    rows = {line.split("  ")[0].strip() or line.split()[0]: line.split()
            for line in table.splitlines() if line}
    assert "\x1b" not in table and table.startswith("tollgated ")
    assert any(line.strip().startswith("credentialMissing ") for line in table.splitlines())
    assert {"allowed", "denied", "all decisions"} <= set(rows)
    # In place: cleared once, then from the top again.
    assert live.count("\x1b[2J") == 1 and live.count("\x1b[H") == 2
    assert live.count("DECISIONS") == 2 and "\x1b[K" in live


def test_reload_puts_a_policy_in_force_or_says_why_not(cli):
    assert cli("reload").stdout == "policy generation 2 is in force\n"
    assert cli.json("reload") == {"policy_generation": 3}
    cli.daemon.policy.write_text("version: 1\nplanss: {}\n")
    said = cli.error("reload", code=CONFIGURATION)
    assert "planss" in said and "the one in force stays" in said
    assert cli.json("health")["policy_generation"] == 3


def test_health_and_version(cli, alone):
    assert cli("health").stdout.startswith("healthy: version ")
    assert cli("health", "--quiet").stdout == ""
    assert cli.json("health")["healthy"] is True
    assert cli.json("health", "--socket", cli.daemon.admin)["policy_generation"] == 1
    for said in (alone("version").stdout, alone("--version").stdout):
        assert said.startswith("tollgate 0.")
    assert alone.json("version")["protocol"] == 1


def test_stop_ends_the_daemon():
    for arguments in ((), ("--json",)):
        made = Daemon()
        try:
            done = Cli(made)("stop", *arguments)
            assert "stopping" in done.stdout
            assert made.process.wait(20) == 0
            Cli(made).error("health", code=UNREACHABLE)
        finally:
            made.remove()
