"""Keys that sign access tokens change while tokens are issued, refreshed and checked: none that
lives is refused, and an order that would refuse one is."""

import threading
import time

import pytest
from directory_daemon import (
    claims,
    header,
    now,
    refused,
    start_directory,  # noqa: F401, a fixture
)
from directory_flood import ALLOWED, check, decisions
from hardening import connect, eventually
from tollgate import AlreadyExists, Client, Conflict, NotFound

LIFE = 2_000


@pytest.fixture
def daemon(start_directory):  # noqa: F811, the fixture
    made = start_directory(tokens={"access_lifetime": "2s", "refresh_grace": "60s"})
    made.admins.organizations.create("acme", plan="enterprise_tier")
    made.admins.users.create("acme", "ada")
    return made


class Logins(threading.Thread):
    """Logs in, refreshes and checks without a pause, and keeps what it saw."""

    def __init__(self, daemon):
        super().__init__()
        self.daemon, self.seen, self.failure = daemon, [], None
        self.done = threading.Event()

    def run(self):
        try:
            with Client(self.daemon.data, timeout=20) as client, connect(self.daemon.data) as peer:
                while not self.done.is_set():
                    tokens = client.tokens.issue("acme", "ada")
                    again = client.tokens.refresh(tokens.refresh_token)
                    for one in (tokens, again):
                        said = set(decisions(peer, [check(one.access_token)] * 20))
                        # Not counted: what may have expired before the answer was there.
                        if now() < one.expires_at:
                            self.seen.append((header(one.access_token)["kid"], said))
        except Exception as error:
            self.failure = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join(60)
        assert self.failure is None, self.failure

    def wait_for(self, kid):
        eventually(lambda: any(seen == kid for seen, _ in self.seen[-2:]) or self.failure)


def states(daemon):
    return {one.id: one.state for one in daemon.admins.signing_keys.list()}


def retired(admin, key):
    """Asked without a pause: not before the instant that the daemon told, and then at once."""
    while True:
        asked = now()
        try:
            made = admin.retire(key.id)
        except Conflict:
            assert asked < key.retirable_at
            time.sleep(0.002)
        else:
            assert made.retired_at >= key.retirable_at
            return made


def test_signing_keys_change_under_load_and_no_live_token_is_refused(daemon):
    admin = daemon.admins.signing_keys
    old = next(iter(states(daemon)))
    with Logins(daemon) as logins, connect(daemon.data) as peer:
        logins.wait_for(old)
        for new in ("second", "third"):
            assert admin.add(new).state == "verifying"
            # It verifies, and signs nothing yet.
            assert header(daemon.admins.tokens.issue("acme", "ada").access_token)["kid"] == old
            refused(Conflict, lambda old=old: admin.retire(old))
            last = daemon.admins.tokens.issue("acme", "ada")
            assert admin.promote(new).state == "signing"
            demoted = next(one for one in admin.list() if one.id == old)
            assert (demoted.state, states(daemon)[new]) == ("retiring", "signing")
            # Not before every token that it signed has expired; it says until when.
            assert demoted.retirable_at == demoted.demoted_at + LIFE >= last.expires_at
            assert str(demoted.retirable_at) in refused(Conflict, lambda old=old: admin.retire(old))
            logins.wait_for(new)
            said = decisions(peer, [check(last.access_token)])
            assert now() >= last.expires_at or said == [ALLOWED]
            refused(Conflict, lambda new=new: admin.retire(new))
            assert retired(admin, demoted).state == "retired"
            # Retired again it stays so; it is no key to go back to, and its id is used.
            assert admin.retire(old).state == "retired"
            refused(Conflict, lambda old=old: admin.promote(old))
            refused(AlreadyExists, lambda old=old: admin.add(old))
            assert decisions(peer, [check(last.access_token)]) != [ALLOWED]
            old = new
    assert {said for kid, all_said in logins.seen for said in all_said} == {ALLOWED}
    assert len({kid for kid, _ in logins.seen}) == 3
    refused(NotFound, lambda: admin.promote("nobody"))
    refused(NotFound, lambda: admin.retire("nobody"))


def test_tokens_of_the_former_key_are_good_to_their_end(daemon):
    admin = daemon.admins.signing_keys
    tokens = daemon.admins.tokens.issue("acme", "ada")
    admin.add("second")
    admin.promote("second")
    seen = set()
    with connect(daemon.data) as peer:
        while True:
            said = decisions(peer, [check(tokens.access_token)])
            if now() >= tokens.expires_at:
                break
            seen |= set(said)
    assert seen == {ALLOWED}
    assert claims(tokens.access_token)["exp"] * 1_000 == tokens.expires_at


def test_going_back_to_the_former_key_keeps_the_tokens_of_both(daemon):
    """A promotion that is taken back leaves two keys of which tokens live."""
    admin = daemon.admins.signing_keys
    first = next(iter(states(daemon)))
    admin.add("second")
    admin.promote("second")
    second = daemon.admins.tokens.issue("acme", "ada")
    admin.promote(first)
    assert states(daemon) == {first: "signing", "second": "retiring"}
    refused(Conflict, lambda: admin.retire("second"))
    said = daemon.decide(second.access_token)
    assert now() >= second.expires_at or said == "enterprise_tier"
    assert retired(admin, next(one for one in admin.list() if one.id == "second"))


def test_tokens_of_a_longer_life_that_the_policy_gave_before_keep_their_key(daemon):
    admin = daemon.admins.signing_keys
    first = next(iter(states(daemon)))
    short = daemon.policy.read_text()

    def reload(life):
        daemon.policy.write_text(short.replace('"access_lifetime": "2s"', life))
        daemon.admins.reload()

    reload('"access_lifetime": "1h"')
    long_lived = daemon.admins.tokens.issue("acme", "ada")
    reload('"access_lifetime": "2s"')
    # The policy in force does not take tokens for so long; the next one may.
    assert daemon.decide(long_lived.access_token) == "tokenLifetimeTooLong"
    admin.add("second")
    admin.promote("second")
    time.sleep(LIFE / 1_000)
    refused(Conflict, lambda: admin.retire(first))
    reload('"access_lifetime": "1h"')
    assert daemon.decide(long_lived.access_token) == "enterprise_tier"
