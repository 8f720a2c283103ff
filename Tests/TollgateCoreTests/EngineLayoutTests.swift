import Testing
import TollgateWire

@testable import TollgateCore

/// Rows keep every plan's counters, and looking changes none of them.
@Suite struct EngineLayoutTests {
    /// Plans a, b, c, ... each with a quota of its own and one that all share.
    private static func manyPlans(_ count: Int) -> PolicyDefinition {
        var policy = PolicyDefinition.small()
        policy.addressLimits = []
        policy.plans = (0..<count).map { index in
            PlanDefinition(
                name: "plan\(index)",
                quotas: [
                    QuotaDefinition(name: "own\(index)", scope: .user, limit: 1_000, period: .day),
                    QuotaDefinition(name: "shared", scope: .user, limit: 1_000, period: .day),
                ])
        }
        return policy
    }

    private static func consume(_ harness: EngineHarness, user: String, plan: Int) {
        let answer = harness.consume(
            organization: "acme", user: user, plan: "plan\(plan)", operation: "models",
            meters: [("calls", 1)])
        #expect(answer.isAllowed)
    }

    @Test func plansInAnyOrderNeedFewLayoutsAndLoseNothing() throws {
        let harness = try EngineHarness(Self.manyPlans(9))
        let before = harness.engine.layouts.total
        var random = SeededRandom(seed: 1)
        for user in 0..<200 {
            let order = (0..<9).shuffled(using: &random)
            for plan in order { Self.consume(harness, user: "u\(user)", plan: plan) }
            let used = harness.usage(organization: "acme", user: "u\(user)", plan: "plan3")
            #expect(used == ["own3": 1, "shared": 9])
        }
        #expect(harness.engine.layouts.total - before <= 12)
    }

    @Test func usageAndDryRunsOfAnotherPlanChangeNoCounter() throws {
        var policy = PolicyDefinition.small()
        policy.addressLimits = []
        policy.plans[1].rateLimits = []
        policy.plans[1].quotas = [
            QuotaDefinition(name: "monthly", scope: .organization, limit: 5, period: .month)
        ]
        // Wide rows: what fits beside them was dropped.
        policy.plans[0].rateLimits = (0..<4).map {
            RateLimitDefinition(
                name: "wide\($0)", scope: .organization, limit: 1 << 40,
                windowNanoseconds: 60_000_000_000, subBuckets: 120)
        }
        let harness = try EngineHarness(policy)
        for _ in 0..<5 { #expect(harness.check(operation: "models").isAllowed) }
        #expect(harness.check(operation: "models").reason == .quotaExhausted)
        let colleague = EngineHarness.token(user: "bob", plan: "free_tier")
        for _ in 0..<3 {
            _ = harness.usage(organization: "acme", user: "ada", plan: "free_tier")
            #expect(
                harness.check(colleague, operation: "models", flags: RequestFlags.dryRun).isAllowed)
            #expect(harness.check(operation: "models").reason == .quotaExhausted)
        }
        let before = harness.engine.layouts.total
        #expect(harness.check(colleague, operation: "models").isAllowed)
        #expect(harness.check(operation: "models").reason == .quotaExhausted)
        #expect(harness.engine.layouts.total == before)
    }

    @Test func aNameIsOneCounterInAllPlans() throws {
        func faults(_ change: (inout PolicyDefinition) -> Void) -> [String] {
            var policy = PolicyDefinition.small()
            change(&policy)
            do throws(PolicyCompileError) {
                _ = try PolicyImage(compiling: policy, generation: 1)
                return []
            } catch { return error.messages }
        }
        #expect(faults { _ in }.isEmpty)
        #expect(faults { $0.plans[0].rateLimits[0].limit = 100_000 }.isEmpty)
        let bad: [(inout PolicyDefinition) -> Void] = [
            { $0.plans[0].rateLimits[0].windowNanoseconds *= 2 },
            { $0.plans[0].rateLimits[0].meter = "tokens" },
            { $0.plans[0].rateLimits[0].mode = .smooth },
            { $0.plans[0].rateLimits[0].subBuckets = 7 },
            { $0.plans[0].quotas[0].period = .month },
            { $0.plans[0].quotas[0].timeZone = ZoneRules(
                    name: "East", transitions: [], offsets: [], firstOffset: 3_600) },
            { $0.plans[0].quotas[0].name = "per_second" },
        ]
        for (index, change) in bad.enumerated() {
            let found = faults(change)
            #expect(
                found.contains { $0.contains("one counter in all plans") }, "\(index): \(found)")
        }
    }

    @Test func widerCellsOfAnotherPlanCountTheSameCalls() throws {
        var policy = PolicyDefinition.small()
        policy.plans[1].rateLimits[0].limit = 100_000
        let harness = try EngineHarness(policy)
        let free = EngineHarness.token(plan: "free_tier")
        #expect(harness.check(free, operation: "models").isAllowed)
        #expect(harness.check(operation: "models").isAllowed)
        #expect(harness.check(free, operation: "models").reason == .rateLimited)
        #expect(harness.usage(organization: "acme", user: "ada")["per_second"] == 2)
    }

    /// The number of the layout that ada's row has.
    private static func layout(_ harness: EngineHarness) -> UInt32 {
        Array("acme".utf8).withUnsafeBytes { acme in
            Array("ada".utf8).withUnsafeBytes { ada in
                let principal = Principal(
                    user: ada, organization: acme, isPersonal: false, plan: 1,
                    permissions: PermissionSet(), hash: harness.engine.hash)
                let table = harness.engine.tenantShard(principal.organizationHash).table
                return table.pointee.row(table.pointee.find(principal.userKey)).layout
            }
        }
    }

    @Test func aLookAtAnotherPlanLeavesTheRowAsItIs() throws {
        let harness = try EngineHarness()
        #expect(harness.check(operation: "models").isAllowed)
        let before = Self.layout(harness)
        var policy = PolicyDefinition.small()
        policy.plans[0].rateLimits.append(
            RateLimitDefinition(
                name: "more", scope: .user, limit: 9, windowNanoseconds: 1_000_000_000))
        try harness.reload(policy)
        let free = EngineHarness.token(plan: "free_tier")
        _ = harness.usage(organization: "acme", user: "ada", plan: "free_tier")
        #expect(
            harness.check(free, operation: "models", flags: RequestFlags.dryRun).isAllowed)
        #expect(Self.layout(harness) == before)
        #expect(harness.check(free, operation: "models").isAllowed)
        #expect(Self.layout(harness) != before)
    }

    @Test func plansWhoseCountersDoNotFitARowTogetherAreRefused() throws {
        func wide(_ plan: Int) -> [RateLimitDefinition] {
            (0..<20).map {
                RateLimitDefinition(
                    name: "wide\(plan)-\($0)", scope: .user, limit: 1 << 40,
                    windowNanoseconds: 60_000_000_000, subBuckets: 120)
            }
        }
        var policy = PolicyDefinition.small()
        policy.plans[0].rateLimits = wide(0)
        _ = try PolicyImage(compiling: policy, generation: 1)
        policy.plans[1].rateLimits = wide(1)
        #expect(throws: PolicyCompileError.self) {
            _ = try PolicyImage(compiling: policy, generation: 1)
        }
    }
}
