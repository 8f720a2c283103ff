"""Calls of the directory as the document of the protocol has them: how each is made with the
Python client, the JSON that goes out, a reply, and what comes of it. Nothing here is taken from
what the client sends."""

import asyncio
import json
import struct
from datetime import datetime, timedelta, timezone

import frame_layout
from scripted_daemon import request_id
from tollgate import KeyRate

CALL = 0x50
NOW, LATER = 1_767_225_600_000, 1_769_904_000_000
PENDING = {"plan": "free_tier", "mode": "carry", "at": LATER}
SUBSCRIPTION = {
    "plan": "pro_tier", "status": "active", "anchor_at": NOW, "time_zone": "Europe/Zurich",
    "since_at": NOW, "pending": PENDING,
}
ORGANIZATION = {
    "id": "acme", "name": "Åcme", "personal": False, "status": "active", "created_at": NOW,
    "subscription": SUBSCRIPTION,
}
LONE = {**ORGANIZATION, "id": "zoë", "personal": True, "status": "suspended", "subscription": None}
USER = {
    "organization": "acme", "id": "ada", "name": "Ada", "role": "owner", "status": "active",
    "created_at": NOW,
}
KEY = {
    "organization": "acme", "id": "k3", "prefix": "tg_live_k3", "user": "ada", "name": "key",
    "environment": "live", "creator": "uid 0", "created_at": NOW, "last_used_at": NOW + 1,
    "expires_at": LATER, "revoked_at": NOW + 2, "state": "revoked", "rotating_until_at": NOW + 3,
    "permissions": ["can_use_gpt4o"], "addresses": ["192.0.2.0/24", "2001:db8::/32"],
    "rate": {"limit": 10, "window_seconds": 60}, "pepper": 1,
}
NULLS = ("last_used_at", "expires_at", "revoked_at", "rotating_until_at", "permissions",
         "addresses", "rate")
BARE_KEY = {**KEY, **dict.fromkeys(NULLS), "state": "active"}
SESSION = {
    "organization": "acme", "id": "s1", "user": "ada", "created_at": NOW, "expires_at": LATER,
    "idle_seconds": 1_209_600, "revoked_at": NOW + 1, "reason": "asked",
}
TOKENS = {
    "access_token": "eyJ-the-access-token", "token_type": "Bearer", "expires_in_seconds": 600,
    "expires_at": NOW + 600_000, "refresh_token": "tgr_the-refresh-token",
    "session": {**SESSION, "revoked_at": None, "reason": None},
}
OVERRIDE = {
    "organization": "acme", "user": "ada", "limit": "burst", "units": 2**53,
    "expires_at": LATER,
}
CREDIT = {
    "organization": "acme", "id": "one", "quota": "tokens", "meter": "tokens", "units": 9,
    "burnt": 4, "remaining": 5, "priority": 100, "state": "active", "effective_at": NOW,
    "expires_at": LATER, "note": "", "created_at": NOW, "voided_at": None,
}
REVOCATION = {
    "organization": "acme", "personal": False, "kind": "user", "subject": "ada", "at": NOW,
    "expires_at": LATER,
}
SIGNING_KEY = {
    "id": "2026-1", "algorithm": "HS256", "state": "retired", "added_at": NOW,
    "promoted_at": NOW + 1, "demoted_at": NOW + 2, "retired_at": NOW + 4,
    "retirable_at": NOW + 3,
}
PLAN = {
    "name": "pro_tier", "permissions": ["can_use_gpt4o", "can_access_batch_api"], "limits": [
        {"name": "burst", "kind": "rate_limit", "scope": "user", "meter": "calls", "limit": 5,
         "window_milliseconds": 1_000, "period": None},
        {"name": "monthly_tokens", "kind": "quota", "scope": "organization", "meter": "tokens",
         "limit": 1_000, "window_milliseconds": None, "period": "month"},
    ],
}
CHANGE = {
    "organization": ORGANIZATION, "effective_at": LATER, "preview": {
        "from": "pro_tier", "to": "free_tier", "mode": "carry", "effective_at": LATER,
        "permissions_lost": ["can_use_gpt4o"], "permissions_gained": [], "limits": [
            {"name": "burst", "kind": "rate_limit", "scope": "user", "meter": "calls",
             "before": 5, "after": 1},
        ], "over": [
            {"user": "ada", "limit": "monthly_tokens", "meter": "tokens", "used": 700,
             "limit_after": 100, "until_at": LATER},
        ], "over_count": 3,
    },
}
LOG_ENTRY = {
    "number": 7, "at": NOW, "uid": 0, "pid": 4_711, "organization": "acme",
    "action": "user.rename", "subject": "ada", "before": {"name": "Ada"}, "after": {"name": "A"},
}
STATUS = {
    "path": "/var/lib/tollgate", "organizations": 1, "users": 2, "keys": 3, "sessions": 4,
    "revocations": 5, "peppers": [{"generation": 1, "keys": 3, "configured": True}],
}
SNAPSHOT = {"generation": 7, "at": NOW, "bytes": 4_096}
LEDGER = {
    "state": "serving", "durability": "always", "path": "/ledger", "life": 1, "trouble": None,
    "trouble_at": None, "advice": None, "appended": 9, "synced": 8, "lag_milliseconds": 7,
    "syncs": 6, "sync_failures": 5, "segments": 4, "journal_bytes": 3, "snapshots": 2,
    "snapshot_failures": 1, "snapshot": SNAPSHOT, "closed_waiting": 0, "reservations": 1,
    "idempotency_records": 2, "clock_held": False,
}
RECORDS = [
    {"type": "organization", "id": "acme", "any": [{"thing": None}]}, {"type": "user", "id": "a"}]


class Case:
    """`make` asks a client; `sent` goes out beside the call's name, `reply` comes back, and
    `result` is where in the reply the answer stands ("" for all of it)."""

    def __init__(self, call, make, sent, reply, result=""):
        self.call, self.make, self.sent = call, make, sent
        self.reply, self.result = reply, result

    def __repr__(self):
        return self.call


def _listed(call, make, sent, *items):
    return Case(call, make, sent, {"items": list(items), "next": None}, "items")


def _about(call, name, document, make, /, **sent):
    return Case(call, make, sent, {name: document}, name)


def _organizations():
    def one(call, make, document=ORGANIZATION, /, **sent):
        return _about(f"org.{call}", "organization", document, make, **sent)

    acme = {"organization": "acme"}
    return [
        one("create", lambda c: c.organizations.create("acme"), id="acme"),
        one("create", lambda c: c.organizations.create(
            "zoë", name="Zoë", personal=True, plan="p", time_zone="Asia/Tokyo", anchor_at=NOW,
            subscription_status="trialing"), LONE, id="zoë", name="Zoë", personal=True, plan="p",
            time_zone="Asia/Tokyo", anchor_at=NOW, subscription_status="trialing"),
        _listed("org.list", lambda c: c.organizations.list(), {}, ORGANIZATION, LONE),
        one("show", lambda c: c.organizations.show("acme"), **acme),
        one("rename", lambda c: c.organizations.rename("acme", "Å"), **acme, name="Å"),
        one("suspend", lambda c: c.organizations.suspend("acme"), **acme),
        one("resume", lambda c: c.organizations.resume("acme"), **acme),
        _about("org.delete", "revocation", REVOCATION, lambda c: c.organizations.delete("acme"),
               **acme),
        Case("org.change_plan", lambda c: c.organizations.change_plan("acme", "free_tier"),
             {**acme, "plan": "free_tier"}, CHANGE),
        Case("org.change_plan", lambda c: c.organizations.change_plan(
            "acme", "free_tier", mode="reset", when="period_end", preview=True),
            {**acme, "plan": "free_tier", "mode": "reset", "when": "period_end", "preview": True},
            CHANGE),
        one("cancel_plan_change", lambda c: c.organizations.cancel_plan_change("acme"), **acme),
        one("set_subscription", lambda c: c.organizations.set_subscription(
            "acme", status="past_due", time_zone="UTC", anchor_at=NOW), **acme,
            status="past_due", time_zone="UTC", anchor_at=NOW),
    ]


def _users():
    def one(call, make, /, **sent):
        return _about(f"user.{call}", "user", USER, make, organization="acme", **sent)

    return [
        one("create", lambda c: c.users.create("acme", "ada"), id="ada", role="member"),
        one("create", lambda c: c.users.create("acme", "ada", name="Ada", role=None),
            id="ada", name="Ada", role=None),
        _listed("user.list", lambda c: c.users.list("acme"), {"organization": "acme"}, USER,
                {**USER, "role": None}),
        one("show", lambda c: c.users.show("acme", "ada"), user="ada"),
        one("rename", lambda c: c.users.rename("acme", "ada", "A"), user="ada", name="A"),
        one("set_role", lambda c: c.users.set_role("acme", "ada", "owner"), user="ada",
            role="owner"),
        one("set_role", lambda c: c.users.set_role("acme", "ada", None), user="ada", role=None),
        one("suspend", lambda c: c.users.suspend("acme", "ada"), user="ada"),
        one("resume", lambda c: c.users.resume("acme", "ada"), user="ada"),
        _about("user.delete", "revocation", REVOCATION, lambda c: c.users.delete("acme", "ada"),
               organization="acme", user="ada"),
    ]


def _keys():
    acme = {"organization": "acme"}
    both = {**acme, "key": "k3"}
    new = {"key": KEY, "secret": "tg_live_the-secret"}
    narrow = {
        "permissions": ["a", "b"], "addresses": ["192.0.2.0/24"],
        "rate": {"limit": 10, "window_seconds": 60}, "expires_at": NOW}
    given = {
        **narrow, "permissions": ("a", "b"), "rate": KeyRate(10, 60),
        "expires_at": datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))}

    def edited(make, /, **sent):
        return _about("key.edit", "key", BARE_KEY, make, **both, **sent)

    return [
        Case("key.create", lambda c: c.keys.create("acme", "ada"), {**acme, "user": "ada"}, new),
        Case("key.create", lambda c: c.keys.create(
            "acme", "ada", name="ci", environment="test", creator="ada", **given),
            {**acme, "user": "ada", "name": "ci", "environment": "test", "creator": "ada",
             **narrow}, new),
        _listed("key.list", lambda c: c.keys.list("acme"), acme, KEY, BARE_KEY),
        _listed("key.list", lambda c: c.keys.list("acme", "ada"), {**acme, "user": "ada"}),
        _about("key.show", "key", KEY, lambda c: c.keys.show("acme", "k3"), **both),
        Case("key.rotate", lambda c: c.keys.rotate("acme", "k3"), both, new),
        Case("key.rotate", lambda c: c.keys.rotate("acme", "k3", overlap_seconds=0),
             {**both, "overlap_seconds": 0}, new),
        edited(lambda c: c.keys.edit("acme", "k3", name="n"), name="n"),
        edited(lambda c: c.keys.edit("acme", "k3", **given), **narrow),
        edited(lambda c: c.keys.edit(
            "acme", "k3", permissions=None, addresses=None, rate=None, expires_at=None),
            permissions=None, addresses=None, rate=None, expires_at=None),
        edited(lambda c: c.keys.edit("acme", "k3", permissions=[]), permissions=[]),
        _about("key.revoke", "key", KEY, lambda c: c.keys.revoke("acme", "k3"), **both),
    ]


def _logins():
    acme = {"organization": "acme"}
    return [
        Case("token.issue", lambda c: c.tokens.issue("acme", "ada"), {**acme, "user": "ada"},
             TOKENS),
        Case("token.issue", lambda c: c.tokens.issue("acme", "ada", permissions=["a"]),
             {**acme, "user": "ada", "permissions": ["a"]}, TOKENS),
        Case("token.refresh", lambda c: c.tokens.refresh("tgr_r" * 60),
             {"refresh_token": "tgr_r" * 60}, {**TOKENS, "retried": True}),
        _about("session.end", "session", SESSION, lambda c: c.sessions.end("tgr_r"),
               refresh_token="tgr_r"),
        _listed("session.list", lambda c: c.sessions.list("acme", "ada"),
                {**acme, "user": "ada"}, SESSION, TOKENS["session"]),
        _about("session.show", "session", SESSION, lambda c: c.sessions.show("acme", "s1"),
               **acme, session="s1"),
        Case("session.revoke", lambda c: c.sessions.revoke("acme", "s1"),
             {**acme, "session": "s1"}, {"session": SESSION, "revocation": REVOCATION}),
        Case("revoke.token", lambda c: c.revoke.token("acme", "j"), {**acme, "jti": "j"},
             {"revocation": REVOCATION, "known": False}),
        Case("revoke.token", lambda c: c.revoke.token("a", "j", personal=True, expires_at=NOW),
             {"organization": "a", "personal": True, "jti": "j", "expires_at": NOW},
             {"revocation": {**REVOCATION, "personal": True}, "known": False}),
        Case("revoke.user", lambda c: c.revoke.user("acme", "ada"), {**acme, "user": "ada"},
             {"revocation": REVOCATION, "known": True}),
        Case("revoke.organization", lambda c: c.revoke.organization("acme"), acme,
             {"revocation": REVOCATION, "known": True}),
        _listed("revoke.list", lambda c: c.revoke.list("acme", personal=True, kind="token"),
                {**acme, "personal": True, "kind": "token"}, REVOCATION),
        _listed("revoke.list", lambda c: c.revoke.list("acme", personal=False),
                {**acme, "personal": False}),
        _listed("revoke.list", lambda c: c.revoke.list("acme"), acme),
    ]


def _the_rest():
    acme = {"organization": "acme"}
    return [
        _about("override.set", "override", OVERRIDE, lambda c: c.overrides.set(
            "acme", "burst", 2**53, user="ada", expires_at=LATER), **OVERRIDE),
        _about("override.set", "override", {**OVERRIDE, "user": None, "expires_at": None},
               lambda c: c.overrides.set("acme", "burst", 0), **acme, limit="burst", units=0),
        _about("override.remove", "override", OVERRIDE, lambda c: c.overrides.remove(
            "acme", "burst", user="ada"), **acme, user="ada", limit="burst"),
        _listed("override.list", lambda c: c.overrides.list("acme"), acme, OVERRIDE),
        _about("credit.grant", "credit", CREDIT, lambda c: c.credits.grant(
            "acme", "tokens", 9, priority=100, effective_at=NOW, expires_at=LATER, id="one",
            note="n"), **acme, quota="tokens", units=9, priority=100, effective_at=NOW,
            expires_at=LATER, id="one", note="n"),
        _about("credit.void", "credit", CREDIT, lambda c: c.credits.void("acme", "one"),
               **acme, id="one"),
        _listed("credit.list", lambda c: c.credits.list("acme"), acme, CREDIT),
        _about("signing_key.add", "signing_key", SIGNING_KEY, lambda c: c.signing_keys.add()),
        _about("signing_key.add", "signing_key", {
            **SIGNING_KEY, "promoted_at": None, "demoted_at": None, "retired_at": None,
            "retirable_at": None}, lambda c: c.signing_keys.add("s"), id="s"),
        _about("signing_key.promote", "signing_key", SIGNING_KEY,
               lambda c: c.signing_keys.promote("s"), id="s"),
        _about("signing_key.retire", "signing_key", SIGNING_KEY,
               lambda c: c.signing_keys.retire("s"), id="s"),
        _listed("signing_key.list", lambda c: c.signing_keys.list(), {}, SIGNING_KEY),
        _listed("plan.list", lambda c: c.plans.list(), {}, PLAN),
        _about("plan.show", "plan", PLAN, lambda c: c.plans.show("pro_tier"), plan="pro_tier"),
        _listed("log.list", lambda c: c.log.list(), {}, LOG_ENTRY),
        _listed("log.list", lambda c: c.log.list("acme"), acme,
                {**LOG_ENTRY, "organization": None, "before": None, "after": None}),
        Case("backup.create", lambda c: c.backups.create("/b/" + "x" * 200),
             {"path": "/b/" + "x" * 200}, {"path": "/b/x", "bytes": 4_096}),
        Case("directory.status", lambda c: c.directory.status(), {}, STATUS),
        _listed("directory.export", lambda c: c.directory.export_records(), {}, *RECORDS),
        Case("directory.import", lambda c: c.directory.import_records(tuple(RECORDS)),
             {"records": RECORDS}, {"created": 1, "unchanged": 1}),
        *_of_the_ledger(), *_of_alerts(), *_of_watching(),
    ]


def _of_the_ledger():
    month = {"period": "2026-10"}
    usage = {"organization": "acme", "personal": False, "user": None, "limit": "tokens",
             "meter": "tokens", "period": "total", "begins_on": "1970-01-01", "ends_at": None,
             "used": 2**53, "open": True, "share": False, "credits": 0}
    return [
        _about("ledger.status", "ledger", LEDGER, lambda c: c.ledger.status()),
        _about("snapshot.create", "snapshot", SNAPSHOT, lambda c: c.snapshots.create()),
        _listed("snapshot.list", lambda c: c.snapshots.list(), {}, SNAPSHOT),
        _listed("usage.closed", lambda c: c.closed_usage.list("2026-10"), month,
                {**usage, "user": "ada", "ends_at": LATER, "open": False, "share": True,
                 "credits": 5}),
        _listed("usage.closed", lambda c: c.closed_usage.list(
            "2026-10-31", organization="acme", including_open=True),
                {"period": "2026-10-31", "organization": "acme", "open": True}, usage),
        Case("usage.prune", lambda c: c.closed_usage.prune("2026-10"), month, {"pruned": 3}),
        Case("usage.prune", lambda c: c.closed_usage.prune("2026-10", not_exported=True),
             {**month, "not_exported": True}, {"pruned": 3}),
    ]


def _of_alerts():
    subject = dict.fromkeys(("user", "key", "address", "quota", "operation", "trouble"))
    alert = {"id": 3, "rule": "test", "kind": "test", "severity": "info", "at": NOW, "text": "t",
             "organization": None, "personal": False, **subject, "threshold": 0, "value": 0,
             "limit": 0, "period_ends_at": None, "exhausted_at": None, "shadow": False,
             "silenced": False, "acknowledged_at": None, "acknowledged_by": None, "note": ""}
    silence = {"id": 4, "rule": None, "organization": "acme", "personal": None, **subject,
               "at": NOW, "until_at": LATER, "uid": 0, "note": ""}
    full = {"rule": "r", "organization": "acme", "personal": True, "user": "u", "key": "k",
            "address": "a", "quota": "q", "operation": "o", "trouble": "t", "until_at": LATER,
            "note": "n"}
    return [
        _listed("alert.list", lambda c: c.alerts.list(), {}, alert),
        _listed("alert.list", lambda c: c.alerts.list(rule="r", organization="acme"),
                {"rule": "r", "organization": "acme"}, alert),
        _about("alert.ack", "alert", {**alert, "acknowledged_at": NOW, "acknowledged_by": 5},
               lambda c: c.alerts.ack(3, note="n"), id=3, note="n"),
        _about("alert.test", "alert", alert, lambda c: c.alerts.test("r"), rule="r"),
        _about("silence.create", "silence", silence,
               lambda c: c.silences.create(organization="acme", for_seconds=60),
               organization="acme", for_seconds=60),
        _about("silence.create", "silence", {**silence, "personal": True},
               lambda c: c.silences.create(**full), **full),
        _listed("silence.list", lambda c: c.silences.list(), {}, silence),
        _about("silence.remove", "silence", silence, lambda c: c.silences.remove(4), id=4),
    ]


def _of_watching():
    near = {"organization": "acme", "personal": False, "user": "ada", "plan": "p", "quota": "q",
            "meter": "calls", "period": "day", "used": 2**53 + 1, "held": 0, "limit": 2**63 - 1,
            "ends_at": None, "share": True, "shadow": False}
    busy = {"organization": "acme", "personal": True, "recent": 3, "recent_error": 0,
            "allowed": 4, "denied": 5}
    top = {"at": NOW, "since_at": None, "sample_one_in": 1, "missed_max": 0, "busiest": [busy],
           "nearest": [near]}
    return [
        _about("top.show", "top", top, lambda c: c.top.show()),
        _about("top.show", "top", {**top, "since_at": NOW}, lambda c: c.top.show(100), limit=100),
    ]


def cases():
    return [*_organizations(), *_users(), *_keys(), *_logins(), *_the_rest()]


def import_body(records):
    """As compact as JSON gets, with nothing escaped that need not be."""
    document = {"call": "directory.import", "records": records}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def ask(kind, path, make, **options):
    """What `make` gives with a client of this kind; of a list, all that is in it."""
    options = {"timeout": 20, **options}

    async def wait():
        async with kind(path, **options) as client:
            made = make(client)
            return [one async for one in made] if hasattr(made, "__aiter__") else await made

    if hasattr(kind, "__aenter__"):
        return asyncio.run(wait())
    with kind(path, **options) as client:
        made = make(client)
        return list(made) if hasattr(made, "page") else made


def asked(frame):
    """The JSON that a CALL carries."""
    assert frame[4] == CALL and frame[5:8] == bytes(3)
    assert struct.unpack_from("<I", frame)[0] + 4 == len(frame)
    return json.loads(frame[16:])


def reply(frame, document, status=0):
    """To a CALL: a document, or bytes as they are."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return frame_layout.frame(frame[4] | 0x80, request_id(frame), body, status=status)
