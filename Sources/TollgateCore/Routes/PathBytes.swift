/// Which bytes a path may hold, and whether it is in the one canonical form that is matched
/// (RFC 3986 §3.3, §6.2.2). What is not canonical is refused, never repaired: the service behind
/// might repair it in another way (RELIABILITY S56).
enum PathBytes {
    private static let unreservedClass: UInt8 = 1
    private static let literalClass: UInt8 = 2
    private static let hexClass: UInt8 = 4

    private static let classes: InlineArray<256, UInt8> = {
        var classes = InlineArray<256, UInt8>(repeating: 0)
        for byte in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~".utf8 {
            classes[Int(byte)] |= unreservedClass | literalClass
        }
        // sub-delims without ";" (path parameters are cut off by some services), ":" and "@".
        for byte in "!$&'()*+,=:@".utf8 { classes[Int(byte)] |= literalClass }
        for byte in "0123456789ABCDEFabcdef".utf8 { classes[Int(byte)] |= hexClass }
        return classes
    }()

    @inline(__always)
    static func isUnreserved(_ byte: UInt8) -> Bool { classes[Int(byte)] & unreservedClass != 0 }

    @inline(__always)
    static func isLiteral(_ byte: UInt8) -> Bool { classes[Int(byte)] & literalClass != 0 }

    private static func hex(_ byte: UInt8) -> UInt8? {
        guard classes[Int(byte)] & hexClass != 0 else { return nil }
        return byte <= UInt8(ascii: "9") ? byte & 15 : (byte & 15) + 9
    }

    /// The part before the query, when it is canonical: begins with one slash; no empty segment
    /// (so none at the end either), no `.` or `..`, no `;`, backslash, space, control or 8-bit
    /// byte, no fragment; escapes are whole, and stand for no byte that needs none, nor for a
    /// slash, a backslash, a percent sign or a control byte.
    static func canonicalPath(_ target: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        guard target.count > 0, target[0] == UInt8(ascii: "/") else { return nil }
        var segmentStart = 1
        var index = 1
        while index < target.count, target[index] != UInt8(ascii: "?") {
            let byte = target[index]
            if byte == UInt8(ascii: "/") {
                guard isSegment(target, segmentStart, index) else { return nil }
                segmentStart = index &+ 1
            } else if byte == UInt8(ascii: "%") {
                guard isNeededEscape(target, index) else { return nil }
                index &+= 2
            } else if !isLiteral(byte) {
                return nil
            }
            index &+= 1
        }
        guard index == 1 || isSegment(target, segmentStart, index) else { return nil }
        return queryIsPlain(target, from: index)
            ? UnsafeRawBufferPointer(rebasing: target[..<index]) : nil
    }

    private static func isSegment(
        _ target: UnsafeRawBufferPointer, _ start: Int, _ end: Int
    ) -> Bool {
        let dot = UInt8(ascii: ".")
        switch end &- start {
        case 0: return false
        case 1: return target[start] != dot
        case 2: return target[start] != dot || target[start &+ 1] != dot
        default: return true
        }
    }

    private static func isNeededEscape(_ target: UnsafeRawBufferPointer, _ index: Int) -> Bool {
        guard target.count &- index >= 3, let high = hex(target[index &+ 1]),
            let low = hex(target[index &+ 2])
        else { return false }
        let byte = high &<< 4 | low
        if byte < 0x20 || byte == 0x7f || isUnreserved(byte) { return false }
        return byte != UInt8(ascii: "/") && byte != UInt8(ascii: "\\") && byte != UInt8(ascii: "%")
    }

    /// The query plays no part in the match; bytes that end a line or a target are refused.
    private static func queryIsPlain(_ target: UnsafeRawBufferPointer, from start: Int) -> Bool {
        var index = start
        while index < target.count {
            let byte = target[index]
            if byte <= 0x20 || byte >= 0x7f || byte == UInt8(ascii: "#") { return false }
            index &+= 1
        }
        return true
    }
}
