"""Replies to the directory's calls that are wrong in one thing: a malformed reply, always, and no
other failure."""

import json
import random

import directory_samples as samples
import pytest
from tollgate import Client, MalformedReply, json_bodies

CASES = samples.cases()
ANY = object()
# Units that are billed: exact, where other counts end at 2^53.
UNITS = object()
# The documents of the protocol. `name?`: null or absent. ANY: an object, given on as it is. A set:
# one of these words.
STANDING, MODE = {"active", "suspended"}, {"carry", "prorate", "reset"}
PENDING = {"plan": str, "mode": MODE, "at": int}
SUBSCRIPTION = {"plan": str, "anchor_at": int, "time_zone": str, "since_at": int,
                "status": {"trialing", "active", "past_due", "suspended", "canceled"},
                "pending?": PENDING}
ORGANIZATION = {"id": str, "name": str, "personal": bool, "status": STANDING,
                "created_at": int, "subscription?": SUBSCRIPTION}
USER = {"organization": str, "id": str, "name": str, "created_at": int, "status": STANDING,
        "role?": {"owner", "admin", "member"}}
KEY = {"organization": str, "id": str, "prefix": str, "user": str, "name": str,
       "environment": str, "creator": str, "created_at": int, "last_used_at?": int,
       "expires_at?": int, "revoked_at?": int, "rotating_until_at?": int,
       "state": {"active", "rotating", "expired", "revoked"},
       "permissions?": [str], "addresses?": [str],
       "rate?": {"limit": int, "window_seconds": int}, "pepper": int}
NEW_KEY = {"key": KEY, "secret": str}
SESSION = {"organization": str, "id": str, "user": str, "created_at": int, "expires_at": int,
           "idle_seconds": int, "revoked_at?": int, "reason?": {"asked", "reuse"}}
TOKENS = {"access_token": str, "token_type": str, "expires_in_seconds": int, "expires_at": int,
          "refresh_token": str, "session": SESSION}
OVERRIDE = {"organization": str, "user?": str, "limit": str, "units": int, "expires_at?": int}
REVOCATION = {"organization": str, "personal": bool, "subject": str, "at": int,
              "kind": {"token", "session", "user", "organization"}, "expires_at": int}
SIGNING_KEY = {"id": str, "algorithm": str, "added_at": int, "promoted_at?": int,
               "state": {"verifying", "signing", "retiring", "retired"},
               "demoted_at?": int, "retired_at?": int, "retirable_at?": int}
LIMIT = {"name": str, "kind": {"rate_limit", "quota"}, "scope": {"user", "organization"},
         "meter": str}
PLAN = {"name": str, "permissions": [str], "limits": [
    {**LIMIT, "limit": int, "window_milliseconds?": int,
     "period?": {"day", "week", "month", "billing_month", "total"}}]}
PREVIEW = {"from?": str, "to": str, "mode": MODE, "effective_at": int, "permissions_lost": [str],
           "permissions_gained": [str], "limits": [{**LIMIT, "before?": int, "after?": int}],
           "over": [{"user?": str, "limit": str, "meter": str, "used": int, "limit_after": int,
                     "until_at?": int}], "over_count": int}
LOG_ENTRY = {"number": int, "at": int, "uid": int, "pid": int, "organization?": str,
             "action": str, "subject": str, "before?": ANY, "after?": ANY}
STATUS = {"path": str, "organizations": int, "users": int, "keys": int, "sessions": int,
          "revocations": int, "peppers": [{"generation": int, "keys": int, "configured": bool}]}
SNAPSHOT = {"generation": int, "at": int, "bytes": int}
LEDGER = {
    "state": {"off", "serving", "refusing", "unjournaled"}, "durability?": {"second", "always"},
    "path?": str, "trouble?": str, "trouble_at?": int, "advice?": str, "snapshot?": SNAPSHOT,
    "clock_held": bool, **dict.fromkeys(
        ("life", "appended", "synced", "lag_milliseconds", "syncs", "sync_failures", "segments",
         "journal_bytes", "snapshots", "snapshot_failures", "closed_waiting", "reservations",
         "idempotency_records"), int)}
USAGE = {"organization": str, "personal": bool, "user?": str, "limit": str, "meter": str,
         "period": {"day", "week", "month", "billing_month", "total"}, "begins_on": str,
         "ends_at?": int, "used": UNITS, "open": bool, "share": bool, "credits": UNITS}
CREDIT = {"organization": str, "id": str, "quota": str, "meter": str, "units": int,
          "burnt?": int, "remaining?": int, "priority": int,
          "state?": {"active", "pending", "exhausted", "expired", "voided"}, "effective_at": int,
          "expires_at?": int, "note": str, "created_at": int, "voided_at?": int}
ABOUT = dict.fromkeys(
    ("organization?", "user?", "key?", "address?", "quota?", "operation?", "trouble?"), str)
ALERT = {
    "id": int, "rule": str, "severity": {"info", "warning", "critical"}, "at": int, "text": str,
    "kind": {
        "quota_threshold", "quota_exhausted_early", "quota_forecast", "invalid_credentials",
        "refresh_reuse", "key_networks", "sudden_rise", "costly_operation", "daemon_trouble",
        "test"},
    **ABOUT, "personal": bool, "threshold": int, "value": int, "limit": int,
    "period_ends_at?": int, "exhausted_at?": int, "shadow": bool, "silenced": bool,
    "acknowledged_at?": int, "acknowledged_by?": int, "note": str}
SILENCE = {"id": int, "rule?": str, **ABOUT, "personal?": bool, "at": int, "until_at": int,
           "uid": int, "note": str}
TOP = {
    "at": int, "since_at?": int, "sample_one_in": int, "missed_max": int,
    "busiest": [{"organization": str, "personal": bool, "recent": int, "recent_error": int,
                 "allowed": int, "denied": int}],
    "nearest": [{"organization": str, "personal": bool, "user?": str, "plan": str, "quota": str,
                 "meter": str, "period": USAGE["period"], "used": UNITS, "held": UNITS,
                 "limit": UNITS, "ends_at?": int, "share": bool, "shadow": bool}],
}
ONE = {
    "top": TOP,
    "alert": ALERT, "silence": SILENCE, "ledger": LEDGER, "snapshot": SNAPSHOT,
    "organization": ORGANIZATION, "user": USER, "key": KEY, "session": SESSION,
    "override": OVERRIDE, "credit": CREDIT, "revocation": REVOCATION,
    "signing_key": SIGNING_KEY, "plan": PLAN,
}
LISTED = {
    "alert": ALERT, "silence": SILENCE,
    "org": ORGANIZATION, "user": USER, "key": KEY, "session": SESSION, "override": OVERRIDE,
    "credit": CREDIT, "revoke": REVOCATION,
    "signing_key": SIGNING_KEY, "plan": PLAN, "log": LOG_ENTRY,
    "directory": ANY, "snapshot": SNAPSHOT, "usage": USAGE,
}
WHOLE = {
    "org.change_plan": {"organization": ORGANIZATION, "effective_at": int, "preview": PREVIEW},
    "key.create": NEW_KEY, "key.rotate": NEW_KEY, "token.issue": TOKENS,
    "token.refresh": {**TOKENS, "retried": bool},
    "session.revoke": {"session": SESSION, "revocation": REVOCATION},
    **dict.fromkeys(("revoke.token", "revoke.user", "revoke.organization"),
                    {"revocation": REVOCATION, "known": bool}),
    "backup.create": {"path": str, "bytes": int}, "directory.status": STATUS,
    "directory.import": {"created": int, "unchanged": int}, "usage.prune": {"pruned": int},
}
WRONG = [1.5, 2.0, 7, "x", "active", "user", True, -1, 2**53, 2**53 + 1, 2**63 - 1, 2**63,
         [], {}, [1], ["x"], {"id": 1}, None]


def shape(case):
    if case.result == "items":
        return {"items": [LISTED[case.call.split(".")[0]]], "next?": str}
    return {case.result: ONE[case.result]} if case.result else WHOLE[case.call]


def fits(form, value):
    """The model: whether a reply is in order."""
    if form is ANY:
        return isinstance(value, dict)
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(form[0], one) for one in value)
    if isinstance(form, dict):
        return isinstance(value, dict) and all(
            name[-1] == "?" and value.get(name[:-1]) is None
            or fits(inner, value.get(name.removesuffix("?"))) for name, inner in form.items())
    if isinstance(form, set):
        return isinstance(value, str) and value in form
    if form is int:
        return type(value) is int and 0 <= value <= 2**53
    if form is UNITS:
        return type(value) is int and 0 <= value < 2**63
    return type(value) is form


def places(form, value, path=()):
    """Every member and item that the form describes, at any depth."""
    if isinstance(form, list) and isinstance(value, list):
        for index, one in enumerate(value):
            yield (*path, index)
            yield from places(form[0], one, (*path, index))
    if isinstance(form, dict) and isinstance(value, dict):
        for name, inner in form.items():
            key = name.removesuffix("?")
            yield (*path, key)
            yield from places(inner, value.get(key), (*path, key))


def changed(document, path, value):
    copy = json.loads(json.dumps(document))
    place = copy
    for key in path[:-1]:
        place = place[key]
    if value is not ...:
        place[path[-1]] = value
    elif path[-1] in place or isinstance(place, list):
        del place[path[-1]]
    return copy


def reading(case):
    """What the client makes of a reply's bytes."""
    class Reader(Client):
        def _call(self, request):
            return request.answer(self.body)

    client = Reader("/nowhere")

    def read(body):
        client.body = body
        made = case.make(client)
        return made.page() if case.result == "items" else made

    return read


EACH = pytest.mark.parametrize("case", CASES, ids=repr)


@EACH
def test_a_reply_is_read_exactly_where_it_is_in_order(case):
    read, form = reading(case), shape(case)
    assert fits(form, case.reply)
    refused = 0
    for path in places(form, case.reply):
        for value in [*WRONG, ...]:
            reply = changed(case.reply, path, value)
            try:
                read(json.dumps(reply).encode())
                taken = True
            except MalformedReply:
                taken = False
            if path[-1] == "retried" and value in (None, ...):
                continue  # absent from the reply to token.issue, which has the same type
            assert taken == fits(form, reply), (path, value)
            refused += not taken
    assert refused >= 8


NOT_STRICT = {
    "nothing": b"", "not JSON": b"{", "a list": b"[]", "a text": b'"x"', "null": b"null",
    "two objects": b"{}{}", "a byte behind": b"{}\0", "a comment": b"{}//",
    "not UTF-8": b'{"a":"\xff"}', "a mark before": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "twins": b'{"a":1,"a":1}', "twins, one of them escaped": b'{"a":1,"\\u0061":1}',
    "twins further in": b'{"a":[{"b":1,"b":2}]}', "NaN": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}', "a lone surrogate": b'{"a":"\\ud800"}',
    "a lone surrogate as a name": b'{"\\udc00":1}', "a tail": b'{"a":1,}', "hex": b'{"a":0x1}',
    "a control character": b'{"a":"\n"}', "depth 17": b'{"a":' + b"[" * 16 + b"]" * 16 + b"}",
    "depth beyond any stack": b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "a fraction": b'{"a":1.0}', "an exponent": b'{"a":1e3}',
    "beyond 64 bits": b'{"a":9223372036854775808}', "129 members": json.dumps(
        dict.fromkeys(map(str, range(129)))).encode(),
    "a number beyond any": b'{"a":' + b"9" * 60_000 + b"}",
}


@pytest.mark.parametrize("what", NOT_STRICT)
def test_json_that_is_not_one_strict_object_is_malformed(what):
    with pytest.raises(MalformedReply):
        json_bodies.document(NOT_STRICT[what])


def test_json_that_is_strict_is_read():
    deep = b' {"a" : ' + b"[" * 15 + b"]" * 15 + b"}\n"
    assert list(json_bodies.document(deep)) == ["a"]
    text = '{"é":"\\ud83d\\ude00","n":[-9223372036854775807,9223372036854775807]}'
    assert json_bodies.document(text.encode()) == {"é": "😀", "n": [1 - 2**63, 2**63 - 1]}
    many = json.dumps(dict.fromkeys(map(str, range(128)))).encode()
    assert len(json_bodies.document(many)) == 128


@EACH
def test_cut_flipped_and_random_replies_are_malformed_and_nothing_else(case):
    seed = random.randrange(2**32)
    print("seed", seed)
    source = random.Random(seed)
    read, body = reading(case), json.dumps(case.reply, ensure_ascii=False).encode()
    bodies = [body[:length] for length in range(len(body))]
    for _ in range(1_000):
        bad = bytearray(body)
        for _ in range(source.randrange(1, 4)):
            bad[source.randrange(len(bad))] = source.choice((
                source.randrange(256), *b'{}[],:"0n'))
        bodies += [bytes(bad)]
    for bad in bodies:
        try:
            read(bad)
        except MalformedReply:
            continue
        assert bad not in bodies[:len(body)]
