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
        shown = {v["opcode"] for v in MADE[kind] if v["name"] in names and not v["status"]}
        assert shown == set(frame_layout.OPCODES)


def test_every_vector_has_a_name_of_its_own_and_one_line_about_it():
    vectors = MADE["requests"] + MADE["replies"]
    assert len(vectors) >= 250
    assert len({vector["name"] for vector in vectors}) == len(vectors)
    for vector in vectors:
        assert re.fullmatch(r"[A-Za-z0-9-]+", vector["name"])
        assert vector["note"] and "\n" not in vector["note"]


def test_every_opcode_and_every_status_has_its_vectors():
    for opcode in frame_layout.OPCODES:
        for kind in ("requests", "replies"):
            assert [v for v in MADE[kind] if v["opcode"] == opcode and not v["status"]]
    assert {v["status"] for v in MADE["replies"]} >= set(range(16))
    # 12 to 15 do not answer a frame.
    assert {v["status"] for v in MADE["requests"]} == set(range(12))
