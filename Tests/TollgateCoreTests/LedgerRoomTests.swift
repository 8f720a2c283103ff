import Testing
import TollgateWire

@testable import TollgateCore

/// What a journal that is nearly full lets through, and that a charge fits into one that is not.
@Suite struct LedgerRoomTests {
    /// Of the smallest region.
    private static let slots = UInt64(ShardJournal.transactionSlotsMax + 1)

    private func spend(
        _ harness: EngineHarness, user: String, calls: UInt64, tokens: UInt64 = 0
    ) -> Answer {
        harness.consume(
            organization: "acme", user: user, plan: "pro_tier", operation: "chat",
            meters: [("calls", calls), ("tokens", tokens)])
    }

    /// A day on which ada has used up her quota and holds `held` calls besides, and a journal
    /// with `left` slots: not enough to close the day. Then the next day.
    private func nearlyFull(
        left: UInt64, held: UInt64 = 0, _ harness: EngineHarness, _ ledger: MemoryLedger
    ) throws {
        ledger.begin(harness.engine)
        if held > 0 { #expect(reserve(harness, calls: held).isAllowed) }
        #expect(spend(harness, user: "ada", calls: 100).isAllowed)
        let index = try #require(
            (0..<Engine.shardCount).first { harness.engine.journalPosition(shard: $0).next > 1 })
        while harness.engine.journalPosition(shard: index).next - 1 < Self.slots - left {
            #expect(spend(harness, user: "bob", calls: 0, tokens: 1).isAllowed)
        }
        harness.advance(milliseconds: 2 * 3_600_000)
    }

    private func reserve(_ harness: EngineHarness, calls: UInt64) -> Answer {
        let body = DecisionWorker.reserveBody(EngineHarness.token(), meters: [("calls", calls)])
        let outcome = body.withUnsafeBytes {
            harness.worker.reserve($0, connection: 1, into: harness.reply)
        }
        return HoldAnswer(outcome, harness.reply).answer
    }

    private static func policy(daily: UInt64 = 100) -> PolicyDefinition {
        .small(userPerSecond: 1_000, daily: daily, monthlyTokens: 1_000_000)
    }

    @Test func aDayThatCannotBeClosedIsNotChargedForTheNext() throws {
        let (harness, ledger) = (try EngineHarness(Self.policy()), MemoryLedger())
        try nearlyFull(left: UInt64(ShardLedger.closeSlots - 10), harness, ledger)
        for _ in 0..<5 {
            let answer = harness.check(meters: [("calls", 50)])
            #expect(answer.reason == .ledgerUnavailable)
            #expect(spend(harness, user: "ada", calls: 1).reason == .ledgerUnavailable)
            harness.advance(milliseconds: 1_000)
        }
        #expect(reserve(harness, calls: 1).reason == .ledgerUnavailable)
        // Whoever counts in no other period goes on.
        #expect(spend(harness, user: "bob", calls: 0, tokens: 1).isAllowed)
        ledger.tend(harness.engine)
        harness.advance(milliseconds: 1_000)
        #expect(harness.check(meters: [("calls", 50)]).isAllowed)
        #expect(harness.usage(organization: "acme", user: "ada")["daily_calls"] == 50)
        #expect(closed(harness) == [100])
    }

    /// What is held of the day that cannot be closed takes nothing of the next.
    @Test func whatADayHoldsThatCannotBeClosedRefusesNobodyOnTheNext() throws {
        let (harness, ledger) = (try EngineHarness(Self.policy(daily: 60)), MemoryLedger())
        let left = UInt64(ShardLedger.closeSlots - 10)
        try nearlyFull(left: left, held: 40, harness, ledger)
        #expect(harness.check(meters: [("calls", 50)]).reason == .ledgerUnavailable)
        ledger.tend(harness.engine)
        harness.advance(milliseconds: 1_000)
        #expect(harness.check(meters: [("calls", 50)]).isAllowed)
    }

    /// Units of all periods that wait to be archived.
    private func closed(_ harness: EngineHarness) -> [UInt64] {
        (0..<Engine.shardCount).flatMap { harness.engine.takeClosed(shard: $0).periods }
            .compactMap { period in
                period.bytes.withUnsafeBytes { ClosedPeriod($0)?.used }
            }
    }

    // MARK: credits

    private static func crediting(quotas: Int) -> PolicyDefinition {
        var policy = PolicyDefinition.crediting { $0.limit = 10 }
        let quota = policy.plans[0].quotas[0]
        policy.plans[0].quotas = (0..<quotas).map {
            var quota = quota
            quota.name = "quota_\($0)"
            return quota
        }
        return policy
    }

    /// Grants of which one charge may burn all, beyond as many quotas as a plan may have: it fits,
    /// if not into the smallest region, then into one of the size that the shard asks for.
    @Test(arguments: [12, 48]) func aChargeThatBurnsManyGrantsFits(quotas: Int) throws {
        let harness = try EngineHarness(Self.crediting(quotas: quotas))
        let ledger = MemoryLedger(isGrowing: true)
        ledger.begin(harness.engine)
        for quota in 0..<quotas {
            for grant in 0..<8 {
                #expect(harness.grant("g\(grant)", 5, quota: "quota_\(quota)"))
            }
        }
        // Nothing burns.
        #expect(harness.spend(1).isAllowed)
        #expect(harness.use(1).isAllowed)
        ledger.tend(harness.engine)
        var refused = 0
        while !harness.spend(48).isAllowed, refused < 3 {
            ledger.tend(harness.engine)
            refused += 1
        }
        #expect(refused == (quotas > 12 ? 1 : 0))
        for quota in 0..<quotas {
            let uses = harness.engine.grantUses(
                of: "acme", isPersonal: false, quota: "quota_\(quota)", at: harness.moment)
            #expect(uses.map(\.burnt) == [5, 5, 5, 5, 5, 5, 5, 5])
        }
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: harness.moment)
        let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
        let used = again.usage(organization: "acme", user: "ada", plan: "pro_tier")
        #expect(used.count == quotas && Set(used.values) == [50])
    }
}
