import TestSupport
import Testing
import TollgateCore
import TollgateWire

@testable import TollgateStorage

/// Starts that serve before they have written a generation of their own.
@Suite struct LedgerResumeTests {
    private static var options: LedgerOptions {
        var options = LedgerOptions(path: LedgerWorld.path, bootID: (7, 8))
        options.threads = 1
        return options
    }

    private static func failures(_ disk: MemoryDisk) throws -> [LedgerFailure] {
        try LedgerInspection(options, disk.copy()).examine(now: LedgerWorld.start).failures
    }

    private func snapshots(_ disk: MemoryDisk) throws -> [UInt64] {
        LedgerFiles.numbers(try disk.list("/ledger"), .snapshot)
    }

    /// Killed before any of them has written a generation: two go on, the third writes one first.
    @Test func aKilledLifeIsGoneOnBehindButNotForEver() throws {
        var random = SeededRandom.printed("LedgerResumeTests")
        let disk = MemoryDisk()
        var books = LedgerBooks()
        for life in 1...9 as ClosedRange<UInt64> {
            let world = try LedgerWorld(disk, resuming: true)
            #expect(world.report.life == life)
            #expect(LedgerBooks(world, of: books) == books)
            let isWritten = life % 3 == 1
            #expect((world.report.written > 0) == isWritten)
            #expect(world.ledger.wantsSnapshot == !isWritten)
            #expect(try snapshots(disk).last == (life + 2) / 3)
            world.charge(60, &random, &books)
            _ = world.ledger.flush(now: world.now)
            // What no sync covers.
            world.charge(60, &random, &books)
            #expect(try Self.failures(disk) == [])
        }
    }

    @Test func aGenerationOfItsOwnIsWhatTheNextGoesOnBehind() throws {
        var random = SeededRandom.printed("LedgerResumeTests")
        let disk = MemoryDisk()
        var books = LedgerBooks()
        for life in 1...6 as ClosedRange<UInt64> {
            let world = try LedgerWorld(disk, resuming: true)
            #expect((world.report.written > 0) == (life == 1))
            #expect(LedgerBooks(world, of: books) == books)
            world.charge(60, &random, &books)
            if life > 1 { #expect(try world.ledger.snapshot(now: world.now) == life) }
            #expect(!world.ledger.wantsSnapshot)
            world.charge(60, &random, &books)
        }
    }

    /// What was damaged since is passed over, and the journals of both lives hold all of it.
    @Test func anOlderGenerationLeadsThroughBothLives() throws {
        var random = SeededRandom.printed("LedgerResumeTests")
        let disk = MemoryDisk()
        var books = LedgerBooks()
        try LedgerWorld(disk).charge(60, &random, &books)
        let world = try LedgerWorld(disk, resuming: true)
        world.charge(60, &random, &books)
        #expect(try world.ledger.snapshot(now: world.now) == 2)
        world.charge(60, &random, &books)
        let left = disk.copy()
        let file = try #require(left.files["/ledger/snapshot-000000000002.tgs"])
        file.memory[file.size / 2] ^= 1
        let again = try LedgerWorld(left, resuming: true)
        #expect(again.report.read == 1 && again.report.passedOver.count == 1)
        // It stands in for a damaged one: all is written anew first.
        #expect(again.report.written == 3)
        #expect(LedgerBooks(again, of: books) == books)
    }

    /// The start is ended at each of its calls, and then another one comes.
    @Test func aStartThatIsCutShortLosesNothing() throws {
        var random = SeededRandom.printed("LedgerResumeTests")
        let first = MemoryDisk()
        var books = LedgerBooks()
        let world = try LedgerWorld(first)
        world.charge(60, &random, &books)
        _ = world.ledger.flush(now: world.now)
        world.charge(60, &random, &books)
        var call = 1
        while true {
            let disk = first.copy()
            disk.fault = .from(call, 5)
            do { _ = try LedgerWorld(disk, resuming: true) } catch is LedgerFailure {}
            let left = disk.copy()
            #expect(try Self.failures(left) == [])
            for isResuming in [true, false] {
                let next = try LedgerWorld(left.copy(), resuming: isResuming)
                #expect(LedgerBooks(next, of: books) == books)
            }
            if disk.failures == 0 { break }
            call += 1
        }
        #expect(call > 10)
    }

    /// What a sync covered stays where it is; all that came later is in the new life's first file.
    @Test func whatNoSyncCoveredIsWrittenAnew() throws {
        var random = SeededRandom.printed("LedgerResumeTests")
        let disk = MemoryDisk()
        var books = LedgerBooks()
        let world = try LedgerWorld(disk)
        world.charge(60, &random, &books)
        _ = world.ledger.flush(now: world.now)
        let synced = (0..<Engine.shardCount).map { world.engine.journalPosition(shard: $0).next }
        world.charge(60, &random, &books)
        let ends = (0..<Engine.shardCount).map { world.engine.journalPosition(shard: $0).next }
        _ = try LedgerWorld(disk.copy(), resuming: true)
        let left = disk.copy()
        _ = try LedgerWorld(left, resuming: true)
        let numbers = LedgerFiles.numbers(try left.list("/ledger"), .journal)
        let old = LedgerFiles.numbers(try disk.list("/ledger"), .journal)
        let number = try #require(numbers.first { !old.contains($0) })
        let scan = try SegmentScan(Self.options, number: number, ledger: nil, left)
        #expect(scan.header.life == 2 && scan.table.through == ends && scan.strays.isEmpty)
        let expected = (0..<Engine.shardCount).filter { synced[$0] < ends[$0] }
        #expect(scan.regions.map { Int($0.header.shard) } == expected)
        #expect(scan.regions.map(\.header.firstSequence) == expected.map { synced[$0] })
    }

    /// Who is charged while a snapshot is written, and before it comes to his shard, has his mark
    /// of billing time behind it: the snapshot itself must know how late it was.
    @Test(arguments: [false, true])
    func billingTimeDoesNotRunBackBehindASnapshot(_ isResuming: Bool) throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        let writer = try #require(world.ledger.beginSnapshot(now: world.now))
        try writer.step()
        world.advance(milliseconds: 40 * 60_000)
        #expect(world.charge("acme", "ada", tokens: 5) == .none)
        let reached = world.engine.billingTime(world.now)
        while try writer.step() {}
        // The wall clock is set back meanwhile.
        let next = try LedgerWorld(disk.copy(), resuming: isResuming)
        #expect(next.report.read == 2 && (next.report.written == 0) == isResuming)
        #expect(next.engine.billingTime(LedgerWorld.start) >= reached)
        #expect(next.usage("acme", "ada") == ["daily": 5, "monthly": 5])
    }

    /// Of what a life wrote before anything of it was synced, the power left a later region and
    /// not the first: it is a torn end, and the life before is gone on behind. What was synced and
    /// is not there is damage.
    @Test(arguments: [false, true])
    func aFirstRegionThatNeverReachedTheDiskIsATornEnd(isSynced: Bool) throws {
        var random = SeededRandom.printed("LedgerResumeTests")
        let killed = MemoryDisk()
        var books = LedgerBooks()
        let first = try LedgerWorld(killed)
        first.charge(60, &random, &books, organizations: 1)
        _ = first.ledger.flush(now: first.now)
        let disk = killed.copy()
        let before = Set(disk.files.keys)
        let world = try LedgerWorld(disk, resuming: true)
        try #require(world.report.life == 2 && world.report.written == 0)
        var all = books
        for _ in 0..<6 {
            world.charge(100, &random, &all, organizations: 1)
            try world.ledger.tend()
        }
        if isSynced { _ = world.ledger.flush(now: world.now) }
        let shard = try #require(
            (0..<Engine.shardCount).first { world.engine.journalPosition(shard: $0).next > 1_000 })
        let left = disk.copy()
        let made = left.files.filter { $0.key.hasSuffix(".tgj") && !before.contains($0.key) }
        let regions = made.values.flatMap { Self.regions(of: shard, in: $0) }
            .sorted { $0.header.firstSequence < $1.header.firstSequence }
        try #require(regions.count > 1)
        regions[0].bytes.zero()
        for isResuming in [true, false] {
            if isSynced {
                let failure = #expect(throws: LedgerFailure.self) {
                    _ = try LedgerWorld(left.copy(), resuming: isResuming)
                }
                #expect(failure?.kind == .damaged)
            } else {
                let next = try LedgerWorld(left.copy(), resuming: isResuming)
                #expect(LedgerBooks(next, of: all) == books)
                #expect(next.engine.journalPosition(shard: shard).next < 1_000)
            }
        }
    }

    /// A shard's regions in a segment.
    private static func regions(
        of shard: Int, in file: MemoryDisk.Inode
    ) -> [(header: JournalRegionHeader, bytes: UnsafeMutableRawBufferPointer)] {
        stride(from: SegmentHeader.bytes, to: file.size, by: SegmentHeader.alignment).compactMap {
            let rest = UnsafeMutableRawBufferPointer(rebasing: file.memory[$0..<file.size])
            guard let header = try? JournalRegionHeader(UnsafeRawBufferPointer(rest)),
                Int(header.shard) == shard
            else { return nil }
            let bytes = min(Int(header.bytes), rest.count)
            return (header, UnsafeMutableRawBufferPointer(rebasing: rest[..<bytes]))
        }
    }
}
