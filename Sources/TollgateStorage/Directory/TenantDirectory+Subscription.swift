import TollgateCore

extension TenantDirectory {
    package func subscription() throws(DirectoryError) -> SubscriptionRecord {
        try found(
            store.row(
                SubscriptionRecord.select + " WHERE organization = ?", [tenant],
                SubscriptionRecord.read))
    }

    /// Begins the subscription, or puts another in its place; nothing is pending then.
    package func subscribe(
        to plan: PlanName, status: SubscriptionStatus, anchor: WallTime, zone: String,
        by change: Change
    ) throws(DirectoryError) -> SubscriptionRecord {
        try PlanName.check(zone, field: "time zone")
        return try editSubscription("plan.subscribe", by: change) { _ in
            SubscriptionRecord(
                organization: organization, plan: plan, status: status, anchor: anchor,
                zone: zone, since: change.at, pending: nil)
        }
    }

    package func setSubscriptionStatus(
        _ status: SubscriptionStatus, by change: Change
    ) throws(DirectoryError) -> SubscriptionRecord {
        try editSubscription("plan.status", by: change) { before throws(DirectoryError) in
            var after = try found(before)
            after.status = status
            return after
        }
    }

    /// Other terms for the same plan; `nil` leaves them. What is pending stays.
    package func amendSubscription(
        status: SubscriptionStatus?, anchor: WallTime?, zone: String?, by change: Change
    ) throws(DirectoryError) -> SubscriptionRecord {
        if let zone { try PlanName.check(zone, field: "time zone") }
        return try editSubscription("plan.amend", by: change) { before throws(DirectoryError) in
            var after = try found(before)
            after.status = status ?? after.status
            after.anchor = anchor ?? after.anchor
            after.zone = zone ?? after.zone
            return after
        }
    }

    /// Another plan from now on; what was pending is forgotten. In the same transaction, `prorated`
    /// limits take the place of those that the plan before left, wherever the operator has not set
    /// another number; and with `resets` it stands that the quotas are to begin anew.
    package func changePlan(
        to plan: PlanName, prorated: [ProratedLimit] = [], resets: Bool = false, by change: Change
    ) throws(DirectoryError) -> SubscriptionRecord {
        try store.together { () throws(DirectoryError) in
            let changed = try editSubscription("plan.change", by: change) {
                before throws(DirectoryError) in
                var after = try found(before)
                after.plan = plan
                after.since = change.at
                after.pending = nil
                return after
            }
            try prorate(prorated, by: change)
            if resets { try addReset(at: change.at) }
            return changed
        }
    }

    /// Another plan later, at a period's end; `nil` takes that back.
    package func schedulePlan(
        _ pending: PendingPlan?, by change: Change
    ) throws(DirectoryError) -> SubscriptionRecord {
        if let pending, pending.at <= change.at {
            throw .invalid(field: "at", why: "is not in the past: change the plan now")
        }
        return try editSubscription("plan.schedule", by: change) {
            before throws(DirectoryError) in
            var after = try found(before)
            after.pending = pending
            return after
        }
    }

    private func editSubscription(
        _ action: String, by change: Change,
        _ edit: (SubscriptionRecord?) throws(DirectoryError) -> SubscriptionRecord
    ) throws(DirectoryError) -> SubscriptionRecord {
        try store.change(change, action, of: organization, organization.text) {
            () throws(DirectoryError) in
            let before = try store.row(
                SubscriptionRecord.select + " WHERE organization = ?", [tenant],
                SubscriptionRecord.read)
            let after = try edit(before)
            try write(after)
            return Changed(result: after, before: before?.logText, after: after.logText)
        }
    }

    /// Within a change.
    func write(_ record: SubscriptionRecord) throws(DirectoryError) {
        try store.run(
            """
            INSERT INTO subscriptions
              (organization, plan, status, anchor, zone, since, next_plan, next_mode, next_at)
            VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT(organization) DO UPDATE SET plan = excluded.plan,
              status = excluded.status, anchor = excluded.anchor, zone = excluded.zone,
              since = excluded.since, next_plan = excluded.next_plan,
              next_mode = excluded.next_mode, next_at = excluded.next_at
            """,
            [
                tenant, .text(record.plan.text), .text(record.status.rawValue),
                .integer(record.anchor.milliseconds), .text(record.zone),
                .integer(record.since.milliseconds), .optional(record.pending?.plan.text),
                .optional(record.pending?.mode.rawValue), .optional(record.pending?.at),
            ])
    }
}

extension DirectoryStore {
    /// Plans whose time has come take the place of those before, at most as many as a page has, in
    /// one transaction. Asked again until none is left.
    package func applyDuePlans(by change: Change) throws(DirectoryError) -> [AppliedPlan] {
        let due = try rows(
            SubscriptionRecord.select + " WHERE next_at <= ? ORDER BY next_at LIMIT ?",
            [
                .integer(change.at.milliseconds),
                .integer(Int64(Page<SubscriptionRecord>.itemsMax)),
            ], SubscriptionRecord.read)
        return try together { () throws(DirectoryError) in
            var applied: [AppliedPlan] = []
            for before in due {
                guard let pending = before.pending else { continue }
                let after = try acting(for: before.organization).changePlan(
                    to: pending.plan, resets: pending.mode == .reset, by: change)
                applied.append(AppliedPlan(subscription: after, mode: pending.mode))
            }
            return applied
        }
    }
}

/// A plan whose time has come, and how it was asked for.
package struct AppliedPlan: Sendable, Equatable {
    package var subscription: SubscriptionRecord
    package var mode: PlanChangeMode
}

extension SubscriptionRecord {
    static let select = """
        SELECT organization, plan, status, anchor, zone, since, next_plan, next_mode, next_at
        FROM subscriptions
        """

    static func read(_ row: Statement) throws(StorageFault) -> Self {
        var pending: PendingPlan?
        if !row.isNull(6) {
            pending = PendingPlan(
                plan: PlanName(unchecked: try row.name(6)),
                mode: try row.word(7, PlanChangeMode.self),
                at: row.time(8))
        }
        return Self(
            organization: OrganizationID(unchecked: try row.name(0)),
            plan: PlanName(unchecked: try row.name(1)),
            status: try row.word(2, SubscriptionStatus.self), anchor: row.time(3),
            zone: row.text(4), since: row.time(5), pending: pending)
    }
}
