"""RELIABILITY K4: while a key is rotated no request with a secret that is good then is refused,
and a secret is good up to the instant that the daemon names, and not at it."""

import threading
import time

import pytest
from directory_daemon import (
    DirectoryDaemon,
    now,
    start_directory,  # noqa: F401, a fixture
)
from directory_flood import ALLOWED, WidePlace, check, decisions
from hardening import connect, eventually
from tollgate import KeyRate

ROTATIONS, FLOODERS = 60, 4


@pytest.fixture
def daemon():
    place = WidePlace()
    made = DirectoryDaemon(place)
    made.admins.organizations.create("acme", plan="wide_tier")
    made.admins.users.create("acme", "ada")
    yield made
    assert made.process.poll() is None, "the daemon died: " + made.logged()
    assert made.stop() == 0
    made.remove()
    place.remove()


class Holders:
    """Use the newest secrets that they know of, as fast as they can."""

    def __init__(self, daemon, secrets):
        self.daemon, self.secrets, self.seen, self.failures = daemon, secrets, [], []
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(FLOODERS)]

    def run(self):
        try:
            with connect(self.daemon.data) as peer:
                while not self.done.is_set():
                    # The newest, and the one before it, which is in its overlap.
                    newest = len(self.secrets) - 1
                    used = [max(newest - 1, 0), newest] * 8
                    said = decisions(peer, [check(self.secrets[one]) for one in used])
                    # Not counted: what may have been over before the answer was read. `asked`
                    # is looked at first, lest a rotation be seen as neither asked nor done.
                    beyond = self.asked + len(self.secrets) - 2
                    self.seen += [(one, what) for one, what in zip(used, said) if one >= beyond]
        except Exception as error:
            self.failures.append(error)

    # 1 while a rotation is under way: the last secret but one may be gone already.
    asked = 0

    def __enter__(self):
        for one in self.threads:
            one.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for one in self.threads:
            one.join(60)
        assert not self.failures, self.failures


def test_rotating_again_and_again_refuses_no_secret_that_is_good(daemon):
    key = daemon.admins.keys.create("acme", "ada")
    secrets = [key.secret]
    with Holders(daemon, secrets) as holders:
        for _ in range(ROTATIONS):
            holders.asked = 1
            made = daemon.admins.keys.rotate("acme", key.key.id, overlap_seconds=600)
            secrets.append(made.secret)
            holders.asked = 0
            assert made.key.id == key.key.id and made.key.state == "rotating"
            goal = len(holders.seen) + 64
            eventually(lambda: len(holders.seen) >= goal or holders.failures)
    assert {what for _, what in holders.seen} == {ALLOWED}
    by_secret = {one for one, _ in holders.seen}
    assert by_secret == set(range(ROTATIONS + 1)) and len(holders.seen) > 64 * ROTATIONS
    with connect(daemon.data) as peer:
        said = decisions(peer, [check(one) for one in secrets])
    assert said == [(2, 16)] * (ROTATIONS - 1) + [ALLOWED] * 2


def asked_around(daemon, credential, until):
    """Decisions from before the instant to behind it, each with the earliest and the latest
    instant at which it may have been made."""
    seen = []
    with connect(daemon.data) as peer:
        while not seen or seen[-1][0] <= until + 50:
            earliest = now()
            said, = decisions(peer, [check(credential)])
            seen.append((earliest, now(), said))
            # Not to fill memory; the edge itself is looked at without a pause.
            if now() < until - 100:
                time.sleep(0.005)
    return seen


def hold_at(seen, until, behind):
    before = {said for _, latest, said in seen if latest < until}
    after = {said for earliest, _, said in seen if earliest >= until}
    assert (before, after) == ({ALLOWED}, {behind})


def test_a_rotated_secret_is_good_strictly_before_the_end_of_its_overlap(daemon):
    key = daemon.admins.keys.create("acme", "ada")
    for seconds in (1, 2):
        before = now()
        made = daemon.admins.keys.rotate("acme", key.key.id, overlap_seconds=seconds)
        until = made.key.rotating_until_at
        assert before <= until - 1_000 * seconds <= now()
        hold_at(asked_around(daemon, key.secret, until), until, (2, 17))
        assert daemon.admins.keys.show("acme", key.key.id).state == "active"
        assert daemon.decide(made.secret) == "wide_tier"
        key = made


def test_keys_and_tokens_are_good_strictly_before_their_end(start_directory):  # noqa: F811
    daemon = start_directory(tokens={"access_lifetime": "2s"})
    daemon.admins.organizations.create("acme", plan="enterprise_tier")
    daemon.admins.users.create("acme", "ada")
    until = now() + 2_000
    key = daemon.admins.keys.create("acme", "ada", expires_at=until)
    hold_at(asked_around(daemon, key.secret, until), until, (2, 17))
    tokens = daemon.admins.tokens.issue("acme", "ada")
    hold_at(asked_around(daemon, tokens.access_token, tokens.expires_at), tokens.expires_at,
            (2, 17))
    # The end of the key is the end of the overlap too, though that would be longer.
    until = now() + 2_000
    key = daemon.admins.keys.create("acme", "ada", expires_at=until)
    made = daemon.admins.keys.rotate("acme", key.key.id, overlap_seconds=60)
    for secret in (key.secret, made.secret):
        assert daemon.decide(secret) in ("enterprise_tier", "tokenExpired")
    seen = asked_around(daemon, key.secret, until)
    hold_at(seen, until, (2, 17))


def test_a_key_that_is_rotated_keeps_its_counters(daemon):
    made = daemon.admins.keys.create("acme", "ada", rate=KeyRate(6, 86_400))
    said = []
    for _ in range(4):
        said += [daemon.decide(made.secret), daemon.decide(made.secret)]
        made = daemon.admins.keys.rotate("acme", made.key.id)
    assert said == ["wide_tier"] * 6 + ["rateLimited"] * 2
