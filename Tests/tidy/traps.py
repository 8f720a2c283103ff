"""Where code that touches bytes of a peer or of a disk could trap (RELIABILITY Q2).

In Swift a bad index or an overflow ends the process, and with it every caller's answers. So in
the files below each operation that can trap stands in traps.allow with the reason why it cannot,
or is written so that it cannot: `&+` after a checked length, `reportingOverflow`, `guard let`,
`Int(exactly:)`, `truncatingIfNeeded:`.
"""

import fnmatch
import pathlib
import re

import source

FILES = [
    "Sources/TollgateWire/*.swift",
    "Sources/TollgateCore/Alerts/AlertState+Bytes.swift",
    "Sources/TollgateCore/Credentials/*.swift",
    "Sources/TollgateCore/Ledger/JournalFormat.swift",
    "Sources/TollgateCore/Ledger/JournalReader.swift",
    "Sources/TollgateCore/Ledger/ClosedPeriod.swift",
    "Sources/TollgateCore/Ledger/IdempotencyRecord.swift",
    "Sources/TollgateCore/Ledger/PackedBytes.swift",
    "Sources/TollgateCore/Ledger/PackedReservation+Reading.swift",
    "Sources/TollgateCore/Ledger/Reservation.swift",
    "Sources/TollgateCore/Ledger/ReservationRestore.swift",
    "Sources/TollgateCore/Ledger/RowHead.swift",
    "Sources/TollgateCore/Ledger/ShardRestorer*.swift",
    "Sources/TollgateCore/Ledger/SnapshotSlices.swift",
    "Sources/TollgateCore/Limits/WindowRestore.swift",
    "Sources/TollgateCore/Routes/*.swift",
    "Sources/TollgateCore/Engine/CheckRequest*.swift",
    "Sources/TollgateCore/Engine/SubjectRequest*.swift",
    "Sources/TollgateCore/Engine/ReservationRequest*.swift",
    "Sources/TollgateCore/Engine/RequestID*.swift",
    "Sources/TollgatePolicy/*.swift",
    "Sources/TollgateStorage/*/*.swift",
    "Sources/TollgateServer/Connection*.swift",
    "Sources/TollgateServer/Reactor+*.swift",
    "Sources/TollgateClient/*.swift",
]
# What reads nothing of a peer's or a disk's among them: it writes, or it holds what was checked.
NOT_FILES = [
    "Sources/TollgateCore/Credentials/IssuerTableBuilder.swift",
    "Sources/TollgateCore/Credentials/TokenMinter.swift",
    "Sources/TollgateCore/Credentials/SecretBytes.swift",
]

# Widening conversions such as Int(byte) look like the others: the kind asks for a reason once a
# function, and the function's reason covers them.
KINDS = {
    "unwrap": re.compile(r"(?<=[\w)\]])(?<!\btry)(?<!\bas)!(?!=)"),
    "try": re.compile(r"\btry!"),
    "cast": re.compile(r"\bas!"),
    "double": re.compile(r"\b(?:Double|Float|CGFloat)\b|(?<![\w.$])\d[\d_]*\.\d"),
    "narrowing": re.compile(r"\bU?Int(?:8|16|32)\((?!truncatingIfNeeded:|bitPattern:|exactly:"
                            r"|clamping:|littleEndian:|bigEndian:|ascii:|\)|\d)"),
    "arithmetic": re.compile(r"(?:(?<=[\w)\]}])|^ +)(?P<space>\s)(?:[-+*%/]|<<)=?(?=\s)", re.M),
    "subscript": re.compile(r"(?<=[\w)\]?])(?<!inout)\[(?![\"\s]*\])(?!\")"),
}
_LITERAL = r"(?:0x[\da-fA-F_]+|\d[\d_]*)"
_LITERAL_BEFORE = re.compile(rf"(?<![\w.)\]]){_LITERAL}$")
_LITERAL_AFTER = re.compile(rf"{_LITERAL}(?![\w.])")


def uses(text: str) -> list[tuple[str, str, int]]:
    """(function, kind, line) of every operation in `text` that can trap."""
    code = source.blanked(text)
    functions = source.swift_functions(code)
    found = []
    for kind, pattern in KINDS.items():
        for match in pattern.finditer(code):
            if kind == "arithmetic" and _is_harmless(code, match):
                continue
            line = code.count("\n", 0, match.end()) + 1
            found.append((source.enclosing(functions, line), kind, line))
    return found


def _is_harmless(code: str, match: re.Match) -> bool:
    """Of literals alone (the compiler sees to it), of texts and lists, or divided by a literal."""
    before = code[max(0, match.start() - 24):match.start("space")].rstrip()
    after = code[match.end():match.end() + 24].lstrip()
    if before.endswith(('"', "return", "=", "(", ",", "in", "where")) or after[:1] in ('"', "["):
        return True
    literal = bool(_LITERAL_AFTER.match(after))
    return literal and (match.group().strip()[0] in "/%" or bool(_LITERAL_BEFORE.search(before)))


class Allowance:
    """A line of traps.allow: `path functions kinds: reason`, lists joined by commas."""

    def __init__(self, number: int, line: str) -> None:
        head, colon, reason = line.partition(": ")
        words = head.split()
        assert colon and len(words) == 3 and len(reason.strip()) >= 6, (
            f"traps.allow:{number}: path functions kinds: reason")
        self.number, self.path = number, words[0]
        self.functions, self.kinds = words[1].split(","), words[2].split(",")
        self.unused = set(self.functions) | set(self.kinds)
        for kind in self.kinds:
            assert kind in KINDS, f"traps.allow:{number}: no kind {kind}"

    def covers(self, path: str, function: str, kind: str) -> bool:
        if path != self.path or function not in self.functions or kind not in self.kinds:
            return False
        self.unused -= {function, kind}
        return True


def problems(root: pathlib.Path, files: list[str], allow: str) -> list[str]:
    """Uses that are not allowed, and allowances that allow nothing any more."""
    allowances = [Allowance(number, line) for number, line in enumerate(allow.splitlines(), 1)
                  if line.strip() and not line.startswith("#")]
    found = []
    for file in files:
        if file in NOT_FILES or not any(fnmatch.fnmatch(file, pattern) for pattern in FILES):
            continue
        path = file.removeprefix("Sources/")
        for function, kind, line in uses((root / file).read_text()):
            if not [entry for entry in allowances if entry.covers(path, function, kind)]:
                found.append(f"{file}:{line}: {kind} in {function} can trap")
    return found + [f"traps.allow:{entry.number}: allows nothing: {', '.join(sorted(entry.unused))}"
                    for entry in allowances if entry.unused]
