"""What a mutant is."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutant:
    """A defect: a text that stands once in one file, and what takes its place. `tests` are to see
    it: filters of `swift test`, each beginning with its test target, or one path for pytest."""

    name: str
    file: str
    find: str
    replace: str
    why: str
    tests: tuple[str, ...]


def mutated(mutant: Mutant, text: str) -> str:
    """`text` with the defect; refuses when what is to be replaced does not stand there once."""
    found = text.count(mutant.find)
    if found != 1:
        raise ValueError(f"{mutant.name}: what it replaces stands {found} times in {mutant.file}")
    return text.replace(mutant.find, mutant.replace)


def core(suites: str) -> tuple[str, ...]:
    return of("TollgateCoreTests", suites)


def of(target: str, suites: str) -> tuple[str, ...]:
    return tuple(rf"{target}\.{suite}" for suite in suites.split())
