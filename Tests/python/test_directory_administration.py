"""What an administrator asks the real daemon for, beside the customers' own lives: who may, what is
refused, the log, moving, backups."""

import asyncio
import os
import pathlib
import shutil
import sqlite3
import subprocess

import tollgate
from directory_daemon import (
    DAY,
    Place,
    after_a_kill,
    claims,
    directory,  # noqa: F401, a fixture
    everything,
    now,
    refused,
    sign_up,
    start_directory,  # noqa: F401, a fixture
)
from hardening import NOBODY, PYTHON, as_root
from tollgate import (
    AlreadyExists,
    AsyncClient,
    Forbidden,
    InvalidValue,
    KeyRate,
    NotFound,
)


def test_every_refusal_of_a_call_leaves_all_as_it_was(directory):
    admin = directory.admins
    key, _ = sign_up(directory)
    sign_up(directory, "beta", "bob")
    before = everything(admin)
    for error, make in [
        (AlreadyExists, lambda: admin.organizations.create("acme")),
        (AlreadyExists, lambda: admin.users.create("acme", "ada")),
        (InvalidValue, lambda: admin.organizations.create("new", plan="no_such_plan")),
        (InvalidValue, lambda: admin.organizations.create(
            "new", plan="pro_tier", time_zone="Mars/Olympus")),
        (InvalidValue, lambda: admin.users.create("acme", "new", role="emperor")),
        (InvalidValue, lambda: admin.organizations.change_plan("acme", "no_such_plan")),
        (InvalidValue, lambda: admin.organizations.set_subscription("acme", status="free")),
        (InvalidValue, lambda: admin.keys.create("acme", "ada", rate=KeyRate(1, 2))),
        (InvalidValue, lambda: admin.keys.rotate("acme", key.key.id, overlap_seconds=2_592_001)),
        (InvalidValue, lambda: admin.directory.import_records([{"type": "spell"}])),
        (NotFound, lambda: admin.users.create("gamma", "ada")),
        (NotFound, lambda: admin.keys.create("acme", "bob")),
        (NotFound, lambda: admin.organizations.delete("gamma")),
        (NotFound, lambda: admin.plans.show("no_such_plan")),
    ]:
        refused(error, make)
    assert everything(admin) == before


def test_what_is_another_tenants_looks_like_what_is_not_there(directory):
    admin = directory.admins
    key, tokens = sign_up(directory)
    sign_up(directory, "beta", "bob")
    nothing = {"key": "k" * len(key.key.id), "session": "s" * len(tokens.session.id),
               "user": "eve", "jti": "j"}
    theirs = {"key": key.key.id, "session": tokens.session.id, "user": "ada"}
    calls = [
        ("key", admin.keys.show), ("key", admin.keys.revoke), ("key", admin.keys.rotate),
        ("key", lambda o, k: admin.keys.edit(o, k, name="mine")),
        ("session", admin.sessions.show), ("session", admin.sessions.revoke),
        ("user", admin.users.show), ("user", admin.users.suspend), ("user", admin.users.delete),
        ("user", admin.keys.create), ("user", admin.tokens.issue),
        ("user", admin.sessions.list), ("user", admin.keys.list),
        ("user", lambda o, u: admin.overrides.set(o, "burst", 1, user=u)),
    ]
    for what, call in calls:
        details = {refused(NotFound, lambda: call("beta", one[what])).replace(one[what], "it")
                   for one in (theirs, nothing)}
        assert len(details) == 1, details
    assert directory.decide(key.secret) == directory.decide(tokens.access_token) == "pro_tier"
    for listed in (admin.keys.list("beta"), admin.users.list("beta"), admin.log.list("beta")):
        assert not [one for one in listed if "ada" in repr(one) or "acme" in repr(one)]


def test_the_log_says_who_did_what_and_never_a_secret(directory):
    admin = directory.admins
    key, tokens = sign_up(directory)
    new = admin.keys.rotate("acme", key.key.id)
    refreshed = admin.tokens.refresh(tokens.refresh_token)
    admin.users.rename("acme", "ada", "Countess")
    entries = list(admin.log.list("acme"))
    assert [one.number for one in entries] == sorted((one.number for one in entries), reverse=True)
    assert {(one.uid, one.pid) for one in entries} == {(os.getuid(), os.getpid())}
    renamed = entries[0]
    assert renamed.subject == "ada" and renamed.action == "user.rename"
    assert renamed.before["name"] == "ada" and renamed.after["name"] == "Countess"
    assert len(entries) >= 6 and len(admin.log.list("acme").page(limit=2).items) == 2
    secrets = [key.secret, new.secret, tokens.access_token, tokens.refresh_token,
               refreshed.access_token, refreshed.refresh_token]
    written = repr(list(admin.log.list())) + directory.logged()
    written = written.encode() + b"".join(
        path.read_bytes() for path in directory.place.directory.rglob("*") if path.is_file())
    for secret in secrets:
        assert secret.encode() not in written
        assert secret.encode()[len(secret) // 2:] not in written


def test_what_is_exported_is_the_same_customer_in_another_daemon(start_directory):
    one = start_directory()
    admin = one.admins
    key, tokens = sign_up(one)
    new = admin.keys.rotate("acme", key.key.id, overlap_seconds=3_600)
    admin.keys.create("acme", "ada", permissions=["can_use_gpt4o"], addresses=["::/0"],
                      rate=KeyRate(9, 60), expires_at=now() + DAY)
    admin.organizations.create("zoë", personal=True, plan="free_tier")
    admin.overrides.set("acme", "monthly_calls", 900, expires_at=now() + DAY)
    admin.revoke.token("acme", claims(tokens.access_token)["jti"])
    admin.organizations.change_plan("acme", "free_tier", when="period_end")
    records = list(admin.directory.export_records())
    assert [record["type"] for record in records] == [
        *["organization"] * 2, *["user"] * 2, "override", *["key"] * 2, "revocation"]
    other = start_directory(Place(pepper=one.place.pepper))
    for part in tollgate.batches(records):
        imported = other.admins.directory.import_records(part)
        assert (imported.created, imported.unchanged) == (len(part), 0)
    assert list(other.admins.directory.export_records()) == records
    again = other.admins.directory.import_records(records)
    assert (again.created, again.unchanged) == (0, len(records))
    changed = [*records[:3], {**records[3], "name": "another"}]
    assert refused(
        AlreadyExists, lambda: other.admins.directory.import_records(changed)
    ).startswith("records[3]")
    for secret in (key.secret, new.secret):
        assert other.decide(secret) == "pro_tier"
    after_a_kill(other)
    assert list(other.admins.directory.export_records()) == records
    assert other.decide(key.secret) == "pro_tier"
    # A daemon with another pepper knows the keys and takes none of their secrets.
    third = start_directory()
    third.admins.directory.import_records(records)
    assert third.decide(key.secret) == "signatureInvalid"


def test_a_backup_is_a_whole_directory(start_directory):
    one = start_directory()
    key, _ = sign_up(one)
    path = one.place.path / "backup"
    made = one.admins.backups.create(str(path))
    assert made.path == str(path) and made.bytes == path.stat().st_size
    one.admins.keys.revoke("acme", key.key.id)
    with sqlite3.connect(path) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    refused(AlreadyExists, lambda: one.admins.backups.create(str(path)))
    refused(InvalidValue, lambda: one.admins.backups.create("backup"))
    assert one.admins.directory.status().keys == 1


VISITOR = """
import sys
from tollgate import Client, TollgateError
calls = {
    "check": lambda c: c.check("", operation="chat"),
    "issue": lambda c: c.tokens.issue("acme", "ada"),
    "refresh": lambda c: c.tokens.refresh("nonsense"),
    "list": lambda c: c.organizations.list().page(),
    "create": lambda c: c.keys.create("acme", "ada"),
    "stats": lambda c: c.stats(),
}
for path in sys.argv[1:]:
    for name, make in calls.items():
        try:
            with Client(path, timeout=20) as client:
                make(client)
            print(name, end=" ")
        except TollgateError as error:
            if type(error).__name__ != "Forbidden":
                print(name, type(error).__name__, end=" ")
    print()
"""


def visit(daemon):
    """What another user may ask, on the data socket and on the admin socket."""
    package = daemon.directory / "package"
    if not package.exists():
        shutil.copytree(pathlib.Path(tollgate.__file__).parent, package / "tollgate")
        daemon.directory.chmod(0o755)
    asked = subprocess.run(
        as_root([*NOBODY, "env", f"PYTHONPATH={package}", PYTHON, "-B", "-c", VISITOR,
                 daemon.data, daemon.admin]),
        check=True, capture_output=True, text=True, timeout=60)
    return [line.strip() for line in asked.stdout.splitlines()]


def test_what_another_user_may_ask_is_told_by_its_roles(start_directory):
    nobody = {"users": [65_534]}
    logins = "issue refresh RefreshRefused"
    for roles, data, admin in [
        ({}, "check", "check"),
        ({"issue": nobody}, f"check {logins}", f"check {logins}"),
        ({"issue": {"groups": [65_534]}, "check": {"users": [0]}}, logins, logins),
        ({"check": {"users": [0]}}, "", ""),
        ({"admin": nobody}, f"check {logins}", f"check {logins} list create stats"),
    ]:
        daemon = start_directory(settings={
            "roles": roles, "admin_socket": {"mode": "0666"}, "data_socket": {"mode": "0666"}})
        sign_up(daemon)
        assert visit(daemon) == [data, admin], roles
        # Ours are all, but on the data socket those of logging in alone.
        assert daemon.callers.tokens.issue("acme", "ada").session.user == "ada"
        for make in (daemon.callers.organizations.list, daemon.callers.directory.status,
                     lambda: daemon.callers.keys.create("acme", "ada")):
            refused(Forbidden, make)


def test_without_a_directory_every_call_says_so(daemon):
    with tollgate.Client(daemon.admin, timeout=20) as client:
        refused(tollgate.NoDirectory, lambda: client.organizations.list())
        refused(tollgate.NoDirectory, lambda: client.tokens.issue("acme", "ada"))


def test_many_are_listed_part_by_part(directory):
    admin = directory.admins
    admin.organizations.create("acme", plan="pro_tier")

    async def sign_many_up():
        async with AsyncClient(directory.admin, timeout=60) as client:
            await asyncio.gather(*(
                client.users.create("acme", f"user-{n:03}", name="é" * 64) for n in range(230)))
            names = [user.id async for user in client.users.list("acme")]
            part = await client.users.list("acme").page(limit=1_000)
            return names, part

    names, part = asyncio.run(sign_many_up())
    assert names == [f"user-{n:03}" for n in range(230)]
    assert 100 < len(part.items) <= 230
    assert [user.id for user in admin.users.list("acme")] == names
    refused(InvalidValue, lambda: admin.users.list("acme").page("nonsense\0", 1))
    refused(InvalidValue, lambda: admin.users.list("acme").page(limit=1_001))
