"""The calls of CALL as Protocol.md lists them, and what it lets a daemon without a directory and
a ledger answer to any body. Written from the document alone."""

import json

COUNT_MAX = 2**53
OK, BODY, FORBIDDEN, VALUE, CONFLICT, DIRECTORY = 0, 4, 7, 18, 19, 21
# Marks behind a member: `?` may be left out, `~` null is a value of its own. `@`: after? limit?
CALLS = {
    "org.create": "id name? personal? plan? time_zone? anchor_at? subscription_status?",
    "org.list": "@", "org.show": "organization", "org.rename": "organization name",
    "org.suspend": "organization", "org.resume": "organization", "org.delete": "organization",
    "org.change_plan": "organization plan mode? when? preview?",
    "org.cancel_plan_change": "organization",
    "org.set_subscription": "organization status? time_zone? anchor_at?",
    "user.create": "organization id name? role?~", "user.list": "organization @",
    "user.show": "organization user", "user.rename": "organization user name",
    "user.set_role": "organization user role~", "user.suspend": "organization user",
    "user.resume": "organization user", "user.delete": "organization user",
    "key.create": "organization user name? environment? permissions? addresses? rate? expires_at?"
                  " creator?",
    "key.list": "organization user? @", "key.show": "organization key",
    "key.rotate": "organization key overlap_seconds?",
    "key.edit": "organization key name? permissions?~ addresses?~ rate?~ expires_at?~",
    "key.revoke": "organization key",
    "token.issue": "organization user permissions?", "token.refresh": "refresh_token",
    "session.end": "refresh_token", "session.list": "organization user @",
    "session.show": "organization session", "session.revoke": "organization session",
    "revoke.token": "organization personal? jti expires_at?",
    "revoke.user": "organization personal? user", "revoke.organization": "organization personal?",
    "revoke.list": "organization personal? kind? @",
    "override.set": "organization user? limit units expires_at?",
    "override.remove": "organization user? limit", "override.list": "organization @",
    "credit.grant": "organization quota units priority? effective_at? expires_at? id? note?",
    "credit.void": "organization id", "credit.list": "organization @",
    "signing_key.add": "id?", "signing_key.promote": "id", "signing_key.retire": "id",
    "signing_key.list": "@", "plan.list": "@", "plan.show": "plan", "log.list": "organization? @",
    "backup.create": "path", "directory.status": "", "directory.export": "@",
    "directory.import": "records",
    "ledger.status": "", "snapshot.create": "", "snapshot.list": "@",
    "usage.closed": "period organization? open? @", "usage.prune": "period not_exported?",
    "alert.list": "rule? organization? @", "alert.ack": "id note?", "alert.test": "rule?",
    "silence.create": "rule? organization? personal? user? key? address? quota? operation? trouble?"
                      " until_at? for_seconds? note?",
    "silence.list": "@", "silence.remove": "id",
    "top.show": "limit?",
}
# Without a ledger all but the first are refused as conflicts; none needs a directory.
LEDGER = ("ledger.status", "snapshot.create", "snapshot.list", "usage.closed", "usage.prune")
# Without alerts they are all refused as conflicts; none needs a directory.
ALERTS = ("alert.list", "alert.ack", "alert.test", "silence.create", "silence.list",
          "silence.remove")
ISSUE = ("token.issue", "token.refresh", "session.end")
# Answered by every daemon.
WATCH = ("top.show",)
WORDS = {
    "role": "owner admin member", "status": "trialing active past_due suspended canceled",
    "subscription_status": "trialing active past_due suspended canceled",
    "mode": "carry prorate reset", "when": "now period_end",
    "kind": "token session user organization",
}
# Documents of an import, by their `type`: texts, then other members.
RECORDS = {
    "organization": ("id name", {"personal": bool, "status": "active suspended",
                                 "created_at": int, "subscription": None}),
    "user": ("organization id name", {"role": None, "status": "active suspended",
                                      "created_at": int}),
    "revocation": ("organization subject", {"personal": bool, "kind": WORDS["kind"], "at": int,
                                            "expires_at": int}),
    "override": ("organization limit", {"units": int, "user": None, "expires_at": None}),
    "grant": ("organization id quota meter note", {
        "units": int, "burnt": None, "remaining": None, "priority": int, "state": None,
        "effective_at": int, "expires_at": None, "created_at": int, "voided_at": None}),
}


def members(call):
    """Each member as it is listed, `@` written out."""
    return CALLS[call].replace("@", "after? limit?").split()


def catalogue():
    def role(call):
        return "issue" if call in ISSUE else "watch" if call in WATCH else "admin"
    return [{"call": call, "role": role(call),
             "members": members(call)} for call in CALLS]


class Refused(Exception):
    """With the status of the refusal."""


def statuses(body, admin):
    """One status for each order in which faults may be looked for."""
    try:
        document = strict(body)
    except (ValueError, RecursionError):
        return {BODY} if admin else {BODY, FORBIDDEN}
    if not isinstance(document, dict):
        return {BODY} if admin else {BODY, FORBIDDEN}
    call = document.pop("call", None)
    if not isinstance(call, str) or call not in CALLS:
        return {VALUE} if admin else {VALUE, FORBIDDEN}
    if not admin and call not in ISSUE:
        return {FORBIDDEN}
    found = without_either(call) if in_order(call, document) else VALUE
    return {found} if admin else {found, FORBIDDEN}


def without_either(call):
    """What a daemon answers that has neither a directory nor a ledger, nor alerts."""
    if call in WATCH:
        return OK
    if call in ALERTS:
        return CONFLICT
    return (OK if call == LEDGER[0] else CONFLICT) if call in LEDGER else DIRECTORY


def strict(body):
    """RFC 8259 with whole numbers of 64 bits, no name twice, 16 deep, 128 members an object."""
    document = json.loads(body.decode(), object_pairs_hook=_object, parse_float=_refuse,
                          parse_int=_integer, parse_constant=_refuse)
    # Lone surrogates, which JSON can spell and UTF-8 cannot.
    json.dumps(document, ensure_ascii=False).encode()
    if _depth(document) > 16:
        raise ValueError("too deep")
    return document


def _object(pairs):
    if len(dict(pairs)) < len(pairs) or len(pairs) > 128:
        raise ValueError("names")
    return dict(pairs)


def _refuse(text):
    raise ValueError(text)


def _integer(text):
    number = int(text) if len(text) <= 20 else 2**64
    if not -2**63 <= number < 2**63:
        raise ValueError(text)
    return number


def _depth(value):
    if not isinstance(value, (dict, list)):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, inner), default=0)


def in_order(call, document):
    """Whether the members are known, there, and of their types."""
    known = {name.rstrip("?~"): name for name in members(call)}
    if any("?" not in mark and name not in document for name, mark in known.items()):
        return False
    for name, value in document.items():
        if name not in known:
            return False
        if value is None and known[name][-1] in "?~":
            continue
        if not fits(call, name, value):
            return False
    return True


def fits(call, name, value):
    if name in WORDS:
        return isinstance(value, str) and value in WORDS[name].split()
    if name in ("personal", "preview", "open", "not_exported"):
        return isinstance(value, bool)
    if call in WATCH:
        return count(value) and 1 <= value <= 100
    if name == "limit" and not call.startswith("override."):
        return count(value) and 1 <= value <= 1_000
    if name == "overlap_seconds":
        return count(value) and value <= 2_592_000
    if name == "units" and call.startswith("credit."):
        return count(value) and 1 <= value <= 2**40
    if name == "priority":
        return count(value) and value <= 255
    if call in ALERTS and name in ("id", "for_seconds"):
        return count(value) and 1 <= value <= (2**53 if name == "id" else 366 * 86_400)
    if call in ALERTS and name == "note":
        return text(value, 256)
    if call.startswith("credit.") and name in ("id", "note"):
        return text(value, 40 if name == "id" else 256)
    if name == "units" or name.endswith("_at"):
        return count(value)
    if name in ("permissions", "addresses"):
        return isinstance(value, list) and len(value) <= 64 and all(
            map(text, value)) and len(set(value)) == len(value)
    if name == "rate":
        return isinstance(value, dict) and set(value) == {"limit", "window_seconds"} and all(
            map(count, value.values())) and value["limit"] > 0 and value["window_seconds"] in (
            1, 60, 3_600, 86_400)
    if name == "records":
        return isinstance(value, list) and len(value) <= 1_000 and all(map(record, value))
    if name == "refresh_token":
        return isinstance(value, str)
    return text(value, {"after": 1_024, "path": 4_095, "period": 10}.get(name, 128))


def count(value):
    return type(value) is int and 0 <= value <= COUNT_MAX


def text(value, bytes_max=128):
    return isinstance(value, str) and 1 <= len(value.encode()) <= bytes_max and not any(
        ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in value)


def record(value):
    """Only the kinds of records that the vectors use, without what may be null."""
    if not isinstance(value, dict) or value.get("type") not in RECORDS:
        return False
    texts, others = RECORDS[value["type"]]
    if set(value) - {"type", *texts.split(), *others}:
        return False
    return all(isinstance(value.get(name), str) for name in texts.split()) and all(
        value.get(name) is None if kind is None else
        type(value.get(name)) is bool if kind is bool else
        count(value.get(name)) if kind is int else value.get(name) in kind.split()
        for name, kind in others.items())
