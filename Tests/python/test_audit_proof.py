"""A log that was cut or made anew without its key: what `audit verify` and the next start say."""

import hashlib
import struct

import audit_daemon as audit
import pytest
from hardening import eventually
from test_ledger_hands import crc32c
from tollgate import Client

HEADER, HEAD, HASH, RECORDS, SEAL = 128, 72, 32, 1, 4


def written(place):
    """Two lives, a segment each."""
    for _ in range(2):
        with audit.daemon(place) as daemon:
            for number in range(20):
                daemon.charge("acme", f"user-{number}", 1)
            assert daemon.stop() == 0
    assert len(audit.segments(place)) == 2
    verdict = audit.verify(place)
    assert verdict["proven"] is True and verdict["unsigned_blocks"] == 0


def blocks(data):
    at = HEADER
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at + 8)
        yield bytearray(data[at:at + HEAD]), data[at + HEAD:at + HEAD + size]
        at += HEAD + size + HASH


def renamed(payload):
    """Another organization's name, and the checksums before it."""
    content = payload[(len(payload) + 1_027) // 1_028 * 4:].replace(b"acme", b"evil")
    sums = [crc32c(content[at:at + 1_024]) for at in range(0, len(content), 1_024)]
    return struct.pack(f"<{len(sums)}I", *sums) + content


def forge(place):
    """Another organization's name, all hashes anew, no seals."""
    previous, length, number = bytes(32), 0, 0
    for segment in audit.segments(place):
        data = segment.read_bytes()
        header = bytearray(data[:96])
        struct.pack_into("<Q", header, 32, number)
        struct.pack_into("<Q", header, 56, length)
        header[64:96] = previous
        previous = hashlib.sha256(header).digest()
        made = bytes(header) + previous
        for head, payload in blocks(data):
            if head[4] == SEAL:
                continue
            struct.pack_into("<Q", head, 16, number)
            head[40:72] = previous
            block = bytes(head) + (renamed(payload) if head[4] == RECORDS else payload)
            previous = hashlib.sha256(block).digest()
            made += block + previous
            number += 1
        segment.write_bytes(made)
        length = len(made)
    (place.audit / "audit.head").unlink()


def cut_a_file(place):
    audit.segments(place)[-1].unlink()
    (place.audit / "audit.head").unlink()


def cut_a_block(place):
    segment = audit.segments(place)[-1]
    data = segment.read_bytes()
    head, payload = next(blocks(data))
    segment.write_bytes(data[:HEADER + len(head) + len(payload) + HASH])
    (place.audit / "audit.head").unlink()


def no_head(place):
    (place.audit / "audit.head").unlink()


def zero_head(place):
    (place.audit / "audit.head").write_bytes(bytes(1_024))


def rotten_head(place):
    head = bytearray((place.audit / "audit.head").read_bytes())
    rounds = [struct.unpack_from("<Q", head, at + 8)[0] for at in (0, 512)]
    head[(0 if rounds[0] > rounds[1] else 512) + 33] ^= 1
    (place.audit / "audit.head").write_bytes(head)


@pytest.mark.parametrize(
    "change", [cut_a_file, cut_a_block, forge, no_head, zero_head, rotten_head])
def test_what_was_cut_or_made_anew_is_named_and_never_signed_in_silence(change):
    place = audit.AuditPlace()
    try:
        written(place)
        change(place)
        verdict = audit.verify(place, code=1)
        assert any(fault["path"].endswith("audit.head") for fault in verdict["faults"])
        with audit.daemon(place) as daemon:
            assert "not proven to be what was written" in daemon.logged()
            assert daemon.admins.stats()["tollgate_audit_unproven"] == 1
            daemon.charge("acme", "ada", 1)
            assert daemon.stop() == 0
        verdict = audit.verify(place, code=3)
        assert verdict["sound"] is True and verdict["proven"] is False
        assert [gap["cause"] for gap in verdict["gaps"]] == ["lost"]
        with audit.daemon(place) as daemon:
            assert "not proven" not in daemon.logged()
            assert daemon.admins.stats()["tollgate_audit_unproven"] == 0
        audit.verify(place, code=3)
    finally:
        place.remove()


def test_without_the_key_nothing_is_proven():
    place = audit.AuditPlace()
    try:
        written(place)
        (place.audit / "audit.key").rename(place.path / "aside")
        verdict = audit.verify(place, code=3)
        assert verdict["sound"] is True and "signatures were not checked" in verdict["doubt"]
        text = audit.tollgate("audit", "verify", "--directory", place.audit, code=3)
        assert "is not proven" in text and "as it was written" not in text
        assert audit.verify(place, "--key", place.path / "aside")["proven"] is True
    finally:
        place.remove()


def test_a_log_that_is_written_has_no_fault_at_any_moment():
    with audit.daemon() as daemon, Client(daemon.data, timeout=20) as client:
        looks = 0
        while len(audit.segments(daemon.place)) < 3:
            for _ in range(700):
                client.consume("acme", "ada", audit.PLAN, "chat", {"tokens": 1})
            assert audit.verify(daemon.place)["faults"] == []
            looks += 1
        assert looks > 3
        eventually(lambda: audit.verify(daemon.place)["unsigned_blocks"] == 0)
