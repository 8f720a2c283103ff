"""An answer that is smaller than what was decided does not look like a whole one: files that are
gone, an end that is cut, and blocks that are damaged."""

import csv
import io
import json
import os
import select
import shutil
import struct
import subprocess

import audit_daemon as audit
import pytest
from commandline import TOLLGATE
from hardening import eventually
from test_audit_proof import HASH, HEAD, HEADER, RECORDS, blocks

LIVES, COUNT, ROUNDS = 4, 20, 6


@pytest.fixture(scope="module")
def lives():
    """Four lives, a segment each."""
    place = audit.AuditPlace()
    try:
        for life in range(LIVES):
            with audit.daemon(place) as daemon:
                for number in range(COUNT):
                    daemon.charge("acme", f"user-{life}-{number}", 1)
                assert daemon.stop() == 0
        assert len(audit.segments(place)) == LIVES
        yield place
    finally:
        place.remove()


def lose_the_second(segments):
    segments[1].unlink()
    return 1, "segment 2 is missing: 3 is the next that is there"


def lose_two(segments):
    segments[1].unlink()
    segments[2].unlink()
    return 2, "segments 2 to 3 are missing: 4 is the next that is there"


def lose_the_last(segments):
    segments[3].unlink()
    return 1, "segment 4 is missing: the log was durable up to there"


def cut_the_last(segments):
    data = segments[3].read_bytes()
    segments[3].write_bytes(data[:HEADER])
    return 1, f"segment 4 ends at byte {HEADER}, and had {len(data)}: its end is missing"


def cut_a_middle_one(segments):
    data = segments[1].read_bytes()
    segments[1].write_bytes(data[:HEADER])
    return 1, f"segment 2 ends at byte {HEADER}, and had {len(data)}: its end is missing"


@pytest.mark.parametrize("lose", [
    lose_the_second, lose_two, lose_the_last, cut_the_last, cut_a_middle_one])
def test_whoever_reads_a_log_is_told_what_of_it_is_missing(lives, tmp_path, lose):
    log = audit.copy_of(lives, tmp_path / "log")
    asked = ("--directory", log)
    assert audit.ended("audit", "query", "--count", *asked).stderr == ""
    lost, words = lose(sorted(log.glob("audit.*.log")))
    left = (LIVES - lost) * COUNT

    def told(*command, said=words):
        done = audit.ended(*command, code=65)
        assert said in done.stderr and str(log) in done.stderr
        return done.stdout

    assert told("audit", "query", "--count", *asked) == f"{left}\n"
    assert len(told("audit", "query", "--all", "--format", "jsonl", *asked).splitlines()) == left
    assert len(told("audit", "query", "--format", "jsonl", *asked).splitlines()) == left
    assert len(told("audit", "export", *asked).splitlines()) == left
    told("audit", "export", *asked, "-o", tmp_path / "out")
    assert len((tmp_path / "out").read_text().splitlines()) == left
    assert len(told("audit", "tail", "-n", 5, "--format", "jsonl", *asked).splitlines()) == 5
    listed = json.loads(told("audit", "list", "--json", *asked))
    assert listed["missing"] == [words]
    told("audit", "list", *asked)
    error = json.loads(audit.ended("audit", "query", "--json", *asked, code=65).stderr)
    assert error["missing"] == [f"{log}: {words}"] and error["left_out"] == []


def test_a_replay_of_a_log_with_a_hole_says_so(lives, tmp_path):
    log = audit.copy_of(lives, tmp_path / "log")
    with audit.daemon() as daemon:
        words = ("policy", "diff", daemon.policy, daemon.policy, "--replay", log, "--json")
        whole = json.loads(audit.tollgate(*words))
        lost, said = lose_the_second(sorted(log.glob("audit.*.log")))
        done = audit.ended(*words, code=65)
        found = json.loads(done.stdout)
    assert whole["judged"] - found["judged"] == lost * COUNT
    assert said in done.stderr


def test_what_is_missing_and_older_than_what_is_asked_for_is_no_matter(lives, tmp_path):
    log = audit.copy_of(lives, tmp_path / "log")
    lose_the_second(sorted(log.glob("audit.*.log")))
    asked = ("audit", "query", "--count", "--directory", log, "--since", "2200-01-01")
    assert audit.ended(*asked).stdout == "0\n"
    lose_the_last(sorted(log.glob("audit.*.log")) + [log / "audit.00000000000000000004.log"])
    audit.ended(*asked, code=65)


def test_who_follows_a_log_with_a_hole_is_told_and_goes_on(lives, tmp_path):
    log = audit.copy_of(lives, tmp_path / "log")
    _, words = lose_the_second(sorted(log.glob("audit.*.log")))
    follower = subprocess.Popen(
        [TOLLGATE, "audit", "tail", "-f", "-n", "1", "--directory", str(log), "--format",
         "jsonl"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert json.loads(follower.stdout.readline())["user"] == f"user-3-{COUNT - 1}"
        said = b""
        while words.encode() not in said:
            assert select.select([follower.stderr], [], [], 20)[0], said
            said += os.read(follower.stderr.fileno(), 4_096)
        assert b"not all that was decided" in said and follower.poll() is None
    finally:
        follower.terminate()
        follower.communicate(timeout=10)


# MARK: damage


@pytest.fixture(scope="module")
def rounds():
    """One segment, sealed, with a block or more of each round; and as it was before, open."""
    place = audit.AuditPlace()
    open_one = place.path / "open"
    try:
        with audit.daemon(place) as daemon:
            for number in range(ROUNDS):
                for who in range(COUNT):
                    daemon.charge("acme", f"user-{number}-{who}", 1)
                # Who was named in the third round decides again in those behind it.
                daemon.charge("acme", "user-2-0" if number > 2 else "user-0-0", 1)
                eventually(
                    lambda: len(audit.records(place)) == (number + 1) * (COUNT + 1), 20)
            eventually(lambda: audit.verify(place)["unsigned_blocks"] == 0, 20)
            audit.copy_of(place, open_one)
            assert daemon.stop() == 0
        yield place.audit, open_one
    finally:
        place.remove()


def damage(segment):
    """One byte of the first block that names user-2-0; its number, and how many decisions it has.
    """
    data = bytearray(segment.read_bytes())
    at = HEADER
    for number, (head, payload) in enumerate(blocks(data)):
        if head[4] == RECORDS and b"user-2-0" in payload:
            (count,) = struct.unpack_from("<I", head, 12)
            data[at + HEAD + len(payload) // 2] ^= 1
            segment.write_bytes(data)
            return number, count
        at += HEAD + len(payload) + HASH
    raise AssertionError("no such block")


@pytest.mark.parametrize("which", ["sealed", "open"])
def test_damaged_blocks_are_left_out_where_that_is_wanted_and_named(rounds, tmp_path, which):
    log = tmp_path / "log"
    shutil.copytree(rounds[0 if which == "sealed" else 1], log)
    asked = ("--directory", log)
    every = [json.loads(line) for line in audit.tollgate("audit", "export", *asked).splitlines()]
    (segment,) = log.glob("audit.*.log")
    block, count = damage(segment)
    left = [one for one in every if one["block"] != block]
    assert len(every) - len(left) == count > 0
    unnamed = {"user-2-0"} | {one["user"] for one in every if one["block"] == block}
    for words in (["query", "--all"], ["query", "--count"], ["query"], ["export"],
                  ["export", "-o", tmp_path / "none"]):
        done = audit.ended("audit", *words, *asked, code=65)
        assert "--skip-damaged" in done.stderr and str(segment) in done.stderr
    assert not (tmp_path / "none").exists()
    for words in (["query", "--all", "--format", "jsonl"], ["query", "--limit", 1_000, "--json"],
                  ["export"], ["export", "-o", tmp_path / "out"]):
        done = audit.ended("audit", *words, *asked, "--skip-damaged", code=65)
        text = (tmp_path / "out").read_text() if "-o" in words else done.stdout
        found = [json.loads(line) for line in text.splitlines()]
        assert [one["id"] for one in found] == [one["id"] for one in left]
        for one, was in zip(found, left):
            assert one["user"] == was["user"] or (
                was["user"] in unnamed and one["user"].startswith("#"))
            assert one["organization"] == "acme"
        assert f"segment 1, block {block}, {segment}" in done.stderr
        assert "--skip-damaged" not in done.stderr
    assert any(one["user"].startswith("#") for one in found)
    rows = list(csv.DictReader(io.StringIO(audit.tollgate(
        "audit", "export", *asked, "--format", "csv", "--skip-damaged", code=65))))
    assert [row["id"] for row in rows] == [one["id"] for one in left]
    # By the index of a segment that has one, what is damaged is not read.
    done = audit.ended("audit", "query", "--count", *asked, "--skip-damaged", "--user",
                       "user-4-1", code=65 if which == "open" else 0)
    assert done.stdout == "1\n"


def test_of_a_log_that_is_whole_nothing_is_left_out(rounds):
    for log in rounds:
        done = audit.ended("audit", "query", "--count", "--directory", log, "--skip-damaged")
        assert done.stdout == f"{ROUNDS * (COUNT + 1)}\n" and done.stderr == ""


def test_a_segment_whose_beginning_is_damaged_is_left_out(lives, tmp_path):
    log = audit.copy_of(lives, tmp_path / "log")
    segment = sorted(log.glob("audit.*.log"))[1]
    data = bytearray(segment.read_bytes())
    data[40] ^= 1
    segment.write_bytes(data)
    done = audit.ended("audit", "query", "--count", "--directory", log, code=65)
    assert "--skip-damaged" in done.stderr
    done = audit.ended(
        "audit", "query", "--count", "--directory", log, "--skip-damaged", code=65)
    assert done.stdout == f"{(LIVES - 1) * COUNT}\n"
    assert f"left out as damaged: segment 2, {segment}" in done.stderr


def test_places_in_what_was_compressed_say_so(tmp_path):
    place = audit.AuditPlace()
    try:
        with audit.daemon(place) as daemon:
            for number in range(600):
                daemon.charge("acme", f"user-{number % 50}", 1)
            assert daemon.stop() == 0
        with audit.daemon(place, audit={"compress": True}) as daemon:
            eventually(lambda: audit.segments(place)[0].read_bytes()[:8] == b"TGAUPACK", 20)
            assert daemon.stop() == 0
        segment = audit.segments(place)[0]
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
        fault = audit.verify(place, code=1)["faults"][0]
        assert fault["compressed"] is True and fault["segment"] == 1
        asked = ("--directory", place.audit)
        text = audit.tollgate("audit", "verify", *asked, code=1)
        assert f"byte {fault['offset']} of what was compressed" in text
        done = audit.ended("audit", "export", *asked, code=65)
        assert "counted in what was compressed" in done.stderr
        done = audit.ended("audit", "export", *asked, "--skip-damaged", code=65)
        assert "of what was compressed" in done.stderr and len(done.stdout.splitlines()) < 600
    finally:
        place.remove()


def test_a_directory_without_a_log_is_none(tmp_path):
    (tmp_path / "else").write_text("")
    for words in (["query"], ["list"], ["export"], ["tail"], ["verify"],
                  ["query", "--count", "--json"]):
        done = audit.ended("audit", *words, "--directory", tmp_path, code=66)
        assert "has no audit log" in done.stderr and done.stdout == ""
