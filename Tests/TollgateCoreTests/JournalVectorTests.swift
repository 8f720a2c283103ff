import Foundation
import Testing

@testable import TollgateCore

/// Tests/Vectors/journal-v1.hex and -v2.hex: one region of a version each, a line for each 32
/// bytes, as it must be read for as long as a version is, and as version 2 must be written.
/// TOLLGATE_WRITE_VECTORS=1 writes it.
@Suite struct JournalVectorTests {
    private static func file(_ version: Int) -> URL {
        URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Vectors/journal-v\(version).hex")
    }

    private static let first: [[TestItem]] = [
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

    /// What version 2 has beside.
    private static let second: [[TestItem]] = [
        [TestItem(kind: .hold, bytes: (0..<64).map { UInt8($0) })],
        [
            .quota(1, 7, 9, PeriodBytes(endSeconds: 1_803_859_200, startDay: 20_848).word),
            TestItem(kind: .settled, bytes: (0..<21).map { UInt8(50 + $0) }),
        ],
    ]

    private static func written() -> [UInt8] {
        let bench = JournalBench(shard: 63, life: 2, nextSequence: 0xffff_fffe)
        bench.supply()
        for (index, items) in (first + second).enumerated() {
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

    private static func read(_ version: Int) throws -> [UInt8] {
        let digits = try String(contentsOf: file(version), encoding: .utf8)
            .filter { !$0.isWhitespace }
        let bytes = stride(from: 0, to: digits.count, by: 2).compactMap { at in
            UInt8(digits.dropFirst(at).prefix(2), radix: 16)
        }
        try #require(bytes.count == digits.count / 2 && bytes.count % 32 == 0)
        return bytes + [UInt8](repeating: 0, count: 16_384 - bytes.count)
    }

    @Test func theRegionIsWrittenByteForByte() throws {
        let text = Self.lines(Self.written())
        let file = Self.file(2)
        if ProcessInfo.processInfo.environment["TOLLGATE_WRITE_VECTORS"] != nil {
            try text.write(to: file, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: file, encoding: .utf8) == text)
    }

    @Test(arguments: [1, 2])
    func theRegionIsReadItemForItem(version: Int) throws {
        let text = try RegionText(try Self.read(version))
        let mark = TestItem(
            kind: .mark,
            bytes: TestItem.little(UInt64(0x1_0000_0001))
                + TestItem.little(Int64(1_800_000_000_123)) + [UInt8](repeating: 0, count: 6))
        var expected = Self.first + (version == 1 ? [] : Self.second)
        expected.insert([mark], at: 2)
        #expect(text.transactions.map(\.items) == expected)
        #expect(text.transactions.first?.sequence == 0xffff_fffe)
        #expect(text.stop?.why == .end && text.isZeroBehind)
    }

    /// A region of `version` with the slots of the other's.
    private static func region(version: UInt16) throws -> [UInt8] {
        JournalBench.sealed(try read(2), version: version)
    }

    /// Kinds that came later are none in a region of the version before, and end what is read.
    @Test func aVersionHasNoKindsOfALaterOne() throws {
        #expect(try Self.region(version: 2) == Self.read(2))
        let text = try RegionText(try Self.region(version: 1))
        #expect(text.transactions.count == Self.first.count + 1)
        #expect(text.stop?.why == .malformed)
    }

    @Test func aVersionThatIsNotKnownIsRefusedByItsNumber() throws {
        for version in [UInt16(0), 3, .max] {
            let bytes = try Self.region(version: version)
            #expect(throws: JournalHeaderFault.unknownVersion(version)) {
                _ = try RegionText(bytes)
            }
        }
    }
}
