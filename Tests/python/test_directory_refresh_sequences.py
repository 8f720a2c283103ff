"""RELIABILITY R1 to R3 over the real daemon: one family of refresh tokens, whatever is done with
it in whatever order, beside a model. Many sequences go on at once, a step of each at a time."""

import itertools
import json
import os
import random
import time

import pytest
from directory_daemon import (
    claims,
    start_directory,  # noqa: F401, a fixture
)
from directory_flood import ALLOWED, call_frame, call_reply, check, decisions
from hardening import connect, read_reply

REVOKED = (2, 22)
LOG_IN_AGAIN = (23, "log in again")
PEERS = 64
# A user has 1,000 sessions at most, and one more would end the first.
USERS = ["ada", *(f"u{number}" for number in range(39))]
# The daemon lets 1,024 calls wait.
WAITING = 15 * PEERS


class Peers:
    """Connections of which each carries a part of what is asked at once."""

    def __init__(self, path):
        self.peers = [connect(path) for _ in range(PEERS)]

    def calls(self, requests):
        """The reply of each, as `call_reply` gives it; those of one family come one behind the
        other, for they go on one connection."""
        found = [None] * len(requests)
        for start in range(0, len(requests), WAITING):
            part = range(start, min(start + WAITING, len(requests)))
            for index in part:
                frame = call_frame(identity=index + 1, **requests[index])
                self.peers[index % PEERS].sendall(frame)
            for index in part:
                _, status, identity, body = read_reply(self.peers[index % PEERS])
                found[identity - 1] = (status, body.decode()) if status else json.loads(body)
        return found

    def close(self):
        for peer in self.peers:
            peer.close()


@pytest.fixture
def start_peers(start_directory):  # noqa: F811, the fixture
    made = []

    def start(**tokens):
        daemon = start_directory(tokens=tokens)
        daemon.admins.organizations.create("acme", plan="enterprise_tier")
        for user in USERS:
            daemon.admins.users.create("acme", user)
        made.append(Peers(daemon.admin))
        return daemon, made[-1]

    yield start
    for one in made:
        one.close()


class Family:
    """A login beside its model: which tokens were given, and whether it has ended."""

    def __init__(self, tokens):
        self.session = tokens["session"]["id"]
        self.refresh, self.access = [tokens["refresh_token"]], [tokens["access_token"]]
        self.ended = False

    def request(self, step):
        """What a step asks; None where there is nothing to do it with."""
        back = {"use": 1, "retry": 2, "grandparent": 3}.get(step)
        if back is not None:
            token = self.refresh[-back] if back <= len(self.refresh) else None
            return token and {"call": "token.refresh", "refresh_token": token}
        if step == "log out":
            return {"call": "session.end", "refresh_token": self.refresh[0]}
        assert step == "revoke"
        return {"call": "session.revoke", "organization": "acme", "session": self.session}

    def hold(self, step, reply):
        """That the reply is the one that the rules demand (RELIABILITY S21 to S23)."""
        if step in ("log out", "revoke"):
            self.ended = True
            assert reply["session"]["revoked_at"] is not None, reply
        elif self.ended or step == "grandparent":
            self.ended = True
            assert reply == LOG_IN_AGAIN
        else:
            assert reply["retried"] is (step == "retry"), (step, reply)
            assert reply["session"]["id"] == self.session
            self.access.append(reply["access_token"])
            if step == "use":
                assert reply["refresh_token"] not in self.refresh
                self.refresh.append(reply["refresh_token"])
            else:
                assert reply["refresh_token"] == self.refresh[-1]


def walk(daemon, peers, sequences):
    """Each through a family of its own."""
    issues = [{"call": "token.issue", "organization": "acme", "user": USERS[place % len(USERS)]}
              for place in range(len(sequences))]
    families = [Family(one) for one in peers.calls(issues)]
    with connect(daemon.data) as asking:
        for place in range(max(map(len, sequences))):
            asked = [(family, sequence[place], family.request(sequence[place]))
                     for family, sequence in zip(families, sequences) if place < len(sequence)]
            asked = [one for one in asked if one[2]]
            for (family, step, _), reply in zip(
                    asked, peers.calls([request for _, _, request in asked])):
                family.hold(step, reply)
            # Access tokens live and die with their family, at once.
            for start in range(0, len(families), 100):
                part = families[start:start + 100]
                bodies = [check(family.access[-1]) for family in part]
                assert decisions(asking, bodies) == [
                    REVOKED if family.ended else ALLOWED for family in part]
        every = [(check(token), REVOKED if family.ended else ALLOWED)
                 for family in families for token in family.access]
        for start in range(0, len(every), 100):
            bodies, expected = zip(*every[start:start + 100])
            assert decisions(asking, bodies) == list(expected)
    return families


STEPS = ("use", "retry", "grandparent", "revoke", "log out")


def test_every_short_sequence_keeps_the_rules_of_a_family(start_peers):
    daemon, peers = start_peers(refresh_grace="60s", access_lifetime="1h")
    # With two uses before, so that each step has its token: seven steps in all.
    sequences = [("use", "use", *one) for one in itertools.product(STEPS, repeat=5)]
    for start in range(0, len(sequences), 625):
        began = time.monotonic()
        walk(daemon, peers, sequences[start:start + 625])
        assert time.monotonic() - began < 60, "the grace has ended; the machine is too slow"


def test_random_long_sequences_keep_the_rules_of_a_family(start_peers):
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed", seed)
    source = random.Random(seed)
    daemon, peers = start_peers(refresh_grace="60s", access_lifetime="1h")
    began = time.monotonic()
    sequences = [
        source.choices(STEPS, (8, 6, 1, 0.3, 0.3), k=source.randrange(4, 10)) for _ in range(200)]
    families = walk(daemon, peers, sequences)
    assert {family.ended for family in families} == {True, False}
    assert max(len(family.refresh) for family in families) > 3
    assert time.monotonic() - began < 60, "the grace has ended; the machine is too slow"


def test_behind_the_grace_a_retry_ends_the_family(start_peers):
    daemon, peers = start_peers(refresh_grace="1s")
    issue = {"call": "token.issue", "organization": "acme", "user": USERS[0]}
    families = [Family(one) for one in peers.calls([issue] * 8)]
    for family, reply in zip(families, peers.calls([one.request("use") for one in families])):
        family.hold("use", reply)
    # The daemon spent them before now.
    time.sleep(1.01)
    access = [check(token) for family in families for token in family.access]
    with connect(daemon.data) as asking:
        assert set(decisions(asking, access)) == {ALLOWED}
        replies = peers.calls([one.request("retry") for one in families])
        assert set(replies) == {LOG_IN_AGAIN}
        assert set(decisions(asking, access)) == {REVOKED}
    assert set(peers.calls([one.request("use") for one in families])) == {LOG_IN_AGAIN}
    reasons = [one.reason for one in daemon.admins.sessions.list("acme", "ada")]
    assert reasons == ["reuse"] * 8
    assert daemon.logged().count("used twice") == 8


def test_two_tabs_at_once_stay_logged_in(start_peers):
    daemon, peers = start_peers(refresh_grace="60s")
    token = daemon.admins.tokens.issue("acme", "ada").refresh_token
    for _ in range(30):
        replies = peers.calls([{"call": "token.refresh", "refresh_token": token}] * 2)
        assert sorted(one["retried"] for one in replies) == [False, True]
        assert len({one["refresh_token"] for one in replies}) == 1
        token = replies[0]["refresh_token"]


def test_64_connections_get_one_successor(start_peers):
    daemon, peers = start_peers(refresh_grace="60s", access_lifetime="1h")
    token = daemon.admins.tokens.issue("acme", "ada").refresh_token
    with connect(daemon.data) as asking:
        for _ in range(20):
            frame = call_frame("token.refresh", refresh_token=token)
            for peer in peers.peers:
                peer.sendall(frame)
            replies = [call_reply(peer) for peer in peers.peers]
            assert len({one["refresh_token"] for one in replies}) == 1
            assert [one["retried"] for one in replies].count(False) == 1
            # Each got an access token of its own, and all are good.
            access = [one["access_token"] for one in replies]
            assert len({claims(one)["jti"] for one in access}) == PEERS
            assert set(decisions(asking, [check(one) for one in access])) == {ALLOWED}
            token = replies[0]["refresh_token"]


def test_a_parent_and_its_successor_at_once_leave_one_usable_token_or_none(start_peers):
    """The order is the daemon's affair: either all went well, or somebody had a copy."""
    daemon, peers = start_peers(refresh_grace="60s")
    outcomes = set()
    for round_number in range(30):
        parent = daemon.admins.tokens.issue("acme", "ada")
        successor = daemon.admins.tokens.refresh(parent.refresh_token).refresh_token
        asked = [parent.refresh_token if (index + round_number) % 8 else successor
                 for index in range(PEERS)]
        replies = peers.calls(
            [{"call": "token.refresh", "refresh_token": one} for one in asked])
        of_parent = [reply for one, reply in zip(asked, replies) if one != successor]
        of_successor = [reply for one, reply in zip(asked, replies) if one == successor]
        given = {one["refresh_token"] for one in of_successor if one != LOG_IN_AGAIN}
        assert len(given) <= 1
        assert {one["refresh_token"] for one in of_parent if one != LOG_IN_AGAIN} <= {successor}
        has_ended = LOG_IN_AGAIN in replies
        shown = daemon.admins.sessions.show("acme", parent.session.id)
        assert shown.reason == ("reuse" if has_ended else None)
        last = peers.calls([
            {"call": "token.refresh", "refresh_token": one} for one in given or {successor}])
        assert (last == [LOG_IN_AGAIN]) is has_ended
        outcomes.add(has_ended)
    assert True in outcomes
