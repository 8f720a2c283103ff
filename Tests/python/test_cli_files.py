"""The commands about files: policies and tokens."""

import base64
import json
import os
import time

import jwt
import pytest
from commandline import (
    BAD_DATA, CONFIGURATION, DENIED, NO_INPUT, PRO, USAGE, alone, cli)
from conftest import ROOT


def test_policy_check_says_what_is_wrong_and_where(cli):
    policy = cli.daemon.policy
    said = cli("policy", "check", policy).stdout
    assert said == f"{policy}: ok: 2 plans, 3 operations, 1 issuers\n"
    assert cli("policy", "check").stdout == said  # TOLLGATE_CONFIG
    assert cli.json("policy", "check", policy) == {
        "file": str(policy), "ok": True, "errors": [], "plans": 2, "operations": 3, "issuers": 1,
        "unseen_credentials": []}
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
                 "monthly_tokens", "zone, else UTC", "unlimited", "tokens 15", "POST /v1/chat/completions", "tokens 0×10",
                 "address_per_second", "invalid_credentials", "issuer main", "main-1 HS256",
                 "https://api.example.com", "default plan", "/run/tollgate/admin.sock, mode 0600", "plan source",
                 "https://tollgate.example.com", "7776000 s", "/var/lib/tollgate/signing",
                 "1 in keys/pepper.key", "who may open the data socket",
                 "60 s, at most 10 min; one that is cut costs what was reported",
                 "open reservations", "at most the last second"):
        assert text in said, text
    shown = cli.json("policy", "show", reference)
    per_minute = shown["plans"]["pro_tier"]["rate_limits"]["per_minute"]
    assert per_minute.pop("sub_buckets") > 1
    assert per_minute == {"scope": "user", "meter": "calls", "limit": 600, "window_ms": 60_000,
                          "mode": "strict", "classes": [], "shadow": False,
                          "override_max": None}
    assert shown["plans"]["free_tier"]["quotas"]["daily_calls"]["time_zone"] is None
    assert shown["plans"]["enterprise_tier"]["quotas"]["metered_tokens"] == {
        "scope": "organization", "meter": "tokens", "limit": None, "period": "billing_month",
        "time_zone": None, "soft": False, "overage_max": None, "rollover_max": None,
        "member_min": 0, "member_max": None, "shadow": False}
    assert shown["plans"]["enterprise_tier"]["prices"] == {"tokens": 15}
    assert shown["plans"]["pro_tier"]["holds"] == {
        "ttl_default_ms": 60000, "ttl_max_ms": 600000, "cut_stream": "reported"}
    assert shown["plans"]["pro_tier"]["concurrency"] == {
        "streams": {"scope": "user", "limit": 20, "shadow": False}}
    assert shown["ledger"] == {
        "path": "/var/lib/tollgate/ledger", "durability": "second",
        "snapshot_interval_ms": 300000, "segment_bytes": 16777216, "on_failure": "refuse",
        "reservations_max": 1000000}
    assert shown["idempotency"] == {"lifetime_ms": 600000, "records_max": 1000000}
    assert shown["operations"]["batches.get"]["routes"] == ["GET /v1/batches/{id}"]
    assert shown["operations"]["chat.completions.gpt4o"]["charges"]["tokens"] == {
        "units": 0, "weight": 10}
    assert shown["issuers"]["main"]["keys"] == [
        {"id": "main-1", "algorithm": "HS256", "organization": None}]
    assert shown["address_limits"]["address_per_second"]["limit"] == 100
    assert shown["daemon"]["connections_max"] == 10_000
    assert (shown["issuers"]["main"]["plan_source"], shown["tokens"]["plan_source"]) == (
        "claims", "directory")
    assert shown["directory"]["peppers"] == [{"generation": 1, "file": "keys/pepper.key"}]
    assert shown["daemon"]["roles"]["check"] is None
    for text in (said, json.dumps(shown)):
        for form in (secret.hex(), key.read_text(), base64.b64encode(secret).decode()):
            assert form not in text


def test_policy_show_names_who_has_which_role(cli):
    policy = cli.daemon.directory / "roles.yaml"
    policy.write_text(
        "version: 1\nplans: {p: {rate_limits: {l: {scope: user, limit: 5, window: 1s,"
        " override_max: 9}}}}\n"
        "daemon: {admin_socket: {path: /a, group: ops}, roles: {check: {users: [web, 33]},"
        " issue: {groups: [login]}, admin: {users: [7], groups: [ops, wheel]},"
        " observe: {users: [eye]}, watch: {groups: [eyes]}}}\n"
        "directory: {path: /d, peppers: [{generation: 2, credential: c}]}\n"
        "tokens: {issuer: i, plan_source: directory_first}\n")
    said = cli("policy", "show", policy).stdout
    for text in ("user web, user 33", "group login", "directory, else claims", "overridden up to 9",
                 "2 from credential c", "root, the daemon's user, user 7, group ops, group wheel",
                 "user eye", "group eyes"):
        assert text in said, text
    shown = cli.json("policy", "show", policy)
    assert shown["daemon"]["roles"] == {
        "check": {"users": ["web", 33], "groups": []}, "issue": {"users": [], "groups": ["login"]},
        "admin": {"users": [7], "groups": ["ops", "wheel"]},
        "observe": {"users": ["eye"], "groups": []},
        "watch": {"users": [], "groups": ["eyes"]}}
    assert shown["directory"] == {"path": "/d", "signing_keys": "/d/signing",
                                  "peppers": [{"generation": 2, "credential": "c"}]}
    assert shown["tokens"]["plan_source"] == "directory_first"
    assert shown["plans"]["p"]["rate_limits"]["l"]["override_max"] == 9


def test_policy_check_looks_at_the_peppers_that_it_can_see(cli):
    policy = cli.daemon.directory / "peppers.yaml"
    policy.write_text("version: 1\nplans: {}\ndirectory: {path: /d, peppers: ["
                      "{generation: 1, file: pepper}, {generation: 2, credential: c}]}\n")
    said = cli.error("policy", "check", policy, code=CONFIGURATION)
    assert f"{policy}:3:55: key file pepper: No such file" in said
    pepper = cli.daemon.directory / "pepper"
    pepper.write_bytes(os.urandom(32))
    pepper.chmod(0o600)
    assert "ok: 0 plans" in (unseen := cli("policy", "check", policy).stdout)
    assert "credential c: not looked at, because CREDENTIALS_DIRECTORY is not set" in unseen
    assert cli.json("policy", "check", policy)["unseen_credentials"] == ["c"]
    credentials = {"CREDENTIALS_DIRECTORY": str(cli.daemon.directory)}
    report = cli("policy", "check", policy, "--json", code=CONFIGURATION, env=credentials)
    assert "$CREDENTIALS_DIRECTORY/c" in json.loads(report.stdout)["errors"][0]["message"]
    (cli.daemon.directory / "c").write_bytes(os.urandom(32))
    (cli.daemon.directory / "c").chmod(0o400)
    assert cli.json("policy", "check", policy, env=credentials)["unseen_credentials"] == []


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


def test_a_key_of_one_organization_signs_for_no_other(cli):
    policy = cli.daemon.policy
    key = "{id: acme-1, algorithm: HS256, file: acme.key, organization: acme}"
    text = policy.read_text()
    policy.write_text(text.replace("keys: [", f"keys: [{key}, "))
    secret = cli.daemon.directory / "acme.key"
    secret.write_bytes(base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"="))
    secret.chmod(0o600)
    cli("reload")
    mint = ("token", "mint", "--user", "ada", "--plan", "pro_tier")
    for organization, kid in (("acme", "acme-1"), ("other", "main-1")):
        minted = cli.json(*mint, "--organization", organization)
        assert minted["kid"] == kid
        decision = cli.json("check", "-o", "models", env={"TOLLGATE_TOKEN": minted["token"]})
        assert decision["organization"] == organization
    assert "for organization acme" in cli.error(*mint, "--kid", "acme-1", code=CONFIGURATION)


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
    said = cli("usage", "evil\u202e").stdout
    assert "\u202e" not in said and "evil\\u{202e}" in said
    assert "\x1b" not in cli("usage", "evil\x1b[2J", code=USAGE).stderr
    assert "\x1b" not in cli("check", "-o", "\x1b[2J", code=DENIED).stdout
