/// base64url without padding (RFC 4648 §5, RFC 7515 §2), strict: every run of bytes has exactly
/// one spelling, and no other spelling decodes. Stateless; any thread.
package enum Base64URL {
    /// Bytes that so many characters decode to; `nil` when no text has that length.
    package static func decodedBytes(_ characters: Int) -> Int? {
        let whole = (characters &>> 2) &* 3
        switch characters & 3 {
        case 0: return whole
        case 2: return whole &+ 1
        case 3: return whole &+ 2
        default: return nil
        }
    }

    /// Decodes all of `text` to the front of `output`; bytes written, or `nil` when the text is not
    /// the canonical spelling of anything or `output` is too small. On `nil`, `output` may hold
    /// anything; it may also be overwritten behind what was decoded. Does not allocate.
    package static func decode(
        _ text: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
    ) -> Int? {
        guard let bytes = decodedBytes(text.count), bytes <= output.count else { return nil }
        guard bytes > 0, let from = text.baseAddress, let to = output.baseAddress else { return 0 }
        let table = tables
        // Bit 31 of a table's word marks a character outside the alphabet.
        var seen: UInt32 = 0
        var read = 0
        var written = 0
        // Both ends were checked: a step reads 8 characters and stores 8 bytes, of which 6 count.
        while text.count &- read >= 8, output.count &- written >= 8 {
            let high = group(table, from + read)
            let low = group(table, from + (read &+ 4))
            seen |= high | low
            let six = UInt64(high) &<< 40 | UInt64(low) &<< 16
            to.storeBytes(of: six.bigEndian, toByteOffset: written, as: UInt64.self)
            read &+= 8
            written &+= 6
        }
        while text.count &- read >= 4 {
            let three = group(table, from + read)
            seen |= three
            to.storeBytes(
                of: UInt8(truncatingIfNeeded: three &>> 16), toByteOffset: written, as: UInt8.self)
            to.storeBytes(
                of: UInt8(truncatingIfNeeded: three &>> 8), toByteOffset: written &+ 1,
                as: UInt8.self)
            to.storeBytes(
                of: UInt8(truncatingIfNeeded: three), toByteOffset: written &+ 2, as: UInt8.self)
            read &+= 4
            written &+= 3
        }
        if read < text.count {
            seen |= decodeEnd(text, read, into: output, written)
        }
        return seen &>> 31 == 0 ? bytes : nil
    }

    /// The last 2 or 3 characters. Bits that encode nothing must be 0 (RFC 4648 §3.5); when they
    /// are not, the answer has bit 31 set.
    private static func decodeEnd(
        _ text: UnsafeRawBufferPointer, _ read: Int, into output: UnsafeMutableRawBufferPointer,
        _ written: Int
    ) -> UInt32 {
        let three = text.count &- read == 3
        let table = tables
        let word =
            table[Int(text[read])] | table[256 &+ Int(text[read &+ 1])]
            | (three ? table[512 &+ Int(text[read &+ 2])] : 0)
        output[written] = UInt8(truncatingIfNeeded: word &>> 16)
        if three { output[written &+ 1] = UInt8(truncatingIfNeeded: word &>> 8) }
        let unused = word & (three ? 0xff : 0xffff)
        return unused == 0 ? word : 1 &<< 31
    }

    /// Four characters as 24 bits.
    @inline(__always)
    private static func group(
        _ table: UnsafePointer<UInt32>, _ text: UnsafeRawPointer
    ) -> UInt32 {
        table[Int(text.load(as: UInt8.self))]
            | table[256 &+ Int(text.load(fromByteOffset: 1, as: UInt8.self))]
            | table[512 &+ Int(text.load(fromByteOffset: 2, as: UInt8.self))]
            | table[768 &+ Int(text.load(fromByteOffset: 3, as: UInt8.self))]
    }

    /// Four tables of 256 words: what a character contributes as first, second, third and fourth
    /// of its group. Written once, then read-only, never freed: safe to share.
    private nonisolated(unsafe) static let tables: UnsafePointer<UInt32> = {
        let table = UnsafeMutablePointer<UInt32>.allocate(capacity: 1_024)
        table.initialize(repeating: 1 << 31, count: 1_024)
        for (value, character) in alphabet.enumerated() {
            for place in 0..<4 {
                table[256 * place + Int(character)] = UInt32(value) << UInt32(18 - 6 * place)
            }
        }
        return UnsafePointer(table)
    }()

    private static let alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    /// The one spelling of `bytes`. Allocates: for minting and tests.
    package static func encode(_ bytes: some Collection<UInt8>) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count * 4 + 2) / 3)
        var bits: UInt32 = 0
        var held: UInt32 = 0
        for byte in bytes {
            bits = (bits << 8 | UInt32(byte)) & 0xffff
            held += 8
            while held >= 6 {
                held -= 6
                text.append(alphabet[Int(bits >> held & 0x3f)])
            }
        }
        if held > 0 { text.append(alphabet[Int(bits << (6 - held) & 0x3f)]) }
        return text
    }
}
