"""A whole ledger as an older release left it, and what that release answered of it.

`Tests/Vectors/ledger-v1.json` is the answers, and `ledger-v1.hex` the directory that the last build
before version 2 of regions and snapshots was killed on: a line with each file's name and bytes,
then one for each 32 bytes that are not all zero, after their offset. That build wrote both:

    TOLLGATED=tollgated-of-then .venv/bin/python Tests/python/old_ledger.py
"""

import datetime
import json

from conftest import ROOT
from fake_clock import FakeClock
from hardening import eventually, token
from ledger_daemon import LedgerDaemon, LedgerPlace

VECTORS = ROOT / "Tests/Vectors"
POLICY = """
version: 1
meters: [calls, tokens]
operations:
  chat: {charges: {calls: {units: 1}, tokens: {units: 0}}}
plans:
  pro_tier:
    quotas:
      user_day: {scope: user, meter: tokens, limit: 5000, period: day}
      month: {scope: organization, meter: tokens, limit: 20000, period: month}
      ever: {scope: organization, meter: calls, limit: unlimited, period: total}
    concurrency: {streams: {scope: organization, limit: 20}}
    holds: {ttl_default: 10m, ttl_max: 10m, cut_stream: reported}
issuers:
  main:
    issuer: https://login.example.com
    audiences: [https://api.example.com]
    keys: [{id: main-1, algorithm: HS256, file: main.key}]
"""
PLAN = "pro_tier"
EVENING = datetime.datetime(2026, 10, 4, 20, tzinfo=datetime.UTC)
MORNING = EVENING + datetime.timedelta(hours=13)
AFTER = MORNING + datetime.timedelta(minutes=2)
SUBJECTS = [(organization, user) for organization in ("acme", "umbrella") for user in ("ada", "bo")]
# Of the ids that it still knows.
FIRST = 101
PIECE = 32


class Caller:
    """What one user asks with a token of the fake clock's time."""

    def __init__(self, one, clock, organization, user):
        now = int(clock.now().timestamp())
        self.client = one.callers
        self.token = token(one, sub=user, org=organization, plan=PLAN, iat=now, exp=now + 3_000)

    def check(self, tokens, identity):
        return self.client.check(
            self.token, operation="chat", units={"tokens": tokens}, idempotency_id=identity)

    def reserve(self, tokens, **more):
        return self.client.reserve(
            self.token, operation="chat", units={"tokens": tokens}, detached=True, **more)


def identity(number):
    return bytes(15) + bytes([number])


def work(one, clock, first):
    """Of every kind, with ids from `first` on; its reservations."""
    holds = {}
    for number, subject in enumerate(SUBJECTS):
        caller = Caller(one, clock, *subject)
        assert one.charge(*subject, 100 + number, plan=PLAN).allowed
        assert caller.check(10 + number, identity(first + number)).allowed
        opened, settled, canceled = (caller.reserve(50 + number) for _ in range(3))
        assert caller.client.extend(opened.id, {"tokens": 70 + number}, {"tokens": 5}).allowed
        assert settled.settle(tokens=33 + number).allowed and canceled.cancel().allowed
        holds[number] = {"open": opened.id.hex(), "settled": settled.id.hex(),
                         "canceled": canceled.id.hex()}
    return holds


def usage(one):
    """Used and held by limit, of every user; and what is exported, closed or not."""
    found = {f"{organization} {user}": {
        entry.name: [entry.used, entry.held]
        for entry in one.callers.usage(organization, user, PLAN).limits}
        for organization, user in SUBJECTS}
    exported = sorted([entry.organization, entry.user or "", entry.limit, entry.begins_on,
                       entry.used] for entry in one.admins.closed_usage.list(
                           "2026-10", including_open=True))
    return {"subjects": found, "exported": exported}


def text_of(directory):
    lines = []
    for path in sorted(directory.iterdir()):
        if not path.is_file():
            continue
        data = path.read_bytes()
        lines.append(f"file {path.name} {len(data)}")
        lines += [f"{at:06x} {data[at:at + PIECE].hex()}" for at in range(0, len(data), PIECE)
                  if any(data[at:at + PIECE])]
    return "\n".join(lines) + "\n"


def put(text, directory):
    """Makes the files of such a text."""
    files = {}
    for line in text.splitlines():
        first, *more = line.split(" ")
        if first == "file":
            data = files[more[0]] = bytearray(int(more[1]))
        else:
            at = int(first, 16)
            data[at : at + PIECE] = bytes.fromhex(more[0])
    for name, data in files.items():
        (directory / name).write_bytes(data)
        (directory / name).chmod(0o600)


def write():
    """With a build of then."""
    clock, place = FakeClock(EVENING), LedgerPlace()
    one = LedgerDaemon(place, policy=POLICY, threads=1, environment=clock.environment,
                       ledger={"durability": "always"})
    try:
        for names in work(one, clock, 1).values():
            assert one.callers.settle(bytes.fromhex(names["open"]), {"tokens": 60}).allowed
        clock.set(MORNING)
        # The day before is closed, and goes to the archive.
        usage(one)
        eventually(lambda: place.files("usage") and not one.status().closed_waiting)
        one.admins.snapshots.create()
        holds = work(one, clock, FIRST)
        told = usage(one)
        eventually(lambda: one.status().synced == one.status().appended)
        one.kill()
        (VECTORS / "ledger-v1.hex").write_text(text_of(place.ledger))
        (VECTORS / "ledger-v1.json").write_text(json.dumps(
            {"usage": told, "holds": holds}, indent=1, sort_keys=True) + "\n")
        clock.set(AFTER)
        one.start()
        assert usage(one) == told
    finally:
        one.kill()
        one.remove()
        place.remove()
        clock.remove()


if __name__ == "__main__":
    write()
