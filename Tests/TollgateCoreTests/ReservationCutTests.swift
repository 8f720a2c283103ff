import Testing
import TollgateWire

@testable import TollgateCore

/// Holds that end without being asked to. Numbers as in `ReservationTests`.
@Suite struct ReservationCutTests {
    @Test(arguments: [
        (CutStream.nothing, UInt64(0), UInt64(0)), (.reported, 120, 0), (.estimate, 300, 1),
    ])
    func aCutChargesWhatThePlanSays(cut: CutStream, tokens: UInt64, calls: UInt64) throws {
        for isDead in [false, true] {
            let harness = try EngineHarness(.holding(cut: cut))
            let id = try #require(harness.reserve(tokens: 300, timeToLive: 1_000).id)
            #expect(harness.extend(id, hold: 300, used: 120).isAllowed)
            if isDead { harness.worker.release(connection: 1) } else {
                harness.advance(milliseconds: 1_000)
            }
            #expect(harness.numbers() == [tokens, 0, calls, 0, 300])
            #expect(harness.extend(id, hold: 300).status == .conflict)
            #expect(harness.cancel(id).status == .conflict)
            // The truth comes late: less what the cut has charged already.
            let settled = harness.settle(id, tokens: 200)
            #expect(settled.isAllowed)
            #expect(harness.numbers() == [200, 0, 1, 0, 200])
            #expect(harness.settle(id, tokens: 200) == settled)
            #expect(harness.numbers() == [200, 0, 1, 0, 200])
        }
    }

    /// A period that is over says for good what it was charged: what a late SETTLE makes more is
    /// charged to the period that goes on, and what it makes less is given back in none.
    @Test(arguments: [(UInt64(0), UInt64(0)), (4, 3)])
    func aLateSettleChangesNoPeriodThatIsOver(calls: UInt64, next: UInt64) throws {
        let harness = try EngineHarness(.holding(cut: .estimate))
        let id = try #require(harness.reserve(tokens: 300, timeToLive: 1_000).id)
        harness.advance(milliseconds: 1_000)
        #expect(harness.numbers()[2] == 1)
        // To the day after, and no further: tokens still hold.
        harness.advance(milliseconds: 86_400_000 - UInt64(harness.wall % 86_400_000))
        #expect(harness.numbers()[2] == 0)
        let settled = harness.settle(id, tokens: 300, calls: calls)
        #expect(settled.isAllowed)
        #expect(harness.numbers()[2] == next)
        #expect(harness.settle(id, tokens: 300, calls: calls) == settled)
        #expect(harness.numbers()[2] == next)
    }

    @Test func anExpiredHoldRefusesNobodyEvenBeforeItIsSwept() throws {
        let harness = try EngineHarness(.holding(tokens: 500, perMinute: 1 << 40))
        #expect(harness.reserve(tokens: 500, timeToLive: 1_000).isAllowed)
        harness.advance(milliseconds: 999)
        #expect(harness.check(meters: [("tokens", 500)]).reason == .quotaExhausted)
        harness.advance(milliseconds: 1)
        #expect(harness.check(meters: [("tokens", 500)]).isAllowed)
    }

    @Test func onlyTheHoldsOfTheDeadConnectionEndAndDetachedOnesStay() throws {
        let harness = try EngineHarness(.holding(open: 1_000))
        for connection in [UInt64(1), 1, 2] {
            #expect(harness.reserve(tokens: 10, connection: connection).isAllowed)
        }
        #expect(harness.reserve(tokens: 10, flags: RequestFlags.detached).isAllowed)
        let settled = try #require(harness.reserve(tokens: 10).id)
        #expect(harness.settle(settled).isAllowed)
        #expect(harness.numbers()[3] == 4)
        harness.worker.release(connection: 1)
        #expect(harness.numbers()[3] == 2)
        harness.worker.release(connection: 1)
        harness.worker.release(connection: 7)
        #expect(harness.numbers()[3] == 2)
        harness.worker.release(connection: 2)
        #expect(harness.numbers()[3] == 1)
        harness.advance(milliseconds: 60_000)
        harness.worker.tendHolds()
        #expect(harness.engine.gauges.openReservations == 0)
    }

    @Test func aThousandHoldsOfADeadCallerAreGoneAtOnce() throws {
        let harness = try EngineHarness(
            .holding(tokens: 1 << 40, calls: 1 << 30, perMinute: 1 << 40, open: 1_000))
        for _ in 0..<1_000 { #expect(harness.reserve(tokens: 10).isAllowed) }
        #expect(harness.reserve(tokens: 10).reason == .concurrencyExceeded)
        harness.worker.release(connection: 1)
        #expect(harness.numbers() == [0, 0, 0, 0, 10_000])
        #expect(harness.engine.gauges.openReservations == 0)
    }

    @Test func holdsEndInTheOrderOfTheirTimesWhateverTheyWere() throws {
        var random = SeededRandom.printed("ends of holds")
        let harness = try EngineHarness(
            .holding(tokens: 1 << 40, calls: 1 << 30, perMinute: 1 << 40, open: 1_000))
        var ends: [ReservationID: UInt64] = [:]
        for _ in 0..<(300 * testScale) {
            let life = UInt32.random(in: 100...3_000, using: &random)
            if ends.count < 900 {
                let id = try #require(harness.reserve(tokens: 1, timeToLive: life).id)
                ends[id] = harness.boot + UInt64(life) * 1_000_000
            }
            if Int.random(in: 0..<4, using: &random) == 0,
                let id = ends.keys.randomElement(using: &random)
            {
                let again = UInt32.random(in: 100...3_000, using: &random)
                #expect(harness.extend(id, hold: 1, timeToLive: again).isAllowed)
                ends[id] = harness.boot + UInt64(again) * 1_000_000
            }
            if Int.random(in: 0..<4, using: &random) == 0,
                let id = ends.keys.randomElement(using: &random)
            {
                #expect(harness.settle(id).isAllowed)
                ends[id] = nil
            }
            harness.advance(milliseconds: UInt64.random(in: 0...60, using: &random))
            ends = ends.filter { $0.value > harness.boot }
            #expect(harness.numbers()[3] == UInt64(ends.count))
        }
        for shard in 0..<Engine.shardCount {
            let table = harness.engine.shard(shard).table
            harness.engine.withLedger(shard) { $0.kept.open.checkInvariants(table.pointee) }
        }
    }

    @Test func anEngineThatWasRestoredCutsWhatWasTiedAndKeepsWhatWasDetached() throws {
        let ledger = MemoryLedger()
        let harness = try EngineHarness(.holding(open: 10))
        ledger.begin(harness.engine)
        let tied = try #require(harness.reserve(tokens: 100).id)
        #expect(
            harness.reserve(tokens: 50, timeToLive: 20_000, flags: RequestFlags.detached)
                .isAllowed)
        let settled = try #require(harness.reserve(tokens: 30).id)
        let first = harness.settle(settled, tokens: 20)
        #expect(harness.extend(tied, hold: 100, used: 60).isAllowed)
        #expect(harness.worker.hasJournaled)
        for snapshot in [
            MemoryLedger.Snapshot(), ledger.snapshot(of: harness.engine, at: harness.moment),
        ] {
            let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
            try ledger.restore(snapshot, into: engine, at: harness.moment)
            let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
            // 60 of the tied one were reported; its hold is gone, and with it what it had open.
            #expect(Array(again.numbers().prefix(4)) == [80, 50, 1, 1])
            #expect(again.settle(settled, tokens: 20).bytes == first.bytes)
            #expect(again.settle(tied, tokens: 90).isAllowed)
            #expect(Array(again.numbers().prefix(4)) == [110, 50, 2, 1])
            again.advance(milliseconds: 20_000)
            #expect(Array(again.numbers().prefix(4)) == [110, 0, 2, 0])
            #expect(engine.gauges.reservations == 3)
        }
    }

    @Test func withoutAJournalNothingIsReservedAndNothingEnds() throws {
        let ledger = MemoryLedger()
        let harness = try EngineHarness(.holding())
        ledger.begin(harness.engine)
        let id = try #require(harness.reserve(tokens: 100).id)
        let before = harness.numbers()
        harness.engine.setLedgerState(.refusing)
        #expect(harness.reserve(tokens: 1).reason == .ledgerUnavailable)
        #expect(harness.extend(id, hold: 200).reason == .ledgerUnavailable)
        #expect(harness.settle(id, tokens: 1).reason == .ledgerUnavailable)
        #expect(harness.cancel(id).reason == .ledgerUnavailable)
        harness.worker.release(connection: 1)
        #expect(harness.numbers() == before)
        #expect(harness.engine.gauges.reservations == 1)
        harness.engine.setLedgerState(.serving)
        #expect(harness.numbers() == [0, 0, 0, 0, 100], "it was due, and ends as soon as it can")
    }
}
