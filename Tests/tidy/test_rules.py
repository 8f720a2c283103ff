"""Every rule can fail: each finds a fault planted in a small text, and passes its neighbour."""

import pathlib

import pytest

import contract
import rules
import source
import traps

CORE = "Sources/TollgateCore/A.swift"
WIRE = "Sources/TollgateWire/A.swift"

PLANTED = [
    (rules.imports, {CORE: "import Foundation\n"}, "may not import Foundation"),
    (rules.imports, {CORE: "@testable import TollgateServer\n"}, "may not import TollgateServer"),
    (rules.imports, {"Sources/TollgateClient/A.swift": "internal import TollgateCore\n"},
     "TollgateClient may not import TollgateCore"),
    (rules.imports, {"Sources/tollgated/A.swift": "import struct Dispatch.DispatchTime\n"},
     "may not import Dispatch"),
    (rules.imports, {"Sources/Other/A.swift": ""}, "no module Other"),
    (rules.queries, {CORE: "import CSQLite\n"}, "import CSQLite: queries stand in"),
    (rules.queries, {"Sources/TollgateStorage/Journal/A.swift": "func f(_ rows: Statement) {}\n"},
     "Statement: queries stand in"),
    (rules.sizes, {CORE: "\n" * 401}, "401 lines"),
    (rules.sizes, {"Deploy/run": "#" * 101}, "101 columns"),
    (rules.sizes, {"Tests/ATests/A.swift": "a(" + "b" * 100 + ", \"c\")\n"}, "108 columns"),
    (rules.sizes, {CORE: "    \"" + "a" * 100 + "\"\n"}, "106 columns"),
    (rules.sizes, {CORE: "func f() {\n" + "a()\n" * 60 + "}\n"}, "f has 62 lines"),
    (rules.sizes, {"Sources/A.c": "int f(int a) {\n" + "a++;\n" * 60 + "}\n"}, "f has 62 lines"),
    (rules.sizes, {"Tests/a.py": "def f():\n" + "    a()\n" * 60}, "f has 61 lines"),
    (rules.words, {CORE: "struct Socket" + "Manager {}\n"}, "Manager says nothing"),
    (rules.words, {"Sources/TollgateCore/PathUtils.swift": ""}, "Utils says nothing"),
    (rules.words, {CORE: "let a = try? b()\n"}, "try?"),
    (rules.words, {"Tests/ATests/A.swift": "let a = try! b()\n"}, "try!"),
    (rules.words, {CORE: "let a = b as! C\n"}, "as!"),
    (rules.words, {CORE: "// TO" + "DO: later\n"}, "unfinished"),
    (rules.words, {CORE: "final class A: @unchecked Sendable {}\n"}, "without the reason"),
    (rules.core, {CORE: "var t = timespec()\nclock_gettime(CLOCK_REALTIME, &t)\n"}, "a clock"),
    (rules.core, {CORE: "let a = Int.random(in: 0...1)\n"}, "randomness"),
    (rules.core, {CORE: "let a = open(path, O_RDONLY)\n"}, "files"),
    (rules.core, {CORE: "let a = read(descriptor, p, 1)\n"}, "files"),
    (rules.core, {CORE: "let a = socket(AF_UNIX, 1, 0)\n"}, "sockets"),
    (rules.core, {CORE: "print(1)\n"}, "output"),
    (rules.core, {CORE: "func f() async {}\n"}, "concurrency"),
    (rules.core, {CORE: "var a: any Hashable\n"}, "existential"),
    (rules.documented, {WIRE: "public func f() {}\n"}, "no doc comment"),
    (rules.documented, {WIRE: "/// A.\npublic struct A {\n\n    public var a: Int\n}\n"},
     "no doc comment: public var a"),
    (rules.places, {"README.md": "see /" + "home/anna/notes\n"}, "/home/anna"[:7]),
    (rules.places, {"Deploy/test": "pip --index" + "-url https://x\n"}, "index-url"),
]


@pytest.mark.parametrize("rule, files, found", PLANTED,
                         ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_fault_is_found(rule, files, found) -> None:
    problems = rule(files)
    assert len(problems) == 1 and found in problems[0], problems


@pytest.mark.parametrize("rule, files", [
    (rules.imports, {CORE: "import TollgateWire\n// import Foundation\nlet a = \"import NIO\"\n"}),
    (rules.queries, {"Sources/TollgateStorage/Directory/A.swift": "import CSQLite\n",
                     "Sources/TollgateServer/A.swift": "struct Statement {}\n"}),
    (rules.sizes, {CORE: "func f() {\n" + "a()\n" * 58 + "}\n" + "\n" * 340}),
    (rules.sizes, {"Tests/ATests/A.swift": "    #\"" + "a" * 100 + "\"#,\n"}),
    (rules.words, {CORE: "struct Commonwealth {}\n// Sendable: never changes\n"
                         "final class A: @unchecked Sendable {}\nlet a = try b(\"try?\")\n"}),
    (rules.core, {CORE: "mutating func read(_ a: Int) {}\nlet b = table.random\n/* print(1) */\n"}),
    (rules.documented, {WIRE: "/// A.\npublic struct A {\n    public var a: Int\n"
                              "    /// B.\n    @inlinable\n    public func b() {}\n}\n"}),
    (rules.places, {"README.md": "/run/tollgate, /etc/tollgate and https://example.com/home/x\n"}),
], ids=lambda value: getattr(value, "__name__", None))
def test_what_keeps_the_rule_passes(rule, files) -> None:
    assert rule(files) == []


def test_a_dependency_against_the_table_is_found() -> None:
    manifest = ('.target(name: "TollgateCore", dependencies: ["TollgateServer"]),\n'
                '.target(name: "TollgateServer"),\n'
                '.executableTarget(name: "tollgated", dependencies: ["TollgateServer", '
                '.product(name: "NIO", package: "swift-nio")]),')
    problems = rules.package({"Package.swift": manifest, CORE: "import TollgateWire\n"})
    assert problems == [
        "Package.swift: TollgateCore may not depend on TollgateServer",
        "Package.swift: tollgated may not depend on NIO",
        f"{CORE}: imports TollgateWire, which is no dependency of its target",
        "Package.swift: NIO stands in a build without the trait HTTP",
        "Package.swift: tollgated needs the package of NIO"]


def test_a_product_that_the_trait_guards_is_no_fault() -> None:
    manifest = ('.executableTarget(name: "tollgate-http", dependencies: [\n.product(\n'
                'name: "NIOCore", package: "swift-nio"%s)]),')
    guarded = manifest % ', condition: .when(traits: ["HTTP"])'
    assert rules.package({"Package.swift": guarded}) == []
    assert rules.package({"Package.swift": manifest % ""}) == [
        "Package.swift: NIOCore stands in a build without the trait HTTP"]


def test_the_top_level_is_watched() -> None:
    names = [
        "Package.swift", "Sources/a", "Tests/a", "Deploy/a", "Protocol.md", "README.md", ".ci/a"]
    assert rules.layout(names) == []
    assert rules.layout(names + ["notes.md"]) == ["notes.md: not a name of the top level"]
    assert rules.layout(names[1:]) == ["Package.swift: is missing at the top level"]
    assert len(rules.layout(names + ["Tests/__pycache__/a.pyc", "Deploy/.build/a"])) == 2


CODE = """
public enum Opcode: UInt8 {
    case check = 0x10
}
public enum Status: UInt16 {
    case ok = 0
}
public enum Reason: UInt16 {
    case none = 0
}
public enum ExtensionTag {
    public static let explain: UInt8 = 1
}
"""
DOCUMENT = """
## Status codes
| 0 | ok | stays |
## Reasons
| 0 | none | allowed |
## CHECK (0x10)
*Explain* (extension tag 1): entries
"""


@pytest.mark.parametrize("before, after", [
    ("0x10", "0x11"), ("## CHECK", "## PING (0x02)\n## CHECK"), ("| 0 | ok", "| 1 | ok"),
    ("| 0 | none | allowed |", ""), ("tag 1", "tag 2"), ("| 0 | none", "| 5 | more |\n| 0 | none"),
])
def test_a_number_that_differs_from_the_document_is_found(before, after) -> None:
    assert contract.protocol(CODE, DOCUMENT) == []
    assert contract.protocol(CODE, DOCUMENT.replace(before, after)) != []


def test_constants_are_computed() -> None:
    code = ("public enum L {\n    public static let a = 1 << 4\n"
            "    public static let b: UInt32 = .max\n    public static let c = a - 4  // d\n}\n")
    assert contract.constants(code, "L") == {"a": 16, "b": 2**32 - 1, "c": 12}


@pytest.mark.parametrize("folder, before, after", [
    ("limits", "identifierBytesMax = 128", "identifierBytesMax = 127"),
    ("limits", "pingBytesMax = 64", "pingBytesMax = 65"),
    ("bodies", "helloReply = 32", "helloReply = 40"),
    ("bodies", "dryRun: UInt16 = 1 << 0", "dryRun: UInt16 = 1 << 3"),
    ("bodies", "case deny = 2", "case deny = 3"),
])
def test_a_bound_that_differs_from_the_document_is_found(folder, before, after) -> None:
    root = pathlib.Path(__file__).resolve().parents[2]
    wire = contract.sources(root, "Sources/TollgateWire")
    assert before in wire
    rule = getattr(contract, folder)
    assert rule(wire.replace(before, after), (root / "Protocol.md").read_text()) != []


READER = 'let keys = ["a", "plans"]\nreader.mapping(node, "x", known: ["limit"])\n'


def test_a_setting_that_is_not_shown_or_not_known_is_found() -> None:
    shown = "# a: 1\nplans:\n  mine: {limit: 3}\n"
    assert contract.policy(READER, shown) == []
    assert contract.policy(READER, shown.replace("# a: 1", "# - {a: 1}")) == []
    assert contract.policy(READER, shown.replace("# a: 1", "")) == [
        "Deploy/tollgate.yaml does not show the setting a"]
    assert contract.policy(READER, shown + "  b:\n    other: 1\n") == [
        "Deploy/tollgate.yaml shows other, which the reader does not know"]


@pytest.mark.parametrize("line, kind", [
    ("let a = b!", "unwrap"), ("let a = b()!.c", "unwrap"), ("let a = try! b()", "try"),
    ("let a = b as! C", "cast"), ("let a = Int(Double(b))", "double"), ("let a = 1.5", "double"),
    ("let a = UInt16(b)", "narrowing"), ("let a = b + c", "arithmetic"),
    ("a += b", "arithmetic"), ("let a = 1 << b", "arithmetic"), ("let a = b % c", "arithmetic"),
    ("let a = b[0]", "subscript"), ("let a = \"\\(b[0])\"", "subscript"),
])
def test_what_can_trap_is_found(line, kind) -> None:
    assert traps.uses(f"func f() {{\n    {line}\n}}\n") == [("f", kind, 2)]


@pytest.mark.parametrize("line", [
    "let a = b != c", "if !a { return }", "let a = b &+ c", "let a = UInt16(truncatingIfNeeded: b)",
    "let a = 4 * 16", "let a = \"b\" + c", "let a: [Int] = []", "let a = b.0", "let a = b / 2",
    "// let a = b!", "let a = \"b!\"", "let a = values[\"key\"]",
])
def test_what_cannot_trap_passes(line) -> None:
    assert traps.uses(f"func f() {{\n    {line}\n}}\n") == []


def test_an_allowance_is_by_function_and_kind_and_must_be_used(tmp_path) -> None:
    folder = tmp_path / "Sources/TollgateWire"
    folder.mkdir(parents=True)
    (folder / "A.swift").write_text("func f() {\n    let a = b[0]\n}\n")
    files = ["Sources/TollgateWire/A.swift"]
    allow = "TollgateWire/A.swift f subscript: the length was checked\n"
    assert traps.problems(tmp_path, files, "") == [f"{files[0]}:2: subscript in f can trap"]
    assert traps.problems(tmp_path, files, allow) == []
    assert len(traps.problems(tmp_path, files, allow.replace(" f ", " g "))) == 2
    assert traps.problems(tmp_path, files, allow.replace(" f ", " f,g ")) == [
        "traps.allow:1: allows nothing: g"]
    with pytest.raises(AssertionError):
        traps.problems(tmp_path, files, "TollgateWire/A.swift f subscript: ok\n")


def test_functions_are_found_with_their_lines() -> None:
    code = source.blanked('struct A {\n    init(a: Int = f("{")) throws(E) {\n        b()\n    }\n'
                          "    var c: Int { 1 }\n}\nprotocol P {\n    func d() -> Int\n"
                          "    func e()\n}\nfunc g() {\n}\n")
    assert source.swift_functions(code) == [
        source.Function("init", 2, 4), source.Function("c", 5, 5), source.Function("g", 11, 12)]
