import Glibc
import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

/// The group log: what it holds outlives segments that lost it, and of what is not whole in it
/// nothing is believed.
@Suite struct GroupLogTests {
    static let path = "/ledger/group.tgg"

    private static func keepsLog(_ options: inout LedgerOptions) {
        options.segmentBytes = 64 * 1_024
        options.keepsGroupLog = true
        options.groupLogBytes = 64 * 1_024
    }

    private static var options: LedgerOptions {
        var options = LedgerOptions(path: "/ledger", bootID: (7, 8))
        options.threads = 1
        keepsLog(&options)
        return options
    }

    private static func synced(_ world: LedgerWorld, inSegments: Bool = false) throws {
        guard case .synced = world.ledger.flush(now: world.now, inSegments: inSegments) else {
            throw LedgerFailure(.disk, path, "refuses")
        }
    }

    /// A ledger whose log has an epoch behind it and two batches in the one at hand; the disk as
    /// the segments were last synced, and as it is.
    static func worked() throws -> (before: MemoryDisk, after: MemoryDisk, LedgerWorld) {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk, keepsLog)
        try world.ledger.tend()
        try synced(world)
        for organization in ["acme", "globex", "initech", "umbrella"] {
            world.charge(organization, "ada", tokens: 1)
            try synced(world)
        }
        try synced(world, inSegments: true)
        let before = disk.copy()
        world.charge("acme", "ada", tokens: 5)
        world.charge("globex", "bob", tokens: 7)
        try synced(world)
        world.charge("acme", "bob", tokens: 70)
        try synced(world)
        #expect(world.ledger.loggedRounds == 6)
        return (before, disk.copy(), world)
    }

    /// What a power cut leaves that lost all pages of segments that no sync had covered.
    private static func cut(_ before: MemoryDisk, _ after: MemoryDisk) -> MemoryDisk {
        let left = after.copy()
        for (path, inode) in before.copy().files where path.contains("journal-") {
            left.files[path] = inode
        }
        return left
    }

    private static func expectAll(_ world: LedgerWorld) {
        #expect(world.usage("acme", "ada") == ["daily": 6, "monthly": 76])
        #expect(world.usage("acme", "bob") == ["daily": 70, "monthly": 76])
        #expect(world.usage("globex", "bob") == ["daily": 7, "monthly": 8])
    }

    static func reading(_ disk: MemoryDisk) throws -> GroupLogReading {
        let names = try disk.list("/ledger")
        return try #require(try GroupLogReading(options, names: names, ledger: 41, disk))
    }

    // MARK: starts

    @Test func whatTheSegmentsLostIsInTheLog() throws {
        let (before, after, _) = try Self.worked()
        let left = Self.cut(before, after)
        for isKept in [true, false] {
            // Whatever the policy says of the log now.
            let disk = left.copy()
            let world = try LedgerWorld(disk) {
                Self.keepsLog(&$0)
                $0.keepsGroupLog = isKept
            }
            Self.expectAll(world)
            #expect(disk.files[Self.path] == nil, "of no more use")
            world.charge("acme", "ada", tokens: 1)
            try world.ledger.tend()
            #expect((disk.files[Self.path] != nil) == isKept)
            try Self.synced(world)
            try Self.synced(world)
            #expect(try LedgerWorld(disk.copy()).usage("acme", "ada")["daily"] == 7)
        }
        // The log alone has them.
        left.files[Self.path] = nil
        do {
            let world = try LedgerWorld(left)
            #expect(world.usage("acme", "ada")["daily"] == 1)
        } catch let error as LedgerFailure { #expect(error.kind == .damaged) }
    }

    @Test func aStartThatIsCutOffAtAnyCallIsFollowedByOneThatHasAll() throws {
        let (before, after, _) = try Self.worked()
        let left = Self.cut(before, after)
        for call in 1...80 {
            let disk = left.copy()
            disk.fault = .from(call, EIO)
            do { _ = try LedgerWorld(disk, Self.keepsLog) } catch {}
            disk.fault = nil
            disk.locked = []
            Self.expectAll(try LedgerWorld(disk, Self.keepsLog))
        }
    }

    @Test func anOldLogThatComesBackChangesNothing() throws {
        let (before, after, _) = try Self.worked()
        let disk = Self.cut(before, after)
        let log = try #require(disk.copy().files[Self.path])
        let world = try LedgerWorld(disk) { $0.segmentBytes = 64 * 1_024 }
        world.charge("acme", "ada", tokens: 4)
        let later = disk.copy()
        later.files[Self.path] = log
        #expect(try LedgerWorld(later).usage("acme", "ada")["daily"] == 10)
    }

    // MARK: what is not whole

    @Test func noFlippedBitIsBelieved() throws {
        let (_, after, _) = try Self.worked()
        let whole = try Self.reading(after)
        let inode = try #require(after.files[Self.path])
        let last = try #require(whole.batches.last)
        #expect(whole.batches.count == 2 && whole.failure == nil && whole.torn == nil)
        #expect(whole.header?.epoch == 2)
        for at in 0..<last.end {
            inode.memory[at] ^= 1 << UInt8(at & 7)
            defer { inode.memory[at] ^= 1 << UInt8(at & 7) }
            let found: GroupLogReading
            do { found = try Self.reading(after) } catch let error as LedgerFailure {
                Issue.record("byte \(at): \(error)")
                continue
            }
            let inBatch = whole.batches.first { $0.offset <= at && at < $0.offset + $0.bytes }
            let isHead = (GroupLogHeader.page..<(GroupLogHeader.page + 64)).contains(at)
            if isHead || inBatch?.number == 1 {
                #expect(found.failure?.kind == .damaged, "byte \(at)")
            } else if inBatch?.number == 2 {
                // As if it had been torn.
                #expect(found.failure == nil && found.batches.count == 1, "byte \(at)")
            } else {
                #expect(found.failure == nil && found.batches == whole.batches, "byte \(at)")
            }
        }
    }

    @Test func noLogThatWasCutIsBelieved() throws {
        let (_, after, _) = try Self.worked()
        let inode = try #require(after.files[Self.path])
        let size = inode.size
        for bytes in Array(0..<9_000) + Array(stride(from: 9_000, to: size, by: 509)) {
            inode.size = bytes
            #expect(try Self.reading(after).failure?.kind == .damaged, "\(bytes) bytes")
        }
    }

    @Test func aTornBatchOfANewEpochIsNoDamage() throws {
        let (_, after, world) = try Self.worked()
        world.charge("acme", "ada", tokens: 1)
        try Self.synced(world, inSegments: true)
        let old = try #require(after.files[Self.path])
        // The head of epoch 3 is synced; its first batch goes over that of epoch 2.
        let disk = after.copy()
        let torn = MemoryDisk.Inode(copying: old)
        disk.files[Self.path] = torn
        let header = GroupLogHeader(
            ledger: 41, life: 1, epoch: 3, fileBytes: UInt64(torn.size))
        header.write(to: UnsafeMutableRawBufferPointer(rebasing: torn.memory[0..<64]))
        for bytes in [0, 32, 64, 100] {
            for at in 0..<bytes { torn.memory[GroupLogHeader.firstBatch + at] = 0xa5 }
            let found = try Self.reading(disk)
            #expect(found.failure == nil && found.batches.isEmpty && found.header?.epoch == 3)
        }
    }

    @Test func anotherVersionIsRefusedByName() throws {
        let (_, after, _) = try Self.worked()
        let inode = try #require(after.files[Self.path])
        let place = UnsafeMutableRawBufferPointer(rebasing: inode.memory[4_096..<4_160])
        place[8] = 2
        place.storeLittle(
            ledgerChecksum(0, UnsafeRawBufferPointer(place).slice(at: 0, length: 60)), at: 60)
        #expect {
            try LedgerWorld(after)
        } throws: { error in
            let failure = error as? LedgerFailure
            return failure?.kind == .version && failure?.exitCode == 78
                && failure?.path == Self.path && failure?.words.contains("version 2") == true
        }
    }

    @Test func aDamagedLogIsRefusedAndRepaired() throws {
        let (before, after, world) = try Self.worked()
        let left = Self.cut(before, after)
        let inode = try #require(left.files[Self.path])
        inode.memory[GroupLogHeader.firstBatch + 200] ^= 4
        #expect {
            try LedgerWorld(left.copy(), Self.keepsLog)
        } throws: { error in
            let failure = error as? LedgerFailure
            return failure?.kind == .damaged && failure?.exitCode == 78
                && failure?.words.contains("tollgate ledger repair") == true
        }
        let examination = try LedgerInspection(Self.options, left).examine(now: world.now)
        #expect(examination.failures.map(\.path).contains(Self.path))
        left.locked = []
        do {
            let inspection = try LedgerInspection(Self.options, left, repairing: true)
            let plan = try inspection.repair(now: world.now)
            #expect(plan.isNeeded && plan.losses.contains { $0.kind == .segment })
        }
        #expect(left.files[Self.path] == nil)
        #expect(left.files.keys.contains { $0.contains("quarantine") && $0.hasSuffix(".tgg") })
        // Nothing is above what callers were told.
        let repaired = try LedgerWorld(left, Self.keepsLog)
        #expect((1...6).contains(try #require(repaired.usage("acme", "ada")["daily"])))
    }

    @Test func whoLooksSeesWhatAStartWouldFind() throws {
        let (before, after, world) = try Self.worked()
        let left = Self.cut(before, after)
        let untouched = left.copy()
        let inspection = try LedgerInspection(Self.options, left)
        let examination = try inspection.examine(now: world.now)
        #expect(examination.failures.isEmpty)
        let summary = try #require(try examination.start?.get())
        let next = (0..<Engine.shardCount).map { world.engine.journalPosition(shard: $0).next }
        #expect(summary.next == next)
        for (path, inode) in left.files {
            let same = try #require(untouched.files[path])
            #expect(inode.memory.prefix(inode.size).elementsEqual(same.memory.prefix(same.size)))
        }
    }

    // MARK: rounds

    @Test func aLogThatIsFullIsBegunAnew() throws {
        var random = SeededRandom.printed("GroupLogTests.full")
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk) {
            Self.keepsLog(&$0)
            $0.groupLogBytes = GroupLogHeader.leastBytes
        }
        try world.ledger.tend()
        var books = LedgerBooks()
        var epochs: Set<UInt64> = []
        for _ in 0..<60 {
            #expect(world.charge(3, &random, &books) == .none)
            try world.ledger.tend()
            try Self.synced(world)
            epochs.insert(try #require(try Self.reading(disk).header).epoch)
            #expect(LedgerBooks(try LedgerWorld(disk.copy()), of: books) == books)
        }
        #expect(world.ledger.loggedRounds > 20 && epochs.count > 10)
    }

    @Test func slotsOfTwoRegionsAreOneBatchAndOfThreeNone() throws {
        let (disk, name) = (MemoryDisk(), "acme")
        let world = try LedgerWorld(disk) {
            Self.keepsLog(&$0)
            $0.segmentBytes = 256 * 1_024
            $0.groupLogBytes = 1_024 * 1_024
        }
        try world.ledger.tend()
        try Self.synced(world)
        world.charge(name, "ada", tokens: 1)
        try Self.synced(world)
        let before = disk.copy()
        // About 250 charges fill the smallest region.
        for (charges, isLogged) in [(300, true), (900, false)] {
            let rounds = world.ledger.loggedRounds
            for _ in 0..<charges {
                try world.ledger.tend()
                #expect(world.charge(name, "ada", tokens: 1) == .none)
            }
            try Self.synced(world)
            #expect((world.ledger.loggedRounds > rounds) == isLogged)
            guard isLogged else { continue }
            let left = try LedgerWorld(Self.cut(before, disk.copy()))
            #expect(left.usage(name, "ada")["daily"] == 301)
        }
    }

    @Test func theSegmentsAreSyncedOnceASecond() throws {
        let (_, _, world) = try Self.worked()
        let rounds = world.ledger.loggedRounds
        world.charge("acme", "ada", tokens: 1)
        world.advance(milliseconds: 999)
        try Self.synced(world)
        #expect(world.ledger.loggedRounds == rounds + 1)
        world.charge("acme", "ada", tokens: 1)
        world.advance(milliseconds: 2)
        try Self.synced(world)
        #expect(world.ledger.loggedRounds == rounds + 1)
    }

    // MARK: trouble

    @Test func withoutRoomForItEveryRoundSyncsTheSegments() throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk, Self.keepsLog)
        disk.failsMaking = { $0.contains("group.tgg") }
        for _ in 0..<3 {
            #expect(throws: LedgerFailure.self) { try world.ledger.tend() }
            #expect(world.charge("acme", "ada", tokens: 1) == .none)
            try Self.synced(world)
        }
        #expect(world.ledger.loggedRounds == 0)
        #expect(world.ledger.status.failures.first?.errno == ENOSPC)
        disk.failsMaking = nil
        try world.ledger.tend()
        world.charge("acme", "ada", tokens: 1)
        try Self.synced(world)
        #expect(world.ledger.loggedRounds == 1 && world.ledger.status.failures.isEmpty)
    }

    @Test(arguments: [ENOSPC, EIO])
    func nothingIsLostWhenTheNthCallFails(_ errno: Int32) throws {
        var random = SeededRandom.printed("GroupLogTests \(errno)")
        for call in 1...60 {
            let disk = MemoryDisk()
            let world = try LedgerWorld(disk, Self.keepsLog)
            var books = LedgerBooks()
            try world.ledger.tend()
            try Self.synced(world)
            world.charge(40, &random, &books, organizations: 3)
            disk.fault = call % 2 == 0 ? .from(call, errno) : .once(call, errno)
            for round in 0..<24 {
                let reason = world.charge(20, &random, &books, organizations: 3)
                #expect(reason == .none || reason == .ledgerUnavailable)
                do { try world.ledger.tend() } catch {}
                _ = world.ledger.flush(now: world.now)
                world.advance(milliseconds: round % 8 == 7 ? 1_100 : 10)
            }
            #expect(disk.syncedAgain == [])
            #expect(LedgerBooks(try LedgerWorld(disk.copy()), of: books) == books)
            disk.fault = nil
            for _ in 0..<3 {
                world.advance(milliseconds: 1_100)
                _ = world.ledger.flush(now: world.now)
                try world.ledger.tend()
            }
            let rounds = world.ledger.loggedRounds
            #expect(world.charge(20, &random, &books, organizations: 3) == .none)
            try Self.synced(world)
            #expect(world.ledger.loggedRounds == rounds + 1, "a log was made again")
            #expect(LedgerBooks(try LedgerWorld(disk.copy()), of: books) == books)
        }
    }
}
