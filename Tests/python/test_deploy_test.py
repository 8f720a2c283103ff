"""Deploy/test counts what ran, and passes only when all of it passed: with a stand-in for swift."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAILED = "✘ Test b() failed after 0.1 seconds with 1 issue.\n✘ Suite S failed after 0.1 seconds.\n"


def count(directory: pathlib.Path, part: str, said: str, status: int) -> tuple[int, str]:
    """Exit status and last line of a run in which swift says that."""
    (directory / "said").write_text(said)
    swift = directory / "swift"
    swift.write_text(f"#!/bin/sh\ncat '{directory}/said'\nexit {status}\n")
    swift.chmod(0o755)
    run = subprocess.run([ROOT / "Deploy/test", part], text=True, capture_output=True,
                         env={**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"})
    return run.returncode, run.stdout.splitlines()[-1] if run.stdout else run.stderr


def closing(word: str, tests: int = 3) -> str:
    return f"✔ Test run with {tests} tests in 1 suite {word} after 0.1 seconds.\n"


@pytest.mark.parametrize("part, said, status, passes, counted", [
    ("swift", closing("passed"), 0, True, "3 passed, 0 failed"),
    ("swift", FAILED + closing("failed"), 1, False, "2 passed, 1 failed"),
    ("swift", closing("passed"), 1, False, "3 passed, 1 failed"),
    ("swift", closing("passed", 0), 0, False, "0 passed, 1 failed"),
    ("swift", "error: fatalError\n", 1, False, "0 passed, 1 failed"),
    ("swift", "", 0, False, "0 passed, 1 failed"),
    ("address", closing("passed"), 0, True, "3 passed, 0 failed"),
    ("address", closing("passed") + "==1==ERROR: LeakSanitizer: detected memory leaks\n", 0, False,
     "3 passed, 1 failed"),
    ("address", "a.c:1:2: runtime error: signed integer overflow\n" + closing("passed"), 0, False,
     "3 passed, 1 failed"),
    ("thread", "WARNING: ThreadSanitizer: data race (pid=1)\n" + closing("passed"), 0, False,
     "3 passed, 1 failed"),
])
def test_what_ran_is_counted(tmp_path, part, said, status, passes, counted) -> None:
    assert count(tmp_path, part, said, status) == (
        0 if passes else 1, f"not everything, only {part}: {counted}")


def test_a_part_that_is_none_is_refused(tmp_path) -> None:
    assert count(tmp_path, "all", "", 0)[0] == 64
