import Testing
import TollgateWire

@testable import TollgateCore

/// Limits, and whole policies, that are looked at and refuse nobody.
@Suite struct EngineShadowTests {
    private static let second: UInt64 = 1_000_000_000

    private static func window(
        _ name: String, _ scope: LimitScope, _ limit: UInt64
    ) -> RateLimitDefinition {
        var limit = RateLimitDefinition(
            name: name, scope: scope, limit: limit, windowNanoseconds: second)
        limit.isShadow = true
        return limit
    }

    /// Every kind of limit that CHECK looks at, all in shadow.
    private static func definition() -> PolicyDefinition {
        var daily = QuotaDefinition(name: "daily", scope: .user, limit: 60, period: .day)
        daily.isShadow = true
        var monthly = QuotaDefinition(
            name: "monthly", scope: .organization, meter: "tokens", limit: 900, period: .month)
        monthly.isShadow = true
        var policy = PolicyDefinition.holding()
        policy.plans = [
            PlanDefinition(
                name: "pro_tier",
                rateLimits: [window("mine", .user, 3), window("ours", .organization, 5)],
                quotas: [daily, monthly])
        ]
        policy.addressLimits = [window("theirs", .address, 4)]
        return policy
    }

    /// The same with one window alone, enforced.
    private static func enforced(_ name: String) -> PolicyDefinition {
        var policy = definition()
        policy.addressLimits.removeAll { $0.name != name }
        policy.plans[0].rateLimits.removeAll { $0.name != name }
        policy.plans[0].quotas = []
        for index in policy.addressLimits.indices { policy.addressLimits[index].isShadow = false }
        for index in policy.plans[0].rateLimits.indices {
            policy.plans[0].rateLimits[index].isShadow = false
        }
        return policy
    }

    /// A window in shadow would have refused what it refuses when it is enforced alone; a quota
    /// counts all that is used, and would have refused what goes beyond its limit.
    @Test func aLimitInShadowWouldRefuseWhatItRefusesAlone() throws {
        var random = SeededRandom.printed("limits in shadow")
        let shadow = try EngineHarness(Self.definition())
        let names = ["mine", "ours", "theirs"]
        let alone = try names.map { try EngineHarness(Self.enforced($0)) }
        var (calls, tokens): ([String: UInt64], [String: UInt64]) = ([:], [:])
        var counts: [String: UInt64] = [:]
        for round in 0..<3_000 {
            let user = "u\(UInt64.random(in: 0..<3, using: &random))"
            let organization = "o\(UInt64.random(in: 0..<2, using: &random))"
            let units = UInt64.random(in: 0..<6, using: &random)
            let token = EngineHarness.token(user: user, organization: organization)
            let address = [10, 0, 0, UInt8(UInt64.random(in: 0..<2, using: &random))]
            let id = user + organization
            var expected: Set<String> = []
            for (name, harness) in zip(names, alone) {
                let answer = harness.check(token, meters: [("tokens", units)], address: address)
                if answer.reason == .rateLimited { expected.insert(name) }
            }
            if calls[id, default: 0] + 1 > 60 { expected.insert("daily") }
            if tokens[organization, default: 0] + units > 900 { expected.insert("monthly") }
            calls[id, default: 0] += 1
            tokens[organization, default: 0] += units
            let answer = shadow.check(
                token, meters: [("tokens", units)], address: address, flags: RequestFlags.explain)
            let told = LimitFlag.all(shadow.reply, answer)
            let would = Set(told.filter(\.refuses).map(\.name))
            #expect(answer.isAllowed && would == expected, "round \(round)")
            #expect(told.count == 5 && told.allSatisfy(\.isShadow))
            #expect(answer.rateName.isEmpty && answer.quotaName.isEmpty)
            let first = names.contains { expected.contains($0) }
                ? Reason.rateLimited : expected.isEmpty ? .none : .quotaExhausted
            #expect(answer.wouldDeny?.reason ?? .none == first)
            #expect(answer.wouldDeny.map { expected.contains($0.limit) } ?? expected.isEmpty)
            for name in expected { counts[name, default: 0] += 1 }
            let most: UInt64 = Bool.random(using: &random) ? 700 : 60
            let step = UInt64.random(in: 0..<most, using: &random)
            for harness in alone + [shadow] { harness.advance(milliseconds: step) }
        }
        #expect(shadow.wouldDenials == counts && counts.count == 5)
        let used = shadow.usage(organization: "o0", user: "u0")
        #expect(used["monthly"] == tokens["o0"] && used["daily"] == calls["u0o0"])
        #expect(tokens["o0", default: 0] > 900)
    }

    @Test func aLimitThatIsEnforcedRefusesBesideOnesInShadow() throws {
        var policy = Self.definition()
        policy.plans[0].quotas[0].isShadow = false
        policy.plans[0].quotas[0].limit = 4
        let harness = try EngineHarness(policy)
        for call in 0..<4 {
            #expect(harness.check().wouldDeny?.limit == (call < 3 ? nil : "mine"))
        }
        let refused = harness.check(flags: RequestFlags.explain)
        #expect(refused.reason == .quotaExhausted && refused.quotaName == "daily")
        #expect(refused.wouldDeny == nil)
        // What is refused anyway is no case of what only shadow let through.
        #expect(harness.wouldDenials == ["mine": 1, "ours": 0, "theirs": 0, "monthly": 0])
    }

    @Test func aDryRunIsToldAndNotCounted() throws {
        let harness = try EngineHarness(Self.definition())
        for _ in 0..<3 { #expect(harness.check().wouldDeny == nil) }
        let dry = harness.check(flags: RequestFlags.dryRun)
        #expect(dry.isAllowed && dry.wouldDeny?.limit == "mine")
        #expect(harness.wouldDenials.values.allSatisfy { $0 == 0 })
    }

    @Test func aReloadThereAndBackKeepsCounts() throws {
        var enforced = Self.definition()
        for index in 0..<2 { enforced.plans[0].quotas[index].isShadow = false }
        enforced.plans[0].rateLimits = []
        enforced.addressLimits = []
        var shadow = enforced
        for index in 0..<2 { shadow.plans[0].quotas[index].isShadow = true }
        let harness = try EngineHarness(shadow)
        for _ in 0..<70 { #expect(harness.check(meters: [("tokens", 1)]).isAllowed) }
        #expect(harness.wouldDenials["daily"] == 10)
        try harness.reload(enforced)
        let refused = harness.check(meters: [("tokens", 1)])
        #expect(refused.reason == .quotaExhausted && refused.quota.remaining == 0)
        #expect(harness.usage(organization: "acme", user: "ada")["daily"] == 70)
        try harness.reload(shadow)
        #expect(harness.check(meters: [("tokens", 1)]).wouldDeny?.limit == "daily")
        #expect(harness.wouldDenials["daily"] == 11)
        #expect(harness.usage(organization: "acme", user: "ada")["daily"] == 71)
    }

    /// A window counts what it admits: when it is enforced it is as full as if it had been.
    @Test func aWindowThatIsEnforcedAgainIsNotFullerThanItsLimit() throws {
        var policy = Self.definition()
        policy.plans[0].rateLimits[1].limit = 1_000
        policy.addressLimits = []
        let harness = try EngineHarness(policy)
        for _ in 0..<50 { #expect(harness.check().isAllowed) }
        #expect(harness.usage(organization: "acme", user: "ada")["mine"] == 3)
        policy.plans[0].rateLimits[0].isShadow = false
        try harness.reload(policy)
        #expect(harness.check().reason == .rateLimited)
        harness.advance(milliseconds: 1_100)
        #expect(harness.check().isAllowed)
    }

    @Test func aLimitFarBehindInALargePolicyIsCountedByItsName() throws {
        var policy = PolicyDefinition.holding()
        policy.plans = (0..<690).map { plan in
            PlanDefinition(
                name: "p\(plan)",
                rateLimits: (0..<48).map {
                    RateLimitDefinition(
                        name: "l\($0)", scope: .user, limit: 1_000,
                        windowNanoseconds: Self.second)
                })
        }
        policy.plans[689].rateLimits[47] = Self.window("last", .user, 1)
        let harness = try EngineHarness(policy)
        let token = EngineHarness.token(plan: "p689")
        for would in [nil, "last"] { #expect(harness.check(token).wouldDeny?.limit == would) }
        #expect(harness.wouldDenials == ["last": 1])
    }

    @Test func whatIsRecordedCountsInFull() throws {
        let harness = try EngineHarness(Self.definition())
        let answer = harness.consume(
            organization: "acme", user: "ada", plan: "pro_tier", operation: "chat",
            meters: [("calls", 100), ("tokens", 2_000)], flags: RequestFlags.explain)
        #expect(answer.isAllowed && answer.flags & DecisionFlags.overage != 0)
        #expect(LimitFlag.all(harness.reply, answer).allSatisfy { $0.refuses && $0.isShadow })
        let used = harness.usage(organization: "acme", user: "ada")
        #expect(used["mine"] == 100 && used["daily"] == 100 && used["monthly"] == 2_000)
        #expect(harness.wouldDenials.values.allSatisfy { $0 == 0 })
    }

    // MARK: a whole policy

    private func whole() throws -> EngineHarness {
        var policy = PolicyDefinition.small(userPerSecond: 2)
        policy.isShadow = true
        return try EngineHarness(policy)
    }

    @Test func aPolicyInShadowRefusesByNoLimitAndNoPermission() throws {
        let harness = try whole()
        let memory = MemoryRing(capacity: 1 << 20, number: 1, nextID: 1 << 56 | 1)
        harness.worker.openAudit(memory.ring, isBlocking: true)
        for _ in 0..<2 { #expect(harness.check().wouldDeny == nil) }
        #expect(harness.check().wouldDeny?.limit == "per_second")
        let batch = harness.check(operation: "batch")
        #expect(batch.isAllowed && batch.wouldDeny?.reason == .permissionDenied)
        #expect(batch.wouldDeny?.limit == "")
        #expect(harness.wouldDenials == [
            "per_second": 2, "permission": 1, "per_minute": 0, "org_per_second": 0,
            "daily_calls": 0, "monthly_tokens": 0, "per_address": 0, "credential_rate": 0,
        ])
        harness.worker.publishAudit(now: BootTime(nanoseconds: harness.boot))
        let entries = memory.take()
        #expect(entries.map { $0.head.flags.contains(.shadow) } == [false, false, true, true])
        #expect(entries.map(\.head.reason) == [0, 0, 0, 0])
        #expect(entries[0].standings.isEmpty)
        let would = AuditStanding.refuses | AuditStanding.shadow
        #expect(entries[2].standings.contains { $0.flags == would && $0.used == 2 && $0.most == 2 })
        #expect(entries[3].standings[0].limit == AuditHead.none)
        #expect(entries[3].standings[0].flags == would)
    }

    @Test func credentialsAreRefusedWhateverIsInShadow() throws {
        let harness = try whole()
        for _ in 0..<4 { #expect(harness.check("nonsense").reason == .credentialInvalid) }
        #expect(harness.check("nonsense").reason == .invalidCredentialLimited)
        #expect(harness.check(operation: "nothing", address: [1, 2, 3, 4]).reason
            == .operationUnknown)
    }

    // MARK: reservations

    private func holding() throws -> EngineHarness {
        var policy = PolicyDefinition.holding(tokens: 100, calls: 100, perMinute: 50, open: 1)
        policy.plans[0].rateLimits[0].isShadow = true
        for index in 0..<2 { policy.plans[0].quotas[index].isShadow = true }
        policy.plans[0].concurrency[0].isShadow = true
        return try EngineHarness(policy)
    }

    @Test func reservationsGoBeyondEveryLimitInShadow() throws {
        let harness = try holding()
        let first = harness.reserve(tokens: 40)
        #expect(first.isAllowed && first.answer.wouldDeny == nil)
        #expect(harness.numbers() == [0, 40, 0, 1, 40])
        let second = harness.reserve(tokens: 70)
        // Of the three that would refuse, the first by the order of reasons.
        #expect(second.isAllowed && second.answer.wouldDeny?.limit == "tokens_per_minute")
        #expect(harness.wouldDenials == [
            "tokens_per_minute": 1, "open_calls": 1, "monthly_tokens": 1, "daily_calls": 0,
        ])
        // Quotas hold it and the open ones count it; the window, as when enforced, does not.
        #expect(harness.numbers() == [0, 110, 0, 2, 40])
        let id = try #require(second.id)
        #expect(harness.extend(id, hold: 90, used: 80).answer.wouldDeny?.reason == .rateLimited)
        #expect(harness.numbers() == [0, 130, 0, 2, 40])
        #expect(harness.settle(id, tokens: 85).isAllowed)
        #expect(harness.numbers() == [85, 40, 1, 1, 40])
        let last = harness.settle(try #require(first.id), tokens: 41)
        #expect(last.isAllowed && last.isOverage)
        #expect(harness.numbers() == [126, 0, 2, 0, 41])
    }

    @Test func whatIsInShadowIsCountedUnderOneReason() throws {
        let told = try holding().engine.wouldDenials
        #expect(told.count == 4 && Set(told.map(\.limit)).count == 4)
        #expect(told.first { $0.limit == "open_calls" }?.reason == .concurrencyExceeded)
    }

    @Test func aSecondReservationOfAnEnforcedLimitIsStillRefused() throws {
        var policy = PolicyDefinition.holding(open: 1)
        policy.plans[0].quotas[1].isShadow = true
        let harness = try EngineHarness(policy)
        #expect(harness.reserve(tokens: 1).isAllowed)
        #expect(harness.reserve(tokens: 1).reason == .concurrencyExceeded)
    }

    // MARK: credits and pools

    @Test func creditsBurnBeforeAQuotaInShadowWouldRefuse() throws {
        let harness = try EngineHarness(.crediting { $0.isShadow = true })
        #expect(harness.grant("a", 50))
        #expect(harness.use(140).wouldDeny == nil)
        #expect(harness.use(20).wouldDeny?.limit == "tokens_quota")
        #expect(harness.use(1).wouldDeny?.limit == "tokens_quota")
        #expect(harness.usage(organization: "acme", user: "ada")["tokens_quota"] == 161)
    }

    @Test func aMembersShareIsInShadowWithItsPool() throws {
        var quota = QuotaDefinition(name: "pool", scope: .organization, limit: 100, period: .month)
        quota.memberMax = 3
        quota.isShadow = true
        let harness = try EngineHarness(
            EngineQuotaModelTests.definition(PlanDefinition(name: "p", quotas: [quota]), nil))
        func check(_ calls: UInt64) -> Answer {
            harness.check(
                EngineHarness.token(
                    plan: "p", issued: harness.moment.wall.seconds - 10,
                    expires: harness.moment.wall.seconds + 100), operation: "op",
                meters: [("calls", calls)])
        }
        #expect(check(3).wouldDeny == nil)
        #expect(check(1).wouldDeny?.limit == "pool")
        #expect(harness.usage(organization: "acme", user: "ada", plan: "p")["pool"] == 4)
    }
}

/// An entry of an explanation: its name and its flags.
private struct LimitFlag {
    var name: String
    var flags: UInt8

    var refuses: Bool { flags & LimitEntryFlags.refused != 0 }
    var isShadow: Bool { flags & LimitEntryFlags.shadow != 0 }

    static func all(_ reply: UnsafeMutableRawBufferPointer, _ answer: Answer) -> [LimitFlag] {
        let bytes = UnsafeRawBufferPointer(reply)
        let texts = answer.texts.reduce(0) { $0 + $1.utf8.count }
        var at = BodyBytes.decisionReply + texts + BodyBytes.extensionHeader
        let count = Int(bytes.loadLittle(at: at, as: UInt16.self))
        at += 2
        return (0..<count).map { _ in
            let name = bytes.slice(at: at + 56, length: Int(bytes[at + 3]))
            defer { at += 56 + Int(bytes[at + 3]) + Int(bytes[at + 4]) }
            return LimitFlag(name: String(decoding: name, as: UTF8.self), flags: bytes[at + 2])
        }
    }
}

extension EngineHarness {
    fileprivate var wouldDenials: [String: UInt64] {
        engine.wouldDenials.reduce(into: [:]) {
            $0[$1.limit.isEmpty ? "permission" : $1.limit, default: 0] += $1.count
        }
    }
}
