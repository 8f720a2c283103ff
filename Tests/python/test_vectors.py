"""The vectors themselves, and the documents that quote them."""

import json
import re

import frame_layout
import make_frames

MADE = make_frames.document()


def test_the_file_is_what_the_script_makes():
    assert make_frames.FRAMES.read_text() == make_frames.text(MADE)
    assert json.loads(make_frames.FRAMES.read_text()) == MADE


def test_the_examples_of_the_document_are_vectors_each_opcode_with_request_and_reply():
    protocol = make_frames.PROTOCOL.read_text()
    assert make_frames.quoted(protocol, MADE) == protocol
    names = [match[2] for match in make_frames.QUOTED.finditer(protocol)]
    assert len(names) == protocol.count("<!--") == len(set(names))
    # Every block of code is such an example.
    assert protocol.count("```") == 2 * len(names)
    for kind in ("requests", "replies"):
        shown = {v["opcode"] for v in MADE[kind] if v["name"] in names and is_good(v)}
        assert shown == set(frame_layout.OPCODES)


def is_good(vector):
    """A call that is in order needs a directory, which the vectors' policy has not, and what
    names a reservation one that was made before."""
    fields = vector["fields"] or {}
    return not vector["status"] or "body" in fields or "reservation" in fields


def test_every_vector_has_a_name_of_its_own_and_one_line_about_it():
    vectors = MADE["requests"] + MADE["replies"]
    assert len(vectors) >= 650
    assert len({vector["name"] for vector in vectors}) == len(vectors)
    for vector in vectors:
        assert re.fullmatch(r"[A-Za-z0-9-]+", vector["name"])
        assert vector["note"] and "\n" not in vector["note"]


def test_every_opcode_and_every_status_has_its_vectors():
    for opcode in frame_layout.OPCODES:
        for kind in ("requests", "replies"):
            assert [v for v in MADE[kind] if v["opcode"] == opcode and is_good(v)]
    assert {v["status"] for v in MADE["replies"]} >= set(range(24))
    # 12 to 15 do not answer a frame, and the others need a directory.
    assert {v["status"] for v in MADE["requests"]} == {*range(12), 16, 18, 19, 21}


def test_every_call_has_a_request_of_its_own_and_every_one_that_answers_a_document_a_reply():
    calls = {one["call"] for one in MADE["calls"]}
    asked = {v["fields"]["body"]["call"] for v in MADE["requests"]
             if v["opcode"] == "CALL" and v["fields"]}
    assert asked == calls and len(calls) == 63
    answered = {v["fields"]["call"] for v in MADE["replies"]
                if v["opcode"] == "CALL" and not v["status"] and not v["malformed"]}
    assert answered <= calls and {call.split(".")[0] for call in answered} == {
        call.split(".")[0] for call in calls}


def test_the_document_lists_every_call_with_its_role_and_its_members():
    protocol = make_frames.PROTOCOL.read_text()
    rows = re.findall(r"^\| `(\w+\.\w+)` \|([^|]*)\|[^|]*\|$", protocol, re.M)
    listed = [{
        "call": call, "role": next(iter(re.findall(r"\*\*(issue|watch)\*\*", members)), "admin"),
        "members": re.findall(r"`(\w+[?~]*)`", members.replace("*list*", "`after?` `limit?`")),
    } for call, members in rows]
    assert listed == MADE["calls"]
