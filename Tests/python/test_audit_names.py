"""Names that are long, and many: each stands once in a file of the log, and finds its decisions."""

import collections
import random
import signal
import uuid

import audit_daemon as audit
import test_daemon
from hardening import eventually

CHECKS, USERS = 1_500, 150


def test_decisions_of_long_names_are_found_by_them_after_a_kill():
    source = random.Random(5)
    users = [str(uuid.UUID(int=source.getrandbits(128))) for _ in range(USERS)]
    groups = [str(uuid.UUID(int=source.getrandbits(128))) for _ in range(7)]
    told = collections.defaultdict(list)
    place = audit.AuditPlace()
    try:
        with audit.daemon(place) as daemon:
            secrets = {}
            for number in range(CHECKS):
                user = users[source.randrange(USERS)]
                group = groups[users.index(user) % 7]
                if user not in secrets:
                    secrets[user] = test_daemon.pyjwt_token(
                        daemon, sub=user, org=group, plan=audit.PLAN)
                done = daemon.callers.check(
                    secrets[user], operation="chat", units={"tokens": 1})
                told[user].append(done.decision_id)
                told[group].append(done.decision_id)
                if number == CHECKS // 2:
                    daemon.process.send_signal(signal.SIGKILL)
                    daemon.process.wait()
                    daemon.log.close()
                    daemon.start()
            eventually(lambda: len(audit.records(place)) == CHECKS, 20)
            # What is open, and what the kill left, which the next start has sealed.
            find(place, users, groups, told)
            assert daemon.stop() == 0
        find(place, users, groups, told)
        assert audit.verify(place)["sound"] is True
        for file in audit.segments(place):
            data = file.read_bytes()
            assert data[8:10] == b"\2\0"
            assert all(data.count(name.encode()) <= 1 for name in users + groups), file
    finally:
        place.remove()


def find(place, users, groups, told):
    for group in groups:
        found = audit.records(place, "--organization", group)
        assert [one["id"] for one in found] == told[group]
    for user in users[:5]:
        found = audit.records(place, "--user", user)
        assert [one["id"] for one in found] == told[user]
        assert all(one["user"] == user for one in found)
    assert audit.records(place, "--user", "nobody") == []
