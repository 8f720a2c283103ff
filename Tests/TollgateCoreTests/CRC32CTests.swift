import CChecksum
import Testing

@Suite struct CRC32CTests {
    static let increasing = (0..<32).map { UInt8($0) }
    static let vectors: [([UInt8], UInt32)] = [
        // RFC 3720, B.4; its bytes are written from the lowest on.
        ([UInt8](repeating: 0, count: 32), 0x8a91_36aa),
        ([UInt8](repeating: 0xff, count: 32), 0x62a8_ab43),
        (increasing, 0x46dd_794e),
        (increasing.reversed(), 0x113f_db5c),
        (
            [
                0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
                0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
            ], 0xd996_3a56
        ),
        (Array("123456789".utf8), 0xe306_9283), ([], 0),
    ]

    @Test func knownBytesHaveTheirKnownSums() {
        for (bytes, sum) in Self.vectors {
            #expect(tg_crc32c(0, bytes, bytes.count) == sum)
            #expect(tg_crc32c_by_table(0, bytes, bytes.count) == sum)
        }
    }

    @Test func aSlotsSumIsThatOfItsBytes() {
        var random = SeededRandom.printed("CRC-32C")
        for _ in 0..<1_000 {
            let slot = (0..<32).map { _ in UInt8.random(in: 0...255, using: &random) }
            let seed = UInt32.random(in: 0...UInt32.max, using: &random)
            #expect(tg_crc32c_slot(seed, slot) == tg_crc32c_by_table(seed, Array(slot[4...]), 28))
        }
    }

    /// By hand: checksum over what follows it, number, kind, 22 bytes; each goes on from the last.
    @Test func slotsThatGoOnAreWrittenAndSealedOneAfterTheOther() {
        var random = SeededRandom.printed("CRC-32C")
        for count in 1...40 {
            let item = (0..<22 * count).map { _ in UInt8.random(in: 0...255, using: &random) }
            let seed = UInt32.random(in: 0...UInt32.max, using: &random)
            let sequence = UInt32.max - UInt32.random(in: 0..<40, using: &random)
            let kind = UInt16.random(in: 0...UInt16.max, using: &random)
            var expected: [UInt8] = []
            var sum = seed
            for index in 0..<count {
                let number = sequence &+ UInt32(index)
                let rest = bytes(number) + bytes(kind) + item[(22 * index)..<(22 * index + 22)]
                sum = tg_crc32c_by_table(sum, rest, 28)
                expected += bytes(sum) + rest
            }
            // And not a byte before or behind them.
            var slots = [UInt8](repeating: 0xa5, count: 32 * count + 64)
            let last = slots.withUnsafeMutableBytes { memory in
                memory.baseAddress.map {
                    tg_crc32c_slots(seed, $0 + 32, item, count, sequence, kind)
                }
            }
            #expect(last == sum)
            let around = [UInt8](repeating: 0xa5, count: 32)
            #expect(slots == around + expected + around)
        }
    }

    private func bytes(_ number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.littleEndian) { Array($0) }
    }

    @Test func theInstructionAndTheTableAgreeWhereverBytesBeginAndInWhatPieces() {
        var random = SeededRandom.printed("CRC-32C")
        #expect(
            [0, 1].contains(tg_crc32c_is_by_instruction()), "hardware or not, it must agree")
        for _ in 0..<2_000 * testScale {
            let bytes = (0..<Int.random(in: 0...200, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            let seed = UInt32.random(in: 0...UInt32.max, using: &random)
            let start = Int.random(in: 0...bytes.count, using: &random)
            let cut = Int.random(in: start...bytes.count, using: &random)
            bytes.withUnsafeBytes { all in
                guard let base = all.baseAddress else { return }
                let whole = tg_crc32c(seed, base + start, bytes.count - start)
                #expect(whole == tg_crc32c_by_table(seed, base + start, bytes.count - start))
                let first = tg_crc32c(seed, base + start, cut - start)
                #expect(tg_crc32c(first, base + cut, bytes.count - cut) == whole)
            }
        }
    }
}
