"""Previews, the most an override may set, and what conflicts, through the real daemon."""

from directory_daemon import (
    directory,  # noqa: F401, a fixture
    refused,
    sign_up,
    start_directory,  # noqa: F401, a fixture
)
from tollgate import Conflict, InvalidValue


def shown(preview):
    return {limit.name: (limit.before, limit.after) for limit in preview.limits}


def test_override_max_is_the_most_that_an_override_may_set(directory):
    sign_up(directory)
    directory.admins.overrides.set("acme", "burst", 600)
    refused(InvalidValue, lambda: directory.admins.overrides.set("acme", "burst", 601))


def test_a_subscription_that_is_not_there_is_a_conflict(directory):
    directory.admins.organizations.create("acme")
    refused(Conflict, lambda: directory.admins.organizations.set_subscription(
        "acme", status="active"))


def test_a_preview_shows_what_holds_before_overrides_and_proration_included(directory):
    admin = directory.admins
    sign_up(directory, plan="free_tier")
    prorated = admin.organizations.change_plan("acme", "pro_tier", mode="prorate").preview
    after = shown(prorated)["monthly_calls"][1]
    admin.overrides.set("acme", "monthly_tokens", 900)
    preview = admin.organizations.change_plan("acme", "free_tier", preview=True).preview
    assert shown(preview)["monthly_tokens"] == (900, 900)
    assert shown(preview)["monthly_calls"] == (after, 5)


def test_a_cursor_that_is_none_is_told_by_its_members_name(directory):
    admin = directory.admins
    sign_up(directory)
    for listed in (admin.overrides.list("acme"), admin.revoke.list("acme"),
                   admin.directory.export_records()):
        assert refused(InvalidValue, lambda: listed.page("nonsense")).startswith("after: ")


def test_the_same_plan_again_leaves_what_was_prorated(directory):
    admin = directory.admins
    sign_up(directory, plan="free_tier")
    first = shown(admin.organizations.change_plan("acme", "pro_tier", mode="prorate").preview)
    admin.organizations.change_plan("acme", "pro_tier")
    held = admin.organizations.change_plan("acme", "free_tier", preview=True).preview
    assert shown(held)["monthly_calls"][0] == first["monthly_calls"][1]


def test_prorating_at_a_periods_end_is_refused(directory):
    sign_up(directory)
    refused(InvalidValue, lambda: directory.admins.organizations.change_plan(
        "acme", "free_tier", mode="prorate", when="period_end"))


def test_a_revocation_that_is_over_at_once_is_refused(directory):
    sign_up(directory)
    refused(InvalidValue, lambda: directory.admins.revoke.token("acme", "j", expires_at=1))


def test_a_stranger_is_not_imported_into_a_personal_organization(directory):
    admin = directory.admins
    sign_up(directory)
    records = list(admin.directory.export_records())
    organization = next(one for one in records if one["type"] == "organization")
    user = next(one for one in records if one["type"] == "user")
    lone = {**organization, "id": "lone", "personal": True}
    for id in ("ada", "lone"):
        take = [lone, {**user, "organization": "lone", "id": id}]
        if id == "lone":
            assert admin.directory.import_records(take).created == 2
        else:
            refused(InvalidValue, lambda: admin.directory.import_records(take))
