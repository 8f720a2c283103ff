"""RELIABILITY J9: how long the verifier takes tells nobody anything of a signature.

Instructions are counted, not time: the same on every machine, whatever else runs on it."""

import pathlib
import re
import subprocess

TIMED = "$s12token_timing5timedyyF"  # timed() of Tests/TokenTiming
ROOT = pathlib.Path(__file__).resolve().parents[2]


def counted(directory):
    """Instructions by the name of what was measured."""
    # Without what is for debuggers, which valgrind need not understand; symbols stay.
    tool = directory / "token-timing"
    subprocess.run(
        ["strip", "--strip-debug", "-o", tool, ROOT / ".build/debug/token-timing"], check=True)
    run = subprocess.run(
        ["valgrind", "--tool=callgrind", "--collect-atstart=no",
         f"--toggle-collect={TIMED}", f"--dump-after={TIMED}",
         f"--callgrind-out-file={directory}/out", str(tool)],
        capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    names = run.stdout.splitlines()
    dumps = sorted(directory.glob("out.*"), key=lambda path: int(path.suffix[1:]))
    counts = [int(re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.M).group(1))
              for dump in dumps]
    assert len(names) == len(set(names)) and len(counts) >= len(names) > 170
    return dict(zip(names, counts))


def test_no_count_depends_on_where_a_signature_is_wrong(tmp_path):
    counts = counted(tmp_path)
    # The control is an ordinary compare: it is seen.
    assert counts["leaky 31"] > counts["leaky 0"]
    for algorithm, size in (("HS256", 32), ("HS384", 48), ("HS512", 64)):
        found = {counts[f"{algorithm} {index}"] for index in range(size)}
        assert len(found) == 1, f"{algorithm}: {sorted(found)}"
        assert counts[f"{algorithm} all"] in found
        assert min(found) > 1_000
    # A key id is no secret: it stands in every token, and is compared as such. One that is unknown
    # is answered without a signature being computed, so a flood of them costs less.
    unknown = [count for name, count in counts.items() if name.startswith("unknown")]
    assert len(unknown) == 5 and max(unknown) < counts["known"]
    # Of an API key the id is public, but nothing tells whether it is known: the same hash is made
    # and compared for one that is not.
    keys = {counts[f"key {index}"] for index in range(32)} | {counts["key of nobody"]}
    assert len(keys) == 1 and min(keys) > 1_000, sorted(keys)
