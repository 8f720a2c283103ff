import Testing
import TollgateWire

@testable import TollgateCore

/// Rules that a reload changes.
@Suite struct AlertReplaceTests {
    private static func thresholds(_ percents: [UInt32]) -> AlertRule {
        var rule = AlertRule("quota_threshold", .quotaThreshold)
        rule.percents = percents
        return rule
    }

    private static func flood(_ count: UInt64, seconds: UInt64) -> AlertRule {
        var rule = AlertRule("flood", .invalidCredentials)
        (rule.count, rule.windowMilliseconds) = (count, seconds * 1_000)
        return rule
    }

    private static let invalid = AlertWorld.Request(
        organization: "", user: "", reason: .credentialInvalid)

    @Test func whatHasFiredFiresNotAnewAndWhatIsNewAndReachedDoes() throws {
        var world = AlertWorld([Self.thresholds([80])])
        try world.observe(.init(limit: 0, used: 850))
        world.engine.replace(AlertRules([Self.thresholds([50, 80, 95])]))
        try world.observe(.init(limit: 0, used: 860))
        try world.observe(.init(limit: 0, used: 960))
        #expect(world.alerts.map(\.threshold) == [80, 50, 95])
        // Taken out, and put back.
        world.engine.replace(AlertRules([]))
        try world.observe(.init(limit: 0, used: 970))
        world.engine.replace(AlertRules([Self.thresholds([50, 80, 95])]))
        try world.observe(.init(limit: 0, used: 980))
        #expect(world.alerts.count == 3)
    }

    @Test func aRuleThatIsTurnedOffAndOnAgainFiresOnceADay() throws {
        var world = AlertWorld([Self.flood(10, seconds: 60)])
        for _ in 0..<20 { try world.observe(Self.invalid) }
        var off = Self.flood(10, seconds: 60)
        off.isEnabled = false
        for rule in [off, Self.flood(10, seconds: 60), Self.flood(5, seconds: 60)] {
            world.engine.replace(AlertRules([rule]))
            for _ in 0..<20 { try world.observe(Self.invalid) }
        }
        #expect(world.alerts.count == 1)
    }

    @Test func whatWasCountedGoesOnUnlessItWasCountedOtherwise() throws {
        var world = AlertWorld([Self.flood(10, seconds: 60)])
        for _ in 0..<8 { try world.observe(Self.invalid) }
        // Another bound: of the same count.
        world.engine.replace(AlertRules([Self.flood(9, seconds: 60)]))
        try world.observe(Self.invalid)
        #expect(world.alerts.map(\.value) == [9])
        world = AlertWorld([Self.flood(10, seconds: 60)])
        for _ in 0..<8 { try world.observe(Self.invalid) }
        for seconds in [UInt64(3_600), 1, 60] {
            world.engine.replace(AlertRules([Self.flood(10, seconds: seconds)]))
            for _ in 0..<8 { try world.observe(Self.invalid) }
            #expect(world.alerts.isEmpty)
        }
    }

    /// A restart with another policy: the state says not how long a window was.
    @Test func countsOfWindowsOfAnotherLengthAreNoneAfterARestart() throws {
        for (before, after) in [(UInt64(1), UInt64(3_600)), (3_600, 1)] {
            var world = AlertWorld([Self.flood(10, seconds: before)])
            for _ in 0..<8 { try world.observe(Self.invalid) }
            world.engine = AlertEngine(
                AlertRules([Self.flood(10, seconds: after)]), world.engine.snapshot)
            // As slowly as no window of the rule has ten.
            for _ in 0..<40 {
                try world.observe(Self.invalid)
                world.advance(minutes: 30)
            }
            #expect(world.alerts.isEmpty, "\(before) s, then \(after) s")
        }
    }

    @Test func rulesThatDifferAreNamed() {
        let (a, b) = (Self.thresholds([80]), Self.flood(1, seconds: 60))
        #expect(AlertRules.names(thatDifferIn: [a, b], [b]) == ["quota_threshold"])
        #expect(AlertRules.names(thatDifferIn: [a], [Self.thresholds([90]), b])
            == ["flood", "quota_threshold"])
        #expect(AlertRules.names(thatDifferIn: [a, b], [b, a]) == ["their order"])
    }
}
