import Glibc

/// Whether two runs of bytes are the same. Not constant-time: never for secrets. Names are short,
/// so the usual ones are compared in place.
@inline(__always)
func equalBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    let count = a.count
    guard count == b.count else { return false }
    guard let x = a.baseAddress, let y = b.baseAddress, count > 0 else { return true }
    if count >= 8, count <= 16 {
        let first = x.loadUnaligned(as: UInt64.self) ^ y.loadUnaligned(as: UInt64.self)
        let last =
            x.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
            ^ y.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
        return first | last == 0
    }
    return memcmp(x, y, count) == 0
}

/// Copies a name to `offset`, where `target` has room for it (trapped). Most are short.
@inline(__always)
func copyName(
    _ name: UnsafeRawBufferPointer, to target: UnsafeMutableRawBufferPointer, at offset: Int
) {
    let count = name.count
    precondition(offset >= 0 && target.count &- offset >= count)
    guard let from = name.baseAddress, let base = target.baseAddress else { return }
    let to = base + offset
    if count >= 8, count <= 32 {
        // Steps of 8, the last one ending where the name does.
        var at = 0
        while at < count &- 8 {
            to.storeBytes(
                of: from.loadUnaligned(fromByteOffset: at, as: UInt64.self), toByteOffset: at,
                as: UInt64.self)
            at &+= 8
        }
        to.storeBytes(
            of: from.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self),
            toByteOffset: count &- 8, as: UInt64.self)
    } else {
        to.copyMemory(from: from, byteCount: count)
    }
}

/// The order of two runs of bytes of the same length: negative, 0 or positive.
func compareBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
    precondition(a.count == b.count)
    guard let x = a.baseAddress, let y = b.baseAddress else { return 0 }
    return Int(memcmp(x, y, a.count))
}
