"""RELIABILITY J10 and C5: no CHECK that is sent after a change was answered passes by what was
before it, however many come."""

import time

import pytest
from directory_daemon import DirectoryDaemon, claims
from directory_flood import ALLOWED, WidePlace, check, decisions, flooding, instant
from hardening import connect, token
from tollgate import RefreshRefused

REVOKED, INACTIVE, UNKNOWN, DENIED = (2, 22), (2, 30), (2, 15), (2, 41)


@pytest.fixture(scope="module")
def daemon():
    place = WidePlace()
    made = DirectoryDaemon(place, threads=2)
    yield made
    assert made.process.poll() is None, "the daemon died: " + made.logged()
    assert made.stop() == 0
    made.remove()
    place.remove()


class Customer:
    """One organization with one user, a key and a login; `credentials` by what they are."""

    def __init__(self, daemon, name):
        self.daemon, self.admin, self.id = daemon, daemon.admins, name
        self.admin.organizations.create(name, plan="wide_tier")
        self.admin.users.create(name, "ada")
        self.key = self.admin.keys.create(name, "ada")
        self.login = self.admin.tokens.issue(name, "ada")
        self.credentials = {"key": self.key.secret, "token": self.login.access_token}

    def claimed(self):
        """A token of an issuer that is served by its claims, and may name whom it likes."""
        self.credentials["claimed"] = token(
            self.daemon, org=self.id, sub="eve", plan="enterprise_tier", jti="j1")

    def reuse(self):
        """The grandparent of what is good now: the session is ended, the answer a refusal."""
        oldest = self.login.refresh_token
        second = self.admin.tokens.refresh(oldest)
        self.admin.tokens.refresh(second.refresh_token)
        return lambda: pytest.raises(RefreshRefused, self.admin.tokens.refresh, oldest)

    def ended(self):
        """By an end that lay ahead, and has come."""
        end = int(time.time() * 1_000) + 500
        self.admin.keys.edit(self.id, self.key.key.id, expires_at=end)
        time.sleep(0.51)

    def narrowed(self):
        self.admin.keys.edit(self.id, self.key.key.id, addresses=["192.0.2.0/24"])


def jti(customer):
    return claims(customer.login.access_token)["jti"]


# Which credentials are lost and why, and the change; what is not named is served all through.
CHANGES = {
    "key.revoke": (
        {"key": REVOKED}, lambda c: c.admin.keys.revoke(c.id, c.key.key.id)),
    "key.rotate without overlap": (
        {"key": (2, 16)},
        lambda c: c.admin.keys.rotate(c.id, c.key.key.id, overlap_seconds=0)),
    "key.edit of addresses": ({"key": (2, 24)}, Customer.narrowed),
    "key.edit of permissions": (
        {"key": DENIED}, lambda c: c.admin.keys.edit(c.id, c.key.key.id, permissions=[])),
    "key.edit of the end": (
        {"key": (2, 17)}, Customer.ended),
    "revoke.token": ({"token": REVOKED}, lambda c: c.admin.revoke.token(c.id, jti(c))),
    "revoke.token of another issuer": (
        {"claimed": REVOKED}, lambda c: c.admin.revoke.token(c.id, "j1")),
    "session.revoke": (
        {"token": REVOKED}, lambda c: c.admin.sessions.revoke(c.id, c.login.session.id)),
    "session.end": (
        {"token": REVOKED}, lambda c: c.admin.sessions.end(c.login.refresh_token)),
    "revoke.user": (
        {"key": REVOKED, "token": REVOKED}, lambda c: c.admin.revoke.user(c.id, "ada")),
    "revoke.user of another issuer": (
        {"claimed": REVOKED}, lambda c: c.admin.revoke.user(c.id, "eve")),
    "revoke.organization": (
        {"key": REVOKED, "token": REVOKED, "claimed": REVOKED},
        lambda c: c.admin.revoke.organization(c.id)),
    "user.suspend": (
        {"key": REVOKED, "token": REVOKED}, lambda c: c.admin.users.suspend(c.id, "ada")),
    "user.set_role to none": (
        {"key": REVOKED, "token": REVOKED}, lambda c: c.admin.users.set_role(c.id, "ada", None)),
    "user.delete": (
        {"key": UNKNOWN, "token": REVOKED}, lambda c: c.admin.users.delete(c.id, "ada")),
    "org.suspend": (
        {"key": INACTIVE, "token": INACTIVE, "claimed": INACTIVE},
        lambda c: c.admin.organizations.suspend(c.id)),
    "org.set_subscription to canceled": (
        {"key": INACTIVE, "token": INACTIVE, "claimed": INACTIVE},
        lambda c: c.admin.organizations.set_subscription(c.id, status="canceled")),
    "org.delete": (
        {"key": UNKNOWN, "token": REVOKED, "claimed": REVOKED},
        lambda c: c.admin.organizations.delete(c.id)),
    "org.change_plan to one that grants less": (
        {"key": DENIED, "token": DENIED},
        lambda c: c.admin.organizations.change_plan(c.id, "pro_tier")),
    "override.set of a quota to 0": (
        {"key": (2, 70), "token": (2, 70)}, lambda c: c.admin.overrides.set(c.id, "wide_calls", 0)),
    "override.set of a user's rate limit to 0": (
        {"key": (2, 51), "token": (2, 51)},
        lambda c: c.admin.overrides.set(c.id, "wide_burst", 0, user="ada")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_no_check_sent_after_the_change_was_answered_passes_by_what_was_before(daemon, name):
    lost, change = CHANGES[name]
    customer = Customer(daemon, name)
    customer.claimed()
    hold(daemon, customer, lost, lambda: change(customer))


def test_no_check_passes_after_a_refresh_token_was_used_twice(daemon):
    customer = Customer(daemon, "reuse")
    hold(daemon, customer, {"token": REVOKED}, customer.reuse())


def hold(daemon, customer, lost, change):
    """The credentials `lost` are allowed up to the change, and to nobody behind its answer."""
    names = list(customer.credentials)
    bodies = [check(one, operation="batch") for one in customer.credentials.values()]
    # On connections enough that each reactor has some.
    waiting = [connect(daemon.data) for _ in range(8)]
    with flooding(daemon.data, bodies) as flood:
        flood.wait_for_parts(12)
        asked = instant()
        change()
        answered = instant()
        # Whoever hears of the answer asks at once.
        at_once = [decisions(peer, bodies) for peer in waiting]
        flood.wait_for_parts(12)
        flood.stop()
    for peer in waiting:
        peer.close()
    expected = [lost.get(one, ALLOWED) for one in names]
    assert at_once == [expected] * len(waiting)
    before, after = flood.said(until=asked), flood.said(since=answered)
    assert [set(one) for one in before] == [{ALLOWED}] * len(names)
    assert [set(one) for one in after] == [{one} for one in expected]
    counts = [sum(one.values()) for one in before + after]
    assert min(counts) > 1_500 and sum(counts) > 9_000, counts


def test_a_change_and_its_opposite_take_turns_under_a_flood(daemon):
    """Each answer holds until the next change is asked for."""
    customer = Customer(daemon, "turns")
    turns = [
        (lambda: customer.admin.users.suspend("turns", "ada"), REVOKED),
        (lambda: customer.admin.users.resume("turns", "ada"), ALLOWED),
        (lambda: customer.admin.organizations.suspend("turns"), INACTIVE),
        (lambda: customer.admin.organizations.resume("turns"), ALLOWED),
        (lambda: customer.admin.organizations.change_plan("turns", "pro_tier"), DENIED),
        (lambda: customer.admin.organizations.change_plan("turns", "wide_tier"), ALLOWED),
        (lambda: customer.admin.overrides.set("turns", "wide_calls", 0), (2, 70)),
        (lambda: customer.admin.overrides.remove("turns", "wide_calls"), ALLOWED),
    ] * 5
    bodies = [check(one, operation="batch") for one in customer.credentials.values()]
    periods = []
    with flooding(daemon.data, bodies) as flood:
        for change, expected in turns:
            change()
            periods.append([expected, instant(), None])
            flood.wait_for_parts(2)
            periods[-1][2] = instant()
        flood.stop()
    for expected, since, until in periods:
        for said in flood.said(since, until):
            assert set(said) == {expected}
