"""What the hardening tests share: raw peers, /proc, other users."""

import os
import pathlib
import resource
import socket
import struct
import time

import jwt
from tollgate import wire

# Not the interpreter of a virtual environment, which another user may not be able to run.
PYTHON = "/usr/bin/python3"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def as_root(command):
    return command if os.geteuid() == 0 else ["sudo", "-n", *command]


def token(daemon, **extra):
    now = int(time.time())
    claims = {
        "iss": "https://login.example.com", "aud": "https://api.example.com", "sub": "ada",
        "org": "acme", "plan": "open_tier", "iat": now, "exp": now + 3_000, **extra,
    }
    return jwt.encode(claims, daemon.secret, "HS256", headers={"kid": "main-1"})


def connect(path, timeout=20):
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(timeout)
    try:
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


def ping(identity=1, body=b"x"):
    return wire.frame(wire.PING, identity, body)


def read_exactly(peer, count):
    data = bytearray()
    while len(data) < count:
        part = peer.recv(min(1 << 20, count - len(data)))
        if not part:
            raise ConnectionError("the connection ended")
        data += part
    return bytes(data)


def read_reply(peer):
    """Opcode, status, id and body."""
    length, opcode, _, status, identity = struct.unpack("<IBBHQ", read_exactly(peer, 16))
    return opcode, status, identity, read_exactly(peer, length - 12)


def read_to_end(peer):
    data = b""
    while part := peer.recv(1 << 16):
        data += part
    return data


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(pid):
    """How many the process has open; /proc shows them to root alone, for it is not dumpable."""
    import subprocess

    listed = subprocess.run(
        as_root(["ls", f"/proc/{pid}/fd"]), check=True, capture_output=True, text=True)
    return len(listed.stdout.split())


def allow_descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, hard)))


def eventually(condition, seconds=20):
    """Waits for what must come to be."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)
