"""One of every document of CALL, as Protocol.md draws them, and the replies that hold them."""

NOW, LATER = 1_767_225_600_000, 1_769_904_000_000
SUBSCRIPTION = {
    "plan": "pro_tier", "status": "active", "anchor_at": NOW, "time_zone": "Europe/Berlin",
    "since_at": NOW, "pending": {"plan": "free_tier", "mode": "prorate", "at": LATER},
}
ORGANIZATION = {
    "id": "acme", "name": "Åcme \"Ltd\"", "personal": False, "status": "active",
    "created_at": NOW, "subscription": SUBSCRIPTION,
}
LONE = {"id": "zoe", "name": "zoe", "personal": True, "status": "suspended", "created_at": 0,
        "subscription": None}
USER = {"organization": "acme", "id": "ada", "name": "Ada", "role": "owner", "status": "active",
        "created_at": NOW}
KEY = {
    "organization": "acme", "id": "7Kq2mZ0fXw3T", "prefix": "tg_live_7Kq2mZ0fXw3T", "user": "ada",
    "name": "ci", "environment": "live", "creator": "uid 0", "created_at": NOW,
    "last_used_at": NOW + 1, "expires_at": LATER, "revoked_at": None, "state": "rotating",
    "rotating_until_at": LATER, "permissions": ["can_use_gpt4o"],
    "addresses": ["192.0.2.0/24", "2001:db8::/32"], "rate": {"limit": 5, "window_seconds": 60},
    "pepper": 2,
}
BARE_KEY = {
    **KEY, "last_used_at": None, "expires_at": None, "revoked_at": NOW, "state": "revoked",
    "rotating_until_at": None, "permissions": None, "addresses": None, "rate": None, "pepper": 1,
}
SESSION = {
    "organization": "acme", "id": "uV3mR8yKQ2a1bC4dE5fG6h", "user": "ada", "created_at": NOW,
    "expires_at": LATER, "idle_seconds": 1_209_600, "revoked_at": None, "reason": None,
}
ENDED = {**SESSION, "revoked_at": NOW + 2, "reason": "reuse"}
TOKENS = {
    "access_token": "an.access.token", "token_type": "Bearer", "expires_in_seconds": 600,
    "expires_at": NOW + 600_000, "refresh_token": "a-refresh-token", "session": SESSION,
}
OVERRIDE = {"organization": "acme", "user": "ada", "limit": "per_minute", "units": 2**53,
            "expires_at": LATER}
CREDIT = {
    "organization": "acme", "id": "invoice-17", "quota": "monthly_tokens", "meter": "tokens",
    "units": 2**40, "burnt": 7, "remaining": 2**40 - 7, "priority": 100, "state": "active",
    "effective_at": NOW, "expires_at": LATER, "note": "a top-up", "created_at": NOW,
    "voided_at": None,
}
VOID_CREDIT = {**CREDIT, "remaining": 0, "state": "voided", "expires_at": None,
               "voided_at": LATER}
REVOCATION = {"organization": "acme", "personal": False, "kind": "session",
              "subject": "uV3mR8yKQ2a1bC4dE5fG6h", "at": NOW, "expires_at": LATER}
SIGNING_KEY = {
    "id": "2026-01", "algorithm": "HS256", "state": "retiring", "added_at": NOW,
    "promoted_at": NOW + 1, "demoted_at": NOW + 2, "retired_at": None, "retirable_at": LATER,
}
PLAN = {
    "name": "pro_tier", "permissions": ["can_use_gpt4o"], "limits": [
        {"name": "per_minute", "kind": "rate_limit", "scope": "user", "meter": "calls",
         "limit": 600, "window_milliseconds": 60_000, "period": None},
        {"name": "monthly_tokens", "kind": "quota", "scope": "organization", "meter": "tokens",
         "limit": 50_000_000, "window_milliseconds": None, "period": "month"},
    ],
}
PREVIEW = {
    "from": "pro_tier", "to": "free_tier", "mode": "carry", "effective_at": NOW,
    "permissions_lost": ["can_use_gpt4o"], "permissions_gained": [], "limits": [
        {"name": "monthly_tokens", "kind": "quota", "scope": "organization", "meter": "tokens",
         "before": 50_000_000, "after": None},
        {"name": "daily_calls", "kind": "quota", "scope": "user", "meter": "calls",
         "before": None, "after": 0},
    ], "over": [
        {"user": "ada", "limit": "daily_calls", "meter": "calls", "used": 7, "limit_after": 0,
         "until_at": LATER},
        {"user": None, "limit": "monthly_tokens", "meter": "tokens", "used": 7, "limit_after": 1,
         "until_at": LATER},
    ], "over_count": 12,
}
CHANGE = {"organization": ORGANIZATION, "effective_at": NOW, "preview": PREVIEW}
LOG_ENTRY = {
    "number": 7, "at": NOW, "uid": 0, "pid": 4_711, "organization": "acme",
    "action": "user.rename", "subject": "ada", "before": {"name": "ada"},
    "after": {"name": "Ada"},
}
STATUS = {
    "path": "/var/lib/tollgate", "organizations": 1, "users": 2, "keys": 3, "sessions": 4,
    "revocations": 5, "peppers": [{"generation": 1, "keys": 1, "configured": False},
                                  {"generation": 2, "keys": 2, "configured": True}],
}
RECORDS = [
    {"type": "organization", **ORGANIZATION}, {"type": "user", **USER},
    {"type": "override", **OVERRIDE},
    {"type": "grant", **CREDIT, "burnt": None, "remaining": None, "state": None},
    {"type": "key", **KEY, "digest": "ab" * 32, "previous_digest": "cd" * 32,
     "previous_pepper": 1},
    {"type": "key", **BARE_KEY, "digest": "ef" * 32, "previous_digest": None,
     "previous_pepper": None},
    {"type": "revocation", **REVOCATION},
]
SNAPSHOT = {"generation": 12, "at": NOW, "bytes": 1_048_576}
LEDGER = {
    "state": "refusing", "durability": "second", "path": "/var/lib/tollgate/ledger", "life": 3,
    "trouble": "journal-000000000007.tgj: cannot make the file: No space left on device",
    "trouble_at": LATER, "advice": "make room on that disk", "appended": 900, "synced": 800,
    "lag_milliseconds": 1_500, "syncs": 60, "sync_failures": 1, "segments": 3,
    "journal_bytes": 50_331_648, "snapshots": 2, "snapshot_failures": 1, "snapshot": SNAPSHOT,
    "closed_waiting": 4, "reservations": 5, "idempotency_records": 6, "clock_held": True,
}
NO_LEDGER = {name: None if value is None or isinstance(value, (str, dict)) else 0
             for name, value in LEDGER.items()} | {
    "state": "off", "trouble_at": None, "clock_held": False}
SUBJECT = {"user": None, "key": None, "address": None, "quota": None, "operation": None,
           "trouble": None}
ALERT = {
    "id": 17, "rule": "quota_threshold", "kind": "quota_threshold", "severity": "warning",
    "at": NOW, "text": "organization acme: 80 % of quota monthly used: 805 of 1000",
    "organization": "acme", "personal": False, **SUBJECT, "quota": "monthly", "threshold": 80,
    "value": 805, "limit": 1_000, "period_ends_at": LATER, "exhausted_at": LATER - 1,
    "shadow": False, "silenced": True, "acknowledged_at": None, "acknowledged_by": None,
    "note": ""}
TEST_ALERT = {
    **ALERT, "id": 18, "rule": "test", "kind": "test", "severity": "info",
    "text": "a test that an operator asked for", "organization": None, "quota": None,
    "threshold": 0, "value": 0, "limit": 0, "period_ends_at": None, "exhausted_at": None,
    "silenced": False}
SILENCE = {
    "id": 19, "rule": "quota_threshold", "organization": "acme", "personal": None, **SUBJECT,
    "at": NOW, "until_at": LATER, "uid": 1_000, "note": "they are warned"}
USED = {
    "organization": "acme", "personal": False, "user": None, "limit": "monthly_tokens",
    "meter": "tokens", "period": "billing_month", "begins_on": "2026-01-15", "ends_at": LATER,
    "used": 2**53, "open": False, "share": False, "credits": 7,
}


NEAREST = {
    "organization": "acme", "personal": False, "user": None, "plan": "pro_tier",
    "quota": "monthly_tokens", "meter": "tokens", "period": "billing_month", "used": 2**53,
    "held": 7, "limit": 2**63 - 1, "ends_at": LATER, "share": False, "shadow": False}
TOP = {
    "at": NOW, "since_at": NOW - 1, "sample_one_in": 1, "missed_max": 0,
    "busiest": [{"organization": "acme", "personal": False, "recent": 900, "recent_error": 0,
                 "allowed": 1_000, "denied": 17},
                {"organization": "ada", "personal": True, "recent": 2, "recent_error": 1,
                 "allowed": 1, "denied": 0}],
    "nearest": [NEAREST, {**NEAREST, "user": "ada", "quota": "own", "period": "total",
                          "ends_at": None, "share": True, "shadow": True}]}


def page(*items, next=None):
    return {"items": list(items), "next": next}


# Name, call that is answered, its body.
REPLIES = [
    ("organization", "org.show", {"organization": ORGANIZATION}),
    ("organization-bare", "org.create", {"organization": LONE}),
    ("organizations", "org.list", page(ORGANIZATION, LONE, next="bG9uZQ")),
    ("organizations-none", "org.list", page()),
    ("organizations-none-yet", "org.list", page(next="x")),
    ("organization-deleted", "org.delete",
     {"revocation": {**REVOCATION, "kind": "organization", "subject": "acme"}}),
    ("plan-change", "org.change_plan", CHANGE),
    ("plan-first", "org.change_plan", {**CHANGE, "preview": {
        **PREVIEW, "from": None, "limits": [], "over": [], "over_count": 0}}),
    ("user", "user.show", {"user": USER}),
    ("user-unseated", "user.set_role", {"user": {**USER, "role": None, "status": "suspended"}}),
    ("users", "user.list", page(USER)),
    ("key-issued", "key.create", {"key": BARE_KEY, "secret": "tg_live_shown-once"}),
    ("key", "key.show", {"key": KEY}), ("keys", "key.list", page(KEY, BARE_KEY)),
    ("tokens", "token.issue", TOKENS),
    ("tokens-refreshed", "token.refresh", {**TOKENS, "retried": True}),
    ("session", "session.show", {"session": SESSION}),
    ("sessions", "session.list", page(SESSION, ENDED)),
    ("session-revoked", "session.revoke", {"session": ENDED, "revocation": REVOCATION}),
    ("revoked", "revoke.user", {"revocation": {**REVOCATION, "kind": "user"}, "known": False}),
    ("revocations", "revoke.list", page(
        REVOCATION, {**REVOCATION, "personal": True, "kind": "token", "subject": "jti-1"})),
    ("override", "override.set", {"override": OVERRIDE}),
    ("override-removed", "override.remove",
     {"override": {**OVERRIDE, "user": None, "units": 0, "expires_at": None}}),
    ("overrides", "override.list", page(OVERRIDE)),
    ("credit", "credit.grant", {"credit": CREDIT}),
    ("credit-voided", "credit.void", {"credit": VOID_CREDIT}),
    ("credits", "credit.list", page(CREDIT, VOID_CREDIT)),
    ("signing-key", "signing_key.promote", {"signing_key": SIGNING_KEY}),
    ("signing-keys", "signing_key.list", page(SIGNING_KEY, {
        **SIGNING_KEY, "state": "verifying", "promoted_at": None, "demoted_at": None,
        "retirable_at": None})),
    ("plan", "plan.show", {"plan": PLAN}), ("plans", "plan.list", page(PLAN)),
    ("log", "log.list", page(LOG_ENTRY, {
        **LOG_ENTRY, "organization": None, "before": None, "after": None}, next="6")),
    ("backup", "backup.create", {"path": "/backup/tollgate.db", "bytes": 1_048_576}),
    ("status", "directory.status", STATUS), ("export", "directory.export", page(*RECORDS)),
    ("import", "directory.import", {"created": 5, "unchanged": 1}),
    ("ledger", "ledger.status", {"ledger": LEDGER}),
    ("ledger-none", "ledger.status", {"ledger": NO_LEDGER}),
    ("snapshot", "snapshot.create", {"snapshot": SNAPSHOT}),
    ("snapshots", "snapshot.list", page(SNAPSHOT, {**SNAPSHOT, "generation": 11})),
    ("usage-of-periods", "usage.closed", page(USED, {
        **USED, "personal": True, "organization": "zoe", "user": "zoe", "period": "total",
        "ends_at": None, "open": True, "used": 0, "share": True, "credits": 0}, next="Yw")),
    ("usage-pruned", "usage.prune", {"pruned": 7}),
    ("alert", "alert.ack", {"alert": {**ALERT, "acknowledged_at": NOW, "acknowledged_by": 1_000,
                                      "note": "larger plan is on its way"}}),
    ("alert-tested", "alert.test", {"alert": TEST_ALERT}),
    ("alerts", "alert.list", page(TEST_ALERT, ALERT, next="17")),
    ("silence", "silence.create", {"silence": SILENCE}),
    ("silence-removed", "silence.remove", {"silence": {
        **SILENCE, "rule": None, "organization": None, "personal": True, "user": "ada"}}),
    ("silences", "silence.list", page(SILENCE)),
    ("top", "top.show", {"top": TOP}),
    ("top-uncounted", "top.show", {"top": {
        **TOP, "since_at": None, "sample_one_in": 100, "missed_max": 3, "busiest": []}}),
]
