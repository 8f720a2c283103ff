import Testing
import TollgateWire

@testable import TollgateCore

/// Grants of units beyond an organization's quota.
@Suite struct EngineCreditTests {
    private let day: Int64 = 86_400_000

    @Test func nothingBurnsWhileTheAllowanceLastsAndThenUnitByUnit() throws {
        let harness = try EngineHarness(.crediting())
        #expect(harness.grant("a", 50))
        let first = harness.use(100)
        #expect(first.quota == (150, 50, first.quota.reset))
        #expect(harness.burnt == ["a": 0])
        #expect(harness.use(51).reason == .quotaExhausted)
        #expect(harness.use(49).quota.remaining == 1)
        #expect(harness.burnt == ["a": 49])
        #expect(harness.use(1).quota.remaining == 0)
        #expect(harness.use(1).reason == .quotaExhausted)
        #expect(harness.burnt == ["a": 50])
        // What a period did not burn is there in the next.
        #expect(harness.grant("b", 30))
        harness.advance(milliseconds: UInt64(day))
        #expect(harness.use(110).quota.remaining == 20)
        harness.advance(milliseconds: UInt64(day))
        #expect(harness.use(120).quota.remaining == 0)
        #expect(harness.burnt == ["a": 50, "b": 30])
    }

    @Test func theyBurnByPriorityThenByTheirEndThenByAge() throws {
        let harness = try EngineHarness(.crediting { $0.limit = 0 })
        #expect(harness.grant("never", 10, created: 1))
        #expect(harness.grant("young", 10, ends: day, created: 9))
        #expect(harness.grant("old", 10, ends: day, created: 3))
        #expect(harness.grant("late", 10, ends: day / 2, created: 5))
        #expect(harness.grant("first", 10, priority: 0, created: 7))
        #expect(harness.grant("last", 10, priority: 255, ends: 1_000, created: 7))
        let order = ["first", "late", "old", "young", "never", "last"]
        #expect(harness.shownGrants.map(\.id) == order)
        for index in order.indices {
            #expect(harness.use(10).isAllowed)
            let spent = harness.burnt.filter { $0.value == 10 }.keys
            #expect(Set(spent) == Set(order[...index]))
        }
        #expect(harness.use(1).retry == WireLimits.retryNever)
        #expect(harness.shownGrants.isEmpty)
    }

    @Test func aGrantBeginsAndEndsAtItsInstants() throws {
        let harness = try EngineHarness(.crediting { $0.limit = 0 })
        #expect(harness.grant("a", 10, begins: 5_000, ends: 9_000))
        let shown = try #require(harness.shownGrants.first)
        #expect(!shown.isUsable && shown.effective == UInt64(harness.wall + 5_000))
        let refused = harness.use(10)
        #expect(refused.reason == .quotaExhausted && refused.retry == 5_000)
        #expect(harness.use(11).retry == WireLimits.retryNever)
        harness.advance(milliseconds: 4_999)
        #expect(!harness.use(1).isAllowed)
        harness.advance(milliseconds: 1)
        #expect(harness.use(1).quota.remaining == 9)
        harness.advance(milliseconds: 3_999)
        #expect(harness.use(1).quota.remaining == 8)
        harness.advance(milliseconds: 1)
        // It ended; what is burnt of it stays.
        #expect(harness.use(1).quota == (2, 0, harness.use(1).quota.reset))
        // A clock that was set back does not bring it back.
        harness.wall -= 5_000
        harness.boot += 1_000_000
        harness.beginTurn()
        #expect(!harness.use(1).isAllowed)
        #expect(harness.burnt == ["a": 2])
    }

    @Test func ofOneThatIsVoidedNothingMoreBurns() throws {
        let harness = try EngineHarness(.crediting { $0.limit = 0 })
        #expect(harness.grant("a", 10))
        #expect(harness.use(4).isAllowed)
        #expect(harness.grant("a", 10, isVoided: true))
        #expect(!harness.use(1).isAllowed)
        #expect(harness.burnt == ["a": 4])
        #expect(harness.shownGrants.isEmpty)
    }

    @Test func holdsCountAgainstCreditsAndWhatIsSettledBurns() throws {
        let harness = try EngineHarness(.crediting())
        #expect(harness.grant("a", 50))
        let held = harness.hold(120)
        let id = try #require(held.id)
        #expect(held.answer.quota.remaining == 30)
        #expect(harness.hold(31).reason == .quotaExhausted)
        #expect(harness.use(31).reason == .quotaExhausted)
        #expect(harness.use(30).isAllowed)
        #expect(harness.burnt == ["a": 0])
        #expect(harness.extend(id, hold: 121).reason == .quotaExhausted)
        let settled = harness.settle(id, tokens: 110)
        #expect(settled.answer.quota.remaining == 10 && !settled.isOverage)
        #expect(harness.burnt == ["a": 40])
        // More than was held, and than there is: recorded, and the rest is overage.
        let other = try #require(harness.hold(10).id)
        #expect(harness.settle(other, tokens: 25).isOverage)
        #expect(harness.burnt == ["a": 50])
        #expect(harness.use(0).quota == (150, 0, harness.use(0).quota.reset))
        let third = harness.hold(1)
        #expect(third.reason == .quotaExhausted)
    }

    /// A cut that charges the estimate, and then the true amount.
    @Test func whatWasChargedTooMuchGoesBack() throws {
        var policy = PolicyDefinition.crediting { $0.limit = 10 }
        policy.plans[0].holds.cutStream = .estimate
        let harness = try EngineHarness(policy)
        #expect(harness.grant("a", 20, priority: 1) && harness.grant("b", 30))
        let id = try #require(harness.hold(45, timeToLive: 1_000).id)
        harness.advance(milliseconds: 1_000)
        #expect(harness.use(0).quota.remaining == 15)
        #expect(harness.burnt == ["a": 20, "b": 15])
        #expect(harness.settle(id, tokens: 12).answer.quota.remaining == 48)
        #expect(harness.burnt == ["a": 2, "b": 0])
        #expect(harness.use(48).isAllowed)
        #expect(harness.burnt == ["a": 20, "b": 30])
    }

    @Test func aHoldThatIsCutKnowsTheLimitThatWasGranted() throws {
        var policy = PolicyDefinition.crediting { $0.limit = 10 }
        policy.plans[0].holds.cutStream = .estimate
        let harness = try EngineHarness(policy)
        harness.engine.directory.put(
            OrganizationEntry(
                id: "acme", subscription: SubscriptionEntry(plan: "pro_tier", isServed: true),
                overrides: [OverrideEntry(limit: "tokens_quota", units: 100)]))
        #expect(harness.grant("a", 50))
        #expect(harness.hold(90, timeToLive: 1_000).isAllowed)
        harness.advance(milliseconds: 1_000)
        #expect(harness.use(0).quota == (150, 60, harness.use(0).quota.reset))
        #expect(harness.burnt == ["a": 0])
    }

    /// 5 units are held when the day ends, of the 30 that were agreed with the organization: by the
    /// plan's 10 another number would be left.
    @Test(arguments: [false, true])
    func aHoldThatIsCutCarriesOverWhatTheAgreedLimitLeaves(isOfConnection: Bool) throws {
        var policy = PolicyDefinition.crediting {
            ($0.limit, $0.rolloverMax, $0.hasCredits) = (10, 50, false)
        }
        policy.plans[0].holds.ttlMaxMilliseconds = 86_400_000
        let harness = try EngineHarness(policy)
        harness.engine.directory.put(
            OrganizationEntry(
                id: "acme", subscription: SubscriptionEntry(plan: "pro_tier", isServed: true),
                overrides: [OverrideEntry(limit: "tokens_quota", units: 30)]))
        let body = DecisionWorker.reserveBody(
            harness.creditToken, meters: [("tokens", 5), ("calls", 0)], timeToLive: 80_000_000)
        let held = body.withUnsafeBytes {
            HoldAnswer(
                harness.worker.reserve($0, connection: 7, into: harness.reply), harness.reply)
        }
        #expect(held.isAllowed && held.answer.quota.limit == 30)
        harness.advance(milliseconds: isOfConnection ? 40_000_000 : 81_000_000)
        if isOfConnection {
            harness.worker.release(connection: 7)
        } else {
            harness.worker.tendHolds()
        }
        #expect(harness.engine.gauges.openReservations == 0)
        #expect(harness.use(0).quota.limit == 55)
    }

    @Test func aSoftQuotaBurnsCreditsBeforeItHasOverage() throws {
        let harness = try EngineHarness(
            .crediting { ($0.isSoft, $0.overageMax) = (true, 5) })
        #expect(harness.grant("a", 20))
        #expect(harness.use(120).flags & DecisionFlags.overage == 0)
        #expect(harness.use(5).flags & DecisionFlags.overage != 0)
        #expect(harness.use(1).reason == .quotaExhausted)
        // What is granted later in the period pays what was beyond everything first.
        #expect(harness.grant("b", 7))
        #expect(harness.use(0).quota.remaining == 2)
        #expect(harness.use(2).flags & DecisionFlags.overage == 0)
        #expect(harness.burnt == ["a": 20, "b": 7])
    }

    @Test func creditsAreNeitherCarriedOverNorTakenForUnused() throws {
        let harness = try EngineHarness(.crediting { $0.rolloverMax = 1_000 })
        let ledger = MemoryLedger()
        ledger.begin(harness.engine)
        #expect(harness.grant("a", 500))
        #expect(harness.use(60).isAllowed)
        harness.advance(milliseconds: UInt64(day))
        // Forty were left; of 140 all are used, then credits.
        #expect(harness.use(150).quota.remaining == 490)
        #expect(harness.burnt == ["a": 10])
        harness.advance(milliseconds: UInt64(day))
        #expect(harness.use(0).quota.limit == 590)
        #expect(harness.closedCredits == [[60, 0], [150, 10]])
    }

    @Test func aResetGivesNoBurntCreditsBack() throws {
        let harness = try EngineHarness(.crediting())
        #expect(harness.grant("a", 50))
        #expect(harness.use(120).isAllowed)
        #expect(
            harness.engine.resetQuotas(of: "acme", isPersonal: false, at: harness.moment))
        #expect(harness.use(0).quota == (130, 130, harness.use(0).quota.reset))
        #expect(harness.use(110).quota.remaining == 20)
        #expect(harness.burnt == ["a": 30])
        harness.advance(milliseconds: UInt64(day))
        #expect(harness.use(0).quota.remaining == 120)
    }

    @Test func anotherPlanWithTheQuotaGoesOnAndOneWithoutKeepsThem() throws {
        var policy = PolicyDefinition.crediting()
        var less = policy.plans[0]
        (less.name, less.quotas[0].limit) = ("free_tier", 40)
        var none = less
        (none.name, none.quotas[0].hasCredits) = ("plain_tier", false)
        policy.plans += [less, none]
        let harness = try EngineHarness(policy)
        #expect(harness.grant("a", 50))
        #expect(harness.use(110).isAllowed)
        func use(_ plan: String, _ tokens: UInt64) -> Answer {
            harness.check(
                EngineHarness.token(plan: plan), meters: [("tokens", tokens), ("calls", 0)])
        }
        #expect(!use("plain_tier", 1).isAllowed)
        // Seventy beyond the smaller allowance: forty pay what is left of them.
        #expect(use("free_tier", 1).retry != 0)
        #expect(use("free_tier", 0).quota == (90, 0, use("free_tier", 0).quota.reset))
        #expect(use("pro_tier", 40).isAllowed)
        #expect(harness.burnt == ["a": 50])
    }

    @Test func anotherMetersGrantsDoNotBurnAndOthersHaveNone() throws {
        let harness = try EngineHarness(.crediting())
        #expect(harness.grant("a", 50, meter: "calls"))
        #expect(harness.grant("b", 50, quota: "other"))
        #expect(harness.use(100).quota.remaining == 0)
        #expect(!harness.use(1).isAllowed)
        #expect(harness.grant("a", 50))
        #expect(harness.use(1).isAllowed)
    }

    @Test func poolsAreOwedOfCreditsToo() throws {
        let harness = try EngineHarness(
            .crediting { ($0.memberMin, $0.memberMax) = (20, 120) })
        for user in ["ada", "bob"] {
            harness.engine.directory.put(UserEntry(organization: "acme", id: user))
        }
        harness.engine.directory.put(
            OrganizationEntry(
                id: "acme", subscription: SubscriptionEntry(plan: "pro_tier", isServed: true)))
        #expect(harness.grant("a", 50))
        #expect(harness.use(121).reason == .quotaExhausted)
        #expect(harness.use(120).isAllowed)
        #expect(harness.burnt == ["a": 20])
        #expect(
            harness.check(
                EngineHarness.token(user: "bob"), meters: [("tokens", 30), ("calls", 0)]).isAllowed)
        #expect(harness.burnt == ["a": 50])
    }

    @Test func whatIsForgottenLeavesNothing() throws {
        let (harness, ledger) = (try EngineHarness(.crediting { $0.limit = 0 }), MemoryLedger())
        ledger.begin(harness.engine)
        #expect(harness.grant("a", 50) && harness.grant("b", 5, priority: 0))
        #expect(harness.use(10).isAllowed)
        let isGone = harness.engine.forgetGrant(
            "b", quota: "tokens_quota", organization: "acme", isPersonal: false,
            at: harness.moment)
        #expect(isGone && harness.burnt == ["a": 5])
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: harness.moment)
        let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
        #expect(again.burnt == ["a": 5])
        // In no directory: it burns no more, and is not forgotten.
        #expect(!again.use(1).isAllowed)
        #expect(again.grant("a", 50) && again.use(0).quota.remaining == 45)
        #expect(again.engine.forget(organization: "acme", isPersonal: false, at: again.moment))
        #expect(again.burnt.isEmpty)
        #expect(again.engine.creditAccounts.load(ordering: .relaxed) == 0)
    }
}
