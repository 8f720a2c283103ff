"""How code reads here, as rules a machine can keep (STYLE 19). Each returns what it found wrong.

A rule takes the files' texts, so that its own test can plant a fault without touching the disk.
"""

import ast
import pathlib
import re

import source

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
COLUMNS_MAX = 100

TOP_LEVEL = {"Deploy", "Package.swift", "Protocol.md", "README.md", "Sources", "Tests"}

# What each module may import of ours. Only what stands below it; the client takes the wire
# formats alone, and who speaks to the daemon takes the client.
MAY_IMPORT = {
    "CChecksum": set(),
    "CLinux": set(),
    "COpenSSL": set(),
    "CSQLite": set(),
    "CYAML": set(),
    "CZstd": set(),
    "TollgateWire": set(),
    "TollgateCore": {"TollgateWire", "CChecksum", "COpenSSL"},
    "TollgateStorage": {"TollgateCore", "TollgateWire", "CChecksum", "CLinux", "COpenSSL",
                        "CSQLite", "CZstd"},
    "TollgatePolicy": {"TollgateCore", "TollgateWire", "CYAML", "COpenSSL"},
    "TollgateServer": {"TollgateStorage", "TollgateCore", "TollgateWire", "CLinux", "COpenSSL"},
    "TollgateClient": {"TollgateWire", "CLinux"},
    "tollgated": {"TollgateServer", "TollgateStorage", "TollgatePolicy", "TollgateCore",
                  "TollgateWire", "CLinux", "COpenSSL"},
    "tollgate": {"TollgateClient", "TollgateStorage", "TollgatePolicy", "TollgateCore",
                 "TollgateWire", "CLinux", "COpenSSL", "ArgumentParser"},
    "tollgate-bench": {"TollgateClient", "TollgateStorage", "TollgateCore", "TollgateWire",
                       "CLinux", "COpenSSL", "ArgumentParser", "Histogram"},
    "tollgate-floor": {"COpenSSL"},
    "tollgate-http": {"TollgateClient", "TollgateWire", "CLinux", "ArgumentParser", "NIOCore",
                      "NIOPosix", "NIOHTTP1"},
}
# Of the system, every Swift module may have these and no other: no Foundation, no Dispatch.
SYSTEM = {"Glibc", "Synchronization"}

_IMPORT = re.compile(r"^\s*(?:@\w+ +)*(?:(?:public|package|internal|private) +)?import +"
                     r"(?:(?:struct|class|enum|func|protocol|typealias) +)?([\w]+)", re.M)
_TYPE = re.compile(r"\b(?:class|struct|enum|protocol|actor|typealias|extension) +([A-Za-z_]\w*)")
_VAGUE = {"Manager", "Helper", "Util", "Utility", "Common", "Impl"}
_TRAPPING = re.compile(r"\btry!|\bas!")
_SWALLOWED = re.compile(r"\btry[?]")
_UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
_NEVER_IN_CORE = [
    ("a clock", re.compile(r"\b(?:clock_gettime|gettimeofday|localtime(?:_r)?|gmtime(?:_r)?"
                           r"|ContinuousClock|SuspendingClock)\b|(?<![.\w])time\((?=nil|&)")),
    ("randomness", re.compile(r"\b(?:SystemRandomNumberGenerator|arc4random\w*|getrandom"
                              r"|getentropy|RAND_bytes|tg_random\w*)\b|\.random\(|\.shuffle"
                              r"|\.randomElement|(?<![.\w])s?rand(?:om)?\(")),
    ("files", re.compile(r"(?<!func )(?<![.\w])(?:(?:openat|creat|fopen|pread|pwrite|unlink|rename"
                         r"|fstat|stat|fsync|fdatasync|getenv)\(|(?:read|write|close)\(\s*\w*"
                         r"(?:fd|[Dd]escriptor)\b|open\([^)]*\bO_[A-Z])")),
    ("sockets", re.compile(r"(?<![.\w])(?<!func )(?:socket|bind|listen|accept4?|connect|send"
                           r"|sendto|sendmsg|recv|recvfrom|recvmsg|poll|epoll_\w+)\(")),
    ("output", re.compile(r"(?<![.\w])(?:print|debugPrint|fputs|fprintf|syslog)\(")),
    ("concurrency of its own", re.compile(r"\b(?:async|await|actor|Task)\b")),
    ("an existential", re.compile(r"\bany +[A-Z]")),
]
_MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|Users|root|opt|work|mnt|srv)/[\w.-]")
_REGISTRY = re.compile(r"index-url|trusted-host|//registry\.|artifactory|\.pkg\.dev|insteadOf"
                       r"|npmrc|pip\.conf", re.I)


def module(file: str) -> str:
    """The module a source file belongs to: its folder under Sources."""
    return file.split("/")[1] if file.startswith("Sources/") else ""


def imports(files: dict[str, str]) -> list[str]:
    found = []
    for file, text in files.items():
        if not file.startswith("Sources/") or not file.endswith(".swift"):
            continue
        if module(file) not in MAY_IMPORT:
            found.append(f"{file}: no module {module(file)} in the table of modules")
            continue
        for name in _IMPORT.findall(source.blanked(text)):
            if name not in MAY_IMPORT[module(file)] | SYSTEM:
                found.append(f"{file}: {module(file)} may not import {name}")
    return found


_QUERY = re.compile(r"\b(?:Statement|Database)\b|\bsqlite3_\w+")


def queries(files: dict[str, str]) -> list[str]:
    """Tenants are kept apart by one folder: nothing outside of it can write a query."""
    found = []
    for file, text in files.items():
        if not file.startswith("Sources/") or not file.endswith(".swift"):
            continue
        if file.startswith("Sources/TollgateStorage/Directory/"):
            continue
        code = source.blanked(text)
        names = ["import CSQLite"] if "CSQLite" in _IMPORT.findall(code) else []
        if module(file) == "TollgateStorage":
            names += [match.group() for match in _QUERY.finditer(code)]
        found += [f"{file}: {name}: queries stand in TollgateStorage/Directory" for name in names]
    return found


def package_targets(text: str) -> dict[str, set[str]]:
    """Target → names of its dependencies, out of Package.swift."""
    targets = {}
    for match in re.finditer(r"\.(?:executableTarget|testTarget|target)\(", text):
        body = text[match.end():source._matching(text, match.end() - 1)]
        name = re.search(r'name: "([^"]+)"', body).group(1)
        listed = re.search(r"dependencies: \[", body)
        dependencies = ""
        if listed:
            opening = listed.end() - 1
            dependencies = body[opening:source._matching(body, opening)]
        dependencies = re.sub(r'package: "[^"]+"|\btraits: \["[^"]+"\]', "", dependencies)
        targets[name] = set(re.findall(r'"([^"]+)"', dependencies))
    return targets


def package(files: dict[str, str]) -> list[str]:
    """Package.swift keeps the table, and every import is a dependency that stands there."""
    targets = package_targets(files["Package.swift"])
    found = []
    for name, dependencies in targets.items():
        if name in MAY_IMPORT:
            for extra in sorted(dependencies - MAY_IMPORT[name]):
                found.append(f"Package.swift: {name} may not depend on {extra}")
    for file, text in files.items():
        if not file.startswith("Sources/") or not file.endswith(".swift"):
            continue
        for name in _IMPORT.findall(source.blanked(text)):
            if name not in SYSTEM | targets.get(module(file), set()):
                found.append(f"{file}: imports {name}, which is no dependency of its target")
    found += [f"Package.swift: {name} stands in a build without the trait HTTP"
              for name in _untraited(files["Package.swift"])]
    return found + [f"Package.swift: tollgated needs the package of {name}"
                    for name in sorted(_closure(targets, "tollgated") - set(targets))]


def _untraited(text: str) -> list[str]:
    """Products of SwiftNIO that every build would compile."""
    products = re.findall(r'\.product\(\s*name: "(\w+)", package: "swift-nio"(.*?)\)', text, re.S)
    return [name for name, rest in products if '.when(traits: ["HTTP"]' not in rest]


def _closure(targets: dict[str, set[str]], name: str) -> set[str]:
    reached, waiting = set(), [name]
    while waiting:
        for dependency in targets.get(waiting.pop(), set()) - reached:
            reached.add(dependency)
            waiting.append(dependency)
    return reached


def sizes(files: dict[str, str]) -> list[str]:
    found = []
    for file, text in files.items():
        if not is_code(file):
            continue
        lines = text.split("\n")
        if text.count("\n") > FILE_LINES_MAX:
            found.append(f"{file}: {text.count(chr(10))} lines, at most {FILE_LINES_MAX}")
        found += [f"{file}:{number}: {len(line)} columns, at most {COLUMNS_MAX}"
                  for number, line in enumerate(lines, 1) if len(line) > COLUMNS_MAX
                  and not (file.startswith("Tests/") and _WHOLE_TEXT.match(line))]
        found += [f"{file}:{function.start}: {function.name} has {function.lines} lines, "
                  f"at most {FUNCTION_LINES_MAX}"
                  for function in functions(file, text) if function.lines > FUNCTION_LINES_MAX]
    return found


# A message that a test compares reads better whole: its line holds it and nothing else.
_WHOLE_TEXT = re.compile(r"\s*#*\"([^\"\\]|\\.|\"(?!#?[,)]*$))*\"#*[,)]*$")


def is_code(file: str) -> bool:
    return file.endswith((".swift", ".c", ".h", ".py")) or (
        file.startswith(("Deploy/", ".ci/")) and "." not in pathlib.PurePath(file).name)


def functions(file: str, text: str) -> list[source.Function]:
    if file.endswith(".swift"):
        return source.swift_functions(source.blanked(text))
    if file.endswith((".c", ".h")):
        return source.c_functions(source.blanked(text))
    if file.endswith(".py"):
        return [source.Function(node.name, node.lineno, node.end_lineno)
                for node in ast.walk(ast.parse(text))
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return []


def words(files: dict[str, str]) -> list[str]:
    """Names that say nothing, errors that are swallowed, work left undone."""
    found = []
    for file, text in files.items():
        if not file.endswith((".swift", ".c", ".h", ".py")):
            continue
        code = source.blanked(text) if not file.endswith(".py") else text
        for name in set(_TYPE.findall(code)) | {pathlib.PurePath(file).stem}:
            for part in re.findall(r"[A-Z][a-z]+", name):
                if part.removesuffix("s") in _VAGUE:
                    found.append(f"{file}: {name}: {part} says nothing")
        for number, line in enumerate(text.split("\n"), 1):
            if _UNFINISHED.search(line) and not file.startswith("Tests/tidy/"):
                found.append(f"{file}:{number}: unfinished: {line.strip()}")
        if file.endswith(".swift"):
            patterns = [_TRAPPING] + ([_SWALLOWED] if file.startswith("Sources/") else [])
            found += [f"{file}:{_line(code, match)}: {match.group()}"
                      for pattern in patterns for match in pattern.finditer(code)]
            found += _unexplained(file, text, code)
    return found


def _unexplained(file: str, text: str, code: str) -> list[str]:
    """`@unchecked Sendable` has a comment just above or below that speaks of it."""
    lines = text.split("\n")
    found = []
    for match in re.finditer(r"@unchecked Sendable", code):
        number = _line(code, match)
        around = "\n".join(lines[max(0, number - 12):number + 3])
        if not re.search(r"//.*\b(?:[Ss]endable|thread|lock)", around):
            found.append(f"{file}:{number}: @unchecked Sendable without the reason beside it")
    return found


def core(files: dict[str, str]) -> list[str]:
    """The decision is a function of its inputs: nothing in it reads the world."""
    found = []
    for file, text in files.items():
        if not file.startswith("Sources/TollgateCore/") or not file.endswith(".swift"):
            continue
        code = source.blanked(text)
        for what, pattern in _NEVER_IN_CORE:
            found += [f"{file}:{_line(code, match)}: {what} in the core: {match.group()}"
                      for match in pattern.finditer(code)]
    return found


_STORED = re.compile(r"\s*(?:@\w+ +)*public (?:static )?(?:let|var) [^{]*$")


def documented(files: dict[str, str]) -> list[str]:
    """Every public declaration of what others build on says what it is.

    Stored values may share the comment above the first of their lines, or that of their type."""
    found = []
    for file, text in files.items():
        if module(file) not in {"TollgateWire", "TollgateClient"} or not file.endswith(".swift"):
            continue
        lines = text.split("\n")
        for number, line in enumerate(source.blanked(text).split("\n")):
            if not re.match(r"\s*(?:@\w+(?:\([^)]*\))? +)*public (?!extension)", line):
                continue
            above = number - 1
            passed = r"\s*@\w+(\(.*\))?\s*$"
            if _STORED.match(line):
                passed += r"|.*\b(?:struct|enum|class) \w.*\{\s*$|" + _STORED.pattern
            while above >= 0 and re.match(passed, lines[above]):
                above -= 1
            if above < 0 or not lines[above].strip().startswith("///"):
                found.append(f"{file}:{number + 1}: no doc comment: {lines[number].strip()}")
    return found


def layout(names: list[str]) -> list[str]:
    """The top level is six names and dot-files; nothing built is kept."""
    top = {name.split("/")[0] for name in names}
    found = [f"{name}: not a name of the top level" for name in sorted(top - TOP_LEVEL)
             if not name.startswith(".")]
    found += [f"{name}: is missing at the top level" for name in sorted(TOP_LEVEL - top)]
    found += [f"{name}: is made, not written" for name in names
              if re.search(r"(^|/)(Package\.resolved|\.build[^/]*|__pycache__|\.venv|\.state)(/|$)"
                           r"|\.pyc$", name)]
    return found


def places(files: dict[str, str]) -> list[str]:
    """Nothing knows the machine that it was written on, or where packages come from there."""
    found = []
    for file, text in files.items():
        if file.startswith("Tests/tidy/"):
            continue
        for number, line in enumerate(text.split("\n"), 1):
            for pattern in (_MACHINE_PATH, _REGISTRY):
                match = pattern.search(line)
                if match:
                    found.append(f"{file}:{number}: {match.group()}")
    return found


def _line(code: str, match: re.Match) -> int:
    return code.count("\n", 0, match.start()) + 1
