"""Makes the seeds in Tests/Fuzz/corpus from the vectors and the reference policy.

    python Tests/Fuzz/make_corpus.py

Run it when the protocol, the policy or a target's input changes; the seeds are checked in, and
Tests/tidy compares them with what it makes."""

import base64
import json
import pathlib
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT / "Tests/Fuzz/corpus"

# Written once, and made by nothing: by hand, by a ledger of version 1, or, of what is compressed,
# by one version of libzstd (AuditPackTests compares it with the vector).
KEPT = {
    "audit": ["packed", "packed-taken-up"],
    "base64url": ["long", "short"],
    "journal": ["region", "used"],
    "json": ["claims", "header", "nested"],
    "jwt": ["signed-HS256", "signed-HS384", "signed-HS512", "signed-escapes"],
    "rows": ["used"],
}

SEEDS: dict[tuple[str, str], bytes] = {}


def write(target, name, data):
    assert (target, name) not in SEEDS, f"{target}/{name} is made twice"
    SEEDS[target, name] = data


def byte_of(name, most=256):
    """The same for a name whatever else there is."""
    return zlib.crc32(name.encode()) % most


def vector(name):
    return bytes.fromhex((ROOT / "Tests/Vectors" / name).read_text())


def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def frames():
    """Byte 0, then frames: each request of the vectors alone, and all good ones in a row."""
    vectors = json.loads((ROOT / "Tests/Vectors/frames.json").read_text())["requests"]
    decided = [v for v in vectors if v["opcode"] in ("CHECK", "CONSUME", "USAGE")]
    for vector in decided:
        data = bytes.fromhex(vector["hex"])
        if len(data) < 3_000:
            write("frame", vector["name"], bytes([byte_of(vector["name"])]) + data)
    row = b"".join(bytes.fromhex(v["hex"]) for v in decided if v["status"] == 0)
    write("frame", "row", b"\x0b" + row[:8_000])


def reservations():
    """Steps of u8 what, u8 which, u16 bytes, body: each request of the vectors alone behind a
    RESERVE, and the good ones in a row."""
    vectors = json.loads((ROOT / "Tests/Vectors/frames.json").read_text())["requests"]
    kinds = {"RESERVE": 0, "EXTEND": 1, "SETTLE": 2, "CANCEL": 3, "CHECK": 4, "CONSUME": 5}

    def step(vector, which=0):
        body = bytes.fromhex(vector["hex"])[16:]
        return bytes([kinds[vector["opcode"]], which]) + len(body).to_bytes(2, "little") + body

    chosen = [v for v in vectors if v["opcode"] in kinds and len(v["hex"]) < 2_000]
    (first,) = [v for v in chosen if v["name"] == "reserve"]
    for vector in chosen:
        if "chance" not in vector["name"] and vector["opcode"] in ("EXTEND", "SETTLE", "CANCEL"):
            which = byte_of(vector["name"], 128)
            write("reservation", vector["name"], step(first) + step(vector, which))
    row = b"".join(step(v, i % 128) + bytes([6, 3, 0, 0]) for i, v in enumerate(chosen)
                   if v["status"] in (0, 16) and "chance" not in v["name"])
    write("reservation", "row", row[:8_900])
    write("reservation", "released", step(first) * 3 + bytes([7, 0, 0, 0]))


def tokens():
    """F2: even byte 0 and a token; odd byte 0 and length of the header, header, payload."""
    vectors = json.loads((ROOT / "Tests/Vectors/tokens.json").read_text())["tokens"]
    for index, vector in enumerate(vectors):
        header, payload, _ = vector["token"].split(".")
        write("jwt", f"token-{index}", b"\x00" + vector["token"].encode())
        header, payload = unbase64(header), unbase64(payload)
        bits = {"HS256": 1, "HS384": 3, "HS512": 5}[vector["algorithm"]]
        kid = json.loads(header)["kid"].encode()
        header = header.replace(kid, vector["algorithm"].encode())
        payload = payload.replace(b"https://issuer.example", b"i")
        payload = payload.replace(b"https://api.example", b"a")
        write("jwt", f"signed-{index}", bytes([bits, len(header)]) + header + payload)
        write("json", f"payload-{index}", payload)


def policies():
    reference = (ROOT / "Deploy/tollgate.yaml").read_text()
    lines = [line for line in reference.split("\n") if not line.strip().startswith("#")]
    write("config", "reference", "\n".join(lines).encode()[:8_900])
    write("config", "vectors", (ROOT / "Tests/Vectors/policy.yaml").read_bytes())
    small = {
        "small": "version: 1\nplans: {p: {}}\n",
        "anchors": "version: 1\nplans: {p: &a {permissions: [x]}, q: *a, r: !!map {}}\n",
        "routes": "version: 1\nplans: {}\n"
        'operations: {a: {routes: ["GET /{x}/b", "* /a/{y...}"]}}\n',
        "limits": "version: 1\nmeters: [calls, t]\noperations: {o: {class: c, charges: {t: "
        "{units: 1, weight: 2}}}}\nplans: {p: {rate_limits: {l: {scope: user, meter: t, limit: 5, "
        "window: 90s, mode: smooth, sub_buckets: 7, classes: [c]}}, quotas: {q: {scope: "
        "organization, meter: t, limit: 9, period: month, time_zone: Europe/Berlin}}}}\n",
        "issuers": "version: 1\nplans: {p: {}}\nissuers: {i: {issuer: x, audiences: [a], leeway: "
        "5s, lifetime_max: 1h, types: [JWT], default_plan: p, keys: [{id: k, algorithm: HS256, "
        "file: f, format: base64url, organization: o}], claims: {user: u, organization: ~, roles: "
        "r, plans_by_role: {a: p}, permissions: s, permission_mode: grant}}}\n",
        "accounts": "version: 1\nplans: {p: {rate_limits: {l: {scope: user, limit: 5, window: 1s, "
        "override_max: 9}}}}\ndirectory: {path: /d, signing_keys: s, peppers: [{generation: 2, "
        "credential: c}, {generation: 1, file: f}]}\ntokens: {issuer: t, audience: a, "
        "access_lifetime: 1h, refresh_lifetime: 9d, refresh_idle_lifetime: 2d, refresh_grace: 5s, "
        "leeway: 0s, plan_source: directory_first}\nissuers: {i: {issuer: x, plan_source: "
        "directory, unknown_organizations: refuse, keys: [{algorithm: HS256, file: f}]}}\n"
        "daemon: {roles: {check: {users: [a, 1]}, issue: {groups: [b]}, admin: {users: [c], "
        "groups: [2]}}}\n",
    }
    for name, text in small.items():
        write("config", name, text.encode())


def routes():
    table = ("* /{rest...}\nGET /v1/files/{id}\nGET /v1/files/search\n"
             "POST /v1/{kind}/x/{r...}\nGET /")
    for index, path in enumerate([
        "/", "/v1/files/a", "/v1/files/search?q=1", "/v1/a/x/y/z", "/v1/files/%C3%A9", "/v1//x",
        "/v1/../x", "/%2e%2e/x", "/a%2fb", "/a;b", "/a%", "/x#y",
    ]):
        write("route", f"path-{index}", table.encode() + b"\0" + path.encode())
    write("route", "crossing", b"GET /{x}/b\nGET /a/{y}\0/a/b")


def others():
    for index, text in enumerate([
        '{"a":[1.5e3,{"b":"\\ud83d\\ude00\u00e9\\n"}],"kkkkkkkkkk":true,"n":null,"f":false}',
        '{"a":{"b":{"c":[[[]]]}},"\\u0061b":"","exp":1800000000.5,"aud":["x","\\/"]}',
        '{"abcdefgh":1,"abcdefgi":2,"abcdefgh1":3,"abcdefgh2":4}',
    ]):
        write("json", f"text-{index}", text.encode())
    for length in (0, 1, 2, 3, 4, 31, 32, 33, 48, 64, 200):
        text = base64.urlsafe_b64encode(bytes(range(3, 3 + length))).rstrip(b"=")
        write("base64url", f"bytes-{length}", text)
    for index, key in enumerate(["k1", "k2", "0123456789", "../key", "\u00e9", "k\\u0031", ""]):
        write("kid", f"kid-{index}", key.encode())


def secrets():
    """Keys and refresh tokens of the alphabet, with right check digits and with none."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for index, text in enumerate([
        "tg_live_" + "0123456789ABCDEF" + "abcdefghijklmnopqrstuvwxyz012345",
        "tg_t_" + "0" * 48, "tg_test12_" + "z" * 48, "tgr_" + "A" * 43, "tgr_" + "q1" * 21 + "0",
    ]):
        rest, check = zlib.crc32(text.encode()), ""
        for _ in range(6):
            rest, digit = divmod(rest, 62)
            check = digits[digit] + check
        write("apikey", f"good-{index}", (text + check).encode())
        write("apikey", f"bare-{index}", text.encode())


def calls():
    vectors = json.loads((ROOT / "Tests/Vectors/frames.json").read_text())["requests"]
    for vector in vectors:
        data = bytes.fromhex(vector["hex"])[16:]
        if vector["opcode"] == "CALL" and len(data) < 3_000:
            write("call", vector["name"], data)
    for index, text in enumerate([
        '{"call":"org.create","id":"acme","plan":"pro_tier","personal":false}',
        '{"call":"key.create","organization":"a","user":"b","permissions":["x"],"rate":'
        '{"limit":5,"window_seconds":60},"addresses":["10.0.0.0/8"],"expires_at":null}',
        '{"call":"directory.import","records":[{"type":"user","organization":"a","id":"b"}]}',
        '{"call":"key.edit","organization":"a","key":"0123456789ABCDEF","rate":null}',
        ' {"call":"log.list","after":"\\u0041","limit":1000}',
    ]):
        write("call", f"text-{index}", text.encode())


def audit_blocks(segment, version):
    """Blocks of u8 kind, u8 records, u16 bytes, the two wall clocks less that of the test's first
    decision, u32 each, and payload, as the harness seals them."""
    blocks, at = b"", 128
    while at < len(segment):
        length = int.from_bytes(segment[at + 8:at + 12], "little")
        kind, payload = segment[at + 4], segment[at + 72:at + 72 + length]
        if version > 1 and kind in (1, 4):
            payload = payload[(length + 1_027) // 1_028 * 4:]
        if kind == 4:
            payload = payload[:-36]
        blocks += bytes([kind - 1, segment[at + 12]])
        blocks += len(payload).to_bytes(2, "little")
        for place in (24, 32):
            wall = int.from_bytes(segment[at + place:at + place + 8], "little")
            blocks += (wall - 1_800_000_000_000).to_bytes(4, "little")
        blocks += payload
        at += 72 + length + 32
    return blocks


def audits():
    """Byte 0 and a segment; or its blocks."""
    for version, bit, end in ((1, 0, ""), (2, 128, "-v2")):
        segment = vector(f"audit-v{version}.hex")
        blocks = audit_blocks(segment, version)
        for name, mode in (("table", 0), ("json", 16), ("csv", 32), ("last", 48 | 64),
                           ("taken-up", 48 | 4), ("replayed", 48 | 8)):
            write("audit", f"segment-{name}{end}", bytes([mode | bit]) + segment)
            write("audit", f"blocks-{name}{end}", bytes([mode | bit | 1]) + blocks)
        head = b"TGAUHEAD" + bytes(1_016)
        write("audit", f"head{end}", bytes([48 | bit | 2 | 4]) + head + segment)


def ledgers():
    """Of a life with reservations and answers to idempotency ids, in version 2. A region: byte 0
    and it as it is; or an odd byte 0, which names the shard, and of each slot what the harness
    seals: kind, flags and payload. Rows as they are."""
    region = vector("kept-journal.hex")
    shard = int.from_bytes(region[10:12], "little")
    slots = [region[at + 8:at + 32] for at in range(64, len(region), 32)]
    write("journal", "kept-region", b"\0" + region)
    write("journal", "kept", bytes([shard * 2 + 1]) + b"".join(slots))
    # Names of rows and counters, and all that is said of one kind: idempotency, hold, settled (with
    # the hold that it ends).
    names = {2, 3}
    for kind, kinds in (("idempotency", {6}), ("hold", {12}), ("settled", {12, 13})):
        assert kinds <= {slot[0] for slot in slots}, f"kept-journal.hex has no {kind}"
        # Each item ends its transaction here: what it stood beside is left out.
        taken, chosen = b"", [slot for slot in slots if slot[0] in names | kinds]
        for slot, behind in zip(chosen, chosen[1:] + [bytes(24)]):
            ends = not behind[1] & 2
            taken += bytes([slot[0], slot[1] & 2 | ends]) + slot[2:]
        write("journal", f"kept-{kind}", bytes([shard * 2 + 1]) + taken)
    write("rows", "kept", vector("kept-rows.hex"))


def make():
    """What there is to be, by target and name."""
    SEEDS.clear()
    for some in (frames, reservations, tokens, policies, routes, secrets, calls, others, audits,
                 ledgers):
        some()
    return dict(SEEDS)


def found():
    return {(path.parent.name, path.name): path.read_bytes()
            for path in CORPUS.rglob("*") if path.is_file()}


def differences(made, there):
    """What of the corpus is not what the script makes, in words."""
    kept = {(target, name) for target, names in KEPT.items() for name in names}
    wrong = [f"{target}/{name} is not there"
             for target, name in (made.keys() | kept) - there.keys()]
    wrong += [f"{target}/{name} is made by nothing"
              for target, name in there.keys() - made.keys() - kept]
    wrong += [f"{target}/{name} is made otherwise"
              for (target, name), data in made.items() if there.get((target, name), data) != data]
    wrong += [f"{target}/{name} is kept, and made" for target, name in kept & made.keys()]
    return sorted(wrong)


if __name__ == "__main__":
    seeds = make()
    for target, name in found().keys() - seeds.keys():
        if name not in KEPT.get(target, []):
            (CORPUS / target / name).unlink()
    for (target, name), data in seeds.items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        (CORPUS / target / name).write_bytes(data)
    print(len(found()), "seeds")
