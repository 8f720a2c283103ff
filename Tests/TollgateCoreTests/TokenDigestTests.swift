import Testing

@testable import TollgateCore

@Suite struct TokenDigestTests {
    private static let hash = KeyedHash((11, 12))
    private static let key = TokenDigestKey(hash)

    private static func digest(_ token: [UInt8]) -> TokenDigest {
        token.withUnsafeBytes { key.digest($0) }
    }

    private static func randomToken(_ bytes: Int, _ random: inout SeededRandom) -> [UInt8] {
        (0..<bytes).map { _ in UInt8.random(in: 0...255, using: &random) }
    }

    /// NH as RFC 4418 §5.2.2 has it, on words of 64 bits: the sum of products of sums.
    private static func reference(_ token: [UInt8], keyOffset: Int) -> UInt128 {
        let empty = UnsafeRawBufferPointer(start: nil, count: 0)
        func word(_ bytes: ArraySlice<UInt8>) -> UInt64 {
            bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        func keyWord(_ index: Int) -> UInt64 {
            hash.hash(empty, tweak: 0xd16e_5700_0000_0000 | UInt64(index))
        }
        var starts = Array(stride(from: 0, to: token.count - 16, by: 16))
        starts.append(token.count - 16)
        var sum: UInt128 = 0
        for (index, start) in starts.enumerated() {
            let a = word(token[start..<(start + 8)]) &+ keyWord(keyOffset + 2 * index)
            let b = word(token[(start + 8)..<(start + 16)]) &+ keyWord(keyOffset + 2 * index + 1)
            sum = sum &+ UInt128(a) * UInt128(b)
        }
        return sum
    }

    @Test(arguments: [16, 17, 31, 32, 33, 64, 303, 2_047, 2_048])
    func theDigestIsTwiceTheStandardsHash(bytes: Int) {
        var random = SeededRandom(seed: UInt64(bytes))
        let token = Self.randomToken(bytes, &random)
        #expect(
            Self.digest(token).halves == [
                Self.reference(token, keyOffset: 0), Self.reference(token, keyOffset: 2),
            ])
    }

    @Test(arguments: [64, 303, 310, 2_048]) func everyBitOfATokenCounts(bytes: Int) {
        var random = SeededRandom(seed: UInt64(bytes))
        let token = Self.randomToken(bytes, &random)
        let digest = Self.digest(token)
        for index in token.indices {
            for bit in 0..<8 {
                var changed = token
                changed[index] ^= 1 << UInt8(bit)
                #expect(Self.digest(changed) != digest, "byte \(index), bit \(bit)")
            }
        }
        #expect(Self.digest(token) == digest)
    }

    @Test func workersOfOtherEnginesHaveOtherKeys() {
        let token = [UInt8](repeating: 7, count: 100)
        let other = TokenDigestKey(KeyedHash((11, 13)))
        #expect(token.withUnsafeBytes { other.digest($0) } != Self.digest(token))
    }
}
