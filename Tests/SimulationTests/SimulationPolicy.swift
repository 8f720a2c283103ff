import TestSupport
import TollgateCore

/// Policies at random whose quotas the books can follow: a name is one counter in all plans, and
/// what users spend of a meter in a day, their organization spends.
enum SimulationPolicy {
    static let plans = ["free_tier", "pro_tier", "open_tier"]
    static let operations = ["chat", "models", "batch"]
    static let meters = ["calls", "tokens"]

    /// 2024-03-10T08:00Z, when Denver's clocks go forward, and 2024-11-03T08:00Z, when back.
    static let springSeconds: Int64 = 1_710_057_600
    static let autumnSeconds: Int64 = 1_730_620_800

    static let zones: [ZoneRules] = [
        .utc,
        ZoneRules(
            name: "Denver", transitions: [springSeconds + 3_600, autumnSeconds],
            offsets: [-21_600, -25_200], firstOffset: -25_200),
        // Midnight does not exist on the day when summer begins, and comes twice when it ends.
        ZoneRules(
            name: "Midnight", transitions: [springSeconds - 3 * 3_600, autumnSeconds - 4 * 3_600],
            offsets: [-14_400, -18_000], firstOffset: -18_000),
        ZoneRules(name: "Kiritimati", transitions: [], offsets: [], firstOffset: 50_400),
    ]

    static let poolName = "shared_calls"
    static let carriedLimit: UInt64 = 6
    static let carriedMax: UInt64 = 9

    /// What a run keeps over reloads: the zone, and which limits there are.
    struct Frame {
        var zone: ZoneRules
        var hasWindows: Bool
        var hasTight: Bool
        var dailyPeriod: PeriodKind
        var monthlyPeriod: PeriodKind
        var hasRollover: Bool
        var hasConcurrency: Bool
        /// Members share an organization's quota.
        var hasPool: Bool
        var idempotencyMilliseconds: UInt64
        /// Reloads take quotas and limits of open reservations out, for others, and put them back.
        var takesQuotasOut = false

        init(_ random: inout SeededRandom) {
            zone = zones[Int(random.next() % UInt64(zones.count))]
            hasWindows = random.next() % 3 == 0
            hasTight = random.next() % 2 == 0
            dailyPeriod = random.next() % 4 == 0 ? .week : .day
            let periods: [PeriodKind] = [.month, .month, .billingMonth, .total]
            monthlyPeriod = periods[Int(random.next() % 4)]
            hasRollover = random.next() % 3 == 0
            hasConcurrency = random.next() % 2 == 0
            hasPool = random.next() % 2 == 0
            let lifetimes: [UInt64] = [1_000, 600_000, 86_400_000, 86_400_000]
            idempotencyMilliseconds = lifetimes[Int(random.next() % 4)]
        }
    }

    static func make(_ frame: Frame, _ random: inout SeededRandom) -> PolicyDefinition {
        func pick<T>(_ list: [T]) -> T { list[Int(random.next() % UInt64(list.count))] }
        func limit() -> UInt64 {
            frame.hasTight ? pick([0, 1, 3, 10, 40]) : pick([40, 1_000, 1 << 40])
        }
        var policy = PolicyDefinition()
        (policy.meters, policy.timeZone) = (meters, frame.zone)
        policy.idempotency.lifetimeMilliseconds = frame.idempotencyMilliseconds
        policy.operations = [
            OperationDefinition(
                name: "chat",
                charges: [
                    ChargeDefinition(),
                    ChargeDefinition(meter: "tokens", defaultUnits: pick([0, 3]), weight: 10),
                ]),
            OperationDefinition(name: "models"),
            OperationDefinition(
                name: "batch",
                charges: [
                    ChargeDefinition(meter: "calls", defaultUnits: 2),
                    ChargeDefinition(meter: "tokens", defaultUnits: 1),
                ]),
        ]
        policy.plans = plans.map { name in
            var plan = PlanDefinition(name: name)
            plan.quotas = [
                QuotaDefinition(
                    name: "daily_calls", scope: .user, limit: limit(),
                    period: frame.dailyPeriod),
                QuotaDefinition(
                    name: "org_calls", scope: .organization, limit: 3 * limit(),
                    period: frame.dailyPeriod),
                QuotaDefinition(
                    name: "monthly_tokens", scope: .organization, meter: "tokens",
                    limit: 20 * limit(), period: frame.monthlyPeriod),
            ]
            if name != "open_tier" {
                plan.quotas.append(
                    QuotaDefinition(
                        name: "monthly_user", scope: .user, meter: "tokens", limit: 10 * limit(),
                        period: frame.monthlyPeriod))
            }
            // A soft one refuses nobody before its overage is used up.
            if pick([0, 0, 1]) == 1 {
                plan.quotas[0].isSoft = true
                plan.quotas[0].overageMax = pick([nil, 3])
            }
            addTerms(to: &plan, frame, &random)
            if frame.hasWindows, name != "open_tier" {
                plan.rateLimits = [
                    RateLimitDefinition(
                        name: "per_second", scope: .user, limit: pick([2, 20]),
                        windowNanoseconds: 1_000_000_000)
                ]
            }
            return plan
        }
        if frame.takesQuotasOut { takeSomeOut(of: &policy, &random) }
        return policy
    }

    /// Others come in the place of some, or nothing does.
    private static func takeSomeOut(
        of policy: inout PolicyDefinition, _ random: inout SeededRandom
    ) {
        let isPoolOut = random.next() % 3 == 0
        let others = ["monthly_user", "monthly_tokens", "open_calls", "open_org"].filter { _ in
            random.next() % 2 == 0
        }
        for plan in policy.plans.indices {
            if isPoolOut { policy.plans[plan].quotas.removeAll { $0.name == poolName } }
            for quota in policy.plans[plan].quotas.indices
            where others.contains(policy.plans[plan].quotas[quota].name) {
                policy.plans[plan].quotas[quota].name += "_other"
            }
            for limit in policy.plans[plan].concurrency.indices
            where others.contains(policy.plans[plan].concurrency[limit].name) {
                policy.plans[plan].concurrency[limit].name += "_other"
            }
        }
    }

    /// What reservations are held by, and what is carried over.
    private static func addTerms(
        to plan: inout PlanDefinition, _ frame: Frame, _ random: inout SeededRandom
    ) {
        func pick<T>(_ list: [T]) -> T { list[Int(random.next() % UInt64(list.count))] }
        if frame.hasRollover {
            // Its limit stays: what was carried over is worked out by the one that holds then.
            var quota = QuotaDefinition(
                name: "carried_calls", scope: .user, limit: carriedLimit,
                period: frame.dailyPeriod)
            quota.rolloverMax = carriedMax
            plan.quotas.append(quota)
        }
        if frame.hasPool, plan.name != "open_tier" || pick([false, true]) {
            // A pool in every policy, so that members' shares add up to the organization's use.
            var quota = QuotaDefinition(
                name: poolName, scope: .organization, limit: pick([12, 30, 1_000]),
                period: frame.dailyPeriod)
            quota.memberMin = pick([0, 2, 5, 12])
            quota.memberMax = pick([12, 20, nil])
            if quota.memberMin == 0, quota.memberMax == nil { quota.memberMax = 15 }
            plan.quotas.append(quota)
        }
        if frame.hasConcurrency {
            plan.concurrency = [
                ConcurrencyDefinition(name: "open_calls", scope: .user, limit: pick([1, 3])),
                ConcurrencyDefinition(
                    name: "open_org", scope: .organization, limit: pick([2, 5])),
            ]
        }
        plan.holds.ttlDefaultMilliseconds = pick([1_000, 20_000, 3_600_000])
        plan.holds.ttlMaxMilliseconds = pick([3_600_000, 86_400_000])
        plan.holds.cutStream = pick([.estimate, .reported, .nothing])
    }
}

extension PolicyDefinition {
    /// Pools keep nothing for anybody.
    mutating func guaranteeNothing() {
        for plan in plans.indices {
            for quota in plans[plan].quotas.indices where plans[plan].quotas[quota].isPool {
                plans[plan].quotas[quota].memberMin = 0
                plans[plan].quotas[quota].memberMax =
                    plans[plan].quotas[quota].memberMax ?? plans[plan].quotas[quota].limit
            }
        }
    }
}
