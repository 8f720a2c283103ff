import TestSupport
import Testing
import TollgateCore
import TollgateWire

@testable import TollgateStorage

@Suite struct LedgerTests {
    @Test func aNewLedgerServesAndIsMarkedLast() throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        #expect(world.report.isNew && world.report.life == 1 && world.report.written == 1)
        #expect(world.charge("acme", "ada", tokens: 5) == .none)
        #expect(world.usage("acme", "ada") == ["daily": 5, "monthly": 5])
        #expect(disk.files["/ledger/ledger.id"] != nil)
        #expect(disk.files["/ledger/ledger.making"] == nil)
    }

    @Test func whatWasChargedOutlivesTheProcess() throws {
        var random = SeededRandom.printed("LedgerTests")
        let disk = MemoryDisk()
        var books = LedgerBooks()
        for life in 1...5 as ClosedRange<UInt64> {
            let world = try LedgerWorld(disk)
            #expect(world.report.life == life)
            #expect(LedgerBooks(world, of: books) == books)
            world.charge(200, &random, &books)
            if random.next() % 2 == 0 { _ = try world.ledger.snapshot(now: world.now) }
            world.charge(200, &random, &books)
            switch random.next() % 3 {
            case 0: try world.ledger.close(now: world.now)
            case 1: _ = world.ledger.flush(now: world.now)
            default: break
            }
        }
    }

    /// Regions run out and files are made while charges go on; snapshots drop what is old.
    @Test func aLongLifeNeedsFewFiles() throws {
        var random = SeededRandom.printed("LedgerTests")
        let disk = MemoryDisk()
        var books = LedgerBooks()
        let world = try LedgerWorld(disk) { $0.segmentBytes = 64 * 1024 }
        for _ in 0..<12 {
            for _ in 0..<20 {
                world.charge(100, &random, &books, organizations: 40)
                try world.ledger.tend()
                guard case .synced(_, true) = world.ledger.flush(now: world.now) else {
                    Issue.record("nothing was synced")
                    return
                }
            }
            _ = try world.ledger.snapshot(now: world.now)
        }
        let status = world.ledger.status
        #expect(status.failures == [] && status.state == .serving && status.generation == 13)
        let names = try disk.list("/ledger")
        #expect(LedgerFiles.numbers(names, .snapshot) == [12, 13])
        #expect(LedgerFiles.numbers(names, .journal).count < 120)
        let next = try LedgerWorld(disk.copy())
        #expect(LedgerBooks(next, of: books) == books)
    }

    /// A daemon that is killed again and again, before it writes another snapshot than that of its
    /// start: `charges` of a life, none also right after that snapshot.
    @Test(arguments: [0, 1, 40])
    func aLoopOfCrashesPilesNothingUp(charges: Int) throws {
        var random = SeededRandom.printed("LedgerTests")
        var disk = MemoryDisk()
        var books = LedgerBooks()
        var most = 0
        for life in 1...30 {
            let world = try LedgerWorld(disk) { $0.segmentBytes = 64 * 1024 }
            #expect(LedgerBooks(world, of: books) == books)
            for _ in 0..<charges {
                world.charge(20, &random, &books)
                try world.ledger.tend()
            }
            #expect(world.ledger.status.failures == [])
            let count = LedgerFiles.numbers(try disk.list("/ledger"), .journal).count
            if life == 4 { most = count }
            // What fell due may take some more files in one life than in another.
            if life > 4 { #expect(count <= 2 * most, "\(count) files after \(life) lives") }
            disk = disk.copy()
        }
        // What is left is what both generations need.
        let newest = try #require(LedgerFiles.numbers(try disk.list("/ledger"), .snapshot).last)
        disk.files["/ledger/" + LedgerFiles.name(.snapshot, newest)]?.memory[200] ^= 1
        let world = try LedgerWorld(disk) { $0.segmentBytes = 64 * 1024 }
        #expect(world.report.passedOver.count == 1)
        #expect(LedgerBooks(world, of: books) == books)
    }

    /// Killed when the snapshot of a start stands and none of that life's files of the journal.
    @Test func startsThatAreCutShortUseNoNumberTwice() throws {
        var random = SeededRandom.printed("LedgerTests")
        var disk = MemoryDisk()
        var books = LedgerBooks()
        let world = try LedgerWorld(disk)
        world.charge(100, &random, &books)
        var last = LedgerFiles.numbers(try disk.list("/ledger"), .journal).last ?? 0
        for _ in 0..<4 {
            disk = disk.copy()
            let generations = LedgerFiles.numbers(try disk.list("/ledger"), .snapshot)
            // The first file of the journal is the next that is made behind it.
            disk.failsMaking = { $0.contains("/journal-") }
            #expect(throws: LedgerFailure.self) { try LedgerWorld(disk) }
            disk.failsMaking = nil
            let now = LedgerFiles.numbers(try disk.list("/ledger"), .snapshot)
            #expect(now.last == (generations.last ?? 0) + 1)
        }
        disk = disk.copy()
        let again = try LedgerWorld(disk)
        #expect(LedgerBooks(again, of: books) == books)
        // But for the newest of the life before, which stays until then.
        let numbers = LedgerFiles.numbers(try disk.list("/ledger"), .journal)
        #expect(try #require(numbers.first { $0 != last }) > last)
        again.charge(100, &random, &books)
        last = try #require(LedgerFiles.numbers(try disk.list("/ledger"), .journal).last)
        let third = try LedgerWorld(disk.copy())
        #expect(LedgerBooks(third, of: books) == books)
    }

    @Test func oneProcessAtATime() throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        #expect { try LedgerWorld(disk) } throws: { error in
            (error as? LedgerFailure)?.kind == .locked && (error as? LedgerFailure)?.exitCode == 75
        }
        #expect(world.charge("a", "b", tokens: 1) == .none)
    }

    /// Killed, or failed, at each call of the first start, and then started again.
    @Test func aMakingThatDidNotEndBeginsAnew() throws {
        var call = 1
        while true {
            let disk = MemoryDisk()
            disk.fault = .from(call, 5)
            do { _ = try LedgerWorld(disk) } catch is LedgerFailure {}
            if disk.failures == 0 { break }
            disk.fault = nil
            let world = try LedgerWorld(disk.copy())
            #expect(world.charge("acme", "ada", tokens: 5) == .none)
            call += 1
        }
        #expect(call > 40)
    }

    @Test func aLostMarkerIsNoEmptyLedger() throws {
        let disk = MemoryDisk()
        try LedgerWorld(disk).ledger.close(now: LedgerWorld.start)
        disk.files["/ledger/ledger.id"] = nil
        let before = disk.copy()
        #expect { try LedgerWorld(disk) } throws: { error in
            let failure = error as? LedgerFailure
            return failure?.kind == .damaged && failure?.exitCode == 78
                && failure?.description.contains("tollgate ledger repair /ledger") == true
        }
        #expect(try disk.list("/ledger") == before.list("/ledger"))
    }

    /// Puts every quota whose period is over among the closed periods.
    static func closeAll(_ world: LedgerWorld) throws {
        for shard in 0..<Engine.shardCount {
            var cursor = 0
            while cursor >= 0 {
                let hasRoom = world.engine.closePeriods(
                    shard: shard, slots: 64, cursor: &cursor, now: world.now)
                #expect(hasRoom)
                try world.ledger.tend()
            }
        }
    }

    @Test func closedPeriodsGoToTheArchiveOnce() throws {
        let disk = MemoryDisk()
        var world = try LedgerWorld(disk)
        world.charge("acme", "ada", tokens: 5)
        world.charge("acme", "bob", tokens: 7)
        world.advance(milliseconds: 86_400_000)
        world.charge("acme", "ada", tokens: 1)
        try Self.closeAll(world)
        #expect(world.ledger.status.closedWaiting == 2)
        _ = try world.ledger.snapshot(now: world.now)
        // A crash before they are archived, and one after.
        world = try LedgerWorld(disk.copy(), at: world.now)
        #expect(world.ledger.status.closedWaiting == 2)
        #expect(try world.ledger.archive() == 2)
        #expect(try world.ledger.archive() == 0)
        let page = try world.ledger.closedPeriods(after: UsageCursor(), count: 10) { _ in true }
        #expect(page.isEnd)
        #expect(page.periods.map(\.counter) == ["q daily tokens 1", "q daily tokens 1"])
        #expect(Set(page.periods.compactMap(\.period.user)) == ["ada", "bob"])
        #expect(page.periods.map(\.period.used).sorted() == [5, 7])
        #expect(
            try world.ledger.pruneClosed(through: page.next) { $0.period.user == "ada" } == 1)
        let left = try world.ledger.closedPeriods(after: UsageCursor(), count: 10) { _ in true }
        #expect(left.periods.map(\.period.user) == ["bob"])
    }

    /// Reservations are named by the life: an older copy that is put back in the ledger's place
    /// must give no life again. Of the other future, its last generation alone is known.
    @Test func noLifeIsLivedTwiceWhenAnOlderCopyGoesOn() throws {
        let disk = MemoryDisk()
        func live(_ disk: MemoryDisk, behind last: UInt64 = 0, snapshots: Int = 0) throws
            -> (life: UInt64, reached: UInt64)
        {
            let world = try LedgerWorld(disk, behind: last, resuming: true)
            for _ in 0..<snapshots { _ = try world.ledger.snapshot(now: world.now) }
            return (world.report.life, try world.ledger.reached().generation)
        }
        var lives: Set<UInt64> = [try live(disk).life]
        var (last, isAhead) = (UInt64(0), false)
        for future in 0..<4 {
            let copy = disk.copy()
            // Killed at once and resumed, or with generations written.
            for (index, snapshots) in [0, 0, 0, future, 0].enumerated() {
                let behind = index == 0 ? last : 0
                let (life, reached) = try live(copy, behind: behind, snapshots: snapshots)
                #expect(lives.insert(life).inserted && life <= 3 * reached)
                isAhead = isAhead || life > reached
                last = reached
            }
        }
        #expect(lives.count == 21 && isAhead)
    }
}
