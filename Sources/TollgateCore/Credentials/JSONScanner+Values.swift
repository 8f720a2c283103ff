// Asking a scanned object for its members. Valid only after `scan` answered true.

/// An element of an array of strings.
enum JSONElement: BitwiseCopyable {
    case end
    case string(UnsafeRawBufferPointer)
    /// Not a string, or no room to unescape it.
    case other
}

extension JSONScanner {
    /// The outermost member of that name; `bytes` is the name where it is longer than 8.
    @inline(__always)
    func find(_ name: MemberName, _ bytes: UnsafeRawBufferPointer? = nil) -> JSONMember? {
        var index = 0
        while index < memberCount {
            let member = members[index]
            if member.key == name.key, member.name.length == name.length, member.container == 0 {
                guard let bytes, name.length > 8 else { return member }
                if equalBytes(view(member.name), bytes) { return member }
            }
            index &+= 1
        }
        return nil
    }

    /// The outermost member of that name, by its bytes: for tests and tools.
    func find(_ name: String) -> JSONMember? {
        var name = name
        return name.withUTF8 { utf8 in
            let bytes = UnsafeRawBufferPointer(utf8)
            return find(MemberName(bytes), bytes)
        }
    }

    /// The characters of a string value; `nil` when it is no string, or unescapes beyond the room
    /// for it.
    @inline(__always)
    mutating func stringValue(_ member: JSONMember) -> UnsafeRawBufferPointer? {
        guard member.kind == .string else { return nil }
        guard member.escaped else { return view(member.value) }
        return unescape(member.value).map { view($0) }
    }

    /// Puts the cursor in front of the first element of an array value.
    mutating func openArray(_ member: JSONMember) {
        precondition(member.kind == .array)
        at = Int(member.value.offset) &+ 1
        skipSpace()
    }

    /// The next element. After `.other` the cursor must not be used any further.
    mutating func nextElement() -> JSONElement {
        switch byte {
        case UInt8(ascii: "]"): return .end
        case UInt8(ascii: "\""):
            guard scanString() else { return .other }
            var range = string
            if stringEscaped {
                guard let plain = unescape(range) else { return .other }
                range = plain
            }
            skipSpace()
            if byte == UInt8(ascii: ",") {
                at &+= 1
                skipSpace()
            }
            return .string(view(range))
        default: return .other
        }
    }

    /// Copies a checked string without its escapes behind the text; `nil` when the room is used up.
    mutating func unescape(_ range: ByteRange) -> ByteRange? {
        // Never longer than with escapes: 2 bytes become 1, 6 at most 3, 12 become 4.
        guard unescapedEnd &- unescapedUsed >= Int(range.length) else { return nil }
        let start = unescapedUsed
        var from = Int(range.offset)
        let end = from &+ Int(range.length)
        while from < end {
            let byte = byte(at: from)
            if byte == UInt8(ascii: "\\") {
                from &+= unescapeOne(at: from)
            } else {
                put(byte)
                from &+= 1
            }
        }
        return ByteRange(start, unescapedUsed &- start)
    }

    /// Writes the character of a checked escape; bytes of the escape.
    private mutating func unescapeOne(at place: Int) -> Int {
        let letter = byte(at: place &+ 1)
        switch letter {
        case UInt8(ascii: "b"): put(0x08)
        case UInt8(ascii: "f"): put(0x0c)
        case UInt8(ascii: "n"): put(0x0a)
        case UInt8(ascii: "r"): put(0x0d)
        case UInt8(ascii: "t"): put(0x09)
        case UInt8(ascii: "u"):
            let unit = hexUnit(at: place &+ 2) ?? 0xfffd
            guard unit & 0xfc00 == 0xd800 else {
                put(scalar: unit)
                return 6
            }
            let low = hexUnit(at: place &+ 8) ?? 0xdc00
            put(scalar: 0x1_0000 &+ (unit & 0x3ff) &<< 10 &+ (low & 0x3ff))
            return 12
        default: put(letter)
        }
        return 2
    }

    @inline(__always)
    private mutating func put(_ byte: UInt8) {
        memory.storeBytes(of: byte, toByteOffset: unescapedUsed, as: UInt8.self)
        unescapedUsed &+= 1
    }

    /// UTF-8 (RFC 3629 §3).
    private mutating func put(scalar: UInt32) {
        let tail = { (shift: UInt32) in UInt8(truncatingIfNeeded: scalar &>> shift & 0x3f) | 0x80 }
        if scalar < 0x80 {
            put(UInt8(truncatingIfNeeded: scalar))
        } else if scalar < 0x800 {
            put(UInt8(truncatingIfNeeded: scalar &>> 6) | 0xc0)
            put(tail(0))
        } else if scalar < 0x1_0000 {
            put(UInt8(truncatingIfNeeded: scalar &>> 12) | 0xe0)
            put(tail(6))
            put(tail(0))
        } else {
            put(UInt8(truncatingIfNeeded: scalar &>> 18) | 0xf0)
            put(tail(12))
            put(tail(6))
            put(tail(0))
        }
    }
}
