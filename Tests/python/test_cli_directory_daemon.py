"""The commands of the directory against the real daemon: a customer's life, from end to end."""

import json
import os
import pathlib
import shutil
import tempfile
import time

import pytest
from commandline import BAD_DATA, DENIED, FORBIDDEN, NOT_DONE, USAGE, Cli
from conftest import POLICY, Daemon

FREE = """
  free_tier:
    rate_limits:
      burst: {scope: user, limit: 600, window: 1s}
    quotas:
      daily: {scope: user, meter: calls, limit: 3, period: day}
"""


class Tollgate(Cli):
    """A daemon with a directory, and its command line."""

    def __init__(self, pepper):
        self.state = pathlib.Path(tempfile.mkdtemp(prefix="tgd", dir="/tmp"))
        (self.state / "directory").mkdir(mode=0o700)
        secret = self.state / "pepper"
        secret.write_bytes(pepper)
        secret.chmod(0o600)
        uid = os.geteuid()
        settings = {"roles": {"issue": {"users": [uid]}, "admin": {"users": [uid]}}}
        # Checks come as fast as they like.
        pro = POLICY.replace("limit: 5,", "limit: 500,")
        policy = pro.replace("  open_tier:", FREE.lstrip("\n") + "  open_tier:") + json.dumps({
            "directory": {"path": str(self.state / "directory"),
                          "peppers": [{"generation": 1, "file": str(secret)}]},
            "tokens": {"issuer": "https://tollgate.example.com", "refresh_grace": "1s"},
        })[1:-1].replace('"directory":', "directory:").replace(', "tokens":', "\ntokens:") + "\n"
        super().__init__(Daemon(policy=policy, settings=settings))

    def check(self, credential, *options, operation="models", code=0):
        """The decision on a credential, which goes through standard input."""
        return self.json("check", "-o", operation, "--token-file", "-", *options,
                         stdin=credential, code=code)

    def key(self, *options):
        return self("key", "create", "acme", "ada", *options).stdout.strip()

    def denied(self, credential, *options, **named):
        return self.check(credential, *options, code=DENIED, **named)["reason"]

    def remove(self):
        assert self.daemon.process.poll() is None, self.daemon.logged()
        assert self.daemon.stop() == 0
        self.daemon.remove()
        shutil.rmtree(self.state)


@pytest.fixture
def start():
    made = []

    def start_one(pepper):
        made.append(Tollgate(pepper))
        return made[-1]

    yield start_one
    for one in made:
        one.remove()


@pytest.fixture
def tollgate(start):
    """With an organization acme on pro_tier and its user ada."""
    one = start(os.urandom(32))
    one("org", "create", "acme", "--name", "Acme Inc", "--plan", "pro_tier")
    one("user", "create", "acme", "ada", "--role", "owner")
    return one


def test_an_organization_lives(tollgate):
    assert "Acme Inc" in tollgate("org", "show", "acme").stdout
    tollgate.error("org", "create", "acme", code=NOT_DONE)
    tollgate.error("org", "create", "other", "--plan", "no_tier", code=USAGE)
    tollgate("org", "create", "eve", "--personal")
    assert tollgate.json("user", "show", "eve", "eve")["user"]["role"] == "owner"
    listed = tollgate.json("org", "list")
    assert [one["id"] for one in listed["items"]] == ["acme", "eve"] and listed["next"] is None
    tollgate("org", "rename", "acme", "New Name")
    shown = tollgate.json("org", "set-subscription", "acme", "--time-zone", "Europe/Berlin")
    assert shown["organization"]["name"] == "New Name"
    assert shown["organization"]["subscription"]["time_zone"] == "Europe/Berlin"
    tollgate("user", "rename", "acme", "ada", "Ada L")
    tollgate("user", "set-role", "acme", "ada", "none")
    assert "no seat" in tollgate("user", "list", "acme").stdout
    tollgate.error("user", "show", "eve", "ada", code=NOT_DONE)
    tollgate.error("user", "show", "nobody", "ada", code=NOT_DONE)
    said = tollgate("org", "delete", "acme", "--yes").stdout
    assert "is deleted" in said
    tollgate.error("org", "show", "acme", code=NOT_DONE)


def test_a_key_lives(tollgate, tmp_path):
    path = tmp_path / "key"
    tollgate("key", "create", "acme", "ada", "--name", "ci", "--secret-file", path)
    secret = path.read_text().strip()
    decision = tollgate.check(secret)
    assert (decision["user"], decision["organization"]) == ("ada", "acme")
    key, = tollgate.json("key", "list", "acme", "--user", "ada")["items"]
    assert key["name"] == "ci" and secret.startswith(key["prefix"])
    which = ("acme", key["prefix"])
    tollgate.error("key", "show", "other", key["id"], code=NOT_DONE)
    assert secret not in tollgate("key", "show", *which).stdout
    # Rotated without an overlap, the old one ends at once; the id stays.
    # That is asked about first, and nobody is there to be asked.
    said = tollgate.error("key", "rotate", *which, "--overlap", "0s", code=USAGE)
    assert "at once" in said and "--yes" in said
    assert tollgate.check(secret)["verdict"] == "allow"
    rotated = tollgate.json("key", "rotate", *which, "--overlap", "0s", "--yes")
    assert rotated["key"]["id"] == key["id"]
    assert tollgate.denied(secret) == "credentialInvalid"
    secret = rotated["secret"]
    second = tollgate.json("key", "rotate", *which)
    assert second["key"]["state"] == "rotating"
    assert tollgate.check(secret)["verdict"] == "allow"
    secret = second["secret"]
    tollgate("key", "edit", *which, "--address", "192.0.2.0/24", "--rate", "2/d")
    assert tollgate.denied(secret) == "credentialInvalid"
    for left in (1, 0):
        assert tollgate.check(secret, "--address", "192.0.2.9")["rate_limit"]["remaining"] == left
    assert tollgate.denied(secret, "--address", "192.0.2.9") == "rateLimited"
    shown = tollgate.json("key", "edit", *which, "--any-address", "--no-rate")["key"]
    assert (shown["addresses"], shown["rate"]) == (None, None)
    assert tollgate.check(secret)["verdict"] == "allow"
    tollgate("key", "edit", *which, "--permission", "can_access_batch_api")
    assert tollgate.denied(secret, operation="chat") == "permissionDenied"
    tollgate.error("key", "revoke", *which, code=USAGE)
    tollgate("key", "revoke", *which, "--yes")
    assert tollgate.denied(secret) == "credentialInvalid"
    assert tollgate.json("key", "show", *which)["key"]["state"] == "revoked"


def test_suspension_holds_from_the_next_request(tollgate):
    secret = tollgate.key()
    tollgate("org", "suspend", "acme")
    assert tollgate.denied(secret) == "subscriptionInactive"
    tollgate("org", "resume", "acme")
    assert tollgate.check(secret)["verdict"] == "allow"
    tollgate("user", "suspend", "acme", "ada")
    assert tollgate.denied(secret) == "credentialInvalid"
    tollgate("user", "resume", "acme", "ada")
    assert tollgate.check(secret)["verdict"] == "allow"
    tollgate("org", "set-subscription", "acme", "--status", "canceled")
    assert tollgate.denied(secret) == "subscriptionInactive"


def test_a_login_lives(tollgate, tmp_path):
    access, refresh = tollgate("token", "issue", "acme", "ada").stdout.split()
    assert tollgate.check(access)["user"] == "ada"
    paths = [tmp_path / "access", tmp_path / "refresh"]
    tollgate("token", "refresh", "--token-file", "-", "--access-file", paths[0], "--refresh-file",
             paths[1], stdin=refresh)
    assert tollgate.check(paths[0].read_text().strip())["verdict"] == "allow"
    session, = tollgate.json("session", "list", "acme", "ada")["items"]
    claims = tollgate.json("token", "inspect", paths[0])["claims"]
    assert claims["sid"] == session["id"] and claims["org"] == "acme"
    # One token is revoked, its session goes on.
    tollgate("token", "revoke", "--token-file", paths[0], "--yes")
    assert tollgate.denied(paths[0].read_text()) == "credentialInvalid"
    assert "token" in tollgate("revoke", "list", "acme").stdout
    # The grandparent of what is good now, and nobody's retry: the session ends.
    third = tollgate.json("token", "refresh", "--token-file", paths[1])
    said = tollgate.error("token", "refresh", "--token-file", "-", stdin=refresh, code=DENIED)
    assert "log in again" in said
    assert tollgate.denied(third["access_token"]) == "credentialInvalid"
    shown = json.loads(
        tollgate("session", "show", "--json", "--", "acme", session["id"]).stdout)["session"]
    assert shown["reason"] == "reuse"

    tokens = tollgate.json("token", "issue", "acme", "ada")
    ended = tollgate.json("session", "end", "--token-file", "-", stdin=tokens["refresh_token"])
    assert ended["session"]["revoked_at"] is not None
    tollgate.error("token", "refresh", "--token-file", "-", stdin=tokens["refresh_token"],
                   code=DENIED)
    # Ids are random, and may begin with what begins an option.
    for revoke in (("session", "revoke", "--yes", "--", "acme"),
                   ("revoke", "session", "--yes", "--", "acme")):
        tokens = tollgate.json("token", "issue", "acme", "ada")
        tollgate(*revoke, tokens["session"]["id"])
        assert tollgate.denied(tokens["access_token"]) == "credentialInvalid"
    for revoke in (("revoke", "user", "acme", "ada"), ("revoke", "organization", "acme")):
        token = tollgate.json("token", "issue", "acme", "ada")["access_token"]
        assert tollgate.check(token)["verdict"] == "allow"
        tollgate(*revoke, "--yes")
        assert tollgate.denied(token) == "credentialInvalid"
    assert "knows no user" in tollgate("revoke", "user", "acme", "ghost", "--yes").stderr


def test_the_data_socket_takes_what_the_role_issue_may(tollgate):
    data = ("--socket", tollgate.daemon.data)
    tokens = tollgate.json("token", "issue", "acme", "ada", *data)
    tokens = tollgate.json("token", "refresh", "--token-file", "-", *data,
                           stdin=tokens["refresh_token"])
    tollgate("session", "end", "--token-file", "-", *data, stdin=tokens["refresh_token"])
    assert "role" in tollgate.error("org", "list", *data, code=FORBIDDEN)


def test_a_plan_is_changed_with_its_price_seen_before(tollgate):
    secret = tollgate.key()
    for _ in range(4):
        tollgate.check(secret, operation="chat")
    change = ("org", "change-plan", "acme", "free_tier")
    said = tollgate(*change, "--preview").stdout
    assert "acme: pro_tier → free_tier" in said and "nothing was changed" in said
    assert "can_use_gpt4o" in said and "daily" in said
    assert tollgate.check(secret)["plan"] == "pro_tier"
    later = tollgate.json(*change, "--at", "period-end")["organization"]["subscription"]
    assert (later["plan"], later["pending"]["plan"]) == ("pro_tier", "free_tier")
    assert "free_tier at " in tollgate("org", "list").stdout
    tollgate("org", "cancel-plan-change", "acme")
    tollgate(*change, "--mode", "reset")
    assert tollgate.check(secret)["plan"] == "free_tier"
    assert tollgate.denied(secret, operation="chat") == "permissionDenied"
    for _ in range(2):
        tollgate.check(secret)
    assert tollgate.denied(secret) == "quotaExhausted"
    tollgate("override", "set", "acme", "daily", "5", "--user", "ada", "--expires", "1d")
    assert tollgate.check(secret)["quota"]["limit"] == 5
    row = tollgate("override", "list", "acme").stdout.splitlines()[1].split()
    assert row[:3] == ["ada", "daily", "5"]
    tollgate("override", "remove", "acme", "daily", "--user", "ada")
    assert tollgate.denied(secret) == "quotaExhausted"
    tollgate.error("override", "set", "acme", "no_such", "5", code=USAGE)


def test_plans_are_those_of_the_policy(tollgate):
    names = [plan["name"] for plan in tollgate.json("plan", "list")["items"]]
    assert sorted(names) == ["free_tier", "open_tier", "pro_tier"]
    assert "monthly_tokens" in tollgate("plan", "show", "pro_tier").stdout
    tollgate.error("plan", "show", "no_tier", code=NOT_DONE)


def test_signing_keys_rotate_and_no_live_token_is_refused(tollgate):
    old = tollgate.json("token", "issue", "acme", "ada")["access_token"]
    first = tollgate.json("signing-key", "list")["items"]
    said = tollgate("signing-key", "rotate", "second").stdout
    assert "tollgate signing-key retire" in said
    states = {key["id"]: key["state"] for key in tollgate.json("signing-key", "list")["items"]}
    assert states == {first[0]["id"]: "retiring", "second": "signing"}
    new = tollgate.json("token", "issue", "acme", "ada")["access_token"]
    assert tollgate.check(old)["verdict"] == tollgate.check(new)["verdict"] == "allow"
    # Too early, and it says until when.
    said = tollgate("signing-key", "retire", "--yes", "--", first[0]["id"], code=NOT_DONE).stderr
    retiring, = (key for key in tollgate.json("signing-key", "list")["items"]
                 if key["state"] == "retiring")
    until = time.gmtime(retiring["retirable_at"] // 1_000)
    assert time.strftime("from %Y-%m-%dT%H:%M:%SZ", until) in said
    tollgate.error("signing-key", "retire", "second", "--yes", code=NOT_DONE)
    assert tollgate.check(old)["verdict"] == "allow"


def test_the_log_tells_who_did_what_and_no_secret(tollgate):
    secret = tollgate.key()
    tollgate("org", "suspend", "acme")
    said = tollgate("log", "--organization", "acme").stdout
    assert f"uid {os.geteuid()} " in said and "active → suspended" in said
    assert secret not in said + json.dumps(tollgate.json("log", "--all"))
    tollgate("org", "create", "other")
    assert "other" not in tollgate("log", "--organization", "acme").stdout
    assert len(tollgate.json("log", "--limit", 2)["items"]) == 2


def test_a_backup_is_made_and_the_status_counts(tollgate):
    copy = tollgate.state / "copy"
    made = tollgate.json("backup", copy)
    assert made == {"path": str(copy), "bytes": copy.stat().st_size}
    tollgate.error("backup", copy, code=NOT_DONE)
    tollgate.key()
    status = tollgate.json("directory", "status")
    assert (status["organizations"], status["users"], status["keys"]) == (1, 1, 1)
    assert status["peppers"] == [{"generation": 1, "keys": 1, "configured": True}]
    assert "PEPPER" in tollgate("directory", "status").stdout


def test_a_directory_moves_to_another_daemon(start, tmp_path):
    pepper = os.urandom(32)
    old, new = start(pepper), start(pepper)
    old("org", "create", "acme", "--plan", "pro_tier")
    old("org", "create", "eve", "--personal", "--plan", "free_tier")
    old("user", "create", "acme", "ada")
    old("override", "set", "acme", "burst", "4", "--user", "ada")
    secret = old.key("--name", "moved")
    exported = old("export").stdout
    path = tmp_path / "records"
    path.write_text(exported)
    types = [json.loads(line)["type"] for line in exported.splitlines()]
    assert sorted(set(types), key=types.index) == ["organization", "user", "override", "key"]
    assert new.json("import", "--dry-run", path)["records"]["key"] == 1
    assert new.json("import", path) == {"created": len(types), "unchanged": 0}
    # The same again changes nothing; what is exported from there is the same.
    assert new.json("import", path) == {"created": 0, "unchanged": len(types)}
    assert new("export").stdout == exported
    decision = new.check(secret)
    assert (decision["user"], decision["plan"]) == ("ada", "pro_tier")
    assert decision["rate_limit"]["limit"] == 4
    # A record that differs from what is there is named, and nothing is lost by it.
    altered = exported.replace('"name":"moved"', '"name":"other"')
    said = new.error("import", "-", stdin=altered, code=BAD_DATA)
    assert f"-:{types.index('key') + 1}: " in said
    assert new("export").stdout == exported


def test_lists_and_exports_go_on_behind_every_cursor(start):
    one = start(os.urandom(32))
    names = ["plain", "with space", "comma, and \u00fc", "--option", "'quote'"]
    records = [{"type": "organization", "id": name, "name": name, "personal": False,
                "status": "active", "created_at": 1, "subscription": None} for name in names]
    records += [{"type": "user", "organization": name, "id": f"{name} {number}", "name": "x",
                 "role": "member", "status": "active", "created_at": 1}
                for name in names for number in range(3)]
    # More than one frame holds.
    records += [{"type": "user", "organization": "plain", "id": f"u{number}", "name": "n" * 120,
                 "role": None, "status": "active", "created_at": 1} for number in range(400)]
    one("import", "-", stdin="".join(json.dumps(record) + "\n" for record in records))
    for name in names:
        one("override", "set", "--", name, "burst", "5")
        one("override", "set", f"--user={name} 1", "--", name, "burst", "5")
        one("revoke", "organization", "--yes", "--", name)
        one("revoke", "token", "--yes", "--", name, "jti 1")
    whole = [json.loads(line) for line in one("export").stdout.splitlines()]
    assert len(whole) == len(records) + 4 * len(names)
    assert all(whole.count(record) == 1 for record in records)
    for command in (["org", "list"], ["user", "list", "with space"],
                    ["override", "list", "with space"], ["revoke", "list", "with space"],
                    ["signing-key", "list"], ["plan", "list"], ["log"]):
        everything = one.json(*command, "--all")["items"]
        limit = 100 if command == ["log"] else 1
        items, after = [], []
        while True:
            part = one.json(*command, "--limit", limit, *after)
            items += part["items"]
            if part["next"] is None:
                break
            after = ["--after", part["next"]]
        assert items == everything and items, command
    assert "after" in one.error("org", "list", "--after", "no cursor!", code=USAGE)
