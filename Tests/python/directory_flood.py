"""Checks that come as fast as they can, from processes of their own, while something changes; raw
calls; and keys that an attacker makes."""

import json
import multiprocessing
import string
import struct
import time
import zlib
from contextlib import contextmanager

from directory_daemon import Place
from hardening import connect, eventually, read_reply
from tollgate import wire

PIPELINED = 60
# CLOCK_MONOTONIC is one for all processes.
instant = time.monotonic
# A decision's verdict and reason.
VERDICT = struct.Struct("<BxH")
ALLOWED = (1, 0)
INVALID_LIMIT = 20
# Of base 62 (Sources/TollgateCore/Credentials/Base62.swift).
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
# Nothing of it is used up by a flood.
WIDE = """
  wide_tier:
    permissions: [can_use_gpt4o, can_access_batch_api]
    rate_limits: {wide_burst: {scope: user, limit: 100000000, window: 1m}}
    quotas: {wide_calls: {scope: organization, limit: 1000000000000, period: month}}
"""


class WidePlace(Place):
    """Whose policy has the plan wide_tier too."""

    def policy(self, tokens):
        return super().policy(tokens).replace("plans:", "plans:" + WIDE.rstrip(), 1)


class StrictPlace(Place):
    """Whose policy limits invalid credentials, and does not say what is wrong with one."""

    def policy(self, tokens):
        policy = super().policy(tokens).replace("reveal_credential_failures: true\n", "")
        return policy.replace(
            "{limit: 1000000, window: 1s}", json.dumps({"limit": INVALID_LIMIT, "window": "1h"}))


def random_text(source, count):
    return "".join(source.choices(ALPHABET, k=count))


def checked(text):
    """With the check digits that belong to it."""
    value, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = ALPHABET[digit] + digits
    return text + digits


def check(credential, operation="chat", **question):
    """A CHECK's body."""
    return wire.check_body(credential, operation=operation, **question)


def decisions(peer, bodies):
    """Verdict and reason of each, in their order, sent at once."""
    peer.sendall(b"".join(
        wire.frame(wire.CHECK, number + 1, body) for number, body in enumerate(bodies)))
    found = [None] * len(bodies)
    for _ in bodies:
        _, status, identity, body = read_reply(peer)
        assert status == 0, (status, body)
        found[identity - 1] = VERDICT.unpack_from(body)
    return found


def call_frame(call, identity=1, **members):
    return wire.frame(wire.CALL, identity, json.dumps({"call": call, **members}).encode())


def call_reply(peer):
    """The object of a call that was carried out; else its status and detail."""
    _, status, _, body = read_reply(peer)
    return (status, body.decode()) if status else json.loads(body)


class Flooder(multiprocessing.get_context("fork").Process):
    """Sends the bodies in turn, many at once, on each of its connections. What it saw of each part
    comes through the pipe at the end: when it was sent, when all replies were there, and for each
    body how often which verdict and reason came."""

    def __init__(self, path, bodies, connections):
        super().__init__()
        self.path, self.bodies, self.connections = path, bodies, connections
        context = multiprocessing.get_context("fork")
        self.done, self.parts = context.Event(), context.Value("Q", 0)
        self.results, self.sending = context.Pipe(duplex=False)

    def run(self):
        seen = []
        peers = [connect(self.path) for _ in range(self.connections)]
        frames = [wire.frame(wire.CHECK, number, body) for number, body in enumerate(self.bodies)]
        whole = b"".join(frames * (PIPELINED // len(frames)))
        count = PIPELINED // len(frames) * len(frames)
        while not self.done.is_set():
            sent = []
            for peer in peers:
                sent.append(instant())
                peer.sendall(whole)
            for peer, at in zip(peers, sent):
                said = self.part(peer, count)
                seen.append((at, instant(), said))
            self.parts.value += 1
        self.sending.send(seen)

    @staticmethod
    def part(peer, count):
        said = {}
        for _ in range(count):
            _, status, identity, body = read_reply(peer)
            what = (identity, *(VERDICT.unpack_from(body) if status == 0 else (0, status)))
            said[what] = said.get(what, 0) + 1
        return said


class Flood:
    """What flooders saw of a change, whose call was sent and answered at instants that are told."""

    def __init__(self, path, bodies, processes=2, connections=4):
        self.flooders = [Flooder(path, bodies, connections) for _ in range(processes)]
        self.bodies, self.seen = len(bodies), []

    def wait_for_parts(self, more):
        """Until every flooder has gone round that often more."""
        goals = [one.parts.value + more for one in self.flooders]
        eventually(lambda: all(
            one.parts.value >= goal for one, goal in zip(self.flooders, goals)))

    def stop(self):
        for one in self.flooders:
            one.done.set()
        for one in self.flooders:
            self.seen += one.results.recv()
            one.join()
            assert one.exitcode == 0

    def said(self, since=0.0, until=float("inf")):
        """Of each body, how often what was said to checks that were sent after `since` and
        answered before `until`."""
        found = [{} for _ in range(self.bodies)]
        for sent, answered, said in self.seen:
            if sent > since and answered < until:
                for (body, *what), count in said.items():
                    counts = found[body]
                    counts[tuple(what)] = counts.get(tuple(what), 0) + count
        return found


@contextmanager
def flooding(path, bodies, **options):
    flood = Flood(path, bodies, **options)
    for one in flood.flooders:
        one.start()
    try:
        yield flood
    finally:
        for one in flood.flooders:
            if one.is_alive():
                one.terminate()
