"""Lays out frames as the tables of Protocol.md draw them. Nothing here comes from a client."""

import base64
import hashlib
import hmac
import ipaddress
import json
import struct

OPCODES = {
    "HELLO": 0x01, "PING": 0x02, "CHECK": 0x10, "CONSUME": 0x11, "USAGE": 0x12,
    "RESERVE": 0x13, "EXTEND": 0x14, "SETTLE": 0x15, "CANCEL": 0x16, "STATS": 0x40,
    "RELOAD": 0x41, "SHUTDOWN": 0x42, "CALL": 0x50,
}
UNITS_MAX = 2**40
RETRY_NEVER = 2**32 - 1
RESET_NEVER = 2**64 - 1

# The key that Tests/Vectors/policy.yaml checks tokens with, and when they are good: 2026 to 2035.
KEY = hashlib.sha256(b"a key for test vectors, known to everybody").digest()
ISSUED, EXPIRES = 1_767_225_600, 1_767_225_600 + 315_000_000


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(**claims):
    """A JWT in compact form, HS256 (RFC 7515)."""
    everything = {"iss": "i", "iat": ISSUED, "exp": EXPIRES, **claims}
    parts = [{"alg": "HS256", "kid": "k"}, everything]
    signed = ".".join(base64url(json.dumps(p, separators=(",", ":")).encode()) for p in parts)
    return signed + "." + base64url(hmac.digest(KEY, signed.encode(), hashlib.sha256))


def frame(opcode, request_id, body, *, length=None, reserved=0, status=0):
    length = 12 + len(body) if length is None else length
    return struct.pack("<IBBHQ", length, opcode, reserved, status, request_id) + body


def meters(named):
    """Name and units; of EXTEND, units to hold and units used."""
    return b"".join(
        struct.pack("<B", len(name.encode())) + name.encode()
        + struct.pack(f"<{len(units)}Q", *units)
        for name, *units in named)


def extensions(fields):
    return b"".join(
        struct.pack("<BBH", f["tag"], 1 if f["critical"] else 0, len(f["value"]) // 2)
        + bytes.fromhex(f["value"]) for f in fields)


def extension(tag, value=b"", critical=False):
    return {"tag": tag, "critical": critical, "value": value.hex()}


def identified(fields):
    """The extension fields of a request that may carry an idempotency id."""
    identity = fields.get("idempotency_id")
    first = [] if identity is None else [extension(2, bytes.fromhex(identity), critical=True)]
    return extensions(first + fields["extensions"])


def call(document):
    """Compact JSON, members in their order."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def hello(fields, *, name_bytes=None, reserved=b"\0\0\0"):
    name = fields["name"].encode()
    return struct.pack(
        "<HHIB3s", fields["lowest"], fields["highest"], fields["features"],
        len(name) if name_bytes is None else name_bytes, reserved,
    ) + name + extensions(fields["extensions"])


def packed_address(text):
    if text is None:
        return 0, bytes(16)
    address = ipaddress.ip_address(text)
    return address.version, address.packed.ljust(16, b"\0")


def check(fields, **raw):
    """`raw` puts other values into the fixed part than the fields ask for."""
    return question(fields, 0, bytes(5), raw)


def reserve(fields, **raw):
    return question(
        fields, fields["detached"] * 8, b"\0" + struct.pack("<I", fields["ttl_ms"]), raw)


def question(fields, flags, reserved, raw):
    credential = fields["credential"].encode()
    by_route = fields["operation"] is None
    name = (fields["path"] if by_route else fields["operation"]).encode()
    method = (fields["method"] or "").encode()
    family, address = packed_address(fields["address"])
    fixed = {
        "kind": fields["credential_kind"], "family": family, "by": 2 if by_route else 1,
        "meters": len(fields["meters"]),
        "flags": flags | fields["dry_run"] * 1 | fields["explain"] * 2,
        "credential": len(credential), "name": len(name), "method": len(method),
        "reserved": reserved, "address": address, **raw,
    }
    return struct.pack("<BBBBHHHB5s16s", *fixed.values()) + credential + method + name + meters(
        fields["meters"]) + identified(fields)


def reservation(fields, last, raw):
    """EXTEND and SETTLE."""
    fixed = {
        "id": bytes.fromhex(fields["reservation"]), "meters": len(fields["meters"]),
        "reserved": 0, "flags": fields["explain"] * 2, "last": last, **raw,
    }
    return struct.pack("<16sBBHI", *fixed.values()) + meters(fields["meters"]) + extensions(
        fields["extensions"])


def extend(fields, **raw):
    return reservation(fields, fields["ttl_ms"], raw)


def settle(fields, **raw):
    return reservation(fields, 0, raw)


def cancel(fields, **raw):
    fixed = {
        "id": bytes.fromhex(fields["reservation"]), "flags": fields["explain"] * 2, "reserved": 0,
        "more": 0, **raw,
    }
    return struct.pack("<16sHHI", *fixed.values()) + extensions(fields["extensions"])


def consume(fields, **raw):
    texts = [fields[key].encode() for key in ("organization", "user", "plan", "operation")]
    flags = fields["dry_run"] * 1 | fields["explain"] * 2 | fields["personal"] * 4
    fixed = {
        "organization": len(texts[0]), "user": len(texts[1]), "plan": len(texts[2]),
        "meters": len(fields["meters"]), "flags": flags, "operation": len(texts[3]),
        "reserved": bytes(9), **raw,
    }
    return struct.pack("<BBBBHB9s", *fixed.values()) + b"".join(texts) + meters(
        fields["meters"]) + identified(fields)


def usage(fields, **raw):
    texts = [fields[key].encode() for key in ("organization", "user", "plan")]
    fixed = {
        "organization": len(texts[0]), "user": len(texts[1]), "plan": len(texts[2]),
        "reserved": 0, "flags": fields["personal"] * 4, "more": 0, **raw,
    }
    return struct.pack("<BBBBHH", *fixed.values()) + b"".join(texts) + extensions(
        fields["extensions"])


def hello_reply(fields):
    version = fields["daemon_version"].encode()
    return struct.pack(
        "<HHIIIQB7x", fields["version"], 0, fields["features"], fields["length_max"],
        fields["in_flight_max"], fields["policy_generation"], len(version),
    ) + version + extensions(fields["extensions"])


def entry(fields, **raw):
    name, meter = fields["name"].encode(), fields["meter"].encode()
    kind = {"rateLimit": 1, "quota": 2, "concurrency": 3}[fields["kind"]]
    scope = {"user": 1, "organization": 2, "address": 3, "credential": 4}[fields["scope"]]
    fixed = {
        "kind": kind, "scope": scope, "flags": fields["refuses"] * 1 | fields["shadow"] * 2,
        "name": len(name),
        "meter": len(meter), **raw,
    }
    numbers = [fields[k] for k in ("used", "held", "limit", "remaining", "reset_ms", "length_ms")]
    return struct.pack("<5B3x6Q", *fixed.values(), *numbers) + name + meter


def entries(listed):
    return struct.pack("<H", len(listed)) + b"".join(map(entry, listed))


def decision(fields, **raw):
    limits = [fields["rate_limit"], fields["quota"]]
    flags = (
        fields["dry_run"] * 1 | (limits[0] is not None) * 2 | (limits[1] is not None) * 4
        | fields["personal"] * 8 | fields["overage"] * 16)
    texts = [fields[key].encode() for key in ("user", "organization", "plan")]
    texts += [(limit or {"name": ""})["name"].encode() for limit in limits]
    texts += [fields["operation"].encode()]
    numbers = [
        (limit or {key: 0})[key] for limit in limits for key in ("limit", "remaining", "reset_ms")]
    fixed = {
        "verdict": 1 if fields["allowed"] else 2, "flags": flags, "reason": fields["reason_code"],
        "retry": fields["retry_after_ms"] or 0, "reserved": 0, **raw,
    }
    reserved = fixed.pop("reserved")
    body = struct.pack("<BBHI6Q6BH", *fixed.values(), *numbers, *map(len, texts), reserved)
    body += b"".join(texts)
    if fields["explanation"] is not None:
        value = entries(fields["explanation"])
        body += struct.pack("<BBH", 1, 0, len(value)) + value
    if fields.get("cost_micros") is not None:
        body += extensions([extension(3, struct.pack("<Q", fields["cost_micros"]))])
    if fields.get("reservation") is not None:
        held = fields["reservation"]
        body += extensions([
            extension(4, struct.pack("<16sI4x", bytes.fromhex(held["id"]), held["ttl_ms"]))])
    if fields.get("decision_id") is not None:
        body += extensions([extension(5, struct.pack("<Q", int(fields["decision_id"], 16)))])
    if fields.get("would_deny") is not None:
        body += extensions([extension(7, would_deny(fields["would_deny"]))])
    return body + extensions(fields["extensions"])


def would_deny(fields):
    limit = (fields["limit"] or "").encode()
    return struct.pack("<HBx", fields["reason_code"], len(limit)) + limit


def usage_reply(fields):
    plan = fields["plan"].encode()
    return struct.pack("<HB5x", len(fields["limits"]), len(plan)) + plan + b"".join(
        map(entry, fields["limits"])) + extensions(fields["extensions"])


def stats_reply(fields):
    body = struct.pack("<I", len(fields["entries"]))
    for one in fields["entries"]:
        name = one["name"].encode()
        kind = {"counter": 1, "gauge": 2}[one["kind"]]
        body += struct.pack("<BBQ", kind, len(name), one["value"]) + name
    return body + extensions(fields["extensions"])
