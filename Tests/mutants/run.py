"""Applies the defects of bank.py, one after the other, and says which of them the tests saw.

usage: Tests/mutants/run.py [--list] [--only NAME]... [--json FILE]

Each defect is put into a copy of the package, never into the tree that this stands in; the copy
is built, which takes as long as what the defect touched, and the tests that are to see it run.
It was killed if they fail, trap or do not end. One that does not compile, whose tests fail
without it, or whose filter finds no test, is an error of the bank.

Defects of files in `UNITS` share a build, one of each file, when their tests run nothing of the
others.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bank import BANK, UNITS
from mutant import ROOT, Mutant, mutated

COPY = ROOT / ".build-mutants"
COPIED = ("Sources", "Tests", "Deploy", "Package.swift", "Protocol.md")
LEFT_OUT = {"__pycache__", "mutants", "tidy"}
BUILD_SECONDS = 1_800
TEST_SECONDS = 240
NOT_BUILT = 99
OUTSIDE = frozenset({"tollgated", "tollgate", "token-timing", "ledger-kills"})
PASSED = COPY / "passed.json"

# A defect may leave a variable unused.
MANIFEST = """
for target in package.targets { target.swiftSettings = [] }
"""


@dataclass
class Result:
    """What came of one mutant: `killed`, `survived` or `error`, and how it was seen."""

    name: str
    verdict: str
    how: str
    tests: str
    seconds: int


# Making the copy

def files(base: Path) -> dict[str, Path]:
    """Every file that is copied, by its path in the package."""
    found = {}
    for name in COPIED:
        top = base / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and LEFT_OUT.isdisjoint(path.relative_to(base).parts[:-1]):
                found[str(path.relative_to(base))] = path
    return found


def put(path: Path, content: bytes) -> None:
    """Writes a file unless it holds that already: what is not changed is not built again."""
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def refresh() -> str:
    """Makes the copy what the package is; a digest of it."""
    COPY.mkdir(exist_ok=True)
    wanted = files(ROOT)
    for name, path in files(COPY).items():
        if name not in wanted:
            path.unlink()
    digest = hashlib.sha256()
    for name, path in wanted.items():
        content = path.read_bytes()
        digest.update(name.encode() + b"\0" + content)
        if name == "Package.swift":
            content += MANIFEST.encode()
        put(COPY / name, content)
        shutil.copymode(path, COPY / name)
    return digest.hexdigest()


# Building it and running tests in it

def is_outside(tests: tuple[str, ...]) -> bool:
    return tests[0].startswith("Tests/")


def targets_of(tests: tuple[str, ...]) -> frozenset[str]:
    """What has to be built for these tests: a filter begins with the name of its target."""
    if is_outside(tests):
        return OUTSIDE
    return frozenset(re.split(r"\W", name)[0] for name in tests)


def command(argv: list[str], seconds: int, targets: frozenset[str]) -> tuple[int, str]:
    """Its exit status and what it wrote, in the package of those targets alone; after so many
    seconds it is killed, with 124 or 137."""
    environment = os.environ | {
        "SWIFT_BACKTRACE": "enable=no", "TOLLGATE_TARGETS": " ".join(sorted(targets))}
    done = subprocess.run(
        ["timeout", "-k", "5", str(seconds), *argv], cwd=COPY, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=environment, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


# Without tollgate-http and SwiftNIO.
BUILD = ["swift", "build", "--disable-default-traits"]


def build(targets: frozenset[str]) -> str:
    """Empty, or why it cannot be built."""
    if targets == OUTSIDE:
        commands = [[*BUILD, "--product", name] for name in sorted(OUTSIDE)]
    else:
        # Without debug information it is linked sooner.
        commands = [[*BUILD, "--build-tests", "-Xswiftc", "-gnone"]]
    for argv in commands:
        status, text = command(argv, BUILD_SECONDS, targets)
        if status != 0:
            return tail(text) or "no word"
    return ""


def test(tests: tuple[str, ...], seconds: int) -> tuple[int, int, str]:
    """The exit status, how many tests ran to their end, and the last that was said."""
    if is_outside(tests):
        argv = [str(ROOT / ".venv/bin/python"), "-m", "pytest", "-q", "-x", "-p",
                "no:cacheprovider", *tests]
    else:
        argv = ["swift", "test", "--disable-default-traits", "--skip-build", "--disable-xctest"]
        for name in tests:
            argv += ["--filter", name]
    status, text = command(argv, seconds, targets_of(tests))
    counts = re.findall(r"Test run with (\d+) tests?|^(\d+) (?:passed|failed)", text, re.M)
    return status, sum(int(swift or python) for swift, python in counts), tail(text)


def tail(text: str) -> str:
    lines = text.splitlines()
    errors = [line for line in lines if "error:" in line]
    return "\n".join((errors or lines)[-5:])


# Mutants

def judge(status: int, ran: int) -> tuple[str, str]:
    """The verdict, and how it was come to."""
    if status in (124, 137):
        return "killed", "hangs"
    if status == 0:
        return ("survived", "unseen") if ran else ("error", "the filter finds no test")
    return "killed", "fails" if ran else "traps"


def attempt(batch: list[Mutant]) -> list[Result]:
    """Puts them all in, and runs the tests of each."""
    began = time.monotonic()
    originals = {mutant.file: (COPY / mutant.file).read_bytes() for mutant in batch}
    results = []
    try:
        for mutant in batch:
            text = originals[mutant.file].decode()
            (COPY / mutant.file).write_bytes(mutated(mutant, text).encode())
        why = build(targets_of(batch[0].tests))
        if why and len(batch) == 1:
            return [Result(batch[0].name, "error", f"does not compile\n{why}", "", 0)]
        for mutant in [] if why else batch:
            status, ran, _ = test(mutant.tests, TEST_SECONDS)
            results.append(
                Result(mutant.name, *judge(status, ran), " ".join(mutant.tests),
                       round(time.monotonic() - began)))
            began = time.monotonic()
    finally:
        for name, content in originals.items():
            (COPY / name).write_bytes(content)
    # One of them does not compile: which?
    return results or [attempt([mutant])[0] for mutant in batch]


def batches(group: list[Mutant]) -> list[list[Mutant]]:
    """Those that may share a build, one of each file; every other alone."""
    shared: list[list[Mutant]] = []
    alone: list[list[Mutant]] = []
    for mutant in group:
        suites = {re.split(r"\W+", name)[1] for name in mutant.tests}
        if not suites <= set(UNITS.get(mutant.file, [])):
            alone.append([mutant])
            continue
        for batch in shared:
            if mutant.file not in {other.file for other in batch}:
                batch.append(mutant)
                break
        else:
            shared.append([mutant])
    return shared + alone


def unfit(group: list[Mutant]) -> str:
    """Why nothing can be told of a group: its tests do not pass without any defect. They are not
    run again for a package that they have passed for."""
    targets = targets_of(group[0].tests)
    digest = refresh()
    tests = {name for mutant in group for name in mutant.tests}
    known = json.loads(PASSED.read_text()) if PASSED.exists() else {}
    passed = set(known.get(digest, []))
    if tests <= passed:
        return ""
    why = build(targets)
    if why:
        return why
    status, ran, text = test(tuple(sorted(tests - passed)), 5 * TEST_SECONDS)
    if status != 0 or ran == 0:
        return f"status {status}\n{text}"
    PASSED.write_text(json.dumps({digest: sorted(tests | passed)}))
    return ""


def run(chosen: list[Mutant], report) -> None:
    """All of them; those whose tests need the same targets one after the other."""
    groups: dict[frozenset[str], list[Mutant]] = {}
    for mutant in chosen:
        groups.setdefault(targets_of(mutant.tests), []).append(mutant)
    for group in groups.values():
        why = unfit(group)
        for batch in [group] if why else batches(group):
            results = attempt(batch) if not why else [
                Result(mutant.name, "error", f"its tests fail without it\n{why}", "", 0)
                for mutant in batch]
            for result in results:
                report(result)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="say what there is; run nothing")
    parser.add_argument("--only", action="append", metavar="NAME", help="may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    unknown = set(options.only or []) - {mutant.name for mutant in BANK}
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}; --list says what there is")
    chosen = [mutant for mutant in BANK if not options.only or mutant.name in options.only]
    if options.list:
        for mutant in chosen:
            print(f"{mutant.name:32} {mutant.why}")
        return 0

    results: list[Result] = []

    def report(result: Result) -> None:
        results.append(result)
        how, *details = result.how.split("\n")
        print(f"{result.name:32} {result.verdict:9} {how:8} {result.seconds:4} s  {result.tests}",
              *details, sep="\n    ", flush=True)
        if options.json:
            options.json.write_text(
                json.dumps([asdict(each) for each in results], indent=1) + "\n")

    run(chosen, report)
    count = {verdict: sum(result.verdict == verdict for result in results)
             for verdict in ("killed", "survived", "error")}
    if count["error"]:
        print(f"{count['error']} errors of the bank")
    print(f"{count['killed']} killed, {count['survived']} survived")
    return 1 if count["survived"] or count["error"] else 0


if __name__ == "__main__":
    sys.exit(main())
