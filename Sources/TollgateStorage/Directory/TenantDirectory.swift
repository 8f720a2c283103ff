import TollgateCore

extension DirectoryStore {
    /// The only way to what belongs to a tenant. Whether there is such a tenant shows when
    /// something is asked of it.
    package func acting(for organization: OrganizationID) -> TenantDirectory {
        TenantDirectory(store: self, organization: organization)
    }

    /// The tenant whose refresh token was presented; `nil` when nobody's.
    package func acting(
        presenting hash: RefreshTokenHash
    ) throws(DirectoryError) -> TenantDirectory? {
        let found = try row(
            "SELECT organization FROM refresh_tokens WHERE hash = ?",
            [.bytes(hash.withBytes(Array.init))]
        ) { row in row.text(0) }
        return found.map { acting(for: OrganizationID(unchecked: $0)) }
    }
}

/// One tenant's part of the directory. Every query of it begins with the organization, so another
/// tenant's records are neither found nor told from ones that do not exist.
package struct TenantDirectory {
    let store: DirectoryStore
    package let organization: OrganizationID

    fileprivate init(store: DirectoryStore, organization: OrganizationID) {
        self.store = store
        self.organization = organization
    }

    /// The first value of every query.
    var tenant: SQLiteValue { .text(organization.text) }

    func found<T>(_ record: T?) throws(DirectoryError) -> T {
        guard let record else { throw .notFound }
        return record
    }

    package func record() throws(DirectoryError) -> OrganizationRecord {
        try found(
            store.row(
                OrganizationRecord.select + " WHERE id = ?", [tenant], OrganizationRecord.read))
    }

    package func rename(_ name: String, by change: Change) throws(DirectoryError)
        -> OrganizationRecord
    {
        try OrganizationID.check(name, field: "name")
        return try edit("org.rename", by: change) { $0.name = name }
    }

    /// A suspended organization is refused whatever its tokens claim.
    package func setStatus(_ status: Standing, by change: Change) throws(DirectoryError)
        -> OrganizationRecord
    {
        try edit(status == .active ? "org.resume" : "org.suspend", by: change) {
            $0.status = status
        }
    }

    private func edit(
        _ action: String, by change: Change, _ edit: (inout OrganizationRecord) -> Void
    ) throws(DirectoryError) -> OrganizationRecord {
        try store.change(change, action, of: organization, organization.text) {
            () throws(DirectoryError) in
            let before = try record()
            var after = before
            edit(&after)
            try store.run(
                "UPDATE organizations SET name = ?2, status = ?3 WHERE id = ?1",
                [tenant, .text(after.name), .text(after.status.rawValue)])
            return Changed(result: after, before: before.logText, after: after.logText)
        }
    }

    /// Takes out the organization with all that is its own. Its access tokens are refused until the
    /// last of them has expired, also should the id be given again.
    package func delete(
        tokensExpire: WallTime, by change: Change
    ) throws(DirectoryError) -> RevocationRecord {
        try store.change(change, "org.delete", of: organization, organization.text) {
            () throws(DirectoryError) in
            let before = try record()
            try store.run("DELETE FROM overrides WHERE organization = ?", [tenant])
            try store.run("DELETE FROM grants WHERE organization = ?", [tenant])
            try store.run("DELETE FROM organizations WHERE id = ?", [tenant])
            try store.add(Leftover(before), at: change.at)
            let revoked = try insertRevocation(
                .organization, organization.text, at: change.at, expires: tokensExpire,
                personal: before.isPersonal)
            return Changed(result: revoked, before: before.logText, after: nil)
        }
    }

    /// Changes to this tenant and what is in it, newest first.
    package func adminLog(
        before cursor: String? = nil, limit: Int = 100
    ) throws(DirectoryError) -> Page<AdminLogEntry> {
        try store.page(
            AdminLogEntry.select
                + " WHERE organization = ? AND number < ? ORDER BY number DESC LIMIT ?",
            [tenant, .integer(AdminLogEntry.number(cursor))], limit: limit,
            cursor: { String($0.number) }, AdminLogEntry.read)
    }
}
