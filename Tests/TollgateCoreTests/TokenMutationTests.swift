import Foundation
import Testing
import TollgateCore
import TollgateWire

/// RELIABILITY J5: a token has one spelling, and nothing near it is a token.
@Suite struct TokenMutationTests {
    private static func tokens(_ count: Int) throws -> [[UInt8]] {
        try (0..<count).map { index in
            Array(
                try TokenBench.token(
                    payload: TokenBench.payload([
                        "sub": "\"u\(String(repeating: "x", count: index))\"", "org": nil,
                        "plan": nil,
                    ])
                ).utf8)
        }
    }

    @Test func noOneByteReplacementIsAccepted() throws {
        var bench = try TokenBench()
        // One token in full, of the others every byte of the signature and a third of the rest.
        for (index, token) in try Self.tokens(40).enumerated() {
            #expect(bench.verify(token) == .none)
            var changed = token
            let signature = token.count - 43
            for place in token.indices
            where index == 0 || place >= signature || place % 8 == index % 8 {
                let stride = index == 0 || place == token.count - 1 ? 1 : 5
                var byte = UInt8(truncatingIfNeeded: index)
                for _ in 0..<(256 / stride) {
                    byte &+= UInt8(stride)
                    guard byte != token[place] else { continue }
                    changed[place] = byte
                    if bench.verify(changed) == .none {
                        Issue.record("accepted: byte \(place) replaced by \(byte)")
                    }
                }
                changed[place] = token[place]
            }
            #expect(bench.verify(changed) == .none)
        }
    }

    @Test func noInsertionDeletionOrSwapIsAccepted() throws {
        var bench = try TokenBench()
        for (index, token) in try Self.tokens(5).enumerated() {
            // Of one token every byte everywhere, of the others some bytes everywhere.
            let bytes: [UInt8] =
                index == 0
                ? Array(UInt8.min...UInt8.max)
                : [0x2e, 0x3d, 0x41, 0x5f, 0x20, 0x00, 0x0a, 0x7a, 0xff]
            for place in 0...token.count {
                var changed = token
                changed.insert(0, at: place)
                for byte in bytes {
                    changed[place] = byte
                    if bench.verify(changed) == .none {
                        Issue.record("accepted: \(byte) inserted at \(place)")
                    }
                }
                guard place < token.count else { continue }
                changed = token
                changed.remove(at: place)
                #expect(bench.verify(changed) != .none)
                for other in token.indices where other > place && token[other] != token[place] {
                    guard index == 0 || other == place + 1 else { continue }
                    changed = token
                    changed.swapAt(place, other)
                    if bench.verify(changed) == .none {
                        Issue.record("accepted: \(place) and \(other) swapped")
                    }
                }
            }
        }
    }

    /// Many tokens for long runs: TOLLGATE_MUTATED_TOKENS=1000 tries every one-byte replacement of
    /// as many tokens (about 55,000 of each), by default of 3.
    @Test func noReplacementIsAcceptedUnderAnyAlgorithm() throws {
        let wish = ProcessInfo.processInfo.environment["TOLLGATE_MUTATED_TOKENS"]
        let count = try #require(Int(wish ?? "3"))
        for index in 0..<count {
            let algorithm = TokenAlgorithm.allCases[index % 3]
            let key = SigningKeyDefinition(
                keyID: nil, algorithm: algorithm, secret: TokenBench.key)
            var bench = try TokenBench([TokenBench.issuer(keys: [key])])
            var token = Array(
                try TokenBench.token(
                    header: "{\"alg\":\"\(algorithm.headerName)\"}",
                    payload: TokenBench.payload(["sub": "\"user-\(index)\""]),
                    algorithm: algorithm
                ).utf8)
            #expect(bench.verify(token) == .none)
            for place in token.indices {
                let byte = token[place]
                for step in UInt8(1)...255 {
                    token[place] = byte &+ step
                    if bench.verify(token) == .none {
                        Issue.record("token \(index) accepted with \(byte &+ step) at \(place)")
                    }
                }
                token[place] = byte
            }
        }
    }

    @Test func noPrefixAndNoSuffixIsAccepted() throws {
        var bench = try TokenBench()
        let token = try Self.tokens(1)[0]
        for length in 0..<token.count {
            #expect(bench.verify(Array(token.prefix(length))) != .none)
            #expect(bench.verify(Array(token.suffix(length))) != .none)
        }
    }

    /// Parts of good tokens, put together anew.
    @Test func noMixtureOfGoodTokensIsAccepted() throws {
        var bench = try TokenBench()
        let tokens = try Self.tokens(8)
        let parts = tokens.map { $0.split(separator: 0x2e) }
        for a in parts {
            for b in parts where a != b {
                let mixed = Array([a[0], a[1], b[2]].joined(separator: [0x2e]))
                #expect(bench.verify(mixed) == .signatureInvalid)
            }
        }
    }

    @Test func randomBytesAreRefused() throws {
        var bench = try TokenBench()
        let seed: UInt64 = 7515
        var random = SeededRandom(seed: seed)
        for _ in 0..<20_000 {
            let length = Int.random(in: 0...400, using: &random)
            var bytes = (0..<length).map { _ in UInt8.random(in: 0x2d...0x7a, using: &random) }
            if Bool.random(using: &random) { bytes = Array("eyJhbGciOiJIUzI1NiJ9.e".utf8) + bytes }
            #expect(bench.verify(bytes) != .none, "seed \(seed)")
        }
    }
}
