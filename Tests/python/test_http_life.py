"""tollgate-http from its start to its end: options, sockets, signals."""

import os
import pathlib
import socket
import stat
import subprocess
import time

import pytest
from hardening import NOBODY, as_root, eventually
from http_exporter import HTTP, Exporter, read_on, split
from scripted_daemon import ScriptedDaemon
from test_http_hostile import entry, reply


def run(*words, code):
    done = subprocess.run([HTTP, *words], capture_output=True, text=True, timeout=20)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("place, words", [
    ("0.0.0.0:9464", "can be reached from other hosts"), ("[::]:9464", "from other hosts"),
    ("192.0.2.1:9464", "from other hosts"), ("example.com:80", "is no address"),
    ("127.0.0.1", "absolute path"), ("127.0.0.1:65536", "absolute path"), ("x.sock", "absolute"),
    ("/" + "x" * 107, "shorter path"), (":80", "is no address")])
def test_it_listens_where_nobody_else_reaches_it(place, words):
    assert words in run("--listen", place, code=64)


@pytest.mark.parametrize("words", [
    ("--mode", "0999"), ("--mode", "01777"), ("--timeout", "0"), ("--patience", "601"),
    ("--connections-max", "0"), ("--lisen", "x"), ("extra",), ("--host", ""),
    ("--host", "metrics.example:80"), ("--host", "a b")])
def test_wrong_options_are_refused(words):
    assert "Usage" in run(*words, code=64)


def test_help_says_what_it_is_for():
    said = run("--help", code=0)
    for text in ["/metrics", "/healthz", "tollgate_up 0", "64 usage", "69", "73", "75", "77",
                 "127.0.0.1", "TOLLGATE_ADMIN_SOCKET"]:
        assert text in said, text
    assert run("--version", code=0).startswith("tollgate-http 0.")


def test_a_socket_in_use_stays_and_a_dead_one_is_replaced(tmp_path):
    admin = "/tmp/nowhere/admin.sock"
    with Exporter(admin, "--mode", "0600") as exporter:
        assert stat.S_IMODE(os.stat(exporter.path).st_mode) == 0o600
        assert "another process listens" in run("--listen", exporter.path, code=75)
        assert exporter.ask("/healthz")[0] == 503
        left = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(left)
        with Exporter(admin, "--listen", left) as other:
            assert left in other.said()
        assert not os.path.exists(left)
        (tmp_path / "file").write_text("mine")
        assert "move it away" in run("--listen", str(tmp_path / "file"), code=73)
        assert "No such file" in run("--listen", str(tmp_path / "no/s"), code=73)
    assert not os.path.exists(exporter.path)


def test_a_port_in_use_is_told():
    with Exporter("/tmp/nowhere/admin.sock", port=True) as exporter:
        assert "in use" in run("--listen", f"127.0.0.1:{exporter.port}", code=75)
        with socket.create_connection(("127.0.0.1", exporter.port), 10) as peer:
            peer.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert b"tollgate_up 0" in read_on(peer)


def test_whoever_may_not_open_the_admin_socket_is_told(start_daemon, tmp_path):
    made = start_daemon()
    tmp_path.chmod(0o777)
    place = f"/tmp/tgn{os.getpid()}.sock"
    process = subprocess.Popen(
        as_root([*NOBODY, str(HTTP), "--socket", made.admin, "--listen", place]),
        stderr=subprocess.PIPE)
    try:
        eventually(lambda: os.path.exists(place) or process.poll() is not None)
        with socket.socket(socket.AF_UNIX) as peer:
            eventually(lambda: peer.connect_ex(place) == 0)
            peer.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert b"tollgate_up 0" in read_on(peer)
    finally:
        process.terminate()
        assert process.wait(10) == 0
    assert b"Permission denied" in process.stderr.read()


def test_term_answers_what_was_asked_and_ends():
    def slow(_, frame):
        time.sleep(0.7)
        return reply(frame, [entry("tollgate_frames_total", 7)], frame[4])

    with ScriptedDaemon(slow) as daemon, Exporter(daemon.path) as exporter:
        idle, busy = exporter.connect(), exporter.connect()
        busy.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: daemon.frames)
        began = time.monotonic()
        exporter.process.terminate()
        assert idle.recv(1) == b"" and time.monotonic() - began < 0.5
        status, headers, body = split(read_on(busy))
        assert status == 200 and "tollgate_up 1\n" in body and headers["connection"] == "close"
        assert exporter.process.wait(5) == 0
        assert "ending: signal 15" in exporter.said()
        for peer in (idle, busy):
            peer.close()


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_hears_when_it_serves_and_ends(abstract, tmp_path, monkeypatch):
    name = f"@tgn{os.getpid()}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        with Exporter("/tmp/nowhere/admin.sock") as exporter:
            assert manager.recv(100) == b"READY=1"
            assert exporter.ask("/healthz")[0] == 503
        assert manager.recv(100) == b"STOPPING=1"


def test_whoever_comes_next_keeps_its_socket():
    """Its file may have the number that the one before had: ext4 gives numbers again at once, and
    perhaps to somebody else, so that it is tried until it has come to this."""
    assert any(keeps_its_socket() for _ in range(20)), "the number never came back"


def keeps_its_socket():
    """False: the number went to another file, and nothing was seen."""
    with ScriptedDaemon(lambda _, frame: None) as daemon, \
            Exporter(daemon.path, "--timeout", 10_000, port=True) as exporter:
        number, place = os.stat(exporter.path).st_ino, pathlib.Path(exporter.path)
        # Not by the socket, whose file would then be kept until the answer.
        with socket.create_connection(("127.0.0.1", exporter.port), 10) as peer:
            peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            eventually(lambda: daemon.frames)
            exporter.process.terminate()
            eventually(lambda: not place.exists())
            time.sleep(0.2)
            for n in range(5_000):
                file = place.with_name(str(n))
                file.touch()
                if file.stat().st_ino == number:
                    break
            else:
                assert exporter.process.wait(9) == 0
                return False
            file.rename(place)
            assert exporter.process.wait(9) == 0 and place.exists()
            return True


def test_term_does_not_wait_for_ever():
    with ScriptedDaemon(lambda _, frame: None) as daemon, \
            Exporter(daemon.path, "--timeout", 10_000) as exporter:
        with exporter.connect() as peer:
            peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(lambda: daemon.frames)
            began = time.monotonic()
            exporter.process.terminate()
            assert exporter.process.wait(9) == 0 and time.monotonic() - began > 4
