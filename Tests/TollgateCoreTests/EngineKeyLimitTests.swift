import Testing
import TollgateWire

@testable import TollgateCore

/// A key's own limit: one window beside the plan's, charged with them or not at all.
@Suite struct EngineKeyLimitTests {
    private static let minute = KeyLimit(units: 3, seconds: 60)

    @Test func aKeyIsRefusedAtItsOwnLimitAndNothingElseIsCharged() throws {
        let harness = try DirectoryHarness()
        let (key, free) = (try harness.add { $0.limit = Self.minute }, try harness.add())
        for left in [2, 1, 0] as [UInt64] {
            let answer = harness.check(key.text)
            #expect(answer.isAllowed && answer.rateName == "credential_rate")
            #expect(answer.rate.limit == 3 && answer.rate.remaining == left)
        }
        let refused = harness.check(key.text)
        #expect(refused.reason == .rateLimited && refused.rateName == "credential_rate")
        #expect(refused.retry > 0 && refused.rate.remaining == 0)
        #expect(harness.engine.usage(organization: "acme", user: "ada")["daily_calls"] == 3)
        #expect(harness.check(free.text).isAllowed)
        harness.engine.advance(milliseconds: UInt64(refused.retry) - 1)
        #expect(harness.check(key.text).reason == .rateLimited)
        harness.engine.advance(milliseconds: 1)
        #expect(harness.check(key.text).isAllowed)
    }

    @Test func whatThePlanRefusesIsNotCountedAgainstTheKey() throws {
        let harness = try DirectoryHarness()
        let key = try harness.add { $0.limit = Self.minute }
        harness.put("acme", overrides: [OverrideEntry(limit: "daily_calls", units: 1)])
        #expect(harness.check(key.text).isAllowed)
        for _ in 1...5 { #expect(harness.check(key.text).reason == .quotaExhausted) }
        harness.put("acme")
        #expect(harness.check(key.text).isAllowed && harness.check(key.text).isAllowed)
        #expect(harness.check(key.text).reason == .rateLimited)
    }

    @Test func anEditedLimitKeepsWhatWasCountedInTheSameWindow() throws {
        let harness = try DirectoryHarness()
        let key = try harness.add { $0.limit = Self.minute }
        for _ in 1...3 { #expect(harness.check(key.text).isAllowed) }
        var entry = key.entry
        // More than the cells of the first one hold.
        entry.limit = KeyLimit(units: 100_000, seconds: 60)
        harness.image.put(entry)
        let look = harness.check(key.text, flags: RequestFlags.dryRun)
        #expect(look.isAllowed && harness.engine.limits(key.text)["credential_rate"] == 100_000)
        _ = harness.check(key.text)
        entry.limit = KeyLimit(units: 5, seconds: 60)
        harness.image.put(entry)
        #expect(harness.check(key.text).rate.remaining == 0)
        #expect(harness.check(key.text).reason == .rateLimited)
        entry.limit = nil
        harness.image.put(entry)
        #expect(harness.check(key.text).isAllowed)
    }

    @Test func aPlanWithoutLimitsIsStillHeldToTheKeys() throws {
        let harness = try DirectoryHarness()
        harness.put("acme", plan: "open_tier")
        let key = try harness.add { $0.limit = KeyLimit(units: 1, seconds: 1) }
        #expect(harness.check(key.text, flags: RequestFlags.dryRun).isAllowed)
        #expect(harness.check(key.text).isAllowed)
        #expect(harness.check(key.text).reason == .rateLimited)
        let none = try harness.add { $0.limit = KeyLimit(units: 0, seconds: 1) }
        let refused = harness.check(none.text)
        #expect(refused.reason == .rateLimited && refused.retry == WireLimits.retryNever)
    }

    @Test func ofTwoThatRefuseTheLongerWaitIsTold() throws {
        let harness = try DirectoryHarness()
        let key = try harness.add { $0.limit = KeyLimit(units: 1, seconds: 3_600) }
        harness.put("acme", overrides: [OverrideEntry(limit: "per_minute", units: 1)])
        #expect(harness.check(key.text).isAllowed)
        let refused = harness.check(key.text)
        #expect(refused.rateName == "credential_rate" && refused.retry > 3_000_000)
        var entry = key.entry
        entry.limit = KeyLimit(units: 1, seconds: 1)
        harness.image.put(entry)
        #expect(harness.check(key.text).rateName == "per_minute")
    }

    @Test func countersOfKeysAreBoundedAndSwept() throws {
        let harness = try DirectoryHarness()
        let engine = harness.engine.engine
        let keys = try (0..<20).map { _ in try harness.add { $0.limit = Self.minute } }
        for key in keys { #expect(harness.check(key.text).isAllowed) }
        #expect(engine.credentials.load(ordering: .relaxed) == 20)
        harness.engine.advance(milliseconds: 86_500_000)
        for _ in 0..<(64 * 2 * 8) { harness.engine.worker.sweep() }
        #expect(engine.credentials.load(ordering: .relaxed) == 0)
        #expect(engine.gauges.addresses == 0)
    }

    @Test func noPolicyMayNameALimitLikeAKeysOwn() {
        var policy = PolicyDefinition.small()
        policy.plans[0].rateLimits[0].name = "credential_rate"
        #expect(throws: PolicyCompileError.self) {
            try PolicyImage(compiling: policy, generation: 1)
        }
    }
}
