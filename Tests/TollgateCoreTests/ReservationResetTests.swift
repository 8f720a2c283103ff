import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore

/// What a cut has charged, a reset of the organization's quotas has billed as a part of the period:
/// a SETTLE that comes later gives nothing back of it, and of nothing that others used since.
@Suite struct ReservationResetTests {
    private static func pooled() -> PolicyDefinition {
        var policy = PolicyDefinition.holding(
            tokens: 1 << 40, calls: 1 << 40, perMinute: 1 << 40, open: 1_000, cut: .estimate)
        policy.plans[0].quotas[1].memberMin = 100
        return policy
    }

    /// What the pool counts, and of whom: who counts nothing is left out.
    private struct Pool: Equatable {
        var whole: UInt64 = 0
        var shares: [String: UInt64] = [:]

        init(_ harness: EngineHarness) {
            for shard in 0..<Engine.shardCount {
                for saved in harness.engine.savedUsage(shard: shard) where saved.used > 0 {
                    if saved.counter.hasPrefix("m monthly_tokens ") {
                        shares[saved.user ?? ""] = saved.used
                    } else if saved.counter.hasPrefix("q monthly_tokens ") {
                        whole = saved.used
                    }
                }
            }
        }

        init(_ shares: [String: UInt64]) {
            self.shares = shares
            whole = shares.values.reduce(0, +)
        }
    }

    private func cut(_ tokens: UInt64, _ harness: EngineHarness) throws -> ReservationID {
        let id = try #require(harness.reserve(tokens: tokens, timeToLive: 1_000).id)
        harness.advance(milliseconds: 1_000)
        harness.worker.tendHolds()
        try #require(harness.engine.gauges.openReservations == 0)
        return id
    }

    private func spend(_ user: String, _ tokens: UInt64, _ harness: EngineHarness) {
        let answer = harness.consume(
            organization: "acme", user: user, plan: "pro_tier", operation: "chat",
            meters: [("tokens", tokens)])
        #expect(answer.isAllowed)
    }

    /// Six members fit into one transaction of the journal; 150 take many. Over a start, too, from
    /// a snapshot of before the reset, of behind it, of later, and from the journal alone.
    @Test(arguments: [6, 150], [0, 1, 2, 3])
    func aLateSettleGivesBackNothingOfWhatAResetHasClosed(members: Int, from place: Int) throws {
        for (late, isRemoved) in [(10, false), (60, false), (10, true), (60, true)]
            as [(UInt64, Bool)]
        {
            let harness = try EngineHarness(Self.pooled())
            let ledger = MemoryLedger(regionBytes: 1 << 17)
            ledger.begin(harness.engine)
            var snapshot = MemoryLedger.Snapshot()
            func mayBeSaved(_ step: Int) {
                guard step == place else { return }
                snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
            }
            for member in 0..<members { spend("member-\(member)-of-a-pool", 2, harness) }
            let first = try cut(50, harness)
            mayBeSaved(0)
            #expect(
                harness.engine.resetQuotas(of: "acme", isPersonal: false, at: harness.moment))
            #expect(Pool(harness) == Pool([:]))
            mayBeSaved(1)
            let second = try cut(40, harness)
            spend("bob", 30, harness)
            mayBeSaved(2)
            #expect(Pool(harness) == Pool(["ada": 40, "bob": 30]))
            let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
            try ledger.restore(snapshot, into: engine, at: harness.moment)
            let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
            let next = MemoryLedger(regionBytes: 1 << 16)
            next.begin(engine, life: 2)
            // Rows that the journal alone has put together make room for windows, and close then
            // what the plan has no more.
            let lives = isRemoved && place == 3 ? [harness] : [harness, again]
            for (number, harness) in lives.enumerated() {
                let words = "\(members) \(place) \(late) \(isRemoved) \(number)"
                if isRemoved {
                    var policy = Self.pooled()
                    policy.plans[0].quotas.removeLast()
                    try harness.reload(policy)
                }
                #expect(harness.settle(first, tokens: late).isAllowed)
                let more = late > 50 ? late - 50 : 0
                #expect(Pool(harness) == Pool(["ada": 40 + more, "bob": 30]), "\(words)")
                // Cut since: all of it is given back.
                #expect(harness.settle(second, tokens: 5).isAllowed)
                #expect(Pool(harness) == Pool(["ada": 5 + more, "bob": 30]), "\(words)")
            }
        }
    }

    /// A reset that was cut off in its middle is ended by the start: what it had closed by then,
    /// and what it had not come to, are one.
    @Test func aSettleBehindAResetThatAStartHasEndedGivesNothingBack() throws {
        let harness = try EngineHarness(Self.pooled())
        let ledger = MemoryLedger(regionBytes: 1 << 17)
        ledger.begin(harness.engine)
        for member in 0..<150 { spend("member-\(member)-of-a-pool", 2, harness) }
        let id = try cut(50, harness)
        let index = try #require(
            (0..<Engine.shardCount).first { harness.engine.journalPosition(shard: $0).next > 1 })
        let before = harness.engine.journalPosition(shard: index).next
        #expect(harness.engine.resetQuotas(of: "acme", isPersonal: false, at: harness.moment))
        let after = harness.engine.journalPosition(shard: index).next
        let region = try #require(
            ledger.regions.first {
                (try? JournalReader(UnsafeRawBufferPointer($0)))?.header.shard == UInt16(index)
            })
        var (ended, whole, none) = (0, 0, 0)
        for end in stride(from: after, through: before, by: -71) {
            let offset = JournalFormat.headerBytes + Int(end - 1) * JournalFormat.slotBytes
            UnsafeMutableRawBufferPointer(rebasing: region[offset...])
                .initializeMemory(as: UInt8.self, repeating: 0)
            let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
            try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: harness.moment)
            let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
            let next = MemoryLedger(regionBytes: 1 << 16)
            next.begin(engine, life: 2)
            let isReset = Pool(again) == Pool([:])
            let kept = Pool(again).shares.filter { $0.key != "ada" }
            spend("bob", 30, again)
            #expect(again.settle(id, tokens: 10).isAllowed)
            let own = isReset ? [:] : ["ada": 10 as UInt64]
            let all = kept.merging(own.merging(["bob": 30]) { $1 }) { $1 }
            #expect(Pool(again) == Pool(all), "cut at \(end) of \(before) to \(after)")
            if !isReset { none += 1 } else if end < after { ended += 1 } else { whole += 1 }
        }
        #expect(ended > 2 && whole == 1, "\(ended) \(whole) \(none)")
    }

    /// What cannot be ended as its row's old quota finds no room in the journal says nothing of
    /// whom another ceiling refuses next.
    @Test func aCutThatFindsNoRoomIsNoReasonForOthers() throws {
        var policy = PolicyDefinition.holding(calls: 1 << 40, perMinute: 1 << 40)
        let harness = try EngineHarness(policy) { $0.usersMax = 2 }
        let ledger = MemoryLedger()
        ledger.begin(harness.engine)
        for isReleased in [true, false] {
            // What the row is to close when it drops the quota.
            #expect(harness.check(meters: [("calls", 1)]).isAllowed)
            #expect(harness.reserve(tokens: 10, timeToLive: 1_000).isAllowed)
            while harness.consume(
                organization: "acme", user: "bob", plan: "pro_tier", operation: "chat",
                meters: [("calls", 1)]
            ).isAllowed {}
            policy.plans[0].quotas[0].name += "_anew"
            try harness.reload(policy)
            if isReleased {
                harness.worker.release(connection: 1)
            } else {
                harness.advance(milliseconds: 1_000)
                harness.worker.tendHolds()
            }
            #expect(harness.engine.gauges.openReservations == 1)
            let other = EngineHarness.token(user: "cyd", organization: "globex")
            let full = harness.engine.gauges.capacityRefusals
            #expect(harness.check(other).reason == .capacityExhausted)
            #expect(harness.engine.gauges.capacityRefusals == full + 1)
            ledger.tend(harness.engine)
            harness.worker.tendHolds()
            #expect(harness.engine.gauges.openReservations == 0)
        }
    }
}
