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
        for token in try Self.tokens(5) {
            for place in 0...token.count {
                for byte in [0x2e, 0x3d, 0x41, 0x5f, 0x20, 0x00, 0x0a, 0x7a, 0xff] as [UInt8] {
                    var changed = token
                    changed.insert(byte, at: place)
                    #expect(bench.verify(changed) != .none)
                }
                guard place < token.count else { continue }
                var changed = token
                changed.remove(at: place)
                #expect(bench.verify(changed) != .none)
                guard place + 1 < token.count, token[place] != token[place + 1] else { continue }
                changed = token
                changed.swapAt(place, place + 1)
                #expect(bench.verify(changed) != .none)
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
