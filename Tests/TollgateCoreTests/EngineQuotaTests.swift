import Testing
import TollgateWire

@testable import TollgateCore

/// Kinds of quotas one by one: what a caller is told, and when.
@Suite struct EngineQuotaTests {
    private static let day: UInt64 = 86_400_000

    private func harness(
        _ quota: QuotaDefinition, prices: [String: UInt64] = [:],
        edit: (inout PlanDefinition) -> Void = { _ in }
    ) throws -> EngineHarness {
        var plan = PlanDefinition(name: "p", quotas: [quota])
        plan.prices = prices
        edit(&plan)
        return try EngineHarness(EngineQuotaModelTests.definition(plan, nil))
    }

    private func check(
        _ harness: EngineHarness, user: String = "ada", calls: UInt64 = 1, tokens: UInt64 = 0
    ) -> Answer {
        let now = harness.moment.wall.seconds
        return harness.check(
            EngineHarness.token(user: user, plan: "p", issued: now - 10, expires: now + 100),
            operation: "op", meters: [("calls", calls), ("tokens", tokens)])
    }

    @Test func aSoftQuotaAdmitsUpToItsCeilingAndSaysSo() throws {
        var quota = QuotaDefinition(name: "q", scope: .user, limit: 10, period: .day)
        quota.isSoft = true
        quota.overageMax = 5
        let harness = try harness(quota)
        let within = check(harness, calls: 10)
        #expect(within.isAllowed && within.flags & DecisionFlags.overage == 0)
        #expect(within.quota.remaining == 0)
        let beyond = check(harness, calls: 5)
        #expect(beyond.isAllowed && beyond.flags & DecisionFlags.overage != 0)
        #expect(beyond.quota.remaining == 0 && beyond.quota.limit == 10)
        let refused = check(harness)
        #expect(refused.reason == .quotaExhausted && refused.flags & DecisionFlags.overage == 0)
        #expect(refused.retry > 0 && refused.retry != WireLimits.retryNever)
        // What is more than any day admits never will be.
        #expect(check(harness, calls: 16).retry == WireLimits.retryNever)
        harness.advance(milliseconds: UInt64(refused.retry))
        #expect(check(harness, calls: 15).flags & DecisionFlags.overage != 0)
    }

    @Test func anUnlimitedQuotaCountsAndRefusesNobody() throws {
        let harness = try harness(
            QuotaDefinition(
                name: "q", scope: .user, meter: "tokens", limit: QuotaDefinition.unlimited,
                period: .billingMonth))
        for _ in 0..<3 {
            let answer = check(harness, tokens: 1 << 40)
            #expect(answer.isAllowed && answer.flags & DecisionFlags.overage == 0)
            #expect(answer.quota.limit == .max && answer.quota.remaining == .max)
        }
        #expect(harness.usage(organization: "acme", user: "ada", plan: "p")["q"] == 9 << 40)
    }

    @Test func whatIsRecordedBeyond64BitsStaysAtTheirEnd() throws {
        let quota = QuotaDefinition(
            name: "q", scope: .user, meter: "tokens", limit: QuotaDefinition.unlimited,
            period: .month)
        var policy = EngineQuotaModelTests.definition(
            PlanDefinition(name: "p", quotas: [quota]), nil)
        policy.operations[0].charges[1].weight = 1 << 22
        let harness = try EngineHarness(policy)
        for used in [1 << 62, 2 << 62, 3 << 62, .max, .max] as [UInt64] {
            #expect(
                harness.consume(
                    organization: "acme", user: "ada", plan: "p", operation: "op",
                    meters: [("tokens", 1 << 40)]
                ).isAllowed)
            #expect(harness.usage(organization: "acme", user: "ada", plan: "p")["q"] == used)
        }
    }

    @Test func aTotalNeverBeginsAnew() throws {
        let harness = try harness(
            QuotaDefinition(name: "q", scope: .organization, limit: 3, period: .total))
        #expect(check(harness, calls: 3).quota.reset == WireLimits.resetNever)
        for _ in 0..<4 {
            harness.advance(milliseconds: 400 * Self.day)
            for _ in 0..<200 { harness.worker.sweep() }
            let answer = check(harness)
            #expect(answer.reason == .quotaExhausted && answer.retry == WireLimits.retryNever)
        }
    }

    @Test func unusedUnitsAreCarriedOverOnce() throws {
        var quota = QuotaDefinition(name: "q", scope: .user, limit: 10, period: .month)
        quota.rolloverMax = 6
        let harness = try harness(quota)
        #expect(check(harness, calls: 7).quota.limit == 10)
        harness.advance(milliseconds: 30 * Self.day)
        // Three were left; of those none is left again, they went first.
        #expect(check(harness, calls: 3).quota.limit == 13)
        #expect(check(harness, calls: 11).reason == .quotaExhausted)
        harness.advance(milliseconds: 31 * Self.day)
        #expect(check(harness, calls: 16).isAllowed)
        harness.advance(milliseconds: 31 * Self.day)
        #expect(check(harness, calls: 0).quota.limit == 10)
        // Whoever stays away, also longer than the row would otherwise be kept, has one period's.
        harness.advance(milliseconds: 200 * Self.day)
        for _ in 0..<200 { harness.worker.sweep() }
        #expect(check(harness, calls: 0).quota.limit == 16)
        // Somebody new has none.
        #expect(check(harness, user: "bob", calls: 0).quota.limit == 10)
    }

    @Test(arguments: [false, true])
    func whatWasCarriedOverOutlivesTheDaemon(withSnapshot: Bool) throws {
        var quota = QuotaDefinition(name: "q", scope: .user, limit: 10, period: .month)
        quota.rolloverMax = 6
        let (harness, ledger) = (try harness(quota), MemoryLedger())
        ledger.begin(harness.engine)
        #expect(check(harness, calls: 7).isAllowed)
        harness.advance(milliseconds: 30 * Self.day)
        ledger.tend(harness.engine)
        #expect(check(harness, calls: 2).quota.limit == 13)
        #expect(check(harness, calls: 1).quota.remaining == 10)
        ledger.tend(harness.engine)
        var snapshot = MemoryLedger.Snapshot()
        if withSnapshot { snapshot = ledger.snapshot(of: harness.engine, at: harness.moment) }
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(snapshot, into: engine, at: harness.moment)
        let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
        #expect(check(again, calls: 0).quota.remaining == 10)
        #expect(check(again, calls: 11).reason == .quotaExhausted)
        #expect(check(again, calls: 10).quota.limit == 13)
        again.advance(milliseconds: 31 * Self.day)
        #expect(check(again, calls: 0).quota.limit == 10)
    }

    @Test func moneyIsALimitLikeAnyOther() throws {
        let spending = QuotaDefinition(
            name: "spending", scope: .organization, meter: "cost", limit: 1_000, period: .day)
        let harness = try harness(spending, prices: ["tokens": 15, "calls": 100]) {
            $0.rateLimits = [
                RateLimitDefinition(
                    name: "burn", scope: .user, meter: "cost", limit: 450,
                    windowNanoseconds: 1_000_000_000)
            ]
        }
        // Prices are for units before they are weighted: a token here counts three.
        let first = check(harness, calls: 1, tokens: 20)
        #expect(first.isAllowed && first.cost == 400)
        #expect(first.quota.remaining == 600 && first.rate.remaining == 50)
        #expect(check(harness).reason == .rateLimited)
        harness.advance(milliseconds: 2_000)
        let second = check(harness, calls: 4)
        #expect(second.cost == 400 && second.quota.remaining == 200)
        harness.advance(milliseconds: 2_000)
        let refused = check(harness, calls: 3)
        #expect(refused.reason == .quotaExhausted && refused.cost == 0)
        // What is recorded costs as well.
        let recorded = harness.consume(
            organization: "acme", user: "ada", plan: "p", operation: "op",
            meters: [("tokens", 40)])
        #expect(recorded.cost == 600 && recorded.flags & DecisionFlags.overage != 0)
        #expect(check(harness, calls: 0).cost == 0)
    }

    @Test func aCostThatLeaves64BitsIsRefusedAndNothingIsCharged() throws {
        let counted = QuotaDefinition(
            name: "q", scope: .user, meter: "tokens", limit: QuotaDefinition.unlimited,
            period: .day)
        let harness = try harness(counted, prices: ["tokens": 1 << 39, "calls": 1 << 39])
        // 2^39 * 2^25 is 2^64.
        #expect(check(harness, tokens: 1 << 25).status == .unitsOutOfRange)
        #expect(check(harness, calls: 1 << 24, tokens: 1 << 24).status == .unitsOutOfRange)
        #expect(
            harness.consume(
                organization: "acme", user: "ada", plan: "p", operation: "op",
                meters: [("tokens", 1 << 25)]).status == .unitsOutOfRange)
        #expect(harness.usage(organization: "acme", user: "ada", plan: "p")["q"] == 0)
        #expect(check(harness, calls: 0, tokens: 1 << 24).cost == 1 << 63)
    }

    @Test func periodsBeginInTheSubscriptionsZoneOnItsAnchorsDay() throws {
        let harness = try harness(
            QuotaDefinition(name: "q", scope: .organization, limit: 5, period: .billingMonth))
        let tokyo = ZoneRules(
            name: "Asia/Tokyo", transitions: [], offsets: [], firstOffset: 32_400)
        // 2023-01-31T16:00Z is the first of February there.
        let anchor = WallTime(
            seconds: Calendar.days(year: 2023, month: 1, day: 31) * 86_400 + 16 * 3_600)
        func put(_ zone: ZoneRules?, _ anchor: WallTime?) {
            harness.engine.directory.put(
                OrganizationEntry(
                    id: "acme",
                    subscription: SubscriptionEntry(
                        plan: "p", isServed: true, zone: zone, anchor: anchor)))
        }
        func reset() -> WallTime {
            let left = check(harness, calls: 0).quota.reset
            return WallTime(milliseconds: harness.moment.wall.milliseconds + Int64(left))
        }
        put(tokyo, anchor)
        // It is 2023-11-14; the first of December begins at 15:00Z.
        #expect(
            reset()
                == WallTime(
                    seconds: Calendar.days(year: 2023, month: 11, day: 30) * 86_400 + 15 * 3_600))
        harness.advance(milliseconds: 40 * Self.day)
        put(.utc, anchor)
        #expect(
            reset() == WallTime(seconds: Calendar.days(year: 2023, month: 12, day: 31) * 86_400))
        harness.advance(milliseconds: 40 * Self.day)
        put(nil, nil)
        #expect(
            reset() == WallTime(seconds: Calendar.days(year: 2024, month: 3, day: 1) * 86_400))
    }

    @Test func aZoneThatWasEditedReopensNoPeriod() throws {
        let harness = try harness(
            QuotaDefinition(name: "q", scope: .organization, limit: 5, period: .day))
        let zones = [-11, 0, 13].map {
            ZoneRules(name: "Z\($0)", transitions: [], offsets: [], firstOffset: Int32($0 * 3_600))
        }
        var admitted = 0
        // Two days, every hour in another zone.
        for hour in 0..<48 {
            harness.engine.directory.put(
                OrganizationEntry(
                    id: "acme",
                    subscription: SubscriptionEntry(
                        plan: "p", isServed: true, zone: zones[hour % 3])))
            for _ in 0..<10 where check(harness).isAllowed { admitted += 1 }
            harness.advance(milliseconds: 3_600_000)
        }
        // A day is over at its own end: no more than five days' worth in two.
        #expect(admitted >= 10 && admitted <= 25, "\(admitted)")
    }
}
