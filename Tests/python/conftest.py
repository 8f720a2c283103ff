"""A real daemon for every test that asks for one, in a directory of its own."""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Sources/Clients/python"))

from tollgate import Client, TollgateError  # noqa: E402

POLICY = """
version: 1
meters: [calls, tokens]
operations:
  chat:
    routes: ["POST /v1/chat/completions"]
    permission: can_use_gpt4o
    charges: {calls: {units: 1}, tokens: {units: 0, weight: 10}}
  models: {routes: ["GET /v1/models/{id}"]}
  batch: {permission: can_access_batch_api}
plans:
  pro_tier:
    permissions: [can_use_gpt4o]
    rate_limits:
      burst: {scope: user, limit: 5, window: 1s}
    quotas:
      monthly_tokens: {scope: organization, meter: tokens, limit: 1000, period: month}
  open_tier: {permissions: [can_use_gpt4o]}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
"""


class Daemon:
    """tollgated as it is built, its sockets and its key.

    `settings` is the policy's daemon block; `prefix` is a command that runs the daemon,
    `arguments` are more of its own."""

    def __init__(self, *, settings=None, policy=POLICY, threads=2, environment=None,
                 prefix=(), arguments=()) -> None:
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tg", dir="/tmp"))
        self.secret = os.urandom(32)
        self.policy = self.directory / "policy.yaml"
        # JSON is YAML.
        block = f"daemon: {json.dumps(settings)}\n" if settings else ""
        self.policy.write_text(policy + block)
        key = self.directory / "main.key"
        key.write_bytes(base64.urlsafe_b64encode(self.secret).rstrip(b"="))
        key.chmod(0o600)
        self.data = str(self.directory / "d.sock")
        self.admin = str(self.directory / "a.sock")
        self.threads, self.prefix, self.pass_fds = threads, list(prefix), []
        self.arguments = list(arguments)
        self.environment = dict(os.environ) | (environment or {})
        self.process = self.start()

    def command(self) -> "list[str]":
        binary = os.environ.get("TOLLGATED", str(ROOT / ".build/debug/tollgated"))
        return self.prefix + [
            binary, "-c", str(self.policy), *self.arguments,
            "--data-socket", self.data, "--admin-socket",
            self.admin, "--threads", str(self.threads)]

    def start(self) -> "subprocess.Popen[bytes]":
        self.log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen(
            self.command(), stderr=self.log, env=self.environment, pass_fds=self.pass_fds)
        deadline = time.monotonic() + 20
        while True:
            try:
                with Client(self.data) as client:
                    client.ping()
                return self.process
            except TollgateError:
                assert self.process.poll() is None, self.logged()
                assert time.monotonic() < deadline, "the daemon did not start"
                time.sleep(0.02)

    def logged(self) -> str:
        return (self.directory / "log").read_text()

    def wait_for_log(self, words: str, count: int = 1) -> None:
        deadline = time.monotonic() + 20
        while self.logged().count(words) < count:
            assert time.monotonic() < deadline, f"{words!r} not logged: {self.logged()}"
            time.sleep(0.02)

    def resident_kib(self) -> int:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(10)
        self.log.close()
        return code

    def remove(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory)


@pytest.fixture
def daemon():
    made = Daemon()
    yield made
    assert made.process.poll() is None, "the daemon died: " + made.logged()
    assert made.stop() == 0
    made.remove()


@pytest.fixture
def start_daemon():
    """Starts daemons as asked; each that the test has not stopped must end well."""
    made: "list[Daemon]" = []

    def start(**options) -> Daemon:
        made.append(Daemon(**options))
        return made[-1]

    yield start
    for one in made:
        if one.process.returncode is None:
            assert one.process.poll() is None, "the daemon died: " + one.logged()
            assert one.stop() == 0
        one.remove()
