import TestSupport

@testable import TollgateCore

/// Regions of zeroed memory, and a journal that writes into them.
final class JournalBench {
    static let ledger: UInt64 = 0x0123_4567_89ab_cdef
    private(set) var regions: [UnsafeMutableRawBufferPointer] = []
    var journal = ShardJournal()
    var boot = BootTime(nanoseconds: 1_000_000_000)
    var billing = WallTime(milliseconds: 1_800_000_000_123)

    init(shard: Int = 5, life: UInt64 = 3, nextSequence: UInt64 = 1) {
        journal.begin(
            shard: shard, ledger: Self.ledger, life: life, nextSequence: nextSequence,
            billing: billing)
    }

    deinit { for region in regions { region.deallocate() } }

    /// Supplies one more region; files are numbered from 1.
    @discardableResult
    func supply(bytes: Int = ShardJournal.regionBytesLeast) -> Bool {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 32)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        regions.append(memory)
        guard let base = memory.baseAddress else { return false }
        return journal.supply(
            JournalRegion(base: base, bytes: bytes, file: UInt64(regions.count)))
    }

    /// A region with the slots of another, of `version`.
    static func sealed(_ region: [UInt8], version: UInt16) -> [UInt8] {
        var bytes = region
        bytes.withUnsafeMutableBytes { region in
            guard let base = region.baseAddress else { return }
            region.storeLittle(version, at: 8)
            var chain = JournalFormat.checksum(0, base, 60)
            region.storeLittle(chain, at: 60)
            var at = JournalFormat.headerBytes
            while at + JournalFormat.slotBytes <= region.count, region[at + 8] != 0 {
                chain = JournalFormat.checksum(chain, base + at + 4, 28)
                region.storeLittle(chain, at: at)
                at += JournalFormat.slotBytes
            }
        }
        return bytes
    }

    func makeRoom(_ slots: Int) -> Bool {
        journal.makeRoom(slots: slots, boot: boot, billing: billing)
    }

    func append(_ item: TestItem) {
        if item.kind.isLong {
            item.bytes.withUnsafeBytes { journal.append(item.kind, $0) }
        } else {
            let word = { (at: Int) in
                item.bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at, as: UInt64.self) }
            }
            let counter = UInt16(truncatingIfNeeded: word(0))
            let row = UInt32(truncatingIfNeeded: word(2))
            if item.kind == .quota {
                journal.appendQuota(
                    counter: counter, row: row, used: word(6), period: PeriodBytes(word: word(14)))
            } else {
                journal.appendCarried(counter: counter, row: row, units: word(6))
            }
        }
    }

    /// One transaction of these items; false when there is no room.
    func write(_ items: [TestItem]) -> Bool {
        guard makeRoom(items.reduce(0) { $0 + $1.slots }) else { return false }
        for item in items { append(item) }
        journal.commit()
        return true
    }
}

/// An item as a test compares it.
struct TestItem: Equatable {
    var kind: JournalKind
    var bytes: [UInt8]

    var slots: Int { kind.isLong ? JournalFormat.slots(itemBytes: bytes.count) : 1 }

    static func quota(_ counter: UInt16, _ row: UInt32, _ used: UInt64, _ word: UInt64) -> Self {
        TestItem(
            kind: .quota,
            bytes: Self.little(counter) + Self.little(row) + Self.little(used) + Self.little(word))
    }

    static func carried(_ counter: UInt16, _ row: UInt32, _ units: UInt64) -> Self {
        var item = quota(counter, row, units, 0)
        item.kind = .carried
        return item
    }

    static func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }

    static func random(_ random: inout SeededRandom) -> TestItem {
        let kinds = JournalKind.allCases.filter { $0 != .mark }
        guard let kind = kinds.randomElement(using: &random) else { preconditionFailure() }
        switch kind {
        case .quota:
            return quota(
                .random(in: 0...UInt16.max, using: &random),
                .random(in: 0...UInt32.max, using: &random),
                .random(in: 0...UInt64.max, using: &random),
                .random(in: 0...UInt64.max, using: &random))
        case .carried:
            return carried(
                .random(in: 0...UInt16.max, using: &random),
                .random(in: 0...UInt32.max, using: &random),
                .random(in: 0...UInt64.max, using: &random))
        default:
            let edges = [0, 1, 19, 20, 21, 41, 42, 43, 64, 300]
            let count =
                edges.randomElement(using: &random) ?? 0
                + (Bool.random(using: &random) ? Int.random(in: 0...500, using: &random) : 0)
            return TestItem(
                kind: kind,
                bytes: (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })
        }
    }
}

/// A transaction as it was read.
struct TestTransaction: Equatable {
    var sequence: UInt64
    var items: [TestItem]
}

/// Everything that a region says.
struct RegionText: Equatable {
    var transactions: [TestTransaction] = []
    var stop: JournalStop?
    var isZeroBehind = false
    var syncedBehind: UInt64?

    init(_ region: UnsafeRawBufferPointer) throws {
        var reader = try JournalReader(region)
        var open: TestTransaction?
        while let item = reader.next() {
            let text = TestItem(kind: item.kind, bytes: Array(item.payload))
            var transaction = open ?? TestTransaction(sequence: item.sequence, items: [])
            transaction.items.append(text)
            open = transaction
            if item.endsTransaction {
                transactions.append(transaction)
                open = nil
            }
        }
        precondition(open == nil, "a part of a transaction")
        stop = reader.stop
        if let stop {
            isZeroBehind = reader.isZero(behind: stop)
            syncedBehind = reader.syncedThrough(behind: stop)
        }
    }

    init(_ region: UnsafeMutableRawBufferPointer) throws {
        try self.init(UnsafeRawBufferPointer(region))
    }

    init(_ bytes: [UInt8]) throws {
        self = try bytes.withUnsafeBytes { try RegionText($0) }
    }
}
