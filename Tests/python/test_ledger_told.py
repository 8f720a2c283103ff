"""What tollgate tells of a ledger: no more than it saw, to the unit, and names as names."""

import pytest
from commandline import USAGE, Cli
from hardening import connect, read_reply
from ledger_daemon import PLAN, daemon
from tollgate import replies, wire


@pytest.fixture
def one():
    with daemon() as made:
        yield made


def charge(one, units):
    assert one.charge("acme", "ada", units).allowed


def test_a_snapshot_is_not_read_from_standard_input():
    said = Cli(None).error("snapshot", "verify", "-", code=USAGE)
    assert "not from standard input" in said


def test_health_says_what_it_did_not_see(one, tmp_path):
    cli = Cli(one)
    env = {"TOLLGATE_ADMIN_SOCKET": str(tmp_path / "none.sock")}
    said = cli("health", env=env).stdout
    assert said.startswith("answers: version ") and "healthy" not in said
    assert "not seen: the ledger: nobody answers at the admin socket" in said
    told = cli.json("health", env=env)
    assert told["healthy"] is None and "nobody answers" in told["not_seen"]
    told = cli.json("health")
    assert told["healthy"] is True and told["not_seen"] is None


BILLED = 2**53 + 1


def test_exports_are_exact_beyond_what_most_readers_of_json_hold(one):
    peer = connect(one.data)
    for _ in range(32):
        # 2^40 at once, at most.
        body = wire.consume_body("acme", "ada", PLAN, "chat", {"tokens": 2**40})
        peer.sendall(b"".join(wire.frame(wire.CONSUME, index + 1, body) for index in range(256)))
        for _ in range(256):
            assert replies.decision(read_reply(peer)[3]).allowed
    peer.close()
    charge(one, 1)
    cli = Cli(one)

    def exported(form):
        return cli("usage", "export", "--period", "1970-01", "--open", "--format", form,
                   "--organization", "acme").stdout

    assert f",{BILLED}," in exported("csv")
    assert f'"used":{BILLED},' in exported("jsonl")
    assert f'"used":"{BILLED}",' in exported("cloudevents")
    totals = [entry for entry in one.admins.closed_usage.list("1970-01", including_open=True)
              if entry.limit == "tokens"]
    assert [entry.used for entry in totals] == [BILLED]


def test_a_name_is_no_formula_in_an_exported_table(one):
    for name in ("=1+1", "+1", "-1", "@sum", "plain"):
        assert one.callers.consume("acme", name, "pro_tier", "chat", {"tokens": 1}).allowed
    lines = Cli(one)("usage", "export", "--period", "1970-01", "--open").stdout.splitlines()
    users = {line.split(",")[2] for line in lines[1:]}
    assert users == {"", "'=1+1", "'+1", "'-1", "'@sum", "plain"}
    raw = Cli(one)("usage", "export", "--period", "1970-01", "--open", "--format", "jsonl").stdout
    assert '"user":"=1+1"' in raw
