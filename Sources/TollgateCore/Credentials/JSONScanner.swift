import TollgateWire

/// Takes one JSON object apart in memory of its own: strict RFC 8259, UTF-8 checked, no byte order
/// mark, no member twice in one object (after unescaping), nothing behind the end, no recursion.
///
/// Owned by one `TokenVerifier`, so by one thread. What it lends stays valid until the next `scan`.
///
/// Memory: `[text | 8 zeroes | unescaped strings | 8 zeroes]`. The zero behind the text stops every
/// loop (no JSON token contains it), so `at <= count` holds throughout and a load of 8 bytes at
/// `at` stays inside.
package struct JSONScanner: ~Copyable {
    package static let depthMax = 16
    package static let membersMax = 128
    /// Zeroes behind a text, so that 8 bytes can be loaded at its end.
    static let paddingBytes = 8

    let memory: UnsafeMutableRawPointer
    let members: UnsafeMutablePointer<JSONMember>
    /// The longest text.
    package let textBytesMax: Int
    /// Where unescaped strings begin and end. Names unescape once, in total no longer than the
    /// text; values may be asked for more than once, within what is left.
    let unescapedStart: Int
    let unescapedEnd: Int
    var unescapedUsed = 0

    var count = 0
    var at = 0
    package internal(set) var memberCount = 0
    /// One bit a name, by its key: a name whose bit is clear has not been seen.
    private var seen: UInt64 = 0
    private var depth = 0
    /// For each open container: the number of the object, or -1 for an array.
    private var containers = InlineArray<16, Int32>(repeating: 0)
    private var objectCount: Int32 = 0
    /// The outermost member whose array or object is open.
    private var openMember = 0

    /// The last string scanned: what stands between its quotes, and whether with escapes.
    var string = ByteRange(0, 0)
    var stringEscaped = false

    package init(textBytesMax: Int) {
        self.textBytesMax = textBytesMax
        unescapedStart = textBytesMax + Self.paddingBytes
        unescapedEnd = unescapedStart + 3 * textBytesMax
        let bytes = unescapedEnd + Self.paddingBytes
        memory = .allocate(byteCount: bytes, alignment: 64)
        memory.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
        members = .allocate(capacity: Self.membersMax)
    }

    deinit {
        memory.deallocate()
        members.deallocate()
    }

    /// Where the caller puts the text before `scan`.
    package var text: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: memory, count: textBytesMax)
    }

    /// Whether the first `textBytes` of `text` are one acceptable object; then `members` has its
    /// members. Does not allocate; never traps on what the text is.
    package mutating func scan(textBytes: Int) -> Bool {
        precondition(textBytes >= 0 && textBytes <= textBytesMax)
        count = textBytes
        memory.storeBytes(of: 0, toByteOffset: count, as: UInt64.self)
        at = 0
        memberCount = 0
        unescapedUsed = unescapedStart
        seen = 0
        depth = 0
        objectCount = 0
        skipSpace()
        guard byte == UInt8(ascii: "{") else { return false }
        guard open(object: true) else { return false }
        while depth > 0 {
            guard step() else { return false }
        }
        skipSpace()
        return at == count
    }

    @inline(__always)
    var byte: UInt8 { memory.load(fromByteOffset: at, as: UInt8.self) }

    @inline(__always)
    mutating func skipSpace() {
        while byte <= 0x20 {
            switch byte {
            case 0x20, 0x0a, 0x0d, 0x09: at &+= 1
            default: return
            }
        }
    }

    /// One member or element, with the comma or the closing brackets behind it.
    private mutating func step() -> Bool {
        let inObject = containers[depth &- 1] >= 0
        if inObject {
            guard scanName() else { return false }
        }
        let start = at
        switch byte {
        case UInt8(ascii: "\""):
            guard scanString() else { return false }
            if inObject { record(.string, string, escaped: stringEscaped) }
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            let object = byte == UInt8(ascii: "{")
            if inObject { record(object ? .object : .array, ByteRange(start, 0)) }
            if depth == 1 { openMember = memberCount &- 1 }
            let depthBefore = depth
            guard open(object: object) else { return false }
            if depth > depthBefore { return true }
        case UInt8(ascii: "t"):
            guard scanLiteral(0x6575_7274, at: 0, bytes: 4) else { return false }
            if inObject { record(.yes, ByteRange(start, 4)) }
        case UInt8(ascii: "f"):
            guard scanLiteral(0x6573_6c61, at: 1, bytes: 5) else { return false }
            if inObject { record(.no, ByteRange(start, 5)) }
        case UInt8(ascii: "n"):
            guard scanLiteral(0x6c6c_756e, at: 0, bytes: 4) else { return false }
            if inObject { record(.null, ByteRange(start, 4)) }
        default:
            guard scanNumber() else { return false }
            if inObject { record(.number, ByteRange(start, at &- start)) }
        }
        return scanSeparator()
    }

    /// At an opening bracket. An empty container is closed at once, and `depth` is as before.
    private mutating func open(object: Bool) -> Bool {
        guard depth < Self.depthMax else { return false }
        containers[depth] = object ? objectCount : -1
        if object { objectCount &+= 1 }
        depth &+= 1
        at &+= 1
        skipSpace()
        if byte == (object ? UInt8(ascii: "}") : UInt8(ascii: "]")) { close() }
        return true
    }

    /// At the closing bracket that fits.
    private mutating func close() {
        depth &-= 1
        at &+= 1
        if depth == 1 {
            let start = Int(members[openMember].value.offset)
            members[openMember].value = ByteRange(start, at &- start)
        }
    }

    /// Behind a value: closing brackets, and then a comma unless the outermost was closed.
    private mutating func scanSeparator() -> Bool {
        while depth > 0 {
            skipSpace()
            if byte == UInt8(ascii: ",") {
                at &+= 1
                skipSpace()
                return true
            }
            let object = containers[depth &- 1] >= 0
            guard byte == (object ? UInt8(ascii: "}") : UInt8(ascii: "]")) else { return false }
            close()
        }
        return true
    }

    /// A name and the colon behind it; the member is entered with its value still open.
    private mutating func scanName() -> Bool {
        guard byte == UInt8(ascii: "\""), memberCount < Self.membersMax, scanString() else {
            return false
        }
        var name = string
        if stringEscaped {
            guard let plain = unescape(name) else { return false }
            name = plain
        }
        let container = containers[depth &- 1]
        let key = MemberName.key(memory + Int(name.offset), length: Int(name.length))
        let bit: UInt64 = 1 &<< ((key &* 0x9e37_79b9_7f4a_7c15) &>> 58)
        if seen & bit != 0, isDuplicate(name, key, container) { return false }
        seen |= bit
        members[memberCount] = JSONMember(
            key: key, name: name, value: ByteRange(0, 0), container: container, kind: .null,
            escaped: false)
        memberCount &+= 1
        skipSpace()
        guard byte == UInt8(ascii: ":") else { return false }
        at &+= 1
        skipSpace()
        return true
    }

    private func isDuplicate(_ name: ByteRange, _ key: UInt64, _ container: Int32) -> Bool {
        for index in 0..<memberCount {
            let other = members[index]
            guard other.key == key, other.container == container,
                other.name.length == name.length
            else { continue }
            if name.length <= 8 || equalBytes(view(other.name), view(name)) { return true }
        }
        return false
    }

    @inline(__always)
    private func record(_ kind: JSONKind, _ value: ByteRange, escaped: Bool = false) {
        members[memberCount &- 1].kind = kind
        members[memberCount &- 1].value = value
        members[memberCount &- 1].escaped = escaped
    }

    @inline(__always)
    func view(_ range: ByteRange) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: memory + Int(range.offset), count: Int(range.length))
    }
}
