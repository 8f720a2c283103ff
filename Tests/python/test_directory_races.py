"""Changes of the directory while requests come without a pause."""

import threading
import time

from directory_daemon import (
    claims,
    directory,  # noqa: F401, a fixture
    start_directory,  # noqa: F401, a fixture
)
from tollgate import Client, TollgateError, Unreachable

PEERS = 8


class Flood:
    """Asks for decisions on connections of its own, and keeps when each was asked and whether it
    was allowed."""

    def __init__(self, daemon, credential):
        """`credential` is called before each request."""
        self.path, self.credential = daemon.data, credential
        self.decided, self.failures, self.is_over = [], [], False
        self.counts = [0] * PEERS
        self.threads = [threading.Thread(target=self.ask, args=[peer]) for peer in range(PEERS)]

    def ask(self, peer):
        try:
            with Client(self.path, timeout=60) as client:
                while not self.is_over:
                    credential = self.credential()
                    at = time.monotonic_ns()
                    decision = client.check(credential, operation="chat")
                    self.decided.append((at, decision.allowed))
                    self.counts[peer] += 1
        except Exception as error:
            self.failures.append(error)

    def wait_for(self, count):
        """That many more."""
        before = len(self.decided)
        while len(self.decided) < before + count:
            assert not self.failures, self.failures
            time.sleep(0.001)

    def wait_for_each(self, count):
        """That many more of every peer."""
        before = list(self.counts)
        while min(now - then for now, then in zip(self.counts, before)) < count:
            assert not self.failures, self.failures
            time.sleep(0.001)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        for thread in self.threads:
            thread.join(60)
        assert not self.failures, self.failures


def signed_up(daemon):
    daemon.admins.organizations.create("acme", plan="enterprise_tier")
    daemon.admins.users.create("acme", "ada")
    return daemon.admins.keys.create("acme", "ada")


def test_nothing_asked_after_the_answer_to_a_revocation_is_allowed(directory):
    admin = directory.admins
    for name in ("acme", "beta"):
        admin.organizations.create(name, plan="enterprise_tier")
        admin.users.create(name, "ada")
    other = admin.tokens.issue("beta", "ada").access_token

    def key():
        return admin.keys.create("acme", "ada")

    def login():
        return admin.tokens.issue("acme", "ada")

    for make, revoke in (
        (key, lambda made: admin.keys.revoke("acme", made.key.id)),
        (key, lambda made: admin.keys.rotate("acme", made.key.id, overlap_seconds=0)),
        (login, lambda made: admin.revoke.token("acme", claims(made.access_token)["jti"])),
        (login, lambda made: admin.sessions.revoke("acme", made.session.id)),
        (login, lambda made: admin.sessions.end(made.refresh_token)),
        (login, lambda _: admin.revoke.user("acme", "ada")),
        (login, lambda _: admin.revoke.organization("acme")),
        (login, lambda _: admin.organizations.suspend("acme")),
    ):
        made = make()
        credential = made.secret if make is key else made.access_token
        with Flood(directory, lambda credential=credential: credential) as flood, Flood(
                directory, lambda: other) as neighbours:
            flood.wait_for(100)
            revoke(made)
            revoked = time.monotonic_ns()
            flood.wait_for(100)
        before = [allowed for at, allowed in flood.decided if at <= revoked]
        after = [allowed for at, allowed in flood.decided if at > revoked]
        assert True in before and len(after) >= 100 - PEERS and True not in after
        assert all(allowed for _, allowed in neighbours.decided)


def test_keys_are_rotated_without_refusing_a_request(directory):
    key = signed_up(directory)
    secrets = [key.secret]
    # Whoever reads the secret may use it a little later: hence the overlap. Two rotations within it
    # leave the two newest.
    with Flood(directory, lambda: secrets[-1]) as flood:
        for _ in range(20):
            flood.wait_for_each(2)
            secrets.append(
                directory.admins.keys.rotate("acme", key.key.id, overlap_seconds=60).secret)
        flood.wait_for_each(2)
    assert len(set(secrets)) == 21 and all(allowed for _, allowed in flood.decided)


def test_one_refresh_token_has_one_successor_however_many_ask(start_directory):
    directory = start_directory(tokens={"refresh_grace": "60s"})
    signed_up(directory)
    token = directory.admins.tokens.issue("acme", "ada").refresh_token
    count = 64
    clients = [Client(directory.data, timeout=60) for _ in range(count)]
    for _ in range(5):
        answers, together = [], threading.Barrier(count)

        def refresh(client, token=token, answers=answers, together=together):
            together.wait(60)
            answers.append(client.tokens.refresh(token))

        threads = [threading.Thread(target=refresh, args=[client]) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(answers) == count
        assert len({one.refresh_token for one in answers}) == 1
        assert [one.retried for one in answers].count(False) == 1
        token = answers[0].refresh_token
    for client in clients:
        client.close()


def test_what_was_acknowledged_is_there_after_a_kill_in_the_midst(directory):
    """Eight peers make, rotate and revoke keys until the daemon is killed, and again."""
    directory.admins.organizations.create("acme", plan="enterprise_tier")
    for peer in range(PEERS):
        directory.admins.users.create("acme", f"u{peer}")
    secrets, started, revoked, unsure = {}, [], set(), set()

    def work(peer):
        """What is answered is kept; what has no answer may have been done or not."""
        with Client(directory.admin, timeout=60) as client:
            try:
                while True:
                    made = client.keys.create("acme", f"u{peer}")
                    secrets[made.key.id] = [made.secret]
                    started.append(made.key.id)
                    new = client.keys.rotate("acme", made.key.id, overlap_seconds=3_600)
                    secrets[made.key.id].append(new.secret)
                    unsure.add(made.key.id)
                    client.keys.revoke("acme", made.key.id)
                    unsure.discard(made.key.id)
                    revoked.add(made.key.id)
            except TollgateError as error:
                ended.append(error)

    for _ in range(4):
        ended, before = [], len(started)
        threads = [threading.Thread(target=work, args=[peer]) for peer in range(PEERS)]
        for thread in threads:
            thread.start()
        while len(started) < before + 30:
            assert not ended, ended
            time.sleep(0.001)
        directory.die_and_start_again()
        for thread in threads:
            thread.join(60)
        assert len(ended) == PEERS and {type(error) for error in ended} == {Unreachable}
        there = {key.id: key for key in directory.admins.keys.list("acme")}
        for id, known in secrets.items():
            key = there[id]
            decided = {directory.decide(secret, dry_run=True) for secret in known}
            if id in revoked or (id in unsure and key.state == "revoked"):
                assert key.state == "revoked" and "enterprise_tier" not in decided
            else:
                assert key.state in ("active", "rotating") and decided == {"enterprise_tier"}
        # Beyond those, at most what each peer had asked for and not heard of.
        assert len(there) - len(secrets) <= PEERS * 4
