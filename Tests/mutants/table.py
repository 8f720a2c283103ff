"""The table of README: what was run, and what came of it, by `results.json`.

usage: Tests/mutants/table.py [FILE]...     FILE, as `run.py --json` writes it, is taken over first

A result is kept with the text that its mutant had: of one that was changed since, nothing is known.
"""

import hashlib
import json
import sys
from dataclasses import astuple
from pathlib import Path

from bank import BANK, COUNTING, CREDENTIALS, JOURNAL, PEERS, STORAGE
from mutant import Mutant

KEPT = Path(__file__).with_name("results.json")
AREAS = {
    "limits, quotas, reservations, calendars": COUNTING,
    "tokens, keys, paths, refresh": CREDENTIALS,
    "the journal's bytes": JOURNAL,
    "the ledger's files, syncs, starts": STORAGE,
    "sockets, frames, roles, held replies": PEERS,
}


def digest(mutant: Mutant) -> str:
    return hashlib.sha256(repr(astuple(mutant)).encode()).hexdigest()[:12]


def results() -> dict[str, str]:
    """The verdict by name, of those that are as they were when they were run."""
    kept = json.loads(KEPT.read_text())
    return {mutant.name: kept[mutant.name]["verdict"] for mutant in BANK
            if kept.get(mutant.name, {}).get("mutant") == digest(mutant)}


def take_over(path: Path) -> None:
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    known = {mutant.name: mutant for mutant in BANK}
    for result in json.loads(path.read_text()):
        if result["verdict"] != "error" and result["name"] in known:
            kept[result["name"]] = {
                "verdict": result["verdict"], "how": result["how"],
                "mutant": digest(known[result["name"]])}
    kept = {name: kept[name] for name in known if name in kept}
    lines = [f" {json.dumps(name)}: {json.dumps(result)}" for name, result in kept.items()]
    KEPT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def rows(verdicts: dict[str, str]) -> list[str]:
    """The table's lines."""
    found = ["| defects of | | killed | survived | not run yet |", "|---|---|---|---|---|"]
    for area, mutants in [*AREAS.items(), ("all", BANK)]:
        own = [verdicts.get(mutant.name) for mutant in mutants]
        numbers = [len(own), own.count("killed"), own.count("survived"), own.count(None)]
        found.append(f"| {area} | " + " | ".join(map(str, numbers)) + " |")
    return found


def main() -> None:
    for name in sys.argv[1:]:
        take_over(Path(name))
    verdicts = results()
    print("\n".join(rows(verdicts)))
    for verdict in ("survived", None):
        names = [mutant.name for mutant in BANK if verdicts.get(mutant.name) == verdict]
        print(f"{verdict or 'not run yet'}: {', '.join(names) or 'none'}")


if __name__ == "__main__":
    main()
