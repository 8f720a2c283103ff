"""Every decision leaves one record: who, what, what it cost, why not; and the records prove it."""

import collections
import json
import random
import signal
import subprocess
import threading
import time

import audit_daemon as audit
import pytest
import test_daemon
from conftest import ROOT
from hardening import eventually
from ledger_daemon import used
from tollgate import Client, TollgateError

TOKENS = {"tokens": 5}


def token(daemon, user="ada", organization="acme", plan=audit.PLAN):
    return test_daemon.pyjwt_token(daemon, sub=user, org=organization, plan=plan)


def test_each_kind_of_decision_is_told():
    with audit.daemon() as daemon:
        secret = token(daemon)
        checked = daemon.callers.check(
            secret, operation="chat", units=TOKENS, address="192.0.2.7")
        daemon.charge("acme", "ada", 731)
        with daemon.callers.reserve(secret, operation="chat", units={"tokens": 40}) as hold:
            hold.extend({"tokens": 60}, used={"tokens": 30})
            hold.settle({"tokens": 50})
        daemon.callers.check("nonsense", operation="chat")
        daemon.callers.check(token(daemon, plan="no_tier"), operation="chat")
        place = daemon.place
        eventually(lambda: len(audit.records(place)) == 7, 20)
        told = audit.records(place)
    assert [one["kind"] for one in told] == [
        "check", "consume", "reserve", "extend", "settle", "check", "check"]
    first = told[0]
    assert first["id"] == checked.decision_id
    assert (first["verdict"], first["reason"]) == ("allow", "none")
    assert (first["organization"], first["user"], first["plan"], first["operation"]) == (
        "acme", "ada", audit.PLAN, "chat")
    assert first["address"] == "192.0.2.7" and first["issuer"] == "main"
    assert {one["meter"]: one["units"] for one in first["charges"]} == {"calls": 1, "tokens": 5}
    assert told[4]["reservation"] == told[2]["reservation"] is not None
    assert {one["meter"]: one["units"] for one in told[4]["charges"]}["tokens"] == 50
    assert [one["reason"] for one in told[5:]] == ["credentialMalformed", "planUnknown"]
    assert told[5]["user"] == "" and told[5]["verdict"] == "deny"


def test_racing_clients_decisions_are_each_told_once_and_sum_to_the_ledger():
    with audit.daemon(threads=2) as daemon:
        told, lock = [], threading.Lock()

        def caller(number):
            source = random.Random(number)
            secret = token(daemon, f"user-{number}", f"org-{number % 3}")
            with Client(daemon.data, timeout=20) as client:
                mine = []
                for _ in range(300):
                    units = {"tokens": source.randrange(50)}
                    if source.randrange(4) == 0:
                        hold = client.reserve(secret, operation="chat", units=units)
                        mine.append(hold.decision.decision_id)
                        settled = hold.settle({"tokens": source.randrange(60)})
                        mine.append(settled.decision_id)
                    else:
                        mine.append(
                            client.check(secret, operation="chat", units=units).decision_id)
            with lock:
                told.extend(mine)

        threads = [threading.Thread(target=caller, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        totals = {f"org-{n}": used(daemon.callers, f"org-{n}")["tokens"] for n in range(3)}
        assert daemon.stop() == 0
        found = audit.records(daemon.place)
        assert collections.Counter(one["id"] for one in found) == collections.Counter(told)
        sums = collections.Counter()
        for one in found:
            if one["kind"] in ("check", "settle"):
                sums[one["organization"]] += sum(
                    charge["weighted"] for charge in one["charges"] if charge["meter"] == "tokens")
        assert dict(sums) == totals
        assert audit.verify(daemon.place)["sound"] is True


def test_what_was_answered_before_a_kill_is_told_after_it():
    place = audit.AuditPlace()
    try:
        told = []
        with audit.daemon(place) as daemon:
            secret = token(daemon)
            for life in range(5):
                with Client(daemon.data, timeout=20) as client:
                    deadline = time.monotonic() + 0.2

                    def shoot(process=daemon.process):
                        time.sleep(0.1)
                        process.send_signal(signal.SIGKILL)

                    shot = threading.Thread(target=shoot)
                    shot.start()
                    while time.monotonic() < deadline:
                        try:
                            told.append(
                                client.check(secret, operation="chat", units=TOKENS).decision_id)
                        except TollgateError:
                            break
                    shot.join()
                daemon.process.wait()
                daemon.log.close()
                daemon.start()
            assert daemon.stop() == 0
        found = collections.Counter(one["id"] for one in audit.records(place))
        assert set(found.values()) == {1}, "none twice"
        assert set(told) <= set(found), "none lost"
        # What was decided when it was killed, and not answered.
        assert len(found) - len(told) <= 5
        assert audit.verify(place)["sound"] is True
    finally:
        place.remove()


def test_one_flipped_byte_anywhere_is_named(tmp_path):
    with audit.daemon() as daemon:
        for _ in range(60):
            daemon.charge("acme", "ada", 1)
        assert daemon.stop() == 0
        assert audit.verify(daemon.place)["sound"] is True
        (segment,) = audit.segments(daemon.place)
        whole = segment.read_bytes()
        source = random.Random(7)
        for place in source.sample(range(len(whole)), 25):
            rotten = bytearray(whole)
            rotten[place] ^= 1 << source.randrange(8)
            segment.write_bytes(rotten)
            verdict = audit.verify(daemon.place, code=1)
            assert verdict["sound"] is False, place
            (fault, *_) = verdict["faults"]
            assert fault["segment"] == 1 and fault["offset"] <= place, (place, fault)
        segment.write_bytes(whole)
        assert audit.verify(daemon.place)["sound"] is True


def test_a_segment_that_is_gone_or_out_of_its_order_is_named():
    with audit.daemon() as daemon:
        with Client(daemon.data, timeout=20) as client:
            while len(audit.segments(daemon.place)) < 4:
                for _ in range(500):
                    client.consume("acme", "ada", audit.PLAN, "chat", {"tokens": 1})
        assert daemon.stop() == 0
        assert audit.verify(daemon.place)["sound"] is True
        first, second, third, *_ = audit.segments(daemon.place)
        aside = second.with_suffix(".aside")
        second.rename(aside)
        assert audit.verify(daemon.place, code=1)["faults"][0]["segment"] in (2, 3)
        third.rename(second)
        assert audit.verify(daemon.place, code=1)["faults"]
        second.rename(third)
        aside.rename(second)
        assert audit.verify(daemon.place)["sound"] is True


@pytest.mark.parametrize("overload", ["block", "drop"])
def test_on_a_full_disk_nothing_goes_untold_unless_the_policy_says_so(overload):
    place = audit.AuditPlace(size="24m")
    try:
        settings = {"overload": overload, "ring_bytes": 262_144}
        with audit.daemon(place, audit=settings) as daemon:
            filler = place.path / "filler"
            with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
                while True:
                    file.write(bytes(4_096))
            reasons, allowed = collections.Counter(), set()
            with Client(daemon.data, timeout=20) as client:
                secret = token(daemon, plan="windowed_tier")
                for _ in range(9_000):
                    decision = client.check(secret, operation="look", units={"tokens": 1})
                    reasons[decision.reason] += 1
                    if decision.allowed:
                        allowed.add(decision.decision_id)
                    if reasons["auditUnavailable"] > 20:
                        break
                filler.unlink()
                if overload == "block":
                    assert reasons["auditUnavailable"] > 20
                    eventually(lambda: client.check(
                        secret, operation="look", units={"tokens": 1}).allowed, 20)
                else:
                    assert set(reasons) == {"none"}
                    eventually(lambda: "recording again" in daemon.logged(), 20)
            assert "audit: " in daemon.logged()
            stats = daemon.admins.stats()
            dropped = stats["tollgate_audit_dropped_total"]
            refused = stats["tollgate_audit_refused_total"]
            assert daemon.stop() == 0
        found = {one["id"] for one in audit.records(place)}
        if overload == "block":
            assert allowed <= found
            assert dropped == 0 and refused >= reasons["auditUnavailable"]
        else:
            assert refused == 0
            assert 0 < dropped == len(allowed - found)
        verdict = audit.verify(place)
        assert verdict["sound"] is True
        gaps = sum(gap["count"] for gap in verdict["gaps"] if gap["cause"] == "dropped")
        assert gaps == dropped + refused
    finally:
        place.remove()


def test_the_log_is_followed_while_it_grows():
    with audit.daemon() as daemon:
        follower = subprocess.Popen(
            [str(ROOT / ".build/debug/tollgate"), "audit", "tail", "-f", "--directory",
             str(daemon.place.audit), "--format", "jsonl"],
            stdout=subprocess.PIPE, text=True)
        try:
            for number in range(3):
                daemon.charge("acme", f"user-{number}", 1)
                line = follower.stdout.readline()
                assert json.loads(line)["user"] == f"user-{number}"
        finally:
            follower.terminate()
            follower.wait(10)


def test_who_begins_to_follow_under_load_has_each_decision_once():
    """What came between its two first looks was told twice."""
    with audit.daemon() as daemon:
        stopped = threading.Event()

        def charge_on():
            number = 0
            while not stopped.is_set():
                daemon.charge("acme", f"user-{number}", 1)
                number += 1

        charging = threading.Thread(target=charge_on)
        charging.start()
        try:
            for _ in range(12):
                follower = subprocess.Popen(
                    [str(ROOT / ".build/debug/tollgate"), "audit", "tail", "-f", "-n", "20",
                     "--directory", str(daemon.place.audit), "--format", "jsonl"],
                    stdout=subprocess.PIPE, text=True)
                lines = [json.loads(follower.stdout.readline()) for _ in range(60)]
                follower.terminate()
                follower.communicate(timeout=10)
                numbers = [int(line["user"].removeprefix("user-")) for line in lines]
                assert numbers == list(range(numbers[0], numbers[0] + 60))
        finally:
            stopped.set()
            charging.join()


def test_a_query_gives_what_a_look_at_everything_gives():
    with audit.daemon() as daemon:
        for number in range(400):
            daemon.charge(f"org-{number % 7}", f"user-{number % 13}", number % 3)
            if number % 5 == 0:
                daemon.callers.check("nonsense", operation="chat")
        assert daemon.stop() == 0
        everything = audit.records(daemon.place)
        for words, wanted in [
            (["--organization", "org-3"], lambda one: one["organization"] == "org-3"),
            (["--organization", "org-3", "--user", "user-2"],
             lambda one: (one["organization"], one["user"]) == ("org-3", "user-2")),
            (["--denied"], lambda one: one["verdict"] == "deny"),
            (["--reason", "credentialMalformed"],
             lambda one: one["reason"] == "credentialMalformed"),
            (["--kind", "consume", "--operation", "chat"], lambda one: one["kind"] == "consume"),
            (["--organization", "nobody"], lambda one: False),
        ]:
            assert audit.records(daemon.place, *words) == list(filter(wanted, everything)), words


def test_a_decision_is_explained_in_words():
    with audit.daemon() as daemon:
        daemon.charge("small", "ada", 990, plan=audit.SMALL)
        secret = token(daemon, organization="small", plan=audit.SMALL)
        denied = daemon.callers.check(secret, operation="chat", units={"tokens": 20})
        assert denied.reason == "quotaExhausted"
        eventually(lambda: len(audit.records(daemon.place)) == 2, 20)
        text = audit.tollgate("explain", denied.decision_id, "--directory", daemon.place.audit)
        for word in ("denied", "quota", "small_tokens", "990", "1,000", "small", "ada", "chat"):
            assert word in text, text
        as_json = json.loads(audit.tollgate(
            "explain", denied.decision_id, "--directory", daemon.place.audit, "--json"))
        assert as_json["limits"][0]["name"] == "small_tokens" and as_json["limits"][0]["refuses"]
        missing = audit.tollgate(
            "explain", "00000000000000ff", "--directory", daemon.place.audit, code=1)
        assert missing == ""


def test_no_secret_stands_in_the_log():
    with audit.daemon() as daemon:
        secret = token(daemon)
        daemon.callers.check(secret, operation="chat", units=TOKENS)
        daemon.callers.check("tg_live_" + "a" * 54, operation="chat")
        assert daemon.stop() == 0
        for file in daemon.place.audit.rglob("*"):
            if file.is_file():
                content = file.read_bytes()
                assert secret.encode() not in content
                assert secret.split(".")[2].encode() not in content
                assert b"a" * 40 not in content
