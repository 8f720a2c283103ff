"""Every way to take access away, and to give it back: what it takes from whom, from the very next
CHECK on, and after kill -9."""

import pytest
from directory_daemon import (
    claims,
    directory,  # noqa: F401, a fixture
    refused,
    start_directory,  # noqa: F401, a fixture
)
from tollgate import Conflict, NotFound, RefreshRefused

ALLOWED = "pro_tier"
REVOKED, INACTIVE = "credentialRevoked", "subscriptionInactive"


class Customers:
    """acme with ada (two keys, two logins) and ben, and beta with an ada of its own."""

    def __init__(self, daemon):
        self.daemon, self.admin = daemon, daemon.admins
        self.keys, self.logins = {}, {}
        for organization, users in (("acme", ("ada", "ben")), ("beta", ("ada",))):
            self.admin.organizations.create(organization, plan="pro_tier")
            for user in users:
                self.admin.users.create(organization, user)
                for number in (1, 2):
                    name = f"{organization}/{user}/{number}"
                    self.keys[name] = self.admin.keys.create(organization, user)
                    self.logins[name] = self.admin.tokens.issue(organization, user)
        assert self.lost() == {}

    def lost(self):
        """Which credentials are refused now, and why."""
        credentials = {
            **{f"key {name}": key.secret for name, key in self.keys.items()},
            **{f"token {name}": one.access_token for name, one in self.logins.items()}}
        decisions = {name: self.daemon.decide(one, dry_run=True)
                     for name, one in credentials.items()}
        return {name: said for name, said in decisions.items() if said != ALLOWED}

    def refreshes(self, name):
        """Whether the login goes on; the token is spent then."""
        try:
            self.logins[name] = self.admin.tokens.refresh(self.logins[name].refresh_token)
            return True
        except RefreshRefused:
            return False


def of(*prefixes, why=REVOKED):
    """Credentials whose name begins so."""
    names = [f"{kind} {who}/{number}" for kind in ("key", "token")
             for who in ("acme/ada", "acme/ben", "beta/ada") for number in (1, 2)]
    return {name: why for name in names if name.startswith(prefixes)}


FIRST = "acme/ada/1"
# What is done, what of it is lost, which logins go on, and what gives it back, if anything does.
WAYS = {
    "revoke a key": (
        lambda c: c.admin.keys.revoke("acme", c.keys[FIRST].key.id),
        {"key acme/ada/1": REVOKED}, {FIRST, "acme/ada/2", "acme/ben/1"}, None),
    "revoke a token": (
        lambda c: c.admin.revoke.token(
            "acme", claims(c.logins[FIRST].access_token)["jti"]),
        {"token acme/ada/1": REVOKED}, {FIRST, "acme/ada/2", "acme/ben/1"}, None),
    "revoke a session": (
        lambda c: c.admin.sessions.revoke("acme", c.logins[FIRST].session.id),
        {"token acme/ada/1": REVOKED}, {"acme/ada/2", "acme/ben/1"}, None),
    "log out": (
        lambda c: c.admin.sessions.end(c.logins[FIRST].refresh_token),
        {"token acme/ada/1": REVOKED}, {"acme/ada/2", "acme/ben/1"}, None),
    "log out on the data socket": (
        lambda c: c.daemon.callers.sessions.end(c.logins[FIRST].refresh_token),
        {"token acme/ada/1": REVOKED}, {"acme/ada/2", "acme/ben/1"}, None),
    "revoke a user": (
        lambda c: c.admin.revoke.user("acme", "ada"),
        of("key acme/ada", "token acme/ada"), {"acme/ben/1"}, None),
    "revoke an organization": (
        lambda c: c.admin.revoke.organization("acme"), of("key acme", "token acme"),
        {"beta/ada/1"}, None),
    "suspend a user": (
        lambda c: c.admin.users.suspend("acme", "ada"),
        of("key acme/ada", "token acme/ada"), {"acme/ben/1"},
        lambda c: c.admin.users.resume("acme", "ada")),
    "take a seat": (
        lambda c: c.admin.users.set_role("acme", "ada", None),
        of("key acme/ada", "token acme/ada"), {"acme/ben/1"},
        lambda c: c.admin.users.set_role("acme", "ada", "admin")),
    "delete a user": (
        lambda c: c.admin.users.delete("acme", "ada"),
        {**of("key acme/ada", why="keyUnknown"), **of("token acme/ada")},
        {"acme/ben/1"}, None),
    "suspend an organization": (
        lambda c: c.admin.organizations.suspend("acme"),
        of("key acme", "token acme", why=INACTIVE), {"beta/ada/1"},
        lambda c: c.admin.organizations.resume("acme")),
    "suspend a subscription": (
        lambda c: c.admin.organizations.set_subscription("acme", status="suspended"),
        of("key acme", "token acme", why=INACTIVE), {"beta/ada/1"},
        lambda c: c.admin.organizations.set_subscription("acme", status="active")),
    "cancel a subscription": (
        lambda c: c.admin.organizations.set_subscription("acme", status="canceled"),
        of("key acme", "token acme", why=INACTIVE), {"beta/ada/1"},
        lambda c: c.admin.organizations.set_subscription("acme", status="past_due")),
    "delete an organization": (
        lambda c: c.admin.organizations.delete("acme"),
        {**of("key acme", why="keyUnknown"), **of("token acme")}, {"beta/ada/1"}, None),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_taken_is_refused_at_once_and_nothing_else_is(directory, way):
    take, lost, going_on, give_back = WAYS[way]
    customers = Customers(directory)
    take(customers)
    assert customers.lost() == lost
    directory.die_and_start_again()
    assert customers.lost() == lost
    if give_back is not None:
        give_back(customers)
        assert customers.lost() == {}
        directory.die_and_start_again()
        assert customers.lost() == {}
        take(customers)
    goes_on = {name for name in customers.logins if customers.refreshes(name)}
    assert goes_on >= going_on
    # The tokens that a login gets from now on are worth no more than it.
    for name in goes_on:
        assert customers.lost().get(f"token {name}") is None
    for name in {f"token {name}" for name in customers.logins} & set(lost):
        login = name.removeprefix("token ")
        assert login not in goes_on or way == "revoke a token"


def test_a_user_whose_tokens_were_revoked_logs_in_again(directory):
    customers = Customers(directory)
    for revoke in (lambda: customers.admin.revoke.user("acme", "ada"),
                   lambda: customers.admin.revoke.organization("acme")):
        revoke()
        again = customers.admin.tokens.issue("acme", "ada")
        assert directory.decide(again.access_token) == ALLOWED
        revoke()
        assert directory.decide(again.access_token) == REVOKED
    assert {one.kind for one in customers.admin.revoke.list("acme")} == {"user", "organization"}


def test_who_comes_back_under_the_same_id_is_somebody_else(directory):
    customers = Customers(directory)
    admin = customers.admin
    admin.users.delete("acme", "ada")
    admin.organizations.delete("beta")
    refused(NotFound, lambda: admin.users.show("acme", "ada"))
    refused(NotFound, lambda: admin.keys.list("beta"))
    admin.users.create("acme", "ada")
    admin.organizations.create("beta", plan="pro_tier")
    admin.users.create("beta", "ada")
    lost = customers.lost()
    assert set(lost) == set(of("key acme/ada", "token acme/ada", "key beta", "token beta"))
    new = admin.tokens.issue("acme", "ada")
    assert directory.decide(new.access_token) == ALLOWED
    directory.die_and_start_again()
    assert customers.lost() == lost and directory.decide(new.access_token) == ALLOWED


def test_who_is_not_served_cannot_log_in(directory):
    customers = Customers(directory)
    admin = customers.admin
    for take, give_back in (
        (lambda: admin.users.suspend("acme", "ada"), lambda: admin.users.resume("acme", "ada")),
        (lambda: admin.users.set_role("acme", "ada", None),
         lambda: admin.users.set_role("acme", "ada", "member")),
        (lambda: admin.organizations.suspend("acme"),
         lambda: admin.organizations.resume("acme")),
    ):
        take()
        refused(Conflict, lambda: admin.tokens.issue("acme", "ada"))
        give_back()
        assert directory.decide(admin.tokens.issue("acme", "ada").access_token) == ALLOWED


def test_a_revoked_key_is_revoked_for_good(directory):
    customers = Customers(directory)
    admin, key = customers.admin, customers.keys[FIRST]
    assert admin.keys.revoke("acme", key.key.id).state == "revoked"
    refused(Conflict, lambda: admin.keys.rotate("acme", key.key.id))
    assert admin.keys.show("acme", key.key.id).revoked_at is not None
    assert directory.decide(key.secret) == REVOKED
