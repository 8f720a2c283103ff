/// SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012; 1 compression and
/// 3 finalisation rounds, as Swift's own Hasher and the Linux kernel's HalfSipHash family do).
///
/// Keyed, so that nobody who chooses names or addresses can choose where they fall.
package struct KeyedHash: Sendable, BitwiseCopyable {
    @usableFromInline let key0: UInt64
    @usableFromInline let key1: UInt64

    package init(_ key: (UInt64, UInt64)) {
        key0 = key.0
        key1 = key.1
    }

    /// The hash of `bytes` in the name space of `tweak` (an owner's hash, or a kind).
    @inlinable
    @inline(__always)
    package func hash(_ bytes: UnsafeRawBufferPointer, tweak: UInt64) -> UInt64 {
        hash(bytes, tweak: tweak, isWide: false).hash
    }

    /// The hash, and 32 bits more, made as SipHash's 128-bit form makes its second half.
    func wideHash(
        _ bytes: UnsafeRawBufferPointer, tweak: UInt64
    ) -> (hash: UInt64, fingerprint: UInt32) {
        hash(bytes, tweak: tweak, isWide: true)
    }

    @inlinable
    @inline(__always)
    func hash(
        _ bytes: UnsafeRawBufferPointer, tweak: UInt64, isWide: Bool
    ) -> (hash: UInt64, fingerprint: UInt32) {
        var v0 = key0 ^ 0x736f_6d65_7073_6575
        var v1 = key1 ^ 0x646f_7261_6e64_6f6d
        var v2 = key0 ^ 0x6c79_6765_6e65_7261
        var v3 = key1 ^ 0x7465_6462_7974_6573

        @inline(__always) func round() {
            v0 = v0 &+ v1
            v1 = (v1 &<< 13 | v1 &>> 51) ^ v0
            v0 = v0 &<< 32 | v0 &>> 32
            v2 = v2 &+ v3
            v3 = (v3 &<< 16 | v3 &>> 48) ^ v2
            v0 = v0 &+ v3
            v3 = (v3 &<< 21 | v3 &>> 43) ^ v0
            v2 = v2 &+ v1
            v1 = (v1 &<< 17 | v1 &>> 47) ^ v2
            v2 = v2 &<< 32 | v2 &>> 32
        }
        @inline(__always) func absorb(_ word: UInt64) {
            v3 ^= word
            round()
            v0 ^= word
        }

        absorb(tweak)
        var offset = 0
        while bytes.count &- offset >= 8 {
            absorb(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            offset &+= 8
        }
        var last = UInt64(truncatingIfNeeded: bytes.count) &<< 56
        var shift: UInt64 = 0
        while offset < bytes.count {
            last |= UInt64(bytes[offset]) &<< shift
            shift &+= 8
            offset &+= 1
        }
        absorb(last)
        v2 ^= 0xff
        round()
        round()
        round()
        let first = v0 ^ v1 ^ v2 ^ v3
        guard isWide else { return (first, 0) }
        v1 ^= 0xdd
        round()
        round()
        round()
        return (first, UInt32(truncatingIfNeeded: v0 ^ v1 ^ v2 ^ v3))
    }
}
