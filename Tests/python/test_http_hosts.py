"""Under which names tollgate-http may be asked, and what it counts of what it answered."""

import socket
import subprocess
import time

import pytest
from conftest import ROOT
from hardening import eventually
from http_exporter import Exporter, closed, read_on, split
from scripted_daemon import ScriptedDaemon
from test_http_hostile import answering, entry


@pytest.fixture(scope="module")
def exporter():
    with ScriptedDaemon(answering(entry("tollgate_frames_total", 7))) as daemon, \
            Exporter(daemon.path, "--host", "Metrics.example", "--host", "192.0.2.7",
                     "--patience", 2, "--connections-max", 4, port=True) as made:
        yield made


def ask(exporter, head):
    """On TCP: the status."""
    with socket.create_connection(("127.0.0.1", exporter.port), 10) as peer:
        peer.sendall(head.encode() + b"\r\n\r\n")
        return split(read_on(peer))


@pytest.mark.parametrize("host, status", [
    ("localhost", 200), ("LOCALHOST:9464", 200), ("127.0.0.1", 200), ("127.0.0.1:1", 200),
    ("127.9.8.7:65535", 200), ("[::1]", 200), ("[::1]:9464", 200), ("[0:0:0:0:0:0:0:1]", 200),
    ("metrics.example", 200), ("METRICS.EXAMPLE:80", 200), ("192.0.2.7:80", 200),
    ("localhost:", 200),
    ("evil.example", 421), ("evil.example:9464", 421), ("localhost.evil.example", 421),
    ("127.0.0.1.evil.example", 421), ("metrics.example.evil", 421), ("192.0.2.8", 421),
    ("[::2]", 421), ("[127.0.0.1]", 421), ("0.0.0.0", 421), ("2130706433", 421), ("", 421),
    ("::1", 400), ("localhost:x", 400), ("localhost:123456", 400), ("a@localhost", 400),
    ("localhost/", 400), ("[::1", 400), ("[::1]x", 400), ("localhost, localhost", 400)])
def test_on_tcp_a_host_is_one_of_ours(exporter, host, status):
    """A page whose name was made to lead here could have had its reader's browser ask."""
    given, headers, body = ask(
        exporter, f"GET /metrics HTTP/1.1\r\nConnection: close\r\nHost: {host}")
    assert given == status
    assert ("tollgate_frames_total" in body) == (status == 200)
    assert status != 421 or "--host" in body and headers["connection"] == "close"


@pytest.mark.parametrize("head, status", [
    ("GET /metrics HTTP/1.1\r\nX: y", 400),
    ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost", 400),
    ("GET /metrics HTTP/1.0", 200), ("GET /metrics HTTP/1.0\r\nHost: evil.example", 421),
    # What the target says holds, and not the header.
    ("GET http://localhost/metrics HTTP/1.1\r\nConnection: close\r\nHost: evil.example", 200),
    ("GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost", 421),
    ("GET http://localhost@evil.example/metrics HTTP/1.1\r\nHost: localhost", 400)])
def test_a_request_has_one_host_and_its_target_wins(exporter, head, status):
    assert ask(exporter, head)[0] == status


def answered(exporter):
    """By code, but for the question itself."""
    time.sleep(0.11)
    return {name.split('"')[1]: value for name, value in exporter.scrape().items()
            if name.startswith("tollgate_http_requests_total")}


def test_what_nobody_was_answered_is_not_counted_as_answered(exporter):
    before = answered(exporter)
    for _ in range(5):
        with exporter.connect() as peer:
            peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ")
    held = [exporter.connect() for _ in range(12)]
    for peer in held:
        peer.sendall(b"GET /metrics HTTP/1.1\r\nHo")
    # Those for whom there is no place any more, then those that never come to an end.
    for peer in held:
        closed(peer, 5)
        peer.close()
    assert answered(exporter)["400"] == before["400"]
    assert exporter.send(b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    exporter.send(b"GET /metrics HTTP/1.1\r\n\r\n")
    eventually(lambda: answered(exporter)["400"] == before["400"] + 2)
    assert answered(exporter)["421"] == before["421"]


def test_one_that_was_built_without_http_says_so(tmp_path):
    made = tmp_path / "tollgate-http"
    subprocess.run(["swiftc", "-swift-version", "6", "-o", made,
                    ROOT / "Sources/tollgate-http/main.swift"], check=True, timeout=300)
    done = subprocess.run([made], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 69 and done.stdout == ""
    assert "built without HTTP" in done.stderr and "build it again" in done.stderr
    assert "Fatal" not in done.stderr
