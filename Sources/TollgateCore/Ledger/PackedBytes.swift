import TollgateWire

/// Numbers and bytes one behind the other, in the fewest bytes that cost little to write. A number
/// below 248 is its byte; a larger one is 247 and its length in bytes, 1 to 8, then so many,
/// little-endian.
///
/// Writes into room that its owner made sure of: the most that may be written, and 8 bytes more.
struct PackedWriter {
    static let numberBytesMax = 9
    /// Behind what is written: a number is stored whole, and what is too much written over.
    static let slack = 8
    fileprivate static let shortBelow: UInt64 = 248

    private let base: UnsafeMutableRawPointer
    private(set) var count = 0

    init(_ room: UnsafeMutableRawPointer) { base = room }

    @inline(__always)
    mutating func byte(_ value: UInt8) {
        base.storeBytes(of: value, toByteOffset: count, as: UInt8.self)
        count &+= 1
    }

    @inline(__always)
    mutating func word(_ value: UInt64) {
        base.storeBytes(of: value.littleEndian, toByteOffset: count, as: UInt64.self)
        count &+= 8
    }

    @inline(__always)
    mutating func number(_ value: UInt64) {
        guard value >= Self.shortBelow else {
            return byte(UInt8(truncatingIfNeeded: value))
        }
        let bytes = (71 &- value.leadingZeroBitCount) &>> 3
        byte(UInt8(truncatingIfNeeded: Self.shortBelow &- 1 &+ UInt64(bytes)))
        base.storeBytes(of: value.littleEndian, toByteOffset: count, as: UInt64.self)
        count &+= bytes
    }

    @inline(__always)
    mutating func bytes(_ from: UnsafeRawBufferPointer) {
        guard let source = from.baseAddress else { return }
        (base + count).copyMemory(from: source, byteCount: from.count)
        count &+= from.count
    }
}

/// Reads what `PackedWriter` wrote, from a disk: traps on no bytes, and gives `nil` where they end.
struct PackedReader {
    private let bytes: UnsafeRawBufferPointer
    private var at = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var remaining: Int { bytes.count &- at }

    mutating func byte() -> UInt8? {
        guard remaining > 0 else { return nil }
        defer { at &+= 1 }
        return bytes[at]
    }

    mutating func word() -> UInt64? {
        guard remaining >= 8 else { return nil }
        defer { at &+= 8 }
        return bytes.loadLittle(at: at, as: UInt64.self)
    }

    mutating func number() -> UInt64? {
        guard let first = byte() else { return nil }
        guard UInt64(first) >= PackedWriter.shortBelow else { return UInt64(first) }
        guard let taken = take(Int(first) &- Int(PackedWriter.shortBelow &- 1)) else { return nil }
        var value: UInt64 = 0
        for byte in taken.reversed() { value = value &<< 8 | UInt64(byte) }
        return value
    }

    /// A number that fits into another type; `nil` where it does not.
    mutating func number<T: FixedWidthInteger>(as type: T.Type) -> T? {
        number().flatMap { T(exactly: $0) }
    }

    mutating func take(_ count: Int) -> UnsafeRawBufferPointer? {
        guard count >= 0, remaining >= count else { return nil }
        defer { at &+= count }
        return bytes.slice(at: at, length: count)
    }
}
