import TestSupport
import Testing
import TollgateCore

@testable import TollgateStorage

/// A ledger that has served has files of the journal: without any it does not start, and a repair
/// says what that may have cost.
@Suite struct LedgerMissingJournalTests {
    private static var options: LedgerOptions {
        var options = LedgerOptions(path: LedgerWorld.path, bootID: (7, 8))
        (options.segmentBytes, options.threads) = (256 * 1024, 1)
        return options
    }

    private func charged(lives: Int) throws -> MemoryDisk {
        let disk = MemoryDisk()
        for _ in 0..<lives {
            let world = try LedgerWorld(disk)
            #expect(world.charge("acme", "ada", tokens: 5) == .none)
            _ = world.ledger.flush(now: world.now)
        }
        return disk
    }

    private func removeJournal(_ disk: MemoryDisk) throws {
        let files = disk.files.keys.filter { $0.hasPrefix("/ledger/journal-") }
        #expect(!files.isEmpty)
        for file in files { disk.files[file] = nil }
    }

    private func refusal(_ disk: MemoryDisk) -> LedgerFailure? {
        do {
            _ = try LedgerWorld(disk)
            return nil
        } catch { return error as? LedgerFailure }
    }

    @Test(arguments: 1...3) func withoutAnyFileOfTheJournalItDoesNotStart(lives: Int) throws {
        let disk = try charged(lives: lives)
        try removeJournal(disk)
        let failure = try #require(refusal(disk))
        #expect(failure.kind == .damaged && failure.exitCode == 78)
        #expect("\(failure)".contains("all files of the journal"))
        #expect("\(failure)".contains("tollgate ledger repair /ledger"))
        let examined = try LedgerInspection(Self.options, disk).examine(now: LedgerWorld.start)
        #expect(examined.failures.count == 1)
    }

    /// What a repair leaves has no file of the journal, and starts; so does what a start leaves
    /// that is cut short before it has made one.
    @Test func whatARepairLeavesStarts() throws {
        let disk = try charged(lives: 2)
        try removeJournal(disk)
        let plan = try LedgerInspection(Self.options, disk, repairing: true).repair(
            now: LedgerWorld.start)
        #expect(plan.losses.map(\.kind) == [.segment])
        #expect(!disk.files.keys.contains { $0.hasPrefix("/ledger/journal-") })
        #expect(try LedgerInspection(Self.options, disk).examine(now: LedgerWorld.start)
            .failures.isEmpty)
        // Also where a start is ended at one of its calls.
        for call in 1... {
            let cut = disk.copy()
            cut.fault = .from(call, 5)
            do { _ = try LedgerWorld(cut) } catch is LedgerFailure {}
            #expect(refusal(cut.copy()) == nil, "call \(call)")
            if cut.failures == 0 { break }
        }
        let world = try LedgerWorld(disk)
        #expect(world.charge("acme", "ada", tokens: 5) == .none)
        _ = try world.ledger.snapshot(now: world.now)
        #expect(!world.ledger.wantsSnapshot)
        let next = disk.copy()
        #expect(refusal(next.copy()) == nil)
        try removeJournal(next)
        #expect(refusal(next)?.kind == .damaged)
    }

    /// A ledger of several files and lives that has ended in order, without any file ahead.
    private func ended(lives: Int) throws -> MemoryDisk {
        var random = SeededRandom.printed("LedgerMissingJournalTests")
        let disk = MemoryDisk()
        var books = LedgerBooks()
        for life in 0..<lives {
            let world = try LedgerWorld(disk, resuming: life % 2 == 1) {
                $0.segmentBytes = 64 * 1024
            }
            for _ in 0..<8 {
                world.charge(60, &random, &books)
                try world.ledger.running.supply.giveAll()
                _ = world.ledger.flush(now: world.now)
            }
            try world.ledger.close(now: world.now)
        }
        return disk.copy()
    }

    private static var small: LedgerOptions {
        var options = options
        options.segmentBytes = 64 * 1024
        return options
    }

    @Test(arguments: 1...3) func theLastFilesOfTheJournalAreMissed(lives: Int) throws {
        let disk = try ended(lives: lives)
        #expect(refusal(disk.copy()) == nil)
        let numbers = LedgerFiles.numbers(try disk.list("/ledger"), .journal)
        #expect(numbers.count > 3)
        for count in 1..<numbers.count {
            let left = disk.copy()
            for number in numbers.suffix(count) {
                left.files["/ledger/" + LedgerFiles.name(.journal, number)] = nil
            }
            let failure = try #require(refusal(left.copy()), "\(count) of \(numbers)")
            #expect(failure.kind == .damaged && failure.exitCode == 78)
            #expect("\(failure)".contains("tollgate ledger repair /ledger"))
            // It names one of those that are gone.
            let gone = numbers.suffix(count).map { LedgerFiles.name(.journal, $0) }
            let named = try #require(gone.first { "\(failure)".contains($0) }, "\(failure)")
            let examined = try LedgerInspection(Self.small, left).examine(now: LedgerWorld.start)
            #expect(examined.failures.contains { $0.path.hasSuffix(named) })
            let plan = try LedgerInspection(Self.small, left, repairing: true).repair(
                now: LedgerWorld.start)
            #expect(plan.losses.contains { $0.kind == .segment && $0.words.contains(named) })
            #expect(refusal(left) == nil)
        }
    }

    /// Ended at each of its calls, a start leaves what the next one starts from, and no file of
    /// which another says that it was there is missing.
    @Test(arguments: [false, true])
    func aStartThatIsCutShortIsNoDamage(_ isResuming: Bool) throws {
        let disk = try charged(lives: 1)
        let world = try LedgerWorld(disk)
        _ = try world.ledger.snapshot(now: world.now)
        #expect(world.charge("acme", "ada", tokens: 5) == .none)
        _ = try world.ledger.snapshot(now: world.now)
        #expect(world.charge("acme", "ada", tokens: 5) == .none)
        let ended = disk.copy()
        for call in 1... {
            let left = ended.copy()
            left.fault = .from(call, 5)
            do { _ = try LedgerWorld(left, resuming: isResuming) } catch is LedgerFailure {}
            let next = left.copy()
            #expect(refusal(next.copy()) == nil, "call \(call)")
            let examined = try LedgerInspection(Self.options, next).examine(now: LedgerWorld.start)
            #expect(examined.failures == [], "call \(call)")
            let again = try LedgerWorld(next)
            #expect(again.usage("acme", "ada") == ["daily": 15, "monthly": 15], "call \(call)")
            if left.failures == 0 { break }
        }
    }

    /// Behind a repair, too, from the first thing that is charged.
    @Test(arguments: [false, true])
    func behindARepairTheJournalIsMissedAtOnce(_ isResuming: Bool) throws {
        let disk = try charged(lives: 2)
        try removeJournal(disk)
        _ = try LedgerInspection(Self.options, disk, repairing: true).repair(
            now: LedgerWorld.start)
        let world = try LedgerWorld(disk, resuming: isResuming)
        #expect(world.charge("acme", "ada", tokens: 5) == .none)
        _ = world.ledger.flush(now: world.now)
        let left = disk.copy()
        #expect(refusal(left.copy()) == nil)
        try removeJournal(left)
        #expect(refusal(left)?.kind == .damaged)
    }
}
