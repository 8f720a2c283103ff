import TollgateCore
import TollgateStorage
import TollgateWire

/// Other numbers for limits of the plan, and the plans as the policy has them.
extension CallHandlers {
    static func setOverride(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let user = arguments.optionalID("user", UserID.self)
        let limit = try arguments.text("limit")
        let units = UInt64(clamping: arguments.integer("units") ?? 0)
        let expires = arguments.time("expires_at")
        _ = try tenant.record()
        try context.check(
            limit, units, ofUser: user != nil, plan: try tenant.subscriptionIfAny()?.plan.text)
        if let expires, expires <= context.now {
            throw .invalid(field: "expires_at", why: "is in the past")
        }
        let record = try tenant.setOverride(
            LimitName(unchecked: limit), user: user, units: units, expires: expires,
            by: context.change)
        try context.publishOverrides(of: user, in: tenant)
        return .object(["override": LimitOverride(record).json])
    }

    static func removeOverride(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let user = arguments.optionalID("user", UserID.self)
        let record = try tenant.removeOverride(
            try arguments.id("limit"), user: user, by: context.change)
        try context.publishOverrides(of: user, in: tenant)
        return .object(["override": LimitOverride(record).json])
    }

    static func listOverrides(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        return try arguments.list({ after, limit throws(DirectoryError) in
            try tenant.overrides(after: after, limit: limit)
        }) { LimitOverride($0) }
    }

    // MARK: plans

    static func listPlans(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let names = context.policy.planNames.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let context = context
        return try arguments.list({ after, limit throws(DirectoryError) in
            let rest = names.drop { name in
                after.map { !$0.utf8.lexicographicallyPrecedes(name.utf8) } ?? false
            }
            let part = Array(rest.prefix(limit))
            return Page(items: part, next: rest.count > part.count ? part.last : nil)
        }) { context.planInfo($0) }
    }

    static func showPlan(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let name = try arguments.text("plan")
        guard context.policy.hasPlan(name) else { throw .notFound }
        return .object(["plan": context.planInfo(name).json])
    }
}

extension CallContext {
    /// That an override means something: a limit of the policy, counted for whom it is set, and a
    /// number that its counters hold. Those of the organization's own plan, where that has it.
    func check(
        _ limit: String, _ units: UInt64, ofUser: Bool, plan: String?
    ) throws(DirectoryError) {
        func facts(_ plan: String) -> [LimitFact] {
            (policy.limitFacts(of: plan, at: now) ?? []).filter { $0.name == limit }
        }
        var found = plan.map(facts) ?? []
        if found.isEmpty { found = policy.planNames.flatMap(facts) }
        guard let most = found.map(\.unitsMax).max() else {
            throw .invalid(field: "limit", why: "no plan of the policy has a limit of that name")
        }
        guard !ofUser || found.contains(where: { $0.scope == .user }) else {
            throw .invalid(
                field: "user", why: "the limit counts for the organization, not for its users")
        }
        guard units <= most else {
            throw .invalid(
                field: "units",
                why: "is at most \(most) for this limit; override_max in the policy raises that")
        }
    }

    mutating func publishOverrides(
        of user: UserID?, in tenant: TenantDirectory
    ) throws(DirectoryError) {
        guard let user else { return try publishOrganization(tenant.organization) }
        try publishUser(try tenant.user(user), of: try tenant.record())
    }

    /// A plan of the policy.
    func planInfo(_ name: String) -> PlanInfo {
        let facts = policy.limitFacts(of: name, at: now) ?? []
        return PlanInfo(
            name: name,
            permissions: issuer.definition.plans.first { $0.name == name }?.permissions ?? [],
            limits: facts.compactMap { PlanInfo.Limit($0) })
    }
}

extension PlanInfo.Limit {
    init?(_ fact: LimitFact) {
        guard let scope = PlanLimitScope(fact.scope) else { return nil }
        self.init(
            name: fact.name, kind: fact.isQuota ? .quota : .rateLimit, scope: scope,
            meter: fact.meter, limit: fact.limit,
            windowMilliseconds: fact.isQuota ? nil : fact.windowMilliseconds,
            period: fact.period.map { PlanInfo.Period($0) })
    }
}

extension PlanInfo.Period {
    init(_ kind: PeriodKind) {
        switch kind {
        case .day: self = .day
        case .month: self = .month
        case .week: self = .week
        case .billingMonth: self = .billingMonth
        case .total: self = .total
        }
    }
}
