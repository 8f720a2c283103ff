import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore

/// Periods in subscriptions' zones, soft quotas, rollover and prices against `QuotaModel`.
@Suite struct EngineQuotaModelTests {
    static let zones: [ZoneRules?] = [
        nil, .utc,
        ZoneRules(name: "East", transitions: [], offsets: [], firstOffset: 46_800),
        ZoneRules(name: "West", transitions: [], offsets: [], firstOffset: -39_600),
        // Back and forth twice a year.
        ZoneRules(
            name: "Summer",
            transitions: (0..<12).map { 1_698_541_200 + $0 * 15_724_800 },
            offsets: (0..<12).map { $0 % 2 == 0 ? 3_600 : 7_200 }, firstOffset: 7_200),
    ]

    static func quota(
        _ index: Int, hasPrices: Bool, _ random: inout SeededRandom
    ) -> QuotaDefinition
    {
        let meters = ["calls", "tokens"] + (hasPrices ? ["cost"] : [])
        let meter = meters.randomElement(using: &random) ?? "calls"
        var quota = QuotaDefinition(
            name: "q\(index)", scope: Bool.random(using: &random) ? .user : .organization,
            meter: meter,
            limit: UInt64.random(in: 0...(meter == "calls" ? 30 : 200), using: &random),
            period: PeriodKind.allCases.randomElement(using: &random) ?? .day)
        switch Int.random(in: 0..<6, using: &random) {
        case 0: quota.limit = QuotaDefinition.unlimited
        case 1: quota.isSoft = true
        case 2:
            quota.isSoft = true
            quota.overageMax = UInt64.random(in: 0...40, using: &random)
        default: break
        }
        if quota.period != .total, !quota.isUnlimited, Bool.random(using: &random) {
            quota.rolloverMax = UInt64.random(in: 1...50, using: &random)
        }
        if quota.scope == .organization, Bool.random(using: &random) {
            quota.memberMax = UInt64.random(in: 0...60, using: &random)
            if !quota.isUnlimited, Bool.random(using: &random) {
                quota.memberMin = UInt64.random(
                    in: 0...min(quota.limit / 3, quota.memberMax ?? 0), using: &random)
                if Bool.random(using: &random) { quota.memberMax = nil }
            }
        }
        if quota.period != .total, Int.random(in: 0..<5, using: &random) == 0 {
            quota.timeZone = zones[2]
        }
        return quota
    }

    /// A quota that keeps something for every member, and refuses.
    private static func guarantee(_ random: inout SeededRandom) -> QuotaDefinition {
        var quota = QuotaDefinition(
            name: "kept", scope: .organization, meter: "tokens",
            limit: UInt64.random(in: 60...200, using: &random),
            period: PeriodKind.allCases.randomElement(using: &random) ?? .day)
        quota.memberMin = UInt64.random(in: 1...(quota.limit / 4), using: &random)
        return quota
    }

    private static func plan(
        _ random: inout SeededRandom, guarantees: Bool
    ) -> PlanDefinition {
        var plan = PlanDefinition(name: "p")
        if Bool.random(using: &random) {
            plan.prices = ["tokens": UInt64.random(in: 0...5, using: &random)]
            if Bool.random(using: &random) { plan.prices["calls"] = 2 }
        }
        plan.quotas = (0..<Int.random(in: 1...5, using: &random)).map {
            quota($0, hasPrices: !plan.prices.isEmpty, &random)
        }
        if guarantees { plan.quotas.append(guarantee(&random)) }
        return plan
    }

    static func definition(_ plan: PlanDefinition, _ zone: ZoneRules?) -> PolicyDefinition {
        var policy = PolicyDefinition.withDirectory(.directoryFirst, unknown: .claims)
        policy.plans = [plan]
        policy.addressLimits = []
        policy.timeZone = zone ?? .utc
        policy.operations = [
            OperationDefinition(
                name: "op",
                charges: [
                    ChargeDefinition(),
                    ChargeDefinition(
                        meter: "tokens", defaultUnits: 0, weight: QuotaModel.tokenWeight),
                ])
        ]
        return policy
    }

    /// One policy, its directory, and a walk through a few months.
    private struct Walk {
        var random: SeededRandom
        let harness: EngineHarness
        var model: QuotaModel
        let organizations = ["acme", "umbrella", "stray"]
        let users = ["ada", "bob", "cyd", "dot"]
        var kinds: (overage: Int, refused: Int, cost: Int) = (0, 0, 0)
        var guaranteed = 0

        init(_ random: SeededRandom, guarantees: Bool) throws {
            self.random = random
            let plan = EngineQuotaModelTests.plan(&self.random, guarantees: guarantees)
            let zone = EngineQuotaModelTests.zones.randomElement(using: &self.random) ?? nil
            harness = try EngineHarness(EngineQuotaModelTests.definition(plan, zone))
            model = QuotaModel(plan, zone ?? .utc)
            // The last one is known by its tokens alone.
            for organization in organizations.dropLast() {
                put(organization)
                join("ada", organization)
            }
        }

        mutating func put(_ organization: String) {
            let zone = EngineQuotaModelTests.zones.randomElement(using: &random) ?? nil
            let day = Int64.random(in: 0..<31, using: &random)
            let anchor = WallTime(seconds: 1_675_000_000 + day * 86_400)
            var overrides: [String: UInt64] = [:]
            for quota in model.plan.quotas where Int.random(in: 0..<4, using: &random) == 0 {
                overrides[quota.name] = UInt64.random(in: 0...100, using: &random)
            }
            model.overrides[organization] = overrides
            model.calendars[organization] = SubjectCalendar(zone: zone, anchor: anchor)
            harness.engine.directory.put(
                OrganizationEntry(
                    id: organization,
                    subscription: SubscriptionEntry(
                        plan: "p", isServed: true, zone: zone, anchor: anchor),
                    overrides: overrides.map { OverrideEntry(limit: $0.key, units: $0.value) }))
        }

        mutating func step() -> Bool {
            let hours: [UInt64] = [0, 0, 0, 0, 1, 5, 24, 31, 24 * 8, 24 * 40]
            let gap = (hours.randomElement(using: &random) ?? 0) * 3_600_000
            harness.advance(milliseconds: gap + UInt64.random(in: 0...5_000_000, using: &random))
            model.now = harness.moment.wall
            switch Int.random(in: 0..<40, using: &random) {
            case 0: put(organizations[Int.random(in: 0..<2, using: &random)])
            case 1:
                for _ in 0..<200 { harness.worker.sweep() }
                model.sweep()
            case 2...5: changeMembers()
            default: break
            }
            var call = QuotaModel.Call(
                organization: organizations.randomElement(using: &random) ?? "acme",
                user: users.randomElement(using: &random) ?? "ada",
                calls: UInt64.random(in: 0...8, using: &random),
                tokens: UInt64.random(in: 0...20, using: &random))
            call.isConsume = Int.random(in: 0..<8, using: &random) == 0
            // Of whom the directory has suspended, nothing but what was used is taken.
            let organization = call.organization
            if model.known[organization, default: []].contains(call.user),
                !model.members[organization, default: []].contains(call.user)
            {
                call.isConsume = true
            }
            let ours = answer(call)
            let expected = model.answer(call)
            kinds.overage += expected.isOverage ? 1 : 0
            kinds.refused += expected.isAllowed ? 0 : 1
            kinds.cost += expected.cost > 0 ? 1 : 0
            #expect(ours == expected, "\(call) of \(model.plan) at \(model.now)")
            if ours.isAllowed, !call.isConsume { checkGuarantee(call) }
            return ours == expected
        }

        /// Where no member was owed more than there was, nobody took what is another's.
        private mutating func checkGuarantee(_ call: QuotaModel.Call) {
            for quota in model.plan.quotas where quota.memberMin > 0 && !quota.isSoft {
                let limit = model.overrides[call.organization]?[quota.name] ?? quota.limit
                let owed = model.owed(quota, call.organization, but: call.user)
                let shared = QuotaModel.key(quota, call.organization, "")
                let own = model.used(shared + "/" + call.user)
                guard own > quota.memberMin, quota.rolloverMax == nil,
                    (quota.meter == "calls" && call.calls > 0)
                        || (quota.meter == "tokens" && call.tokens > 0)
                else { continue }
                guaranteed += 1
                #expect(model.used(shared) + owed <= limit, "\(quota) \(call)")
            }
        }

        /// Somebody joins, or is suspended; the last member stays.
        private mutating func changeMembers() {
            let organization = organizations[Int.random(in: 0..<2, using: &random)]
            let user = users.randomElement(using: &random) ?? "ada"
            let active = model.members[organization, default: []]
            let isActive = !active.contains(user)
            if !isActive {
                guard active.count > 1 else { return }
                model.members[organization]?.remove(user)
            } else {
                return join(user, organization)
            }
            harness.engine.directory.put(
                UserEntry(organization: organization, id: user, isActive: false))
        }

        private mutating func join(_ user: String, _ organization: String) {
            model.join(user, organization)
            harness.engine.directory.put(UserEntry(organization: organization, id: user))
        }

        private func answer(_ call: QuotaModel.Call) -> QuotaModel.Answer {
            let meters = [("calls", call.calls), ("tokens", call.tokens)]
            let now = model.now.seconds
            let got =
                call.isConsume
                ? harness.consume(
                    organization: call.organization, user: call.user, plan: "p",
                    operation: "op", meters: meters)
                : harness.check(
                    EngineHarness.token(
                        user: call.user, organization: call.organization, plan: "p",
                        issued: now - 10, expires: now + 1_000),
                    operation: "op", meters: meters)
            return QuotaModel.Answer(
                isAllowed: got.isAllowed, isOverage: got.flags & DecisionFlags.overage != 0,
                cost: got.cost, retry: got.retry, name: got.quotaName, limit: got.quota.limit,
                remaining: got.quota.remaining, reset: got.quota.reset)
        }
    }

    @Test func everyAnswerIsTheModels() throws {
        var random = SeededRandom.printed("quotas")
        var kinds: (overage: Int, refused: Int, cost: Int) = (0, 0, 0)
        var guaranteed = 0
        for number in 0..<(60 * testScale) {
            // Enough of them that the last expectation does not hang on the seed.
            var walk = try Walk(
                SeededRandom(seed: random.next()), guarantees: number.isMultiple(of: 4))
            for _ in 0..<150 where walk.step() == false { return }
            kinds.overage += walk.kinds.overage
            kinds.refused += walk.kinds.refused
            kinds.cost += walk.kinds.cost
            guaranteed += walk.guaranteed
        }
        #expect(guaranteed > 10)
        #expect(min(kinds.overage, kinds.refused, kinds.cost) > 200, "\(kinds)")
    }
}
