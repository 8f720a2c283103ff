import Glibc
import Testing
import TollgateStorage
import TollgateWire

@testable import TollgateCore

/// Rows move to where a snapshot's walk still comes, for as long as there is one.
@Suite struct SnapshotWalkTests {
    private func isWalkedOver(_ engine: Engine) -> Bool {
        (0..<Engine.shardCount).contains { engine.shard($0).table.pointee.isWalkedOver }
    }

    @Test(arguments: [true, false]) func aWalkThatIsGivenUpHasEnded(fails: Bool) throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        world.fillOneShard()
        var writer = world.ledger.beginSnapshot(now: world.now)
        while !isWalkedOver(world.engine) { try #require(try writer?.step() == true) }
        if fails {
            disk.fault = .from(1, ENOSPC)
            #expect(throws: LedgerFailure.self) { while try writer?.step() == true {} }
            #expect(writer?.state == .failed)
        } else {
            writer = nil
        }
        #expect(!isWalkedOver(world.engine))
    }
}
