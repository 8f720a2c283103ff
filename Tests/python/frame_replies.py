"""Reply vectors: what a client reads, and what it must take for a malformed reply."""

import struct

import frame_documents as documents
import frame_layout as lay
from frame_layout import OPCODES, RESET_NEVER, RETRY_NEVER, extension

REASONS = {
    "pathNotCanonical": 1, "credentialMissing": 10, "credentialInvalid": 11,
    "credentialMalformed": 12, "algorithmNotAllowed": 13, "issuerUnknown": 14, "keyUnknown": 15,
    "signatureInvalid": 16, "tokenExpired": 17, "tokenNotYetValid": 18,
    "tokenLifetimeTooLong": 19, "audienceMismatch": 20, "claimInvalid": 21,
    "credentialRevoked": 22, "credentialKindUnsupported": 23, "addressNotAllowed": 24,
    "subscriptionInactive": 30, "planUnknown": 31, "operationUnknown": 40, "permissionDenied": 41,
    "invalidCredentialLimited": 50, "rateLimited": 51, "concurrencyExceeded": 60,
    "quotaExhausted": 70, "capacityExhausted": 80, "ledgerUnavailable": 81,
    "auditUnavailable": 82,
}
STATUSES = (
    "malformedFrame frameTooLarge unknownOpcode malformedBody unsupportedVersion "
    "unsupportedField forbidden unknownMeter unitsOutOfRange unknownPlan unknownOperation "
    "tooManyConnections unavailable policyInvalid internalError notFound alreadyExists "
    "invalidValue conflict storageFailed noDirectory busy refreshRefused").split()

RATE = {"name": "per_minute", "limit": 600, "remaining": 599, "reset_ms": 60_123}
QUOTA = {"name": "monthly_tokens", "limit": 50_000_000, "remaining": 49_987_654,
         "reset_ms": 1_209_600_000}
DECISION = {
    "allowed": True, "reason": "none", "reason_code": 0, "dry_run": False, "personal": False,
    "overage": False, "retry_after_ms": None, "rate_limit": None, "quota": None, "user": "ada",
    "organization": "acme", "plan": "pro_tier", "operation": "chat", "explanation": None,
    "cost_micros": None, "reservation": None, "decision_id": None, "would_deny": None,
    "extensions": [],
}
ENTRY = {
    "kind": "rateLimit", "scope": "user", "refuses": False, "name": "per_minute",
    "meter": "calls", "used": 1, "held": 0, "limit": 600, "remaining": 599, "reset_ms": 60_123,
    "length_ms": 60_000, "shadow": False,
}
MONTH = {
    **ENTRY, "kind": "quota", "scope": "organization", "refuses": True, "name": "monthly_tokens",
    "meter": "tokens", "used": 999, "held": 5, "limit": 1_000, "remaining": 1,
    "reset_ms": 1_209_600_000, "length_ms": 2_592_000_000,
}
TOTAL = {
    **MONTH, "scope": "credential", "refuses": False, "name": "trial", "reset_ms": RESET_NEVER,
    "length_ms": RESET_NEVER, "used": 2**64 - 1, "limit": 2**64 - 1, "remaining": 0,
}
ADDRESS = {**ENTRY, "scope": "address", "name": "address_per_second", "length_ms": 1_000}
HELLO = {
    "version": 1, "features": 0, "length_max": 65_536, "in_flight_max": 256,
    "policy_generation": 1, "daemon_version": "0.1.0", "extensions": [],
}


class Replies:
    def __init__(self):
        self.vectors = []

    def add(self, name, note, opcode, body, *, fields=None, status=0, malformed=False, **header):
        identity = 1_000 + len(self.vectors)
        code = OPCODES[opcode] | 0x80
        self.vectors.append({
            "name": name, "note": note, "opcode": opcode, "id": identity, "status": status,
            "fields": fields, "malformed": malformed,
            "hex": lay.frame(code, identity, body, status=status, **header).hex(),
        })

    def decision(self, name, note, opcode="CHECK", **changes):
        fields = {**DECISION, **changes}
        self.add(name, note, opcode, lay.decision(fields), fields=fields)

    def deny(self, name, note, reason, opcode="CHECK", **changes):
        self.decision(name, note, opcode, allowed=False, reason=reason, reason_code=REASONS[reason],
                      **changes)

    def bad(self, name, note, opcode, body, **header):
        self.add(f"malformed-{name}", note, opcode, body, malformed=True, **header)


def decisions(r):
    r.decision("allow", "no limit counts the operation")
    r.decision("allow-limits", "the tightest rate limit and the tightest quota, after the charge",
               rate_limit=RATE, quota=QUOTA)
    r.decision("allow-dry-run", "nothing was charged", dry_run=True, rate_limit=RATE)
    r.decision("allow-personal", "a lone user's own organization: pass the flag on", personal=True,
               organization="ada", plan="free_tier", quota=QUOTA)
    r.decision("allow-largest", "every number at its end", rate_limit={
        "name": "r" * 128, "limit": 2**64 - 1, "remaining": 2**64 - 1, "reset_ms": RESET_NEVER,
    }, quota={
        "name": "q" * 128, "limit": 2**64 - 1, "remaining": 0, "reset_ms": RESET_NEVER,
    }, user="u" * 128, organization="o" * 128, plan="p" * 128, operation="x" * 128)
    r.decision("allow-utf8", "identities are any text", user="Zoë 漢字 😀", organization="Åcme")
    r.decision("allow-explain", "every limit that was looked at", explanation=[
        ADDRESS, ENTRY, {**MONTH, "refuses": False}], rate_limit=RATE, quota=QUOTA)
    r.decision("allow-explain-none", "explained, and no limit counts the operation",
               explanation=[])
    r.decision("allow-extension", "a field of a later version, skipped",
               extensions=[extension(77, b"later")])
    r.decision("allow-explain-extension", "fields of later versions around explain",
               explanation=[TOTAL], extensions=[extension(2), extension(77, b"later")])
    unknown = {**DECISION, "rate_limit": RATE}
    r.add("allow-unknown-bits", "reserved bits and bytes of a reply are not looked at", "CHECK",
          lay.decision(unknown, flags=0xE2, reserved=0xFFFF), fields=unknown)
    r.deny("deny-rate-limited", "come again in 1.5 s", "rateLimited", retry_after_ms=1_500,
           rate_limit={**RATE, "remaining": 0})
    r.deny("deny-retry-never", "more units than the limit ever holds: no wait helps",
           "rateLimited", retry_after_ms=RETRY_NEVER, rate_limit=RATE)
    r.deny("deny-quota", "the quota of the month is gone", "quotaExhausted",
           retry_after_ms=1_209_600_000, rate_limit=RATE, quota={**QUOTA, "remaining": 0})
    r.deny("deny-reset-never", "a quota whose period never ends", "quotaExhausted",
           retry_after_ms=RETRY_NEVER,
           quota={"name": "trial", "limit": 10, "remaining": 0, "reset_ms": RESET_NEVER})
    r.deny("deny-explain", "the limit that refuses is marked", "quotaExhausted",
           retry_after_ms=1_209_600_000, explanation=[ENTRY, MONTH],
           quota={"name": "monthly_tokens", "limit": 1_000, "remaining": 1,
                  "reset_ms": 1_209_600_000})
    nobody = {"user": "", "organization": "", "plan": "", "operation": ""}
    for reason in REASONS:
        if reason not in ("rateLimited", "quotaExhausted"):
            r.deny(f"deny-{reason}", f"reason {REASONS[reason]}", reason,
                   **(nobody if REASONS[reason] < 30 else {}))
    r.decision("deny-later-reason", "a reason of a later version is a denial", allowed=False,
               reason=None, reason_code=999)
    r.decision("consumed", "the reply to CONSUME", "CONSUME", quota=QUOTA)
    r.decision("consumed-overage", "recorded past the limit", "CONSUME", overage=True,
               quota={**QUOTA, "remaining": 0}, explanation=[MONTH])


def others(r):
    r.add("hello-reply", "version 1 holds", "HELLO", lay.hello_reply(HELLO), fields=HELLO)
    later = {**HELLO, "policy_generation": 2**64 - 1, "length_max": 1_024,
             "daemon_version": "v" * 255, "extensions": [extension(3, b"x")]}
    r.add("hello-reply-later", "the largest generation, a long version, an extension field",
          "HELLO", lay.hello_reply(later), fields=later)
    for name, payload in (("ping-reply-empty", b""), ("ping-reply", b"ping")):
        r.add(name, "what was sent", "PING", payload, fields={"payload": payload.hex()})
    usages = [
        ("usage-reply-unknown", "nobody has heard of them, and no plan was named", "", []),
        ("usage-reply-no-limits", "a plan without limits", "enterprise_tier", []),
        ("usage-reply", "the limits of a plan", "pro_tier", [ENTRY, {**MONTH, "refuses": False}]),
        ("usage-reply-largest", "numbers at their end", "p" * 128, [TOTAL] * 3),
        ("usage-reply-open", "all of ten reservations are open: nothing is refused by looking",
         "pro_tier", [{**ENTRY, "kind": "concurrency", "name": "streams", "meter": "",
                       "used": 10, "limit": 10, "remaining": 0, "reset_ms": 0, "length_ms": 0}]),
    ]
    for name, note, plan, limits in usages:
        fields = {"plan": plan, "limits": limits, "extensions": []}
        r.add(name, note, "USAGE", lay.usage_reply(fields), fields=fields)
    fields = {"plan": "pro_tier", "limits": [ENTRY], "extensions": [extension(4, b"y")]}
    r.add("usage-reply-extension", "a field of a later version, skipped", "USAGE",
          lay.usage_reply(fields), fields=fields)
    numbers = [
        {"kind": "counter", "name": "tollgate_frames_total", "value": 12},
        {"kind": "counter", "value": 2**64 - 1,
         "name": 'tollgate_decisions_total{verdict="deny",reason="rateLimited"}'},
        {"kind": "gauge", "name": "tollgate_connections", "value": 0},
    ]
    for name, note, listed, more in (
        ("stats-reply", "counters and a gauge", numbers, []),
        ("stats-reply-empty", "no number", [], []),
        ("stats-reply-extension", "skipped", numbers[:1], [extension(5)]),
    ):
        fields = {"entries": listed, "extensions": more}
        r.add(name, note, "STATS", lay.stats_reply(fields), fields=fields)
    fields = {"policy_generation": 2, "extensions": []}
    r.add("reload-reply", "generation 2 is in force", "RELOAD", struct.pack("<Q", 2),
          fields=fields)
    r.add("shutdown-reply", "empty", "SHUTDOWN", b"", fields={"extensions": []})


def calls(r):
    def add(name, note, call, body, text=None):
        r.add(f"call-{name}", note, "CALL", lay.call(body) if text is None else text,
              fields={"call": call, "body": body})

    for name, call, body in documents.REPLIES:
        add(name, f"to {call}", call, body)
    user = {"user": documents.USER}
    add("escaped", "spaces between, escapes within, members in another order", "user.show", user,
        b' {\r\n\t"user" : { "name":"\\u0041d\\u0061", ' + lay.call(
            {k: v for k, v in documents.USER.items() if k != "name"})[1:] + b" }")
    text = {**documents.USER, "name": "\u007f\u2028 漢字 😀 \"\\/\n\t\u0001"}
    add("texts", "texts of any characters", "user.show", {"user": text})
    surrogates = lay.call({"user": {**documents.USER, "name": "?"}}).replace(
        b'"?"', b'"\\ud83d\\ude00"')
    add("surrogates", "a pair of them is one character", "user.show",
        {"user": {**documents.USER, "name": "😀"}}, surrogates)


def errors(r):
    texts = {3: "not an opcode of version 1", 18: "plan: there is none of that name",
             23: "log in again", 14: "policy.yaml:3:1: unknown key \"plan\""}
    opcodes = {5: "HELLO", 7: "STATS", 10: "USAGE", 11: "CONSUME", 14: "RELOAD",
               **dict.fromkeys(range(16, 24), "CALL")}
    for status, name in enumerate(STATUSES, 1):
        detail = texts.get(status, f"about {name}")
        r.add(f"error-{name}", f"status {status}", opcodes.get(status, "CHECK"), detail.encode(),
              status=status, fields={"status": name, "detail": detail})
    r.add("error-no-detail", "a detail may be empty", "CHECK", b"", status=4,
          fields={"status": "malformedBody", "detail": ""})
    r.add("error-longest-detail", "1,024 bytes", "CHECK", b"d" * 1_024, status=4,
          fields={"status": "malformedBody", "detail": "d" * 1_024})
    r.add("error-later-status", "a status of a later version", "CHECK", b"later", status=99,
          fields={"status": None, "detail": "later"})


def malformed(r):
    allow = lay.decision({**DECISION, "rate_limit": RATE})
    r.bad("short", "a decision of 63 bytes", "CHECK", allow[:63])
    r.bad("strings-beyond", "the strings run past the end", "CHECK", allow[:-1])
    for verdict in (0, 3, 255):
        r.bad(f"verdict-{verdict}", "neither allow nor deny", "CHECK",
              lay.decision(DECISION, verdict=verdict))
    r.bad("allow-with-reason", "verdict and reason contradict", "CHECK",
          lay.decision(DECISION, reason=51))
    r.bad("deny-without-reason", "verdict and reason contradict", "CHECK",
          lay.decision(DECISION, verdict=2))
    r.bad("not-utf8", "an identity that is no text", "CHECK", allow.replace(b"ada", b"a\xffa"))
    r.bad("extension-short", "3 bytes are no extension field", "CHECK", allow + b"\x09\0\0")
    r.bad("extension-beyond", "the value runs past the end", "CHECK",
          allow + struct.pack("<BBH", 9, 0, 2) + b"x")
    r.bad("extension-critical", "an unknown field that may not be skipped", "CHECK",
          allow + struct.pack("<BBH", 9, 1, 1) + b"x")

    def explained(value):
        return allow + struct.pack("<BBH", 1, 0, len(value)) + value

    one = lay.entries([ENTRY])
    r.bad("explain-short", "no room for the number of entries", "CHECK", explained(b"\1"))
    r.bad("explain-count", "65,535 entries in the room of one", "CHECK",
          explained(b"\xff\xff" + one[2:]))
    r.bad("explain-cut", "its last entry is cut short", "CHECK", explained(one[:-1]))
    r.bad("explain-tail", "bytes behind its last entry", "CHECK", explained(one + b"\0"))
    r.bad("explain-twice", "a known field comes twice", "CHECK", explained(one) + explained(one)[
        len(allow):])
    for key, value in (("kind", 0), ("kind", 4), ("scope", 0), ("scope", 5)):
        r.bad(f"entry-{key}-{value}", f"no such {key}", "CHECK",
              explained(struct.pack("<H", 1) + lay.entry(ENTRY, **{key: value})))
    hello = lay.hello_reply(HELLO)
    r.bad("hello-short", "31 bytes", "HELLO", hello[:31])
    r.bad("hello-version-beyond", "the version's text runs past the end", "HELLO", hello[:-1])
    for version in (0, 2):
        r.bad(f"hello-version-{version}", "a version that was not offered", "HELLO",
              lay.hello_reply({**HELLO, "version": version}))
    usage = lay.usage_reply({"plan": "p", "limits": [ENTRY], "extensions": []})
    r.bad("usage-short", "7 bytes", "USAGE", usage[:7])
    r.bad("usage-cut", "its last entry is cut short", "USAGE", usage[:-1])
    r.bad("usage-count", "more entries than there are", "USAGE", b"\xff\xff" + usage[2:])
    r.bad("usage-tail", "bytes behind it that are no extension field", "USAGE", usage + b"\0")
    stats = lay.stats_reply(
        {"entries": [{"kind": "gauge", "name": "g", "value": 1}], "extensions": []})
    r.bad("stats-short", "3 bytes", "STATS", stats[:3])
    r.bad("stats-cut", "its last name is cut short", "STATS", stats[:-1])
    r.bad("stats-count", "more entries than there are", "STATS", b"\xff\xff\xff\xff" + stats[4:])
    r.bad("stats-kind", "neither counter nor gauge", "STATS", stats[:4] + b"\3" + stats[5:])
    r.bad("stats-tail", "bytes behind it that are no extension field", "STATS", stats + b"\0")
    r.bad("reload-short", "7 bytes", "RELOAD", bytes(7))
    r.bad("reload-tail", "bytes behind it that are no extension field", "RELOAD", bytes(9))
    r.bad("shutdown-tail", "bytes behind it that are no extension field", "SHUTDOWN", b"\0")
    for length in (0, 11, 65_537, 2**32 - 1):
        r.bad(f"length-{length}", "a header that cannot be", "PING", b"ping", length=length)
    r.bad("opcode", "the reply to another opcode", "PING", b"ping")
    r.vectors[-1]["hex"] = lay.frame(0x90, r.vectors[-1]["id"], b"ping").hex()
    r.bad("opcode-of-a-request", "bit 7 of the opcode is not set", "PING", b"ping")
    r.vectors[-1]["hex"] = lay.frame(0x02, r.vectors[-1]["id"], b"ping").hex()


def malformed_calls(r):
    def bad(name, note, call, body):
        r.bad(f"call-{name}", note, "CALL", body if isinstance(body, bytes) else lay.call(body))
        r.vectors[-1]["fields"] = {"call": call}

    def user(**changes):
        return {"user": {**documents.USER, **changes}}

    good = lay.call(user())
    bad("empty", "no JSON", "user.show", b"")
    bad("cut", "JSON without its end", "user.show", good[:-1])
    bad("tail", "bytes behind the object", "user.show", good + b"{}")
    bad("array", "JSON, and no object", "user.show", [user()])
    bad("null", "JSON, and no object", "user.show", b"null")
    bad("not-utf8", "a text that is not UTF-8", "user.show", good.replace(b"Ada", b"A\xffa"))
    bad("mark", "a byte order mark", "user.show", b"\xef\xbb\xbf" + good)
    bad("surrogate", "half a pair of surrogates", "user.show",
        good.replace(b"Ada", b"\\ud83d"))
    bad("twice", "a member comes twice", "user.show", good[:-1] + b"," + good[1:])
    bad("twice-inside", "a member comes twice, once escaped", "user.show",
        good.replace(b'"id":"ada"', b'"id":"ada","\\u0069d":"ada"'))
    bad("deep", "17 levels", "user.show",
        good[:-1] + b',"later":' + b"[" * 16 + b"]" * 16 + b"}")
    bad("no-document", "the member that holds the document is missing", "user.show",
        {"organization": documents.ORGANIZATION})
    bad("null-document", "the document is null", "user.show", {"user": None})
    for name, value in (("null", None), ("number", 1), ("array", ["ada"])):
        bad(f"text-{name}", "a text is none", "user.show", user(name=value))
    for name, value in (("negative", -1), ("beyond", 2**53 + 1), ("text", "1"), ("flag", True)):
        bad(f"instant-{name}", "an instant is none", "user.show", user(created_at=value))
    bad("instant-fraction", "a number with a fraction", "user.show",
        good.replace(b"1767225600000", b"1767225600000.5"))
    bad("flag", "a flag is none", "org.show",
        {"organization": {**documents.ORGANIZATION, "personal": 0}})
    bad("missing", "a member of the document is missing", "user.show",
        {"user": {k: v for k, v in documents.USER.items() if k != "status"}})
    bad("items", "a list without its items", "user.list", {"next": None})
    bad("items-object", "items are no array", "user.list", {"items": {}, "next": None})
    bad("item", "an item is of another kind", "user.list",
        documents.page(documents.USER, documents.PLAN))
    bad("next", "the cursor is no text", "user.list", {"items": [], "next": 7})
    bad("inner", "a document inside of another is none", "org.show", {"organization": {
        **documents.ORGANIZATION, "subscription": {"plan": "pro_tier"}}})
    bad("texts", "a list of texts holds none", "key.show",
        {"key": {**documents.KEY, "permissions": [1]}})
    bad("secret", "a key without its secret", "key.create", {"key": documents.KEY})


def vectors():
    # Made with the words of this file.
    import frame_reservations as reservations

    replies = Replies()
    for part in (decisions, reservations.good_replies, others, calls, errors, malformed,
                 reservations.malformed_replies, malformed_calls):
        part(replies)
    return replies.vectors
