"""What the commands of the directory ask the daemon for, and how they show what it answers.

The daemon is scripted; test_cli_directory_daemon.py has them against the real one."""

import calendar
import json

import pytest
from commandline import (
    CONFIGURATION, DENIED, FORBIDDEN, NOT_DONE, OUTPUT, TRY_AGAIN, UNEXPECTED, USAGE,
    script)

DAY = 86_400_000
AT = calendar.timegm((2026, 12, 31, 0, 0, 0)) * 1_000
SUBSCRIPTION = {"plan": "pro_tier", "status": "active", "anchor_at": AT, "time_zone": "UTC",
                "since_at": AT, "pending": None}
ACME = {"id": "acme", "name": "Acme Inc", "personal": False, "status": "active", "created_at": AT,
        "subscription": SUBSCRIPTION}
ADA = {"organization": "acme", "id": "ada", "name": "Ada", "role": "member", "status": "active",
       "created_at": AT}
KEY = {"organization": "acme", "id": "4fZq0Rk2vYb7NcX1", "prefix": "tg_live_4fZq0Rk2vYb7NcX1",
       "user": "ada", "name": "ci", "environment": "live", "creator": "uid 0", "created_at": AT,
       "last_used_at": None, "expires_at": None, "revoked_at": None, "state": "active",
       "rotating_until_at": None, "permissions": None, "addresses": None, "rate": None,
       "pepper": 1}
SESSION = {"organization": "acme", "id": "s1", "user": "ada", "created_at": AT,
           "expires_at": AT + DAY, "idle_seconds": 1_209_600, "revoked_at": None, "reason": None}
REVOCATION = {"organization": "acme", "personal": False, "kind": "user", "subject": "ada",
              "at": AT, "expires_at": AT + DAY}
OVERRIDE = {"organization": "acme", "user": None, "limit": "burst", "units": 9,
            "expires_at": None}
SIGNING = {"id": "k1", "algorithm": "HS256", "state": "verifying", "added_at": AT,
           "promoted_at": None, "demoted_at": None, "retired_at": None, "retirable_at": None}
TOKENS = {"access_token": "a.b.c", "token_type": "Bearer", "expires_in_seconds": 600,
          "expires_at": AT, "refresh_token": "tgr_" + "r" * 49, "session": SESSION}

# Arguments, the call, what it says beside its name, and the answer.
CALLS = [
    ("org create acme", "org.create", {"id": "acme"}, {"organization": ACME}),
    ("org create acme --name Acme --personal --plan pro_tier --time-zone Europe/Berlin "
     "--anchor 2026-12-31 --status trialing", "org.create",
     {"id": "acme", "name": "Acme", "personal": True, "plan": "pro_tier",
      "time_zone": "Europe/Berlin", "anchor_at": AT, "subscription_status": "trialing"},
     {"organization": ACME}),
    ("org show acme", "org.show", {"organization": "acme"}, {"organization": ACME}),
    ("org rename acme New", "org.rename", {"organization": "acme", "name": "New"},
     {"organization": ACME}),
    ("org suspend acme", "org.suspend", {"organization": "acme"}, {"organization": ACME}),
    ("org resume acme", "org.resume", {"organization": "acme"}, {"organization": ACME}),
    ("org delete acme --yes", "org.delete", {"organization": "acme"}, {"revocation": REVOCATION}),
    ("org cancel-plan-change acme", "org.cancel_plan_change", {"organization": "acme"},
     {"organization": ACME}),
    ("org set-subscription acme --status past_due --time-zone UTC --anchor 2026-12-31T00:00:00Z",
     "org.set_subscription",
     {"organization": "acme", "status": "past_due", "time_zone": "UTC", "anchor_at": AT},
     {"organization": ACME}),
    ("user create acme ada", "user.create",
     {"organization": "acme", "id": "ada", "role": "member"}, {"user": ADA}),
    ("user create acme ada --name Ada --role none", "user.create",
     {"organization": "acme", "id": "ada", "name": "Ada", "role": None}, {"user": ADA}),
    ("user show acme ada", "user.show", {"organization": "acme", "user": "ada"}, {"user": ADA}),
    ("user rename acme ada Eda", "user.rename",
     {"organization": "acme", "user": "ada", "name": "Eda"}, {"user": ADA}),
    ("user set-role acme ada owner", "user.set_role",
     {"organization": "acme", "user": "ada", "role": "owner"}, {"user": ADA}),
    ("user set-role acme ada none", "user.set_role",
     {"organization": "acme", "user": "ada", "role": None}, {"user": ADA}),
    ("user suspend acme ada", "user.suspend", {"organization": "acme", "user": "ada"},
     {"user": ADA}),
    ("user resume acme ada", "user.resume", {"organization": "acme", "user": "ada"},
     {"user": ADA}),
    ("user delete acme ada -y", "user.delete", {"organization": "acme", "user": "ada"},
     {"revocation": REVOCATION}),
    ("key show acme 4fZq0Rk2vYb7NcX1", "key.show",
     {"organization": "acme", "key": "4fZq0Rk2vYb7NcX1"}, {"key": KEY}),
    ("key show acme tg_live_4fZq0Rk2vYb7NcX1", "key.show",
     {"organization": "acme", "key": "4fZq0Rk2vYb7NcX1"}, {"key": KEY}),
    ("key edit acme K --name n --permission a --permission b --address 192.0.2.0/24 --rate 5/m "
     "--expires 2026-12-31", "key.edit",
     {"organization": "acme", "key": "K", "name": "n", "permissions": ["a", "b"],
      "addresses": ["192.0.2.0/24"], "rate": {"limit": 5, "window_seconds": 60},
      "expires_at": AT}, {"key": KEY}),
    ("key edit acme K --all-permissions --any-address --no-rate --never-expires", "key.edit",
     {"organization": "acme", "key": "K", "permissions": None, "addresses": None, "rate": None,
      "expires_at": None}, {"key": KEY}),
    ("key edit acme K --name n", "key.edit", {"organization": "acme", "key": "K", "name": "n"},
     {"key": KEY}),
    ("key revoke acme K --yes", "key.revoke", {"organization": "acme", "key": "K"}, {"key": KEY}),
    ("revoke key acme K --yes", "key.revoke", {"organization": "acme", "key": "K"}, {"key": KEY}),
    ("session show acme s1", "session.show", {"organization": "acme", "session": "s1"},
     {"session": SESSION}),
    ("session revoke acme s1 --yes", "session.revoke", {"organization": "acme", "session": "s1"},
     {"session": SESSION, "revocation": REVOCATION}),
    ("revoke session acme s1 --yes", "session.revoke",
     {"organization": "acme", "session": "s1"}, {"session": SESSION, "revocation": REVOCATION}),
    ("revoke token acme j1 --expires 2026-12-31 --yes", "revoke.token",
     {"organization": "acme", "jti": "j1", "expires_at": AT},
     {"revocation": REVOCATION, "known": True}),
    ("revoke user acme ada --yes", "revoke.user", {"organization": "acme", "user": "ada"},
     {"revocation": REVOCATION, "known": True}),
    ("revoke user ada --personal --yes", "revoke.user",
     {"organization": "ada", "personal": True, "user": "ada"},
     {"revocation": REVOCATION, "known": True}),
    ("revoke org acme --yes", "revoke.organization", {"organization": "acme"},
     {"revocation": REVOCATION, "known": True}),
    ("revoke organization acme --yes", "revoke.organization", {"organization": "acme"},
     {"revocation": REVOCATION, "known": True}),
    ("override set acme burst 9", "override.set",
     {"organization": "acme", "limit": "burst", "units": 9}, {"override": OVERRIDE}),
    ("override set acme burst 0 --user ada --expires 2026-12-31T01:00:00+01:00", "override.set",
     {"organization": "acme", "user": "ada", "limit": "burst", "units": 0, "expires_at": AT},
     {"override": OVERRIDE}),
    ("override remove acme burst --user ada", "override.remove",
     {"organization": "acme", "user": "ada", "limit": "burst"}, {}),
    ("signing-key add", "signing_key.add", {}, {"signing_key": SIGNING}),
    ("signing-key add k1", "signing_key.add", {"id": "k1"}, {"signing_key": SIGNING}),
    ("signing-key promote k1", "signing_key.promote", {"id": "k1"}, {"signing_key": SIGNING}),
    ("signing-key retire k1 --yes", "signing_key.retire", {"id": "k1"}, {"signing_key": SIGNING}),
    ("backup /var/tmp/copy", "backup.create", {"path": "/var/tmp/copy"},
     {"path": "/var/tmp/copy", "bytes": 40_960}),
    ("plan show pro_tier", "plan.show", {"plan": "pro_tier"},
     {"plan": {"name": "pro_tier", "permissions": ["p"], "limits": []}}),
    ("directory status", "directory.status", {},
     {"path": "/d", "organizations": 1, "users": 2, "keys": 3, "sessions": 4, "revocations": 5,
      "peppers": [{"generation": 1, "keys": 3, "configured": True}]}),
]


@pytest.mark.parametrize("line, call, says, answer", CALLS, ids=lambda one: str(one)[:40])
def test_a_command_makes_its_call_and_shows_the_answer(script, line, call, says, answer):
    script.answers[call] = answer
    shown = script.cli.json(*line.split())
    assert script.calls == [{"call": call} | says]
    assert shown == answer
    people = script.cli(*line.split())
    assert people.stdout.strip() != "" and "null" not in people.stdout and "{" not in people.stdout
    # What went wrong is said, and nothing is shown.
    script.answers[call] = (19, "not now: wait a little")
    assert "not now: wait a little" in script.cli.error(*line.split(), code=NOT_DONE)


def test_documents_are_shown_with_dates_and_words(script):
    script.answers["org.show"] = {"organization": ACME | {"subscription": SUBSCRIPTION | {
        "pending": {"plan": "free_tier", "mode": "reset", "at": AT + DAY}}}}
    said = script.cli("org", "show", "acme").stdout
    for words in ("Acme Inc", "pro_tier", "free_tier at 2027-01-01T00:00:00Z (reset)",
                  "2026-12-31T00:00:00Z"):
        assert words in said, words
    script.answers["key.show"] = {"key": KEY | {
        "rate": {"limit": 100, "window_seconds": 3_600}, "permissions": ["a", "b"],
        "addresses": ["192.0.2.0/24"], "last_used_at": AT}}
    said = script.cli("key", "show", "acme", "x").stdout
    for words in ("100/h", "a, b", "192.0.2.0/24", "expires                never"):
        assert words in said, words
    # A later daemon may say more, and need not say all.
    script.answers["user.show"] = {"user": {"id": "ada", "shoe_size": 38}, "more": [1]}
    assert "ada" in script.cli("user", "show", "acme", "ada").stdout
    script.answers["user.show"] = {"usr": {}}
    script.cli.error("user", "show", "acme", "ada", code=UNEXPECTED)
    script.answers["user.show"] = {"user": ADA | {"name": "\u202e\x1b[2J"}}
    said = script.cli("user", "show", "acme", "ada").stdout
    assert "\x1b" not in said and "\u202e" not in said


STATUSES = [
    (7, "forbidden", FORBIDDEN), (16, "notFound", NOT_DONE), (17, "alreadyExists", NOT_DONE),
    (18, "invalidValue", USAGE), (19, "conflict", NOT_DONE), (20, "storageFailed", OUTPUT),
    (21, "noDirectory", CONFIGURATION), (22, "busy", TRY_AGAIN), (23, "refreshRefused", DENIED),
    (4, "malformedBody", USAGE), (15, "internalError", UNEXPECTED)]


@pytest.mark.parametrize("number, name, code", STATUSES, ids=lambda one: str(one))
def test_a_refusal_has_its_exit_code_and_its_name(script, number, name, code):
    script.answers["org.show"] = (number, "the daemon's words")
    said = script.cli.error("org", "show", "acme", code=code)
    assert "the daemon's words" in said
    programs = script.cli("org", "show", "acme", "--json", code=code)
    assert json.loads(programs.stderr)["status"] == name


# MARK: destruction

DESTRUCTIONS = [
    "org delete acme", "user delete acme ada", "key revoke acme K", "revoke key acme K",
    "session revoke acme s1", "revoke session acme s1", "revoke token acme j1",
    "revoke user acme ada", "revoke organization acme", "signing-key retire k1"]
ANY = {"revocation": REVOCATION, "known": True, "key": KEY, "session": SESSION,
       "signing_key": SIGNING}


@pytest.fixture
def willing(script):
    for line, call, *_ in CALLS:
        script.answers[call] = ANY
    return script


@pytest.mark.parametrize("line", DESTRUCTIONS)
def test_destruction_asks_first(willing, line):
    said = willing.cli.error(*line.split(), code=USAGE)
    assert "--yes" in said and "nothing was changed" in said
    for keys in ("n\n", "\n", "no\n", "yess\n", "\x04"):
        sent, code = willing.cli.typed(keys, *line.split())
        assert code == NOT_DONE and "[y/N]" in sent and "nothing was changed" in sent, keys
    assert willing.calls == []
    for keys in ("y\n", "Yes\n"):
        sent, code = willing.cli.typed(keys, *line.split())
        assert code == 0, sent
    sent, code = willing.cli.typed("", *line.split(), "--yes")
    assert code == 0 and "[y/N]" not in sent
    assert len(willing.calls) == 3


def test_what_can_be_undone_does_not_ask(willing):
    for line in ("org suspend acme", "user suspend acme ada", "override remove acme burst"):
        willing.answers[f"{line.split()[0]}.suspend"] = {"organization": ACME, "user": ADA}
        willing.cli(*line.split())
    assert len(willing.calls) == 3


def test_revoking_tells_when_the_directory_knows_nobody_of_that_name(script):
    script.answers["revoke.user"] = {"revocation": REVOCATION, "known": False}
    said = script.cli("revoke", "user", "acme", "bob", "--yes")
    assert "is revoked" in said.stdout and "knows no user bob of acme" in said.stderr
    script.answers["revoke.user"] = {"revocation": REVOCATION, "known": True}
    assert script.cli("revoke", "user", "acme", "bob", "--yes").stderr == ""
    script.cli("revoke", "user", "acme", "--yes", code=USAGE)
