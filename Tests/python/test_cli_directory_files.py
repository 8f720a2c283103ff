"""Secrets, lists, records and signing keys on the command line, against a scripted daemon."""

import calendar
import os
import stat
import subprocess
import time

import pytest
from commandline import (
    BAD_DATA, DENIED, FORBIDDEN, NO_INPUT, NOT_DONE, OUTPUT, TOLLGATE, UNEXPECTED, UNREACHABLE,
    USAGE, script)
from test_cli_directory import ACME, AT, DAY, KEY, OVERRIDE, REVOCATION, SESSION, SIGNING, TOKENS

SECRET = "tg_live_" + "s" * 54


# MARK: secrets

def key_create(script, *arguments, **options):
    script.answers["key.create"] = script.answers["key.rotate"] = {"key": KEY, "secret": SECRET}
    return script.cli("key", *arguments, **options)


def test_a_key_is_shown_once_and_alone(script):
    made = key_create(script, "create", "acme", "ada")
    assert made.stdout == SECRET + "\n" and SECRET not in made.stderr
    assert KEY["prefix"] in made.stderr
    assert script.last() == {"organization": "acme", "user": "ada"}
    key_create(script, "create", "acme", "ada", "--name", "ci", "--environment", "test",
               "--permission", "a", "--address", "::1", "--rate", "7/d", "--creator", "eve",
               "--expires", "2026-12-31")
    assert script.last() == {
        "organization": "acme", "user": "ada", "name": "ci", "environment": "test",
        "permissions": ["a"], "addresses": ["::1"], "rate": {"limit": 7, "window_seconds": 86_400},
        "creator": "eve", "expires_at": AT}
    assert script.cli.json("key", "create", "acme", "ada") == {"key": KEY, "secret": SECRET}
    made = key_create(script, "rotate", "acme", "K", "--overlap", "1h30m")
    assert made.stdout == SECRET + "\n"
    assert script.last() == {"organization": "acme", "key": "K", "overlap_seconds": 5_400}
    key_create(script, "rotate", "acme", "K")
    assert script.last() == {"organization": "acme", "key": "K"}


def test_a_secret_goes_to_a_new_file_of_its_owner(script, tmp_path):
    path = tmp_path / "key"
    os.umask(0)
    try:
        made = key_create(script, "create", "acme", "ada", "--secret-file", path)
    finally:
        os.umask(0o022)
    assert path.read_text() == SECRET + "\n" and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.stdout == "" and SECRET not in made.stderr
    # It never overwrites, and then makes no secret either.
    asked = len(script.calls)
    said = script.cli.error("key", "create", "acme", "ada", "--secret-file", path, code=OUTPUT)
    assert "not there yet" in said and len(script.calls) == asked
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    script.cli.error("key", "create", "acme", "ada", "--secret-file", link, code=OUTPUT)
    script.cli.error("key", "create", "acme", "ada", "--secret-file", tmp_path / "no/k",
                     code=OUTPUT)
    # As JSON it is left out.
    other = tmp_path / "other"
    shown = script.cli.json("key", "create", "acme", "ada", "--secret-file", other)
    assert shown == {"key": KEY, "secret_file": str(other)} and other.read_text() == SECRET + "\n"
    # Nothing is left behind when none was made.
    script.answers["key.create"] = (16, "no such user")
    script.cli.error("key", "create", "acme", "x", "--secret-file", tmp_path / "k", code=NOT_DONE)
    assert not (tmp_path / "k").exists() and not (tmp_path / "target").exists()


def test_tokens_go_to_standard_output_or_to_files(script, tmp_path):
    script.answers["token.issue"] = TOKENS
    made = script.cli("token", "issue", "acme", "ada", "--permission", "a")
    assert made.stdout == f"a.b.c\n{TOKENS['refresh_token']}\n"
    assert "2026-12-31T00:00:00Z" in made.stderr and "tgr_" not in made.stderr
    assert script.last() == {"organization": "acme", "user": "ada", "permissions": ["a"]}
    assert script.cli.json("token", "issue", "acme", "ada") == TOKENS

    script.answers["token.refresh"] = TOKENS | {"retried": False}
    access, refresh = tmp_path / "a", tmp_path / "r"
    (tmp_path / "old").write_text("tgr_old\n")
    shown = script.cli.json("token", "refresh", "--token-file", tmp_path / "old", "--access-file",
                            access, "--refresh-file", refresh)
    assert script.last() == {"refresh_token": "tgr_old"}
    assert shown["access_token_file"] == str(access) and "access_token" not in shown
    assert "refresh_token" not in shown
    assert (access.read_text(), refresh.read_text()) == ("a.b.c\n", TOKENS["refresh_token"] + "\n")
    made = script.cli("token", "refresh", "--token-file", "-", "--refresh-file", tmp_path / "r2",
                      stdin="tgr_new")
    assert made.stdout == "a.b.c\n" and script.last() == {"refresh_token": "tgr_new"}

    script.answers["session.end"] = {"session": SESSION}
    assert "s1" in script.cli("session", "end", "--token-file", "-", stdin="tgr_x\n").stdout
    assert script.last() == {"refresh_token": "tgr_x"}
    script.answers["token.refresh"] = (23, "log in again")
    said = script.cli.error("token", "refresh", "--token-file", "-", stdin="tgr_x", code=DENIED)
    assert "token issue" in said and "tgr_x" not in said
    script.cli.error("token", "refresh", "--token-file", "-", stdin="\n", code=BAD_DATA)
    script.cli.error("token", "refresh", "--token-file", "/nowhere", code=NO_INPUT)


def test_a_token_is_revoked_by_what_it_says(script):
    import jwt
    script.answers["revoke.token"] = {"revocation": REVOCATION, "known": True}

    def revoke(claims, *options, code=0):
        token = jwt.encode(claims, "k" * 32, "HS256")
        return script.cli("token", "revoke", "--token-file", "-", "--yes", *options, stdin=token,
                          code=code)

    revoke({"jti": 'j"1', "org": "acmé", "sub": "ada", "exp": AT // 1_000})
    assert script.last() == {"organization": "acmé", "jti": 'j"1', "expires_at": AT}
    revoke({"jti": "j", "sub": "ada"})
    assert script.last() == {"organization": "ada", "personal": True, "jti": "j"}
    revoke({"jti": "j", "tenant": "t", "sub": "ada"}, "--organization-claim", "tenant")
    assert script.last() == {"organization": "t", "jti": "j"}
    asked = len(script.calls)
    assert "no id" in revoke({"org": "acme"}, code=BAD_DATA).stderr
    revoke({"jti": 3, "org": "acme"}, code=BAD_DATA)
    revoke({"jti": "j"}, code=BAD_DATA)
    said = script.cli("token", "revoke", "--token-file", "-", "--yes", stdin="tgr_x",
                      code=BAD_DATA).stderr
    assert "session end" in said and "tgr_x" not in said and len(script.calls) == asked


def test_a_whole_key_is_no_argument(script):
    for command in (("show",), ("rotate",), ("revoke", "--yes"), ("edit", "--name", "n")):
        said = script.cli.error("key", command[0], "acme", SECRET, *command[1:], code=USAGE)
        assert "rotate it" in said and SECRET not in said
    assert script.calls == []


# MARK: times

@pytest.mark.parametrize("text, at", [
    ("2026-12-31", AT), ("2026-12-31T00:00Z", AT), ("2026-12-31T00:00:00.250Z", AT + 250),
    ("2026-12-31T05:30:00+05:30", AT), ("2026-12-30T19:00:00-05:00", AT),
    ("2028-02-29", calendar.timegm((2028, 2, 29, 0, 0, 0)) * 1_000), ("1970-01-01", 0)])
def test_an_instant_is_a_date(script, text, at):
    script.answers["override.set"] = {"override": OVERRIDE}
    script.cli("override", "set", "acme", "burst", "9", "--expires", text)
    assert script.last()["expires_at"] == at


@pytest.mark.parametrize("text, seconds", [
    ("10s", 10), ("30m", 1_800), ("12h", 43_200), ("90d", 7_776_000), ("1w", 604_800),
    ("1h30m", 5_400), ("1d0h5s", 86_405), ("0s", 0)])
def test_an_instant_is_a_length_of_time_from_now(script, text, seconds):
    script.answers["override.set"] = {"override": OVERRIDE}
    before = int(time.time())
    script.cli("override", "set", "acme", "burst", "9", "--expires", text)
    after = int(time.time())
    assert before + seconds <= script.last()["expires_at"] / 1_000 <= after + seconds


@pytest.mark.parametrize("text", [
    "tomorrow", "10", "-5s", "1m1h", "1s1s", "5x", "s", "1.5h", "99999999999s", "2026-13-01",
    "2026-02-30", "2026-12-00", "2026-12-31T00:00:00", "2026-12-31 00:00Z", "2026-12-31T24:00Z", "1969-12-31",
    "2026-12-31T00:00Zx", "2026-12-31T00:60Z", "2026-12-31T00:00+1:00", "99999999999999999999d"])
def test_what_is_no_instant_is_refused_with_examples(script, text):
    said = script.cli.error("override", "set", "acme", "burst", "9", f"--expires={text}",
                            code=USAGE)
    assert "90d" in said and "--help" in said and script.calls == []


@pytest.mark.parametrize("line", [
    "key create acme ada --rate 5", "key create acme ada --rate 0/s",
    "key create acme ada --rate 5/y", "key create acme ada --rate=-1/s",
    "key rotate acme K --overlap tomorrow", "key edit acme K",
    "key edit acme K --rate 5/s --no-rate", "org set-subscription acme",
    "org create acme --status active", "org change-plan acme p --mode halve",
    "org change-plan acme p --at later", "override set acme burst x",
    "user create acme ada --role boss", "org list --limit 0", "org list --limit 5 --all",
    "import - --from 0"])
def test_what_cannot_be_is_refused_before_the_daemon_is_asked(script, line):
    assert "--help" in script.cli.error(*line.split(), code=USAGE)
    assert script.calls == []


def test_a_backup_is_written_where_the_daemon_means_it(script):
    assert "begin the path with /" in script.cli.error("backup", "copy", code=USAGE)
    assert script.calls == []


# MARK: lists

def pages(script, call, items, part):
    """Answers with parts of at most `part` items, whatever is asked for."""
    def answer(request):
        start = int(request.get("after", "0"))
        end = min(start + min(part, request["limit"]), len(items))
        return {"items": items[start:end], "next": str(end) if end < len(items) else None}
    script.answers[call] = answer


def test_lists_follow_cursors_as_far_as_asked(script):
    users = [{"organization": "acme", "id": f"user{n}", "name": "N" * (n % 40 + 1),
              "role": None if n == 3 else "member", "status": "active", "created_at": AT}
             for n in range(250)]
    pages(script, "user.list", users, 30)
    listed = script.cli("user", "list", "acme")
    header, *rows = listed.stdout.splitlines()
    assert header.split() == ["ID", "NAME", "ROLE", "STATUS", "CREATED"] and len(rows) == 100
    assert rows[3].split()[0] == "user3" and "no seat" in rows[3]
    assert "--after 100" in listed.stderr and "--all" in listed.stderr
    assert [call["limit"] for call in script.calls] == [100, 70, 40, 10]
    shown = script.cli.json("user", "list", "acme", "--limit", 7, "--after", "100")
    assert shown == {"items": users[100:107], "next": "107"}
    shown = script.cli.json("user", "list", "acme", "--all")
    assert shown == {"items": users, "next": None}
    listed = script.cli("user", "list", "acme", "--all")
    assert len(listed.stdout.splitlines()) == 251 and listed.stderr == ""
    script.answers["user.list"] = {"items": [], "next": None}
    listed = script.cli("user", "list", "acme")
    assert listed.stdout == "" and "nothing is listed" in listed.stderr
    assert script.cli.json("user", "list", "acme") == {"items": [], "next": None}
    # A part may be empty, a cursor that stands still may not.
    parts = [{"items": [], "next": "1"}, {"items": users[:1], "next": None}]
    script.answers["user.list"] = lambda _: parts.pop(0)
    assert script.cli.json("user", "list", "acme")["items"] == users[:1]
    script.answers["user.list"] = {"items": [], "next": "1"}
    script.cli("user", "list", "acme", code=UNEXPECTED)


LISTS = [
    ("org list", "org.list", {}, ACME),
    ("key list acme", "key.list", {"organization": "acme"}, KEY),
    ("key list acme --user ada", "key.list", {"organization": "acme", "user": "ada"}, KEY),
    ("session list acme ada", "session.list", {"organization": "acme", "user": "ada"}, SESSION),
    ("revoke list acme --kind user", "revoke.list", {"organization": "acme", "kind": "user"},
     REVOCATION),
    ("revoke list ada --personal", "revoke.list", {"organization": "ada", "personal": True},
     REVOCATION),
    ("override list acme", "override.list", {"organization": "acme"}, OVERRIDE),
    ("log --organization acme", "log.list", {"organization": "acme"},
     {"number": 7, "at": AT, "uid": 0, "pid": 1, "organization": "acme", "action": "org.suspend",
      "subject": "acme", "before": {"status": "active", "name": "A"},
      "after": {"status": "suspended", "name": "A"}})]


@pytest.mark.parametrize("line, call, says, item", LISTS, ids=lambda one: str(one)[:30])
def test_every_list_asks_and_shows(script, line, call, says, item):
    script.answers[call] = {"items": [item, item], "next": None}
    assert script.cli.json(*line.split()) == {"items": [item, item], "next": None}
    assert script.last() == says | {"limit": 100}
    said = script.cli(*line.split()).stdout
    assert len(said.splitlines()) == 3
    assert "2026-12-31T00:00:00Z" in said or item is OVERRIDE


def test_names_of_others_cannot_steer_a_terminal(script):
    name = "\x1b[2J\u202e\n"
    script.answers["org.list"] = {"items": [ACME | {"name": name}], "next": "\x1b[2J"}
    listed = script.cli("org", "list", "--limit", 1)
    assert "\\u{1b}" in listed.stdout and "\x1b" not in listed.stdout + listed.stderr
    assert "\u202e" not in listed.stdout and len(listed.stdout.splitlines()) == 2
    script.answers["org.show"] = {"organization": ACME | {"name": name}}
    said = script.cli("org", "show", "acme").stdout
    assert "\x1b" not in said and "\n\n" not in said
    assert script.cli.json("org", "list", "--limit", 1)["items"][0]["name"] == name


def test_the_log_shows_what_changed(script):
    script.answers["log.list"] = {"items": [LISTS[-1][3]], "next": None}
    assert "status: active → suspended" in script.cli("log").stdout
    made = LISTS[-1][3] | {"before": None, "after": {"role": "x"}}
    script.answers["log.list"] = {"items": [made], "next": None}
    assert script.cli("log").stdout.rstrip().endswith("role: x")


def test_plans_and_signing_keys_are_listed(script):
    limits = [{"name": "burst", "kind": "rate_limit", "scope": "user", "meter": "calls",
               "limit": 5, "window_milliseconds": 1_500, "period": None},
              {"name": "monthly", "kind": "quota", "scope": "organization", "meter": "tokens",
               "limit": 1_000, "window_milliseconds": None, "period": "month"}]
    plan = {"name": "pro_tier", "permissions": ["p", "q"], "limits": limits}
    script.answers["plan.list"] = {"items": [plan], "next": None}
    assert script.cli("plan", "list").stdout.splitlines()[1].split() == [
        "pro_tier", "p,", "q", "2"]
    script.answers["plan.show"] = {"plan": plan}
    said = script.cli("plan", "show", "pro_tier").stdout
    assert "1 s" in said and "month" in said and "burst" in said
    script.answers["signing_key.list"] = {"items": [SIGNING], "next": None}
    assert "verifying" in script.cli("signing-key", "list").stdout


def test_a_change_whose_answer_was_lost_may_have_been_done(script):
    script.peer.answer = lambda *_: False
    for line in ("org suspend acme", "key create acme ada", "token issue acme ada"):
        said = script.cli.error(*line.split(), code=UNREACHABLE)
        assert "may have been done" in said and "tollgate log" in said
    assert "may have been done" not in script.cli.error("org", "show", "acme", code=UNREACHABLE)


def test_who_may_not_open_the_socket_is_told_who_may(script):
    os.chmod(script.peer.path, 0)
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    done = subprocess.run([*powerless, TOLLGATE, "token", "issue", "acme", "ada"],
                          env=script.cli.env, capture_output=True, text=True)
    assert done.returncode == FORBIDDEN
    assert "as root" in done.stderr and "data socket with --socket" in done.stderr


def test_an_id_that_looks_like_an_option_is_told_apart(script):
    script.answers["session.show"] = {"session": SESSION}
    said = script.cli.error("session", "show", "acme", "-xyz", code=USAGE)
    assert "goes behind a --" in said
    script.cli("session", "show", "--", "acme", "-xyz")
    assert script.last() == {"organization": "acme", "session": "-xyz"}
    assert "goes behind" not in script.cli.error("session", "show", "--xyz", code=USAGE)
