/// CRC-32 of IEEE 802.3 as zlib and PNG compute it (RFC 1952 §8), eight bytes a step. Finds every
/// change of up to 32 neighbouring bits; no defence against anybody who can compute it too.
enum CRC32 {
    /// Of all the bytes. Does not allocate.
    static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        let table = tables
        var sum = UInt32.max
        var at = 0
        while bytes.count &- at >= 8 {
            let word = bytes.loadLittle(at: at, as: UInt64.self) ^ UInt64(sum)
            sum = 0
            for place in 0..<8 {
                let byte = Int(truncatingIfNeeded: word &>> UInt64(8 &* place)) & 0xff
                sum ^= table[(7 &- place) &* 256 &+ byte]
            }
            at &+= 8
        }
        while at < bytes.count {
            sum = sum &>> 8 ^ table[Int((sum ^ UInt32(bytes[at])) & 0xff)]
            at &+= 1
        }
        return ~sum
    }

    /// Eight tables of 256 words: what a byte contributes when 0 to 7 bytes follow it in its step.
    /// Written once, then read-only, never freed: safe to share.
    private nonisolated(unsafe) static let tables: UnsafePointer<UInt32> = {
        let table = UnsafeMutablePointer<UInt32>.allocate(capacity: 2_048)
        for byte in 0..<256 {
            var sum = UInt32(truncatingIfNeeded: byte)
            for _ in 0..<8 { sum = sum & 1 == 0 ? sum &>> 1 : sum &>> 1 ^ 0xedb8_8320 }
            table[byte] = sum
        }
        for place in 256..<2_048 {
            let before = table[place - 256]
            table[place] = before &>> 8 ^ table[Int(before & 0xff)]
        }
        return UnsafePointer(table)
    }()
}
