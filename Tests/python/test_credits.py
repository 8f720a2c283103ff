"""Units granted beyond a quota, on the real daemon: calls, clients, the command line, and kills in
the middle of racing burns."""

import json
import threading
import time

import pytest
from commandline import Cli
from directory_daemon import DAY, DirectoryDaemon, Place, now, sign_up
from tollgate import Client, Conflict, InvalidValue, TollgateError, new_id

QUOTA = "monthly_tokens"


class CreditPlace(Place):
    def policy(self, tokens):
        ledger = self.path / "ledger"
        ledger.mkdir(mode=0o700, exist_ok=True)
        text = super().policy(tokens).replace(
            "limit: 1000, period: month}", "limit: 1000, period: month, credits: true}")
        text = text.replace(
            "limit: 60, window: 1m, override_max: 600", "limit: 1000000, window: 1m")
        text = text.replace("limit: 500, period: month", "limit: 1000000, period: month")
        return text + f"ledger: {json.dumps({'path': str(ledger), 'snapshot_interval': '1s'})}\n"


@pytest.fixture
def daemon():
    place = CreditPlace()
    made = DirectoryDaemon(place)
    yield made
    assert made.process.poll() is None, "the daemon died: " + made.logged()
    assert made.stop() == 0
    made.remove()
    place.remove()


def burnt(daemon):
    return {grant.id: grant.burnt for grant in daemon.admins.credits.list("acme")}


def test_a_grant_is_made_once_listed_burnt_and_voided(daemon):
    key, _ = sign_up(daemon)
    grants = daemon.admins.credits
    made = grants.grant("acme", QUOTA, 50, id="invoice-1", expires_at=now() + DAY, note="a top-up")
    assert (made.state, made.burnt, made.remaining, made.meter) == ("active", 0, 50, "tokens")
    again = grants.grant(
        "acme", QUOTA, 50, id="invoice-1", expires_at=made.expires_at, note="a top-up")
    assert again == made
    with pytest.raises(Conflict):
        grants.grant("acme", QUOTA, 51, id="invoice-1", note="a top-up")
    with pytest.raises(InvalidValue):
        grants.grant("acme", "monthly_calls", 5)
    with pytest.raises(InvalidValue):
        grants.grant("acme", QUOTA, 5, expires_at=now() - 1)
    first = grants.grant("acme", QUOTA, 20, priority=1)
    decision = daemon.callers.check(key.secret, operation="chat", units={"tokens": 1030})
    assert decision.allowed and decision.quota.remaining == 40
    assert burnt(daemon) == {"invoice-1": 10, first.id: 20}
    report = daemon.callers.usage("acme", plan="pro_tier")
    assert [(one.id, one.burnt, one.usable) for one in report.credits] == [("invoice-1", 10, True)]
    over = daemon.callers.check(key.secret, operation="chat", units={"tokens": 41})
    assert over.reason == "quotaExhausted"
    assert grants.void("acme", "invoice-1").state == "voided"
    assert grants.void("acme", "invoice-1").remaining == 0
    assert not daemon.callers.check(key.secret, operation="chat", units={"tokens": 1}).allowed
    log = [entry.action for entry in daemon.admins.log.list("acme")]
    assert log.count("credit.grant") == 2 and log.count("credit.void") == 1


def test_eight_can_be_used_and_what_is_over_gives_place(daemon):
    key, _ = sign_up(daemon)
    grants = daemon.admins.credits
    for number in range(8):
        grants.grant("acme", QUOTA, 10, id=f"g{number}", priority=number)
    with pytest.raises(Conflict, match="8 grants"):
        grants.grant("acme", QUOTA, 10, id="g8")
    assert daemon.callers.check(key.secret, operation="chat", units={"tokens": 1000}).allowed
    # Each that is used up makes room for another, far beyond what the ledger remembers.
    for number in range(8, 40):
        assert daemon.callers.check(key.secret, operation="chat", units={"tokens": 10}).allowed
        grants.grant("acme", QUOTA, 10, id=f"g{number}", priority=number)
    expected = {f"g{number}": 10 if number < 32 else 0 for number in range(40)}
    assert burnt(daemon) == expected
    daemon.die_and_start_again()
    assert burnt(daemon) == expected


def test_the_command_line_shows_grants_and_what_they_paid(daemon):
    key, _ = sign_up(daemon)

    cli = Cli(daemon)
    made = cli.json("credit", "grant", "acme", "--quota", QUOTA, "--units", 30, "--id", "one",
                    "--expires", "30d")["credit"]
    assert (made["id"], made["state"], made["priority"]) == ("one", "active", 100)
    assert daemon.callers.check(key.secret, operation="chat", units={"tokens": 1010}).allowed
    listed = cli("credit", "list", "acme", "--json").stdout.replace(" ", "")
    assert '"burnt":10' in listed and '"remaining":20' in listed
    shown = cli.json("usage", "show", "acme", "--plan", "pro_tier")
    assert [(one["id"], one["burnt"]) for one in shown["credits"]] == [("one", 10)]
    assert "20 of 30 left" in cli("usage", "show", "acme", "--plan", "pro_tier").stdout
    month = time.strftime("%Y-%m", time.gmtime())
    usage = [one for one in daemon.admins.closed_usage.list(month, including_open=True)
             if one.limit == QUOTA]
    assert [(one.used, one.credits) for one in usage] == [(1010, 10)]
    assert cli.json("credit", "void", "acme", "one", "--yes")["credit"]["state"] == "voided"


def test_kills_in_the_middle_of_racing_burns_admit_what_was_granted_and_no_more(daemon):
    key, _ = sign_up(daemon)
    granted = 0
    for number in range(6):
        daemon.admins.credits.grant(
            "acme", QUOTA, 150, id=f"g{number}", priority=9 - number,
            expires_at=now() + (number + 1) * DAY)
        granted += 150
    admitted, refused, lock = [0], [0], threading.Lock()
    ended = threading.Event()

    def burn():
        client = Client(daemon.data, timeout=20)
        while not ended.is_set():
            identity = new_id()
            while not ended.is_set():
                try:
                    decision = client.check(
                        key.secret, operation="chat", units={"tokens": 1},
                        idempotency_id=identity)
                    break
                except TollgateError:
                    time.sleep(0.01)
            else:
                break
            with lock:
                if decision.allowed:
                    admitted[0] += 1
                elif decision.reason == "quotaExhausted":
                    refused[0] += 1
                    if refused[0] > 60:
                        ended.set()
        client.close()

    threads = [threading.Thread(target=burn) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        time.sleep(0.15)
        before = admitted[0]
        daemon.die_and_start_again()
        assert sum(burnt(daemon).values()) >= max(0, before - 1000)
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    assert admitted[0] == 1000 + granted
    assert burnt(daemon) == {f"g{number}": 150 for number in range(6)}
