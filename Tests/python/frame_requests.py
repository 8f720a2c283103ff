"""Request vectors: frames that the daemon takes, and frames that it refuses with a status.

Verdicts are those of a daemon that has just begun with Tests/Vectors/policy.yaml.
"""

import struct

import frame_call_requests as calls
import frame_layout as lay
from frame_layout import OPCODES, UNITS_MAX, extension

ADA = lay.token(sub="ada", org="acme", plan="pro_tier")
LONE = lay.token(sub="zoe")

CHECK = {
    "credential_kind": 1, "credential": ADA, "address": None, "operation": "chat",
    "method": None, "path": None, "meters": [], "dry_run": False, "explain": False,
    "extensions": [],
}
# With a credential that no refusal comes as far as looking at.
SHORT = {**CHECK, "credential": "t"}
ROUTE = {"operation": None, "method": "POST", "path": "/v1/chat/completions?stream=1"}
NOBODY = {"credential_kind": 0, "credential": ""}
CONSUME = {
    "organization": "acme", "user": "ada", "plan": "pro_tier", "operation": "chat",
    "meters": [["tokens", 731]], "personal": False, "dry_run": False, "explain": False,
    "extensions": [],
}
USAGE = {
    "organization": "acme", "user": "ada", "plan": "", "personal": False, "extensions": [],
}
HELLO = {"lowest": 1, "highest": 1, "features": 0, "name": "", "extensions": []}
SIXTEEN = [[f"m{index:02}", index] for index in range(1, 17)]
MAKERS = {
    "CHECK": lay.check, "CONSUME": lay.consume, "USAGE": lay.usage, "HELLO": lay.hello,
    "RESERVE": lay.reserve, "EXTEND": lay.extend, "SETTLE": lay.settle, "CANCEL": lay.cancel,
}


class Requests:
    def __init__(self):
        self.vectors = []

    def add(self, name, note, frame, **more):
        vector = {
            "name": name, "note": note, "socket": "data", "opcode": None, "id": None,
            "fields": None, "status": 0, "reason": None, "closes": False, **more,
        }
        self.vectors.append({**vector, "hex": frame.hex()})

    def next_id(self):
        return len(self.vectors) + 1

    def good(self, name, note, opcode, fields, body, *, identity=None, **more):
        identity = self.next_id() if identity is None else identity
        frame = lay.frame(OPCODES[opcode], identity, body)
        self.add(name, note, frame, opcode=opcode, id=identity, fields=fields, **more)

    def made(self, name, note, opcode, base, changes, **more):
        fields = {**base, **changes}
        self.good(name, note, opcode, fields, MAKERS[opcode](fields), **more)

    def bad(self, name, note, opcode, body, status, **more):
        identity = self.next_id()
        self.add(name, note, lay.frame(OPCODES[opcode], identity, body), opcode=opcode,
                 id=identity, status=status, **more)

    def known_only(self, name, note, opcode, base, **changes):
        """In order, and of a reservation that the daemon does not know."""
        self.made(name, note, opcode, base, changes, status=16)

    def check(self, name, note, reason="none", *, identity=None, **changes):
        self.made(name, note, "CHECK", CHECK, changes, reason=reason, identity=identity)

    def consume(self, name, note, /, **changes):
        self.made(name, note, "CONSUME", CONSUME, changes, reason="none")

    def usage(self, name, note, /, **changes):
        self.made(name, note, "USAGE", USAGE, changes)

    def hello(self, name, note, /, **changes):
        self.made(name, note, "HELLO", HELLO, changes)


def taken(r):
    r.hello("hello", "version 1 and no other, no name")
    r.hello("hello-named", "a client that says its name", name="tollgate-python")
    r.hello("hello-versions", "a range that holds version 1", lowest=0, highest=7)
    r.hello("hello-name-longest", "64 bytes of name", name="n" * 64)
    r.hello("hello-extension", "an extension field that the daemon skips",
            extensions=[extension(200, b"later")])
    for name, payload in (("ping-empty", b""), ("ping", b"ping"), ("ping-longest", bytes(64))):
        r.good(name, f"{len(payload)} bytes to carry back", "PING", {"payload": payload.hex()},
               payload)
    checks(r)
    r.consume("consume", "the tokens of an answer")
    r.consume("consume-personal", "in a personal organization", organization="zoe", user="zoe",
              plan="free_tier", personal=True)
    r.consume("consume-dry-run", "looks, records nothing", dry_run=True)
    r.consume("consume-explain", "with every limit in the reply", explain=True)
    r.consume("consume-zero", "0 units are units", meters=[["tokens", 0]])
    r.consume("consume-two-meters", "calls are charged only when named",
              meters=[["calls", 1], ["tokens", 20]])
    r.consume("consume-sixteen-meters", "as many meters as a request may name",
              operation="everything", meters=SIXTEEN)
    r.consume("consume-past-the-limit", "recorded although it is more than the quota holds",
              organization="over", meters=[["tokens", UNITS_MAX]])
    r.consume("consume-longest-names", "128 bytes each", organization="o" * 128, user="u" * 128)
    r.consume("consume-extension", "an extension field that the daemon skips",
              extensions=[extension(7)])
    r.usage("usage", "the organization's limits and the user's; the plan last decided with")
    r.usage("usage-organization", "no user: the organization's limits only", user="")
    r.usage("usage-plan", "by a plan's limits", plan="free_tier")
    r.usage("usage-personal", "of a personal organization", organization="zoe", user="zoe",
            personal=True)
    r.usage("usage-unknown", "nobody has heard of them: an empty reply, not an error",
            organization="nobody", user="none")
    r.usage("usage-extension", "an extension field that the daemon skips",
            extensions=[extension(255, bytes(3))])
    r.good("stats", "all numbers", "STATS", {}, b"", socket="admin")
    r.good("reload", "reads the policy file again", "RELOAD", {}, b"", socket="admin")
    for name, grace in (("shutdown", 5_000), ("shutdown-at-once", 0), ("shutdown-max", 2**32 - 1)):
        r.good(name, f"ends the daemon within {grace} ms", "SHUTDOWN", {"grace_ms": grace},
               struct.pack("<I", grace), socket="admin")


def checks(r):
    r.check("check", "by name, with a token")
    r.check("check-route", "by method and path with its query, from an IPv4 address",
            address="192.0.2.7", **ROUTE)
    r.check("check-v6", "from an IPv6 address", address="2001:db8::1", operation="models")
    r.check("check-v4-in-v6", "::ffff:0:0/96 is the IPv4 address", address="::ffff:192.0.2.7")
    r.check("check-nobody", "no credential", "credentialMissing", **NOBODY)
    r.check("check-api-key", "an API key that is none, where there is no directory either",
            "credentialInvalid", credential_kind=2, credential="tg_live_x")
    r.check("check-no-token", "a credential that is no token", "credentialInvalid",
            credential="not.a.token")
    r.check("check-dry-run", "decides, charges nothing", dry_run=True)
    r.check("check-explain", "with every limit in the reply", explain=True)
    r.check("check-dry-run-explain", "both flags", dry_run=True, explain=True,
            meters=[["tokens", 5]])
    r.check("check-meter", "instead of the default units", meters=[["tokens", 12]])
    r.check("check-two-meters", "in any order", meters=[["tokens", 3], ["calls", 2]])
    r.check("check-zero-units", "0 units are units", meters=[["calls", 0]])
    r.check("check-sixteen-meters", "as many meters as a request may name",
            operation="everything", meters=SIXTEEN)
    r.check("check-units-largest", "2^40 units, more than the quota ever holds",
            "quotaExhausted", meters=[["tokens", UNITS_MAX]])
    r.check("check-operation-unknown", "no operation of that name", "operationUnknown",
            operation="o" * 128)
    r.check("check-operation-utf8", "names are bytes, compared as they are", "operationUnknown",
            operation="Zoë 漢字 😀")
    r.check("check-route-unknown", "no route for that method", "operationUnknown",
            operation=None, method="M" * 32, path="/v1/chat/completions")
    r.check("check-path-not-canonical", "dot segments", "pathNotCanonical", operation=None,
            method="GET", path="/v1/../admin")
    r.check("check-permission-denied", "the plan does not grant it", "permissionDenied",
            operation="batch")
    r.check("check-default-plan", "a lone user, the issuer's default plan, a quota of 0",
            "quotaExhausted", credential=LONE, operation="models")
    r.check("check-extension", "an extension field that the daemon skips",
            extensions=[extension(9, b"skip me")])
    r.check("check-extensions", "two of them, one empty, behind a meter",
            meters=[["tokens", 1]], extensions=[extension(1), extension(250, bytes(5))])
    r.check("check-id-zero", "request ids are any value", identity=0)
    r.check("check-id-largest", "request ids are any value", identity=2**64 - 1)


def refused_headers(r):
    ping = b"ping"
    for name, length, status in (
        ("length-0", 0, 1), ("length-11", 11, 1), ("length-above-ceiling", 65_537, 2),
        ("length-largest", 2**32 - 1, 2),
    ):
        r.add(f"header-{name}", "the connection is closed", lay.frame(2, 77, ping, length=length),
              id=77, opcode="PING", status=status, closes=True)
    r.add("header-reserved", "byte 5 is not 0", lay.frame(2, 77, ping, reserved=1), id=77,
          opcode="PING", status=1, closes=True)
    r.add("header-status", "a request with a status", lay.frame(2, 77, ping, status=4), id=77,
          opcode="PING", status=1, closes=True)
    r.add("header-short-length-11", "refused before the header is whole: opcode and id are 0",
          struct.pack("<I", 11), id=0, status=1, closes=True)
    r.add("header-short-too-large", "refused before the header is whole: opcode and id are 0",
          struct.pack("<IB", 65_537, 2), id=0, status=2, closes=True)
    for code in (0x00, 0x03, 0x17, 0x43, 0x82, 0xFF):
        r.add(f"opcode-{code:02x}", "not an opcode of this version; the connection stays",
              lay.frame(code, 78, ping), id=78, status=3)


def refused_hello(r):
    good = {**HELLO, "name": "n"}
    r.bad("hello-short", "11 bytes", "HELLO", lay.hello(HELLO)[:11], 4)
    r.bad("hello-inverted", "lowest above highest", "HELLO",
          lay.hello({**good, "lowest": 2}), 4)
    r.bad("hello-name-65", "a name of 65 bytes", "HELLO", lay.hello({**good, "name": "n" * 65}), 4)
    r.bad("hello-name-beyond", "the name runs past the end", "HELLO",
          lay.hello(good, name_bytes=2), 4)
    for index in range(3):
        reserved = bytes(index) + b"\1" + bytes(2 - index)
        r.bad(f"hello-reserved-{9 + index}", "a reserved byte is not 0", "HELLO",
              lay.hello(good, reserved=reserved), 4)
    r.bad("hello-later-version", "speaks 2 and 3 only", "HELLO",
          lay.hello({**good, "lowest": 2, "highest": 3}), 5)
    r.bad("hello-version-0", "speaks 0 only", "HELLO",
          lay.hello({**good, "lowest": 0, "highest": 0}), 5)
    r.bad("hello-feature", "wants a feature", "HELLO", lay.hello({**good, "features": 1}), 6)
    refused_extensions(r, "hello", "HELLO", lay.hello(good))
    r.bad("ping-65", "one byte too many", "PING", bytes(65), 4)


def refused_extensions(r, name, opcode, body):
    r.bad(f"{name}-extension-critical", "an unknown field that may not be skipped", opcode,
          body + lay.extensions([extension(9, b"x", critical=True)]), 6)
    r.bad(f"{name}-extension-flag", "an unknown flag of an extension field", opcode,
          body + struct.pack("<BBH", 9, 2, 0), 6)
    r.bad(f"{name}-extension-short", "3 bytes are no extension field", opcode,
          body + b"\x09\0\0", 4)
    r.bad(f"{name}-extension-beyond", "the value runs past the end", opcode,
          body + struct.pack("<BBH", 9, 0, 2) + b"x", 4)


def refused_checks(r):
    def bad(name, note, /, status=4, changes=None, **raw):
        r.bad(f"check-{name}", note, "CHECK", lay.check({**SHORT, **(changes or {})}, **raw),
              status)

    r.bad("check-short", "31 bytes", "CHECK", lay.check(SHORT)[:31], 4)
    bad("kind-3", "no such kind of credential", kind=3)
    bad("kind-0-with-credential", "kind and length contradict", kind=0)
    bad("kind-1-without-credential", "kind and length contradict", changes=NOBODY, kind=1)
    bad("credential-8193", "a credential longer than 8,192 bytes", credential=8_193)
    for by in (0, 3):
        bad(f"by-{by}", "neither name nor route", by=by)
    bad("flag", "an unknown flag", 6, flags=4)
    bad("flag-15", "an unknown flag", 6, flags=0x8000)
    for index in range(5):
        bad(f"reserved-{11 + index}", "a reserved byte is not 0",
            reserved=bytes(index) + b"\1" + bytes(4 - index))
    bad("family-5", "no such family", family=5)
    bad("address-without-family", "family 0 goes with zeros", address=b"\x7f" + bytes(15))
    bad("address-v4-tail", "bytes after an IPv4 address are 0",
        family=4, address=b"\x7f\0\0\1\1" + bytes(11))
    bad("method-by-name", "a method without a path", changes={"method": "GET"}, by=1)
    bad("operation-empty", "no operation", changes={"operation": ""})
    bad("operation-129", "a name of 129 bytes", changes={"operation": "o" * 129})
    bad("method-empty", "by route without a method", changes={**ROUTE, "method": ""})
    bad("method-33", "a method of 33 bytes", changes={**ROUTE, "method": "M" * 33})
    bad("path-empty", "by route without a path", changes={**ROUTE, "path": ""})
    bad("path-8193", "a path longer than 8,192 bytes", changes=ROUTE, name=8_193)
    bad("strings-beyond", "the strings run past the end", name=5)
    bad("meters-17", "more meters than a request may name",
        changes={"operation": "nowhere", "meters": [*SIXTEEN, ["calls", 1]]})
    bad("meters-beyond", "a meter is announced and not there", meters=1)
    r.bad("check-meter-cut", "its units are cut short", "CHECK",
          lay.check({**SHORT, "meters": [["calls", 1]]})[:-1], 4)
    bad("meter-unnamed", "a name of 0 bytes", changes={"meters": [["", 1]]})
    bad("meter-129", "a name of 129 bytes", changes={"meters": [["m" * 129, 1]]})
    bad("meter-twice", "the same meter twice", changes={"meters": [["calls", 1], ["calls", 1]]})
    bad("meter-unknown", "the policy defines no such meter", 8,
        changes={"meters": [["nothing", 1]]})
    bad("meter-not-charged", "the operation does not charge it", 8,
        changes={"meters": [["gigabytes", 1]]})
    bad("units-too-many", "2^40 + 1", 9, changes={"meters": [["tokens", UNITS_MAX + 1]]})
    bad("units-weighted", "2^40 times a weight of 10^9 leave 64 bits", 9,
        changes={"operation": "archive", "meters": [["gigabytes", UNITS_MAX]]})
    refused_extensions(r, "check", "CHECK", lay.check(SHORT))


def refused_subjects(r):
    def bad(name, note, /, status=4, changes=None, **raw):
        r.bad(f"consume-{name}", note, "CONSUME",
              lay.consume({**CONSUME, **(changes or {})}, **raw), status)

    r.bad("consume-short", "15 bytes", "CONSUME", lay.consume(CONSUME)[:15], 4)
    for index in range(9):
        bad(f"reserved-{7 + index}", "a reserved byte is not 0",
            reserved=bytes(index) + b"\1" + bytes(8 - index))
    bad("no-meters", "nothing to charge", changes={"meters": []})
    bad("meters-17", "more meters than a request may name",
        changes={"operation": "everything", "meters": [*SIXTEEN, ["calls", 1]]})
    for key in ("organization", "user", "plan", "operation"):
        bad(f"{key}-empty", "1 to 128 bytes", changes={key: ""})
        bad(f"{key}-129", "1 to 128 bytes", changes={key: "x" * 129})
    bad("flag", "an unknown flag", 6, flags=8)
    bad("strings-beyond", "the strings run past the end", operation=100)
    bad("plan-unknown", "no such plan", 10, changes={"plan": "gold_tier"})
    bad("operation-unknown", "no such operation", 11, changes={"operation": "walk"})
    bad("meter-unknown", "the policy defines no such meter", 8,
        changes={"meters": [["nothing", 1]]})
    bad("meter-not-charged", "the operation does not charge it", 8,
        changes={"meters": [["gigabytes", 1]]})
    bad("meter-twice", "the same meter twice", changes={"meters": [["calls", 1], ["calls", 1]]})
    bad("units-too-many", "2^40 + 1", 9, changes={"meters": [["tokens", UNITS_MAX + 1]]})
    bad("units-weighted", "2^40 times a weight of 10^9 leave 64 bits", 9,
        changes={"operation": "archive", "meters": [["gigabytes", UNITS_MAX]]})
    refused_extensions(r, "consume", "CONSUME", lay.consume(CONSUME))
    usage = lay.usage(USAGE)
    r.bad("usage-short", "7 bytes", "USAGE", usage[:7], 4)
    r.bad("usage-reserved-3", "a reserved byte is not 0", "USAGE", lay.usage(USAGE, reserved=1), 4)
    r.bad("usage-reserved-6", "a reserved byte is not 0", "USAGE", lay.usage(USAGE, more=1), 4)
    r.bad("usage-reserved-7", "a reserved byte is not 0", "USAGE", lay.usage(USAGE, more=256), 4)
    r.bad("usage-nobody", "no organization", "USAGE", lay.usage({**USAGE, "organization": ""}), 4)
    for key in ("organization", "user", "plan"):
        r.bad(f"usage-{key}-129", "at most 128 bytes", "USAGE",
              lay.usage({**USAGE, key: "x" * 129}), 4)
    for flag in (1, 2, 8):
        r.bad(f"usage-flag-{flag}", "a flag that USAGE does not know", "USAGE",
              lay.usage(USAGE, flags=flag), 6)
    r.bad("usage-strings-beyond", "the strings run past the end", "USAGE",
          lay.usage(USAGE, plan=9), 4)
    r.bad("usage-plan-unknown", "no such plan", "USAGE",
          lay.usage({**USAGE, "plan": "gold_tier"}), 10)
    refused_extensions(r, "usage", "USAGE", usage)


def refused_administration(r):
    grace = struct.pack("<I", 5_000)
    for opcode, body in (("STATS", b""), ("RELOAD", b""), ("SHUTDOWN", grace)):
        name = opcode.lower()
        r.bad(f"{name}-on-the-data-socket", "only the admin socket takes it", opcode, body, 7)
        r.bad(f"{name}-long", "a byte too many", opcode, body + b"\0", 4, socket="admin")
    r.bad("shutdown-short", "a byte too few", "SHUTDOWN", grace[:3], 4, socket="admin")


def vectors():
    # Made with the words of this file.
    import frame_reservations as reservations

    requests = Requests()
    for part in (taken, reservations.taken, calls.taken, refused_headers, refused_hello,
                 refused_checks, refused_subjects, reservations.refused,
                 refused_administration, calls.refused):
        part(requests)
    return requests.vectors
