import Glibc
import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

/// A disk that fails: nothing that was allowed is lost, nothing is allowed that cannot be kept, and
/// what fails for a while heals by itself (RELIABILITY D6, D7).
@Suite struct LedgerFaultTests {
    /// A life's work, with every part of the upkeep.
    private func work(
        _ world: LedgerWorld, _ random: inout SeededRandom, _ books: inout LedgerBooks
    ) -> (outcomes: [FlushOutcome], refusal: Reason) {
        var outcomes: [FlushOutcome] = []
        var refusal = Reason.none
        for round in 0..<6 {
            let reason = world.charge(150, &random, &books, organizations: 3)
            if reason != .none { refusal = reason }
            do { try world.ledger.tend() } catch {}
            outcomes.append(world.ledger.flush(now: world.now))
            if round % 3 == 1 {
                do { _ = try world.ledger.snapshot(now: world.now) } catch {}
            }
            do { _ = try world.ledger.archive() } catch {}
            world.advance(milliseconds: 1_100)
        }
        return (outcomes, refusal)
    }

    @Test(arguments: [ENOSPC, EIO, EROFS])
    func nothingIsLostWhenTheNthCallFails(_ errno: Int32) throws {
        var random = SeededRandom.printed("LedgerFaultTests \(errno)")
        for call in 1...50 {
            // Both at a larger scale.
            for isForEver in testScale > 1 ? [false, true] : [(call + Int(errno)) % 2 == 0] {
                let disk = MemoryDisk()
                let world = try LedgerWorld(disk) { $0.segmentBytes = 64 * 1024 }
                var books = LedgerBooks()
                world.charge(100, &random, &books, organizations: 3)
                disk.fault = isForEver ? .from(call, errno) : .once(call, errno)
                let (outcomes, refusal) = work(world, &random, &books)
                #expect(refusal == .none || refusal == .ledgerUnavailable)
                #expect(disk.syncedAgain == [])
                // What fails for good with EIO ends the process; nothing else does.
                for case .mustEnd(let failure) in outcomes {
                    #expect(errno == EIO && failure.exitCode == 74)
                }
                // Killed here, or healed: everything that was allowed is there.
                #expect(LedgerBooks(try LedgerWorld(disk.copy()), of: books) == books)
                disk.fault = nil
                for _ in 0..<3 {
                    world.advance(milliseconds: 1_100)
                    _ = world.ledger.flush(now: world.now)
                    try world.ledger.tend()
                }
                #expect(world.ledger.status.state == .serving)
                #expect(world.charge(60, &random, &books, organizations: 3) == .none)
                guard case .synced = world.ledger.flush(now: world.now) else {
                    Issue.record("call \(call) did not heal")
                    continue
                }
                _ = try world.ledger.snapshot(now: world.now)
                #expect(world.ledger.status.failures == [])
                #expect(LedgerBooks(try LedgerWorld(disk.copy()), of: books) == books)
            }
        }
    }

    @Test func whatIsClosedWithoutAJournalIsArchivedOnceInEveryTrouble() throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk) { $0.allowsUnjournaled = true }
        // By day; in a shard that journals nothing between the troubles.
        let shards = ["acme", "umbrella"].map { name in
            DirectoryImage.withBytes(name) {
                TenantHash($0, isPersonal: false, world.engine.hash).hash >> 58
            }
        }
        try #require(shards[0] != shards[1])
        var closed: [UInt64] = []
        for trouble in 1...3 as ClosedRange<UInt64> {
            #expect(world.charge("umbrella", "eve", tokens: 1) == .none)
            disk.fault = .from(1, ENOSPC)
            guard case .refusing = world.ledger.flush(now: world.now) else {
                Issue.record("no trouble")
                return
            }
            #expect(world.ledger.status.state == .unjournaled)
            for day in 0..<2 as Range<UInt64> {
                #expect(world.charge("acme", "ada", tokens: 10 * trouble + day) == .none)
                closed.append(10 * trouble + day)
                world.advance(milliseconds: 86_400_000)
            }
            #expect(world.charge("acme", "ada", tokens: 0) == .none)
            for shard in 0..<Engine.shardCount {
                var cursor = 0
                while cursor >= 0 {
                    #expect(
                        world.engine.closePeriods(
                            shard: shard, slots: 4_096, cursor: &cursor, now: world.now))
                }
            }
            disk.fault = nil
            // A snapshot that was asked for before the trouble ends has them as well.
            _ = try world.ledger.snapshot(now: world.now)
            #expect(world.ledger.status.state == .unjournaled)
            try expectArchived(closed, by: LedgerWorld(disk.copy(), at: world.now))
            world.advance(milliseconds: 1_100)
            guard case .synced = world.ledger.flush(now: world.now) else {
                Issue.record("it does not heal")
                return
            }
            try world.ledger.tend()
            // A process that is killed here, before or after they go to the archive.
            for isArchived in [false, true] {
                if isArchived { _ = try world.ledger.archive() }
                try expectArchived(closed, by: LedgerWorld(disk.copy(), at: world.now))
            }
        }
    }

    /// What ada used, day by day.
    private func expectArchived(_ closed: [UInt64], by world: LedgerWorld) throws {
        _ = try world.ledger.archive()
        let page = try world.ledger.closedPeriods(after: UsageCursor(), count: .max) {
            $0.period.user == "ada" && $0.counter.hasPrefix("q daily")
        }
        #expect(page.periods.map(\.period.used) == closed)
    }

    /// Also where the file that failed has room left for further regions.
    @Test(arguments: [256 * 1024, 4 * 1024 * 1024])
    func aFailedSyncGoesToNewFiles(segmentBytes: Int) throws {
        var random = SeededRandom.printed("LedgerFaultTests")
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk) { $0.segmentBytes = segmentBytes }
        var books = LedgerBooks()
        world.charge(100, &random, &books)
        let before = world.ledger.status.generation
        disk.fault = .once(1, EIO)
        guard case .synced(_, true) = world.ledger.flush(now: world.now) else {
            Issue.record("it was not healed at once")
            return
        }
        #expect(world.ledger.status.generation == before + 1)
        #expect(disk.syncedAgain == [])
        // Nothing of the old files is needed: they may hold anything.
        world.charge(100, &random, &books)
        guard case .synced = world.ledger.flush(now: world.now) else {
            Issue.record("it was not healed for good")
            return
        }
        #expect(disk.syncedAgain == [])
        for (path, inode) in disk.files where path.hasSuffix("000001.tgj") {
            inode.memory.initializeMemory(as: UInt8.self, repeating: 0)
            let header = SegmentHeader(
                number: 1, ledger: 41, life: 1, fileBytes: UInt64(inode.size))
            header.write(to: inode.memory)
        }
        #expect(LedgerBooks(try LedgerWorld(disk.copy()), of: books) == books)
    }

    @Test func withTheirLeaveChargesGoOnWithoutAJournal() throws {
        var random = SeededRandom.printed("LedgerFaultTests")
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk) { $0.allowsUnjournaled = true }
        var books = LedgerBooks()
        world.charge(10, &random, &books)
        disk.fault = .from(1, ENOSPC)
        guard case .refusing = world.ledger.flush(now: world.now) else {
            Issue.record("a full disk was not seen")
            return
        }
        #expect(world.ledger.status.state == .unjournaled)
        #expect(world.charge(50, &random, &books) == .none)
        disk.fault = nil
        world.advance(milliseconds: 1_100)
        _ = world.ledger.flush(now: world.now)
        #expect(world.ledger.status.state == .serving)
        // The snapshot that healed it has what no journal has.
        #expect(LedgerBooks(try LedgerWorld(disk.copy()), of: books) == books)
    }

    @Test func theSnapshotThatEndsTroubleLeavesAnotherItsTurn() throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        #expect(world.charge("acme", "ada", tokens: 1) == .none)
        let begun = try #require(world.ledger.beginSnapshot(now: world.now))
        try begun.step()
        disk.fault = .once(1, EIO)
        guard case .synced(_, true) = world.ledger.flush(now: world.now) else {
            Issue.record("it was not healed at once")
            return
        }
        #expect(world.ledger.beginSnapshot(now: world.now) == nil)
        do { while try begun.step() {} } catch {}
        #expect(world.ledger.beginSnapshot(now: world.now) != nil)
    }

    @Test func aFailedStartChangesNothing() throws {
        var random = SeededRandom.printed("LedgerFaultTests")
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        var books = LedgerBooks()
        world.charge(100, &random, &books)
        _ = try world.ledger.snapshot(now: world.now)
        world.charge(100, &random, &books)
        var call = 1
        while true {
            let next = disk.copy()
            next.fault = .from(call, EIO)
            do {
                let started = try LedgerWorld(next)
                #expect(LedgerBooks(started, of: books) == books)
                if next.failures == 0 { break }
            } catch let failure as LedgerFailure {
                #expect(failure.kind == .disk)
            }
            next.fault = nil
            let again = try LedgerWorld(next.copy())
            #expect(LedgerBooks(again, of: books) == books)
            call += 1
        }
        #expect(call > 60)
    }

    /// What the disk cannot read now may be whole: no older generation takes its place.
    @Test func aGenerationThatCannotBeReadNowIsNotPassedOver() throws {
        var random = SeededRandom.printed("LedgerFaultTests")
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        var books = LedgerBooks()
        world.charge(100, &random, &books)
        _ = try world.ledger.snapshot(now: world.now)
        world.charge(100, &random, &books)
        var refused = 0
        for call in 1... {
            let next = disk.copy()
            next.fault = .once(call, EIO)
            do {
                let started = try LedgerWorld(next)
                #expect(started.report.passedOver.isEmpty)
                if next.failures == 0 { break }
            } catch let failure as LedgerFailure {
                #expect(failure.kind == .disk)
                refused += 1
            }
        }
        #expect(refused > 20)
    }
}
