import Foundation
import Testing

@testable import TollgateCore

/// Tests/Vectors/journal-v1.hex: one region of version 1, a line for each 32 bytes, as it must be
/// written and read for as long as there is a version 1. TOLLGATE_WRITE_VECTORS=1 writes it.
@Suite struct JournalVectorTests {
    private static let file = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Vectors/journal-v1.hex")

    private static let transactions: [[TestItem]] = [
        [
            TestItem(
                kind: .row,
                bytes: TestItem.little(UInt32(7)) + [1, 3, 4, 0] + Array("adaacme".utf8)),
            TestItem(
                kind: .counter, bytes: [1, 0] + Array("q monthly_calls calls 2".utf8)),
            .quota(1, 7, 1, PeriodBytes(endSeconds: 1_803_859_200, startDay: 20_848).word),
        ],
        [
            .quota(1, 7, 250_000, PeriodBytes(endSeconds: 1_803_859_200, startDay: 20_848).word),
            .quota(2, 7, UInt64.max, PeriodBytes(endSeconds: .max, startDay: 0).word),
        ],
        [TestItem(kind: .reservation, bytes: (0..<100).map { UInt8($0) })],
        [TestItem(kind: .idempotency, bytes: (0..<20).map { UInt8(200 + $0) })],
        [TestItem(kind: .closed, bytes: (0..<21).map { UInt8(100 + $0) })],
        [TestItem(kind: .forget, bytes: [1] + Array("ada".utf8)), .carried(1, 7, 12)],
        [TestItem(kind: .credit, bytes: [])],
    ]

    private static func written() -> [UInt8] {
        let bench = JournalBench(shard: 63, life: 2, nextSequence: 0xffff_fffe)
        bench.supply()
        for (index, items) in transactions.enumerated() {
            if index == 2 { bench.journal.noteSynced(through: 0x1_0000_0001) }
            _ = bench.write(items)
        }
        return Array(bench.regions[0])
    }

    private static func lines(_ bytes: [UInt8]) -> String {
        let used = bytes.lastIndex { $0 != 0 }.map { ($0 / 32 + 1) * 32 } ?? 0
        return stride(from: 0, to: used, by: 32).map { start in
            bytes[start..<start + 32].map { String(format: "%02x", $0) }.joined() + "\n"
        }.joined()
    }

    @Test func theRegionIsWrittenByteForByte() throws {
        let text = Self.lines(Self.written())
        if ProcessInfo.processInfo.environment["TOLLGATE_WRITE_VECTORS"] != nil {
            try text.write(to: Self.file, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: Self.file, encoding: .utf8) == text)
    }

    @Test func theRegionIsReadItemForItem() throws {
        let digits = try String(contentsOf: Self.file, encoding: .utf8).filter { !$0.isWhitespace }
        var bytes = stride(from: 0, to: digits.count, by: 2).compactMap { at in
            UInt8(digits.dropFirst(at).prefix(2), radix: 16)
        }
        try #require(bytes.count == digits.count / 2 && bytes.count % 32 == 0)
        bytes += [UInt8](repeating: 0, count: 16_384 - bytes.count)
        let text = try RegionText(bytes)
        let mark = TestItem(
            kind: .mark,
            bytes: TestItem.little(UInt64(0x1_0000_0001))
                + TestItem.little(Int64(1_800_000_000_123)) + [UInt8](repeating: 0, count: 6))
        var expected = Self.transactions
        expected.insert([mark], at: 2)
        #expect(text.transactions.map(\.items) == expected)
        #expect(text.transactions.first?.sequence == 0xffff_fffe)
        #expect(text.stop?.why == .end && text.isZeroBehind)
        let last = try #require(expected.last?.first)
        #expect(text.transactions.last?.items == [last])
    }
}
