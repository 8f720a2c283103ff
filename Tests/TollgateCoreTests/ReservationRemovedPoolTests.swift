import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore

/// A reservation that ends behind a reload which took its organization's pool out: what is billed
/// of the pool stays the sum of what its members are told to have used.
@Suite struct ReservationRemovedPoolTests {
    private static func pooled(_ cut: CutStream) -> PolicyDefinition {
        var policy = PolicyDefinition.holding(calls: 1 << 40, perMinute: 1 << 40, cut: cut)
        policy.plans[0].quotas[1].memberMin = 100
        return policy
    }

    /// What comes in the pool's place.
    enum Change: CaseIterable {
        /// Nothing: who has nothing is forgotten.
        case nothing
        /// A quota of each user, for which the users' rows make room.
        case ofUsers
        /// A quota of the organization, for which its row does.
        case ofOrganizations
    }

    private static func changed(_ change: Change, _ cut: CutStream) -> PolicyDefinition {
        var policy = pooled(cut)
        policy.plans[0].quotas.removeLast()
        switch change {
        case .nothing: break
        case .ofUsers:
            policy.plans[0].quotas.append(
                QuotaDefinition(
                    name: "other", scope: .user, meter: "tokens", limit: 1 << 40, period: .month))
        case .ofOrganizations:
            policy.plans[0].quotas.append(
                QuotaDefinition(
                    name: "other", scope: .organization, meter: "tokens", limit: 1 << 40,
                    period: .month))
        }
        return policy
    }

    private struct Billed: Equatable {
        var whole: UInt64 = 0
        var shares: [String: UInt64] = [:]
    }

    /// Of the pool, when its month is over.
    private func billed(_ harness: EngineHarness, _ ledger: MemoryLedger) -> Billed {
        harness.advance(milliseconds: 31 * 86_400_000)
        var billed = Billed()
        for (name, closed) in ledger.closeWhatIsOver(of: harness.engine, at: harness.moment) {
            if name.hasPrefix("q monthly_tokens ") { billed.whole += closed.used }
            if name.hasPrefix("m monthly_tokens ") {
                billed.shares[closed.user ?? "", default: 0] += closed.used
            }
        }
        return billed
    }

    private func sweep(_ harness: EngineHarness) {
        harness.advance(milliseconds: 120_000)
        for _ in 0..<(4 * Engine.shardCount) { harness.worker.sweep() }
    }

    /// Ada's hold is over before the reload, of which `cut` was charged, and she settles late.
    @Test(arguments: Change.allCases, [CutStream.nothing, .reported, .estimate])
    func aLateSettleIsBilledToBothOrToNeither(_ change: Change, _ cut: CutStream) throws {
        for (units, isSwept) in [(30, false), (30, true), (300, true), (0, true), (10, false)]
            as [(UInt64, Bool)]
        {
            let (harness, ledger) = (try EngineHarness(Self.pooled(cut)), MemoryLedger())
            ledger.begin(harness.engine)
            let now = harness.moment.wall.seconds
            let bob = EngineHarness.token(user: "bob", issued: now, expires: now + 10_000)
            #expect(harness.check(bob, meters: [("tokens", 5)]).isAllowed)
            let id = try #require(harness.reserve(tokens: 200, timeToLive: 1_000).id)
            #expect(harness.extend(id, hold: 200, used: 20).isAllowed)
            harness.advance(milliseconds: 1_000)
            harness.worker.tendHolds()
            ledger.tend(harness.engine)
            let charged: UInt64 = [.nothing: 0, .reported: 20, .estimate: 200][cut] ?? 0
            try harness.reload(Self.changed(change, cut))
            // Whoever makes room in which row.
            #expect(harness.check(bob, meters: [("tokens", 1)]).isAllowed)
            if isSwept { sweep(harness) }
            #expect(harness.settle(id, tokens: units).isAllowed)
            ledger.tend(harness.engine)
            let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
            try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: harness.moment)
            let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
            again.engine.setLedgerState(.unjournaled)
            let words = "\(change) \(cut) \(units) \(isSwept)"
            for harness in [harness, again] {
                let billed = billed(harness, ledger)
                #expect(billed.whole == billed.shares.values.reduce(0, +), "\(words)")
                let ada = billed.shares["ada"] ?? 0
                #expect(billed.shares["bob"] == 5, "\(words)")
                // What is more is billed; what is less, as far as it still can be given back.
                #expect(ada == units || (units < charged && ada == charged), "\(words): \(ada)")
            }
        }
    }

    /// Ada's hold is open while the pool is taken out.
    @Test(arguments: Change.allCases)
    func anOpenHoldIsBilledToBoth(_ change: Change) throws {
        let (harness, ledger) = (try EngineHarness(Self.pooled(.reported)), MemoryLedger())
        ledger.begin(harness.engine)
        #expect(harness.check(meters: [("tokens", 5)]).isAllowed)
        let id = try #require(harness.reserve(tokens: 200).id)
        try harness.reload(Self.changed(change, .reported))
        #expect(harness.check(meters: [("tokens", 1)]).isAllowed)
        #expect(harness.settle(id, tokens: 70).isAllowed)
        ledger.tend(harness.engine)
        let billed = billed(harness, ledger)
        #expect(billed == Billed(whole: 75, shares: ["ada": 75]))
    }

    /// Ada settles on the day after, on which the pool has counted bob and nobody her. Her plan has
    /// the pool no more, bob's has.
    @Test(arguments: [CutStream.nothing, .reported, .estimate])
    func aSettleAfterThePeriodIsBilledToNeither(_ cut: CutStream) throws {
        var policy = Self.pooled(cut)
        policy.plans[0].quotas[1].period = .day
        var other = policy.plans[0]
        other.name = "free_tier"
        policy.plans.append(other)
        let (harness, ledger) = (try EngineHarness(policy), MemoryLedger())
        ledger.begin(harness.engine)
        func spendByBob(_ units: UInt64) -> Answer {
            harness.consume(
                organization: "acme", user: "bob", plan: "free_tier", operation: "chat",
                meters: [("tokens", units)])
        }
        #expect(spendByBob(5).isAllowed)
        let id = try #require(harness.reserve(tokens: 200, timeToLive: 1_000).id)
        #expect(harness.extend(id, hold: 200, used: 20).isAllowed)
        harness.advance(milliseconds: 1_000)
        harness.worker.tendHolds()
        policy.plans[0].quotas.removeLast()
        try harness.reload(policy)
        harness.advance(milliseconds: 2 * 3_600_000)
        #expect(spendByBob(7).isAllowed)
        #expect(harness.settle(id, tokens: 300).isAllowed)
        ledger.tend(harness.engine)
        let billed = billed(harness, ledger)
        let charged: UInt64 = [.nothing: 0, .reported: 20, .estimate: 200][cut] ?? 0
        #expect(billed.whole == 12 + charged)
        #expect(billed.shares["bob"] == 12)
        #expect(billed.shares["ada"] ?? 0 == charged)
    }
}
