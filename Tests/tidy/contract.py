"""Numbers that stand twice, once in code and once in a document, and must be the same.

Protocol.md is normative and the reference policy shows every setting: what code knows and they do
not say is undocumented, what they say and code does not know is a promise that nobody keeps."""

import pathlib
import re

# A row of Protocol.md's table of limits → the constant of WireLimits that it states.
LIMIT_ROWS = {
    "length field": "lengthMax",
    "requests of one connection": "inFlightMax",
    "identifier": "identifierBytesMax",
    "credential": "credentialBytesMax",
    "method": "methodBytesMax",
    "path": "pathBytesMax",
    "meters in a request": "metersMax",
    "units of a meter": "unitsMax",
    "ping body": "pingBytesMax",
}
# The constants that other sentences state: what to look for, given the number as written there.
LIMIT_SENTENCES = {
    "version": r"# Tollgate wire protocol, version {}\b",
    "versionMin": r"# Tollgate wire protocol, version {}\b",
    "headerBytes": r"\| {} \| \| body \|",
    "lengthFieldBytes": r"\| 0 \| {} \| length: bytes after this field",
    "lengthMin": r"\| length field \| {} to ",
    "detailBytesMax": r"text of at most {} bytes",
    "retryNever": r"{} when no wait helps",
    "resetNever": r"{} when it never comes",
}
# Section of Protocol.md → the constants of BodyBytes, in the order of its byte tables: where the
# fixed part ends and the texts begin.
FIXED_PARTS = {
    "HELLO": ["helloRequest", "helloReply"],
    "CHECK": ["checkRequest", "decisionReply", "wouldDeny", "limitEntry"],
    "CONSUME": ["consumeRequest"],
    "USAGE": ["usageRequest", "usageReply", "creditEntry"],
    "RESERVE": ["reserveRequest"],
    "EXTEND": ["extendRequest"],
    "SETTLE": ["settleRequest"],
    "CANCEL": ["cancelRequest"],
    "Versions": ["extensionHeader"],
}
# Enumeration in code → the words before its values in Protocol.md: "credential kind: 0 none, …".
LISTS = {
    "CredentialKind": "credential kind: ",
    "Verdict": "verdict: ",
    "LimitScope": "scope: ",
    "LimitKind": r"kind: (?=1 rate limit)",
}
# Flags in code → the words before their bits.
FLAGS = {
    "RequestFlags": [r"flags: (?=bit 0 dry run \(decide)",
                     r"flags: (?=bit 0 dry run, bit 1 explain)", r"flags: (?=bit 2 personal)"],
    "DecisionFlags": [r"flags: (?=bit 0 dry run, bit 1 rate)"],
    "LimitEntryFlags": [r"flags: (?=bit 0 refuses)"],
    "ExtensionFlags": [r"flags: (?=bit 0 critical)"],
}


def enumeration(code: str, name: str) -> dict[str, int]:
    """Cases of a raw-valued enum."""
    body = _type(code, name)
    return {case: int(value, 0) for case, value in
            re.findall(r"^\s*case (\w+) = (0x[\da-fA-F]+|\d+)", body, re.M)}


def constants(code: str, name: str) -> dict[str, int]:
    """Static constants of a namespace, as numbers."""
    values: dict[str, int] = {}
    for key, kind, text in re.findall(
            r"static let (\w+)(?:: (\w+))? = ([^\n]+)", _type(code, name)):
        text = text.split("//")[0].strip()
        if text == ".max":
            values[key] = (1 << int(kind.removeprefix("UInt"))) - 1
            continue
        text = re.sub(r"[A-Za-z]\w*", lambda word: str(values[word.group()]), text)
        assert re.fullmatch(r"[\d_ <|&+*()-]+", text), f"{name}.{key} = {text}"
        values[key] = eval(text)
    return values


def _type(code: str, name: str) -> str:
    match = re.search(rf"^public enum {name}\b.*?\{{$(.*?)^\}}", code, re.M | re.S)
    assert match, f"no public enum {name} in Sources/TollgateWire"
    return match.group(1)


def section(protocol: str, title: str) -> str:
    match = re.search(rf"^## {title}\b.*?$(.*?)(?=^## |\Z)", protocol, re.M | re.S)
    assert match, f"Protocol.md has no section {title}"
    return match.group(1)


def _same(what: str, code: dict[str, int], document: dict[str, int], where: str) -> list[str]:
    found = [f"{what} {name} = {number}: {where} says {document.get(name, 'nothing')}"
             for name, number in code.items() if document.get(name) != number]
    return found + [f"{where}: {what} {name} = {number}: code does not know it"
                    for name, number in document.items() if name not in code]


def _words(name: str) -> str:
    """`personalOrganization` → `personal organization`"""
    return re.sub(r"([A-Z])", lambda letter: " " + letter.group().lower(), name)


def protocol(wire: str, text: str) -> list[str]:
    """Opcodes, statuses, reasons and extension tags: the same names and numbers, both ways."""
    found = _same("opcode", enumeration(wire, "Opcode"),
                  {name.lower(): int(number, 16) for name, number in
                   re.findall(r"^## ([A-Z]+) \((0x[\da-f]{2})\)", text, re.M)}, "Protocol.md")
    for kind, title in (("Status", "Status codes"), ("Reason", "Reasons")):
        rows = re.findall(r"^\| (\d+) \| `?(\w+)`? \|", section(text, title), re.M)
        found += _same(kind.lower(), enumeration(wire, kind),
                       {name: int(number) for number, name in rows}, "Protocol.md")
    tags = re.findall(r"\*(\w+)\* \((?:extension )?tag (\d+)\)", text)
    known = {name.lower(): number for name, number in constants(wire, "ExtensionTag").items()}
    return found + _same("extension tag", known,
                         {name.lower(): int(number) for name, number in tags}, "Protocol.md")


def limits(wire: str, text: str) -> list[str]:
    values = constants(wire, "WireLimits")
    found = []
    stated = {}
    for label, bound in re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", section(text, "Limits"), re.M):
        if label == "what" or set(label) <= {"-"}:
            continue
        keys = [key for start, key in LIMIT_ROWS.items() if label.lower().startswith(start)]
        if len(keys) != 1:
            found.append(f"Protocol.md: limit \"{label}\": code does not know it")
            continue
        power = re.search(r"2\^(\d+)", bound)
        numbers = re.findall(r"\d[\d,]*", bound)
        stated[keys[0]] = 1 << int(power.group(1)) if power else int(numbers[-1].replace(",", ""))
    for name, number in values.items():
        if name in LIMIT_SENTENCES:
            spellings = [f"{number:,}", str(number), f"0x{number:X}"]
            if not any(re.search(LIMIT_SENTENCES[name].format(spelling), text)
                       for spelling in spellings):
                found.append(f"limit {name} = {number}: Protocol.md does not say so")
        elif stated.get(name) != number:
            found.append(f"limit {name} = {number}: Protocol.md says {stated.get(name, 'nothing')}")
    return found


def bodies(wire: str, text: str) -> list[str]:
    """Where the fixed part of each body ends, and the values and bits that the tables list."""
    values = constants(wire, "BodyBytes")
    found = []
    for title, names in FIXED_PARTS.items():
        ends = [int(end) for end in re.findall(r"^\| (\d+) \| \| ", section(text, title), re.M)]
        if ends != [values[name] for name in names]:
            found.append(f"{title}: {', '.join(names)} = {[values[name] for name in names]}: "
                         f"Protocol.md's tables end at {ends}")
    for name, words in LISTS.items():
        rows = re.findall(words + r"(\d [^|.;]+)", text)
        items = re.findall(r"(\d+) ([A-Za-z ]+)", rows[0]) if rows else []
        listed = {item.strip().lower(): int(number) for number, item in items}
        known = {_words(case).lower(): number for case, number in enumeration(wire, name).items()}
        found += _same(name, known, listed, "Protocol.md")
    for name, places in FLAGS.items():
        known = {_words(flag): value.bit_length() - 1 for flag, value in
                 constants(wire, name).items() if value.bit_count() == 1
                 and not flag.startswith("known")}
        listed = {}
        for words in places:
            for row in re.findall(words + r"([^|;]+)", text):
                for bit, meaning in re.findall(r"bit (\d) ([a-z ]+)", row):
                    meaning = re.sub(r" present| this request", "", meaning).strip()
                    listed[meaning.replace("refuses", "refused")] = int(bit)
        found += _same(name + " bit", known, listed, "Protocol.md")
    return found


# Mappings whose keys the operator chooses, and those of them whose values are settings again.
NAMED = {"operations", "plans", "charges", "rate_limits", "quotas", "concurrency", "prices",
         "sinks", "address_limits", "issuers", "plans_by_role", "rules"}


def reader_settings(code: str) -> set[str]:
    """Every key that the policy reader takes: the lists of texts named `…keys` or `known`."""
    settings = set()
    for match in re.finditer(r"let \w*(?:[kK]eys|known)(?:: [^=\n]+)? =|\bknown:", code):
        settings |= set(re.findall(r'"([a-z_]+)"', _expression(code, match.end())))
    return settings


def _expression(code: str, at: int) -> str:
    """From `at` to the end of the expression: a line's end outside of brackets that no `+`
    continues, or a bracket that was open before."""
    depth = 0
    for end in range(at, len(code)):
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(code[end], 0)
        stops = code[end] == "\n" and depth == 0 and code[at:end].strip()
        if depth < 0 or (stops and code[end:].lstrip()[:1] != "+"):
            return code[at:end]
    return code[at:]


def shown_settings(yaml: str) -> set[str]:
    """Every setting of the reference policy, commented ones too; names of one's own left out."""
    settings: set[str] = set()
    stack: list[tuple[int, str]] = []
    lines = []
    for line in yaml.split("\n"):
        line = re.sub(r"^(\s*)# ((?:- \{)?[a-z_]+:(?: |$))", r"\1\2", line)
        if not line.strip().startswith("#"):
            lines.append(re.sub(r"\s+#.*$", "", line))
    for line in lines:
        match = re.match(r"^(\s*)(- )?(.*)$", line)
        indent = len(match.group(1)) + (2 if match.group(2) else 0)
        while stack and stack[-1][0] >= indent:
            stack.pop()
        parent = stack[-1][1] if stack else ""
        rest = match.group(3)
        key = re.match(r"([\w.]+):(?:\s|$)", rest)
        if key:
            if parent not in NAMED:
                settings.add(key.group(1))
            stack.append((indent, key.group(1)))
            parent = key.group(1)
            rest = rest[key.end():]
        _flow(rest, parent, settings)
    return settings


def _flow(text: str, parent: str, settings: set[str]) -> None:
    """The keys of `{key: value, key: {…}}`."""
    parents = []
    for token in re.finditer(r"\{|\}|([\w.]+):\s|\"[^\"]*\"", text):
        if token.group() == "{":
            parents.append(parent)
        elif token.group() == "}":
            parent = parents.pop()
        elif token.group(1) and parents:
            if parents[-1] not in NAMED:
                settings.add(token.group(1))
            parent = token.group(1)


def policy(reader: str, yaml: str) -> list[str]:
    known, shown = reader_settings(reader), shown_settings(yaml)
    return ([f"Deploy/tollgate.yaml does not show the setting {name}"
             for name in sorted(known - shown)]
            + [f"Deploy/tollgate.yaml shows {name}, which the reader does not know"
               for name in sorted(shown - known)])


def sources(root: pathlib.Path, folder: str) -> str:
    return "\n".join(path.read_text() for path in sorted((root / folder).rglob("*.swift")))
