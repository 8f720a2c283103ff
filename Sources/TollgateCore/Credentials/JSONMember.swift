import TollgateWire

/// A run of bytes in the memory of whoever hands it out.
struct ByteRange: BitwiseCopyable {
    var offset: Int32
    var length: Int32

    @inline(__always)
    init(_ offset: Int, _ length: Int) {
        self.offset = Int32(truncatingIfNeeded: offset)
        self.length = Int32(truncatingIfNeeded: length)
    }
}

/// What a JSON value is.
package enum JSONKind: UInt8, BitwiseCopyable {
    case object, array, string, number, yes, no, null
}

/// A member of an object as the scanner found it.
struct JSONMember: BitwiseCopyable {
    /// `MemberName.key` of the name, unescaped.
    var key: UInt64
    /// The name, unescaped.
    var name: ByteRange
    /// The value's text; of a string, what stands between the quotes.
    var value: ByteRange
    /// Which object it belongs to; 0 is the outermost.
    var container: Int32
    var kind: JSONKind
    /// The value is a string with escapes.
    var escaped: Bool
}

/// The name of a member to look for: a key that decides names of up to 8 bytes together with their
/// length, and longer ones nearly.
struct MemberName: BitwiseCopyable {
    var key: UInt64
    var length: Int32

    /// A name of 3 or 4 ASCII characters, folded to a constant by the compiler.
    @inline(__always)
    init(_ a: Unicode.Scalar, _ b: Unicode.Scalar, _ c: Unicode.Scalar, _ d: Unicode.Scalar? = nil)
    {
        key = UInt64(a.value) | UInt64(b.value) &<< 8 | UInt64(c.value) &<< 16
        length = 3
        if let d {
            key |= UInt64(d.value) &<< 24
            length = 4
        }
    }

    init(_ name: UnsafeRawBufferPointer) {
        length = Int32(truncatingIfNeeded: name.count)
        var bytes = Array(name)
        bytes += [UInt8](repeating: 0, count: 8)
        key = bytes.withUnsafeBytes { Self.key($0.baseAddress, length: name.count) }
    }

    /// Of up to 8 bytes: the bytes themselves. Of more: a mix of the first 8, the last 8 and the
    /// length. `name` can be read for 8 bytes whatever its length.
    @inline(__always)
    static func key(_ name: UnsafeRawPointer?, length: Int) -> UInt64 {
        guard let name, length > 0 else { return 0 }
        let first = UInt64(littleEndian: name.loadUnaligned(as: UInt64.self))
        if length < 8 { return first & ((1 &<< (8 &* UInt64(length))) &- 1) }
        if length == 8 { return first }
        let last = name.loadUnaligned(fromByteOffset: length &- 8, as: UInt64.self)
        let mixed = first ^ (UInt64(littleEndian: last) &* 0x9e37_79b9_7f4a_7c15)
        return mixed ^ (mixed &>> 29) ^ UInt64(length)
    }
}
