// Fixed-width little-endian loads and stores. Every one checks its range and traps outside it:
// a caller checks the length of a peer's bytes first, so a trap here is a defect of ours.

import Glibc

extension UnsafeRawBufferPointer {
    /// The integer at `offset`, unaligned, little-endian. Traps when it does not lie inside.
    @inlinable
    public func loadLittle<T: FixedWidthInteger & BitwiseCopyable>(
        at offset: Int, as type: T.Type
    ) -> T {
        precondition(offset >= 0 && count - offset >= MemoryLayout<T>.size)
        return T(littleEndian: loadUnaligned(fromByteOffset: offset, as: type))
    }

    /// `length` bytes from `offset`. Traps when they do not lie inside.
    @inlinable
    public func slice(at offset: Int, length: Int) -> UnsafeRawBufferPointer {
        precondition(offset >= 0 && length >= 0 && count - offset >= length)
        return UnsafeRawBufferPointer(rebasing: self[offset..<(offset &+ length)])
    }

    /// Whether there is no byte but zeros.
    public var isZero: Bool {
        guard let base = baseAddress, let first else { return true }
        // Each is what the one before it is.
        return first == 0 && memcmp(base, base.advanced(by: 1), count &- 1) == 0
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Writes zeros over all of it.
    public func zero() {
        guard let base = baseAddress else { return }
        memset(base, 0, count)
    }

    /// Stores an integer at `offset`, unaligned, little-endian. Traps when it does not fit. (As a
    /// function of its own it took a fourth of the instructions that a decision is written in.)
    @inlinable
    @inline(__always)
    public func storeLittle<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
        precondition(offset >= 0 && count - offset >= MemoryLayout<T>.size)
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }

    /// Copies `source` to `offset`. Traps when it does not fit.
    @inlinable
    public func copy(_ source: UnsafeRawBufferPointer, to offset: Int) {
        precondition(offset >= 0 && count - offset >= source.count)
        guard let from = source.baseAddress, let base = baseAddress else { return }
        (base + offset).copyMemory(from: from, byteCount: source.count)
    }
}

/// Reads a peer's bytes from front to back. Nothing here traps on what a peer sent: a read past
/// the end gives `nil` and leaves the cursor where it was.
public struct ByteReader {
    public let bytes: UnsafeRawBufferPointer
    @usableFromInline
    var position: Int
    /// Where the next read begins; at most `bytes.count`.
    @inlinable
    public var offset: Int { position }

    /// Begins at `offset`, which lies inside (trapped). The bytes outlive the reader.
    @inlinable
    public init(_ bytes: UnsafeRawBufferPointer, at offset: Int = 0) {
        precondition(offset >= 0 && offset <= bytes.count)
        self.bytes = bytes
        self.position = offset
    }

    /// Bytes that are left to read.
    @inlinable
    public var remaining: Int { bytes.count - offset }

    /// The next integer, or `nil` at the end.
    @inlinable
    public mutating func read<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) -> T? {
        guard remaining >= MemoryLayout<T>.size else { return nil }
        let value = bytes.loadLittle(at: offset, as: type)
        position = offset + MemoryLayout<T>.size
        return value
    }

    /// The next `length` bytes, or `nil` when there are fewer.
    @inlinable
    public mutating func take(_ length: Int) -> UnsafeRawBufferPointer? {
        guard length >= 0, remaining >= length else { return nil }
        let slice = bytes.slice(at: offset, length: length)
        position = offset + length
        return slice
    }
}
