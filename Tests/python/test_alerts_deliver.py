"""Alerts on their way: a real daemon, `tollgate alerts deliver`, and receivers that fail."""

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import stat
import subprocess
import threading
import time

import audit_daemon as audit
from commandline import TOLLGATE, Cli
from hardening import eventually
from test_alerts import TODAY, AlertPlace, spend, told

RULES = {**TODAY, "costly_operation": {"enabled": False}, "quota_threshold": {"percents": [80]}}
SECRET = bytes(range(32))
PATH = "/hook/never-to-be-logged"


class Receiver:
    """An HTTP receiver. `says`: a status, or a function of how many came before that gives one,
    or one with headers; nothing listens after `down`, until `up`."""

    def __init__(self, says=204):
        self.says, self.requests, self.port, self.server = says, [], 0, None
        self.up()

    def up(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                says = receiver.says
                said = says(len(receiver.requests)) if callable(says) else says
                status, headers = said if isinstance(said, tuple) else (said, {})
                receiver.requests.append(
                    (time.monotonic(), status, self.path, dict(self.headers), body))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def down(self):
        self.server.shutdown()
        self.server.server_close()

    def taken(self):
        """Documents that it said yes to, by their ids, and how often."""
        found = {}
        for _, status, _, headers, body in self.requests:
            if status < 300:
                event = json.loads(body)
                found.setdefault(headers["webhook-id"], []).append(event)
        return found

    def url(self):
        return f"http://127.0.0.1:{self.port}{PATH}"


class Sender:
    """`tollgate alerts deliver` as its service runs it."""

    def __init__(self, made):
        self.made, self.process, self.began = made, None, 0
        self.log = made.place.path / "sender.log"
        self.start()

    def start(self):
        with self.log.open("ab") as log:
            self.began = log.tell()
            self.process = subprocess.Popen(
                [TOLLGATE, "alerts", "deliver", "-c", str(self.made.policy)], stdout=log,
                stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def said(self):
        return self.log.read_text()

    def said_in_this_life(self):
        return self.log.read_bytes()[self.began:].decode()


class SinkPlace(AlertPlace):
    rules = RULES
    sinks, more = {}, {}

    def policy(self, settings, policy):
        text = super().policy(settings, policy)
        head, _, alerts = text.rpartition("alerts: ")
        more = {"retry": {"first": "50ms", "longest": "400ms"}, **self.more}
        return head + "alerts: " + json.dumps({**json.loads(alerts), **more, "sinks": self.sinks}
                                              ) + "\n"

    def secret(self, name, content):
        file = self.path / name
        file.write_bytes(content)
        file.chmod(0o600)
        return str(file)


@contextlib.contextmanager
def delivering(sinks, *, starts=True, **more):
    """A daemon and a sender. `sinks` is a function of the place."""
    place = SinkPlace()
    place.sinks, place.more = sinks(place), more
    sender = None
    try:
        with audit.daemon(place, policy=audit.POLICY) as made:
            sender = Sender(made) if starts else None
            yield made, sender
    finally:
        if sender:
            sender.kill()
        place.remove()


def hook(receiver):
    def sinks(place):
        secret = place.secret("hook.key", b"whsec_" + base64.b64encode(SECRET) + b"\n")
        return {"ops": {"kind": "webhook", "url": receiver.url(), "secret_file": secret,
                        "timeout": "2s"}}
    return sinks


def fire(made, count, prefix="o"):
    for number in range(count):
        spend(made, 800, f"{prefix}{number}")


def waiting(made):
    return sorted((made.place.alerts / "spool").glob("alert.*.json"))


def test_an_event_arrives_signed_and_as_cloudevents_has_it():
    receiver = Receiver()
    with delivering(hook(receiver)) as (made, sender):
        fire(made, 1)
        eventually(lambda: receiver.requests, 20)
        (alert,) = told(made)
        _, _, path, headers, body = receiver.requests[0]
        eventually(lambda: not waiting(made), 20)
        assert "never-to-be-logged" not in made.logged() + sender.said()
    event = json.loads(body)
    assert path == PATH and headers["Content-Type"].startswith("application/cloudevents+json")
    assert (event["specversion"], event["source"], event["type"]) == (
        "1.0", "tollgate", "tollgate.alert.quota_threshold")
    assert event["id"] == headers["webhook-id"] == f"{alert['id']}-{alert['at']}"
    assert event["data"]["organization"] == "o0" and event["data"]["threshold"] == 80
    signed = f"{event['id']}.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-signature"] == "v1," + base64.b64encode(
        hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60


def test_a_receiver_that_was_down_gets_all_of_them_over_kills_of_both():
    receiver = Receiver()
    receiver.down()
    with delivering(hook(receiver)) as (made, sender):
        for round in range(4):
            fire(made, 5, prefix=f"r{round}_")
            eventually(lambda: len(told(made)) == 5 * (round + 1), 20)
            made.die_and_start_again()
            sender.kill()
            sender.start()
        eventually(lambda: len(waiting(made)) == 20, 20)
        # What a life that was killed had tried, the one that delivers need not have.
        eventually(lambda: "nobody answers at the host" in sender.said_in_this_life(), 20)
        assert "works again" not in sender.said()
        receiver.up()
        eventually(lambda: not waiting(made), 30)
        assert sender.said_in_this_life().count("sink ops: works again") == 1
        eventually(lambda: len(receiver.taken()) == 20, 5)
        alerts = told(made)
        assert not list((made.place.alerts / "spool").glob("*.done"))
    assert {f"{one['id']}-{one['at']}" for one in alerts} == set(receiver.taken())


def test_a_sender_that_is_killed_while_it_delivers_loses_none():
    receiver = Receiver(says=lambda count: 204 if count % 3 else 503)
    with delivering(hook(receiver)) as (made, sender):
        for round in range(6):
            fire(made, 5, prefix=f"r{round}_")
            time.sleep(0.15)
            sender.kill()
            sender.start()
            # Decisions of a moment before a kill are noticed with the next.
            eventually(lambda: len(told(made)) == 5 * (round + 1), 20)
            if round % 2:
                made.die_and_start_again()
        eventually(lambda: len(told(made)) == 30, 20)
        eventually(lambda: not waiting(made), 30)
        ids = {f"{one['id']}-{one['at']}" for one in told(made)}
    taken = receiver.taken()
    assert set(taken) == ids and len(ids) == 30
    for events in taken.values():
        assert all(event == events[0] for event in events)


def test_what_a_receiver_asks_for_is_obeyed():
    answers = iter([(503, {"Retry-After": "2"}), 204])
    busy = Receiver(says=lambda _: next(answers, 204))
    with delivering(hook(busy)) as (made, _):
        fire(made, 1)
        eventually(lambda: len(busy.requests) == 2, 20)
    first, second = (one[0] for one in busy.requests)
    assert 1.9 <= second - first < 6


def test_an_alert_that_is_refused_holds_none_back_and_is_tried_again():
    receiver = Receiver(says=lambda count: 400 if count in (0, 2) else 204)
    with delivering(hook(receiver)) as (made, sender):
        fire(made, 3)
        eventually(lambda: len(told(made)) == 3, 20)
        eventually(lambda: len(receiver.taken()) == 3 and not waiting(made), 30)
        assert "answers with status 400" in sender.said()


def test_commands_and_slack_and_the_log_get_each_of_them():
    slack = Receiver(says=200)

    def sinks(place):
        out = place.path / "events"
        program = place.path / "page"
        program.write_text(
            f"#!/bin/sh\n[ -e {place.path}/broken ] && exit 3\n[ \"$1\" = --now ] || exit 4\n"
            f"cat >> {out}\necho >> {out}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        (place.path / "broken").touch()
        url = place.secret("slack.url", slack.url().encode() + b"\n")
        return {"page": {"kind": "command", "command": [str(program), "--now"], "timeout": "2s"},
                "chat": {"kind": "slack", "url_file": url, "severity_min": "critical"},
                "lines": {"kind": "log"}}

    with delivering(sinks) as (made, sender):
        fire(made, 2)
        eventually(lambda: "its command ended with exit code 3" in sender.said(), 20)
        test = made.admins.alerts.test()
        (made.place.path / "broken").unlink()
        eventually(lambda: len(told(made)) == 3 and not waiting(made), 20)
        events = [json.loads(line) for line in
                  (made.place.path / "events").read_text().splitlines()]
        said = sender.said()
    assert len({event["id"] for event in events}) == len(events) == 3
    for number in range(2):
        assert f"organization o{number}: 80 % of quota" in said
    # Warnings are not for the chat, and a test goes everywhere.
    (message,) = (json.loads(one[4]) for one in slack.requests)
    assert "test: a test that an operator asked for" in message["text"]
    assert message["mrkdwn"] is False
    assert f"alert {test.id} of tollgate" in message["text"]
    assert "never-to-be-logged" not in said


def test_a_command_that_hangs_is_ended_with_all_that_it_started():
    def sinks(place):
        program = place.path / "hang"
        program.write_text(f"#!/bin/sh\nsleep 600 & echo $! > {place.path}/pid\nwait\n")
        program.chmod(0o755)
        return {"page": {"kind": "command", "command": [str(program)], "timeout": "300ms"}}

    with delivering(sinks) as (made, sender):
        fire(made, 1)
        eventually(lambda: "took longer than 300 ms" in sender.said(), 20)
        sleeper = int((made.place.path / "pid").read_text())
        sender.kill()
        eventually(lambda: not alive(sleeper), 5)
        assert len(waiting(made)) == 1


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def test_without_curl_it_says_what_to_install_and_keeps_the_alert():
    receiver = Receiver()
    with delivering(hook(receiver), starts=False) as (made, _):
        fire(made, 1)
        eventually(lambda: len(waiting(made)) == 1, 20)

        def once(path):
            return subprocess.run(
                [TOLLGATE, "alerts", "deliver", "--once", "-c", str(made.policy)], timeout=60,
                capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})

        done = once(str(made.place.path))
        assert done.returncode == 1 and "install the Debian package curl" in done.stderr
        assert len(waiting(made)) == 1 and not receiver.requests
        assert once(os.environ["PATH"]).returncode == 0
        assert len(receiver.taken()) == 1 and not waiting(made)


def test_secrets_are_in_no_arguments():
    """A receiver that keeps curl waiting, while all that run are looked at."""
    seen = []

    def says(_):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
                    seen.append(file.read())
        return 204

    receiver = Receiver(says=says)
    with delivering(hook(receiver)) as (made, _):
        fire(made, 1)
        eventually(lambda: not waiting(made) and receiver.requests, 20)
    signature = receiver.requests[0][3]["webhook-signature"].encode()
    assert any(one.startswith(b"curl\0") for one in seen)
    for one in seen:
        assert b"never-to-be-logged" not in one and signature not in one


def test_a_full_spool_is_counted_and_said_and_room_is_found_again():
    receiver = Receiver()
    with delivering(hook(receiver), starts=False, spool_max=10) as (made, _):
        fire(made, 13)
        eventually(lambda: made.admins.stats()["tollgate_alerts_spool_dropped_total"] >= 3, 20)
        eventually(lambda: "alerts_spool" in json.dumps(told(made)), 20)
        stats = made.admins.stats()
        assert stats["tollgate_alerts_spool_full"] == 1
        assert stats["tollgate_alerts_spool_waiting"] == len(waiting(made)) == 10
        assert "finds no room" in made.logged()
        cli = Cli(made)
        said = cli("health", code=1).stdout
        assert "problem: 10 alerts wait to be delivered" in said
        done = subprocess.run(
            [TOLLGATE, "alerts", "deliver", "--once", "-c", str(made.policy)],
            capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert len(receiver.taken()) == 10
        eventually(lambda: made.admins.stats()["tollgate_alerts_spool_full"] == 0, 20)
        assert "there is room again" in made.logged()
        cli("health")


def test_what_is_silenced_does_not_go_out_and_two_do_not_deliver():
    receiver = Receiver()
    with delivering(hook(receiver)) as (made, _):
        made.admins.silences.create(organization="o0", for_seconds=600)
        fire(made, 2)
        eventually(lambda: len(told(made)) == 2 and not waiting(made), 20)
        (events,) = receiver.taken().values()
        assert events[0]["data"]["organization"] == "o1"
        done = subprocess.run(
            [TOLLGATE, "alerts", "deliver", "--once", "-c", str(made.policy)],
            capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 75 and "another process delivers" in done.stderr
