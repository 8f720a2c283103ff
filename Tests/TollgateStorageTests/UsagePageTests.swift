import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

/// Pages of the archive of closed periods.
@Suite struct UsagePageTests {
    private static let organizations = 40

    /// An archive of some hundred blocks in one file, and its path.
    private func archive() throws -> (disk: MemoryDisk, world: LedgerWorld, path: String) {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        for day in 0..<6 as Range<UInt64> {
            for number in 0..<Self.organizations {
                for user in ["ada", "bob", "cyd"] {
                    let reason = world.charge("o\(number)", user, tokens: 1 + day)
                    #expect(reason == .none)
                }
                try world.ledger.tend()
            }
            world.advance(milliseconds: 86_400_000)
            for shard in 0..<Engine.shardCount {
                var cursor = 0
                while cursor >= 0 {
                    #expect(
                        world.engine.closePeriods(
                            shard: shard, slots: 64, cursor: &cursor, now: world.now))
                    try world.ledger.tend()
                }
            }
            #expect(try world.ledger.archive() == 3 * Self.organizations)
        }
        let path = try #require(disk.files.keys.first { $0.contains("/usage-") })
        return (disk, world, path)
    }

    private func pages(_ world: LedgerWorld, of count: Int) throws -> [[ArchivedPeriod]] {
        var (pages, cursor) = ([[ArchivedPeriod]](), UsageCursor())
        while true {
            let page = try world.ledger.closedPeriods(after: cursor, count: count) { _ in true }
            pages.append(page.periods)
            if page.isEnd { return pages }
            cursor = page.next
        }
    }

    @Test func manyPagesAreWhatOneIsAndReadTheFileOnce() throws {
        let (disk, world, path) = try archive()
        let size = try #require(disk.files[path]?.size)
        let all = try world.ledger.closedPeriods(after: UsageCursor(), count: .max) { _ in true }
        #expect(all.isEnd && all.periods.count == 6 * 3 * Self.organizations)
        disk.bytesRead = 0
        let pages = try pages(world, of: 4)
        #expect(pages.count > 100)
        #expect(pages.flatMap { $0 } == all.periods)
        // The whole of it for the first page, and then once more, with a header before each.
        #expect(disk.bytesRead < 3 * size, "\(disk.bytesRead) bytes of \(size)")
    }

    @Test func damageBehindThePlaceIsFoundAndSoIsATornEnd() throws {
        let (disk, world, path) = try archive()
        let inode = try #require(disk.files[path])
        let first = try world.ledger.closedPeriods(after: UsageCursor(), count: 4) { _ in true }
        #expect(!first.isEnd)
        for place in [inode.size / 3, inode.size / 2, inode.size - 5] {
            inode.memory[place] ^= 4
            #expect(throws: LedgerFailure.self) {
                try world.ledger.closedPeriods(after: first.next, count: .max) { _ in true }
            }
            inode.memory[place] ^= 4
        }
        // Bytes behind the end that are no block, as a write that was cut short leaves them.
        let rest = try world.ledger.closedPeriods(after: first.next, count: .max) { _ in true }
        inode.grow(inode.size + 50)
        let torn = try world.ledger.closedPeriods(after: first.next, count: .max) { _ in true }
        #expect(torn.periods == rest.periods && torn.isEnd)
    }

    @Test func aPlaceThatIsNoneIsReadFromAsBefore() throws {
        let (disk, world, path) = try archive()
        let size = try #require(disk.files[path]?.size)
        let all = try world.ledger.closedPeriods(after: UsageCursor(), count: .max) { _ in true }
        for offset in stride(from: 0, to: size + 100, by: 61) {
            let found = try world.ledger.closedPeriods(
                after: UsageCursor(file: 1, offset: offset), count: .max
            ) { _ in true }
            #expect(found.periods == Array(all.periods.suffix(found.periods.count)))
        }
    }

    /// A place of before is refused: it named a file that is no more, and what is read from the
    /// beginning of the next one was given already.
    @Test func noPageGoesOnOverAPruning() throws {
        let (disk, world, _) = try archive()
        func page(_ world: LedgerWorld, _ cursor: UsageCursor, _ count: Int) throws
            -> UsageArchive.Page
        { try world.ledger.closedPeriods(after: cursor, count: count) { _ in true } }
        let all = try page(world, UsageCursor(), .max)
        let first = try page(world, UsageCursor(), 4)
        // A place with a part of a page given is behind its beginning, which has a name.
        #expect(first.from.file == first.next.file && first.from.offset == 0)
        #expect(try page(world, first.from, .max).periods == all.periods)
        #expect(try world.ledger.pruneClosed(through: all.next) { _ in false } == 0)
        let rest = Array(all.periods.dropFirst(first.periods.count))
        #expect(try page(world, first.next, .max).periods == rest)
        let day = all.periods[0].period.startDay
        #expect(
            try world.ledger.pruneClosed(through: all.next) { $0.period.startDay == day }
                == 3 * Self.organizations)
        let kept = all.periods.filter { $0.period.startDay != day }
        for world in [world, try LedgerWorld(disk.copy(), at: world.now)] {
            for cursor in [first.from, first.next] {
                let failure = #expect(throws: LedgerFailure.self) { try page(world, cursor, 4) }
                #expect(failure?.kind == .gone)
            }
            #expect(try page(world, UsageCursor(), .max).periods == kept)
        }
    }
}
