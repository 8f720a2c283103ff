"""A ledger as kill -9 left it, what its callers were told, and ways to damage its files."""

import json
import random
import shutil

from ledger_daemon import PLAN, POLICY, Burst, LedgerDaemon, LedgerPlace, used
from directory_daemon import Place
from hardening import eventually

SEGMENT_BYTES = 1 << 20
ORGANIZATIONS, USERS = 6, 3
# Charges that take more than a segment.
FILL = 12_000
RESET_PLAN = "other_tier"
# The same quotas under another name: an organization may change to it.
PLANS = POLICY.replace("  small_tier:", """  other_tier:
    quotas: {tokens: {scope: organization, meter: tokens, limit: 1000000000000, period: total}}
  small_tier:""")
HEADER = {"snapshot": 128, "journal": 4_096, "usage": 576}


def policy_with(directory):
    """With a directory of accounts, so that plans can be changed."""
    part = {"path": str(directory.directory),
            "peppers": [{"generation": 1, "file": str(directory.path / "pepper.key")}]}
    tokens = {"issuer": "https://tollgate.example.com"}
    return PLANS + f"directory: {json.dumps(part)}\ntokens: {json.dumps(tokens)}\n"


class KilledLedger:
    """Charged, with two snapshots, segments before, between and behind them, closed periods in the
    archive, and then killed. `told`: units by organization and user, as acknowledged."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.place, self.directory = LedgerPlace(), Place()
        self.told = {}
        one = LedgerDaemon(self.place, policy=policy_with(self.directory),
                           ledger={"segment_bytes": SEGMENT_BYTES})
        try:
            self.charge(one, 120)
            one.admins.snapshots.create()
            # An organization whose first part of a period is closed.
            one.admins.organizations.create("closed", plan=PLAN)
            one.admins.users.create("closed", "ada", role="owner")
            assert one.charge("closed", "ada", 77).allowed
            one.admins.organizations.change_plan("closed", RESET_PLAN, mode="reset")
            self.fill(one, "filler", FILL)
            eventually(lambda: self.place.files("usage") and not one.status().closed_waiting)
            self.charge(one, 120)
            one.admins.snapshots.create()
            self.fill(one, "filler", FILL)
            self.charge(one, 120)
            # What no sync has covered yet cannot be told from what was being written.
            eventually(lambda: one.status().synced == one.status().appended)
        finally:
            one.kill()
            one.remove()
        assert len(self.place.files("journal")) >= 3 and len(self.place.files("usage")) == 1
        assert len(self.place.files("snapshot")) == 2
        self.kept = self.place.path / "kept"
        shutil.copytree(self.place.ledger, self.kept)
        self.kept_directory = self.place.path / "kept-directory"
        shutil.copytree(self.directory.directory, self.kept_directory)

    def charge(self, one, count):
        for _ in range(count):
            key = (f"o{self.random.randrange(ORGANIZATIONS)}", f"u{self.random.randrange(USERS)}")
            units = self.random.randrange(1, 1_000)
            assert one.charge(*key, units).allowed
            self.told[key] = self.told.get(key, 0) + units

    def fill(self, one, organization, count):
        burst = Burst(one, organization)
        # Some are refused while the next file of the journal is made.
        burst.charge(count)
        burst.close()
        assert burst.told > count // 2
        key = (organization, "ada")
        self.told[key] = self.told.get(key, 0) + burst.told

    def restore(self, *, directory=True):
        """As the kill left it; without the directory, which remembers how far the ledger was, it is
        an old copy by then."""
        shutil.rmtree(self.place.ledger)
        shutil.copytree(self.kept, self.place.ledger)
        if directory:
            shutil.rmtree(self.directory.directory)
            shutil.copytree(self.kept_directory, self.directory.directory)

    def start(self, *, arguments=(), directory=None):
        return LedgerDaemon(
            self.place, policy=policy_with(directory or self.directory),
            ledger={"segment_bytes": SEGMENT_BYTES}, arguments=arguments)

    def found(self, one):
        return {(organization, user): used(one.callers, organization, user).get("user_tokens", 0)
                for organization, user in self.told}

    def remove(self):
        self.place.remove()
        self.directory.remove()


def flip(path, offset, bit=0):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1 << bit]))


def zero(path, offset, count):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(bytes(count))


def cut(path, size):
    with open(path, "r+b") as file:
        file.truncate(size)


def written(path):
    """Offsets of bytes that are not 0, as a list."""
    return [offset for offset, byte in enumerate(path.read_bytes()) if byte]
