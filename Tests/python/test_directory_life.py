"""The life of a customer through the Python client and the real daemon: signing up, keys, logins.
Each change holds for the very next CHECK, and after kill -9."""

import os

import jwt
from directory_daemon import (
    DAY,
    after_a_kill,
    claims,
    directory,  # noqa: F401, a fixture
    header,
    now,
    refused,
    sign_up,
    start_directory,  # noqa: F401, a fixture
)
from hardening import eventually, token
from tollgate import AlreadyExists, Conflict, InvalidValue, KeyRate, NotFound, RefreshRefused


def test_a_customer_signs_up_and_is_served_from_the_next_request_on(directory):
    admin, begun = directory.admins, now()
    organization = admin.organizations.create(
        "acme", name="Åcme", plan="pro_tier", time_zone="Europe/Zurich", anchor_at=begun - DAY,
        subscription_status="trialing")
    assert organization == admin.organizations.show("acme")
    assert (organization.name, organization.personal, organization.status) == (
        "Åcme", False, "active")
    subscription = organization.subscription
    assert (subscription.plan, subscription.status, subscription.time_zone) == (
        "pro_tier", "trialing", "Europe/Zurich")
    assert subscription.anchor_at == begun - DAY and subscription.pending is None
    assert begun <= organization.created_at <= subscription.since_at <= now()

    user = admin.users.create("acme", "ada", name="Ada", role="owner")
    assert user == admin.users.show("acme", "ada")
    assert (user.organization, user.name, user.role, user.status) == (
        "acme", "Ada", "owner", "active")

    made = admin.keys.create("acme", "ada", name="ci")
    assert made.secret.startswith("tg_live_") and made.secret.startswith(made.key.prefix)
    assert made.key.state == "active" and made.key.last_used_at is None
    assert made.key.creator == f"uid {os.getuid()}" and made.key.pepper == 1
    decision = directory.callers.check(made.secret, operation="chat")
    assert (decision.allowed, decision.organization, decision.user, decision.plan) == (
        True, "acme", "ada", "pro_tier")
    assert decision.quota.remaining == decision.quota.limit - 1
    assert directory.decide(made.secret, "batch") == "permissionDenied"

    tokens = admin.tokens.issue("acme", "ada")
    assert (tokens.token_type, tokens.expires_in_seconds, tokens.retried) == ("Bearer", 600, False)
    said = claims(tokens.access_token)
    assert (said["iss"], said["sub"], said["org"], said["sid"]) == (
        "https://tollgate.example.com", "ada", "acme", tokens.session.id)
    assert said["exp"] * 1_000 == tokens.expires_at and said["exp"] - said["iat"] == 600
    decision = directory.callers.check(tokens.access_token, operation="chat")
    assert (decision.allowed, decision.organization, decision.user, decision.plan) == (
        True, "acme", "ada", "pro_tier")
    # Key and token are of one user: one counter.
    assert decision.quota.remaining == decision.quota.limit - 2

    after_a_kill(directory)
    assert directory.decide(made.secret) == directory.decide(tokens.access_token) == "pro_tier"


def test_a_lone_user_is_an_organization_of_their_own(directory):
    admin = directory.admins
    organization = admin.organizations.create("zoë", personal=True, plan="free_tier")
    assert organization.personal
    (user,) = admin.users.list("zoë")
    assert (user.id, user.role) == ("zoë", "owner")
    key = admin.keys.create("zoë", "zoë")
    tokens = admin.tokens.issue("zoë", "zoë")
    for credential in (key.secret, tokens.access_token):
        decision = directory.callers.check(credential, operation="models")
        assert decision.allowed and decision.personal and decision.user == "zoë"
    refused(AlreadyExists, lambda: admin.organizations.create("zoë"))
    refused(Conflict, lambda: admin.users.create("zoë", "ada"))
    refused(Conflict, lambda: admin.users.delete("zoë", "zoë"))
    after_a_kill(directory)
    assert directory.decide(key.secret, "models") == "free_tier"


def test_a_refreshed_login_goes_on_and_a_stolen_refresh_token_ends_it(start_directory):
    directory = start_directory(tokens={"refresh_grace": "60s"})
    admin = directory.admins
    _, first = sign_up(directory)
    second = admin.tokens.refresh(first.refresh_token)
    assert not second.retried and second.session.id == first.session.id
    assert second.refresh_token != first.refresh_token
    assert second.access_token != first.access_token
    # The answer was lost: the same successor again.
    again = admin.tokens.refresh(first.refresh_token)
    assert again.retried and again.refresh_token == second.refresh_token
    for tokens in (first, second, again):
        assert directory.decide(tokens.access_token) == "pro_tier"
    after_a_kill(directory)
    third = admin.tokens.refresh(second.refresh_token)
    other = admin.tokens.issue("acme", "ada")
    # Two generations old: somebody has a copy.
    detail = refused(RefreshRefused, lambda: admin.tokens.refresh(first.refresh_token))
    for tokens in (first, second, again, third):
        assert directory.decide(tokens.access_token) == "credentialRevoked"
    for bad in (third.refresh_token, "tgr_nonsense", "", "x" * 1_000):
        assert refused(RefreshRefused, lambda: admin.tokens.refresh(bad)) == detail
    session = admin.sessions.show("acme", first.session.id)
    assert session.reason == "reuse" and session.revoked_at is not None
    assert directory.decide(other.access_token) == "pro_tier"
    after_a_kill(directory)
    assert directory.decide(third.access_token) == "credentialRevoked"
    assert admin.tokens.refresh(other.refresh_token).session.id == other.session.id


def test_a_rotated_key_is_good_with_both_secrets_for_the_overlap(directory):
    admin = directory.admins
    old, _ = sign_up(directory)
    directory.callers.check(old.secret, operation="chat", units={"tokens": 7})
    new = admin.keys.rotate("acme", old.key.id, overlap_seconds=3_600)
    assert new.key.id == old.key.id and new.secret != old.secret
    assert new.key.state == "rotating" and new.key.rotating_until_at - now() <= 3_600_000
    decision = directory.callers.check(new.secret, operation="chat")
    assert decision.allowed and decision.quota.remaining == decision.quota.limit - 7
    assert directory.decide(old.secret) == "pro_tier"
    after_a_kill(directory)
    assert directory.decide(old.secret) == directory.decide(new.secret) == "pro_tier"
    # Again, now without an overlap: the two before are gone at once.
    last = admin.keys.rotate("acme", old.key.id, overlap_seconds=0)
    assert last.key.state == "active"
    assert directory.decide(last.secret) == "pro_tier"
    for gone in (old, new):
        assert directory.decide(gone.secret) == "signatureInvalid"
    after_a_kill(directory)
    assert directory.decide(new.secret) == "signatureInvalid"
    assert directory.decide(last.secret) == "pro_tier"


def test_a_key_is_narrowed_to_permissions_addresses_and_a_rate_of_its_own(directory):
    admin = directory.admins
    sign_up(directory, plan="enterprise_tier")
    key = admin.keys.create(
        "acme", "ada", environment="test", permissions=["can_use_gpt4o"],
        addresses=["192.0.2.0/24", "2001:db8::/32"], rate=KeyRate(3, 86_400),
        expires_at=now() + DAY)
    assert key.secret.startswith("tg_test_")
    assert key.key.permissions == ("can_use_gpt4o",) and key.key.rate == KeyRate(3, 86_400)
    near = {"address": "192.0.2.7"}
    assert directory.decide(key.secret, "batch", **near) == "permissionDenied"
    for address in ("192.0.3.7", "2001:db9::1", None):
        assert directory.decide(key.secret, address=address) == "addressNotAllowed"
    assert directory.decide(key.secret, address="2001:db8::1") == "enterprise_tier"
    for _ in range(2):
        assert directory.decide(key.secret, **near) == "enterprise_tier"
    decision = directory.callers.check(key.secret, operation="chat", **near)
    assert decision.reason == "rateLimited" and decision.rate_limit.name == "credential_rate"
    assert decision.rate_limit.limit == 3
    after_a_kill(directory)
    assert directory.decide(key.secret, address="192.0.3.7") == "addressNotAllowed"

    edited = admin.keys.edit("acme", key.key.id, addresses=None, rate=None, name="open")
    assert edited.addresses is None and edited.rate is None and edited.name == "open"
    assert edited.permissions == ("can_use_gpt4o",) and edited.expires_at == key.key.expires_at
    assert directory.decide(key.secret) == "enterprise_tier"
    assert directory.decide(key.secret, "batch") == "permissionDenied"
    admin.keys.edit("acme", key.key.id, permissions=[])
    assert directory.decide(key.secret) == "permissionDenied"
    admin.keys.edit("acme", key.key.id, permissions=None)
    assert directory.decide(key.secret, "batch") == "enterprise_tier"
    refused(InvalidValue, lambda: admin.keys.edit("acme", key.key.id, addresses=["192.0.2.0/33"]))
    after_a_kill(directory)
    assert directory.decide(key.secret, "batch") == "enterprise_tier"
    refused(InvalidValue, lambda: admin.keys.edit("acme", key.key.id, expires_at=1))
    refused(InvalidValue, lambda: admin.keys.edit("acme", key.key.id, permissions=["can_fly"]))
    assert directory.decide(key.secret, "batch") == "enterprise_tier"
    admin.keys.edit("acme", key.key.id, expires_at=now() + 500)
    eventually(lambda: directory.decide(key.secret) == "tokenExpired")
    assert admin.keys.show("acme", key.key.id).state == "expired"


def test_a_key_and_an_override_end_when_they_expire(directory):
    admin = directory.admins
    forever, _ = sign_up(directory, plan="free_tier")

    def granted():
        return directory.callers.check(
            forever.secret, operation="models", dry_run=True).quota.limit

    def soon(make):
        for seconds in (1, 4, 16, 64):  # however slow the machine is, one is in the future
            try:
                return make(now() + seconds * 1_000)
            except InvalidValue:
                pass
        raise AssertionError("not even in a minute")

    key = soon(lambda instant: admin.keys.create("acme", "ada", expires_at=instant))
    soon(lambda instant: admin.overrides.set("acme", "monthly_calls", 77, expires_at=instant))
    eventually(
        lambda: directory.decide(key.secret, "models", dry_run=True) == "tokenExpired", 100)
    eventually(lambda: granted() == 5, 100)
    assert admin.keys.show("acme", key.key.id).state == "expired"
    for past in (0, 1_000):
        refused(InvalidValue, lambda: admin.overrides.set(
            "acme", "monthly_calls", 7, expires_at=past))
    assert granted() == 5


def test_uses_of_a_key_show(directory):
    key, _ = sign_up(directory)
    assert directory.admins.keys.show("acme", key.key.id).last_used_at is None
    before = now()
    assert directory.decide(key.secret) == "pro_tier"
    shown = directory.admins.keys.show("acme", key.key.id).last_used_at
    assert before // 1_000 * 1_000 <= shown <= now()
    assert directory.stop() == 0  # what a stop saves, a start knows
    directory.start()
    assert directory.admins.keys.show("acme", key.key.id).last_used_at == shown


def test_signing_keys_are_changed_without_refusing_a_token(start_directory):
    daemon = start_directory(tokens={"access_lifetime": "2s"})
    admin = daemon.admins
    key, old = sign_up(daemon)
    (first,) = admin.signing_keys.list()
    assert first.state == "signing" and header(old.access_token)["kid"] == first.id
    added = admin.signing_keys.add("second")
    assert (added.id, added.state, added.promoted_at) == ("second", "verifying", None)
    refused(Conflict, lambda: admin.signing_keys.retire(first.id))
    assert header(admin.tokens.issue("acme", "ada").access_token)["kid"] == first.id
    assert admin.signing_keys.promote("second").state == "signing"
    new = admin.tokens.issue("acme", "ada")
    assert header(new.access_token)["kid"] == "second"
    # A token lives two seconds: on a slow machine one may be too old already.
    eventually(lambda: daemon.decide(
        admin.tokens.issue("acme", "ada").access_token, dry_run=True) == "pro_tier")
    states = {one.id: one for one in admin.signing_keys.list()}
    assert states[first.id].state == "retiring" and states[first.id].retirable_at is not None
    after_a_kill(daemon)
    refreshed = admin.tokens.refresh(old.refresh_token)
    assert header(refreshed.access_token)["kid"] == "second"
    retirable_at = states[first.id].retirable_at

    def retired():
        """Not while a token may live that the old key signed, and then it can be."""
        before = now()
        try:
            key = admin.signing_keys.retire(first.id)
        except Conflict:
            assert before < retirable_at
            return False
        assert key.state == "retired" and now() >= retirable_at
        return True

    assert retirable_at < now() + 10_000
    eventually(retired)
    assert not (daemon.place.directory / "signing" / f"{first.id}.key").exists()
    refused(AlreadyExists, lambda: admin.signing_keys.add("second"))
    refused(NotFound, lambda: admin.signing_keys.promote("third"))
    after_a_kill(daemon)
    assert header(admin.tokens.issue("acme", "ada").access_token)["kid"] == "second"


def test_tokens_of_an_issuer_outside_are_served_beside_the_directory(directory):
    sign_up(directory)
    outside = token(directory, plan="pro_tier", sub="eve", org="gamma")
    assert directory.decide(outside) == "pro_tier"
    directory.admins.organizations.suspend("acme")
    inside = token(directory, plan="pro_tier", sub="ada", org="acme")
    assert directory.decide(inside) == "subscriptionInactive"
    assert directory.decide(outside) == "pro_tier"
    known = directory.admins.revoke.user("gamma", "eve")
    assert not known.known and directory.decide(outside) == "credentialRevoked"
    after_a_kill(directory)
    assert directory.decide(outside) == "credentialRevoked"
    assert directory.decide(inside) == "subscriptionInactive"


def test_lone_users_of_an_issuer_outside_are_their_own_organizations(directory):
    admin = directory.admins
    admin.organizations.create("zoë", personal=True, plan="pro_tier")
    claimed = {"iss": "https://login.example.com", "aud": "https://api.example.com", "sub": "zoë",
               "plan": "pro_tier", "exp": now() // 1_000 + 3_000}
    lone = jwt.encode(claimed, directory.secret, "HS256", headers={"kid": "main-1"})
    # Of an organization of that name, which the directory does not know.
    member = token(directory, plan="pro_tier", sub="zoë", org="zoë")

    def decided():
        assert directory.decide(member, dry_run=True) == "pro_tier"
        return directory.decide(lone, dry_run=True)

    assert decided() == "pro_tier"
    admin.organizations.suspend("zoë")
    assert decided() == "subscriptionInactive"
    admin.organizations.resume("zoë")
    assert decided() == "pro_tier"
    assert admin.revoke.user("zoë", "zoë", personal=True).known
    assert decided() == "credentialRevoked"
    assert [one.personal for one in admin.revoke.list("zoë")] == [True]
    assert list(admin.revoke.list("zoë", personal=False)) == []
    after_a_kill(directory)
    assert decided() == "credentialRevoked"
