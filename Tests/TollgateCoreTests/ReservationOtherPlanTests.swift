import Testing
import TollgateWire

@testable import TollgateCore

/// A reservation that is settled when its plan has its quotas no more, and another plan has them: a
/// name is one counter in all plans, so what it comes to counts there, whatever rows had been
/// forgotten because nothing was in them.
@Suite struct ReservationOtherPlanTests {
    /// What limits ada to 100 tokens a month.
    enum Limit: CaseIterable { case quotaOfUsers, shareOfPool }
    /// What a reload made of the plan that she reserved by.
    enum Plan: CaseIterable { case withoutTheQuota, gone }
    /// What made a row for her after she had none.
    enum Between: CaseIterable { case nothing, requestByTheOtherPlan, requestByHerPlan }

    private static func policy(_ limit: Limit) -> PolicyDefinition {
        var policy = PolicyDefinition.holding(calls: 1 << 40, perMinute: 1 << 40, cut: .nothing)
        switch limit {
        case .quotaOfUsers: policy.plans[0].quotas[1].scope = .user
        case .shareOfPool:
            policy.plans[0].quotas[1].limit = 10_000
            policy.plans[0].quotas[1].memberMax = 100
            policy.plans[0].quotas[1].memberMin = 10
        }
        if limit == .quotaOfUsers { policy.plans[0].quotas[1].limit = 100 }
        policy.operations.append(OperationDefinition(name: "models"))
        var other = policy.plans[0]
        other.name = "free_tier"
        policy.plans.append(other)
        return policy
    }

    private func settled(
        _ limit: Limit, _ plan: Plan, _ between: Between, _ harness: EngineHarness,
        _ ledger: MemoryLedger
    ) throws {
        ledger.begin(harness.engine)
        let id = try #require(harness.reserve(tokens: 50, timeToLive: 1_000).id)
        harness.advance(milliseconds: 1_000)
        harness.worker.tendHolds()
        var policy = Self.policy(limit)
        switch plan {
        case .withoutTheQuota: policy.plans[0].quotas.removeLast()
        case .gone: policy.plans.removeFirst()
        }
        try harness.reload(policy)
        harness.advance(milliseconds: 120_000)
        for _ in 0..<(4 * Engine.shardCount) { harness.worker.sweep() }
        #expect(harness.engine.gauges.users == 0)
        if between != .nothing {
            let name = between == .requestByHerPlan ? "pro_tier" : "free_tier"
            let made = harness.consume(
                organization: "acme", user: "ada", plan: name, operation: "models",
                meters: [("calls", 1)])
            #expect(made.isAllowed)
        }
        #expect(harness.settle(id, tokens: 70).isAllowed)
        ledger.tend(harness.engine)
    }

    @Test(arguments: Limit.allCases, Plan.allCases)
    func whatItComesToCountsInTheOtherPlan(_ limit: Limit, _ plan: Plan) throws {
        for between in Between.allCases
        where plan != .gone || between != .requestByHerPlan {
            let (harness, ledger) = (try EngineHarness(Self.policy(limit)), MemoryLedger())
            try settled(limit, plan, between, harness, ledger)
            let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
            try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: harness.moment)
            let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
            again.engine.setLedgerState(.unjournaled)
            let token = EngineHarness.token(plan: "free_tier")
            for (harness, life) in [(harness, "as it was"), (again, "restored")] {
                let words = Comment(rawValue: "\(limit) \(plan) \(between) \(life)")
                let over = harness.check(token, meters: [("tokens", 31)])
                #expect(over.reason == .quotaExhausted, words)
                #expect(harness.check(token, meters: [("tokens", 30)]).isAllowed, words)
            }
        }
    }
}
