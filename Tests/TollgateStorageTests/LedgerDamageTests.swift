import TestSupport
import Testing
import TollgateCore
import TollgateWire

@testable import TollgateStorage

/// Bytes that rot: the same state, an older one that was declared to hold the whole, or a refusal
/// that names the repair; never a wrong number, never silently empty, never a trap (RELIABILITY
/// D5).
@Suite struct LedgerDamageTests {
    /// A ledger that was closed in order, with two generations and an archive, and what it holds.
    static func small(
        _ random: inout SeededRandom
    ) throws -> (disk: MemoryDisk, books: LedgerBooks, now: Moment) {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk) { $0.segmentBytes = 64 * 1024 }
        var books = LedgerBooks()
        world.charge(60, &random, &books, organizations: 3)
        _ = try world.ledger.snapshot(now: world.now)
        for _ in 0..<4 {
            world.charge(60, &random, &books, organizations: 3)
            try world.ledger.tend()
            _ = world.ledger.flush(now: world.now)
        }
        try world.ledger.close(now: world.now)
        return (disk.copy(), books, world.now)
    }

    private enum Result: String { case same, declared, refused }

    private func start(
        _ disk: MemoryDisk, _ books: LedgerBooks, _ what: String
    ) throws -> Result? {
        let before = Set(disk.files.keys)
        do {
            let world = try LedgerWorld(disk)
            let found = LedgerBooks(world, of: books)
            #expect(found == books, "\(what): \(found.tokens) for \(books.tokens)")
            let isDeclared =
                !world.report.passedOver.isEmpty || world.report.cuts.contains(where: \.isLoss)
            return isDeclared ? .declared : .same
        } catch let failure as LedgerFailure {
            // A version that is not known cannot be repaired by this build.
            #expect(
                failure.description.contains("tollgate ledger repair")
                    || failure.kind == .version, "\(what): \(failure)")
            #expect(failure.exitCode == 78, "\(what): \(failure)")
            #expect(Set(disk.files.keys).isSuperset(of: before), "\(what)")
            return .refused
        }
    }

    @Test func aFlippedBitIsNoWrongNumber() throws {
        var random = SeededRandom.printed("LedgerDamageTests")
        let (disk, books, _) = try Self.small(&random)
        var results: [Result: Int] = [:]
        // Mostly where something stands.
        let places: [(String, Int)] = disk.files.flatMap { path, inode in
            (0..<inode.size).filter { inode.memory[$0] != 0 || random.next() % 3_000 == 0 }
                .map { (path, $0) }
        }.sorted { $0 < $1 }
        for _ in 0..<(400 * testScale) {
            let (path, offset) = places[Int(random.next() % UInt64(places.count))]
            let damaged = disk.copy()
            let inode = try #require(damaged.files[path])
            inode.memory[offset] ^= 1 << UInt8(random.next() % 8)
            if let result = try start(damaged, books, "\(path) byte \(offset)") {
                results[result, default: 0] += 1
            }
        }
        print("flips: \(results)")
        #expect(results[.refused, default: 0] > 0 && results[.same, default: 0] > 0)
    }

    @Test func aFileThatWasCutIsNoWrongNumber() throws {
        var random = SeededRandom.printed("LedgerDamageTests")
        let (disk, books, _) = try Self.small(&random)
        for path in disk.files.keys.sorted() where !path.hasSuffix("/lock") {
            let size = disk.files[path]?.size ?? 0
            guard size > 0 else { continue }
            var lengths = [0, 1, size - 1, size - 32, size / 2]
            for _ in 0..<(6 * testScale) { lengths.append(Int(random.next() % UInt64(size))) }
            for length in lengths where length >= 0 {
                let damaged = disk.copy()
                damaged.files[path]?.size = length
                _ = try start(damaged, books, "\(path) cut to \(length)")
            }
            let damaged = disk.copy()
            damaged.files[path] = nil
            // Spare segments have nothing that is missed.
            _ = try start(damaged, books, "\(path) removed")
        }
    }

    @Test func aSectorThatIsZeroOrAnothersIsNoWrongNumber() throws {
        var random = SeededRandom.printed("LedgerDamageTests")
        let (disk, books, _) = try Self.small(&random)
        let paths = disk.files.keys.sorted().filter { (disk.files[$0]?.size ?? 0) >= 512 }
        for index in 0..<(200 * testScale) {
            let damaged = disk.copy()
            let path = paths[Int(random.next() % UInt64(paths.count))]
            let inode = try #require(damaged.files[path])
            let sectors = inode.size / 512
            let to = Int(random.next() % UInt64(min(sectors, 24))) * 512
            if index % 2 == 0 {
                for offset in to..<(to + 512) { inode.memory[offset] = 0 }
            } else {
                let from = Int(random.next() % UInt64(sectors)) * 512
                for offset in 0..<512 {
                    inode.memory[to + offset] = inode.memory[from + offset]
                }
            }
            _ = try start(damaged, books, "\(path) sector \(to / 512), \(index)")
        }
    }

    /// What was synced is told by two things: tables in the files' headers, and marks among the
    /// slots. Here the tables are lost.
    @Test func marksAloneTellThatDamageIsNoTornEnd() throws {
        var random = SeededRandom.printed("LedgerDamageTests")
        let (disk, books, _) = try Self.small(&random)
        let journals = disk.files.filter { $0.key.contains("/journal-") }
        for inode in journals.values {
            for offset in 64..<SegmentHeader.bytes { inode.memory[offset] = 0 }
        }
        #expect(try start(disk.copy(), books, "without tables") == .same)
        var refused = 0
        for (path, inode) in journals.sorted(by: { $0.key < $1.key }) {
            for offset in stride(from: SegmentHeader.bytes, to: inode.size, by: 4_096) {
                let rest = UnsafeRawBufferPointer(rebasing: inode.memory[offset..<inode.size])
                guard isSyncedByMark(rest) else { continue }
                let damaged = disk.copy()
                damaged.files[path]?.memory[offset + JournalFormat.headerBytes + 12] ^= 1
                if try start(damaged, books, "\(path) region \(offset)") == .refused {
                    refused += 1
                }
            }
        }
        print("regions that marks speak of: \(refused)")
        #expect(refused > 0)
    }

    /// Whether a mark behind the first slot of a region says that this was synced.
    private func isSyncedByMark(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let header = try? JournalRegionHeader(bytes) else { return false }
        let marked = JournalReader.syncedThrough(
            in: UnsafeRawBufferPointer(rebasing: bytes.prefix(Int(header.bytes))),
            from: JournalFormat.headerBytes + 2 * JournalFormat.slotBytes,
            firstSequence: header.firstSequence)
        return (marked ?? 0) >= header.firstSequence
    }

    @Test func aFileThatIsMissingIsNamed() throws {
        var random = SeededRandom.printed("LedgerDamageTests")
        let (disk, _, _) = try Self.small(&random)
        // One of those that stood ready: no shard misses anything of it.
        let path = try #require(
            disk.files.keys.filter { $0.contains("/journal-") }.sorted().dropLast().last)
        disk.files[path] = nil
        #expect {
            try LedgerWorld(disk)
        } throws: { error in
            let failure = error as? LedgerFailure
            return failure?.path == path && "\(error)".contains("the file is missing")
        }
    }

    @Test func aDamagedGenerationIsPassedOver() throws {
        var random = SeededRandom.printed("LedgerDamageTests")
        let (disk, books, _) = try Self.small(&random)
        let newest = "/ledger/" + LedgerFiles.name(.snapshot, 2)
        disk.files[newest]?.memory[200] ^= 1
        let world = try LedgerWorld(disk)
        #expect(world.report.read == 1 && world.report.passedOver.count == 1)
        #expect(LedgerBooks(world, of: books) == books)
        #expect(disk.files[newest] == nil)
        #expect(disk.files["/ledger/quarantine/" + LedgerFiles.name(.snapshot, 2)] != nil)
    }

    /// The older generation has all of the journal behind it, in however many files that is.
    @Test func theOlderGenerationAndItsJournalHoldTheWhole() throws {
        var random = SeededRandom.printed("LedgerDamageTests")
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk) { $0.segmentBytes = 64 * 1024 }
        var books = LedgerBooks()
        for _ in 0..<4 {
            for _ in 0..<16 {
                world.charge(100, &random, &books, organizations: 3)
                try world.ledger.tend()
                _ = world.ledger.flush(now: world.now)
            }
            _ = try world.ledger.snapshot(now: world.now)
        }
        let damaged = disk.copy()
        let newest = try #require(
            damaged.files.keys.filter { $0.contains("/snapshot-") }.sorted().last)
        damaged.files[newest]?.memory[200] ^= 1
        let again = try LedgerWorld(damaged)
        #expect(again.report.passedOver.count == 1)
        #expect(LedgerBooks(again, of: books) == books)
    }

    /// A refused start, again and again, leaves every byte as it was (RELIABILITY D8).
    @Test func whatCannotBeReadIsNotOverwritten() throws {
        var random = SeededRandom.printed("LedgerDamageTests")
        let (disk, _, _) = try Self.small(&random)
        for number in [1, 2] as [UInt64] {
            disk.files["/ledger/" + LedgerFiles.name(.snapshot, number)]?.memory[200] ^= 1
        }
        let before = disk.copy()
        for _ in 0..<3 {
            #expect(throws: LedgerFailure.self) { try LedgerWorld(disk) }
        }
        #expect(disk.files.keys == before.files.keys)
        for (path, inode) in before.files {
            let now = try #require(disk.files[path])
            #expect(now.memory.prefix(now.size).elementsEqual(inode.memory.prefix(inode.size)))
        }
    }

    /// Where an older generation held the whole, the damaged one stays as it is in quarantine, its
    /// number is given to no other, and the one that was read stays until two newer ones stand
    /// (RELIABILITY D8).
    @Test func whatIsPassedOverIsKeptWhateverIsSavedLater() throws {
        var random = SeededRandom.printed("LedgerDamageTests")
        let (disk, books, _) = try Self.small(&random)
        let path = "/ledger/" + LedgerFiles.name(.snapshot, 2)
        let damaged = try #require(disk.files[path])
        damaged.memory[200] ^= 1
        let bytes = Array(damaged.memory.prefix(damaged.size))
        let read = try #require(disk.files["/ledger/" + LedgerFiles.name(.snapshot, 1)])
        let before = Array(read.memory.prefix(read.size))
        let world = try LedgerWorld(disk)
        #expect(world.report.read == 1 && world.report.written == 3)
        for number in 0..<10 as Range<UInt64> {
            let kept = LedgerFiles.numbers(try disk.list("/ledger"), .snapshot)
            #expect(kept == (number == 0 ? [1, 3] : [number + 2, number + 3]))
            if number == 0 { #expect(Array(read.memory.prefix(read.size)) == before) }
            world.advance(milliseconds: 300_000)
            #expect(try world.ledger.snapshot(now: world.now) == number + 4)
            let aside = disk.files.filter { $0.value === damaged }
            #expect(aside.keys.allSatisfy { $0.hasPrefix("/ledger/quarantine/") })
            #expect(aside.count == 1 && Array(damaged.memory.prefix(damaged.size)) == bytes)
            #expect(LedgerBooks(try LedgerWorld(disk.copy()), of: books) == books)
        }
    }

    /// What was archived after a snapshot began and before it came to the shard stands in neither
    /// the snapshot nor the journal behind it: it must be in the archive.
    @Test func whatWasArchivedDuringASnapshotIsMissed() throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        #expect(world.charge("acme", "ada", tokens: 7) == .none)
        world.advance(milliseconds: 86_400_000)
        let writer = try #require(world.ledger.beginSnapshot(now: world.now))
        try writer.step()
        for shard in 0..<Engine.shardCount {
            var cursor = 0
            while cursor >= 0 {
                #expect(
                    world.engine.closePeriods(
                        shard: shard, slots: 4_096, cursor: &cursor, now: world.now))
            }
        }
        #expect(try world.ledger.archive() > 0)
        while try writer.step() {}
        try world.ledger.close(now: world.now)
        let damaged = disk.copy()
        let inode = try #require(damaged.files["/ledger/" + LedgerFiles.name(.usage, 1)])
        inode.memory[inode.size - 1] ^= 1
        #expect {
            try LedgerWorld(damaged, at: world.now)
        } throws: { "\($0)".contains("tollgate ledger repair") }
    }

    @Test func whatIsWholeIsSaidToBe() throws {
        var random = SeededRandom.printed("LedgerDamageTests")
        let (disk, books, now) = try Self.small(&random)
        var options = LedgerOptions(path: "/ledger", bootID: (7, 8))
        options.threads = 1
        let inspection = try LedgerInspection(options, disk)
        for finding in try inspection.examine(now: now).findings {
            #expect(finding.failure == nil, "\(finding)")
        }
        let summary = try inspection.inspect(now: now)
        var found = LedgerBooks()
        for usage in summary.usage {
            if let user = usage.user {
                found.users[usage.organization + "/" + user] = usage.used
            } else {
                found.tokens[usage.organization] = usage.used
            }
        }
        #expect(found == books)
        #expect(summary.generation == 2 && summary.cuts == [])
        disk.files["/ledger/" + LedgerFiles.name(.snapshot, 2)]?.memory[200] ^= 1
        let bad = try inspection.snapshots().filter { $0.failure != nil }
        #expect(bad.map(\.path) == ["/ledger/" + LedgerFiles.name(.snapshot, 2)])
    }
}
