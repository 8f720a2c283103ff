"""Who is busiest and who is nearest to a limit, on a real daemon with traffic of several
organizations: the call, the command's JSON and table, and who may not ask."""

import json
import os
import threading
import time

import audit_daemon as audit
import pytest
import test_daemon
from frame_layout import frame, stats_reply
from hardening import eventually
from scripted_daemon import ScriptedDaemon, request_id
from tollgate import Client, Forbidden, InvalidValue

# Organization → how many checks of 10 tokens, of a quota of 1,000 each.
LOADS = {"alpha": 60, "beta": 30, "gamma": 10, "delta": 1}


def token(daemon, organization, user="ada", plan=audit.SMALL):
    return test_daemon.pyjwt_token(daemon, sub=user, org=organization, plan=plan)


def spend(daemon, loads, tokens=10):
    for organization, count in loads.items():
        secret = token(daemon, organization)
        for _ in range(count):
            assert daemon.callers.check(
                secret, operation="look", units={"tokens": tokens}).allowed


def counts(daemon):
    return {one.organization: (one.allowed, one.denied) for one in daemon.admins.top.show().busiest}


def near(daemon):
    return [(one.organization, one.used, one.limit) for one in daemon.admins.top.show().nearest
            if one.quota == "small_tokens"]


def test_the_busiest_and_the_nearest_are_those_who_were():
    with audit.daemon() as daemon:
        first = daemon.admins.top.show()
        assert first.busiest == () and first.nearest == () and first.since_at
        spend(daemon, LOADS)
        secret = token(daemon, "alpha")
        # Denied to whom it is known, and to nobody.
        for _ in range(5):
            assert not daemon.callers.check(
                secret, operation="look", units={"tokens": 1_000}).allowed
        assert not daemon.callers.check(secret + "x", operation="look").allowed
        wanted = {name: (count, 5 if name == "alpha" else 0) for name, count in LOADS.items()}
        eventually(lambda: counts(daemon) == wanted)
        # A look at the counters may be half a second old.
        eventually(lambda: near(daemon) == [
            (name, 10 * count, 1_000) for name, count in LOADS.items()])
        top = daemon.admins.top.show(limit=2)
        assert [one.organization for one in top.busiest] == ["alpha", "beta"]
        assert [one.organization for one in top.nearest] == ["alpha", "beta"]
        assert top.since_at == first.since_at and top.missed_max == 0
        for bad in (0, 101):
            with pytest.raises(InvalidValue):
                daemon.admins.top.show(limit=bad)
        # What is held counts too, until it is not held any more.
        with daemon.callers.reserve(
                token(daemon, "delta"), operation="look", units={"tokens": 900}) as hold:
            eventually(lambda: [(one.used, one.held) for one in daemon.admins.top.show().nearest
                                if one.organization == "delta"] == [(10, 900)])
            hold.cancel()
        eventually(lambda: near(daemon)[-1] == ("delta", 10, 1_000))


def test_they_are_told_after_a_kill_from_what_the_ledger_has():
    with audit.daemon() as daemon:
        spend(daemon, LOADS)
        daemon.die_and_start_again()
        assert near(daemon) == [(name, 10 * count, 1_000) for name, count in LOADS.items()]
        assert daemon.admins.top.show().busiest == ()


def test_the_command_shows_them_live_and_as_json():
    with audit.daemon() as daemon:
        secrets = {name: token(daemon, name) for name in ("alpha", "beta")}
        stop = threading.Event()

        def load():
            with Client(daemon.data) as client:
                while not stop.is_set():
                    for name in ("alpha", "alpha", "alpha", "beta"):
                        client.check(secrets[name], operation="look", units={"tokens": 1})
                    time.sleep(0.001)

        loader = threading.Thread(target=load)
        loader.start()
        try:
            words = ("top", "--socket", daemon.admin, "--interval", 1)
            look = json.loads(audit.tollgate(*words, "--once", "--json"))
            table = audit.tollgate(*words, "--once", "--rows", 1)
        finally:
            stop.set()
            loader.join()
    known = look["organizations"]
    busiest = {one["organization"]: one for one in known["busiest"]}
    assert list(busiest) == ["alpha", "beta"]
    rates = [one["per_second"] for one in busiest.values()]
    assert rates[1] > 0 and 2 < rates[0] / rates[1] < 4
    # All that was decided was theirs, but for what the audit log's thread had not read yet.
    every = look["decisions"]["all"]["per_second"]
    assert 0.6 * every < sum(rates) < 1.2 * every
    assert [one["operation"] for one in look["operations"]] == ["look"]
    quota = known["nearest"][0]
    assert quota["organization"] == "alpha" and quota["limit"] == 1_000
    assert quota["percent"] == int(quota["used"] / quota["limit"] * 1_000) / 10
    lines = [line.split() for line in table.splitlines()]
    at = {line[0] + line[1]: index for index, line in enumerate(lines) if len(line) > 1}
    busy, nearest = at["BUSIESTORGANIZATIONS"], at["NEARESTTO"]
    assert lines[busy + 1][0] == "alpha" and lines[busy + 2] == []
    assert lines[nearest + 1][0] == "alpha" and "small_tokens" in lines[nearest + 1]
    assert lines[at["BUSIESTOPERATIONS"] + 1][0] == "look"
    assert "\x1b" not in table


def test_without_an_audit_log_nobody_is_counted_and_the_nearest_are_told(start_daemon):
    daemon = start_daemon()
    with Client(daemon.data) as client:
        secret = test_daemon.pyjwt_token(daemon, org="acme")
        assert client.check(secret, operation="chat", units={"tokens": 20}).allowed
    with Client(daemon.admin) as admin:
        top = admin.top.show()
    assert top.since_at is None and top.busiest == ()
    assert {one.organization for one in top.nearest} == {"acme"} and top.nearest[0].used > 0
    said = audit.tollgate("top", "--socket", daemon.admin, "--once", "--interval", 0.1)
    assert "organizations are not counted: the policy has no audit log" in said
    assert "NEAREST TO THEIR LIMITS" in said


def test_who_only_observes_or_calls_sees_no_organization(start_daemon):
    """Root is not asked for its name on the data socket."""
    me = {"users": [os.geteuid()]}
    for role, may in (("observe", False), ("issue", False), ("watch", True)):
        daemon = start_daemon(settings={"roles": {role: me}})
        with Client(daemon.data) as client:
            if may:
                assert client.top.show().nearest == ()
                # And nothing else.
                with pytest.raises(Forbidden):
                    client.organizations.show("acme")
            else:
                with pytest.raises(Forbidden):
                    client.top.show()
        if role == "observe":
            said = audit.tollgate("top", "--socket", daemon.data, "--once", "--interval", 0.1)
            assert "organizations are not shown: this user has neither the role watch" in said
            assert "DECISIONS" in said
        with Client(daemon.admin) as admin:
            assert admin.top.show().nearest == ()


BOUNDS = [f"{2**power / 1_000_000:.6f}" for power in range(4)] + ["+Inf"]
BUCKET = 'tollgate_frame_duration_seconds_bucket{{le="{}"}}'


class Looks:
    """Answers each STATS with the next of these numbers of frames by bucket."""

    def __init__(self, *looks, gauges=()):
        self.looks, self.gauges = list(looks), list(gauges)
        self.peer = ScriptedDaemon(self.answer)

    def answer(self, _, asked):
        if asked[4] == 0x50:
            return frame(0x50 | 0x80, request_id(asked), b"call: no such call", status=18)
        below, entries = 0, [{"name": "tollgate_stats_left_out", "kind": "gauge", "value": 0}]
        for bound, count in zip(BOUNDS, self.looks.pop(0)):
            below += count
            entries.append({"name": BUCKET.format(bound), "kind": "counter", "value": below})
        entries += [{"name": name, "kind": "gauge", "value": value} for name, value in self.gauges]
        return frame(0x40 | 0x80, request_id(asked),
                     stats_reply({"entries": entries, "extensions": []}), status=0)

    def shown(self, *words):
        with self.peer as peer:
            return audit.tollgate("top", "--socket", peer.path, "--interval", 0.1, *words)


def test_latency_is_that_of_the_frames_since_the_look_before():
    before = [900_000, 0, 0, 5, 0]

    def told(*added, looked=before):
        now = [a + b for a, b in zip(looked, added)]
        return json.loads(Looks(looked, now).shown("--once", "--json"))["latency"]

    # Half of a thousand within a microsecond; 990 and 999 of it within the bucket of 4 to 8.
    assert told(500, 300, 100, 100, 0) == {
        "frames": 1_000, "p50_us": 1.0, "p99_us": 7.6, "p999_us": 8.0, "beyond": 0}
    # Each bucket in proportion.
    assert told(0, 100, 0, 0, 0) == {
        "frames": 100, "p50_us": 1.5, "p99_us": 2.0, "p999_us": 2.0, "beyond": 0}
    # Beyond the last bound nothing is known but that.
    assert told(0, 0, 900, 0, 100) == {
        "frames": 1_000, "p50_us": 3.1, "p99_us": 8.0, "p999_us": 8.0, "beyond": 100}
    assert told(0, 0, 0, 0, 0) == {
        "frames": 0, "p50_us": None, "p99_us": None, "p999_us": None, "beyond": 0}
    # Another daemon, started since: all that it has.
    again = json.loads(Looks(before, [10, 0, 0, 0, 0]).shown("--once", "--json"))["latency"]
    assert again["frames"] == 10 and again["p999_us"] == 1.0


def test_latency_and_what_is_behind_stand_in_every_look():
    gauges = [("tollgate_journal_lag_seconds", 3), ("tollgate_audit_waiting_bytes", 2_048)]
    looks = ([0] * 5, [500, 300, 100, 100, 0], [1_000, 300, 100, 100, 1])
    lines = [line for line in Looks(*looks, gauges=gauges).shown("--count", 2).splitlines()
             if line.startswith("latency")]
    assert lines == [
        "latency p50 1.0 µs, p99 7.6 µs, p99.9 8.0 µs; journal 3 s behind; audit log 2.0 KiB"
        " behind",
        "latency p50 0.5 µs, p99 1.0 µs, p99.9 8.0 µs; 1 took longer than can be told; journal"
        " 3 s behind; audit log 2.0 KiB behind"]
    found = [json.loads(line) for line in
             Looks(*looks, gauges=gauges).shown("--count", 2, "--json").splitlines()]
    assert [one["latency"]["frames"] for one in found] == [1_000, 501]
    assert {(one["journal_lag_seconds"], one["audit_waiting_bytes"]) for one in found} == {
        (3, 2_048)}
    said = Looks(*looks[:2]).shown("--once")
    assert "latency p50" in said and "behind" not in said
    without = json.loads(Looks(*looks[:2]).shown("--once", "--json"))
    assert without["journal_lag_seconds"] is without["audit_waiting_bytes"] is None


def test_a_real_daemon_tells_how_long_its_frames_took():
    with audit.daemon() as daemon:
        look = json.loads(audit.tollgate(
            "top", "--socket", daemon.admin, "--interval", 0.1, "--once", "--json"))
    # The looks themselves, at least.
    latency = look["latency"]
    assert latency["frames"] > 0
    assert 0 < latency["p50_us"] <= latency["p99_us"] <= latency["p999_us"]
    assert look["journal_lag_seconds"] >= 0 and look["audit_waiting_bytes"] >= 0
