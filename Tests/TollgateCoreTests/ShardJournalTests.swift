import CAllocationCount
import Testing

@testable import TollgateCore

@Suite struct ShardJournalTests {
    static let charge = [TestItem.quota(1, 2, 3, 4), .quota(5, 6, 7, 8)]

    @Test func whatWasCommittedIsRead() throws {
        let bench = JournalBench(nextSequence: 1 << 33)
        #expect(bench.journal.wantsRegion)
        #expect(bench.supply())
        #expect(!bench.journal.wantsRegion)
        #expect(bench.write(Self.charge))
        #expect(bench.journal.wantsRegion, "the spare region is in use now")
        #expect(bench.write([TestItem(kind: .forget, bytes: [0] + Array("acme".utf8))]))
        let header = try JournalRegionHeader(UnsafeRawBufferPointer(bench.regions[0]))
        #expect(
            header
                == JournalRegionHeader(
                    shard: 5, bytes: 16_384, firstSequence: 1 << 33, ledger: JournalBench.ledger,
                    life: 3, file: 1))
        let text = try RegionText(bench.regions[0])
        #expect(text.transactions.map(\.items) == [
            Self.charge, [TestItem(kind: .forget, bytes: [0, 97, 99, 109, 101])],
        ])
        #expect(text.transactions.map(\.sequence) == [1 << 33, 1 << 33 + 2])
        #expect(
            text.stop
                == JournalStop(
                    why: .end, offset: 160, wholeEnd: 160, nextSequence: 1 << 33 + 3))
        #expect(text.isZeroBehind)
        #expect(bench.journal.nextSequence == 1 << 33 + 3)
    }

    @Test func aTransactionThatIsNotCommittedDoesNotCount() throws {
        let bench = JournalBench()
        bench.supply()
        #expect(bench.write(Self.charge))
        #expect(bench.makeRoom(3))
        for item in Self.charge { bench.append(item) }
        let text = try RegionText(bench.regions[0])
        #expect(text.transactions.map(\.items) == [Self.charge])
        // Its first slot is whole, its second has no checksum yet.
        #expect(
            text.stop == JournalStop(why: .badChecksum, offset: 160, wholeEnd: 128, nextSequence: 3)
        )
        bench.journal.commit()
        #expect(try RegionText(bench.regions[0]).transactions.count == 2)
    }

    /// An item in two parts is the same bytes as in one, whatever its length.
    @Test(arguments: [4, 5, 25, 26, 27, 48, 350, 2_000])
    func anItemWithAHeadIsTheItem(count: Int) throws {
        let rest = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ 1) }
        let (first, second): (UInt64, UInt64) = (0x0102_0304_0506_0708, 0x1112_1314_1516_1718)
        let whole = TestItem(
            kind: .reservation, bytes: TestItem.little(first) + TestItem.little(second) + rest)
        let (one, two) = (JournalBench(), JournalBench())
        one.supply()
        two.supply()
        for _ in 0..<3 {
            #expect(one.write([whole]))
            #expect(two.makeRoom(whole.slots))
            rest.withUnsafeBytes { two.journal.append(.reservation, head: (first, second), $0) }
            two.journal.commit()
        }
        #expect(Array(one.regions[0]) == Array(two.regions[0]))
        #expect(one.journal.nextSequence == two.journal.nextSequence)
        let read = try RegionText(two.regions[0]).transactions
        #expect(read.map(\.items) == [[whole], [whole], [whole]])
    }

    @Test func anEmptyTransactionLeavesNothing() throws {
        let bench = JournalBench()
        bench.supply()
        #expect(bench.makeRoom(2))
        bench.journal.commit()
        bench.journal.commit()
        let text = try RegionText(bench.regions[0])
        #expect(text.transactions.isEmpty && text.stop?.why == .end && text.isZeroBehind)
    }

    @Test func withoutARegionThereIsNoRoomAndNothingChanges() throws {
        let bench = JournalBench()
        #expect(!bench.makeRoom(1))
        #expect(!bench.supply(bytes: ShardJournal.regionBytesLeast - 32), "too small")
        #expect(bench.supply())
        #expect(!bench.supply(), "there is one already")
        #expect(bench.write(Self.charge))
        var written = 2
        while bench.write(Self.charge) { written += 2 }
        #expect(written == 510, "all slots of a region of 16 KiB")
        let before = Array(bench.regions[1])
        for slots in 1...3 { #expect(!bench.makeRoom(slots)) }
        #expect(Array(bench.regions[1]) == before)
        #expect(bench.journal.nextSequence == 511)
        #expect(try RegionText(bench.regions[1]).stop?.why == .full)
    }

    @Test func aTransactionStandsInOneRegionAndNumbersGoOn() throws {
        let bench = JournalBench()
        bench.supply()
        for _ in 0..<254 { #expect(bench.write(Self.charge)) }
        bench.supply()
        // 2 slots are left in the first region.
        #expect(bench.makeRoom(3))
        for item in Self.charge + [.carried(1, 2, 3)] { bench.append(item) }
        bench.journal.commit()
        let (first, second) = try (RegionText(bench.regions[0]), RegionText(bench.regions[1]))
        #expect(first.stop?.why == .end && first.isZeroBehind)
        #expect(first.stop?.nextSequence == 509)
        #expect(second.transactions.map(\.sequence) == [509])
        #expect(second.transactions.map(\.items.count) == [3])
        #expect(bench.journal.current?.file == 2)
        #expect(bench.journal.spare == nil)
    }

    @Test func theLargestTransactionFitsTheSmallestRegionWithAMark() throws {
        let bench = JournalBench()
        bench.supply()
        bench.journal.noteSynced(through: 7)
        let slots = ShardJournal.transactionSlotsMax
        #expect(bench.write((0..<slots).map { .carried(0, 0, UInt64($0)) }))
        let text = try RegionText(bench.regions[0])
        #expect(text.transactions.map(\.items.count) == [1, slots])
        #expect(text.stop?.why == .full)
    }

    /// Once; where there is none that large, what there is stays.
    @Test func aTransactionThatDoesNotFitAsksForALargerRegion() throws {
        let bench = JournalBench()
        bench.supply()
        let items = (0..<1_000).map { TestItem.carried(0, 0, UInt64($0)) }
        #expect(bench.write(Self.charge))
        bench.supply()
        #expect(!bench.write(items) && bench.journal.wantsRegion)
        #expect(bench.journal.regionBytesWanted == 2 * ShardJournal.regionBytesLeast)
        bench.supply()
        #expect(!bench.write(items) && !bench.journal.wantsRegion)
        #expect(bench.write((0..<500).map { .carried(0, 0, UInt64($0)) }))
        #expect(bench.write((0..<20).map { .carried(0, 0, UInt64($0)) }))
        bench.supply(bytes: bench.journal.regionBytesWanted)
        bench.boot.nanoseconds += 3_600_000_000_000
        #expect(bench.write(items))
        #expect(bench.journal.regionBytesWanted == 2 * ShardJournal.regionBytesLeast)
        let counts = try [0, 2, 3].map {
            try RegionText(bench.regions[$0]).transactions.map(\.items.count)
        }
        #expect(counts == [[2, 500], [20], [1_000]])
    }

    @Test func aMarkComesOnceBeforeTheNextTransaction() throws {
        let bench = JournalBench()
        bench.supply()
        #expect(bench.write(Self.charge))
        bench.journal.noteSynced(through: 2)
        bench.journal.noteSynced(through: 1)
        #expect(bench.write(Self.charge))
        bench.journal.noteSynced(through: 2)
        #expect(bench.write(Self.charge))
        let text = try RegionText(bench.regions[0])
        let mark = TestItem(
            kind: .mark,
            bytes: TestItem.little(UInt64(2)) + TestItem.little(Int64(1_800_000_000_123))
                + [UInt8](repeating: 0, count: 6))
        #expect(
            text.transactions.map(\.items) == [Self.charge, [mark], Self.charge, Self.charge])
        #expect(bench.journal.syncedThrough == 2)
    }

    @Test func regionsThatGoFastAreToBeLargerAndThoseThatLastSmaller() {
        let bench = JournalBench()
        func use(_ nanoseconds: UInt64) -> Int {
            bench.supply()
            #expect(bench.write(Self.charge))
            bench.boot.nanoseconds += nanoseconds
            while bench.write(Self.charge) {}
            bench.supply()
            #expect(bench.write(Self.charge))
            while bench.write(Self.charge) {}
            return bench.journal.regionBytesWanted
        }
        #expect(bench.journal.regionBytesWanted == 16_384)
        #expect(use(100_000_001) == 16_384)
        bench.boot.nanoseconds += 1 << 34
        #expect(use(100_000_000) == 32_768)
        for _ in 0..<6 { _ = use(0) }
        #expect(bench.journal.regionBytesWanted == 1_048_576)
        bench.boot.nanoseconds += 60_000_000_000
        bench.supply()
        #expect(bench.write(Self.charge))
        #expect(bench.journal.regionBytesWanted == 524_288)
    }

    @Test func droppedRegionsAreWrittenNoMore() {
        let bench = JournalBench()
        bench.supply()
        #expect(bench.write(Self.charge))
        bench.supply()
        let before = bench.regions.map { Array($0) }
        bench.journal.dropRegions()
        #expect(bench.journal.current == nil && bench.journal.wantsRegion)
        #expect(!bench.write(Self.charge))
        bench.supply()
        #expect(bench.write(Self.charge))
        #expect(bench.regions[..<2].map { Array($0) } == before)
        #expect(bench.journal.current?.file == 3)
    }

    @Test func periodsKeepWhatFitsInTheirBytes() {
        for (end, day) in [(0, 0), (1, 1), (1 << 40 - 2, 1 << 24 - 1), (Int64.max, 0)] {
            let bytes = PeriodBytes(endSeconds: end, startDay: UInt32(day))
            #expect(bytes.endSeconds == end && bytes.startDay == UInt32(day))
        }
        let beyond = PeriodBytes(endSeconds: -1, startDay: .max)
        #expect(beyond.endSeconds == 0 && beyond.startDay == 1 << 24 - 1)
    }

    #if !DEBUG
    @Test func nothingOfItAllocates() throws {
        try #require(tg_allocations_are_counted() == 1)
        let bench = JournalBench()
        bench.supply(bytes: 1 << 20)
        let image = [UInt8](repeating: 7, count: 300)
        let before = tg_allocations()
        image.withUnsafeBytes { image in
            for round in 0..<500 {
                bench.journal.noteSynced(through: UInt64(round))
                _ = bench.makeRoom(20)
                bench.journal.appendQuota(
                    counter: 1, row: 2, used: 3,
                    period: PeriodBytes(endSeconds: 1_800_000_000, startDay: 20_000))
                bench.journal.append(.reservation, image)
                bench.journal.commit()
            }
        }
        #expect(tg_allocations() == before)
        #expect(bench.journal.nextSequence > 7_500)
    }
    #endif
}
