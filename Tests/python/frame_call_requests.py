"""Request vectors of CALL. A daemon with Tests/Vectors/policy.yaml has no directory: to what is in
order it answers status 21."""

import frame_documents as documents
import frame_layout as lay
from frame_calls import COUNT_MAX, FORBIDDEN, VALUE, without_either
from frame_documents import LATER, NOW

ACME = {"organization": "acme"}
ADA = {**ACME, "user": "ada"}
KEY = {**ACME, "key": "7Kq2mZ0fXw3T"}
RATE = {"limit": 5, "window_seconds": 60}
PART = {"after": "bG9uZQ", "limit": 1_000}
# Name, note, call, members.
GOOD = [
    ("org-create", "all that may be left out is", "org.create", {"id": "acme"}),
    ("org-create-full", "with all members", "org.create", {
        "id": "zoë", "name": "Zoë 漢字 😀", "personal": True, "plan": "pro_tier",
        "time_zone": "Europe/Berlin", "anchor_at": NOW, "subscription_status": "past_due"}),
    ("org-list", "from the beginning", "org.list", {}),
    ("org-list-part", "the part behind a cursor", "org.list", PART),
    ("org-show", "", "org.show", ACME),
    ("org-rename", "", "org.rename", {**ACME, "name": "\"\\/\u2028"}),
    ("org-suspend", "", "org.suspend", ACME), ("org-resume", "", "org.resume", ACME),
    ("org-delete", "", "org.delete", ACME),
    ("change-plan", "now, usage carried over", "org.change_plan", {**ACME, "plan": "free_tier"}),
    ("change-plan-full", "with all members", "org.change_plan", {
        **ACME, "plan": "free_tier", "mode": "prorate", "when": "period_end", "preview": True}),
    ("cancel-plan-change", "", "org.cancel_plan_change", ACME),
    ("set-subscription", "", "org.set_subscription", {
        **ACME, "status": "trialing", "time_zone": "UTC", "anchor_at": 0}),
    ("user-create", "a member, named as the id", "user.create", {**ACME, "id": "ada"}),
    ("user-create-unseated", "null is no seat", "user.create", {
        **ACME, "id": "ada", "name": "Ada", "role": None}),
    ("user-list", "", "user.list", {**ACME, **PART}), ("user-show", "", "user.show", ADA),
    ("user-rename", "", "user.rename", {**ADA, "name": "Ada"}),
    ("user-set-role", "", "user.set_role", {**ADA, "role": "owner"}),
    ("user-unseat", "null takes the seat away", "user.set_role", {**ADA, "role": None}),
    ("user-suspend", "", "user.suspend", ADA), ("user-resume", "", "user.resume", ADA),
    ("user-delete", "", "user.delete", ADA), ("key-create", "", "key.create", ADA),
    ("key-create-full", "with all members", "key.create", {
        **ADA, "name": "ci", "environment": "test", "permissions": ["can_use_gpt4o"],
        "addresses": ["192.0.2.0/24", "2001:db8::/32"], "rate": RATE, "expires_at": LATER,
        "creator": "ops"}),
    ("key-list", "of a user", "key.list", {**ADA, **PART}), ("key-show", "", "key.show", KEY),
    ("key-rotate", "the former secret is refused at once", "key.rotate", {
        **KEY, "overlap_seconds": 0}),
    ("key-edit", "null takes away, what is left out stays", "key.edit", {
        **KEY, "permissions": [], "addresses": None, "rate": None, "expires_at": None}),
    ("key-edit-full", "with all members", "key.edit", {
        **KEY, "name": "ci", "permissions": ["a"], "addresses": ["::/0"], "rate": RATE,
        "expires_at": LATER}),
    ("key-revoke", "", "key.revoke", KEY),
    ("token-issue", "", "token.issue", {**ADA, "permissions": ["can_use_gpt4o"]}),
    ("token-refresh", "", "token.refresh", {"refresh_token": "a-refresh-token"}),
    ("session-end", "", "session.end", {"refresh_token": ""}),
    ("session-list", "", "session.list", {**ADA, **PART}),
    ("session-show", "", "session.show", {**ACME, "session": "s"}),
    ("session-revoke", "", "session.revoke", {**ACME, "session": "s"}),
    ("revoke-token", "", "revoke.token", {
        **ACME, "personal": True, "jti": "j", "expires_at": LATER}),
    ("revoke-user", "", "revoke.user", {**ACME, "personal": False, "user": "ada"}),
    ("revoke-organization", "", "revoke.organization", ACME),
    ("revoke-list", "", "revoke.list", {**ACME, "personal": True, "kind": "token", **PART}),
    ("override-set", "of a user, as much as JSON holds", "override.set", {
        **ADA, "limit": "per_minute", "units": COUNT_MAX, "expires_at": LATER}),
    ("override-set-organization", "of the organization", "override.set", {
        **ACME, "limit": "monthly_tokens", "units": 0}),
    ("override-remove", "", "override.remove", {**ADA, "limit": "per_minute"}),
    ("override-list", "", "override.list", ACME),
    ("credit-grant", "all that can be said", "credit.grant", {
        **ACME, "quota": "monthly_tokens", "units": 2**40, "priority": 255, "effective_at": 1,
        "expires_at": LATER, "id": "i" * 40, "note": "n" * 256}),
    ("credit-grant-least", "", "credit.grant", {
        **ACME, "quota": "monthly_tokens", "units": 1}),
    ("credit-void", "", "credit.void", {**ACME, "id": "invoice-17"}),
    ("credit-list", "", "credit.list", {**ACME, **PART}),
    ("signing-key-add", "", "signing_key.add", {"id": "2026-01"}),
    ("signing-key-promote", "", "signing_key.promote", {"id": "2026-01"}),
    ("signing-key-retire", "", "signing_key.retire", {"id": "2026-01"}),
    ("signing-key-list", "", "signing_key.list", {}), ("plan-list", "", "plan.list", {}),
    ("plan-show", "", "plan.show", {"plan": "pro_tier"}),
    ("log-list", "of one organization", "log.list", {**ACME, **PART}),
    ("backup-create", "", "backup.create", {"path": "/backup/tollgate.db"}),
    ("directory-status", "", "directory.status", {}),
    ("directory-export", "", "directory.export", PART),
    ("directory-import", "", "directory.import", {"records": [
        {"type": "organization", **documents.LONE}, {"type": "user", **documents.USER,
                                                     "role": None}]}),
    ("ledger-status", "", "ledger.status", {}),
    ("snapshot-create", "", "snapshot.create", {}),
    ("snapshot-list", "", "snapshot.list", PART),
    ("usage-closed", "of one organization, with what goes on", "usage.closed",
     {"period": "2026-10", **ACME, "open": True, **PART}),
    ("usage-prune", "", "usage.prune", {"period": "2026-10-31"}),
    ("usage-prune-not-exported", "though it was not exported", "usage.prune",
     {"period": "2026-10-31", "not_exported": True}),
    ("alert-list", "of one rule and organization", "alert.list",
     {"rule": "quota_threshold", **ACME, **PART}),
    ("alert-ack", "", "alert.ack", {"id": 17}),
    ("alert-ack-note", "with words", "alert.ack", {"id": 17, "note": "larger plan is on its way"}),
    ("alert-test", "", "alert.test", {}),
    ("alert-test-rule", "under a rule's name", "alert.test", {"rule": "quota_forecast"}),
    ("silence-create", "for two hours", "silence.create",
     {"rule": "quota_threshold", **ACME, "for_seconds": 7_200, "note": "they are warned"}),
    ("silence-create-full", "all that it may be for", "silence.create",
     {"rule": "quota_threshold", **ACME, "personal": False, "user": "ada", "key": "7Kq2mZ0fXw3T",
      "address": "192.0.2.7", "quota": "monthly", "operation": "chat", "trouble": "ledger",
      "until_at": LATER}),
    ("silence-list", "", "silence.list", PART),
    ("silence-remove", "", "silence.remove", {"id": 2**53}),
    ("top-show", "", "top.show", {}), ("top-show-limit", "", "top.show", {"limit": 100}),
]


def taken(r):
    for name, note, call, members in GOOD:
        document = {"call": call, **members}
        r.good(f"call-{name}", note or call, "CALL", {"body": document}, lay.call(document),
               socket="admin", status=without_either(call))


def refused(r):
    malformed(r)
    invalid(r)
    show = lay.call({"call": "org.show", **ACME})
    r.bad("call-on-the-data-socket", "a call of the role admin", "CALL", show, FORBIDDEN)


def malformed(r):
    def bad(name, note, body):
        r.bad(f"call-{name}", note, "CALL", body, 4, socket="admin")

    show = lay.call({"call": "org.show", **ACME})
    bad("empty", "no JSON", b"")
    bad("cut", "JSON without its end", show[:-1])
    bad("tail", "bytes behind the object", show + b" null")
    bad("zero", "a zero behind the object", show + b"\0")
    bad("array", "JSON, and no object", lay.call([{"call": "plan.list"}]))
    bad("text", "JSON, and no object", b'"plan.list"')
    bad("comma", "a comma before the end", show[:-1] + b",}")
    bad("quotes", "apostrophes are no quotes", show.replace(b'"', b"'"))
    bad("mark", "a byte order mark", b"\xef\xbb\xbf" + show)
    bad("utf16", "another encoding", show.decode().encode("utf-16-le"))
    bad("not-utf8", "a text that is not UTF-8", show.replace(b"acme", b"a\xc0\x80e"))
    bad("surrogate", "half a pair of surrogates", show.replace(b"acme", b"\\udc00"))
    bad("control", "a control character that is not escaped", show.replace(b"acme", b"a\nb"))
    bad("twice", "a member comes twice", show[:-1] + b"," + show[1:])
    bad("twice-escaped", "a member comes twice, once escaped",
        show[:-1] + b',"\\u0063all":"org.show"}')
    bad("deep", "17 levels", show[:-1] + b',"x":' + b"[" * 16 + b"]" * 16 + b"}")
    bad("members", "129 members", lay.call({
        "call": "org.show", **{f"m{index}": 0 for index in range(128)}}))
    for name, number in (("fraction", b"1.0"), ("exponent", b"1e2"), ("zeros", b"01"),
                         ("beyond", b"9223372036854775808"), ("nan", b"NaN"), ("plus", b"+1")):
        bad(f"number-{name}", "a number that is none of ours",
            b'{"call":"org.list","limit":' + number + b"}")


def invalid(r):
    def bad(name, note, document):
        r.bad(f"call-{name}", note, "CALL", lay.call(document), VALUE, socket="admin")

    bad("unnamed", "no call is named", ACME)
    bad("name-null", "no call is named", {"call": None})
    bad("unknown", "no such call", {"call": "org.destroy", **ACME})
    bad("name-case", "names are compared byte by byte", {"call": "Org.show", **ACME})
    bad("missing", "a member is missing", {"call": "org.show"})
    bad("null", "null is absent, so it is missing", {"call": "org.show", "organization": None})
    bad("member", "a member that the call does not take", {
        "call": "org.show", **ACME, "id": "acme"})
    bad("member-null", "a member that the call does not take", {
        "call": "org.show", **ACME, "user": None})
    for name, value in (
        ("number", 1), ("empty", ""), ("129", "x" * 129), ("control", "a\u0085"),
        ("array", ["acme"]), ("object", {"id": "acme"}), ("flag", True),
    ):
        bad(f"text-{name}", "no name", {"call": "org.show", "organization": value})
    for value in (0, 1_001, -1, "100"):
        bad(f"limit-{value}", "1 to 1,000", {"call": "org.list", "limit": value})
    for value in (0, 101):
        bad(f"top-{value}", "1 to 100", {"call": "top.show", "limit": value})
    for name, value in (("number", 0), ("text", "true")):
        bad(f"flag-{name}", "no boolean", {
            "call": "org.create", "id": "a", "personal": value})
    for name, value in (("negative", -1), ("beyond", COUNT_MAX + 1), ("text", "2026-01-01")):
        bad(f"instant-{name}", "no instant", {"call": "org.create", "id": "a", "anchor_at": value})
    bad("word", "none of the words", {"call": "user.create", **ACME, "id": "u", "role": "boss"})
    bad("name-null-edit", "a key always has a name", {"call": "key.edit", **KEY, "name": 0})
    bad("names-twice", "a name comes twice", {
        "call": "key.create", **ADA, "permissions": ["a", "a"]})
    bad("names-65", "more than 64", {
        "call": "key.create", **ADA, "addresses": [f"192.0.2.{n}" for n in range(65)]})
    for name, rate in (("window", {**RATE, "window_seconds": 2}), ("zero", {**RATE, "limit": 0}),
                       ("short", {"limit": 1}), ("long", {**RATE, "burst": 1})):
        bad(f"rate-{name}", "no rate", {"call": "key.create", **ADA, "rate": rate})
    bad("overlap", "more than 30 days", {
        "call": "key.rotate", **KEY, "overlap_seconds": 2_592_001})
    bad("units", "more than 2^53", {
        "call": "override.set", **ACME, "limit": "l", "units": COUNT_MAX + 1})
    bad("record-type", "no such record", {
        "call": "directory.import", "records": [{"type": "plan"}]})
    bad("record-member", "what an import would lose", {"call": "directory.import", "records": [
        {"type": "user", **documents.USER, "role": None, "email": "a@example.com"}]})
