"""Overrides and plan changes: what they grant from the very next CHECK on, and after kill -9."""

from directory_daemon import (
    DAY,
    after_a_kill,
    directory,  # noqa: F401, a fixture
    now,
    refused,
    sign_up,
    start_directory,  # noqa: F401, a fixture
)
from tollgate import Conflict, InvalidValue, NotFound


def test_overrides_replace_what_a_plan_grants(directory):
    admin = directory.admins
    key, tokens = sign_up(directory)
    admin.users.create("acme", "ben")
    ben = admin.keys.create("acme", "ben")

    def granted(credential, operation="models"):
        decision = directory.callers.check(
            credential, operation=operation, dry_run=True, explain=True)
        return {one.name: one.limit for one in decision.explanation}

    assert granted(key.secret) == {"burst": 60, "monthly_calls": 500}
    admin.overrides.set("acme", "monthly_calls", 900)
    admin.overrides.set("acme", "burst", 600, user="ada")
    admin.overrides.set("acme", "monthly_tokens", 5)
    assert granted(key.secret) == {"burst": 600, "monthly_calls": 900}
    assert granted(tokens.access_token, "chat") == {
        "burst": 600, "monthly_calls": 900, "monthly_tokens": 5}
    assert granted(ben.secret) == {"burst": 60, "monthly_calls": 900}
    assert directory.decide(key.secret, units={"tokens": 6}) == "quotaExhausted"
    after_a_kill(directory)
    assert granted(key.secret) == {"burst": 600, "monthly_calls": 900}
    # A user's own goes before the organization's.
    admin.overrides.set("acme", "monthly_calls", 1, user="ben")
    assert granted(ben.secret)["monthly_calls"] == 1 and granted(key.secret)["monthly_calls"] == 900
    assert [(one.user, one.limit, one.units) for one in admin.overrides.list("acme")] == [
        (None, "monthly_calls", 900), (None, "monthly_tokens", 5), ("ada", "burst", 600),
        ("ben", "monthly_calls", 1)]
    assert admin.overrides.remove("acme", "burst", user="ada").units == 600
    admin.overrides.remove("acme", "monthly_calls")
    assert granted(key.secret) == {"burst": 60, "monthly_calls": 500}
    assert granted(ben.secret)["monthly_calls"] == 1
    for make in (lambda: admin.overrides.set("acme", "nowhere", 1),
                 lambda: admin.overrides.set("acme", "burst", 2**53),
                 lambda: admin.overrides.set("acme", "monthly_tokens", 1, user="ada")):
        refused(InvalidValue, make)
    refused(NotFound, lambda: admin.overrides.remove("acme", "burst", user="ada"))


def used(directory, credential):
    decision = directory.callers.check(
        credential, operation="models", dry_run=True, explain=True)
    return {one.name: (one.used, one.limit) for one in decision.explanation}


def test_a_plan_change_is_previewed_and_carries_what_was_used(directory):
    admin = directory.admins
    key, tokens = sign_up(directory)
    for _ in range(9):
        assert directory.decide(key.secret) == "pro_tier"
    directory.callers.consume("acme", "ada", "pro_tier", "chat", {"tokens": 300})
    preview = admin.organizations.change_plan("acme", "free_tier", preview=True)
    assert preview.organization.subscription.plan == "pro_tier"
    shown = preview.preview
    assert (shown.from_plan, shown.to_plan, shown.mode) == ("pro_tier", "free_tier", "carry")
    assert shown.permissions_lost == ("can_use_gpt4o",) and shown.permissions_gained == ()
    assert {one.name: (one.before, one.after) for one in shown.limits} == {
        "burst": (60, 4), "monthly_calls": (500, 5), "monthly_tokens": (1_000, 100)}
    over = {(one.user, one.limit): one for one in shown.over}
    assert shown.over_count == len(over) == 3
    assert over[None, "monthly_tokens"].used == 300
    assert over["ada", "monthly_calls"].limit_after == 5
    assert now() < over["ada", "monthly_calls"].until_at <= now() + 31 * DAY
    # A preview changes nothing.
    assert directory.decide(key.secret) == directory.decide(tokens.access_token) == "pro_tier"

    change = admin.organizations.change_plan("acme", "free_tier")
    assert change.organization.subscription.plan == "free_tier"
    for credential in (key.secret, tokens.access_token):
        assert directory.decide(credential) == "permissionDenied"
        decision = directory.callers.check(credential, operation="models")
        assert decision.plan == "free_tier" and decision.reason == "rateLimited"
    assert used(directory, key.secret)["monthly_calls"] == (11, 5)
    up = admin.organizations.change_plan("acme", "enterprise_tier").preview
    assert sorted(up.permissions_gained) == ["can_access_batch_api", "can_use_gpt4o"]
    assert up.over == () and all(one.after is None for one in up.limits)
    assert directory.decide(key.secret, "batch") == "enterprise_tier"
    after_a_kill(directory)
    assert directory.decide(tokens.access_token, "batch") == "enterprise_tier"


def test_a_plan_change_can_begin_anew_or_grant_in_proportion(directory):
    admin = directory.admins
    key, _ = sign_up(directory)
    directory.callers.consume("acme", "ada", "pro_tier", "chat", {"tokens": 300, "calls": 7})
    reset = admin.organizations.change_plan("acme", "free_tier", mode="reset").preview
    assert {one.limit for one in reset.over} == {"burst"}  # a window is not begun anew
    assert used(directory, key.secret)["monthly_calls"] == (0, 5)
    decision = directory.callers.usage("acme", "ada", "free_tier")
    assert {one.name: one.used for one in decision.limits}["monthly_tokens"] == 0

    prorated = admin.organizations.change_plan("acme", "pro_tier", mode="prorate").preview
    after = {one.name: one.after for one in prorated.limits}
    assert 5 <= after["monthly_calls"] <= 500 and 100 <= after["monthly_tokens"] <= 1_000
    assert used(directory, key.secret)["monthly_calls"][1] == after["monthly_calls"]
    after_a_kill(directory)
    assert used(directory, key.secret)["monthly_calls"][1] == after["monthly_calls"]


def test_a_plan_change_can_wait_for_the_end_of_the_billing_month(directory):
    admin = directory.admins
    key, _ = sign_up(directory)
    anchored = admin.organizations.set_subscription(
        "acme", time_zone="Asia/Tokyo", anchor_at=now() - 10 * DAY)
    assert anchored.subscription.time_zone == "Asia/Tokyo"
    change = admin.organizations.change_plan("acme", "free_tier", when="period_end")
    pending = change.organization.subscription.pending
    assert (pending.plan, pending.mode, pending.at) == ("free_tier", "carry", change.effective_at)
    assert now() + 15 * DAY < change.effective_at < now() + 32 * DAY
    assert directory.decide(key.secret) == "pro_tier"
    after_a_kill(directory)
    assert directory.decide(key.secret) == "pro_tier"
    assert admin.organizations.cancel_plan_change("acme").subscription.pending is None
    assert admin.organizations.show("acme").subscription.plan == "pro_tier"


def test_an_organization_without_a_subscription_gets_one_by_a_plan_change(directory):
    admin = directory.admins
    admin.organizations.create("acme")
    admin.users.create("acme", "ada")
    key = admin.keys.create("acme", "ada")
    assert directory.decide(key.secret) == "subscriptionInactive"
    refused(Conflict, lambda: admin.tokens.issue("acme", "ada"))
    preview = admin.organizations.change_plan("acme", "pro_tier", when="period_end").preview
    assert preview.from_plan is None and preview.over == ()
    assert directory.decide(key.secret) == "pro_tier"
    after_a_kill(directory)
    assert directory.decide(key.secret) == "pro_tier"
