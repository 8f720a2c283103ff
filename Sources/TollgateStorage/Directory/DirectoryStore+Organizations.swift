import TollgateCore

/// What the operator does with tenants as such.
extension DirectoryStore {
    /// A personal one is made without its user: the caller makes both together.
    package func createOrganization(
        _ id: OrganizationID, name: String, personal: Bool = false, by change: Change
    ) throws(DirectoryError) -> OrganizationRecord {
        try OrganizationID.check(name, field: "name")
        let made = OrganizationRecord(
            id: id, name: name, isPersonal: personal, status: .active, created: change.at)
        return try self.change(change, "org.create", of: id, id.text) { () throws(DirectoryError) in
            try insert(made)
            return Changed(result: made, before: nil, after: made.logText)
        }
    }

    /// Within a change. An id whose former organization is not forgotten yet is not given again.
    func insert(_ made: OrganizationRecord) throws(DirectoryError) {
        guard try !hasLeftover(Leftover(made)) else {
            throw .conflict(
                "what a deleted organization of that id used is not forgotten yet: the ledger"
                    + " cannot be written (tollgate health says why); ask again when it can")
        }
        try run(
            """
            INSERT INTO organizations(id, name, personal, status, created)
            VALUES(?, ?, ?, ?, ?)
            """,
            [
                .text(made.id.text), .text(made.name), .flag(made.isPersonal),
                .text(made.status.rawValue), .integer(made.created.milliseconds),
            ])
    }

    /// Every tenant, by id.
    package func organizations(
        after: String? = nil, limit: Int = 100
    ) throws(DirectoryError) -> Page<OrganizationRecord> {
        try page(
            OrganizationRecord.select + " WHERE id > ? ORDER BY id LIMIT ?", [.text(after ?? "")],
            limit: limit, cursor: { $0.id.text }, OrganizationRecord.read)
    }

    /// The whole log, newest first.
    package func adminLog(
        before cursor: String? = nil, limit: Int = 100
    ) throws(DirectoryError) -> Page<AdminLogEntry> {
        try page(
            AdminLogEntry.select + " WHERE number < ? ORDER BY number DESC LIMIT ?",
            [.integer(AdminLogEntry.number(cursor))], limit: limit, cursor: { String($0.number) },
            AdminLogEntry.read)
    }

    /// Takes out sessions, revocations and prorated limits whose time is over; how many of all.
    package func forgetExpired(at now: WallTime) throws(DirectoryError) -> Int {
        try together { () throws(DirectoryError) in
            let at = SQLiteValue.integer(now.milliseconds)
            return try run("DELETE FROM refresh_families WHERE expires <= ?", [at])
                + run("DELETE FROM revocations WHERE expires <= ?", [at])
                + run("DELETE FROM overrides WHERE prorated = 1 AND expires <= ?", [at])
        }
    }

    /// Notes when keys were last used, many in one transaction. Unknown ones are passed over: they
    /// may have been deleted since. Not logged: the audit log has each use.
    package func noteUses(_ uses: [KeyUse]) throws(DirectoryError) {
        try together { () throws(DirectoryError) in
            for use in uses {
                try run(
                    """
                    UPDATE api_keys SET last_used = max(coalesce(last_used, 0), ?)
                    WHERE organization = ? AND id = ?
                    """,
                    [
                        .integer(use.at.milliseconds), .text(use.organization.text),
                        .text(use.id.description),
                    ])
            }
        }
    }
}

/// When a key was last used.
package struct KeyUse: Sendable, Equatable {
    package var organization: OrganizationID
    package var id: APIKeyID
    package var at: WallTime

    package init(organization: OrganizationID, id: APIKeyID, at: WallTime) {
        self.organization = organization
        self.id = id
        self.at = at
    }
}

extension OrganizationRecord {
    static let select = "SELECT id, name, personal, status, created FROM organizations"

    static func read(_ row: Statement) throws(StorageFault) -> Self {
        Self(
            id: OrganizationID(unchecked: try row.name(0)), name: row.text(1),
            isPersonal: row.flag(2),
            status: try row.word(3, Standing.self), created: row.time(4))
    }
}

extension AdminLogEntry {
    static let select = """
        SELECT number, at, uid, pid, organization, action, subject, before, after FROM admin_log
        """

    /// Where a cursor begins; junk begins at the newest.
    static func number(_ cursor: String?) -> Int64 { cursor.flatMap { Int64($0) } ?? .max }

    static func read(_ row: Statement) throws(StorageFault) -> Self {
        guard let uid = UInt32(exactly: row.integer(2)), let pid = Int32(exactly: row.integer(3))
        else { throw row.damaged("a user or process id of the log") }
        return Self(
            number: row.integer(0), change: Change(uid: uid, pid: pid, at: row.time(1)),
            organization: row.optionalText(4).map { OrganizationID(unchecked: $0) },
            action: row.text(5), subject: row.text(6), before: row.optionalText(7),
            after: row.optionalText(8))
    }
}
