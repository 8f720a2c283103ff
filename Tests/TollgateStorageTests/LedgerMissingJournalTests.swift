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
    /// that is cut short before it has made one. From the next snapshot on, none is damage again.
    @Test func whatARepairLeavesStarts() throws {
        let disk = try charged(lives: 2)
        try removeJournal(disk)
        let plan = try LedgerInspection(Self.options, disk, repairing: true).repair(
            now: LedgerWorld.start)
        #expect(plan.losses.map(\.kind) == [.segment])
        #expect(!disk.files.keys.contains { $0.hasPrefix("/ledger/journal-") })
        #expect(try LedgerInspection(Self.options, disk).examine(now: LedgerWorld.start)
            .failures.isEmpty)
        let cut = disk.copy()
        do {
            let world = try LedgerWorld(cut)
            #expect(world.ledger.wantsSnapshot)
        }
        try removeJournal(cut)
        #expect(refusal(cut) == nil)
        let world = try LedgerWorld(disk)
        #expect(world.charge("acme", "ada", tokens: 5) == .none)
        _ = try world.ledger.snapshot(now: world.now)
        #expect(!world.ledger.wantsSnapshot)
        let next = disk.copy()
        #expect(refusal(next.copy()) == nil)
        try removeJournal(next)
        #expect(refusal(next)?.kind == .damaged)
    }

    /// Whoever starts keeps a file of the lives before until it has one of its own.
    @Test func aStartThatIsCutShortBeforeItsFirstFileIsNoDamage() throws {
        let disk = try charged(lives: 1)
        let world = try LedgerWorld(disk)
        _ = try world.ledger.snapshot(now: world.now)
        _ = try world.ledger.snapshot(now: world.now)
        try world.ledger.close(now: world.now)
        let before = Set(disk.files.keys)
        let left = disk.copy()
        do { _ = try LedgerWorld(left) }
        for file in left.files.keys
        where file.hasPrefix("/ledger/journal-") && !before.contains(file) {
            left.files[file] = nil
        }
        #expect(refusal(left) == nil)
    }
}
