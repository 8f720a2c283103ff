"""What commands and the daemon say of alerts where something is wrong, and of what fires."""

import subprocess

import audit_daemon as audit
import test_daemon
from hardening import eventually
from test_alerts import TODAY, daemon, spend, told
from test_alerts_files import TOLLGATED

QUIET = {**TODAY, "quota_threshold": {"enabled": False}}


def test_an_operation_that_costs_nothing_and_is_named_is_not_called_costly():
    rules = {**QUIET, "costly_operation": {"cost_min": 1_000_000, "operations": ["look"]}}
    with daemon(rules) as made:
        free = test_daemon.pyjwt_token(made, sub="ada", org="free", plan=audit.PLAN)
        assert made.callers.check(free, operation="look", units={"tokens": 1}).allowed
        assert spend(made, 20, "paying").allowed
        eventually(lambda: len(told(made)) == 2, 20)
        alerts = {one["organization"]: one["text"] for one in told(made)}
    assert alerts["free"] == (
        "organization free: first use of operation look, which its rule names: 0 micro-units")
    assert alerts["paying"] == (
        "organization paying: first costly use of operation look: 2000000 micro-units")


def test_a_second_daemon_is_told_whose_the_alerts_directory_is():
    with daemon() as made:
        other = made.policy.with_name("second.yaml")
        text = made.policy.read_text()
        for kind in ("audit", "ledger"):
            aside = made.place.path / f"second-{kind}"
            aside.mkdir(mode=0o700)
            text = text.replace(f'"{getattr(made.place, kind)}"', f'"{aside}"')
        other.write_text(text.replace(made.data, made.data + "2").replace(
            made.admin, made.admin + "2"))
        done = subprocess.run([TOLLGATED, "-c", str(other)], capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.returncode == 75, done.stderr
        assert "another daemon keeps its alerts there" in done.stderr
        assert "writes the audit log" not in done.stderr


def test_a_damaged_file_of_alerts_says_what_to_do_and_nothing_of_another_command(tmp_path):
    (tmp_path / "alerts.state").write_bytes(b"x" * 100)
    done = audit.ended("alerts", "list", "--directory", tmp_path, code=65)
    assert "put it back from a backup, or move it away" in done.stderr
    assert "audit verify" not in done.stderr


def test_a_silence_that_is_over_names_its_option():
    for when in ("2020-01-01", "2200-01-01"):
        done = audit.ended("alerts", "silence", "--all", "--until", when, code=64)
        assert "--until is ahead of now" in done.stderr and "until_at" not in done.stderr


def test_a_directory_without_alerts_is_none(tmp_path):
    for where in (tmp_path, tmp_path / "none"):
        for words in ([], ["--json"], ["-f"]):
            done = audit.ended("alerts", "list", "--directory", where, *words, code=66)
            assert "alerts: path" in done.stderr and done.stdout == ""
    with daemon() as made:
        assert told(made) == []
