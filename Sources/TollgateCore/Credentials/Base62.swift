import TollgateWire

/// The digits 0-9 A-Z a-z: what a double-click selects whole, with no sign that a shell, a URL or a
/// header treats as special.
enum Base62 {
    static let alphabet = Array(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)
    /// Six digits hold 2^32: 62^6 = 56,800,235,584.
    static let checkDigits = 6

    /// Whether every byte is a digit. Does not allocate.
    static func isDigits(_ text: UnsafeRawBufferPointer) -> Bool {
        let table = values
        var seen: UInt8 = 0
        for byte in text { seen |= table[Int(byte)] }
        return seen < 0x80
    }

    /// The number that six digits spell, if it fits 32 bits. Does not allocate.
    static func check(_ text: UnsafeRawBufferPointer) -> UInt32? {
        guard text.count == checkDigits, isDigits(text) else { return nil }
        let table = values
        var number: UInt64 = 0
        for byte in text { number = number &* 62 &+ UInt64(table[Int(byte)]) }
        return UInt32(exactly: number)
    }

    /// `sum` as six digits, the highest first. Allocates: for minting.
    static func digits(of sum: UInt32) -> [UInt8] {
        var rest = Int(sum)
        var text: [UInt8] = []
        for _ in 0..<checkDigits {
            text.append(alphabet[rest % 62])
            rest /= 62
        }
        return text.reversed()
    }

    /// Fills `text` with digits, each as likely as any other, out of random bytes: those from 248
    /// on are passed over. Whether there were enough.
    static func fill(
        _ text: UnsafeMutableRawBufferPointer, from random: UnsafeRawBufferPointer
    ) -> Bool {
        var filled = 0
        for byte in random where byte < 248 && filled < text.count {
            text[filled] = alphabet[Int(byte) % 62]
            filled &+= 1
        }
        return filled == text.count
    }

    /// A character's value, or 0xff. Written once, then read-only, never freed: safe to share.
    private nonisolated(unsafe) static let values: UnsafePointer<UInt8> = {
        let table = UnsafeMutablePointer<UInt8>.allocate(capacity: 256)
        table.initialize(repeating: 0xff, count: 256)
        for (value, character) in alphabet.enumerated() {
            table[Int(character)] = UInt8(truncatingIfNeeded: value)
        }
        return UnsafePointer(table)
    }()
}
