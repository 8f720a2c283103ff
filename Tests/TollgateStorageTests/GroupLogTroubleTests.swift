import Glibc
import Testing

@testable import TollgateStorage

/// A group log that cannot be written: the segments are synced in its stead.
@Suite struct GroupLogTroubleTests {
    private static let path = "/ledger/group.tgg"

    private static func world(_ disk: MemoryDisk) throws -> LedgerWorld {
        let world = try LedgerWorld(disk) { options in
            options.segmentBytes = 64 * 1_024
            options.keepsGroupLog = true
            options.groupLogBytes = 64 * 1_024
        }
        try world.ledger.tend()
        return world
    }

    /// Whether the round went to the group log.
    private static func isLogged(_ world: LedgerWorld) throws -> Bool {
        let before = world.ledger.loggedRounds
        guard case .synced(_, true) = world.ledger.flush(now: world.now) else {
            throw LedgerFailure(.disk, path, "refuses, or had nothing to do")
        }
        return world.ledger.loggedRounds > before
    }

    /// `advance`: so long after the last round. Beyond a second the head of a new epoch is what
    /// cannot be written, else a batch.
    @Test(arguments: [10, 1_100])
    func aWriteThatFailsCostsSpeedAlone(advance: Int64) throws {
        let disk = MemoryDisk()
        let world = try Self.world(disk)
        world.charge("acme", "ada", tokens: 1)
        #expect(try !Self.isLogged(world))
        world.charge("acme", "ada", tokens: 1)
        #expect(try Self.isLogged(world))
        disk.failsWriting = { $0 == Self.path || $0.hasSuffix(".part") }
        for round in 1...3 {
            world.advance(milliseconds: advance)
            #expect(world.charge("acme", "ada", tokens: 10) == .none)
            #expect(try !Self.isLogged(world))
            #expect(world.ledger.status.state == .serving)
            #expect(world.ledger.groupLogsGivenUp.count == 1)
            #expect(world.ledger.status.failures.first?.errno == EIO)
            let left = try LedgerWorld(disk.copy())
            #expect(left.usage("acme", "ada")["daily"] == UInt64(2 + 10 * round))
            do { try world.ledger.tend() } catch {}
        }
        disk.failsWriting = nil
        try world.ledger.tend()
        #expect(world.ledger.status.failures.isEmpty && disk.syncedAgain == [])
        world.advance(milliseconds: 10)
        world.charge("acme", "ada", tokens: 100)
        #expect(try Self.isLogged(world))
        #expect(try LedgerWorld(disk.copy()).usage("acme", "ada")["daily"] == 132)
    }

    @Test func aSyncThatFailsIsTrouble() throws {
        let disk = MemoryDisk()
        let world = try Self.world(disk)
        world.charge("acme", "ada", tokens: 1)
        #expect(try !Self.isLogged(world))
        world.charge("acme", "ada", tokens: 1)
        // The batch is written, and not synced.
        disk.fault = .once(2, EIO)
        let given = world.ledger.journalsGivenUp
        #expect(try !Self.isLogged(world))
        #expect(world.ledger.journalsGivenUp == given + 1)
        #expect(try LedgerWorld(disk.copy()).usage("acme", "ada")["daily"] == 2)
    }
}
