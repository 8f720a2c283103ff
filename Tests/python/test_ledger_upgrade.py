"""A ledger that an older release was killed on opens, and answers what it answered then, to the
unit; also where the first start with it is killed, at any kind of call (RELIABILITY, D13)."""

import json
import signal

import pytest
from fake_clock import FakeClock
from faulty_disk import FaultyDisk
from ledger_daemon import LedgerDaemon, LedgerPlace
from old_ledger import AFTER, FIRST, POLICY, SUBJECTS, VECTORS, Caller, identity, put, usage
from tollgate import Conflict, TollgateError

TOLD = json.loads((VECTORS / "ledger-v1.json").read_text())
TEXT = (VECTORS / "ledger-v1.hex").read_text()
# Of each kind of call of a start the first ones, and then each 19th.
ALL_FIRST, STEP, CALLS_MAX = 3, 19, 400


class Upgrade:
    """That ledger, and a daemon of today for it, which does not run yet."""

    def __init__(self):
        self.place, self.clock = LedgerPlace(), FakeClock(AFTER)
        self.disk = FaultyDisk(self.place.ledger)
        both = {**self.clock.environment, **self.disk.environment}
        both["LD_PRELOAD"] = " ".join(
            made.environment["LD_PRELOAD"] for made in (self.clock, self.disk))
        self.one = LedgerDaemon(self.place, policy=POLICY, threads=1, environment=both,
                                ledger={"durability": "always"})
        self.one.kill()
        self.put_back()

    def put_back(self):
        for path in self.place.ledger.iterdir():
            if path.is_file():
                path.unlink()
        put(TEXT, self.place.ledger)

    def versions(self):
        """Of the newest snapshot, and of all regions of the journal that have been begun."""
        snapshot = self.place.files("snapshot")[-1].read_bytes()
        regions = {data[at + 8] for path in self.place.files("journal")
                   for data in [path.read_bytes()] for at in range(0, len(data), 4_096)
                   if data[at : at + 8] == b"TGREGION"}
        return snapshot[8], regions

    def remove(self):
        self.one.remove()
        self.disk.remove()
        self.clock.remove()
        self.place.remove()


@pytest.fixture
def upgrade():
    made = Upgrade()
    yield made
    made.remove()


def test_a_ledger_of_version_1_answers_as_it_did_and_goes_on(upgrade):
    assert upgrade.versions() == (1, {1})
    one = upgrade.one
    one.start()
    assert usage(one) == TOLD["usage"]
    # Ids and reservations of before are known, and change nothing twice.
    for number, subject in enumerate(SUBJECTS):
        caller = Caller(one, upgrade.clock, *subject)
        names = {kind: bytes.fromhex(id) for kind, id in TOLD["holds"][str(number)].items()}
        assert caller.check(10 + number, identity(FIRST + number)).allowed
        with pytest.raises(Conflict):
            caller.check(11 + number, identity(FIRST + number))
        assert one.callers.settle(names["settled"], {"tokens": 33 + number}).allowed
        with pytest.raises(Conflict):
            one.callers.settle(names["settled"], {"tokens": 34 + number})
        assert one.callers.cancel(names["canceled"]).allowed
        assert usage(one) == TOLD["usage"]
    # What was open ends as ever, once.
    for number, (organization, user) in enumerate(SUBJECTS):
        before = usage(one)["subjects"][f"{organization} {user}"]
        hold = bytes.fromhex(TOLD["holds"][str(number)]["open"])
        for _ in range(2):
            assert one.callers.settle(hold, {"tokens": 1_000}).allowed
        after = usage(one)["subjects"][f"{organization} {user}"]
        assert after["user_day"] == [before["user_day"][0] + 1_000, 0]
    # In today's version from here on, and after a kill, too.
    one.admins.snapshots.create()
    snapshot, regions = upgrade.versions()
    assert snapshot == 2 and 2 in regions
    settled = usage(one)
    one.die_and_start_again()
    assert usage(one) == settled
    assert one.stop() == 0


@pytest.mark.parametrize("kind", ["open", "write", "sync", "rename", "unlink", "map", "allocate"])
def test_a_kill_in_the_first_start_with_it_changes_no_answer(upgrade, kind):
    one = upgrade.one
    k = kills = 0
    is_over = False
    while not is_over:
        k += 1 if k < ALL_FIRST else STEP
        assert k < CALLS_MAX
        upgrade.disk.kill(kind, k)
        try:
            one.start()
            # Its own snapshot may be written while it serves.
            one.admins.snapshots.create()
        except (AssertionError, TollgateError):
            pass
        is_over = upgrade.disk.failed(kind) == 0
        upgrade.disk.heal()
        if is_over:
            one.kill()
        else:
            assert one.process.wait(20) == -signal.SIGKILL
            one.log.close()
            kills += 1
        one.start()
        assert usage(one) == TOLD["usage"]
        one.kill()
        upgrade.put_back()
    assert kills > 0
