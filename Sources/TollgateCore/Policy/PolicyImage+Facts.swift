import TollgateWire

/// A limit of a plan, as an operator is told of it.
package struct LimitFact: Sendable, Equatable {
    package var name: String
    package var isQuota: Bool
    package var scope: LimitScope
    package var meter: String
    package var limit: UInt64
    /// Of a rate limit; 0 for a quota.
    package var windowMilliseconds: UInt64
    /// Of a quota.
    package var period: PeriodKind?
    /// The largest number that an override may give it.
    package var unitsMax: UInt64
    /// Of a quota: the period that a given moment lies in; `nil` when it never ends.
    package var interval: PeriodInterval?
    /// Of a quota: what is granted beyond it burns when it is used up.
    package var hasCredits = false
    /// It refuses nobody.
    package var isShadow = false
}

extension PolicyImage {
    package func hasPlan(_ name: String) -> Bool { planIndex(name) != nil }

    /// Whether any plan or operation names it.
    package func hasPermission(_ name: String) -> Bool {
        DirectoryImage.withBytes(name) { permissions.find($0) } != nil
    }

    func planIndex(_ name: String) -> Int? {
        DirectoryImage.withBytes(name) { plans.find($0) }
    }

    package var planNames: [String] {
        (0..<plans.count).map { plans.withName($0) { String(decoding: $0, as: UTF8.self) } }
    }

    /// Every limit of a plan, in the plan's order; `nil` when there is no such plan.
    package func limitFacts(
        of plan: String, at now: WallTime, in calendar: SubjectCalendar = SubjectCalendar()
    ) -> [LimitFact]? {
        guard let index = planIndex(plan) else { return nil }
        let all = compiledPlans[index].all
        return (Int(all.start)..<Int(all.end)).compactMap { index in
            // Members' shares are terms of the quota, and no limit of their own.
            steps[index].flags.contains(.member)
                ? nil : fact(steps[index], at: now, in: calendar)
        }
    }

    func fact(
        _ step: ChargeStep, at now: WallTime, in subject: SubjectCalendar = SubjectCalendar()
    ) -> LimitFact {
        let info = limits[Int(step.limitIndex)]
        var fact = LimitFact(
            name: String(decoding: info.name, as: UTF8.self), isQuota: step.isQuota,
            scope: step.scope, meter: String(decoding: info.meter, as: UTF8.self),
            limit: step.limit, windowMilliseconds: info.windowMilliseconds, period: nil,
            unitsMax: unitsMax(step), interval: nil)
        fact.hasCredits = step.flags.contains(.credits)
        fact.isShadow = step.flags.contains(.shadow)
        if step.isQuota {
            let calendar = calendars[Int(step.form)]
            fact.period = calendar.period
            if calendar.period != .total {
                fact.interval = calendar.interval(
                    at: now, subject: subject, policyZone: timeZone)
            }
        }
        return fact
    }

    /// The longest that an access token of any issuer is accepted after it was issued, in
    /// milliseconds: how long a revocation has to be kept.
    package var longestTokenLifeMilliseconds: Int64 {
        (0..<issuers.count).reduce(0) { longest, index in
            let issuer = issuers.issuer(index)
            return max(
                longest, issuer.lifetimeMaxSeconds * 1_000 + 2 * issuer.leewayMilliseconds)
        }
    }
}
