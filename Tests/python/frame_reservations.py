"""Vectors of what is held and of what is repeated: RESERVE, EXTEND, SETTLE and CANCEL, idempotency
ids, costs.

A daemon that has just begun knows no reservation: EXTEND, SETTLE and CANCEL that are in order have
status 16.
"""

import hashlib
import random
import struct

import frame_layout as lay
import frame_replies as replies
import frame_requests as requests
from frame_layout import RESET_NEVER, UNITS_MAX, extension

HELD = hashlib.sha256(b"a reservation").digest()[:16]
NOT_FOUND = 16
TTL_LONGEST = 2**32 - 1


def estimate(**changes):
    return {
        **requests.CHECK, "meters": [["tokens", 500]], "ttl_ms": 0, "detached": False, **changes}


EXTEND = {
    "reservation": HELD.hex(), "meters": [["tokens", 1_000, 450]], "ttl_ms": 0, "explain": False,
    "extensions": [],
}
SETTLE = {
    "reservation": HELD.hex(), "meters": [["tokens", 731]], "explain": False, "extensions": [],
}
CANCEL = {"reservation": HELD.hex(), "explain": False, "extensions": []}
SIXTEEN = [[name, 2 * units, units] for name, units in requests.SIXTEEN]


def identity(name):
    """Each vector has its own: an id is good for one request."""
    return hashlib.sha256(name.encode()).digest()[:16].hex()


def taken(r):
    def reserve(name, note, reason="none", **changes):
        r.made(name, note, "RESERVE", estimate(), changes, reason=reason)

    reserve("reserve", "500 tokens, for as long as the plan says")
    reserve("reserve-route", "by method and path, from an IPv4 address", address="192.0.2.7",
            meters=[], **requests.ROUTE)
    reserve("reserve-time", "for 90 seconds at most", ttl_ms=90_000)
    reserve("reserve-time-longest", "lowered to what the plan allows", ttl_ms=TTL_LONGEST)
    reserve("reserve-time-shortest", "a millisecond", ttl_ms=1)
    reserve("reserve-detached", "outlives the connection", detached=True, ttl_ms=1_000)
    reserve("reserve-dry-run", "decides, holds nothing", dry_run=True)
    reserve("reserve-explain", "with every limit in the reply", explain=True)
    reserve("reserve-all-flags", "all three", dry_run=True, explain=True, detached=True)
    reserve("reserve-defaults", "no meter named: the operation's default units", meters=[])
    reserve("reserve-sixteen-meters", "as many meters as a request may name",
            operation="everything", meters=requests.SIXTEEN)
    reserve("reserve-nobody", "no credential", "credentialMissing", **requests.NOBODY)
    reserve("reserve-too-much", "more than the quota ever holds", "quotaExhausted",
            meters=[["tokens", UNITS_MAX]])
    reserve("reserve-default-plan", "a quota of 0", "quotaExhausted", credential=requests.LONE,
            operation="models", meters=[])
    reserve("reserve-extension", "an extension field that the daemon skips",
            extensions=[extension(9, b"skip me")])
    reserve("reserve-idempotent", "an id by which its repetition is known",
            idempotency_id=identity("reserve"))
    identified(r)
    r.known_only("extend", "1,000 tokens in all, 450 of them used", "EXTEND", EXTEND)
    r.known_only("extend-time", "for another 90 seconds, no meter", "EXTEND", EXTEND, meters=[],
                 ttl_ms=90_000)
    r.known_only("extend-largest", "every number at its end", "EXTEND", EXTEND, explain=True,
                 meters=[["tokens", UNITS_MAX, UNITS_MAX]], ttl_ms=TTL_LONGEST,
                 reservation="ff" * 16)
    r.known_only("extend-sixteen-meters", "as many meters as a request may name", "EXTEND",
                 EXTEND, meters=SIXTEEN)
    r.known_only("extend-extension", "an extension field that the daemon skips", "EXTEND", EXTEND,
                 extensions=[extension(2, bytes(16))])
    r.known_only("settle", "731 tokens were used", "SETTLE", SETTLE)
    r.known_only("settle-estimate", "no meter: all at their estimate", "SETTLE", SETTLE, meters=[])
    r.known_only("settle-explain", "with every limit in the reply", "SETTLE", SETTLE,
                 explain=True)
    r.known_only("settle-zero", "nothing was used, of an id of zeros", "SETTLE", SETTLE,
                 meters=[["tokens", 0]], reservation="00" * 16)
    r.known_only("settle-sixteen-meters", "as many meters as a request may name", "SETTLE",
                 SETTLE, meters=requests.SIXTEEN)
    r.known_only("settle-extension", "an extension field that the daemon skips", "SETTLE", SETTLE,
                 extensions=[extension(250)])
    r.known_only("cancel", "nothing is to be charged", "CANCEL", CANCEL)
    r.known_only("cancel-explain", "with every limit in the reply", "CANCEL", CANCEL, explain=True)
    r.known_only("cancel-extension", "an extension field that the daemon skips", "CANCEL", CANCEL,
                 extensions=[extension(9, b"x")])
    by_chance(r)


def identified(r):
    r.check("check-idempotent", "an id by which its repetition is known",
            idempotency_id=identity("check"), meters=[["tokens", 12]])
    r.check("check-idempotent-largest", "any bytes but zeros", idempotency_id="ff" * 16)
    r.check("check-idempotent-dry-run", "the id is not looked at", dry_run=True,
            idempotency_id=identity("dry run"))
    r.check("check-idempotent-denied", "a denial is not remembered", "quotaExhausted",
            idempotency_id=identity("denied"), meters=[["tokens", UNITS_MAX]])
    r.check("check-idempotent-extension", "between the fields of later versions",
            idempotency_id=identity("extension"), extensions=[extension(9, b"skip me")])
    r.consume("consume-idempotent", "an id by which its repetition is known",
              idempotency_id=identity("consume"))


def by_chance(r):
    """Drawn from a seed that stands here."""
    source = random.Random(4)
    names = ["calls", "tokens"]

    def units():
        return source.choice([0, 1, source.getrandbits(10), source.getrandbits(20)])

    for index in range(8):
        chosen = source.sample(names, source.randrange(3))
        some = {"explain": source.random() < 0.5}
        r.made(f"reserve-chance-{index}", "drawn at random", "RESERVE", estimate(), {
            **some, "dry_run": source.random() < 0.3, "meters": [[n, units()] for n in chosen],
            "ttl_ms": source.getrandbits(source.randrange(1, 33)),
            "address": source.choice([None, "192.0.2.9", "2001:db8::9"]),
        }, reason="none")
        held = source.randbytes(16).hex()
        r.known_only(f"extend-chance-{index}", "drawn at random", "EXTEND", EXTEND, **some,
                     reservation=held, ttl_ms=source.getrandbits(32),
                     meters=[[n, units(), units()] for n in chosen])
        r.known_only(f"settle-chance-{index}", "drawn at random", "SETTLE", SETTLE, **some,
                     reservation=held, meters=[[n, units()] for n in chosen])


def refused(r):
    refused_estimates(r)
    refused_identities(r)

    def bad(name, note, opcode, base, /, status=4, changes=None, **raw):
        body = requests.MAKERS[opcode]({**base, **(changes or {})}, **raw)
        r.bad(f"{opcode.lower()}-{name}", note, opcode, body, status)

    for opcode, base in (("EXTEND", EXTEND), ("SETTLE", SETTLE)):
        name = opcode.lower()
        body = requests.MAKERS[opcode](base)
        r.bad(f"{name}-short", "23 bytes", opcode, body[:23], 4)
        bad("reserved-17", "a reserved byte is not 0", opcode, base, reserved=1)
        bad("meters-17", "more meters than a request may name", opcode, base,
            changes={"meters": [*base["meters"] * 17]})
        bad("meters-beyond", "a meter is announced and not there", opcode, base, meters=2)
        r.bad(f"{name}-meter-cut", "its units are cut short", opcode, body[:-1], 4)
        numbers = base["meters"][0][1:]
        for what, meters, status in (
            ("unnamed", [["", *numbers]], 4), ("129", [["m" * 129, *numbers]], 4),
            ("twice", base["meters"] * 2, 4), ("unknown", [["nothing", *numbers]], 8),
        ):
            bad(f"meter-{what}", "no meter of that name, or two", opcode, base, status=status,
                changes={"meters": meters})
        for index in range(len(numbers)):
            many = [*numbers]
            many[index] = UNITS_MAX + 1
            bad(f"units-too-many-{index}", "2^40 + 1", opcode, base, status=9,
                changes={"meters": [["tokens", *many]]})
        flags(r, bad, opcode, base)
        requests.refused_extensions(r, name, opcode, body)
    for bit in (1, 1 << 31):
        bad(f"reserved-20-{bit}", "reserved bytes are not 0", "SETTLE", SETTLE, last=bit)
        bad(f"reserved-20-{bit}", "reserved bytes are not 0", "CANCEL", CANCEL, more=bit)
    bad("reserved-18", "reserved bytes are not 0", "CANCEL", CANCEL, reserved=0x100)
    r.bad("cancel-short", "23 bytes", "CANCEL", lay.cancel(CANCEL)[:23], 4)
    flags(r, bad, "CANCEL", CANCEL)
    requests.refused_extensions(r, "cancel", "CANCEL", lay.cancel(CANCEL))
    r.bad("settle-idempotency-id", "needs none, and so knows none", "SETTLE",
          lay.settle(SETTLE) + lay.extensions([extension(2, HELD, critical=True)]), 6)


def flags(r, bad, opcode, base):
    for flag in (1, 4, 8, 0x8000):
        bad(f"flag-{flag}", "a flag that it does not know", opcode, base, status=6, flags=flag)


def refused_estimates(r):
    short = estimate(credential="t")

    def bad(name, note, /, status=4, changes=None, **raw):
        r.bad(f"reserve-{name}", note, "RESERVE",
              lay.reserve({**short, **(changes or {})}, **raw), status)

    r.bad("reserve-short", "31 bytes", "RESERVE", lay.reserve(short)[:31], 4)
    bad("reserved-11", "a reserved byte is not 0", reserved=b"\1" + bytes(4))
    bad("flag-4", "an unknown flag", 6, flags=4)
    bad("flag-16", "an unknown flag", 6, flags=16)
    bad("kind-0-with-credential", "kind and length contradict", kind=0)
    bad("by-3", "neither name nor route", by=3)
    bad("family-5", "no such family", family=5)
    bad("operation-empty", "no operation", changes={"operation": ""})
    bad("strings-beyond", "the strings run past the end", name=100)
    bad("meters-beyond", "a meter is announced and not there", meters=2)
    bad("meter-twice", "the same meter twice", changes={"meters": [["calls", 1], ["calls", 1]]})
    bad("meter-unknown", "the policy defines no such meter", 8,
        changes={"meters": [["nothing", 1]]})
    bad("meter-not-charged", "the operation does not charge it", 8,
        changes={"meters": [["gigabytes", 1]]})
    bad("units-too-many", "2^40 + 1", 9, changes={"meters": [["tokens", UNITS_MAX + 1]]})
    bad("units-weighted", "2^40 times a weight of 10^9 leave 64 bits", 9,
        changes={"operation": "archive", "meters": [["gigabytes", UNITS_MAX]]})
    requests.refused_extensions(r, "reserve", "RESERVE", lay.reserve(short))


def refused_identities(r):
    bodies = (
        ("CHECK", lay.check(requests.SHORT)), ("CONSUME", lay.consume(requests.CONSUME)),
        ("RESERVE", lay.reserve(estimate(credential="t"))))
    for opcode, body in bodies:
        for name, note, fields in (
            ("zero", "16 bytes of 0", [extension(2, bytes(16), critical=True)]),
            ("short", "15 bytes", [extension(2, HELD[:15], critical=True)]),
            ("long", "17 bytes, not critical", [extension(2, HELD + b"x")]),
            ("empty", "0 bytes", [extension(2)]),
            ("twice", "two of them", [extension(2, HELD, critical=True)] * 2),
        ):
            r.bad(f"{opcode.lower()}-idempotency-id-{name}", note, opcode,
                  body + lay.extensions(fields), 4)
    for opcode, body in (("USAGE", lay.usage(requests.USAGE)),
                         ("HELLO", lay.hello(requests.HELLO))):
        r.bad(f"{opcode.lower()}-idempotency-id", "charges nothing, and so knows none", opcode,
              body + lay.extensions([extension(2, HELD, critical=True)]), 6)


RESERVATION = {"id": HELD.hex(), "ttl_ms": 60_000}


def good_replies(r):
    quota = {**replies.QUOTA, "remaining": 49_982_654}
    held = {**replies.MONTH, "refuses": False, "held": 5_000}
    streams = {
        **replies.ENTRY, "kind": "concurrency", "name": "streams", "meter": "", "used": 3,
        "limit": 10, "remaining": 7, "reset_ms": 0, "length_ms": 0}
    r.decision("reserved", "500 tokens are held for a minute", "RESERVE", quota=quota,
               reservation=RESERVATION)
    r.decision("reserved-cost", "what the estimate costs: 1.25 of the currency", "RESERVE",
               reservation=RESERVATION, cost_micros=1_250_000)
    r.decision("reserved-explain", "the third of ten that may be open", "RESERVE", quota=quota,
               reservation=RESERVATION, explanation=[replies.ENTRY, held, streams],
               cost_micros=2**64 - 1)
    r.decision("reserved-largest", "any bytes are an id", "RESERVE",
               reservation={"id": "ff" * 16, "ttl_ms": TTL_LONGEST},
               extensions=[extension(2, b"later"), extension(77)])
    r.decision("reserve-would", "a dry run holds nothing", "RESERVE", dry_run=True)
    r.deny("reserve-concurrency", "ten are open", "concurrencyExceeded", opcode="RESERVE",
           explanation=[{**streams, "used": 10, "remaining": 0, "refuses": True}])
    r.deny("reserve-no-journal", "what cannot be kept is not held", "ledgerUnavailable",
           opcode="RESERVE")
    r.decision("extended", "go on", "EXTEND", quota=quota)
    r.deny("extend-stop", "stop: the quota holds no more", "quotaExhausted", opcode="EXTEND",
           retry_after_ms=1_209_600_000, quota={**replies.QUOTA, "remaining": 0})
    r.decision("settled", "and what it cost", "SETTLE", quota=quota, cost_micros=1_827_500)
    r.decision("settled-overage", "more than the quota had left", "SETTLE", overage=True,
               quota={**replies.QUOTA, "remaining": 0})
    r.decision("canceled", "nothing was charged", "CANCEL", quota=replies.QUOTA)
    r.decision("allow-cost", "what a CHECK's units cost", cost_micros=1)
    r.decision("consumed-cost", "what a CONSUME's units cost", "CONSUME", cost_micros=0)
    r.decision("allow-id", "by which the audit log knows it", decision_id="0100000000000001")
    r.decision("settled-id", "what it cost, and its id", "SETTLE", cost_micros=7,
               decision_id="ffffffffffffffff")
    r.deny("deny-id", "of a denial as well", "quotaExhausted", decision_id="02000000000004d2")
    would = {"reason": "rateLimited", "reason_code": 51, "limit": "per_minute"}
    r.decision("allow-would-deny", "a limit in shadow is full", would_deny=would, quota=quota)
    r.decision("allow-would-deny-explain", "and explained", would_deny=would, explanation=[
        {**replies.ENTRY, "used": 600, "remaining": 0, "refuses": True, "shadow": True},
        {**held, "shadow": True}])
    r.decision("allow-would-deny-permission", "the policy is in shadow",
               would_deny={"reason": "permissionDenied", "reason_code": 41, "limit": None})
    r.decision("reserved-would-deny", "held all the same", "RESERVE", reservation=RESERVATION,
               would_deny={"reason": "reason 999", "reason_code": 999, "limit": "Grenze"})
    r.deny("deny-no-audit", "what cannot be recorded is not decided", "auditUnavailable")
    unlimited = {"name": "counted", "limit": 2**64 - 1, "remaining": 2**64 - 1,
                 "reset_ms": RESET_NEVER}
    r.decision("allow-unlimited", "a quota that only counts", quota=unlimited)
    for opcode, status, name, detail in (
        ("EXTEND", 16, "notFound", "no such reservation"),
        ("SETTLE", 16, "notFound", "no such reservation"),
        ("CANCEL", 16, "notFound", "no such reservation"),
        ("EXTEND", 19, "conflict", "the reservation has ended"),
        ("SETTLE", 19, "conflict", "it was settled with other units"),
        ("CANCEL", 19, "conflict", "it was settled"),
        ("RESERVE", 19, "conflict", "the idempotency id stands for another request"),
        ("CONSUME", 19, "conflict", "the idempotency id stands for another request"),
    ):
        r.add(f"error-{opcode.lower()}-{name}", f"status {status} of {opcode}", opcode,
              detail.encode(), status=status, fields={"status": name, "detail": detail})


def malformed_replies(r):
    plain = lay.decision(replies.DECISION)
    denied = lay.decision(replies.DECISION, verdict=2, reason=70)
    held = struct.pack("<16sI4x", HELD, 60_000)

    def bad(name, note, opcode, body, *fields):
        r.bad(name, note, opcode, body + lay.extensions(fields))

    bad("reserve-nothing", "allows, and names no reservation", "RESERVE", plain)
    for name, value in (("empty", b""), ("short", held[:23]), ("long", held + b"\0")):
        bad(f"reservation-{name}", f"{len(value)} bytes", "RESERVE", plain, extension(4, value))
    bad("reservation-twice", "a known field comes twice", "RESERVE", plain,
        extension(4, held), extension(4, held))
    bad("reservation-denied", "verdict and reservation contradict", "RESERVE", denied,
        extension(4, held))
    for name, value in (("empty", b""), ("short", bytes(7)), ("long", bytes(9))):
        bad(f"cost-{name}", f"{len(value)} bytes", "SETTLE", plain, extension(3, value))
    for name, value in (("empty", b""), ("short", bytes(7)), ("long", bytes(9))):
        bad(f"decision-id-{name}", f"{len(value)} bytes", "CHECK", plain, extension(5, value))
    bad("decision-id-twice", "a known field comes twice", "CHECK", plain,
        extension(5, bytes(8)), extension(5, bytes(8)))
    bad("cost-twice", "a known field comes twice", "CHECK", plain,
        extension(3, bytes(8)), extension(3, bytes(8)))
    for opcode in ("RESERVE", "EXTEND", "SETTLE", "CANCEL"):
        body = lay.decision({**replies.DECISION, "reservation": RESERVATION})
        r.bad(f"{opcode.lower()}-short", "a decision of 63 bytes", opcode, body[:63])
        bad(f"{opcode.lower()}-critical", "an unknown field that may not be skipped", opcode, body,
            extension(9, b"x", critical=True))
