import TollgateCore

extension TenantDirectory {
    /// Puts another number in place of the plan's, for the organization or for one user.
    package func setOverride(
        _ limit: LimitName, user: UserID?, units: UInt64, expires: WallTime?, by change: Change
    ) throws(DirectoryError) -> OverrideRecord {
        let made = OverrideRecord(
            organization: organization, user: user, limit: limit, units: units, expires: expires)
        return try put(made, "override.set", by: change)
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

    func override(
        _ limit: LimitName, user: UserID?
    ) throws(DirectoryError) -> OverrideRecord? {
        try store.row(
            OverrideRecord.select + " WHERE organization = ? AND user = ? AND limit_name = ?",
            [tenant, .text(user?.text ?? ""), .text(limit.text)], OverrideRecord.read)
    }

    /// Within a transaction. What an earlier change of plan left goes; what the operator set stays
    /// while it holds.
    func prorate(_ limits: [ProratedLimit], by change: Change) throws(DirectoryError) {
        let own = try overrides(of: nil)
        for before in own where before.isProrated {
            if limits.contains(where: { $0.limit == before.limit }) { continue }
            _ = try removeOverride(before.limit, user: nil, by: change)
        }
        for limit in limits {
            guard limit.expires > change.at else {
                throw .invalid(field: "expires", why: "is not in the past")
            }
            let before = own.first { $0.limit == limit.limit }
            let holds = before.map { $0.expires.map { $0 > change.at } ?? true } ?? false
            if let before, !before.isProrated, holds { continue }
            let made = OverrideRecord(
                organization: organization, user: nil, limit: limit.limit, units: limit.units,
                expires: limit.expires, isProrated: true)
            _ = try put(made, "override.prorate", by: change)
        }
    }

    private func put(
        _ made: OverrideRecord, _ action: String, by change: Change
    ) throws(DirectoryError) -> OverrideRecord {
        try made.check()
        return try store.change(change, action, of: organization, made.cursor) {
            () throws(DirectoryError) in
            if let user = made.user { _ = try self.user(user) }
            let before = try override(made.limit, user: made.user)
            try write(made)
            return Changed(result: made, before: before?.logText, after: made.logText)
        }
    }

    /// Within a change, of a user who is there.
    func write(_ record: OverrideRecord) throws(DirectoryError) {
        try store.run(
            """
            INSERT INTO overrides(organization, user, limit_name, units, expires, prorated)
            VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(organization, user, limit_name)
            DO UPDATE SET units = excluded.units, expires = excluded.expires,
              prorated = excluded.prorated
            """,
            [
                tenant, .text(record.user?.text ?? ""), .text(record.limit.text),
                .integer(Int64(clamping: record.units)), .optional(record.expires),
                .flag(record.isProrated),
            ])
    }
}

/// A limit of the whole organization for what is left of a period in which the plan was changed.
package struct ProratedLimit: Sendable, Equatable {
    package var limit: LimitName
    package var units: UInt64
    package var expires: WallTime

    package init(limit: LimitName, units: UInt64, expires: WallTime) {
        self.limit = limit
        self.units = units
        self.expires = expires
    }
}

extension OverrideRecord {
    static let select = """
        SELECT organization, user, limit_name, units, expires, prorated FROM overrides
        """

    /// User and limit; no id has a line feed.
    var cursor: String { (user?.text ?? "") + "\n" + limit.text }

    func check() throws(DirectoryError) {
        guard Int64(exactly: units) != nil else {
            throw .invalid(field: "units", why: "is below 2^63")
        }
    }

    static func read(_ row: Statement) throws(StorageFault) -> Self {
        guard let units = UInt64(exactly: row.integer(3)) else { throw row.damaged("a limit") }
        let user = row.isEmpty(1) ? "" : try row.name(1)
        return Self(
            organization: OrganizationID(unchecked: try row.name(0)),
            user: user.isEmpty ? nil : UserID(unchecked: user),
            limit: LimitName(unchecked: try row.name(2)), units: units,
            expires: row.optionalTime(4),
            isProrated: row.flag(5))
    }
}
