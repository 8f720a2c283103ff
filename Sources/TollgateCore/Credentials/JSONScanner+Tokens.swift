// Strings, numbers and literals. All stop at the zero behind the text at the latest, and look at a
// byte only after the one before it was accepted, so none reads past it.

extension JSONScanner {
    /// At an opening quote; afterwards behind the closing one, with `string` set.
    mutating func scanString() -> Bool {
        let start = at &+ 1
        var place = start
        stringEscaped = false
        while true {
            let stops = Self.stops(memory.loadUnaligned(fromByteOffset: place, as: UInt64.self))
            if stops == 0 {
                place &+= 8
                continue
            }
            place &+= stops.trailingZeroBitCount &>> 3
            let byte = byte(at: place)
            if byte == UInt8(ascii: "\"") {
                string = ByteRange(start, place &- start)
                at = place &+ 1
                return true
            }
            let length = byte >= 0x80 ? characterBytes(at: place) : escapeBytes(at: place)
            if length == 0 { return false }
            if byte < 0x80 { stringEscaped = true }
            place &+= length
        }
    }

    /// Bit 7 of every byte that ends a run of plain ASCII: quote, backslash, below 0x20, above
    /// 0x7f. Exact for the lowest such byte; above it a borrow may mark others.
    @inline(__always)
    private static func stops(_ word: UInt64) -> UInt64 {
        let word = UInt64(littleEndian: word)
        let ones: UInt64 = 0x0101_0101_0101_0101
        let quote = word ^ (ones &* 0x22)
        let backslash = word ^ (ones &* 0x5c)
        let quotes = (quote &- ones) & ~quote
        let backslashes = (backslash &- ones) & ~backslash
        let controls = (word &- (ones &* 0x20)) & ~word
        return (quotes | backslashes | controls | word) & (ones &* 0x80)
    }

    @inline(__always)
    func byte(at place: Int) -> UInt8 { memory.load(fromByteOffset: place, as: UInt8.self) }

    /// Bytes of the UTF-8 sequence at `place`, whose first byte is above 0x7f; 0 when it is not
    /// well formed (Unicode 16, table 3-7: no overlong form, no surrogate, nothing over U+10FFFF).
    private func characterBytes(at place: Int) -> Int {
        let first = byte(at: place)
        let second = byte(at: place &+ 1)
        let low: UInt8
        let high: UInt8
        let length: Int
        switch first {
        case 0xc2...0xdf: (low, high, length) = (0x80, 0xbf, 2)
        case 0xe0: (low, high, length) = (0xa0, 0xbf, 3)
        case 0xed: (low, high, length) = (0x80, 0x9f, 3)
        case 0xe1...0xef: (low, high, length) = (0x80, 0xbf, 3)
        case 0xf0: (low, high, length) = (0x90, 0xbf, 4)
        case 0xf1...0xf3: (low, high, length) = (0x80, 0xbf, 4)
        case 0xf4: (low, high, length) = (0x80, 0x8f, 4)
        default: return 0
        }
        guard second >= low, second <= high else { return 0 }
        var index = 2
        while index < length {
            guard byte(at: place &+ index) & 0xc0 == 0x80 else { return 0 }
            index &+= 1
        }
        return length
    }

    /// Bytes of the escape at `place`, a surrogate pair taken as one; 0 when there is none, or half
    /// a pair.
    private func escapeBytes(at place: Int) -> Int {
        guard byte(at: place) == UInt8(ascii: "\\") else { return 0 }
        switch byte(at: place &+ 1) {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"),
            UInt8(ascii: "f"), UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            return 2
        case UInt8(ascii: "u"):
            guard let unit = hexUnit(at: place &+ 2) else { return 0 }
            if unit & 0xf800 != 0xd800 { return 6 }
            guard unit < 0xdc00, byte(at: place &+ 6) == UInt8(ascii: "\\"),
                byte(at: place &+ 7) == UInt8(ascii: "u"), let low = hexUnit(at: place &+ 8),
                low & 0xfc00 == 0xdc00
            else { return 0 }
            return 12
        default: return 0
        }
    }

    /// Four hexadecimal digits.
    func hexUnit(at place: Int) -> UInt32? {
        var unit: UInt32 = 0
        for index in 0..<4 {
            let byte = byte(at: place &+ index)
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): unit = unit &<< 4 | UInt32(byte &- 0x30)
            case UInt8(ascii: "a")...UInt8(ascii: "f"): unit = unit &<< 4 | UInt32(byte &- 0x57)
            case UInt8(ascii: "A")...UInt8(ascii: "F"): unit = unit &<< 4 | UInt32(byte &- 0x37)
            default: return nil
            }
        }
        return unit
    }

    /// RFC 8259 §6: no leading zero, no plus, digits around the point and behind the exponent.
    mutating func scanNumber() -> Bool {
        if byte == UInt8(ascii: "-") { at &+= 1 }
        if byte == UInt8(ascii: "0") {
            at &+= 1
        } else {
            guard scanDigits() else { return false }
        }
        if byte == UInt8(ascii: ".") {
            at &+= 1
            guard scanDigits() else { return false }
        }
        if byte | 0x20 == UInt8(ascii: "e") {
            at &+= 1
            if byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") { at &+= 1 }
            guard scanDigits() else { return false }
        }
        return true
    }

    @inline(__always)
    private mutating func scanDigits() -> Bool {
        let start = at
        while byte &- 0x30 < 10 { at &+= 1 }
        return at > start
    }

    /// `word`: four bytes of the literal, the first lowest, `offset` bytes behind `at`, where the
    /// caller has looked at the first byte.
    @inline(__always)
    mutating func scanLiteral(_ word: UInt32, at offset: Int, bytes: Int) -> Bool {
        let found = memory.loadUnaligned(fromByteOffset: at &+ offset, as: UInt32.self)
        guard UInt32(littleEndian: found) == word else { return false }
        at &+= bytes
        return true
    }
}
