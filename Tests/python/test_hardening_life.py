"""The daemon's life under signals, reloads and ends; and what it never says."""

import base64
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import threading
import time

import jwt
import pytest
from conftest import POLICY
from hardening import PYTHON, as_root, connect, eventually, ping, read_reply, token
from tollgate import Client, Refused, TollgateError, Unreachable, wire

SEED = int(os.environ.get("TOLLGATE_SEED", time.time_ns() % 1_000_000))


class Load(threading.Thread):
    """Asks for decisions, 32 at a time, until the daemon ends; every one is to be `allowed`."""

    def __init__(self, daemon, bearer, allowed=True):
        super().__init__()
        self.daemon, self.allowed = daemon, allowed
        self.body = wire.check_body(bearer, operation="chat")
        self.done, self.decided, self.wrong, self.ended = threading.Event(), 0, [], None

    def run(self):
        with Client(self.daemon.data, timeout=30) as client:
            while not self.done.is_set():
                try:
                    decisions = client.check_many([self.body] * 32)
                except TollgateError as error:
                    self.ended = error
                    return
                self.decided += len(decisions)
                self.wrong += [one for one in decisions if one.allowed != self.allowed]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


def test_signals_under_load_lose_no_request_and_term_ends_it_in_time(daemon):
    print(f"seed {SEED}")
    source = random.Random(SEED)
    others = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGXFSZ,
              signal.SIGSTOP]
    loads = [Load(daemon, token(daemon)) for _ in range(4)]
    for load in loads:
        load.start()
    for _ in range(300):
        one = source.choice(others)
        daemon.process.send_signal(one)
        if one == signal.SIGSTOP:
            time.sleep(source.random() / 200)
            daemon.process.send_signal(signal.SIGCONT)
        time.sleep(source.random() / 200)
        assert daemon.process.poll() is None
    decided = [load.decided for load in loads]
    eventually(lambda: all(load.decided > before for load, before in zip(loads, decided)))
    began = time.monotonic()
    daemon.process.terminate()
    # Five seconds of grace, and more for a machine that is busy.
    assert daemon.process.wait(15) == 0
    assert time.monotonic() - began < 12
    for load in loads:
        load.join()
        # Before the end, each was answered; after it, nobody is there.
        assert isinstance(load.ended, Unreachable) and not load.wrong and load.decided > 0
    daemon.start()


def test_a_storm_of_reloads_holds_up_neither_the_end_nor_memory(start_daemon):
    daemon = start_daemon()
    stop, began = threading.Event(), threading.Event()

    def storm():
        while not stop.is_set():
            try:
                daemon.process.send_signal(signal.SIGHUP)
            except ProcessLookupError:
                return
            began.set()

    before = len(os.listdir(f"/proc/{daemon.process.pid}/task"))
    threads = [threading.Thread(target=storm) for _ in range(2)]
    for thread in threads:
        thread.start()
    began.wait()
    with connect(daemon.admin) as admin:
        # A thousand at once: each is answered, by loads that they share, on one thread.
        admin.sendall(b"".join(wire.frame(wire.RELOAD, number, b"") for number in range(1_000)))
        replies = [read_reply(admin) for _ in range(1_000)]
        assert {reply[2] for reply in replies} == set(range(1_000))
        assert all(reply[1] == 0 for reply in replies)
        generations = {reply[3] for reply in replies}
        assert len(generations) < 300
    assert len(os.listdir(f"/proc/{daemon.process.pid}/task")) == before
    daemon.process.terminate()
    assert daemon.process.wait(15) == 0
    stop.set()
    for thread in threads:
        thread.join()


def test_shutdown_is_heard_at_once(start_daemon):
    # A wake that is lost would cost each of them a second.
    began = time.monotonic()
    for _ in range(20):
        daemon = start_daemon()
        with Client(daemon.admin, timeout=20) as admin:
            admin.shutdown(60_000)
        assert daemon.process.wait(20) == 0
        assert not pathlib.Path(daemon.data).exists()
    assert time.monotonic() - began < 15


def silent(daemon):
    """A peer for whom replies wait."""
    peer = connect(daemon.data)
    chunk = b"".join(ping(number, b"s" * 64) for number in range(200))
    peer.settimeout(0.5)
    with pytest.raises(TimeoutError):
        while True:
            peer.sendall(chunk)
    return peer


def test_an_end_waits_for_the_grace_it_was_given_and_a_second_term_waits_for_nothing(start_daemon):
    for grace in (0, 300):
        daemon = start_daemon()
        peer = silent(daemon)
        began = time.monotonic()
        with Client(daemon.admin, timeout=20) as admin:
            admin.shutdown(grace)
        assert daemon.process.wait(20) == 0
        assert grace / 1_000 <= time.monotonic() - began < 4
        peer.close()
    daemon = start_daemon()
    peer = silent(daemon)
    with Client(daemon.admin, timeout=20) as admin:
        admin.shutdown(3_600_000)
    daemon.wait_for_log("draining for 3600000 ms")
    began = time.monotonic()
    daemon.process.terminate()
    daemon.wait_for_log("draining for 5000 ms")
    assert daemon.process.poll() is None
    daemon.process.terminate()
    assert daemon.process.wait(20) == 0
    assert time.monotonic() - began < 4
    peer.close()


def mutated(policy, source):
    """A policy with one to three changes: of a byte, a line, or a piece."""
    lines = policy.split("\n")
    for _ in range(source.randrange(1, 4)):
        at = source.randrange(len(lines))
        kind = source.randrange(7)
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(at, lines[source.randrange(len(lines))])
        elif kind == 2:
            lines[at] = lines[at][:source.randrange(len(lines[at]) + 1)]
        elif kind == 3:
            lines[at] = " " * source.randrange(3) + lines[at]
        elif kind == 4 and lines[at]:
            where = source.randrange(len(lines[at]))
            wrong = chr(source.choice([0, 9, 34, 58, 91, 123, 38, 42, 33, 0xE9, 0x1F600]))
            lines[at] = lines[at][:where] + wrong + lines[at][where + 1:]
        elif kind == 5:
            lines[at] = lines[at].replace("1", "99999999999999999999")
        else:
            lines[at] = lines[at].replace(":", ": &a *a", 1)
        if not lines:
            return ""
    return "\n".join(lines)


def test_a_bad_policy_changes_nothing_and_decides_nothing(daemon):
    print(f"seed {SEED}")
    source = random.Random(SEED)
    good = daemon.policy.read_text()
    forged = jwt.encode({"iss": "https://login.example.com", "sub": "eve", "plan": "open_tier",
                         "aud": "https://api.example.com", "exp": int(time.time()) + 600},
                        os.urandom(32), "HS256", headers={"kid": "main-1"})
    bearer = token(daemon)
    refused, taken = 0, 0
    with Load(daemon, forged, allowed=False) as thief, Client(daemon.admin, timeout=30) as admin:
        generation = admin.reload()
        owner = Load(daemon, bearer)
        owner.start()
        for _ in range(200):
            daemon.policy.write_text(mutated(good, source))
            try:
                generation = admin.reload()
                taken += 1
                # It was a policy after all; what it says of the owner is its affair.
                owner.done.set()
                owner.join()
                assert owner.ended is None
                owner.wrong.clear()
                daemon.policy.write_text(good)
                generation = admin.reload()
                owner = Load(daemon, bearer)
                owner.start()
            except Refused as refusal:
                refused += 1
                assert refusal.status == "policyInvalid" and "policy.yaml:" in refusal.detail
                assert admin.stats()["tollgate_policy_generation"] == generation
                assert admin.check(bearer, operation="chat").allowed
                assert not owner.wrong
        owner.done.set()
        owner.join()
        assert owner.ended is None and not owner.wrong
    assert thief.ended is None and not thief.wrong and thief.decided > 0
    assert refused >= 50 and refused + taken == 200
    assert "policy not changed: " in daemon.logged()


def test_settings_that_need_a_restart_are_named_when_a_reload_finds_them_changed(daemon):
    daemon.policy.write_text(POLICY + "daemon: {users_max: 77, log_level: debug}\n")
    with Client(daemon.admin) as admin:
        assert admin.reload() == 2
        daemon.wait_for_log("only after a restart: daemon.users_max, daemon.log_level")
        daemon.policy.write_text(POLICY)
        assert admin.reload() == 3
    assert daemon.logged().count("only after a restart") == 1


def test_a_known_hash_seed_is_refused(daemon):
    ended = subprocess.run(
        daemon.command(), capture_output=True, text=True, timeout=20,
        env=daemon.environment | {"SWIFT_DETERMINISTIC_HASHING": "1"})
    assert ended.returncode == 78 and "SWIFT_DETERMINISTIC_HASHING" in ended.stderr


def test_a_ceiling_of_connections_that_cannot_be_is_refused(daemon):
    daemon.policy.write_text(POLICY + "daemon: {connections_max: 5000}\n")
    command = daemon.command()
    for option in ("--data-socket", "--admin-socket"):
        command[command.index(option) + 1] += ".other"
    ended = subprocess.run(
        ["prlimit", "--nofile=1000:1000", *command], capture_output=True, text=True, timeout=20)
    assert ended.returncode == 78 and "connections_max is 5000" in ended.stderr
    daemon.policy.write_text(POLICY)


# Exit code 0: may look into the process, 13: may not.
LOOK = """
import sys
try: open(f"/proc/{sys.argv[1]}/environ", "rb").read()
except PermissionError: sys.exit(13)
"""


def test_nothing_of_the_daemon_can_be_dumped_or_looked_into(start_daemon):
    # The same user, and not even root's powers to look into everything.
    powerless = as_root(["setpriv", "--bounding-set=-all", "--inh-caps=-all"])
    if os.geteuid():
        powerless = []
    daemon = start_daemon(prefix=powerless)
    other = subprocess.Popen([*powerless, PYTHON, "-c", "input()"], stdin=subprocess.PIPE)
    eventually(lambda: b"input()" in pathlib.Path(f"/proc/{other.pid}/cmdline").read_bytes())

    def look(pid):
        return subprocess.run([*powerless, PYTHON, "-c", LOOK, str(pid)], check=False).returncode

    eventually(lambda: look(other.pid) == 0)
    assert look(daemon.process.pid) == 13
    other.communicate(b"\n")
    limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_CORE)
    assert limits == (0, 0)


def test_no_secret_is_ever_logged(start_daemon):
    for form in ("text", "json"):
        daemon = start_daemon(settings={"log_level": "debug", "log_format": form})
        key = daemon.directory / "main.key"
        canaries = [key.read_text(), base64.b64encode(daemon.secret).decode(), daemon.secret.hex()]
        good = daemon.policy.read_text()
        with Client(daemon.data) as client, Client(daemon.admin) as admin:
            bearer = token(daemon)
            wrong = [bearer, bearer[:-4] + "AAAA", bearer + "x", "canary-not-a-token",
                     token(daemon, exp=1), token(daemon, iss="nobody"), token(daemon, plan="none")]
            for one in wrong:
                client.check(one, operation="chat")
                client.check(one, operation="batch")
                canaries += [part for part in one.split(".") if len(part) > 12]
            with connect(daemon.data) as peer:
                peer.sendall(bearer.encode())
                read_reply(peer)
            # Keys that are refused, and a key that stands where the file's name should.
            secret = base64.urlsafe_b64encode(os.urandom(33)).decode()
            for bad in (secret[:10], secret + "!", '{"kty":"oct","k":"' + secret + '"', "\0"):
                key.write_text(bad)
                canaries.append(secret)
                with pytest.raises(Refused):
                    admin.reload()
            key.write_text(canaries[0])
            daemon.policy.write_text(good.replace("algorithm: HS256", f"secret: {secret}"))
            with pytest.raises(Refused):
                admin.reload()
            daemon.policy.write_text(good)
            admin.reload()
        daemon.wait_for_log("requests denied: signatureInvalid")
        assert daemon.stop() == 0
        logged = daemon.logged()
        header = bearer.split(".")[0]
        for canary in set(canaries) - {header}:
            assert canary not in logged, canary
        lines = logged.strip().split("\n")
        assert len(lines) > 8
        if form == "json":
            for line in lines:
                assert set(json.loads(line)) == {"ts", "level", "msg"}
