"""The vectors in the Python client: what it sends, and what it makes of what it gets."""

import asyncio
import json
import random

import directory_samples as samples
import make_frames
import pytest
import tollgate
from scripted_daemon import ScriptedDaemon, request_id, with_id
from test_directory_client import plain
from test_directory_client_replies import reading
from tollgate import (
    AsyncClient,
    Client,
    MalformedReply,
    Refused,
    Unreachable,
    json_bodies,
    replies,
    wire,
)

VECTORS = json.loads(make_frames.FRAMES.read_text())
REPLIES = [v for v in VECTORS["replies"] if v["opcode"] != "CALL" or v["status"]]
DOCUMENTS = [v for v in VECTORS["replies"] if v["opcode"] == "CALL" and not v["status"]]
CALLS = [v for v in VECTORS["requests"] if v["opcode"] == "CALL" and v["fields"]]
# What the client has no words for: extension fields, any range of versions.
BEYOND = {
    "hello-versions", "hello-extension", "check-extension", "check-extensions",
    "consume-extension", "usage-extension", "reserve-extension", "extend-extension",
    "settle-extension", "cancel-extension", "check-idempotent-extension",
}
# Of a daemon that does not know the reservation, too.
REQUESTS = [
    v for v in VECTORS["requests"] if v["fields"] is not None and v["status"] in (0, 16)]
MALFORMED_BODIES = {
    "CHECK": replies.decision, "CONSUME": replies.decision, "USAGE": replies.usage,
    "HELLO": replies.hello, "STATS": replies.stats, "RELOAD": replies.generation,
    "SHUTDOWN": replies.nothing, "PING": lambda body: replies.ping(body, b"ping"),
    "RESERVE": replies.reserved, "EXTEND": replies.decision, "SETTLE": replies.decision,
    "CANCEL": replies.decision,
}


def body_of(vector):
    fields = dict(vector["fields"])
    fields.pop("extensions", None)
    meters = fields.pop("meters", [])
    units = {name: numbers[0] for name, *numbers in meters}
    if "idempotency_id" in fields:
        fields["idempotency_id"] = bytes.fromhex(fields["idempotency_id"])
    if "reservation" in fields:
        fields["reservation"] = bytes.fromhex(fields["reservation"])
    match vector["opcode"]:
        case "HELLO":
            return wire.hello_body(fields["name"])
        case "PING":
            return wire.ping_body(bytes.fromhex(fields["payload"]))
        case "CHECK" | "RESERVE" as opcode:
            kind = (None, "token", "key")[fields.pop("credential_kind")]
            body = {"CHECK": wire.check_body, "RESERVE": wire.reserve_body}[opcode]
            return body(fields.pop("credential"), kind=kind, units=units, **fields)
        case "EXTEND":
            used = {name: numbers[1] for name, *numbers in meters}
            return wire.extend_body(units=units, used=used, **fields)
        case "SETTLE":
            return wire.settle_body(units=units, **fields)
        case "CANCEL":
            return wire.cancel_body(**fields)
        case "CONSUME":
            return wire.consume_body(**fields, units=units)
        case "USAGE":
            return wire.usage_body(**fields)
        case "SHUTDOWN":
            return wire.shutdown_body(fields["grace_ms"])
    return b""


def test_requests_are_sent_as_the_vectors_have_them():
    # Calls are test_directory_client's.
    encoded = [vector for vector in REQUESTS
               if vector["opcode"] != "CALL" and vector["name"] not in BEYOND]
    assert len(encoded) >= 40
    for vector in encoded:
        opcode = getattr(wire, vector["opcode"])
        assert wire.frame(opcode, vector["id"], body_of(vector)).hex() == vector["hex"], vector


@pytest.mark.parametrize("vector", CALLS, ids=lambda vector: vector["name"])
def test_calls_are_sent_as_the_vectors_have_them(vector):
    members = {name: json_bodies.NULL if value is None else value
               for name, value in vector["fields"]["body"].items()}
    body = json_bodies.request(members.pop("call"), members)
    assert wire.frame(wire.CALL, vector["id"], body).hex() == vector["hex"]


@pytest.mark.parametrize("vector", DOCUMENTS, ids=lambda vector: vector["name"])
def test_a_document_is_read_as_its_vector_says(vector):
    fields = vector["fields"]
    case = next(case for case in samples.cases() if case.call == fields["call"])
    read, body = reading(case), bytes.fromhex(vector["hex"])[16:]
    if vector["malformed"]:
        with pytest.raises(MalformedReply):
            read(body)
        return
    expected = fields["body"]
    if case.result and case.result != "items":
        expected = expected[case.result]
    elif fields["call"] == "token.issue":
        expected = {**expected, "retried": False}
    assert plain(read(body)) == expected


def limit(fields):
    return fields and tollgate.Limit(**fields)


def entries(listed):
    return tuple(tollgate.LimitEntry(**fields) for fields in listed or [])


def expected(vector):
    """What a client gives back for a reply that is in order."""
    fields = dict(vector["fields"])
    fields.pop("extensions", None)
    match vector["opcode"]:
        case "CHECK" | "CONSUME" | "RESERVE" | "EXTEND" | "SETTLE" | "CANCEL":
            held = fields["reservation"]
            if held:
                held = {**held, "id": bytes.fromhex(held["id"])}
            fields["reservation"] = held and tollgate.Reservation(**held)
            would = fields["would_deny"]
            fields["would_deny"] = would and tollgate.WouldDeny(**would)
            fields["reason"] = fields["reason"] or f"reason {fields['reason_code']}"
            limits = {key: limit(fields[key]) for key in ("rate_limit", "quota")}
            return tollgate.Decision(
                **{**fields, **limits, "explanation": entries(fields["explanation"])})
        case "HELLO":
            return tollgate.Hello(**fields)
        case "PING":
            return bytes.fromhex(fields["payload"])
        case "USAGE":
            return tollgate.Usage(fields["plan"], entries(fields["limits"]))
        case "STATS":
            return {entry["name"]: entry["value"] for entry in fields["entries"]}
        case "RELOAD":
            return fields["policy_generation"]
    return None


def call(client, vector):
    """Asks for what the reply of the vector answers."""
    match vector["opcode"]:
        case "RESERVE":
            return client.reserve("t", operation="chat")
        case "EXTEND" | "SETTLE" | "CANCEL" as opcode:
            return getattr(client, opcode.lower())(bytes(16))
        case "CHECK":
            return client.check("t", operation="chat")
        case "CONSUME":
            return client.consume("o", "u", "p", "chat", {"tokens": 1})
        case "USAGE":
            return client.usage("o")
        case "PING":
            payload = (vector["fields"] or {}).get("payload", b"ping".hex())
            return client.ping(bytes.fromhex(payload))
    if vector["opcode"] == "CALL":
        return client.directory.status()
    return getattr(client, vector["opcode"].lower())()


def outcome(path, vector, kind):
    async def ask():
        async with AsyncClient(path, timeout=20) as client:
            return await call(client, vector)

    try:
        if kind is AsyncClient:
            return asyncio.run(ask())
        with Client(path, timeout=20) as client:
            return call(client, vector)
    except Exception as error:
        return error


@pytest.fixture(scope="module")
def answering():
    """Answers with the vector that `current` holds."""
    current = {}

    def answer(_, frame):
        return with_id(bytes.fromhex(current["hex"]), request_id(frame))

    with ScriptedDaemon(answer) as daemon:
        yield daemon.path, current


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("vector", REPLIES, ids=lambda vector: vector["name"])
def test_a_reply_is_read_as_its_vector_says(answering, vector, kind):
    path, current = answering
    current.update(vector)
    got = outcome(path, vector, kind)
    if vector["malformed"]:
        assert type(got) is MalformedReply
    elif vector["status"]:
        assert isinstance(got, Refused) and got.detail == vector["fields"]["detail"]
        assert got.code == vector["status"]
        assert got.status == (vector["fields"]["status"] or f"status {got.code}")
        # Refusals that a caller tells apart are types of their own, named as their status.
        own = got.code == 7 or 16 <= got.code <= 23
        assert type(got).__name__ == (got.status[0].upper() + got.status[1:] if own else "Refused")
    else:
        assert getattr(got, "decision", got) == expected(vector)


def test_malformed_bodies_raise_malformed_reply_and_nothing_else():
    seen = 0
    for vector in REPLIES:
        if vector["status"]:
            continue
        body = bytes.fromhex(vector["hex"])[16:]
        read = MALFORMED_BODIES[vector["opcode"]]
        changed = [body[:length] for length in range(len(body))]
        changed += [
            body[:index] + bytes([body[index] ^ 1 << bit]) + body[index + 1:]
            for index in range(len(body)) for bit in range(8)]
        for bad in changed:
            try:
                read(bad)
            except MalformedReply:
                seen += 1
    assert seen > 10_000


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_raise_malformed_reply_and_nothing_else(seed):
    print("seed", seed)
    source = random.Random(seed)
    for _ in range(2_000):
        body = source.randbytes(source.randrange(200))
        for read in MALFORMED_BODIES.values():
            try:
                read(body)
            except MalformedReply:
                pass


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_daemon_at_its_ceiling_says_so_before_any_request(kind):
    refusal = bytes.fromhex("1100000080000c000000000000000000") + b"full!"

    def answer(connection, _):
        connection.sendall(refusal)
        return False

    with ScriptedDaemon(answer) as daemon:
        got = outcome(daemon.path, {"opcode": "PING", "fields": None}, kind)
        assert type(got) is Refused and got.status == "tooManyConnections"
    # Any other end of the connection says nothing of whether a request was carried out.
    refusal = refusal.replace(b"\x0c", b"\x0d")
    with ScriptedDaemon(answer) as daemon:
        got = outcome(daemon.path, {"opcode": "PING", "fields": None}, kind)
        assert type(got) is Unreachable and "unavailable" in str(got)
