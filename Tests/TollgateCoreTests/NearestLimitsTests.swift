import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore

/// Who is nearest to the end of a quota, over all shards, against a plain model.
@Suite struct NearestLimitsTests {
    private static let day: UInt64 = 86_400_000

    /// `pooled`: 1,000 tokens of the organization a day, 400 for each member, and 50 calls of each
    /// user a month. `wide`: 5,000 tokens at all, with credits, and calls without a limit.
    private static var definition: PolicyDefinition {
        var pool = QuotaDefinition(
            name: "pool", scope: .organization, meter: "tokens", limit: 1_000, period: .day)
        pool.memberMax = 400
        pool.rolloverMax = 100
        var all = QuotaDefinition(
            name: "all", scope: .organization, meter: "tokens", limit: 5_000, period: .total)
        all.hasCredits = true
        all.isSoft = true
        var plans = [
            PlanDefinition(
                name: "pooled",
                quotas: [
                    pool, QuotaDefinition(name: "own", scope: .user, limit: 50, period: .month),
                ]),
            PlanDefinition(
                name: "wide",
                quotas: [
                    all,
                    QuotaDefinition(
                        name: "free", scope: .organization, limit: QuotaDefinition.unlimited,
                        period: .day),
                ]),
        ]
        plans[1].quotas[1].isShadow = true
        var policy = EngineQuotaModelTests.definition(plans[0], nil)
        policy.plans = plans
        policy.operations[0].charges[1].weight = 1
        return policy
    }

    private static func consume(
        _ harness: EngineHarness, _ organization: String, _ user: String, _ plan: String,
        tokens: UInt64, calls: UInt64 = 0, isPersonal: Bool = false
    ) {
        let answer = harness.consume(
            organization: organization, user: user, plan: plan, operation: "op",
            meters: [("tokens", tokens), ("calls", calls)],
            flags: isPersonal ? RequestFlags.personalOrganization : 0)
        #expect(answer.isAllowed)
    }

    private static func nearest(_ harness: EngineHarness, _ most: Int = 20) -> NearestLimits {
        harness.engine.nearestLimits(harness.policy, most: most, at: harness.moment) {}
    }

    /// What the model knows of a counter.
    private struct Counter: Hashable {
        var organization: String
        var isPersonal = false
        var user: String?
        var quota: String
        var isShare = false
    }

    private struct Model {
        var used: [Counter: UInt64] = [:]
        /// Of organizations, by quota.
        var overrides: [String: [String: UInt64]] = [:]
        var granted: [String: UInt64] = [:]

        mutating func add(
            _ organization: String, _ user: String, _ plan: String, _ tokens: UInt64,
            _ calls: UInt64, isPersonal: Bool
        ) {
            func counter(_ quota: String, _ user: String?, _ isShare: Bool = false) -> Counter {
                Counter(
                    organization: organization, isPersonal: isPersonal, user: user, quota: quota,
                    isShare: isShare)
            }
            if plan == "pooled" {
                used[counter("pool", nil), default: 0] += tokens
                used[counter("pool", user, true), default: 0] += tokens
                used[counter("own", user), default: 0] += calls
            } else {
                used[counter("all", nil), default: 0] += tokens
            }
        }

        func limit(_ counter: Counter) -> UInt64 {
            let own = overrides[counter.organization]?[counter.quota]
            switch counter.quota {
            case "own": return own ?? 50
            case "all": return (own ?? 5_000) + (granted[counter.organization] ?? 0)
            default: return counter.isShare ? 400 : own ?? 1_000
            }
        }

        /// The part of the limit, in parts of so many that no two are taken for one.
        func part(_ counter: Counter) -> Double {
            Double(used[counter] ?? 0) / Double(limit(counter))
        }
    }

    @Test(arguments: [1, 20, 100])
    func theNearestOfThousandsOfOrganizationsAreThoseOfAModel(most: Int) throws {
        var random = SeededRandom.printed("nearest \(most)")
        let world = try DirectoryHarness(Self.definition)
        let harness = world.engine
        var model = Model()
        for index in 0..<3_000 {
            let organization = "org\(index)"
            let plan = Bool.random(using: &random) ? "pooled" : "wide"
            let isPersonal = Int.random(in: 0..<10, using: &random) == 0
            if Bool.random(using: &random) {
                var overrides: [OverrideEntry] = []
                if Int.random(in: 0..<4, using: &random) == 0 {
                    let quota = plan == "pooled" ? "pool" : "all"
                    let units = UInt64.random(in: 1...9_000, using: &random)
                    overrides = [OverrideEntry(limit: quota, units: units)]
                    model.overrides[organization] = [quota: units]
                }
                world.put(organization, plan: plan, isPersonal: isPersonal, overrides: overrides)
            }
            if plan == "wide", Int.random(in: 0..<5, using: &random) == 0 {
                let units = UInt64.random(in: 1...9_000, using: &random)
                model.granted[organization] = units
                let entry = GrantEntry(
                    organization: organization, isPersonal: isPersonal, id: "g", quota: "all",
                    meter: "tokens", units: units, priority: 100, effective: .start(),
                    created: .start())
                #expect(harness.engine.put(entry, at: harness.moment))
            }
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                let user = isPersonal ? organization : "u\(Int.random(in: 0..<3, using: &random))"
                let tokens = UInt64.random(in: 0...500, using: &random)
                let calls = UInt64.random(in: 0...20, using: &random)
                Self.consume(
                    harness, organization, user, plan, tokens: tokens, calls: calls,
                    isPersonal: isPersonal)
                model.add(organization, user, plan, tokens, calls, isPersonal: isPersonal)
            }
        }
        let found = Self.nearest(harness, most)
        let used = model.used.filter { $0.value > 0 }
        #expect(found.counters == used.count)
        #expect(found.unknownPlans == 0)
        try #require(found.limits.count == most)
        let parts = used.keys.map { model.part($0) }.sorted(by: >).prefix(most)
        for (limit, part) in zip(found.limits, parts) {
            let counter = Counter(
                organization: limit.organization, isPersonal: limit.isPersonal, user: limit.user,
                quota: limit.quota, isShare: limit.isShare)
            #expect(limit.used == model.used[counter])
            #expect(limit.limit == model.limit(counter))
            #expect(model.part(counter) == part)
        }
        #expect(Set(found.limits.map { "\($0)" }).count == most)
    }

    @Test func whatIsShownIsWhatUsageTells() throws {
        let world = try DirectoryHarness(Self.definition)
        let harness = world.engine
        Self.consume(harness, "acme", "ada", "pooled", tokens: 300, calls: 10)
        Self.consume(harness, "beta", "bob", "wide", tokens: 4_000, calls: 7)
        let found = Self.nearest(harness).limits
        #expect(found.map(\.quota) == ["all", "pool", "pool", "own"])
        #expect(found.map(\.used) == [4_000, 300, 300, 10])
        #expect(found.map(\.limit) == [5_000, 400, 1_000, 50])
        #expect(found.map(\.user) == [nil, "ada", nil, "ada"])
        #expect(found.map(\.isShare) == [false, true, false, false])
        #expect(found.map(\.plan) == ["wide", "pooled", "pooled", "pooled"])
        #expect(found.map(\.period) == [.total, .day, .day, .month])
        #expect(found[0].endsAt == nil)
        let midnight = (EngineHarness.startSeconds / 86_400 + 1) * 86_400
        #expect(found[1].endsAt == WallTime(seconds: midnight))
    }

    @Test func aPeriodThatIsOverIsNotShownAndWhatItLeftAddsToTheNext() throws {
        let harness = try EngineHarness(Self.definition)
        Self.consume(harness, "acme", "ada", "pooled", tokens: 950, calls: 1)
        #expect(Self.nearest(harness).limits.first?.limit == 400)
        harness.advance(milliseconds: Self.day)
        #expect(Self.nearest(harness).limits.map(\.quota) == ["own"])
        Self.consume(harness, "acme", "ada", "pooled", tokens: 525)
        let pool = try #require(
            Self.nearest(harness).limits.first { $0.quota == "pool" && !$0.isShare })
        #expect((pool.used, pool.limit) == (525, 1_050))
    }

    @Test func thePlanOfTheDirectoryGoesBeforeThatOfTheLastDecision() throws {
        let world = try DirectoryHarness(Self.definition)
        Self.consume(world.engine, "acme", "ada", "pooled", tokens: 300)
        world.put("acme", plan: "wide")
        #expect(Self.nearest(world.engine).limits.isEmpty)
        Self.consume(world.engine, "acme", "ada", "wide", tokens: 5)
        #expect(Self.nearest(world.engine).limits.map(\.quota) == ["all"])
    }

    @Test func whatIsHeldCountsAsTaken() throws {
        let harness = try EngineHarness(.holding(perMinute: 10_000))
        #expect(harness.hold(700).isAllowed)
        let found = Self.nearest(harness).limits
        #expect(found.map(\.quota) == ["monthly_tokens"])
        #expect(found.map(\.held) == [700])
        #expect(found.map(\.used) == [0])
    }

    @Test func aRowThatMovesDuringTheWalkIsShownOnce() throws {
        let harness = try EngineHarness(Self.definition)
        for index in 0..<400 {
            Self.consume(harness, "org\(index)", "ada", "wide", tokens: UInt64(index + 1))
        }
        var steps = 0
        let found = harness.engine.nearestLimits(
            harness.policy, most: 1_000, at: harness.moment
        ) {
            // Rows get the counters of another plan, and so another place.
            for index in 0..<20 {
                let organization = "org\((steps * 20 + index) % 400)"
                Self.consume(harness, organization, "ada", "pooled", tokens: 1)
                Self.consume(harness, organization, "ada", "wide", tokens: 1)
            }
            steps += 1
        }
        #expect(steps >= Engine.shardCount)
        let all = found.limits.filter { $0.quota == "all" }
        #expect(Set(all.map(\.organization)).count == all.count)
        #expect(all.count == 400)
    }

    @Test func ordersAreExactWhereFractionsAreTooNearForDoubles() {
        func limit(_ used: UInt64, _ limit: UInt64) -> NearLimit {
            NearLimit(
                organization: "o\(used)", isPersonal: false, user: nil, plan: "p", quota: "q",
                meter: "calls", period: .day, used: used, held: 0, limit: limit, endsAt: nil,
                isShare: false, isShadow: false)
        }
        let (near, far) = (limit(.max - 2, .max - 1), limit(.max - 3, .max - 1))
        #expect(Double(near.used) / Double(near.limit) == Double(far.used) / Double(far.limit))
        #expect(NearestLimits.isNearer(near, far) && !NearestLimits.isNearer(far, near))
        var found = NearestLimits(most: 1)
        found.add(near)
        #expect(!found.mayTake(far.used, of: far.limit))
        #expect(found.mayTake(1, of: 0))
        found.add(limit(1, 0))
        #expect(found.limits.map(\.limit) == [0])
        #expect(!NearestLimits(most: 0).mayTake(1, of: 1))
    }
}
