"""Makes Tests/Vectors/frames.json, and the examples of Protocol.md that quote it.

    python Tests/python/make_frames.py            # writes both
    python Tests/python/make_frames.py --check    # says whether both are as they should be

Standard library only. The frames are laid out from Protocol.md's tables (frame_layout.py), not by
any client; nothing depends on the clock or on chance.
"""

import json
import pathlib
import re
import sys

import frame_calls
import frame_layout
import frame_replies
import frame_requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
FRAMES = ROOT / "Tests/Vectors/frames.json"
PROTOCOL = ROOT / "Protocol.md"
# A code block behind a comment that names a vector.
QUOTED = re.compile(r"(<!-- vector: ([A-Za-z0-9-]+) -->\n```\n)(.*?)(```\n)", re.S)


def document():
    return {
        "made_by": "Tests/python/make_frames.py",
        "policy": "Tests/Vectors/policy.yaml",
        "key": frame_layout.base64url(frame_layout.KEY),
        "requests": frame_requests.vectors(),
        "replies": frame_replies.vectors(),
        "calls": frame_calls.catalogue(),
    }


def text(made):
    """One vector a line, so that a change shows as the vectors that changed."""
    parts = []
    for key, value in made.items():
        if isinstance(value, list):
            lines = ",\n".join("  " + json.dumps(vector, ensure_ascii=False) for vector in value)
            parts.append(f' "{key}": [\n{lines}\n ]')
        else:
            parts.append(f' "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def dump(frame):
    """Offset, bytes, and what of them is text: sixteen a line."""
    lines = []
    for start in range(0, len(frame), 16):
        row = frame[start:start + 16]
        halves = [" ".join(f"{byte:02x}" for byte in half) for half in (row[:8], row[8:])]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:04x}  {halves[0]:23}  {halves[1]:23}  {shown}\n")
    return "".join(lines)


def quoted(protocol, made):
    """Protocol.md with every example as its vector has it."""
    frames = {v["name"]: bytes.fromhex(v["hex"]) for v in made["requests"] + made["replies"]}
    return QUOTED.sub(lambda m: m[1] + dump(frames[m[2]]) + m[4], protocol)


def main():
    made = document()
    protocol = PROTOCOL.read_text()
    if "--check" in sys.argv:
        same = FRAMES.read_text() == text(made) and quoted(protocol, made) == protocol
        sys.exit(0 if same else "run python Tests/python/make_frames.py and look at the changes")
    FRAMES.write_text(text(made))
    PROTOCOL.write_text(quoted(protocol, made))
    print(f"{len(made['requests'])} requests and {len(made['replies'])} replies in {FRAMES}")


if __name__ == "__main__":
    main()
