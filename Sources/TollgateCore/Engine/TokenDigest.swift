/// The digest of a whole token by which `PrincipalCache` knows it again: twice NH, the universal
/// hash of UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway, 1999; RFC 4418 §5.2), on 64-bit words.
///
/// For a random key that nobody outside knows, two different tokens of one length have the same
/// digest with a probability of at most 2^-64 for each of the two halves, so 2^-128: guessing a
/// MAC is easier. It says nothing about tokens of different lengths: compare those first.
struct TokenDigest: BitwiseCopyable, Equatable {
    private var first: (low: UInt64, high: UInt64) = (0, 0)
    private var second: (low: UInt64, high: UInt64) = (0, 0)

    static func == (a: TokenDigest, b: TokenDigest) -> Bool {
        // Every word, whatever the others say: how long it takes tells nobody anything.
        (a.first.low ^ b.first.low) | (a.first.high ^ b.first.high)
            | (a.second.low ^ b.second.low) | (a.second.high ^ b.second.high) == 0
    }

    /// The two 128-bit sums.
    var halves: [UInt128] {
        [first, second].map { UInt128($0.high) << 64 | UInt128($0.low) }
    }

    @inline(__always)
    fileprivate mutating func absorb(
        _ token: UnsafeRawBufferPointer, _ offset: Int, _ key: UnsafePointer<UInt64>
    ) {
        let a = token.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        let b = token.loadUnaligned(fromByteOffset: offset &+ 8, as: UInt64.self)
        Self.add((a &+ key[0]).multipliedFullWidth(by: b &+ key[1]), to: &first)
        // The same key two words on (Toeplitz, as RFC 4418 §5.1 has it).
        Self.add((a &+ key[2]).multipliedFullWidth(by: b &+ key[3]), to: &second)
    }

    @inline(__always)
    private static func add(
        _ product: (high: UInt64, low: UInt64), to sum: inout (low: UInt64, high: UInt64)
    ) {
        let (low, carry) = sum.low.addingReportingOverflow(product.low)
        sum.low = low
        sum.high = sum.high &+ product.high &+ (carry ? 1 : 0)
    }
}

/// The key of a worker's token digests. Drawn from the engine's secret hash key.
final class TokenDigestKey: Sendable {
    /// Longer tokens have no digest.
    static let tokenBytesMax = 2_048

    // Written by `init` alone, so every thread may read it.
    private nonisolated(unsafe) let words: UnsafeMutablePointer<UInt64>
    private static let wordCount = tokenBytesMax / 8 + 4

    init(_ hash: KeyedHash) {
        words = .allocate(capacity: Self.wordCount)
        for index in 0..<Self.wordCount {
            // A pseudo-random function of the secret key: a name space that no row has.
            let empty = UnsafeRawBufferPointer(start: nil, count: 0)
            let value = hash.hash(empty, tweak: 0xd16e_5700_0000_0000 | UInt64(index))
            (words + index).initialize(to: value)
        }
    }

    deinit { words.deallocate() }

    /// The digest of a token of 16 to `tokenBytesMax` bytes (trapped). Does not allocate.
    @inline(__always)
    func digest(_ token: UnsafeRawBufferPointer) -> TokenDigest {
        precondition(token.count >= 16 && token.count <= Self.tokenBytesMax)
        var digest = TokenDigest()
        var key = UnsafePointer(words)
        var offset = 0
        let last = token.count &- 16
        while offset < last {
            digest.absorb(token, offset, key)
            offset &+= 16
            key += 2
        }
        // The last 16 bytes, some of them for the second time: of one length, still one spelling.
        digest.absorb(token, last, key)
        return digest
    }
}
