"""What operators do about alerts: acknowledged, silenced and tested, over kills, and by whom."""

import json
import re
import subprocess

import audit_daemon as audit
import pytest
import tollgate
from commandline import TOLLGATE, Cli
from directory_daemon import Place
from hardening import eventually
from ledger_damage import RESET_PLAN, policy_with
from test_alerts import TODAY, AlertPlace, daemon, spend, told

QUIET = {**TODAY, "costly_operation": {"enabled": False}, "quota_threshold": {"percents": [80]}}


def when_told(made, count):
    eventually(lambda: len(told(made)) == count, 20)
    return told(made)


def test_an_acknowledgement_outlives_a_kill_and_the_log_says_who():
    with daemon(QUIET) as made:
        spend(made, 800)
        (alert,) = when_told(made, 1)
        noted = made.admins.alerts.ack(alert["id"], note="a larger plan is due")
        assert noted.rule == "quota_threshold" and noted.value == 800 and not noted.silenced
        made.die_and_start_again()
        (after,) = told(made)
        assert (after["acknowledged_at"], after["note"]) == (noted.acknowledged_at, noted.note)
        again = made.admins.alerts.ack(alert["id"])
        assert again == noted
        assert list(made.admins.alerts.list()) == [noted]
        with pytest.raises(tollgate.NotFound):
            made.admins.alerts.ack(99)
        assert re.search(rf"alert {alert['id']} acknowledged by uid \d+, pid \d+: a larger plan",
                         made.logged())


def test_what_is_silenced_fires_and_is_told_to_nobody_until_the_silence_is_removed():
    with daemon(QUIET) as made:
        silence = made.admins.silences.create(
            rule="quota_threshold", organization="acme", for_seconds=3_600, note="they know")
        made.die_and_start_again()
        assert list(made.admins.silences.list()) == [silence]
        assert 3_590_000 < silence.until_at - silence.at <= 3_600_000
        spend(made, 800)
        spend(made, 800, "beta")
        alerts = when_told(made, 2)
        assert [one["silenced"] for one in alerts] == [True, False]
        assert made.admins.silences.remove(silence.id) == silence
        made.die_and_start_again()
        assert list(made.admins.silences.list()) == []
        logged = made.logged()
        stats = made.admins.stats()
    assert f"alert {alerts[1]['id']}:" in logged and f"alert {alerts[0]['id']}:" not in logged
    assert f"silence {silence.id} made by uid" in logged
    assert f"silence {silence.id} removed by uid" in logged
    assert stats["tollgate_alerts_fired_total"] == 0


def test_a_test_goes_out_though_all_is_silenced_and_counts_for_no_rule():
    with daemon(QUIET) as made:
        made.admins.silences.create(for_seconds=60)
        test = made.admins.alerts.test("quota_threshold")
        assert (test.kind, test.rule, test.silenced) == ("test", "quota_threshold", False)
        assert f"alert {test.id}: quota_threshold: test: " in made.logged()
        stats = made.admins.stats()
        assert stats["tollgate_alerts_tests_total"] == 1
        assert stats["tollgate_alerts_fired_total"] == 0
        spend(made, 800)
        alerts = when_told(made, 2)
        assert [one["kind"] for one in alerts] == ["test", "quota_threshold"]
        for rule in ("quota_treshold", "test"):
            with pytest.raises(tollgate.InvalidValue, match="no rule of that name"):
                made.admins.alerts.test(rule)


def test_a_silence_that_cannot_be_is_refused_and_their_number_is_bounded():
    with daemon(QUIET) as made:
        silences = made.admins.silences
        year = 366 * 86_400_000
        now = silences.create(for_seconds=1).at
        for bad in ({}, {"for_seconds": 5, "until_at": now + 60_000}, {"until_at": now - 1},
                    {"until_at": now + year + 60_000}, {"rule": "none", "for_seconds": 5}):
            with pytest.raises(tollgate.InvalidValue):
                silences.create(**bad)
        eventually(lambda: list(silences.list()) == [], 20)
        made_of = [silences.create(organization=f"o{number}", for_seconds=600).id
                   for number in range(100)]
        with pytest.raises(tollgate.Conflict):
            silences.create(for_seconds=5)
        assert [one.id for one in silences.list()] == made_of[::-1]


def test_a_silence_of_what_cannot_be_is_refused_and_says_what_to_do():
    with daemon(QUIET) as made:
        cli = Cli(made)
        for member, value, said in (
                ("address", "garbage", "2001:db8::/64"), ("address", "203.0.113.0/24", "each"),
                ("quota", "monthly", "tollgate policy show"),
                ("operation", "lok", "tollgate policy show"),
                ("trouble", "legder", "audit_dropped")):
            refused = cli("alerts", "silence", f"--{member}", value, "--for", "1h", code=64)
            assert f"{member}: " in refused.stderr and said in refused.stderr
            with pytest.raises(tollgate.InvalidValue):
                made.admins.silences.create(**{member: value}, for_seconds=60)
        assert list(made.admins.silences.list()) == []
        for word in ("ledger", "audit", "audit_unproven", "audit_dropped", "audit_refused",
                     "alerts_spool", "clock", "capacity", "addresses"):
            made.admins.silences.create(trouble=word, for_seconds=60)
        made.admins.silences.create(operation="look", quota="small_tokens", for_seconds=60)


def test_a_silence_of_an_address_holds_however_it_is_spelled():
    rules = {**QUIET, "invalid_credentials_source": {"count": 5}}
    with daemon(rules) as made:
        for spelled in ("2001:DB9:0:0::/64", "2001:db9::7"):
            made_of = made.admins.silences.create(address=spelled, for_seconds=3_600)
            assert made_of.address == "2001:db9::/64"
            made.admins.silences.remove(made_of.id)
        made.admins.silences.create(address="2001:db9::7", for_seconds=3_600)
        for address in ("2001:db9::1", "2001:db9:0:1::1"):
            for _ in range(8):
                made.callers.check("nonsense", operation="look", address=address)
        alerts = when_told(made, 2)
        assert [(one["address"], one["silenced"]) for one in alerts] == [
            ("2001:db9::/64", True), ("2001:db9:0:1::/64", False)]


def test_a_disk_that_takes_nothing_changes_nothing():
    with daemon(QUIET) as made:
        spend(made, 800)
        (alert,) = when_told(made, 1)
        folder = made.place.alerts
        # A folder in the way of the file that is written beside: also root fails at that.
        part = folder / "alerts.state.part"
        part.mkdir()
        (part / "full").touch()
        with pytest.raises(tollgate.StorageFailed):
            made.admins.alerts.ack(alert["id"])
        with pytest.raises(tollgate.StorageFailed):
            made.admins.silences.create(for_seconds=60)
        assert list(made.admins.silences.list()) == []
        assert [one.acknowledged_at for one in made.admins.alerts.list()] == [None]
        (part / "full").unlink()
        part.rmdir()
        assert made.admins.alerts.ack(alert["id"]).acknowledged_at
        assert "acknowledged_at" in told(made)[0]


def test_the_commands_do_the_same_and_say_what_is_wrong():
    with daemon(QUIET) as made:
        cli = Cli(made)
        spend(made, 800)
        (alert,) = when_told(made, 1)
        said = cli("alerts", "ack", alert["id"], "--note", "a larger plan").stdout
        assert "a larger plan" in said
        assert "(acknowledged)" in cli("alerts", "list").stdout
        made_of = cli.json("alerts", "silence", "--rule", "quota_forecast", "--quota",
                           "small_tokens", "--for", "2h", "--json")["silence"]
        shown = cli("alerts", "silence", "list").stdout
        assert "quota_forecast" in shown and "quota small_tokens" in shown
        assert cli.json("alerts", "silence", "list", "--json")["items"] == [made_of]
        cli("alerts", "silence", "remove", made_of["id"])
        assert "nothing is listed" in cli("alerts", "silence", "list").stderr
        assert cli.json("alerts", "test", "--json")["alert"]["kind"] == "test"
        assert "no rule of that name" in cli("alerts", "test", "--rule", "x", code=64).stderr
        assert "tollgate alerts list shows" in cli("alerts", "ack", 99, code=1).stderr
        said = cli("alerts", "silence", "remove", 99, code=1).stderr
        assert "tollgate alerts silence list shows" in said and "org list" not in said
        for words in (["--rule", "quota_forecast"], ["--for", "1h"], ["--for", "367d", "--all"],
                      ["--all", "--rule", "x", "--for", "1h"]):
            assert cli("alerts", "silence", *words, code=64).stderr


def test_alerts_are_listed_by_time_severity_and_who_took_note():
    with daemon({**QUIET, "quota_threshold": {"percents": [80, 100]}}) as made:
        spend(made, 800)
        spend(made, 200)
        when_told(made, 2)
        made.admins.alerts.test()
        (warning, critical, test) = when_told(made, 3)
        assert [one["severity"] for one in (warning, critical, test)] == [
            "warning", "critical", "info"]
        made.admins.alerts.ack(warning["id"])

        def listed(*words):
            return [one["id"] for one in told(made, *words)]

        assert listed("--severity", "warning") == [warning["id"], critical["id"]]
        assert listed("--severity", "critical") == [critical["id"]]
        assert listed("--unacknowledged") == [critical["id"], test["id"]]
        assert listed("--since", "1h") == [warning["id"], critical["id"], test["id"]]
        assert listed("--since", "2030-01-01") == []
        cli = Cli(made)
        assert "a severity is info" in cli(
            "alerts", "list", "--severity", "bad", code=64).stderr
        assert "acknowledged" in cli("alerts", "list", "--no-color").stdout


def test_marks_that_turn_the_direction_are_spelled_out_in_the_log_and_the_list():
    with daemon(QUIET) as made:
        spend(made, 800, "ac\u202eme")
        when_told(made, 1)
        eventually(lambda: "ac\\u{202e}me: 80 %" in made.logged(), 20)
        assert "\u202e" not in made.logged()
        listed = Cli(made)("alerts", "list").stdout
        assert "ac\\u{202e}me" in listed and "\u202e" not in listed


def test_a_reset_lets_thresholds_fire_again_in_the_period_once():
    place, directory = AlertPlace(), Place()
    place.rules = QUIET
    try:
        with audit.daemon(place, policy=policy_with(directory)) as one:
            one.admins.organizations.create("acme", plan=RESET_PLAN)
            limit = next(one for one in one.callers.usage(
                "acme", "ada", plan=RESET_PLAN).limits if one.kind == "quota").limit
            for round in (1, 2, 3):
                assert one.charge("acme", "ada", limit * 8 // 10, plan=RESET_PLAN).allowed
                thresholds = when_told(one, round)
                assert {alert["threshold"] for alert in thresholds} == {80}
                one.die_and_start_again()
                assert one.charge("acme", "ada", 1, plan=RESET_PLAN).allowed
                one.admins.organizations.change_plan("acme", RESET_PLAN, mode="reset")
                if round == 2:
                    one.die_and_start_again()
            assert len(told(one)) == 3
    finally:
        place.remove()
        directory.remove()


def test_without_alerts_the_calls_are_conflicts_and_others_are_answered():
    with audit.daemon() as made:
        for ask in (made.admins.alerts.test, lambda: list(made.admins.silences.list())):
            with pytest.raises(tollgate.Conflict, match="no alerts"):
                ask()
        assert made.admins.ledger.status().state == "serving"
        done = subprocess.run(
            [TOLLGATE, "alerts", "list", "-c",
             str(made.policy)], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1 and "no alerts" in done.stderr


def test_who_follows_sees_each_alert_once_over_kills():
    with daemon(QUIET) as made:
        spend(made, 800, "before")
        when_told(made, 1)
        follower = subprocess.Popen(
            [TOLLGATE, "alerts", "list", "-f", "--directory", str(made.place.alerts), "--json",
             "--rule", "quota_threshold"], stdout=subprocess.PIPE, text=True)
        try:
            assert json.loads(follower.stdout.readline())["organization"] == "before"
            for number in range(3):
                spend(made, 800, f"o{number}")
                when_told(made, number + 2)
                made.die_and_start_again()
            made.admins.alerts.test()
            spend(made, 800, "last")
            seen = [json.loads(follower.stdout.readline()) for _ in range(4)]
        finally:
            follower.terminate()
            rest, _ = follower.communicate(timeout=20)
        assert [one["organization"] for one in seen] == ["o0", "o1", "o2", "last"] and not rest
        assert seen == [one for one in told(made) if one["kind"] != "test"][1:]
