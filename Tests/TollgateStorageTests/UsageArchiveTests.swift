import Glibc
import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

/// The archive of closed periods, where many of them have one number, as those that closed without
/// a journal: each is there once, whenever the process ends (RELIABILITY D6).
@Suite struct UsageArchiveTests {
    private static func period(_ number: Int) -> [UInt8] {
        let user = "user-\(number)-of-acme"
        var bytes: [UInt8] = [0, 0, 1, 0, 4, UInt8(user.utf8.count), 0, 0]
        withUnsafeBytes(of: UInt64(number + 1).littleEndian) { bytes += $0 }
        withUnsafeBytes(of: Int64(1_700_006_400).littleEndian) { bytes += $0 }
        withUnsafeBytes(of: UInt64(19_675).littleEndian) { bytes += $0 }
        return bytes + Array("acme".utf8) + Array(user.utf8)
    }

    private static func shard(of organization: String, _ world: LedgerWorld) -> Int {
        DirectoryImage.withBytes(organization) {
            Int(TenantHash($0, isPersonal: false, world.engine.hash).hash >> 58)
        }
    }

    /// Closes so many under the next number of the organization's shard, and goes on behind it;
    /// gives the number.
    @discardableResult
    private static func close(
        _ periods: Range<Int>, of organization: String = "acme", _ world: LedgerWorld
    ) -> UInt64 {
        let shard = shard(of: organization, world)
        #expect(world.charge(organization, "ada", tokens: 1) == .none)
        let sequence = world.engine.withLedger(shard) { ledger in
            for number in periods {
                Self.period(number).withUnsafeBytes {
                    ledger.closed.append($0, sequence: ledger.journal.nextSequence)
                }
            }
            return ledger.journal.nextSequence
        }
        #expect(world.charge(organization, "ada", tokens: 1) == .none)
        return sequence
    }

    private static func archived(_ world: LedgerWorld, pages count: Int = .max) throws -> [Int] {
        var (found, cursor) = ([Int](), UsageCursor())
        while true {
            let page = try world.ledger.closedPeriods(after: cursor, count: count) { _ in true }
            found += page.periods.map { Int($0.period.used) - 1 }
            if page.isEnd { return found }
            cursor = page.next
        }
    }

    private static func file(_ disk: MemoryDisk, _ number: UInt64 = 1) throws -> UsageFile {
        let path = "/ledger/" + LedgerFiles.name(.usage, number)
        return try UsageFile(path, number: number, ledger: nil, disk)
    }

    @Test func manyPeriodsOfOneNumberTakeBlocksOfAnOrdinarySize() throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        let sequence = Self.close(0..<20_000, world)
        #expect(try world.ledger.archive() == 20_000)
        #expect(try Self.archived(world) == Array(0..<20_000))
        let file = try Self.file(disk)
        #expect(file.parts.count > 2 && file.parts.allSatisfy { $0.bytes < 1024 * 1024 })
        #expect(file.through[Self.shard(of: "acme", world)] == sequence)
        _ = try world.ledger.snapshot(now: world.now)
        // The next start has them all, and so have pages that begin between two blocks.
        let again = try LedgerWorld(disk.copy())
        #expect(again.engine.closedWaiting == 0)
        #expect(try Self.archived(again) == Array(0..<20_000))
        #expect(try Self.archived(again, pages: 100) == Array(0..<20_000))
    }

    @Test func whereverTheWritingOfOneNumberEndedItIsArchivedOnce() throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        Self.close(0..<13_000, world)
        _ = try world.ledger.snapshot(now: world.now)
        #expect(try world.ledger.archive() == 13_000)
        let parts = try Self.file(disk).parts
        try #require(parts.count > 1)
        let ends = parts.map { $0.offset + $0.bytes }
        let path = "/ledger/" + LedgerFiles.name(.usage, 1)
        for (index, end) in ends.enumerated() {
            for cut in [end - 1, end, end + UsageFormat.blockHeaderBytes] {
                let torn = disk.copy()
                let inode = try #require(torn.files[path])
                guard cut <= inode.size else { continue }
                UnsafeMutableRawBufferPointer(rebasing: inode.memory[cut...])
                    .initializeMemory(as: UInt8.self, repeating: 0)
                inode.size = cut
                let again = try LedgerWorld(torn)
                let isWhole = index == ends.count - 1 && cut == end
                #expect(again.engine.closedWaiting == (isWhole ? 0 : 13_000), "cut at \(cut)")
                #expect(try Self.archived(again).count == (isWhole ? 13_000 : 0), "cut at \(cut)")
                _ = try again.ledger.archive()
                #expect(try Self.archived(again) == Array(0..<13_000), "cut at \(cut)")
            }
        }
    }

    /// As an earlier version wrote it.
    @Test func aBlockOfAnySizeIsReadAndPrunedIntoOrdinaryOnes() throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        Self.close(0..<1, world)
        #expect(try world.ledger.archive() == 1)
        let sequence = Self.close(1..<2, world)
        _ = try world.ledger.snapshot(now: world.now)
        let file = try Self.file(disk)
        var block = UsageBlock(shard: UInt16(Self.shard(of: "acme", world)))
        for number in 1..<20_000 { block.add("q daily tokens day", Self.period(number)) }
        block.through = sequence
        let (encoded, _) = block.encoded(after: file.checksum)
        defer { encoded.keep() }
        #expect(encoded.used > 1024 * 1024)
        try disk.open(file.path, writable: true).write(encoded.read, at: file.end)
        let again = try LedgerWorld(disk.copy())
        #expect(again.engine.closedWaiting == 0)
        #expect(try Self.archived(again) == Array(0..<20_000))
        #expect(try Self.archived(again, pages: 1) == Array(0..<20_000))
        let all = try again.ledger.closedPeriods(after: UsageCursor(), count: .max) { _ in true }
        #expect(try again.ledger.pruneClosed(through: all.next) { $0.period.used == 1 } == 1)
        #expect(try Self.archived(again) == Array(1..<20_000))
    }

    @Test func whatStandsInAFileBeforeTheOneThatFailedIsNotArchivedAgain() throws {
        var (call, isFailing) = (1, true)
        while isFailing {
            let disk = MemoryDisk()
            let world = try LedgerWorld(disk) { $0.archiveFileBytesMax = 600 }
            Self.close(0..<3, of: "acme", world)
            Self.close(3..<5, of: "umbrella", world)
            try #require(Self.shard(of: "acme", world) != Self.shard(of: "umbrella", world))
            guard case .synced = world.ledger.flush(now: world.now) else {
                Issue.record("no sync")
                return
            }
            disk.fault = .once(call, ENOSPC)
            do { _ = try world.ledger.archive() } catch {}
            isFailing = disk.failures > 0
            disk.fault = nil
            _ = try world.ledger.archive()
            #expect(world.engine.closedWaiting == 0)
            #expect(try Self.archived(world).sorted() == Array(0..<5), "call \(call)")
            #expect(try Self.archived(LedgerWorld(disk.copy())).sorted() == Array(0..<5))
            call += 1
        }
        #expect(call > 8)
    }
}
