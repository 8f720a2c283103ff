import CAllocationCount
import Glibc
import Testing
import TollgateCore
import TollgateWire

/// RELIABILITY J7: what the worst tokens cost. Compared with an ordinary token of the same length
/// in the same run, and with one of half the length, so that a slow machine changes nothing.
@Suite(.serialized) struct TokenCostTests {
    /// Payloads that fill a ceiling or a loop of their own, about `bytes` long.
    static let worst: [(String, @Sendable (Int) -> String)] = [
        ("brackets", { String(repeating: "[", count: $0) }),
        ("objects", { String(repeating: "{\"a\":", count: $0 / 5) }),
        (
            "closed brackets",
            { wrap(String(repeating: "[[[[[[[[[[]]]]]]]]]],", count: $0 / 21) + "0") }
        ),
        ("spaces", { "{" + String(repeating: " ", count: $0) + "}" }),
        ("spaces between", { wrap(String(repeating: "0 \t\r\n ,", count: $0 / 7) + "0") }),
        ("empty strings", { wrap(String(repeating: "\"\",", count: $0 / 3) + "0") }),
        ("numbers", { wrap(String(repeating: "0,", count: $0 / 2) + "0") }),
        ("digits", { "{\"exp\":" + String(repeating: "9", count: $0) + "}" }),
        ("fraction", { "{\"exp\":1800000300." + String(repeating: "0", count: $0) + "1}" }),
        ("exponent", { "{\"exp\":1e" + String(repeating: "0", count: $0) + "}" }),
        ("literals", { wrap(String(repeating: "null,", count: $0 / 5) + "0") }),
        ("escapes", { "{\"a\":\"" + String(repeating: "\\n", count: $0 / 2) + "\"}" }),
        ("unicode escapes", { "{\"a\":\"" + String(repeating: "\\u00e9", count: $0 / 6) + "\"}" }),
        ("pairs", { "{\"a\":\"" + String(repeating: "\\ud83d\\ude00", count: $0 / 12) + "\"}" }),
        ("two bytes", { "{\"a\":\"" + String(repeating: "é", count: $0 / 2) + "\"}" }),
        ("four bytes", { "{\"a\":\"" + String(repeating: "😀", count: $0 / 4) + "\"}" }),
        ("long name", { "{\"" + String(repeating: "\\u0061", count: $0 / 6) + "\":1}" }),
        ("long names", { size in members(size / 128 - 6) { "\($0 + 100)" } }),
        ("names alike", { size in members(size / 128 - 6) { "aaaaaaaa\($0 + 100)" } }),
        (
            "too many members",
            { "{" + String(repeating: "\"a\":{\"b\":{}},", count: $0 / 13) + "}" }
        ),
        ("audiences", { "{\"aud\":[" + String(repeating: "\"x\",", count: $0 / 4) + "\"y\"]}" }),
        (
            "escaped permissions",
            {
                "{\"scope\":\"" + String(repeating: "\\u0061\\u0020", count: $0 / 12) + "\"}"
            }
        ),
    ]

    private static func wrap(_ inside: String) -> String { "{\"a\":[" + inside + "]}" }

    private static func members(_ pad: Int, _ name: (Int) -> String) -> String {
        let value = String(repeating: "x", count: max(0, pad))
        return "{" + (0..<128).map { "\"\(name($0))\":\"\(value)\"" }.joined(separator: ",") + "}"
    }

    /// Nanoseconds of this thread for one verification: the least of several rounds.
    private static func cost(_ token: String, _ bench: inout TokenBench) throws -> Double {
        let bytes = Array(token.utf8)
        var least = Int.max
        for _ in 0..<7 {
            var start = timespec()
            var end = timespec()
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start)
            for _ in 0..<4 { _ = bench.verify(bytes) }
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end)
            let seconds = end.tv_sec - start.tv_sec
            least = min(least, seconds * 1_000_000_000 + end.tv_nsec - start.tv_nsec)
        }
        return Double(least) / 4
    }

    private static func bench() throws -> TokenBench {
        try TokenBench([TokenBench.issuer { $0.claims.permissions = "scope" }])
    }

    @Test func theWorstTokensCostAFewTimesAnOrdinaryOneAndGrowWithTheirLength() throws {
        var bench = try Self.bench()
        func token(_ payload: String) throws -> String {
            // The claims of a good token behind it: all of the payload is read.
            try TokenBench.token(payload: payload)
        }
        var cases = 0
        for bytes in [2_900, 5_800] {
            let filling = String(repeating: "x", count: bytes - 200)
            let ordinary = try Self.cost(
                token(TokenBench.payload(["pad": "\"\(filling)\""])), &bench)
            for (name, make) in Self.worst {
                let worst = try Self.cost(token(make(bytes)), &bench)
                #expect(worst < 60 * ordinary, "\(name): \(worst) ns, ordinary \(ordinary) ns")
                cases += 1
            }
        }
        for (name, make) in Self.worst {
            let half = try Self.cost(token(make(2_900)), &bench)
            let whole = try Self.cost(token(make(5_800)), &bench)
            // A quadratic one would take 4 times as long.
            #expect(whole < 3.2 * half + 2_000, "\(name): \(half) ns, then \(whole) ns")
        }
        #expect(cases >= 40)
    }

    /// Dots and other bytes of tokens that are no tokens: looked at once, decoded never.
    @Test func bytesThatAreNoTokenCostLessThanOne() throws {
        var bench = try Self.bench()
        let filling = String(repeating: "x", count: 5_600)
        let ordinary = try Self.cost(
            TokenBench.token(payload: TokenBench.payload(["pad": "\"\(filling)\""])), &bench)
        let bad = [
            String(repeating: ".", count: 8_192), String(repeating: "A.", count: 4_096),
            String(repeating: "A", count: 8_192), "." + String(repeating: "A", count: 8_000),
            String(repeating: "e30.", count: 2_048), "a.b" + String(repeating: ".", count: 8_000),
            String(repeating: "A", count: 1_000_000), String(repeating: ".", count: 100_000),
            String(repeating: "=", count: 8_192), "e30." + String(repeating: "-", count: 8_000),
        ]
        for text in bad {
            #expect(bench.verify(text) == .credentialMalformed)
            #expect(try Self.cost(text, &bench) < 3 * ordinary + 5_000)
        }
    }

    @Test func theWorstTokensAllocateNothing() throws {
        guard tg_allocations_are_counted() == 1 else { return }
        var bench = try Self.bench()
        for (name, make) in Self.worst {
            let bytes = Array(try TokenBench.token(payload: make(5_800)).utf8)
            _ = bench.verify(bytes)
            let before = tg_allocations()
            for _ in 0..<20 { _ = bench.verify(bytes) }
            #expect(tg_allocations() == before, "\(name)")
        }
    }
}
