import Glibc

/// Whether two runs of bytes are the same. Not constant-time: never for secrets.
@inline(__always)
func equalBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    guard a.count == b.count else { return false }
    guard let x = a.baseAddress, let y = b.baseAddress, a.count > 0 else { return true }
    return memcmp(x, y, a.count) == 0
}

/// The order of two runs of bytes of the same length: negative, 0 or positive.
func compareBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
    precondition(a.count == b.count)
    guard let x = a.baseAddress, let y = b.baseAddress else { return 0 }
    return Int(memcmp(x, y, a.count))
}
