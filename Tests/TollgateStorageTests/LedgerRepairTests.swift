import TestSupport
import Testing
import TollgateCore
import TollgateWire

@testable import TollgateStorage

/// A repair of whatever is left: what it makes starts, no counter is above what callers were told,
/// what it calls saved is saved to the unit, and nothing that was there is deleted.
@Suite struct LedgerRepairTests {
    private static var options: LedgerOptions {
        var options = LedgerOptions(path: "/ledger", bootID: (7, 8))
        (options.segmentBytes, options.threads) = (64 * 1024, 1)
        return options
    }

    /// Killed while it served, with generations 2 and 3 that both hold many counters, and a journal
    /// behind them that was synced.
    private func killed(
        _ random: inout SeededRandom
    ) throws -> (disk: MemoryDisk, books: LedgerBooks, now: Moment) {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk) { $0.segmentBytes = 64 * 1024 }
        var books = LedgerBooks()
        for _ in 0..<3 {
            world.charge(60, &random, &books, organizations: 3)
            try world.ledger.tend()
            _ = world.ledger.flush(now: world.now)
            if books.tokens.count > 0, world.ledger.status.generation < 3 {
                _ = try world.ledger.snapshot(now: world.now)
            }
        }
        try world.ledger.close(now: world.now)
        return (disk.copy(), books, world.now)
    }

    private func examine(_ disk: MemoryDisk, _ now: Moment) throws -> LedgerExamination {
        try LedgerInspection(Self.options, disk).examine(now: now)
    }

    private func repair(_ disk: MemoryDisk, _ now: Moment) throws -> LedgerRepairPlan {
        let inspection = try LedgerInspection(Self.options, disk, repairing: true)
        let before = Set(disk.files.keys)
        let plan = try inspection.planRepair(now: now, beginningEmpty: true)
        #expect(Set(disk.files.keys) == before, "a plan changes nothing")
        let report = try inspection.repair(now: now, beginningEmpty: true)
        #expect(report.losses == plan.losses && report.setAside == plan.setAside)
        return report
    }

    private struct Damage {
        var words: String
        var isRemoval: Bool
    }

    private func damage(
        _ disk: MemoryDisk, _ random: inout SeededRandom
    ) throws -> Damage {
        let paths = disk.files.keys.sorted().filter {
            !$0.hasSuffix("/lock") && !$0.contains("quarantine")
        }
        let path = paths[Int(random.next() % UInt64(paths.count))]
        let inode = try #require(disk.files[path])
        let used = (0..<inode.size).filter { inode.memory[$0] != 0 }
        let at = used.isEmpty ? 0 : used[Int(random.next() % UInt64(used.count))]
        switch random.next() % 8 {
        case 0:
            disk.files[path] = nil
            return Damage(words: "\(path) removed", isRemoval: true)
        case 1:
            inode.size = at
            return Damage(words: "\(path) cut to \(at)", isRemoval: true)
        case 2, 3:
            for offset in at..<min(at + 512, inode.size) { inode.memory[offset] = 0 }
            return Damage(words: "\(path) zeros from \(at)", isRemoval: false)
        default:
            if at < inode.size { inode.memory[at] ^= 1 << UInt8(random.next() % 8) }
            return Damage(words: "\(path) bit of byte \(at)", isRemoval: false)
        }
    }

    @Test func whateverIsLeftStartsAndIsNeverTooMuch() throws {
        var random = SeededRandom.printed("LedgerRepairTests")
        let (disk, books, now) = try LedgerDamageTests.small(&random)
        var counts: [String: Int] = [:]
        for _ in 0..<(60 * testScale) {
            let damaged = disk.copy()
            let count = 1 + Int(random.next() % 4)
            let damages = try (0..<count).map { _ in try damage(damaged, &random) }
            let words = damages.map(\.words).joined(separator: "; ")
            let examination = try examine(damaged, now)
            let wasStarting = (try? LedgerWorld(damaged.copy())) != nil
            let isWhole = examination.failures.isEmpty
            if !wasStarting { #expect(!isWhole, "\(words): a start sees it, verify does not") }
            let files = damaged.files.filter { !$0.key.hasSuffix(".part") }
            let report = try repair(damaged, now)
            #expect(report.isNeeded == !isWhole, "\(words)")
            let again = try LedgerInspection(Self.options, damaged, repairing: true)
                .planRepair(now: now)
            #expect(!again.isNeeded, "\(words): \(again.examination.failures)")
            for (path, inode) in files {
                let name = path.split(separator: "/").last.map(String.init) ?? ""
                let kept = damaged.files.contains {
                    $0.key.hasSuffix("/" + name) && $0.value === inode
                }
                #expect(kept, "\(words): \(path) is nowhere")
            }
            let world = try LedgerWorld(damaged)
            let found = LedgerBooks(world, of: books)
            for (name, units) in found.users {
                #expect(units <= books.users[name] ?? 0, "\(words): \(name)")
            }
            if report.losses.isEmpty, count == 1 || !damages.contains(where: \.isRemoval) {
                #expect(found == books, "\(words): says that nothing is lost")
            }
            let kind = !report.isNeeded ? "whole" : report.losses.isEmpty ? "saved" : "losses"
            counts[kind, default: 0] += 1
        }
        print("repairs: \(counts)")
        #expect(counts["saved", default: 0] > 0 && counts["losses", default: 0] > 0)
    }

    /// Each generation has another shard damaged: between them they have all.
    @Test func shardsAreTakenFromTheGenerationThatHasThemWhole() throws {
        var random = SeededRandom.printed("LedgerRepairTests")
        let (disk, books, now) = try killed(&random)
        let files = try [2, 3].map { number in
            try SnapshotFile(
                "/ledger/" + LedgerFiles.name(.snapshot, number), generation: number, disk)
        }
        let used = (0..<Engine.shardCount).filter {
            files[0].shards[$0].from < files[0].shards[$0].to
        }
        #expect(used.count >= 2)
        for (file, shard) in zip(files, used) {
            disk.files[file.path]?.memory[file.shards[shard].from + 40] ^= 1
        }
        #expect(throws: LedgerFailure.self) { try LedgerWorld(disk.copy()) }
        let report = try repair(disk, now)
        #expect(report.read == 3 && report.losses == [])
        #expect(report.elsewhere.map(\.generation) == [2])
        #expect(LedgerBooks(try LedgerWorld(disk), of: books) == books)
    }

    /// The same shard of both: of what was changed since, the journal says the truth.
    @Test func whatNoGenerationHasIsToldAndTheRestIsSaved() throws {
        var random = SeededRandom.printed("LedgerRepairTests")
        let (disk, books, now) = try killed(&random)
        var shard = 0
        for number in [2, 3] as [UInt64] {
            let path = "/ledger/" + LedgerFiles.name(.snapshot, number)
            let file = try SnapshotFile(path, generation: number, disk)
            shard = (0..<Engine.shardCount).first { file.shards[$0].from < file.shards[$0].to } ?? 0
            disk.files[path]?.memory[file.shards[shard].from + 40] ^= 1
        }
        let report = try repair(disk, now)
        #expect(report.losses.compactMap(\.shard) == [shard])
        let found = LedgerBooks(try LedgerWorld(disk), of: books)
        let short = books.users.filter { (found.users[$0.key] ?? 0) < $0.value }
        #expect(Set(short.keys.compactMap { $0.split(separator: "/").first }).count == 1)
    }

    @Test func withoutAnySnapshotItBeginsEmptyOnlyWhenToldSo() throws {
        var random = SeededRandom.printed("LedgerRepairTests")
        let (disk, _, now) = try killed(&random)
        for number in [2, 3] as [UInt64] {
            disk.files["/ledger/" + LedgerFiles.name(.snapshot, number)]?.memory[20] ^= 1
        }
        let before = Set(disk.files.keys)
        let inspection = try LedgerInspection(Self.options, disk, repairing: true)
        #expect { try inspection.repair(now: now) } throws: { error in
            (error as? LedgerFailure)?.kind == .damaged
        }
        #expect(Set(disk.files.keys) == before)
        let report = try inspection.repair(now: now, beginningEmpty: true)
        #expect(report.read == 0 && report.written == 4)
    }

    /// Also where no file that is left says how many lives there were.
    @Test func whatBeginsEmptyLivesNoLifeAgain() throws {
        var random = SeededRandom.printed("LedgerRepairTests")
        for kind in [LedgerFiles.Kind.journal, .snapshot] {
            let (disk, _, now) = try killed(&random)
            let before = try LedgerWorld(disk.copy(), at: now).report.life
            for name in try disk.list("/ledger") {
                if LedgerFiles.number(name, .snapshot) != nil {
                    disk.files["/ledger/" + name]?.memory[20] ^= 1
                }
                if LedgerFiles.number(name, kind) != nil { disk.files["/ledger/" + name] = nil }
            }
            _ = try repair(disk, now)
            let world = try LedgerWorld(disk, at: now)
            #expect(world.report.life > before && world.report.life <= 3 * world.report.written)
        }
    }

    /// Killed at each call of a repair, and repaired again.
    @Test func aRepairThatIsCutShortIsRunAgain() throws {
        var random = SeededRandom.printed("LedgerRepairTests")
        let (disk, books, now) = try killed(&random)
        disk.files["/ledger/ledger.id"]?.memory[20] ^= 1
        disk.files["/ledger/" + LedgerFiles.name(.snapshot, 3)]?.memory[200] ^= 1
        var call = 1
        while true {
            let damaged = disk.copy()
            let inspection = try LedgerInspection(Self.options, damaged, repairing: true)
            damaged.fault = .from(call, 5)
            do { _ = try inspection.repair(now: now) } catch {}
            if damaged.failures == 0 { break }
            let left = damaged.copy()
            left.fault = nil
            #expect(try repair(left, now).losses == [], "call \(call)")
            #expect(try examine(left, now).failures == [], "call \(call)")
            #expect(LedgerBooks(try LedgerWorld(left), of: books) == books, "call \(call)")
            call += 1
        }
        #expect(call > 60)
    }

    /// A number that was used is not used again, though nothing tells any more for what: what is
    /// closed under it would be taken for what was archived once.
    @Test(arguments: [false, true])
    func aRepairedJournalGoesOnBehindAllNumbers(isJournalGone: Bool) throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk) { $0.segmentBytes = 64 * 1024 }
        world.charge("acme", "ada", tokens: 1)
        _ = try world.ledger.snapshot(now: world.now)
        for number in 0..<40 {
            world.charge("acme", "u\(number)", tokens: 1)
            try world.ledger.tend()
        }
        world.advance(milliseconds: 86_400_000)
        try LedgerTests.closeAll(world)
        #expect(try world.ledger.archive() > 40)
        try world.ledger.close(now: world.now)
        let archived = world.ledger.running.archive.archivedThrough
        let shard = try #require(archived.indices.first { archived[$0] > 0 })
        let numbered = world.engine.journalPosition(shard: shard).next
        let damaged = disk.copy()
        for (path, inode) in damaged.files {
            // Of the newest snapshot, for that there is something to repair.
            if path.hasSuffix(LedgerFiles.name(.snapshot, 2)) { inode.memory[200] ^= 1 }
            guard path.hasSuffix(".tgj") else { continue }
            if isJournalGone { damaged.files[path] = nil }
            let scan = try SegmentScan(
                Self.options, number: try #require(
                    LedgerFiles.number(String(path.dropFirst("/ledger/".count)), .journal)),
                ledger: nil, disk)
            for (offset, header) in scan.regions where Int(header.shard) == shard {
                // A slot in the middle of what was synced.
                inode.memory[offset + JournalFormat.headerBytes + 20 * 32] ^= 1
            }
        }
        #expect(try !repair(damaged, world.now).losses.isEmpty)
        let again = try LedgerWorld(damaged, at: world.now) { $0.segmentBytes = 64 * 1024 }
        let next = again.engine.journalPosition(shard: shard).next
        #expect(next >= (isJournalGone ? archived[shard] + 1 : numbered))
        again.charge("acme", "bob", tokens: 1)
        again.advance(milliseconds: 86_400_000)
        try LedgerTests.closeAll(again)
        let waiting = again.engine.closedWaiting
        #expect(waiting > 0)
        let third = try LedgerWorld(damaged.copy(), at: again.now)
        #expect(third.engine.closedWaiting == waiting)
    }

    /// The daemon, or a repair, was killed while it began a file of closed periods.
    @Test func whatWasBeingWrittenIsInTheWayOfNoRepair() throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk) { $0.segmentBytes = 64 * 1024 }
        world.charge("acme", "ada", tokens: 1)
        world.advance(milliseconds: 86_400_000)
        try LedgerTests.closeAll(world)
        #expect(try world.ledger.archive() > 0)
        world.charge("acme", "ada", tokens: 7)
        try world.ledger.close(now: world.now)
        let damaged = disk.copy()
        let usage = "/ledger/" + LedgerFiles.name(.usage, 1)
        try #require(damaged.files[usage]).memory[9] ^= 1
        let next = "/ledger/" + LedgerFiles.name(.usage, 2) + LedgerFiles.partSuffix
        damaged.files[next] = MemoryDisk.Inode(100)
        #expect(throws: LedgerFailure.self) { _ = try LedgerWorld(damaged.copy(), at: world.now) }
        #expect(try repair(damaged, world.now).rewritesArchive)
        let again = try LedgerWorld(damaged, at: world.now) { $0.segmentBytes = 64 * 1024 }
        #expect(again.usage("acme", "ada")["daily"] == 7)
    }

    @Test func aTornEndIsNoDamage() throws {
        var random = SeededRandom.printed("LedgerRepairTests")
        let (disk, _, now) = try killed(&random)
        let world = try LedgerWorld(disk)
        for number in 0..<50 { world.charge("acme", "u\(number % 3)", tokens: 1) }
        // Of which the last was being written when the host went away.
        let torn = disk.copy()
        let segments = torn.files.keys.filter { $0.hasSuffix(".tgj") }.sorted()
        var isSeen = false
        for path in segments {
            let name = String(path.dropFirst("/ledger/".count))
            guard let number = LedgerFiles.number(name, .journal) else { continue }
            let scan = try SegmentScan(Self.options, number: number, ledger: nil, torn)
            for (offset, _) in scan.regions where scan.header.life == 2 {
                let block = try scan.read(offset, 4_096)
                guard let last = (64..<4_096).last(where: { block.bytes[$0] != 0 })
                else { continue }
                torn.files[path]?.memory[offset + last / 32 * 32 + 1] ^= 1
                isSeen = true
            }
        }
        #expect(isSeen)
        let examination = try examine(torn, now)
        #expect(examination.failures == [])
        #expect(examination.notes.contains { $0.isCutByStart })
        #expect(try !repair(torn, now).isNeeded)
        #expect(!(try LedgerWorld(torn)).report.cuts.isEmpty)
    }
}
