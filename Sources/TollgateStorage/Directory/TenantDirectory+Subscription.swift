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

    /// Another plan from now on; what was pending is forgotten.
    package func changePlan(
        to plan: PlanName, by change: Change
    ) throws(DirectoryError) -> SubscriptionRecord {
        try editSubscription("plan.change", by: change) { before throws(DirectoryError) in
            var after = try found(before)
            after.plan = plan
            after.since = change.at
            after.pending = nil
            return after
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
                    tenant, .text(after.plan.text), .text(after.status.rawValue),
                    .integer(after.anchor.milliseconds), .text(after.zone),
                    .integer(after.since.milliseconds), .optional(after.pending?.plan.text),
                    .optional(after.pending?.mode.rawValue), .optional(after.pending?.at),
                ])
            return Changed(result: after, before: before?.logText, after: after.logText)
        }
    }

    /// Puts another number in place of the plan's, for the organization or for one user.
    package func setOverride(
        _ limit: LimitName, user: UserID?, units: UInt64, expires: WallTime?, by change: Change
    ) throws(DirectoryError) -> OverrideRecord {
        guard let stored = Int64(exactly: units) else {
            throw .invalid(field: "units", why: "is below 2^63")
        }
        let made = OverrideRecord(
            organization: organization, user: user, limit: limit, units: units, expires: expires)
        return try store.change(change, "override.set", of: organization, made.cursor) {
            () throws(DirectoryError) in
            if let user { _ = try self.user(user) }
            let before = try override(limit, user: user)
            try store.run(
                """
                INSERT INTO overrides(organization, user, limit_name, units, expires)
                VALUES(?, ?, ?, ?, ?) ON CONFLICT(organization, user, limit_name)
                DO UPDATE SET units = excluded.units, expires = excluded.expires
                """,
                [
                    tenant, .text(user?.text ?? ""), .text(limit.text), .integer(stored),
                    .optional(expires),
                ])
            return Changed(result: made, before: before?.logText, after: made.logText)
        }
    }

    package func removeOverride(
        _ limit: LimitName, user: UserID?, by change: Change
    ) throws(DirectoryError) -> OverrideRecord {
        let subject = (user.map { $0.text + "\n" } ?? "\n") + limit.text
        return try store.change(change, "override.remove", of: organization, subject) {
            () throws(DirectoryError) in
            let before = try found(override(limit, user: user))
            try store.run(
                "DELETE FROM overrides WHERE organization = ? AND user = ? AND limit_name = ?",
                [tenant, .text(user?.text ?? ""), .text(limit.text)])
            return Changed(result: before, before: before.logText, after: nil)
        }
    }

    /// By user, those of the organization first, then by limit.
    package func overrides(
        after: String? = nil, limit: Int = 100
    ) throws(DirectoryError) -> Page<OverrideRecord> {
        _ = try record()
        let parts = (after ?? "\n").split(
            separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { throw .invalid(field: "cursor", why: "is none of ours") }
        return try store.page(
            OverrideRecord.select + """
                 WHERE organization = ? AND (user, limit_name) > (?, ?)
                ORDER BY user, limit_name LIMIT ?
                """, [tenant, .text(String(parts[0])), .text(String(parts[1]))], limit: limit,
            cursor: { $0.cursor }, OverrideRecord.read)
    }

    /// All of one user, or of the organization; as many as there are limits.
    package func overrides(of user: UserID?) throws(DirectoryError) -> [OverrideRecord] {
        if let user { _ = try self.user(user) } else { _ = try record() }
        return try store.rows(
            OverrideRecord.select + " WHERE organization = ? AND user = ? ORDER BY limit_name",
            [tenant, .text(user?.text ?? "")], OverrideRecord.read)
    }

    private func override(
        _ limit: LimitName, user: UserID?
    ) throws(DirectoryError) -> OverrideRecord? {
        try store.row(
            OverrideRecord.select + " WHERE organization = ? AND user = ? AND limit_name = ?",
            [tenant, .text(user?.text ?? ""), .text(limit.text)], OverrideRecord.read)
    }
}

extension DirectoryStore {
    /// Plans whose time has come take the place of those before, at most as many as a page has, in
    /// one transaction. Asked again until none is left.
    package func applyDuePlans(by change: Change) throws(DirectoryError) -> [SubscriptionRecord] {
        let due = try rows(
            SubscriptionRecord.select + " WHERE next_at <= ? ORDER BY next_at LIMIT ?",
            [
                .integer(change.at.milliseconds),
                .integer(Int64(Page<SubscriptionRecord>.itemsMax)),
            ], SubscriptionRecord.read)
        return try together { () throws(DirectoryError) in
            var changed: [SubscriptionRecord] = []
            for before in due {
                guard let plan = before.pending?.plan else { continue }
                changed.append(
                    try acting(for: before.organization).changePlan(to: plan, by: change))
            }
            return changed
        }
    }
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
                plan: PlanName(unchecked: row.text(6)), mode: try row.word(7, PlanChangeMode.self),
                at: row.time(8))
        }
        return Self(
            organization: OrganizationID(unchecked: row.text(0)),
            plan: PlanName(unchecked: row.text(1)),
            status: try row.word(2, SubscriptionStatus.self), anchor: row.time(3),
            zone: row.text(4), since: row.time(5), pending: pending)
    }
}

extension OverrideRecord {
    static let select = "SELECT organization, user, limit_name, units, expires FROM overrides"

    /// User and limit; no id has a line feed.
    var cursor: String { (user?.text ?? "") + "\n" + limit.text }

    static func read(_ row: Statement) throws(StorageFault) -> Self {
        guard let units = UInt64(exactly: row.integer(3)) else { throw row.damaged("a limit") }
        let user = row.text(1)
        return Self(
            organization: OrganizationID(unchecked: row.text(0)),
            user: user.isEmpty ? nil : UserID(unchecked: user),
            limit: LimitName(unchecked: row.text(2)), units: units, expires: row.optionalTime(4))
    }
}
