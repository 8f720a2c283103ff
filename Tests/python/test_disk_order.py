"""`disk_order` is shown traces that were made by hand: the right order passes, and each wrong one
is named."""

import struct

import pytest
from disk_order import Order
from disk_trace import events
from tollgate import wire

JOURNAL, OTHER = "/l/journal-000000000001.tgj", "/l/journal-000000000002.tgj"
OLD, OLDER = "/l/snapshot-000000000002.tgs", "/l/snapshot-000000000001.tgs"
NEW, NEWER = "/l/snapshot-000000000003.tgs", "/l/snapshot-000000000004.tgs"
GROUP = "/l/group.tgg"
PRESENT = [path.removeprefix("/l/") for path in (JOURNAL, OLDER, OLD, GROUP)]
ALLOWED = struct.pack("<BBHI6Q6B2x", 1, 0, 0, 0, *[0] * 12)
REFUSED = struct.pack("<BBHI6Q6B2x", 2, 0, 81, 0, *[0] * 12)


def quoted(data):
    return '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'


def frame(opcode, identity, body, status=0):
    return wire.HEADER.pack(12 + len(body), opcode, 0, status, identity) + body


def ask(identity=1, body=b"", socket=5):
    data = frame(wire.CONSUME, identity, body)
    return f"7 recvfrom(9<socket:[{socket}]>, {quoted(data)}, 65536, 0, NULL, NULL) = {len(data)}"


def answer(identity=1, body=ALLOWED, socket=5, opcode=wire.CONSUME):
    data = frame(wire.REPLY | opcode, identity, body)
    return (f"7 sendto(9<socket:[{socket}]>, {quoted(data)}, {len(data)}, MSG_NOSIGNAL, NULL, 0)"
            f" = {len(data)}")


def tell(generation):
    return answer(9, b'{"generation": %d}' % generation, opcode=wire.CALL)


def sync(path=JOURNAL, result="0"):
    return f"8 fdatasync(3<{path}>) = {result}"


def shards(has_run_on):
    rows = struct.pack("<5Q", 4, 5 if has_run_on else 4, 0, 128, 128) + struct.pack(
        "<5Q", 1, 1, 0, 128, 128)
    return struct.pack("<HHIQQII", 5, 0, len(rows), 128, 3, 0, 0) + rows


def make(path):
    return f'8 openat(AT_FDCWD</>, "{path}.part", O_RDWR|O_CREAT|O_EXCL, 0600) = 4<{path}.part>'


def write(path, data=b"x"):
    return f"8 pwrite64(4<{path}.part>, {quoted(data)}, {len(data)}, 0) = {len(data)}"


def rename(path):
    return f'8 rename("{path}.part", "{path}") = 0'


def remove(path):
    return f'8 unlink("{path}") = 0'


def group(offset=8_192):
    return f"8 pwrite64(6<{GROUP}>, {quoted(b'x' * 64)}, 64, {offset}) = 64"


DIRECTORY = "8 fsync(5</l>) = 0"
FAILED = "-1 EIO (Input/output error) (INJECTED)"


def snapshot(path=NEW, has_run_on=False):
    return [make(path), write(path, b"head"), write(path, shards(has_run_on)), sync(path + ".part"),
            sync(), rename(path), DIRECTORY]


def segment(path=OTHER):
    return [make(path), write(path), sync(path + ".part"), rename(path), DIRECTORY, sync(path)]


def problems(*lines):
    return Order("/l", PRESENT, repeated=[b"i" * 16]).read(list(lines)).problems


@pytest.mark.parametrize("lines", [
    [ask(), sync(), answer()],
    [ask(1), ask(2), sync(), answer(2), answer(1)],
    [ask(), answer(body=REFUSED)],
    [ask(), *snapshot(), answer()],
    [ask(1, b"i" * 16), sync(), answer(1), ask(2, b"i" * 16), answer(2)],
    [*snapshot(), tell(3), remove(OLDER)],
    [*snapshot(has_run_on=True), tell(3), remove(OLDER)],
    [*segment(), sync(JOURNAL), *snapshot(NEW), *snapshot(NEWER)[:4], sync(OTHER),
     *snapshot(NEWER)[5:], remove(OLDER), remove(OLD)],
    [sync(result=FAILED), *segment(), ask(), sync(OTHER), answer()],
    [ask(), group(), sync(GROUP), answer(), group(12_288), sync(GROUP), sync(), group(0),
     sync(GROUP), group(), sync(GROUP)],
    # Two threads, each of which begins before the other has returned.
    ["7 recvfrom(9<socket:[5]>,  <unfinished ...>", "8 fdatasync(3</l/a> <unfinished ...>",
     "7 <... recvfrom resumed>" + ask().split("<socket:[5]>,")[1],
     "8 <... fdatasync resumed>) = 0", sync(), answer()],
], ids=range(11))
def test_the_right_order_passes(lines):
    assert problems(*lines) == []


WRONG = {
    "no sync": ([ask(), answer()], "a reply leaves before a sync: asked at line 1"),
    "an earlier sync": ([sync(), ask(), answer()], "a reply leaves before a sync"),
    "a later sync": ([ask(), answer(), sync()], "a reply leaves before a sync"),
    "a failed sync": ([ask(), sync(result=FAILED), answer()], "a reply leaves before a sync"),
    "a sync of another file": ([ask(), sync("/l/other"), answer()], "a reply leaves"),
    "a sync that has not returned": (
        [ask(), f"8 fdatasync(3<{JOURNAL}> <unfinished ...>", answer(),
         "8 <... fdatasync resumed>) = 0"], "a reply leaves before a sync"),
    "a sync that began before": (
        [f"8 fdatasync(3<{JOURNAL}> <unfinished ...>", ask(), "8 <... fdatasync resumed>) = 0",
         answer()], "a reply leaves before a sync"),
    "a repeated answer before the first one's sync": (
        [ask(1, b"i" * 16), ask(2, b"i" * 16, socket=6), answer(2, socket=6), sync(), answer(1)],
        "line 3: a reply leaves before a sync: asked at line 1"),
    "a snapshot without a name": (
        [ask(), *snapshot()[:4], rename(NEW), answer()], "a reply leaves before a sync"),
    "a snapshot's sync left out": (
        [line for line in snapshot() if ".part>) =" not in line], "gets its name before what"),
    "a snapshot written on after its sync": (
        [*snapshot()[:4], write(NEW), *snapshot()[4:]], "gets its name before what"),
    "a snapshot ahead of the journal": (
        [line for line in snapshot(has_run_on=True) if line != sync()],
        "gets its name before a sync of the journal"),
    "a journal synced only before the snapshot": (
        [sync(), *(line for line in snapshot(has_run_on=True) if line != sync())],
        "gets its name before a sync of the journal"),
    "told before the directory's sync": (
        [*snapshot()[:-1], tell(3), DIRECTORY], "is told of before its name is durable"),
    "told of one that is not": ([tell(7)], "snapshot 7 is told of"),
    "removed before the directory's sync": (
        [*snapshot()[:-1], remove(OLDER)], "is removed before the directory was synced"),
    "the directory's sync failed": (
        [*snapshot()[:-1], f"8 fsync(5</l>) = {FAILED}", remove(OLDER)], "is removed before"),
    "the directory's sync before the name": (
        [*snapshot()[:-2], DIRECTORY, rename(NEW), remove(OLDER)], "is removed before"),
    "the older of two removed": ([remove(OLDER)], "is removed with 1 newer snapshots"),
    "a file of the journal removed with one newer": (
        [sync(), *snapshot(), sync(), *snapshot(NEWER), remove(JOURNAL)],
        "is removed with 0 newer snapshots"),
    "a file of the journal removed too early": (
        [*segment(), sync(), make(NEW), sync(), *snapshot()[1:4], rename(NEW), DIRECTORY,
         *(line for line in snapshot(NEWER) if line != sync()), remove(JOURNAL)],
        "is removed with 1 newer snapshots"),
    "a file of the journal used without a durable name": (
        [line for line in segment() if line != DIRECTORY], "is used before its name is durable"),
    "a new file of the journal not synced": (
        [line for line in segment() if ".part>) =" not in line], "gets its name before what"),
    "a second sync": ([sync(result=FAILED), sync()], "synced again after a sync of it had failed"),
    "opened after a failed sync": (
        [sync(result=FAILED), f'8 openat(AT_FDCWD</>, "{JOURNAL}", O_RDONLY) = 5<{JOURNAL}>'],
        "is opened, whose sync had failed"),
    "a group commit that is not synced": ([ask(), group(), answer()], "a reply leaves before"),
    "a group commit before the last is synced": (
        [group(), group(12_288), sync(GROUP)], "before what was written last is synced"),
    "a group log begun anew before the journal is synced": (
        [sync(), group(), sync(GROUP), group(0), sync(GROUP)], "begins anew before a sync"),
    "a group log used without a durable name": (
        [make(GROUP), write(GROUP), sync(GROUP + ".part"), rename(GROUP), sync(GROUP)],
        "is used before its name is durable"),
    "a snapshot with the journal in the group log alone": (
        [sync(GROUP) if line == sync() else line for line in snapshot(has_run_on=True)],
        "gets its name before a sync of the journal"),
    "a reply that is not shown whole": (
        [ask(), sync(), answer().replace('", ', '"..., ')], "does not show all"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_order_is_named(name):
    lines, words = WRONG[name]
    found = problems(*lines)
    assert any(words in problem for problem in found), found


def test_what_is_no_trace_is_refused():
    for line in ("7 nothing", "7 recvfrom(9<socket:[5]>, 1"):
        with pytest.raises(ValueError):
            events([line])
