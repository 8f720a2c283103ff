import CLinux
import TollgateCore
import TollgateStorage
import TollgateWire

/// Changes of plans.
extension CallHandlers {
    static func changePlan(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let plan = try context.planName(try arguments.text("plan"))
        let before = try tenant.subscriptionIfAny()
        let isLater = arguments.optionalText("when") == "period_end" && before != nil
        let effective = try isLater ? context.periodEnd(of: before) : context.now
        let change = PlanChangePlan(
            organization: try tenant.record(), before: before, to: plan,
            mode: arguments.word("mode") ?? .carry, isLater: isLater, effective: effective)
        guard !isLater || change.mode != .prorate else {
            throw .invalid(
                field: "mode", why: "prorate goes with now: at a period's end there is no rest")
        }
        let preview = try context.preview(of: change)
        if !arguments.flag("preview") { try carryOut(change, tenant, &context) }
        let shown = Organization(try tenant.record(), try tenant.subscriptionIfAny())
        return PlanChange(
            organization: shown, effectiveAt: Timestamp(effective), preview: preview
        ).json
    }

    private static func carryOut(
        _ change: PlanChangePlan, _ tenant: TenantDirectory, _ context: inout CallContext
    ) throws(DirectoryError) {
        if change.isLater {
            _ = try tenant.schedulePlan(
                PendingPlan(plan: change.to, mode: change.mode, at: change.effective),
                by: context.change)
        } else if change.isNone {
            // Asked again: what was prorated for the period stays.
            return
        } else if change.before == nil {
            _ = try tenant.subscribe(
                to: change.to, status: .active, anchor: context.now,
                zone: context.policy.timeZone.name, by: context.change)
        } else {
            _ = try tenant.changePlan(
                to: change.to, prorated: try context.prorated(change), resets: change.resetsNow,
                by: context.change)
        }
        try context.publishOrganization(tenant.organization)
        if change.resetsNow { context.publications.append(.quotasReset) }
    }

    static func cancelPlanChange(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        _ = try tenant.record()
        guard try tenant.subscriptionIfAny() != nil else {
            throw .conflict("the organization has no subscription")
        }
        _ = try tenant.schedulePlan(nil, by: context.change)
        try context.publishOrganization(tenant.organization)
        return try shown(tenant)
    }
}

/// A change of plans that is asked for.
struct PlanChangePlan {
    var organization: OrganizationRecord
    var before: SubscriptionRecord?
    var to: PlanName
    var mode: PlanChangeMode
    /// At the end of the billing month, not now.
    var isLater: Bool
    var effective: WallTime

    /// The plan is the one that holds, and no other is to come.
    var isNone: Bool {
        !isLater && mode != .reset && before?.plan == to && before?.pending == nil
    }
    var resetsNow: Bool { mode == .reset && !isLater && before != nil }
    var proratesNow: Bool { mode == .prorate && !isLater && before != nil }
}

extension CallContext {
    fileprivate func periodEnd(
        of subscription: SubscriptionRecord?
    ) throws(DirectoryError) -> WallTime {
        guard let subscription else { return now }
        guard let zone = plan.zone(subscription.zone) else {
            throw .conflict(
                "the time zone \(subscription.zone) of the subscription is not on this host:"
                    + " install tzdata, or set another")
        }
        return BillingMonth.end(after: now, anchor: subscription.anchor, zone: zone)
    }

    /// The quotas of the plan to come for the rest of their periods. A quota that the plan before
    /// did not have begins in full.
    fileprivate func prorated(
        _ change: PlanChangePlan
    ) throws(DirectoryError) -> [ProratedLimit] {
        let held = try acting(for: change.organization.id).overrides(of: nil).filter {
            $0.isProrated && $0.expires.map { $0 > now } ?? true
        }
        guard change.proratesNow, let before = change.before else { return [] }
        let calendar = SubjectCalendar(zone: plan.zone(before.zone), anchor: before.anchor)
        guard let old = policy.limitFacts(of: before.plan.text, at: now, in: calendar),
            let new = policy.limitFacts(of: change.to.text, at: now, in: calendar)
        else { return [] }
        return new.compactMap { fact in
            guard fact.isQuota, let period = fact.interval, WallTime(seconds: period.end) > now,
                let former = old.first(where: { $0.isQuota && $0.name == fact.name }),
                former.limit != QuotaDefinition.unlimited,
                fact.limit != QuotaDefinition.unlimited
            else { return nil }
            let units = Proration.units(
                held: held.first { $0.limit.text == fact.name }?.units,
                before: former.limit, since: before.since, after: fact.limit, at: now, of: period)
            return ProratedLimit(
                limit: LimitName(unchecked: fact.name), units: min(units, fact.unitsMax),
                expires: WallTime(seconds: period.end))
        }
    }

    // MARK: the preview

    /// What the change does, as things are now.
    fileprivate func preview(
        of change: PlanChangePlan
    ) throws(DirectoryError) -> PlanChangePreview {
        let from = change.before?.plan.text
        let lost = permissions(from).filter { !permissions(change.to.text).contains($0) }
        let gained = permissions(change.to.text).filter { !permissions(from).contains($0) }
        let overrides = try acting(for: change.organization.id).overrides(of: nil)
        let limits = LimitsAfter(
            facts: policy.limitFacts(of: change.to.text, at: now) ?? [],
            prorated: try prorated(change), overrides: overrides, at: change.effective)
        let held = LimitsBefore(
            facts: from.flatMap { policy.limitFacts(of: $0, at: now) } ?? [],
            overrides: overrides, at: now)
        let over = try over(change, limits)
        return PlanChangePreview(
            from: from, to: change.to.text, mode: Subscription.ChangeMode(sameAs: change.mode),
            effectiveAt: Timestamp(change.effective), permissionsLost: lost,
            permissionsGained: gained, limits: Self.documents(held, limits),
            over: Self.fitting(over), overCount: UInt64(over.count))
    }

    private func permissions(_ plan: String?) -> [String] {
        issuer.definition.plans.first { $0.name == plan }?.permissions ?? []
    }

    private static func documents(
        _ before: LimitsBefore, _ after: LimitsAfter
    ) -> [PlanChangePreview.Limit] {
        let gone = before.facts.filter { old in !after.facts.contains { $0.name == old.name } }
        return (gone + after.facts).compactMap { fact in
            guard let scope = PlanLimitScope(fact.scope) else { return nil }
            return PlanChangePreview.Limit(
                name: fact.name, kind: fact.isQuota ? .quota : .rateLimit, scope: scope,
                meter: fact.meter, before: before.units(of: fact.name),
                after: after.units(of: fact.name))
        }
    }

    /// Who has used more than the plan to come allows, and has not begun anew by then. By user, the
    /// organization first, then by limit.
    private func over(
        _ change: PlanChangePlan, _ limits: LimitsAfter
    ) throws(DirectoryError) -> [PlanChangePreview.Over] {
        let tenant = acting(for: change.organization.id)
        let moment = Moment(boot: BootTime(nanoseconds: tg_boottime()), wall: now)
        var over: [PlanChangePreview.Over] = []
        for entry in engine.used(
            by: change.organization.id.text, isPersonal: change.organization.isPersonal,
            plan: change.to.text, policy, at: moment)
        {
            guard entry.resetAt > change.effective, !(entry.fact.isQuota && change.resetsNow) else {
                continue
            }
            var allowed = limits.units(of: entry.fact.name) ?? entry.fact.limit
            if let user = entry.user {
                allowed = try tenant.override(
                    of: UserID(unchecked: user), entry.fact.name, at: change.effective) ?? allowed
            }
            guard entry.used > allowed else { continue }
            over.append(
                PlanChangePreview.Over(
                    user: entry.user, limit: entry.fact.name, meter: entry.fact.meter,
                    used: entry.used, limitAfter: allowed, 
                    untilAt: entry.resetAt.milliseconds == .max ? nil : Timestamp(entry.resetAt)))
        }
        return over.sorted { ($0.user ?? "", $0.limit) < ($1.user ?? "", $1.limit) }
    }

    /// As many as a reply has room for; all are counted.
    private static func fitting(_ over: [PlanChangePreview.Over]) -> [PlanChangePreview.Over] {
        var bytes = 0
        return Array(
            over.prefix { entry in
                bytes += entry.json.bytes.count + 1
                return bytes <= CallReply.bytesMax / 4
            })
    }
}

/// The limits of a plan as they hold for one organization now.
private struct LimitsBefore {
    var facts: [LimitFact]
    /// The operator's, and what a change within the period left.
    var overrides: [OverrideRecord]
    var at: WallTime

    /// `nil` when the plan has no such limit.
    func units(of name: String) -> UInt64? {
        guard let fact = facts.first(where: { $0.name == name }) else { return nil }
        let set = overrides.first {
            $0.limit.text == name && $0.expires.map { $0 > at } ?? true
        }
        return set?.units ?? fact.limit
    }
}

/// The limits of a plan as they will hold for one organization.
private struct LimitsAfter {
    var facts: [LimitFact]
    var prorated: [ProratedLimit]
    var overrides: [OverrideRecord]
    /// When they begin to hold.
    var at: WallTime

    /// What the operator set wins, then what is prorated. `nil` when the plan has no such limit.
    func units(of name: String) -> UInt64? {
        guard let fact = facts.first(where: { $0.name == name }) else { return nil }
        if let set = overrides.first(where: { $0.limit.text == name && holds($0) }) {
            return set.units
        }
        return prorated.first { $0.limit.text == name }?.units ?? fact.limit
    }

    private func holds(_ override: OverrideRecord) -> Bool {
        !override.isProrated && override.expires.map { $0 > at } ?? true
    }
}

extension PlanLimitScope {
    /// `nil` for those that no plan has.
    init?(_ scope: LimitScope) {
        switch scope {
        case .user: self = .user
        case .organization: self = .organization
        case .address, .credential: return nil
        }
    }
}

extension TenantDirectory {
    /// A user's own number for a limit that holds at an instant; `nil` also for users whom the
    /// directory does not know.
    fileprivate func override(
        of user: UserID, _ limit: String, at time: WallTime
    ) throws(DirectoryError) -> UInt64? {
        do throws(DirectoryError) {
            let set = try overrides(of: user).first { $0.limit.text == limit }
            guard let set, set.expires.map({ $0 > time }) ?? true else { return nil }
            return set.units
        } catch .notFound { return nil }
    }
}
