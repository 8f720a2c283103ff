import Testing
import TollgateWire

@testable import TollgateCore

/// Quotas in shadow, from decisions to alerts: told as if they were enforced, and that they are
/// not.
@Suite struct AlertShadowTests {
    /// Decisions of a policy, and the rules that look at what is recorded of them.
    private final class World {
        let harness: EngineHarness
        let memory = MemoryRing(capacity: 1 << 20, number: 1, nextID: 1)
        var engine: AlertEngine
        var alerts: [Alert] = []

        init(_ rules: [AlertRule], _ change: (inout PolicyDefinition) -> Void) throws {
            harness = try EngineHarness(Self.definition(change))
            harness.worker.openAudit(memory.ring, isBlocking: true)
            engine = AlertEngine(AlertRules(rules))
        }

        static func definition(_ change: (inout PolicyDefinition) -> Void) -> PolicyDefinition {
            var policy = PolicyDefinition.holding(tokens: 1_000, calls: 100, perMinute: 1 << 40)
            change(&policy)
            return policy
        }

        func reload(_ change: (inout PolicyDefinition) -> Void) throws {
            try harness.reload(Self.definition(change))
        }

        /// Hands on what was recorded; the entries, for who looks at them.
        @discardableResult
        func settle() -> [MemoryRing.Entry] {
            harness.worker.publishAudit(now: BootTime(nanoseconds: harness.boot))
            var position = memory.ring.start
            var entries: [MemoryRing.Entry] = []
            let isWhole = memory.ring.read(&position) {
                entries.append(MemoryRing.Entry($0))
                engine.observe($0, harness.policy.alertNames)
                return true
            }
            #expect(isWhole)
            memory.ring.release(through: position)
            alerts += engine.takePending()
            return entries
        }

        func spend(_ tokens: UInt64) {
            #expect(harness.check(meters: [("tokens", tokens)]).isAllowed)
            settle()
        }

        func told(_ rule: String) -> [Alert] { alerts.filter { $0.rule == rule } }
    }

    private static func thresholds(_ percents: [UInt32]) -> AlertRule {
        var rule = AlertRule("quota_threshold", .quotaThreshold)
        rule.percents = percents
        return rule
    }

    private static func setShadow(_ quotas: Set<String>) -> (inout PolicyDefinition) -> Void {
        { policy in
            for plan in policy.plans.indices {
                for quota in policy.plans[plan].quotas.indices
                where quotas.contains(policy.plans[plan].quotas[quota].name) {
                    policy.plans[plan].quotas[quota].isShadow = true
                }
            }
        }
    }

    @Test func thresholdsOfAQuotaInShadowFireBelowAndBeyondItsLimit() throws {
        let world = try World(
            [Self.thresholds([50, 100, 150])], Self.setShadow(["monthly_tokens"]))
        for _ in 0..<16 { world.spend(100) }
        let told = world.told("quota_threshold")
        #expect(told.map(\.threshold) == [50, 100, 150])
        #expect(told.map(\.value) == [500, 1_000, 1_500])
        #expect(told.allSatisfy { $0.subject.isShadow && $0.subject.quota == "monthly_tokens" })
        #expect(told.allSatisfy { $0.severity == .warning && $0.limit == 1_000 })
        let text = try #require(told.first?.text)
        #expect(text.hasSuffix("used: 500 of 1000; it is in shadow and refuses nobody"))
        let month = Calendar.interval(
            of: .month, at: WallTime(milliseconds: world.harness.wall), zone: .utc)
        #expect(Set(told.map(\.periodEnd)) == [month.end * 1_000])
    }

    @Test func aQuotaThatIsEnforcedIsToldBesideOneInShadow() throws {
        let world = try World([Self.thresholds([80])], Self.setShadow(["monthly_tokens"]))
        for _ in 0..<80 { world.spend(10) }
        let told = world.told("quota_threshold")
        #expect(told.map(\.subject.quota).sorted() == ["daily_calls", "monthly_tokens"])
        for one in told {
            #expect(one.subject.isShadow == (one.subject.quota == "monthly_tokens"))
        }
    }

    @Test func ofAPolicyInShadowEveryQuotaIsTold() throws {
        let world = try World([Self.thresholds([80])]) { $0.isShadow = true }
        for _ in 0..<80 { world.spend(10) }
        let told = world.told("quota_threshold")
        #expect(Set(told.map(\.subject.quota)) == ["daily_calls", "monthly_tokens"])
        #expect(told.count == 2 && told.allSatisfy(\.subject.isShadow))
    }

    @Test func aQuotaThatIsEnforcedLaterIsToldAnewAsOneThatRefuses() throws {
        let rules = [Self.thresholds([80, 100])]
        let world = try World(rules, Self.setShadow(["monthly_tokens"]))
        for _ in 0..<9 { world.spend(100) }
        #expect(world.alerts.map(\.threshold) == [80])
        try world.reload { _ in }
        world.spend(50)
        #expect(world.alerts.map(\.subject.isShadow) == [true, false])
        // Back in shadow: of this period that was told.
        try world.reload(Self.setShadow(["monthly_tokens"]))
        world.spend(10)
        #expect(world.alerts.count == 2)
        world.spend(60)
        #expect(world.alerts.map(\.threshold) == [80, 80, 100])
        #expect(world.alerts.last?.subject.isShadow == true)
    }

    @Test func whatWouldBeGoneEarlyOrBeforeItsEndIsToldSo() throws {
        var forecast = AlertRule("quota_forecast", .quotaForecast)
        forecast.periodPercent = 1
        let world = try World(
            [AlertRule("quota_exhausted_early", .quotaExhaustedEarly), forecast],
            Self.setShadow(["monthly_tokens"]))
        let month = Calendar.interval(
            of: .month, at: WallTime(milliseconds: world.harness.wall), zone: .utc)
        // The second hour of the next month's second day.
        let at = (month.end + 93_600) * 1_000
        world.harness.advance(milliseconds: UInt64(at - world.harness.wall))
        let token = EngineHarness.token(issued: at / 1_000 - 10, expires: at / 1_000 + 100)
        for tokens in [UInt64(500), 600] {
            #expect(world.harness.check(token, meters: [("tokens", tokens)]).isAllowed)
            world.settle()
        }
        #expect(world.alerts.map(\.rule) == ["quota_forecast", "quota_exhausted_early"])
        #expect(world.alerts.allSatisfy { $0.subject.isShadow && $0.severity == .warning })
        #expect(world.alerts[0].text.contains("would be gone before its period ends: 500 of 1000"))
        #expect(world.alerts[1].text.contains("(1000) would be gone before 10 %"))
    }

    /// Whatever charges, or is refused, says how they stand; the log's part of an entry does not.
    @Test func everyKindOfRequestSaysHowTheyStand() throws {
        let world = try World([], Self.setShadow(["monthly_tokens"]))
        let harness = world.harness
        let hold = try #require(harness.reserve(tokens: 100).id)
        #expect(harness.extend(hold, hold: 150, used: 90).isAllowed)
        #expect(harness.settle(hold, tokens: 120).isAllowed)
        _ = harness.consume(
            organization: "acme", user: "ada", plan: "pro_tier", operation: "chat",
            meters: [("tokens", 7)])
        #expect(harness.check(meters: [("tokens", 3)]).isAllowed)
        #expect(harness.check("nonsense").reason == .credentialInvalid)
        let entries = world.settle()
        #expect(entries.map(\.kind) == [.reserve, .extend, .settle, .consume, .check, .check])
        let monthly = try #require(
            harness.policy.auditNames.limits.firstIndex { $0.name == "monthly_tokens" })
        let stands = entries.map(\.shadowQuotas)
        #expect(stands.map(\.count) == [1, 1, 1, 1, 1, 0])
        #expect(stands.flatMap { $0 }.allSatisfy { Int($0.limit) == monthly && $0.most == 1_000 })
        #expect(stands.flatMap { $0 }.map { $0.used + $0.held } == [100, 150, 120, 127, 130])
        #expect(entries.allSatisfy { $0.standings.isEmpty && !$0.head.flags.contains(.shadow) })
        #expect(entries[4].charges.last?.weighted == 3 && entries[4].user == "ada")
    }

    @Test func withoutQuotasInShadowAnEntryIsNoLarger() throws {
        let world = try World([]) { _ in }
        #expect(world.harness.check(meters: [("tokens", 3)]).isAllowed)
        let entry = try #require(world.settle().first)
        #expect(entry.shadowQuotas.isEmpty)
        #expect(Int(entry.head.bytes) == AuditEntry.paddedBytes(entry.head))
    }

    @Test func aStandingHasRoomForAPeriod() {
        var standing = AuditStanding(limit: 1, scope: 2, flags: 2, used: 3, held: 4, most: 5)
        let most: UInt32 = (1 << 27) - 1
        for days in UInt8(0)...31 {
            for seconds: UInt32 in [0, 1, 31 * 86_400, most] {
                (standing.periodDays, standing.resetSeconds) = (days, seconds)
                #expect(standing.periodDays == days && standing.resetSeconds == seconds)
            }
        }
        standing.resetSeconds = .max
        #expect(standing.resetSeconds == most && standing.periodDays == 31)
        #expect(MemoryLayout<AuditStanding>.size == AuditStanding.bytes)
    }

    @Test func aStateOfTheFormBeforeHasNoneInShadow() throws {
        var world = AlertWorld([Self.thresholds([80])])
        world.restartEvery = 0
        try world.observe(.init(limit: 0, used: 900))
        let kept = world.engine.snapshot
        var bytes = kept.encoded
        bytes.replaceSubrange(0..<8, with: Array("TGALERT2".utf8))
        #expect(bytes.withUnsafeBytes { AlertState(decoding: $0) } == kept)
        bytes.replaceSubrange(0..<8, with: Array("TGALERT4".utf8))
        #expect(bytes.withUnsafeBytes { AlertState(decoding: $0) } == nil)
    }

    @Test func whatIsKeptOfAQuotaInShadowIsReadAgain() throws {
        let world = try World([Self.thresholds([50])], Self.setShadow(["monthly_tokens"]))
        for _ in 0..<6 { world.spend(100) }
        #expect(world.alerts.count == 1)
        let kept = world.engine.snapshot
        let read = try #require(kept.encoded.withUnsafeBytes { AlertState(decoding: $0) })
        #expect(read == kept && read.recent.first?.subject.isShadow == true)
        world.engine = AlertEngine(world.engine.rules, read)
        world.spend(100)
        #expect(world.alerts.count == 1)
    }
}
