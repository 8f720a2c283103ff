"""Backups that are made while the directory is written to: each, put in the directory's place, is
what stood there at one moment, with everything that was told before it began (RELIABILITY, D15)."""

import itertools
import shutil
import threading

from directory_daemon import (
    Place,
    start_directory,  # noqa: F401, a fixture
)
from tollgate import Client

BACKUPS = 5


class Writer:
    """Signs up one customer after the other: organization, user, key."""

    def __init__(self, daemon):
        self.admin, self.begun, self.told = daemon.admin, 0, 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        with Client(self.admin, timeout=20) as admin:
            for number in itertools.count():
                if self.is_over.is_set():
                    return
                self.begun = number + 1
                organization = f"o{number:06}"
                admin.organizations.create(organization, plan="pro_tier")
                admin.users.create(organization, "ada", role="owner")
                admin.keys.create(organization, "ada")
                self.told = number + 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


def test_a_backup_under_load_is_what_stood_at_one_moment(start_directory):  # noqa: F811
    one = start_directory()
    made = []
    with Writer(one) as writer:
        for number in range(BACKUPS):
            # Some more than the last has.
            wanted = writer.told + 10
            while writer.told < wanted:
                assert writer.thread.is_alive()
                writer.is_over.wait(0.01)
            path, told = one.place.path / f"backup-{number}", writer.told
            one.admins.backups.create(str(path))
            made.append((path, told, writer.begun))
    assert writer.told == writer.begun
    for path, told, begun in made:
        place = Place(one.place.pepper)
        # What is beside the database stays.
        shutil.copytree(one.place.directory / "signing", place.directory / "signing")
        shutil.copy(path, place.directory / "directory.sqlite")
        restored = start_directory(place)
        found = [each.id for each in restored.admins.organizations.list()]
        # The first so many, none left out.
        assert found == [f"o{number:06}" for number in range(len(found))]
        assert told <= len(found) <= begun
        for organization in found[:-1]:
            assert [user.id for user in restored.admins.users.list(organization)] == ["ada"]
            assert len(list(restored.admins.keys.list(organization))) == 1
        # It goes on from there.
        restored.admins.organizations.create("later", plan="pro_tier")
        assert restored.stop() == 0
