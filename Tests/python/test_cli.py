"""The command line as an operator walks it: every command, for people and as JSON, every exit
code, and what it says when something is wrong."""

import base64
import json
import os
import pathlib
import pty
import socket
import subprocess
import threading
import time

import jwt
import pytest
from conftest import ROOT, Daemon

TOLLGATE = os.environ.get("TOLLGATE", str(ROOT / ".build/debug/tollgate"))
OK, DENIED, USAGE, BAD_DATA, NO_INPUT = 0, 2, 64, 65, 66
UNREACHABLE, UNEXPECTED, OUTPUT, FORBIDDEN, CONFIGURATION = 69, 70, 74, 77, 78


class Cli:
    """tollgate, with the sockets of one daemon in its environment."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.env = {"PATH": os.environ["PATH"], "TERM": "xterm"}
        if daemon is not None:
            self.env |= {"TOLLGATE_SOCKET": daemon.data, "TOLLGATE_ADMIN_SOCKET": daemon.admin,
                         "TOLLGATE_CONFIG": str(daemon.policy)}

    def __call__(self, *arguments, code=OK, stdin="", env=None):
        done = subprocess.run(
            [TOLLGATE, *map(str, arguments)], input=stdin, capture_output=True, text=True,
            env=self.env | (env or {}), timeout=60)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *arguments, **options):
        """What it prints is one JSON value, and nothing else."""
        done = self(*arguments, "--json", **options)
        assert done.stderr == ""
        return json.loads(done.stdout)

    def error(self, *arguments, code, **options):
        """The error as people and as programs see it; both are the same, and data is neither."""
        people = self(*arguments, code=code, **options)
        assert people.stdout == "" and people.stderr != ""
        programs = self(*arguments, "--json", code=code, **options)
        said = json.loads(programs.stderr)
        assert said["error"].splitlines()[0] in people.stderr
        assert said.get("next", "").splitlines()[:1] == [] or said["next"] in people.stderr
        return people.stderr

    def on_terminal(self, *arguments, env=None):
        """What a terminal is sent."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [TOLLGATE, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=theirs,
            stderr=subprocess.PIPE, env=self.env | (env or {}))
        os.close(theirs)
        sent = b""
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # The other end was closed.
                break
            if not part:
                break
            sent += part
        os.close(ours)
        process.communicate(timeout=60)
        return sent.decode()

    def token_file(self, *options):
        path = self.daemon.directory / "token"
        path.write_text(self("token", "mint", "--user", "ada", *options).stdout)
        return path


@pytest.fixture
def cli(daemon):
    return Cli(daemon)


@pytest.fixture
def alone():
    """Without a daemon."""
    return Cli(None)


PRO = ("--organization", "acme", "--plan", "pro_tier")


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
        "organization": "nobody", "user": None, "plan": None, "limits": []}
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


def test_policy_check_says_what_is_wrong_and_where(cli):
    policy = cli.daemon.policy
    said = cli("policy", "check", policy).stdout
    assert said == f"{policy}: ok: 2 plans, 3 operations, 1 issuers\n"
    assert cli("policy", "check").stdout == said  # TOLLGATE_CONFIG
    assert cli.json("policy", "check", policy) == {
        "file": str(policy), "ok": True, "errors": [], "plans": 2, "operations": 3, "issuers": 1}
    text = policy.read_text()
    wrong = text.replace("limit: 5,", "lmit: 5,").replace("meter: tokens", "meter: tkens")
    policy.write_text(wrong)
    people = cli("policy", "check", policy, code=CONFIGURATION)
    assert people.stdout == ""
    first, second = [line for line in people.stderr.splitlines() if str(policy) in line][:2]
    assert 'did you mean "limit"?' in people.stderr and 'did you mean "tokens"?' in people.stderr
    assert f"{policy}:" in first and f"{policy}:" in second
    programs = cli("policy", "check", policy, "--json", code=CONFIGURATION)
    assert json.loads(programs.stderr)["error"]
    report = json.loads(programs.stdout)
    assert report["ok"] is False and len(report["errors"]) >= 2
    line = report["errors"][0]["line"]
    assert "mit: 5" in policy.read_text().splitlines()[line - 1]
    assert all(error["file"] == str(policy) for error in report["errors"])
    cli.error("policy", "show", policy, code=CONFIGURATION)
    cli.error("policy", "check", "/nowhere.yaml", code=NO_INPUT)


def test_policy_show_shows_all_that_holds_and_no_secret(cli):
    reference = cli.daemon.directory / "reference.yaml"
    reference.write_text((ROOT / "Deploy/tollgate.yaml").read_text())
    (cli.daemon.directory / "keys").mkdir()
    secret = os.urandom(32)
    key = cli.daemon.directory / "keys/main.key"
    key.write_bytes(base64.urlsafe_b64encode(secret).rstrip(b"="))
    key.chmod(0o600)
    said = cli("policy", "show", reference).stdout
    for text in ("plan free_tier", "plan enterprise_tier", "can_use_gpt4o", "per_second",
                 "monthly_tokens", "in UTC", "POST /v1/chat/completions", "tokens 0×10",
                 "address_per_second", "invalid_credentials", "issuer main", "main-1 HS256",
                 "https://api.example.com", "default plan", "/run/tollgate/admin.sock, mode 0600"):
        assert text in said, text
    shown = cli.json("policy", "show", reference)
    per_minute = shown["plans"]["pro_tier"]["rate_limits"]["per_minute"]
    assert per_minute.pop("sub_buckets") > 1
    assert per_minute == {"scope": "user", "meter": "calls", "limit": 600, "window_ms": 60_000,
                          "mode": "strict", "classes": []}
    assert shown["plans"]["free_tier"]["quotas"]["daily_calls"]["time_zone"] == "UTC"
    assert shown["operations"]["batches.get"]["routes"] == ["GET /v1/batches/{id}"]
    assert shown["operations"]["chat.completions.gpt4o"]["charges"]["tokens"] == {
        "units": 0, "weight": 10}
    assert shown["issuers"]["main"]["keys"] == [
        {"id": "main-1", "algorithm": "HS256", "organization": None}]
    assert shown["address_limits"]["address_per_second"]["limit"] == 100
    assert shown["daemon"]["connections_max"] == 10_000
    for text in (said, json.dumps(shown)):
        for form in (secret.hex(), key.read_text(), base64.b64encode(secret).decode()):
            assert form not in text


def test_reload_puts_a_policy_in_force_or_says_why_not(cli):
    assert cli("reload").stdout == "policy generation 2 is in force\n"
    assert cli.json("reload") == {"policy_generation": 3}
    cli.daemon.policy.write_text("version: 1\nplanss: {}\n")
    said = cli.error("reload", code=CONFIGURATION)
    assert "planss" in said and "the one in force stays" in said
    assert cli.json("health")["policy_generation"] == 3


def test_a_minted_token_is_what_the_policy_takes(cli):
    token = cli("token", "mint", "--user", "ada", *PRO).stdout.strip()
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, cli.daemon.secret, ["HS256"], audience="https://api.example.com")
    assert header["kid"] == "main-1" and (claims["sub"], claims["org"]) == ("ada", "acme")
    assert claims["exp"] - claims["iat"] == 600
    minted = cli.json("token", "mint", "--user", 'a"\n', "--lifetime", 60)
    assert jwt.decode(minted["token"], options={"verify_signature": False})["sub"] == 'a"\n'
    assert minted["expires_at"] - minted["issued_at"] == 60
    assert (minted["kid"], minted["plan"]) == ("main-1", None)

    assert "at most 86400" in cli.error(
        "token", "mint", "--user", "x", "--lifetime", 86_401, code=USAGE)
    assert "it has: main" in cli.error(
        "token", "mint", "--user", "x", "--issuer", "other", code=CONFIGURATION)
    assert "main-1 HS256" in cli.error(
        "token", "mint", "--user", "x", "--kid", "other", code=CONFIGURATION)
    cli.error("token", "mint", "--user", "x", "--algorithm", "HS512", code=CONFIGURATION)
    assert "no claim to the permissions" in cli.error(
        "token", "mint", "--user", "x", "--permission", "p", code=CONFIGURATION)
    cli.error("token", "mint", "--user", "x", "-c", "/nowhere.yaml", code=NO_INPUT)
    for bad in (("--user", ""), ("--user", "x" * 129), ("--user", "x", "--lifetime", "0"),
                ("--user", "x", "--algorithm", "none"), ()):
        cli("token", "mint", *bad, code=USAGE)
    warned = cli("token", "mint", "--user", "x", "--plan", "no_tier")
    assert "no plan no_tier" in warned.stderr and warned.stdout.count(".") == 2


def test_a_key_file_mints_without_a_policy(cli, tmp_path):
    key = tmp_path / "k"
    key.write_bytes(base64.urlsafe_b64encode(cli.daemon.secret).rstrip(b"="))
    key.chmod(0o600)
    mint = ("token", "mint", "--key-file", key, "--issuer", "https://login.example.com", "--user",
            "ada")
    token = cli(*mint, "--algorithm", "HS256", "--kid", "main-1", "--audience",
                "https://api.example.com", *PRO).stdout
    assert cli.json("check", "--token-file", "-", "-o", "models", stdin=token)["user"] == "ada"
    jwk = tmp_path / "k.json"
    jwk.write_text(json.dumps({"kty": "oct", "k": key.read_text()}))
    jwk.chmod(0o600)
    again = cli("token", "mint", "--key-file", jwk, "--key-format", "jwk", "--algorithm", "HS256",
                "--issuer", "i", "--user", "ada").stdout.strip()
    assert jwt.decode(again, cli.daemon.secret, ["HS256"])["iss"] == "i"

    cli("token", "mint", "--key-file", key, "--user", "x", code=USAGE)
    cli(*mint, "--algorithm", "HS256", "-c", cli.daemon.policy, code=USAGE)
    assert "needs 64" in cli.error(*mint, "--algorithm", "HS512", code=CONFIGURATION)
    key.chmod(0o644)
    assert "run: chmod" in cli.error(*mint, "--algorithm", "HS256", code=CONFIGURATION)
    key.unlink()
    assert "openssl rand" in cli.error(*mint, "--algorithm", "HS256", code=NO_INPUT)


def test_inspect_reads_a_token_without_trusting_it(alone):
    now = int(time.time())
    claims = {"sub": "ada", "iat": now - 780, "exp": now - 200, "aud": ["a", "b"],
              "deep": {"x": [1, {"y": "},{"}]}, "z": None}
    token = jwt.encode(claims, "k" * 32, "HS256", headers={"kid": "main-1"})
    said = alone("token", "inspect", stdin=token + "\n").stdout
    assert "expired 3 min ago" in said and "the signature was not verified" in said
    lines = [line.split(None, 1) for line in said.splitlines()]
    assert ["kid", "main-1"] in lines and ["sub", "ada"] in lines and ["z", "null"] in lines
    assert ["deep", '{"x":[1,{"y":"},{"}]}'] in lines
    assert any(line[0] == "iat" and "13 min ago" in line[1] for line in lines)
    assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 200)) in said
    shown = alone.json("token", "inspect", "-", stdin=token)
    assert shown["header"]["kid"] == "main-1" and shown["claims"] == claims
    assert shown["expired"] is True and shown["signature_verified"] is False
    assert -205 <= shown["times"]["exp"]["seconds_from_now"] <= -200

    good = jwt.encode({"exp": now + 3_000.5}, "k" * 32, "HS256")
    said = alone("token", "inspect", stdin=good).stdout
    assert "expires in 49 min" in said or "expires in 50 min" in said
    early = jwt.encode({"exp": now + 9_000, "nbf": now + 8_000}, "k" * 32, "HS256")
    assert "not valid yet: in 2 h" in alone("token", "inspect", stdin=early).stdout
    for odd in ({}, {"exp": "x"}, {"exp": 1e300}, {"exp": -1e18}):
        never = jwt.api_jws.PyJWS().encode(json.dumps(odd).encode(), "k" * 32, "HS256")
        said = alone("token", "inspect", stdin=never).stdout
        assert 'no readable "exp"' in said, odd
        alone.json("token", "inspect", stdin=never)


@pytest.mark.parametrize("token", [
    "", "a", "a.b", "a.b.c.d", "!.e30.", "e30.e30=.", "e30.W10.", "e30.eyJhIjoxLCJhIjoyfQ.",
    "e30.eyJhIjp9.", "e30.e31.", "bm8.e30."])
def test_inspect_refuses_what_is_no_token(alone, token):
    alone.error("token", "inspect", "-", stdin=token, code=BAD_DATA)
    alone.error("token", "inspect", "/nowhere", code=NO_INPUT)


def test_names_of_others_cannot_steer_a_terminal(cli):
    now = int(time.time())
    claims = {"iss": "https://login.example.com", "aud": "https://api.example.com", "iat": now,
              "sub": "x\u009b2Jy\u202e", "exp": now + 60, "plan": "pro_tier"}
    token = jwt.api_jws.PyJWS().encode(
        json.dumps(claims, ensure_ascii=False).encode(), cli.daemon.secret, "HS256",
        headers={"kid": "main-1"})
    assert "x\\u{9b}2Jy\\u{202e}" in cli("token", "inspect", stdin=token).stdout
    assert cli.json("token", "inspect", stdin=token)["claims"] == claims
    said = cli("usage", "evil\x1b[2J").stdout
    assert "\x1b" not in said and "evil\\u{1b}[2J" in said
    assert "\x1b" not in cli("check", "-o", "\x1b[2J", code=DENIED).stdout


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


COMMANDS = [("check", "-o", "x"), ("usage", "x"), ("health",), ("stats",), ("top", "--count", "1"),
            ("reload",), ("stop",)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_a_daemon_every_command_says_so_and_what_to_do(alone, command, tmp_path):
    said = alone.error(*command, "--socket", tmp_path / "none", code=UNREACHABLE)
    assert "there is no socket at" in said and "start the daemon" in said and "--socket" in said
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "dead"))
    dead.close()
    assert "nobody listens" in alone.error(
        *command, "--socket", tmp_path / "dead", code=UNREACHABLE)
    alone.error(*command, "--socket", "x" * 200, code=USAGE)
    for bad in ("0", "-5", "abc", "600001", "99999999999999999999"):
        alone(*command, f"--timeout={bad}", code=USAGE)


@pytest.mark.parametrize("command", [("stats",), ("top",), ("reload",), ("stop",)],
                         ids=lambda command: command[0])
def test_admin_commands_are_forbidden_on_the_data_socket(cli, command):
    said = cli.error(*command, "--admin-socket", cli.daemon.data, code=FORBIDDEN)
    assert "admin socket" in said


class Listener:
    """Answers every connection with the same bytes, whatever it is asked."""

    def __init__(self, path, answer):
        self.path, self.answer = str(path), answer
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen()
        self.peers = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            peer, _ = self.socket.accept()
            self.peers.append(peer)
            peer.recv(4_096)
            peer.sendall(self.answer)


def test_a_daemon_that_is_silent_or_none_is_told_apart(alone, tmp_path):
    silent = Listener(tmp_path / "silent", b"")
    said = alone.error("health", "--socket", silent.path, "--timeout", 50, code=UNREACHABLE)
    assert "in time" in said and "--timeout" in said
    web = Listener(tmp_path / "web", b"HTTP/1.1 400 Bad Request\r\n\r\n")
    said = alone.error("health", "--socket", web.path, code=UNEXPECTED)
    assert "breaks the protocol" in said


@pytest.mark.parametrize("arguments", [
    ("chek",), ("check",), ("check", "-o", "x", "--method", "GET"), ("check", "--path", "/"),
    ("check", "-o", "x", "--units", "tokens"), ("check", "-o", "x", "-u", "=1"),
    ("check", "-o", "x", "-u", "tokens=-1"), ("check", "-o", "x", "-u", f"tokens={2**40 + 1}"),
    ("check", "-o", "x", "--address", "1.2.3"), ("check", "-o", "x", "--dry"), ("usage",),
    ("top", "--interval", "0"), ("top", "--interval", "nan"), ("top", "--count", "0"),
    ("policy", "chek"), ("token", "mint"), ("stats", "--colour")])
def test_wrong_arguments_are_told_at_once(alone, arguments):
    done = alone(*arguments, code=USAGE)
    assert done.stdout == "" and "--help" in done.stderr
    done = alone(*arguments, "--json", code=USAGE)
    assert done.stdout == "" and json.loads(done.stderr)["error"]


def test_what_was_probably_meant_is_named(alone):
    assert "--dry-run" in alone("check", "-o", "x", "--dryrun", code=USAGE).stderr
    assert "--operation" in alone("check", "--oparation", "x", code=USAGE).stderr
    assert "did you mean policy?" in alone("polcy", "show", code=USAGE).stderr
    assert "did you mean inspect?" in alone("token", "inspet", code=USAGE).stderr
    said = alone("xyzzy", code=USAGE).stderr
    assert "did you mean" not in said and "check, usage, stats, top" in said


def test_colours_are_for_terminals_that_want_them(cli):
    health = ("health",)
    assert "\x1b[32m" in cli.on_terminal(*health)
    for options, env in [(("--no-color",), {}), ((), {"NO_COLOR": "1"}), ((), {"TERM": "dumb"}),
                         (("--json",), {})]:
        assert "\x1b" not in cli.on_terminal(*health, *options, env=env)
    assert "\x1b[32m" in cli.on_terminal(*health, env={"NO_COLOR": ""})
    assert "\x1b" not in cli("health").stdout


def test_a_reader_that_goes_away_changes_nothing(cli):
    def piped(command, reader):
        script = f'"$0" {command} | {reader}; echo "${{PIPESTATUS[0]}}"'
        done = subprocess.run(["bash", "-c", script, TOLLGATE], capture_output=True, text=True,
                              env=cli.env, timeout=60)
        assert done.stderr == ""
        return done.stdout.split()[-1]

    assert piped("policy show", "head -1") == "0"
    assert piped("stats --all", "true") == "0"
    assert piped("top --interval 0.1 --json", "head -1") == "0"
    assert piped("check -o models --json", "true") == "2"


def test_output_that_cannot_be_written_is_a_failure(cli):
    with open("/dev/full", "w") as full:
        done = subprocess.run([TOLLGATE, "stats"], stdout=full, stderr=subprocess.PIPE, text=True,
                              env=cli.env)
    assert done.returncode == OUTPUT and "No space left" in done.stderr


def test_help_is_there_for_every_command(alone):
    top = alone("--help").stdout
    for text in ("Exit codes", "69", "77", "78", "TOLLGATE_SOCKET", "--generate-completion-script"):
        assert text in top, text
    for command in ("check", "usage", "stats", "top", "policy", "reload", "token", "health", "stop",
                    "version"):
        assert command in top
        assert "USAGE: tollgate " + command in alone(command, "--help").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_name_every_command(alone, shell, tmp_path):
    script = tmp_path / "completion"
    script.write_text(alone("--generate-completion-script", shell).stdout)
    for word in ("check", "token-file", "explain", "inspect", "no-color", "policy"):
        assert word in script.read_text()
    if shell == "bash":
        subprocess.run(["bash", "-n", script], check=True)
