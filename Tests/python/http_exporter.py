"""tollgate-http as it is built, the answers that it gives, and a daemon that has everything."""

import contextlib
import json
import pathlib
import re
import select
import socket
import subprocess
import tempfile
import time

import audit_daemon as audit
import directory_daemon
from conftest import ROOT
from hardening import eventually
from test_alerts_deliver import SinkPlace

HTTP = ROOT / ".build/debug/tollgate-http"
PROMTOOL, PROMETHEUS = ROOT / ".venv/bin/promtool", ROOT / ".venv/bin/prometheus"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


class Exporter:
    """On a socket of its own, and on a port of the loopback interface with `port`."""

    def __init__(self, admin, *words, port=False):
        self.directory = tempfile.TemporaryDirectory(prefix="tgh", dir="/tmp")
        self.path = str(pathlib.Path(self.directory.name) / "http.sock")
        self.log = pathlib.Path(self.directory.name) / "log"
        listens = ["--listen", self.path] + (["--listen", "127.0.0.1:0"] if port else [])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [HTTP, "--socket", str(admin), *listens, *map(str, words)], stderr=log)
        eventually(lambda: "serving" in self.said() or self.process.poll() is not None)
        assert self.process.poll() is None, self.said()

    def said(self):
        return self.log.read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            if self.process.returncode is None:
                assert self.process.poll() is None, self.said()
                assert self.end() == 0, self.said()
        finally:
            self.process.kill()
            self.process.wait()
            self.directory.cleanup()

    def end(self):
        self.process.terminate()
        return self.process.wait(10)

    @property
    def port(self):
        return int(re.search(r"127\.0\.0\.1:(\d+)", self.said()).group(1))

    def connect(self, timeout=20):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # As long as its queue of new connections is full, whoever does not wait is told so.
        eventually(lambda: made.connect_ex(self.path) == 0)
        made.settimeout(timeout)
        return made

    def send(self, raw):
        """All that comes back until the connection is closed."""
        with self.connect() as peer:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                peer.sendall(raw)
            return read_on(peer)

    def ask(self, target="/metrics", method="GET", **headers):
        """Status, headers in lower case, body."""
        lines = [f"{method} {target} HTTP/1.1", "Host: here", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return split(self.send("\r\n".join(lines + ["", ""]).encode()))

    def scrape(self):
        """Sample, labels included, to its value, as it is now: nobody else asked just before."""
        time.sleep(0.11)
        status, _, body = self.ask()
        assert status == 200
        return samples(body)


def read_on(peer):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := peer.recv(65_536):
            data += part
    return data


def split(raw):
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body.decode()


def samples(text):
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            assert name not in found, line
            found[name] = float(value)
    return found


def metrics(text):
    """Names as in PromQL."""
    return {name.split("{")[0] for name in samples(text)}


def lint(text):
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr


class EverythingPlace(SinkPlace):
    """A ledger, an audit log, alerts that are delivered, and a directory."""

    def __init__(self):
        super().__init__()
        self.accounts = directory_daemon.Place()

    def policy(self, settings, policy):
        parts = {"directory": {"path": str(self.accounts.directory), "peppers": [
            {"generation": 1, "file": str(self.accounts.path / "pepper.key")}]}}
        text = super().policy(settings, policy)
        return text + "".join(f"{key}: {json.dumps(part)}\n" for key, part in parts.items())

    def remove(self):
        super().remove()
        self.accounts.remove()


@contextlib.contextmanager
def everything():
    place = EverythingPlace()
    place.sinks = {"said": {"kind": "log"}}
    try:
        with audit.daemon(place, policy=audit.POLICY) as made:
            yield made
    finally:
        place.remove()


class Prometheus:
    """A real one that scrapes the port every second, with the rules of Deploy/prometheus."""

    def __init__(self, port):
        self.directory = tempfile.TemporaryDirectory(prefix="tgp", dir="/tmp")
        home = pathlib.Path(self.directory.name)
        (home / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ROOT / "Deploy/prometheus/tollgate.rules.yaml")],
            "scrape_configs": [{"job_name": "tollgate", "static_configs": [
                {"targets": [f"127.0.0.1:{port}"]}]}]}))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = home / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [PROMETHEUS, f"--config.file={home / 'prometheus.yml'}",
                 f"--storage.tsdb.path={home / 'data'}",
                 f"--web.listen-address=127.0.0.1:{self.port}"], stderr=log, stdout=log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()

    def get(self, path):
        with socket.create_connection(("127.0.0.1", self.port), 10) as peer:
            peer.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return json.loads(read_on(peer).partition(b"\r\n\r\n")[2])

    def query(self, expression):
        """The value of an expression that has one, or None."""
        from urllib.parse import quote
        try:
            answer = self.get(f"/api/v1/query?query={quote(expression)}")
        except (OSError, ValueError):
            # It is starting.
            assert self.process.poll() is None, self.log.read_text()
            return None
        assert answer["status"] == "success", answer
        found = answer["data"]["result"]
        return float(found[0]["value"][1]) if len(found) == 1 else None


def closed(peer, seconds):
    """After so many seconds at the latest it is closed; after how many."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        if select.select([peer], [], [], 0.1)[0]:
            try:
                if not peer.recv(65_536):
                    return time.monotonic() - began
            except ConnectionResetError:
                return time.monotonic() - began
    raise AssertionError(f"open after {seconds} s")
