"""The mutant bank still fits the sources: a mutant whose text or tests are gone says nothing."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "Tests/mutants"))

from bank import BANK, UNITS  # noqa: E402
from mutant import Mutant, mutated  # noqa: E402
from run import batches, judge  # noqa: E402
from table import results, rows  # noqa: E402

EXAMPLE = Mutant("example", "a.swift", "a < b", "a <= b", "why", ("SomeTests",))


def test_every_mutant_fits_its_file_once():
    wrong = []
    for mutant in BANK:
        try:
            mutated(mutant, (ROOT / mutant.file).read_text())
        except (ValueError, OSError) as error:
            wrong.append(str(error))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("text", ["nothing", "a < b, a < b"])
def test_a_mutant_that_does_not_fit_once_is_refused(text):
    with pytest.raises(ValueError, match="stands [02] times in a.swift"):
        mutated(EXAMPLE, text)


def test_a_mutant_changes_its_text_and_nothing_else():
    assert mutated(EXAMPLE, "if a < b {") == "if a <= b {"
    assert [mutant.name for mutant in BANK if mutant.find == mutant.replace] == []


def test_names_are_used_once():
    names = [mutant.name for mutant in BANK]
    assert len(names) == len(set(names)) and len(names) >= 60


def test_every_filter_names_tests_that_there_are():
    wrong = []
    for mutant in BANK:
        for name in mutant.tests:
            if name.startswith("Tests/"):
                found = (ROOT / name).exists()
            else:
                target, suite, *test = re.split(r"\\\.|/", name)
                texts = [path.read_text() for path in (ROOT / "Tests" / target).glob("*.swift")]
                text = "\n".join(
                    each for each in texts
                    if re.search(rf"(struct|extension) {suite}\b", each))
                found = bool(text) and all(f"func {part}" in text for part in test)
            if not found:
                wrong.append(f"{mutant.name}: there is no test {name}")
    assert not wrong, "\n".join(wrong)


def test_those_that_share_a_build_change_different_files_and_run_different_tests():
    for batch in batches(BANK):
        assert len({mutant.file for mutant in batch}) == len(batch)
        if len(batch) > 1:
            suites = [suite for mutant in batch for suite in UNITS[mutant.file]]
            assert len(suites) == len(set(suites))
    assert sorted(mutant.name for batch in batches(BANK) for mutant in batch) == sorted(
        mutant.name for mutant in BANK)


@pytest.mark.parametrize("status, ran, verdict", [
    (0, 3, ("survived", "unseen")),
    (0, 0, ("error", "the filter finds no test")),
    (1, 3, ("killed", "fails")),
    (1, 0, ("killed", "traps")),
    (124, 0, ("killed", "hangs")),
    (137, 0, ("killed", "hangs")),
])
def test_a_mutant_is_killed_when_its_tests_fail_trap_or_hang(status, ran, verdict):
    assert judge(status, ran) == verdict


def test_the_table_of_the_readme_is_what_was_run():
    readme = (ROOT / "README.md").read_text()
    assert "\n".join(rows(results())) in readme, "run Tests/mutants/table.py"
