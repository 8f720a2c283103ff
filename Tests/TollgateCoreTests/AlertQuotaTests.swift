import Testing
import TollgateWire

@testable import TollgateCore

/// Rules of quotas on a clock of a year, with a restart every few requests.
@Suite struct AlertQuotaTests {
    private func thresholds(_ percents: [UInt32]) -> [AlertRule] {
        var rule = AlertRule("quota_threshold", .quotaThreshold)
        rule.percents = percents
        return [rule]
    }

    @Test func everyThresholdFiresOnceAMonthForEachOrganizationOverRestarts() throws {
        var world = AlertWorld(thresholds([80, 95, 100, 120]))
        for month in Int64(1)...12 {
            for step in UInt64(0)..<260 {
                world.set(month: month, day: 1 + Int64(step) / 10, hour: Int64(step) % 24)
                for (name, speed) in [("acme", UInt64(5)), ("beta", 4), ("small", 3)] {
                    let request = AlertWorld.Request(
                        organization: name, limit: 0, used: step * speed)
                    try world.observe(request)
                }
            }
        }
        // 1,295, 1,036 and 777 of 1,000 units a month: 4, 3 and 0 thresholds.
        #expect(world.alerts.count == 12 * (4 + 3))
        for percent in [UInt64(80), 95, 100, 120] {
            let acme = world.alerts.filter {
                $0.subject.organization == "acme" && $0.threshold == percent
            }
            #expect(acme.count == 12)
            #expect(Set(acme.map(\.periodEnd)).count == 12)
            #expect(acme.allSatisfy { $0.value * 100 >= percent * $0.limit })
        }
        #expect(Set(world.alerts.map(\.id)).count == world.alerts.count)
        #expect(world.alerts.map(\.id) == world.alerts.map(\.id).sorted())
        #expect(world.alerts.allSatisfy {
            $0.severity == ($0.threshold >= 100 ? .critical : .warning)
        })
    }

    @Test func usersOfADailyQuotaAreSubjectsOfTheirOwn() throws {
        var world = AlertWorld(thresholds([100]))
        for day in Int64(1)...28 {
            for user in ["ada", "bob"] {
                world.set(month: 2, day: day, hour: 12)
                try world.observe(.init(user: user, limit: 1, used: 1_000))
                try world.observe(.init(user: user, limit: 1, used: 1_000, reason: .quotaExhausted))
            }
        }
        #expect(world.alerts.count == 56)
        #expect(Set(world.alerts.map(\.subject)).count == 2)
    }

    @Test func whatHoversAtAThresholdFiresOnceAndALittleMoreLimitNotAgain() throws {
        var world = AlertWorld(thresholds([80]))
        world.set(month: 3, day: 5)
        for round in UInt64(0)..<200 {
            world.advance(minutes: 5)
            try world.observe(.init(limit: 0, used: round % 2 == 0 ? 801 : 700))
            // Grants that come and burn: the limit breathes.
            try world.observe(.init(limit: 0, used: 840, most: 1_000 + round % 40))
        }
        #expect(world.alerts.count == 1)
        // A larger plan, of which 80 % are used in turn, and the two in turns.
        try world.observe(.init(limit: 0, used: 900, most: 2_000))
        #expect(world.alerts.count == 1)
        for _ in 0..<20 {
            try world.observe(.init(limit: 0, used: 1_650, most: 2_000))
            try world.observe(.init(limit: 0, used: 1_650, most: 1_000))
        }
        #expect(world.alerts.map(\.limit) == [1_000, 2_000])
        try world.note(
            .quotasReset(
                organization: "acme", isPersonal: false, id: ResetID(low: 1, high: 2), boot: 0))
        try world.observe(.init(limit: 0, used: 10, most: 2_000))
        #expect(world.alerts.count == 2)
        try world.observe(.init(limit: 0, used: 1_600, most: 2_000))
        #expect(world.alerts.count == 3)
    }

    @Test func aQuotaThatIsGoneOnTheFirstDayIsToldAndOneThatIsGoneLaterIsNot() throws {
        var world = AlertWorld([AlertRule("quota_exhausted_early", .quotaExhaustedEarly)])
        for month in Int64(1)...12 {
            world.set(month: month, day: 1, hour: 20)
            try world.observe(.init(organization: "hasty", limit: 0, used: 990))
            try world.observe(.init(organization: "even", limit: 0, used: 100))
            try world.observe(.init(organization: "hasty", limit: 0, used: 1_000))
            try world.observe(
                .init(organization: "hasty", limit: 0, used: 1_000, reason: .quotaExhausted))
            try world.observe(
                .init(organization: "large", limit: 0, used: 995, reason: .quotaExhausted))
            world.set(month: month, day: 20)
            try world.observe(.init(organization: "even", limit: 0, used: 1_000))
            try world.observe(
                .init(organization: "hasty", limit: 0, used: 1_000, reason: .quotaExhausted))
        }
        #expect(world.alerts.filter { $0.subject.organization == "hasty" }.count == 12)
        #expect(world.alerts.filter { $0.subject.organization == "large" }.count == 12)
        #expect(world.alerts.count == 24)
        try world.observe(.init(organization: "ever", limit: 2, used: 1_000))
        #expect(world.alerts.count == 24)
    }

    @Test func aBurnRateThatExhaustsAQuotaIsForetoldOnceWithTheHour() throws {
        var world = AlertWorld([AlertRule("quota_forecast", .quotaForecast)])
        for month in Int64(1)...12 {
            for day in Int64(1)...28 {
                world.set(month: month, day: day, hour: 12)
                // Gone on the 20th, and never.
                try world.observe(
                    .init(organization: "fast", limit: 0, used: UInt64(min(1_000, day * 50))))
                try world.observe(.init(organization: "slow", limit: 0, used: UInt64(day * 20)))
            }
        }
        #expect(world.alerts.count == 12)
        let first = try #require(world.alerts.first)
        #expect(first.subject.organization == "fast")
        // The 7th of January, 12:00: 350 of 1,000 in 6.5 days is 1,000 in 18.6.
        #expect(first.at == AlertWorld.newYear + 156 * 3_600_000)
        let at = try #require(first.exhaustedAt)
        #expect(at == AlertWorld.newYear + 1_604_571_000)
    }

    @Test func aPeriodEndsWhenTheDecisionSaysSo() throws {
        // Midnight of Berlin, whose February begins at 23:00 UTC.
        var world = AlertWorld(thresholds([100]))
        let january = AlertWorld.newYear + 31 * 86_400_000 - 3_600_000
        world.now = january - 60_000
        try world.observe(.init(limit: 0, used: 1_000), resetsAt: january)
        world.now = january - 1_500
        try world.observe(.init(limit: 0, used: 1_000), resetsAt: january)
        #expect(world.alerts.count == 1)
        world.now = january + 1_000
        let february = january + 28 * 86_400_000
        try world.observe(.init(limit: 0, used: 0), resetsAt: february)
        try world.observe(.init(limit: 0, used: 1_000), resetsAt: february)
        #expect(world.alerts.map(\.periodEnd) == [january, february])
        // A clock that was set back opens no period again.
        world.now = january - 1_000
        try world.observe(.init(limit: 0, used: 1_000), resetsAt: january)
        #expect(world.alerts.count == 2)
        var head = AuditHead()
        head.wallMilliseconds = january - 1_000
        head.quotaResetSeconds = 1
        #expect(AlertEngine.interval(.month, head).start == AlertWorld.newYear - 3_600_000)
        #expect(AlertEngine.interval(.total, head).end == .max)
    }

    @Test func dryRunsRepeatedAnswersAndOtherQuotasAreNotLookedAt() throws {
        var rule = AlertRule("mine", .quotaThreshold)
        (rule.percents, rule.quotas, rule.plans) = ([50], ["daily"], ["pro"])
        var world = AlertWorld([rule])
        try world.observe(.init(limit: 1, used: 900, flags: .dryRun))
        try world.observe(.init(limit: 1, used: 900, flags: .repeated))
        try world.observe(.init(limit: 0, used: 900))
        try world.observe(.init(limit: 1, used: 900, plan: 0))
        try world.observe(.init(limit: 1, used: 499))
        try world.observe(.init(limit: 1, used: 900, most: 0))
        try world.observe(.init(limit: 1, used: 900, most: .max))
        #expect(world.alerts.isEmpty)
        try world.observe(.init(limit: 1, used: .max - 1, most: .max - 1))
        #expect(world.alerts.count == 1)
    }

    @Test func aDecisionTellsWhenItsQuotaBeginsAnew() throws {
        let memory = MemoryRing(capacity: 1 << 20, number: 1, nextID: 1)
        let harness = try EngineHarness(.holding())
        harness.worker.openAudit(memory.ring, isBlocking: true)
        #expect(harness.check(meters: [("tokens", 100)]).isAllowed)
        harness.worker.publishAudit(now: BootTime(nanoseconds: harness.boot))
        let entry = try #require(memory.take().first)
        let names = harness.policy.alertNames
        let index = Int(entry.head.quota)
        #expect(names.names.limits[index].name == "monthly_tokens")
        #expect(names.periods[index] == .month)
        let wanted = Calendar.interval(
            of: .month, at: WallTime(milliseconds: harness.wall), zone: .utc)
        let found = AlertEngine.interval(names.periods[index], entry.head)
        #expect(found.end == wanted.end * 1_000)
        #expect(found.start == wanted.start * 1_000)
    }
}
