"""RELIABILITY K2 and K3: floods of keys that are none, and of a victim's real key with wrong
secrets. They hurt nobody else, and nothing of them is kept."""

import random
import threading

import pytest
from directory_daemon import DirectoryDaemon
from directory_flood import (
    ALLOWED, INVALID_LIMIT, StrictPlace, check, checked, decisions, random_text)
from hardening import connect, eventually

FLOODER, OWNER = "198.51.100.7", "192.0.2.1"
LIMITED, INVALID = (2, 50), (2, 11)
FLOOD, PART = 20_000, 200


@pytest.fixture
def daemon():
    place = StrictPlace()
    made = DirectoryDaemon(place, threads=2)
    made.admins.organizations.create("acme", plan="enterprise_tier")
    made.admins.users.create("acme", "ada")
    yield made
    assert made.process.poll() is None, "the daemon died: " + made.logged()
    assert made.stop() == 0
    made.remove()
    place.remove()


def bad_digits(source):
    text = checked("tg_live_" + random_text(source, 48))
    place = source.randrange(8, len(text))
    return text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1:]


def unknown_key(source):
    return checked("tg_live_" + random_text(source, 48))


def test_the_check_digits_here_are_those_of_the_daemon(daemon):
    secret = daemon.admins.keys.create("acme", "ada").secret
    assert checked(secret[:-6]) == secret


class Owner(threading.Thread):
    """Works with a key, from an address of his own, while others misbehave."""

    def __init__(self, daemon, secret, address):
        super().__init__()
        self.path, self.body = daemon.data, check(secret, address=address)
        self.done, self.said = threading.Event(), []

    def run(self):
        while not self.done.is_set():
            # A connection each, so that every reactor is asked, those that know the key and not.
            with connect(self.path) as peer:
                self.said += decisions(peer, [self.body] * 20)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join(60)


def kept(daemon):
    """What would grow if anything of a flood were kept."""
    files = {path.name: path.stat().st_size
             for path in daemon.place.directory.rglob("*") if path.is_file()}
    newest = daemon.admins.log.list().page(limit=1).items[0].number
    return files, newest, daemon.admins.directory.status(), daemon.logged()


@pytest.mark.parametrize("kind", ["bad check digits", "unknown keys", "a victim's key"])
def test_a_flood_of_invalid_keys_hurts_nobody_and_leaves_nothing(daemon, kind):
    key = daemon.admins.keys.create("acme", "ada")
    head = key.secret[:-38]
    make = {"bad check digits": bad_digits, "unknown keys": unknown_key,
            "a victim's key": lambda source: checked(head + random_text(source, 32))}[kind]
    assert daemon.decide(key.secret, address=OWNER) == "enterprise_tier"
    source = random.Random(7)
    before, resident, said = kept(daemon), daemon.resident_kib(), []
    with Owner(daemon, key.secret, OWNER) as owner, connect(daemon.data) as flooder:
        for _ in range(FLOOD // PART):
            bodies = [check(make(source), address=FLOODER) for _ in range(PART)]
            said += decisions(flooder, bodies)
        eventually(lambda: len(owner.said) > 500)
    # Nobody who is refused learns why, nor anything of the victim's key.
    assert said == [INVALID] * INVALID_LIMIT + [LIMITED] * (FLOOD - INVALID_LIMIT)
    assert set(owner.said) == {ALLOWED}
    assert kept(daemon) == before
    assert daemon.resident_kib() < resident + 8 * 1024
    assert daemon.admins.keys.show("acme", key.key.id).state == "active"


def test_who_shares_the_flooders_address_goes_on_with_what_was_in_use(daemon):
    key = daemon.admins.keys.create("acme", "ada")
    login = daemon.admins.tokens.issue("acme", "ada")
    ours = [check(key.secret, address=FLOODER), check(login.access_token, address=FLOODER)]
    source = random.Random(8)
    peers = [connect(daemon.data) for _ in range(8)]
    for peer in peers:
        assert set(decisions(peer, ours)) == {ALLOWED}
    assert set(decisions(peers[0], [
        check(bad_digits(source), address=FLOODER) for _ in range(200)])) == {INVALID, LIMITED}
    for peer in peers:
        assert set(decisions(peer, ours)) == {ALLOWED}
    # A change elsewhere makes the daemon look again; it looks at what it knows.
    daemon.admins.organizations.create("other")
    for peer in peers:
        assert set(decisions(peer, ours)) == {ALLOWED}
    # What was never seen is not looked at from there, and is good from elsewhere.
    new = daemon.admins.keys.create("acme", "ada").secret
    assert set(decisions(peers[0], [check(new, address=FLOODER)])) == {LIMITED}
    assert set(decisions(peers[0], [check(new, address=OWNER)])) == {ALLOWED}
    # What is revoked meanwhile is known no more: refused once by each thread at most, and then not
    # looked at either.
    daemon.admins.keys.revoke("acme", key.key.id)
    said = [one for peer in peers for one in decisions(peer, ours[:1] * 10)]
    assert set(said) == {INVALID, LIMITED} and 1 <= said.count(INVALID) <= 2
    for peer in peers:
        peer.close()


def test_a_key_in_use_is_served_on_every_connection_from_the_flooders_address(daemon):
    """Also where another reactor knows it and this one does not."""
    key = daemon.admins.keys.create("acme", "ada")
    body = check(key.secret, address=FLOODER)
    with connect(daemon.data) as peer:
        assert decisions(peer, [body]) == [ALLOWED]
        source = random.Random(9)
        decisions(peer, [check(bad_digits(source), address=FLOODER) for _ in range(100)])
    for _ in range(16):
        with connect(daemon.data) as peer:
            assert decisions(peer, [body]) == [ALLOWED]
