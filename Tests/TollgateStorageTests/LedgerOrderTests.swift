import Testing
import TollgateStorage
import TollgateWire

@testable import TollgateCore

/// What is made durable before what (RELIABILITY D11), call by call.
@Suite struct LedgerOrderTests {
    private func isJournal(_ path: String) -> Bool { path.contains("/journal-") }

    /// What is charged while a shard is walked over is in slots of the journal alone.
    @Test func aSnapshotIsNamedAfterTheJournalThatItNeeds() throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        world.fillOneShard()
        let writer = try #require(world.ledger.beginSnapshot(now: world.now))
        disk.record = []
        repeat {
            #expect(world.charge("acme", "ada", tokens: 1) == .none)
        } while try writer.step()
        let calls = try #require(disk.record)
        let named = try #require(calls.lastIndex { $0.call == .rename })
        let written = try #require(
            calls.lastIndex { $0.call == .write && $0.path == calls[named].path })
        #expect(calls[written..<named].contains { $0.call == .sync && isJournal($0.path) })
        #expect(calls[named...].contains { $0.call == .syncDirectory })
    }

    /// Its batches are the only ones to say what segments say that are not synced.
    @Test func theGroupLogIsBegunAnewAfterTheSegmentsAreSynced() throws {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk) { options in
            options.segmentBytes = 64 * 1_024
            options.keepsGroupLog = true
            options.groupLogBytes = 64 * 1_024
        }
        try world.ledger.tend()
        for organization in ["acme", "globex", "initech"] {
            #expect(world.charge(organization, "ada", tokens: 1) == .none)
            _ = world.ledger.flush(now: world.now)
        }
        #expect(world.ledger.loggedRounds > 1)
        disk.record = []
        _ = world.ledger.flush(now: world.now, inSegments: true)
        let calls = try #require(disk.record)
        let begun = try #require(
            calls.firstIndex { $0.call == .write && $0.path.hasPrefix("/ledger/group.tgg") })
        let synced = try #require(calls.lastIndex { $0.call == .sync && isJournal($0.path) })
        #expect(synced < begun, "\(calls)")
    }
}
