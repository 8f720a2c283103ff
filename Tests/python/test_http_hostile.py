"""tollgate-http between peers that behave badly: daemons that are down, slow or wrong, clients
that are slow, many or no HTTP at all."""

import os
import socket
import stat
import struct
import subprocess
import time

import pytest
from hardening import NOBODY, as_root, descriptors, eventually
from http_exporter import (HTTP, OPENMETRICS, Exporter, closed, lint, read_on, split)
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from scripted_daemon import ScriptedDaemon, request_id
from tollgate import wire


def entry(name, value=1, gauge=False):
    text = name.encode()
    return struct.pack("<BBQ", 2 if gauge else 1, len(text), value) + text


def reply(frame, entries=(), opcode=wire.STATS):
    body = struct.pack("<I", len(entries)) + b"".join(entries) if opcode == wire.STATS else b""
    if opcode == wire.PING:
        body = frame[16:]
    header = wire.HEADER.pack(12 + len(body), opcode | wire.REPLY, 0, 0, request_id(frame))
    return header + body


def answering(*entries):
    def answer(_, frame):
        return reply(frame, entries, frame[4])
    return answer


# MARK: daemons

def test_a_daemon_that_is_down_is_told_and_so_is_its_return(start_daemon):
    made = start_daemon()
    with Exporter(made.admin) as exporter:
        for _ in range(3):
            assert exporter.scrape()["tollgate_up"] == 1
        assert exporter.ask("/healthz")[::2] == (200, "ok\n")
        assert made.stop() == 0
        for _ in range(3):
            status, _, body = exporter.ask()
            assert status == 200 and "tollgate_up 0\n" in body
            assert "tollgate_decisions_total" not in body
        lint(body)
        status, _, said = exporter.ask("/healthz")
        assert status == 503 and "cannot reach the daemon" in said
        made.start()
        eventually(lambda: exporter.scrape()["tollgate_up"] == 1)
        assert exporter.ask("/healthz")[0] == 200
        assert exporter.said().count("the daemon answers") == 2
        assert exporter.said().count("tollgate_up 0") == 1


def test_it_starts_before_the_daemon():
    with Exporter("/tmp/nowhere/admin.sock") as exporter:
        assert exporter.scrape()["tollgate_up"] == 0


@pytest.mark.parametrize("answer", [
    lambda _, frame: None, lambda _, frame: False, lambda _, frame: reply(frame, [entry("a")])[:20],
    lambda _, frame: b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9,
    lambda _, frame: struct.pack("<I", 1 << 31) + bytes(40),
    lambda _, frame: reply(frame, [entry("a")])[:16] + b"\xff\xff\xff\xff" + bytes(11),
], ids=["silent", "closes", "half a frame", "another protocol", "endless", "count too large"])
def test_a_daemon_that_answers_wrong_is_no_answer_in_time(answer):
    with ScriptedDaemon(answer) as daemon, Exporter(daemon.path, "--timeout", 300) as exporter:
        for _ in range(2):
            began = time.monotonic()
            assert exporter.scrape()["tollgate_up"] == 0
            assert time.monotonic() - began < 2
        assert exporter.ask("/healthz")[0] == 503


def test_a_scrape_is_one_question_on_one_connection():
    with ScriptedDaemon(answering(entry("tollgate_frames_total", 7))) as daemon, \
            Exporter(daemon.path) as exporter:
        for _ in range(5):
            assert exporter.scrape()["tollgate_frames_total"] == 7
        exporter.ask("/nothing")
        exporter.ask(method="POST")
        assert [frame[4] for frame in daemon.frames] == [wire.STATS] * 5
        assert len(daemon.connections) == 1


def test_who_may_not_ask_is_told_how(daemon):
    with Exporter(daemon.data) as exporter:
        assert exporter.scrape()["tollgate_up"] == 0
        assert "--socket is to be its admin socket" in exporter.said()


def test_statistics_that_no_scraper_takes_are_left_out_and_counted():
    good = [entry("tollgate_frames_total", 3),
            entry('tollgate_decisions_total{verdict="deny",reason="a\\"b\\\\c\\n"}'),
            entry("tollgate_new_thing", 2, gauge=True), entry("tollgate_odd", 4),
            entry("tollgate_x_nanoseconds_total", 1_500_000_001)]
    bad = [entry(name) for name in [
        "", "1x", "a b", "a\nb 1", "é_total", 'a{organization="acme"}', 'a{user="u"}', 'a{le="1"',
        'a{le=1}', 'a{le="1"}x', 'a{le="1",}', 'a{le="1",le="2"}', 'a{le="\\x"}', 'a{le="\\',
        'a{le="1\n2"}', "tollgate_frames_total", "{}", "a{=}", 'a{1e="1"}']]
    cut = [entry('tollgate_y_bucket{le="1"}'), entry("tollgate_y_count")]
    with ScriptedDaemon(answering(*good, *bad, *cut)) as daemon, Exporter(daemon.path) as exporter:
        found = exporter.scrape()
        assert found["tollgate_frames_total"] == 3 and found["tollgate_new_thing"] == 2
        assert found["tollgate_odd"] == 4 and found["tollgate_x_seconds_total"] == 1.500000001
        assert found["tollgate_http_skipped_statistics"] == len(bad) + len(cut)
        lint(exporter.ask()[2])
        families = {one.name: one for one in text_string_to_metric_families(
            exporter.ask(Accept=OPENMETRICS)[2])}
        assert families["tollgate_odd"].type == "unknown"
        assert families["tollgate_decisions"].samples[0].labels["reason"] == 'a"b\\c\n'
        assert not [name for name in families if name[0] == "a" or "tollgate_y" in name]


def test_the_largest_reply_is_passed_on_whole():
    names = [f'tollgate_operation_decisions_total{{operation="{"x" * 180}{n:04}"}}'
             for n in range(250)]
    with ScriptedDaemon(answering(*map(entry, names))) as daemon, \
            Exporter(daemon.path) as exporter:
        assert sum("operation_decisions" in name for name in exporter.scrape()) == 250


# MARK: clients

@pytest.fixture(scope="module")
def exporter():
    """Patient for two seconds, with eight places."""
    with ScriptedDaemon(answering(entry("tollgate_frames_total", 7))) as daemon, \
            Exporter(daemon.path, "--patience", 2, "--connections-max", 8) as made:
        yield made


@pytest.mark.parametrize("method, target, status", [
    ("GET", "/metrics", 200), ("GET", "/metrics?x=y", 200), ("GET", "/healthz", 200),
    ("POST", "/metrics", 405), ("DELETE", "/healthz", 405), ("OPTIONS", "/metrics", 405),
    ("GET", "/", 404), ("GET", "/metrics/", 404), ("GET", "//metrics", 404),
    ("GET", "/%6detrics", 404), ("POST", "/", 404), ("GET", "http://here/metrics", 404)])
def test_a_route_is_a_path_and_its_methods(exporter, method, target, status):
    given, headers, body = exporter.ask(target, method)
    assert given == status and int(headers["content-length"]) == len(body)
    assert headers["cache-control"] == "no-store"
    assert headers.get("allow") == ("get, head" if status == 405 else None)


def test_head_is_get_without_the_body(exporter):
    status, headers, body = exporter.ask(method="HEAD")
    assert status == 200 and body == "" and int(headers["content-length"]) > 1_000


def test_requests_of_one_connection_are_answered_in_their_order(exporter):
    one = b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"
    raw = b"".join(one % (b"/healthz" if n % 2 else b"/none", b"") for n in range(40))
    answers = exporter.send(raw + one % (b"/healthz", b"Connection: close\r\n"))
    statuses = [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [404, 200] * 20 + [200]


def test_an_older_client_is_answered_and_closed(exporter):
    status, headers, body = split(exporter.send(b"GET /healthz HTTP/1.0\r\n\r\n"))
    assert status == 200 and body == "ok\n" and headers["connection"] == "close"


@pytest.mark.parametrize("raw, status", [
    (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 413),
    (b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
    (b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", 400),
    (b"nonsense\r\n\r\n", 400), (b"GET /metrics HTTP/9.9\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), 400),
    (b"GET /metrics HTTP/1.1\r\nHost x\r\n\r\n", 400),
    (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5_000 + b"\r\n", 400)])
def test_what_is_no_request_here_is_refused_and_closed(exporter, raw, status):
    answer = exporter.send(raw)
    # One that goes on sending may not see it.
    assert not answer or int(answer.split(b" ")[1]) == status
    assert answer or len(raw) > 10_000
    assert exporter.ask("/healthz")[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: "])
def test_a_request_that_does_not_come_ends_the_connection(exporter, sent):
    with exporter.connect() as peer:
        peer.sendall(sent)
        assert 1.5 < closed(peer, 4)


def test_a_client_that_trickles_is_not_waited_for(exporter):
    with exporter.connect() as peer:
        began = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for byte in b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 50:
                peer.sendall(bytes([byte]))
                time.sleep(0.1)
        assert 1.5 < time.monotonic() - began < 4


def test_a_client_that_does_not_read_is_not_read_and_ends(exporter):
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    resident = exporter_memory(exporter)
    with exporter.connect() as peer:
        peer.setblocking(False)
        sent, quiet = 0, time.monotonic()
        while time.monotonic() < quiet + 0.5:
            try:
                sent += peer.send(request * 1_000)
                quiet = time.monotonic()
            except BlockingIOError:
                time.sleep(0.02)
            except (BrokenPipeError, ConnectionResetError):
                break
        assert exporter_memory(exporter) < resident + (16 << 20)
        assert sent < 8 << 20
        assert exporter.ask("/healthz")[0] == 200
        time.sleep(4.5)
        peer.setblocking(True)
        assert len(read_on(peer)) < 4 << 20


def exporter_memory(exporter):
    with open(f"/proc/{exporter.process.pid}/status") as status:
        return int(status.read().split("VmRSS:")[1].split()[0]) << 10


def test_who_holds_connections_locks_nobody_out(exporter):
    held = [exporter.connect() for _ in range(8)]
    try:
        for _ in range(200):
            held.append(exporter.connect())
        for _ in range(20):
            found = exporter.scrape()
            assert found["tollgate_up"] == 1 and found["tollgate_http_connections"] <= 8
        assert found["tollgate_http_displaced_connections_total"] >= 200
        assert descriptors(exporter.process.pid) < 40
    finally:
        for peer in held:
            peer.close()


def test_a_connection_that_is_kept_is_used_again(exporter):
    with exporter.connect() as peer:
        for _ in range(20):
            peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\r\n\r\nok\n"):
                answer += peer.recv(4_096)
            time.sleep(0.01)


# MARK: its life

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
    ("--connections-max", "0"), ("--lisen", "x"), ("extra",)])
def test_wrong_options_are_refused(words):
    assert "Usage" in run(*words, code=64)


def test_help_says_what_it_is_for():
    said = run("--help", code=0)
    for text in ["/metrics", "/healthz", "tollgate_up 0", "64 usage", "73", "75", "77", "127.0.0.1",
                 "TOLLGATE_ADMIN_SOCKET"]:
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


def test_term_does_not_wait_for_ever():
    with ScriptedDaemon(lambda _, frame: None) as daemon, \
            Exporter(daemon.path, "--timeout", 10_000) as exporter:
        with exporter.connect() as peer:
            peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(lambda: daemon.frames)
            began = time.monotonic()
            exporter.process.terminate()
            assert exporter.process.wait(9) == 0 and time.monotonic() - began > 4
