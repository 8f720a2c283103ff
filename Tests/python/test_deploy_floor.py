"""The bench's floor, in C, under the address and undefined-behaviour sanitizers."""

import pathlib
import re
import socket
import struct
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPLY = 160


@pytest.fixture(scope="module")
def binary(tmp_path_factory) -> pathlib.Path:
    made = tmp_path_factory.mktemp("floor") / "floor"
    subprocess.run(
        ["clang", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
         f"-I{ROOT}/Sources/COpenSSL/include", ROOT / "Sources/tollgate-floor/main.c",
         ROOT / "Sources/COpenSSL/COpenSSL.c", "-lcrypto", "-o", made], check=True)
    return made


@pytest.fixture
def floor(binary, tmp_path):
    path = tmp_path / "f.sock"
    process = subprocess.Popen([binary, path, str(REPLY)], stderr=subprocess.PIPE, text=True)
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    yield path, process
    process.kill()
    said = process.communicate()[1]
    assert not re.search(r"Sanitizer|runtime error", said), said


def connect(path: pathlib.Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(20)
    while True:
        try:
            peer.connect(str(path))
            return peer
        except ConnectionRefusedError:
            time.sleep(0.01)


def check(request: int, token: bytes, claimed: "int | None" = None) -> bytes:
    body = struct.pack("<6xH24x", len(token) if claimed is None else claimed) + token
    return struct.pack("<IBBHQ", 12 + len(body), 0x10, 0, 0, request) + body


def replies(peer: socket.socket, count: int) -> list[int]:
    data = b""
    while len(data) < count * REPLY:
        got = peer.recv(65_536)
        assert got, "closed early"
        data += got
    return [struct.unpack_from("<Q", data, 8 + at * REPLY)[0] for at in range(count)]


def test_it_answers_frames_whole_split_and_glued(floor) -> None:
    with connect(floor[0]) as peer:
        frames = b"".join(check(index, b"head.pay.sig" * 20) for index in range(300))
        peer.sendall(frames)
        assert replies(peer, 300) == list(range(300))
        one = check(7, b"a.b.c")
        for cut in range(1, len(one)):
            peer.sendall(one[:cut])
            time.sleep(0.001)
            peer.sendall(one[cut:])
            assert replies(peer, 1) == [7]
        peer.sendall(struct.pack("<IBBHQ", 12, 2, 0, 0, 9))
        assert replies(peer, 1) == [9]


def test_a_length_that_is_none_ends_it(floor) -> None:
    path, process = floor
    with connect(path) as peer:
        peer.sendall(struct.pack("<IBBHQ", 11, 2, 0, 0, 9))
        assert process.wait(20) == 1


def test_a_token_longer_than_its_frame_ends_it(floor) -> None:
    path, process = floor
    with connect(path) as peer:
        peer.sendall(check(1, b"a.b.c", claimed=65_535))
        assert process.wait(20) == 1
