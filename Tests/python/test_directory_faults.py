"""Where a change can be cut short: kill -9 between any two of its steps, a full disk, a sync that
fails. After a start the change is wholly there or wholly absent, and what was acknowledged is
there."""

import pathlib
import re
import signal
import subprocess

import pytest
from directory_daemon import (
    DirectoryDaemon,
    Place,
    everything,
    sign_up,
    start_directory,  # noqa: F401, a fixture
)
from tollgate import StorageFailed, Unreachable

ROOT = pathlib.Path(__file__).resolve().parents[2]
SWIFT = ROOT / "Sources/TollgateServer/Directory/FaultPoint.swift"
STORE = ROOT / "Sources/TollgateStorage/Directory/DirectoryStore.swift"
# Before these the change is absent, from these on it is there.
DURABLE = ["committed", "published", "replied"]
# Each with how often it passes the steps of one change in the store.
CHANGES = {
    "org.create": (2, lambda c, had: c.organizations.create("new", plan="pro_tier")),
    "org.create personal": (3, lambda c, had: c.organizations.create(
        "eve", plan="pro_tier", personal=True)),
    "org.rename": (1, lambda c, had: c.organizations.rename("acme", "Acme")),
    "org.suspend": (1, lambda c, had: c.organizations.suspend("acme")),
    "org.resume": (1, lambda c, had: c.organizations.resume("idle")),
    "org.delete": (1, lambda c, had: c.organizations.delete("acme")),
    "org.set_subscription": (1, lambda c, had: c.organizations.set_subscription(
        "acme", status="past_due")),
    "org.change_plan": (1, lambda c, had: c.organizations.change_plan("acme", "free_tier")),
    "org.change_plan prorate": (3, lambda c, had: c.organizations.change_plan(
        "acme", "free_tier", mode="prorate")),
    "org.change_plan later": (1, lambda c, had: c.organizations.change_plan(
        "acme", "free_tier", when="period_end")),
    "org.cancel_plan_change": (1, lambda c, had: c.organizations.cancel_plan_change("idle")),
    "user.create": (1, lambda c, had: c.users.create("acme", "bob")),
    "user.rename": (1, lambda c, had: c.users.rename("acme", "ada", "Ada")),
    "user.set_role": (1, lambda c, had: c.users.set_role("acme", "ada", None)),
    "user.suspend": (1, lambda c, had: c.users.suspend("acme", "ada")),
    "user.delete": (1, lambda c, had: c.users.delete("acme", "ada")),
    "key.create": (1, lambda c, had: c.keys.create("acme", "ada")),
    "key.rotate": (1, lambda c, had: c.keys.rotate("acme", had["key"])),
    "key.edit": (1, lambda c, had: c.keys.edit("acme", had["key"], name="other")),
    "key.revoke": (1, lambda c, had: c.keys.revoke("acme", had["key"])),
    "token.issue": (1, lambda c, had: c.tokens.issue("acme", "ada")),
    "session.end": (1, lambda c, had: c.sessions.end(had["refresh"])),
    "session.revoke": (1, lambda c, had: c.sessions.revoke("acme", had["session"])),
    "revoke.token": (1, lambda c, had: c.revoke.token("acme", "some-jti")),
    "revoke.user": (1, lambda c, had: c.revoke.user("acme", "ada")),
    "revoke.organization": (1, lambda c, had: c.revoke.organization("acme")),
    "override.set": (1, lambda c, had: c.overrides.set("acme", "monthly_calls", 7)),
    "override.remove": (1, lambda c, had: c.overrides.remove("idle", "monthly_calls")),
    "signing_key.add": (1, lambda c, had: c.signing_keys.add("third")),
    "signing_key.promote": (1, lambda c, had: c.signing_keys.promote("second")),
    "signing_key.retire": (1, lambda c, had: c.signing_keys.retire("second")),
}
FILES = {"signing_key.add": ["key_written", "key_synced", "key_renamed", "key_durable"]}
AFTER = {"signing_key.retire": ["key_removed"]}


def steps():
    """Those that the code names."""
    named = re.search(r"enum DirectoryStep.*?\{(.*?)\}", STORE.read_text(), re.S).group(1)
    own = re.search(r"enum ServiceStep.*?\{(.*?)\n\}", SWIFT.read_text(), re.S).group(1)
    found = re.findall(r"\w+", named.replace("case", ""))
    for name, text in re.findall(r"case (\w+)(?: = \"(\w+)\")?", own):
        found.append(text or name)
    return found


def prepared(place):
    """What the changes act on; as it is found by each of them."""
    daemon = DirectoryDaemon(place)
    client = daemon.admins
    key, login = sign_up(daemon)
    sign_up(daemon, "idle", "ivy")
    client.organizations.suspend("idle")
    client.organizations.change_plan("idle", "free_tier", when="period_end")
    client.overrides.set("idle", "monthly_calls", 3)
    client.signing_keys.add("second")
    had = {"key": key.key.id, "refresh": login.refresh_token, "session": login.session.id}
    said = everything(client)
    assert daemon.stop() == 0
    daemon.remove()
    return had, said


def plain(said):
    """Without what differs each time: instants, process ids, random ids and their order, paths."""
    text = "\n".join(map(repr, said))
    text = re.sub(r"\b\d{13}\b", "T", text)
    text = re.sub(r"pid=\d+", "pid=P", re.sub(r"/tmp/tgd\w+", "/tmp/tgd", text))
    text = re.sub(r"tg_live_\w{16}\b", "tg_live_ID", text)
    text = re.sub(r"'[0-9A-Za-z_-]{22}'|'[0-9A-Za-z]{16}'", "ID", text)
    return "\n".join(sorted(text.split("\n")))


def cut_short(daemon, change, had, fault):
    """Makes the change, and whether it was answered before the daemon was killed at the step."""
    daemon.environment["TOLLGATE_FAULT_STEP"] = fault
    daemon.process.kill()
    daemon.process.wait()
    daemon.log.close()
    daemon.start()
    try:
        change(daemon.admins, had)
        answered = True
    except Unreachable:
        answered = False
    assert daemon.process.wait(20) == -signal.SIGKILL, daemon.logged()
    daemon.log.close()
    del daemon.environment["TOLLGATE_FAULT_STEP"]
    daemon.start()
    return answered


def test_every_step_is_among_those_that_are_tried():
    tried = {"began", "changed", "logged", *DURABLE}
    tried |= {step for some in [*FILES.values(), *AFTER.values()] for step in some}
    assert set(steps()) == tried


@pytest.fixture
def place():
    made = Place()
    yield made
    made.remove()


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_is_cut_short_is_there_or_is_not(place, name):
    times, change = CHANGES[name]
    had, said = prepared(place)
    daemon = DirectoryDaemon(place)
    try:
        assert everything(daemon.admins) == said
        absent = [f"{step}:1" for step in FILES.get(name, [])]
        absent += [f"{step}:{n}" for n in range(1, times + 1)
                   for step in ("began", "changed", "logged")]
        for fault in absent:
            assert not cut_short(daemon, change, had, fault), fault
            assert everything(daemon.admins) == said, fault
        # Each in a directory of its own as it was before.
        there = set()
        for number, step in enumerate([*DURABLE[:1], *AFTER.get(name, []), *DURABLE[1:]]):
            if number:
                daemon.remove()
                place.remove()
                place.__init__(place.pepper)
                had, _ = prepared(place)
                daemon = DirectoryDaemon(place)
            before = everything(daemon.admins)
            answered = cut_short(daemon, change, had, f"{step}:1")
            assert not answered or step == "replied", step
            after = everything(daemon.admins)
            assert plain(after) != plain(before), step
            there.add(plain(after))
        assert len(there) == 1, "\n\n".join(there)
    finally:
        daemon.remove()


@pytest.mark.parametrize("step", ["began", "changed", "logged", *DURABLE])
def test_a_refresh_that_is_cut_short_leaves_one_token_that_can_be_used(place, step):
    had, _ = prepared(place)
    daemon = DirectoryDaemon(place)
    try:
        cut_short(
            daemon, lambda c, had: c.tokens.refresh(had["refresh"]), had, f"{step}:1")
        tokens = daemon.admins.tokens
        first = tokens.refresh(had["refresh"])
        assert first.retried == (step in DURABLE)
        again = tokens.refresh(had["refresh"])
        assert again.retried and again.refresh_token == first.refresh_token
        assert daemon.decide(tokens.refresh(first.refresh_token).access_token) == "pro_tier"
    finally:
        daemon.remove()


def test_a_signing_key_that_a_start_was_cut_short_with_leaves_no_harm(place):
    daemon = DirectoryDaemon(place)
    try:
        for step in ("key_written", "key_synced", "key_renamed", "key_durable"):
            cut_short(daemon, lambda c, had: c.signing_keys.add("twice"), {}, f"{step}:1")
        daemon.admins.signing_keys.add("twice")
        assert [key.id for key in daemon.admins.signing_keys.list()].count("twice") == 1
        daemon.process.kill()
        daemon.process.wait()
        daemon.log.close()
        daemon.start()
    finally:
        daemon.remove()


def test_a_full_disk_refuses_changes_and_nothing_else(start_directory):
    directory = start_directory()
    made, login = sign_up(directory)
    said = everything(directory.admins)
    pid = str(directory.process.pid)
    subprocess.run(["prlimit", f"--pid={pid}", "--fsize=4096:unlimited"], check=True)
    for change in (lambda: directory.admins.keys.create("acme", "ada"),
                   lambda: directory.admins.organizations.suspend("acme"),
                   lambda: directory.callers.tokens.refresh(login.refresh_token)):
        with pytest.raises(StorageFailed) as refused:
            change()
    assert str(directory.place.directory) not in str(refused.value)
    directory.wait_for_log("change refused: " + str(directory.place.directory))
    assert directory.decide(made.secret) == "pro_tier"
    assert directory.decide(login.access_token) == "pro_tier"
    subprocess.run(["prlimit", f"--pid={pid}", "--fsize=unlimited"], check=True)
    assert everything(directory.admins) == said
    directory.admins.organizations.suspend("acme")
    assert directory.decide(made.secret) == "subscriptionInactive"


FAILING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int fails(void) {
    const char *flag = getenv("SYNC_FAILS");
    if (!flag || access(flag, F_OK) != 0) return 0;
    errno = EIO;
    return 1;
}
int fsync(int fd) {
    return fails() ? -1 : ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
int fdatasync(int fd) {
    return fails() ? -1 : ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""


def test_after_a_failed_sync_the_daemon_ends_and_the_next_start_reads_anew(tmp_path, place):
    source, library, flag = tmp_path / "f.c", tmp_path / "f.so", tmp_path / "flag"
    source.write_text(FAILING)
    subprocess.run(["clang", "-shared", "-fPIC", "-o", library, source], check=True)
    daemon = DirectoryDaemon(
        place, environment={"LD_PRELOAD": str(library), "SYNC_FAILS": str(flag)})
    try:
        made, _ = sign_up(daemon)
        flag.touch()
        # No reply: nobody knows whether it is on the disk.
        with pytest.raises(Unreachable):
            daemon.admins.organizations.rename("acme", "Acme")
        assert daemon.process.wait(20) == 74
        assert "a sync failed" in daemon.logged() and "ended" in daemon.logged()
        flag.unlink()
        daemon.log.close()
        daemon.start()
        assert daemon.admins.organizations.show("acme").name in ("acme", "Acme")
        assert daemon.decide(made.secret) == "pro_tier"
        daemon.admins.organizations.rename("acme", "again")
    finally:
        daemon.remove()
