"""The repository keeps its own rules. Needs nothing but Python: python3 -m pytest Tests/tidy"""

import pathlib
import subprocess

import pytest

import contract
import rules
import traps

ROOT = pathlib.Path(__file__).resolve().parents[2]


def tracked() -> list[str]:
    """What is kept, and what is about to be: neither deleted nor ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True,
        capture_output=True, text=True).stdout.split("\n")
    return sorted({name for name in listed if name and (ROOT / name).is_file()})


def readable(names: list[str]) -> dict[str, str]:
    texts = {}
    for name in names:
        try:
            texts[name] = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            assert name.startswith("Tests/"), f"{name} is not text"
    return texts


NAMES = tracked()
FILES = readable(NAMES)
WIRE = contract.sources(ROOT, "Sources/TollgateWire")
PROTOCOL = FILES["Protocol.md"]


@pytest.mark.parametrize("rule", [
    rules.imports, rules.queries, rules.package, rules.sizes, rules.words, rules.core,
    rules.documented, rules.places], ids=lambda rule: rule.__name__)
def test_sources_keep(rule) -> None:
    assert rule(FILES) == []


def test_the_top_level_is_six_names() -> None:
    assert rules.layout(NAMES) == []


@pytest.mark.parametrize("rule", [contract.protocol, contract.limits, contract.bodies],
                         ids=lambda rule: rule.__name__)
def test_the_protocol_document_and_the_code_have_the_same_numbers(rule) -> None:
    assert rule(WIRE, PROTOCOL) == []


def test_the_reference_policy_shows_every_setting_and_no_other() -> None:
    reader = contract.sources(ROOT, "Sources/TollgatePolicy")
    assert contract.policy(reader, FILES["Deploy/tollgate.yaml"]) == []


def test_no_byte_of_a_peer_or_a_disk_can_trap() -> None:
    allow = (ROOT / "Tests/tidy/traps.allow").read_text()
    assert traps.problems(ROOT, NAMES, allow) == []
