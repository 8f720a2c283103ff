import Glibc
import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// Policy files that are hardly YAML, or made to harm: an answer with a place, soon, and no more
/// memory than the file is worth.
@Suite struct PolicyFileTests {
    private func fault(_ bytes: [UInt8]) throws -> String {
        do throws(PolicyErrors) {
            _ = try PolicyLoader.load(bytes: bytes, file: "/nowhere/p.yaml")
            return "none"
        } catch { return String(error.description.dropFirst("/nowhere/".utf8.count)) }
    }

    private func fault(_ text: String) throws -> String { try fault(Array(text.utf8)) }

    @Test func aFileThatIsNoTextIsRefusedWithItsPlace() throws {
        #expect(try fault("") == "p.yaml:1:1: the file is empty")
        #expect(try fault("\n\n# nothing\n") == "p.yaml:1:1: the file is empty")
        #expect(
            try fault("\u{feff}version: 1").hasPrefix("p.yaml:1:1: begins with a byte order mark"))
        let wide = "version: 1".utf16.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }
        #expect(try fault([0xff, 0xfe] + wide).hasPrefix("p.yaml:1:1: begins with a byte order"))
        #expect(try fault(wide).hasPrefix("p.yaml:1:2: not UTF-8 text: control characters"))
        #expect(try fault("version: 1\na: \0").hasPrefix("p.yaml:2:4: not UTF-8 text: control"))
        #expect(try fault("version: 1\na: \u{1b}[0m").hasPrefix("p.yaml:2:4: not UTF-8 text: "))
        for bad in [
            [0xff], [0xc3, 0x28], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xf5, 0x80, 0x80, 0x80],
        ] {
            let found = try fault(Array("version: 1\n\nkey: é ".utf8) + bad.map { UInt8($0) })
            // At the byte itself, or at the one that should have gone on with it.
            #expect(
                found.hasPrefix("p.yaml:3:8: not UTF-8") || found.hasPrefix("p.yaml:3:9: not UTF-8")
            )
        }
        #expect(try fault("%YAML 1.1\n---\nversion: 1").contains("directives are not used"))
        #expect(
            try fault("%TAG ! tag:x,2000:\n---\nversion: 1").contains("directives are not used"))
        #expect(try fault("version: 1\n---\nversion: 1").contains("2:1: a second document"))
        #expect(try fault("- version: 1").hasPrefix("p.yaml:1:1: the policy is a mapping"))
        #expect(try fault("5").hasPrefix("p.yaml:1:1: the policy is a mapping"))
        #expect(try fault("--- \n").contains("\"version\" is missing"))
    }

    @Test func filesMadeToHarmAreRefusedSoon() throws {
        let bombs: [(String, String)] = [
            (
                "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b]",
                "1:4: anchors and tags are not used"
            ),
            ("a: &a [*a]", "1:4: anchors"),
            (String(repeating: "[", count: 1_000_000), "1:34: nested deeper than 32"),
            (String(repeating: "{a: ", count: 100_000), "nested deeper than 32"),
            (
                (0..<5_000).map { String(repeating: " ", count: $0) + "a:\n" }.prefix(500).joined(),
                "nested"
            ),
            (String(repeating: "- ", count: 100_000), "nested deeper than 32"),
            ("a: [" + String(repeating: "1,", count: 1_000_000) + "]", "more than 100000 values"),
            (String(repeating: "? a\n", count: 200_000), "\"a\" stands twice"),
            (
                "version: 1\nplans: {}\na: \"" + String(repeating: "x", count: 3_000_000) + "\"",
                "unknown key"
            ),
            (String(repeating: "x", count: 3_000_000) + ": 1", "mapping values are not allowed"),
            (String(repeating: "x", count: 1_000) + ": 1", "unknown key \"xxxxxxxx"),
            (String(repeating: "#", count: 4_000_000), "the file is empty"),
            (String(repeating: "\n", count: 4_000_000), "the file is empty"),
        ]
        for (text, message) in bombs {
            var start = timespec()
            var end = timespec()
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start)
            let found = try fault(text)
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end)
            #expect(found.contains(message), "\(found.prefix(300))")
            #expect(found.utf8.count < 8_000)
            // Generous: a debug build, on a machine that does other things.
            #expect(end.tv_sec - start.tv_sec < 20, "\(text.prefix(20))")
        }
    }

    @Test func aPolicyOfTheLargestSizeIsCompiledOrRefusedWithoutFillingMemory() throws {
        // Each below its own ceiling; together they would make 40 million steps.
        let limits = (0..<20).map { "l\($0): {scope: user, limit: 1, period: day}" }
        let plan = "{quotas: {" + limits.joined(separator: ", ") + "}}"
        let text =
            "version: 1\nplans:\n"
            + (0..<480).map { "  p\($0): \(plan)\n" }.joined() + "operations:\n"
            + (0..<4_000).map { "  o\($0): {}\n" }.joined()
        #expect(try fault(text) == "p.yaml:2:1: plans × operations × limits are too many")
        let routes = (0..<4_097).map { "GET /r\($0)" }.joined(separator: ", ")
        #expect(
            try fault("version: 1\nplans: {}\noperations: {a: {routes: [\(routes)]}}")
                == "p.yaml:3:1: 4097 routes: at most 4096")
    }

    @Test func filesThatAreNoneAreRefused() throws {
        func fault(_ path: String) -> String {
            do throws(PolicyErrors) { _ = try PolicyLoader.load(path: path) } catch {
                return error.description
            }
            return "none"
        }
        #expect(fault("/nowhere/p.yaml") == "/nowhere/p.yaml: No such file or directory")
        #expect(fault("/tmp") == "/tmp: not a file")
        #expect(fault("/dev/zero") == "/dev/zero: not a file")
        let directory = try PolicyDirectory()
        let path = directory.path + "/keys/other"
        directory.write("keys/other", "")
        #expect(truncate(path, (4 << 20) + 1) == 0)
        #expect(fault(path) == path + ": larger than 4 MiB")
    }
}
