import Testing
import TollgateWire

@testable import TollgateCore

/// Reservations out of the journal, after every way in which they begin and end.
@Suite struct ReservationJournalTests {
    /// What a shard's rows say of reservations that outlives a life, by id.
    private static func kept(_ engine: Engine) -> [ReservationID: [UInt8]] {
        var found: [ReservationID: [UInt8]] = [:]
        for index in 0..<Engine.shardCount {
            engine.shard(index).table.pointee.forEach { row in
                guard row.kind == RowKind.reservation.rawValue else { return }
                let reservation = Reservation(row)
                var bytes = Array(row.content[..<reservation.contentBytes])
                // What means something in memory alone, and counters' numbers, of a life alone.
                var cleared = Array(8..<24) + Array(56..<64) + Array(76..<78)
                for line in 0..<reservation.lineCount {
                    let at =
                        ReservationHead.bytes + reservation.meterCount * ReservationMeter.bytes
                        + line * ReservationLine.bytes
                    cleared += [at, at + 1]
                    let number = Int(reservation.lines[line].counter)
                    bytes += Array((engine.layouts.names.name(number) ?? "none").utf8)
                }
                for at in cleared { bytes[at] = 0 }
                found[reservation.id] = bytes
            }
        }
        return found
    }

    private static func slots(_ engine: Engine) -> UInt64 {
        (0..<Engine.shardCount).reduce(0) { $0 + engine.journalPosition(shard: $1).next }
    }

    /// Some open, extended, settled at once, after a cut and after a CANCEL, cut, canceled.
    private static func live(_ harness: EngineHarness) throws {
        func made(_ flags: UInt16 = RequestFlags.detached) throws -> ReservationID {
            try #require(harness.reserve(tokens: 5, timeToLive: 20_000, flags: flags).id)
        }
        _ = try made()
        _ = try #require(harness.reserve(tokens: 7, user: "bob", flags: 8, id: 9).id)
        #expect(harness.extend(try made(), hold: 30, used: 12, timeToLive: 30_000).isAllowed)
        #expect(harness.settle(try made(), tokens: 4).isAllowed)
        #expect(harness.settle(try made()).isAllowed)
        let canceled = try made()
        #expect(harness.cancel(canceled).isAllowed)
        let late = try made()
        #expect(harness.cancel(late).isAllowed)
        #expect(harness.settle(late, tokens: 300).isAllowed)
        let cut = try made(0)
        #expect(harness.extend(cut, hold: 5, used: 3).isAllowed)
        let settledAfter = try made(0)
        harness.worker.release(connection: 1)
        #expect(harness.settle(settledAfter, tokens: 2).isAllowed)
    }

    @Test func allThatWasKeptComesBackAsItStood() throws {
        let ledger = MemoryLedger()
        let harness = try EngineHarness(.holding(open: 10))
        ledger.begin(harness.engine)
        try Self.live(harness)
        let before = Self.kept(harness.engine)
        #expect(before.count == 9)
        for snapshot in [
            MemoryLedger.Snapshot(), ledger.snapshot(of: harness.engine, at: harness.moment),
        ] {
            let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
            try ledger.restore(snapshot, into: engine, at: harness.moment)
            let isAlike = Self.kept(engine) == before
            #expect(isAlike)
        }
    }

    /// A snapshot has what the journal says once more: rows are copied after what is replayed.
    @Test func whatASnapshotHasAlreadyMayBeReplayed() throws {
        let ledger = MemoryLedger()
        let harness = try EngineHarness(.holding(open: 10))
        ledger.begin(harness.engine)
        try Self.live(harness)
        let before = Self.kept(harness.engine)
        var snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
        snapshot.starts = [UInt64](repeating: 1, count: Engine.shardCount)
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(snapshot, into: engine, at: harness.moment)
        let isAlike = Self.kept(engine) == before
        #expect(isAlike)
    }

    /// What was reserved without a journal stands in it whole with its end.
    @Test(arguments: [false, true])
    func anEndIsWholeWhereTheJournalKnowsNothingBeforeIt(extends: Bool) throws {
        let ledger = MemoryLedger()
        let harness = try EngineHarness(.holding(open: 10))
        ledger.begin(harness.engine)
        if !extends { harness.engine.setLedgerState(.unjournaled) }
        let id = try #require(harness.reserve(tokens: 5).id)
        harness.engine.setLedgerState(.unjournaled)
        if extends { #expect(harness.extend(id, hold: 50).isAllowed) }
        harness.engine.setLedgerState(.serving)
        let first = harness.settle(id, tokens: 4)
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: harness.moment)
        let isAlike = Self.kept(engine) == Self.kept(harness.engine)
        #expect(isAlike)
        let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
        #expect(again.settle(id, tokens: 4).bytes == first.bytes)
        #expect(again.settle(id, tokens: 5).status == .conflict)
    }

    /// The journal says nothing twice that recovery can find out: a row has 600 bytes, 18 slots.
    @Test func aReservationAndItsEndTakeFewSlots() throws {
        let ledger = MemoryLedger()
        let harness = try EngineHarness(.holding(open: 10))
        ledger.begin(harness.engine)
        // Names rows and counters.
        #expect(harness.settle(try #require(harness.reserve(tokens: 1).id)).isAllowed)
        let start = Self.slots(harness.engine)
        let id = try #require(harness.reserve(tokens: 2_000 / 10).id)
        let reserved = Self.slots(harness.engine)
        #expect(reserved - start <= 6)
        #expect(harness.settle(id, tokens: 150).isAllowed)
        // Two of them are the quotas'.
        #expect(Self.slots(harness.engine) - reserved <= 7)
    }

    /// The end of a reservation that nobody knows is no state of a shard.
    @Test func anEndWithoutItsReservationIsRefused() throws {
        let ledger = MemoryLedger()
        let harness = try EngineHarness(.holding(open: 10))
        ledger.begin(harness.engine)
        let id = try #require(harness.reserve(tokens: 5).id)
        let index = try #require(id.shardNamed)
        var snapshot = MemoryLedger.Snapshot()
        snapshot.starts[index] = harness.engine.journalPosition(shard: index).next
        snapshot.ends[index] = snapshot.starts[index]
        #expect(harness.settle(id, tokens: 0, calls: 0).isAllowed)
        #expect(throws: LedgerFault.unknownRow(UInt32(truncatingIfNeeded: id.low >> 32))) {
            try ledger.restore(
                snapshot, into: Engine(EngineConfiguration(hashKey: (1, 2))), at: harness.moment)
        }
        // Given up before the snapshot came to it, it is passed over.
        snapshot.ends[index] = .max
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(snapshot, into: engine, at: harness.moment)
        #expect(engine.gauges.reservations == 0)
    }
}
