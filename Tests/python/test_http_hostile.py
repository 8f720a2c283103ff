"""tollgate-http between peers that behave badly: daemons that are down, slow or wrong, clients
that are slow, many or no HTTP at all."""

import os
import struct
import time

import pytest
from hardening import descriptors, eventually
from http_exporter import OPENMETRICS, Exporter, closed, lint, read_on, split
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
        # An answer from before is shared for so long.
        time.sleep(0.11)
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


def test_however_many_scrape_the_daemon_is_asked_seldom():
    def answer(_, frame):
        time.sleep(0.05)
        return reply(frame, [entry("tollgate_frames_total", 7)])

    with ScriptedDaemon(answer) as daemon, Exporter(daemon.path) as exporter:
        began, answers = time.monotonic(), []
        while time.monotonic() < began + 1:
            peers = [exporter.connect() for _ in range(16)]
            for peer in peers:
                peer.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            # Who goes before the answer costs no more.
            for peer in peers[8:]:
                peer.close()
            answers += [split(read_on(peer))[2] for peer in peers[:8]]
            for peer in peers[:8]:
                peer.close()
        assert len(answers) > 100 and all("tollgate_frames_total 7" in one for one in answers)
        assert len(daemon.frames) <= 10 * (time.monotonic() - began) + 1


def test_who_may_not_ask_is_told_how(daemon):
    with Exporter(daemon.data) as exporter:
        assert exporter.scrape()["tollgate_up"] == 0
        assert "--socket is to be its admin socket" in exporter.said()


def test_who_observes_may_ask_on_the_data_socket(start_daemon):
    roles = {"check": {"users": [1]}, "observe": {"users": [os.geteuid()]}}
    with Exporter(start_daemon(settings={"roles": roles}).data) as exporter:
        found = exporter.scrape()
        assert found["tollgate_up"] == 1 and "tollgate_frames_total" in found
        assert exporter.ask("/healthz")[0] == 200


def test_statistics_that_no_scraper_takes_are_left_out_and_counted():
    good = [entry("tollgate_frames_total", 3),
            entry('tollgate_decisions_total{verdict="deny",reason="a\\"b\\\\c\\n"}'),
            entry('tollgate_would_deny_total{reason="rateLimited",limit="burst"}', 5),
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
        assert found['tollgate_would_deny_total{reason="rateLimited",limit="burst"}'] == 5
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
    ("GET", "/%6detrics", 404), ("POST", "/", 404), ("GET", "http://here/metrics", 200),
    ("GET", "HTTP://here:80/healthz?x", 200), ("GET", "http://here", 404),
    ("GET", "http://a@b/metrics", 400), ("GET", "http:///metrics", 400)])
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
    (b"GET /metrics HTTP/1.1\r\nHost x\r\n\r\n", 400), (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
    (b"GET /metrics HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
    (b"GET /metrics HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n", 400),
    (b"GET http://x/metrics HTTP/1.1\r\n\r\n", 400),
    (b"GET /metrics HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET /metrics HTTP/1.1\r\nHost: x:y\r\n\r\n", 400),
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


def test_who_asks_a_thousand_times_ahead_locks_nobody_out():
    def slow(_, frame):
        time.sleep(0.2)
        return reply(frame, [entry("tollgate_frames_total", 7)])

    with ScriptedDaemon(slow) as daemon, \
            Exporter(daemon.path, "--connections-max", 4) as exporter:
        held = [exporter.connect() for _ in range(4)]
        for peer in held:
            peer.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000)
        eventually(lambda: daemon.frames)
        # A new one is closed, or answered.
        eventually(lambda: exporter.send(b"GET /metrics HTTP/1.0\r\n\r\n"), 3)
        for peer in held:
            peer.close()


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
