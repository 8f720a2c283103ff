extension JSONReader {
    /// At an opening quote; afterwards behind the closing one.
    mutating func string() throws(JSONError) -> String {
        let start = at
        at &+= 1
        var text: [UInt8] = []
        while true {
            let run = at
            while at < bytes.count, byte >= 0x20, byte != UInt8(ascii: "\""),
                byte != UInt8(ascii: "\\")
            { at &+= 1 }
            text.append(contentsOf: bytes[run..<at])
            guard at < bytes.count else { throw JSONError(at, "a string without its end") }
            switch byte {
            case UInt8(ascii: "\""):
                at &+= 1
                guard let string = String(validating: text, as: UTF8.self) else {
                    throw JSONError(start, "a string that is not UTF-8")
                }
                return string
            case UInt8(ascii: "\\"): try escape(into: &text)
            default: throw JSONError(at, "a control character in a string")
            }
        }
    }

    /// At a backslash; afterwards behind its escape.
    private mutating func escape(into text: inout [UInt8]) throws(JSONError) {
        let start = at
        at &+= 1
        let letter = byte
        at &+= 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(letter)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0c)
        case UInt8(ascii: "n"): text.append(0x0a)
        case UInt8(ascii: "r"): text.append(0x0d)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            guard let scalar = escapedScalar() else {
                throw JSONError(start, "a \\u escape that is no character")
            }
            text.append(contentsOf: String(Character(scalar)).utf8)
        default: throw JSONError(start, "no such escape")
        }
    }

    /// Behind `\u`; afterwards behind the digits, those of the second surrogate included.
    private mutating func escapedScalar() -> Unicode.Scalar? {
        guard let unit = hexUnit() else { return nil }
        // Half a pair alone is no scalar, and `Unicode.Scalar` refuses it.
        guard unit & 0xfc00 == 0xd800 else { return Unicode.Scalar(unit) }
        guard byte == UInt8(ascii: "\\") else { return nil }
        at &+= 1
        guard byte == UInt8(ascii: "u") else { return nil }
        at &+= 1
        guard let low = hexUnit(), low & 0xfc00 == 0xdc00 else { return nil }
        return Unicode.Scalar(0x1_0000 &+ ((unit & 0x3ff) &<< 10 | low & 0x3ff))
    }

    /// Four hexadecimal digits.
    private mutating func hexUnit() -> UInt32? {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte &- 0x30
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte &- 0x57
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte &- 0x37
            default: return nil
            }
            unit = unit &<< 4 | UInt32(truncatingIfNeeded: digit)
            at &+= 1
        }
        return unit
    }
}
