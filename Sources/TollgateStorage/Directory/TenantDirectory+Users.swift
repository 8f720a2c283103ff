import TollgateCore

extension TenantDirectory {
    package func createUser(
        _ id: UserID, name: String, role: MemberRole?, by change: Change
    ) throws(DirectoryError) -> UserRecord {
        try UserID.check(name, field: "name")
        let made = UserRecord(
            organization: organization, id: id, name: name, status: .active, created: change.at,
            role: role)
        return try store.change(change, "user.create", of: organization, id.text) {
            () throws(DirectoryError) in
            try insert(made)
            return Changed(result: made, before: nil, after: made.logText)
        }
    }

    /// Within a change.
    func insert(_ made: UserRecord) throws(DirectoryError) {
        try store.run(
            """
            INSERT INTO users(organization, id, name, status, role, created)
            VALUES(?, ?, ?, ?, ?, ?)
            """,
            [
                tenant, .text(made.id.text), .text(made.name), .text(made.status.rawValue),
                .optional(made.role?.rawValue), .integer(made.created.milliseconds),
            ])
    }

    package func user(_ id: UserID) throws(DirectoryError) -> UserRecord {
        try found(
            store.row(
                UserRecord.select + " WHERE organization = ? AND id = ?",
                [tenant, .text(id.text)], UserRecord.read))
    }

    package func users(
        after: String? = nil, limit: Int = 100
    ) throws(DirectoryError) -> Page<UserRecord> {
        _ = try record()
        return try store.page(
            UserRecord.select + " WHERE organization = ? AND id > ? ORDER BY id LIMIT ?",
            [tenant, .text(after ?? "")], limit: limit, cursor: { $0.id.text }, UserRecord.read)
    }

    package func renameUser(
        _ id: UserID, _ name: String, by change: Change
    ) throws(DirectoryError) -> UserRecord {
        try UserID.check(name, field: "name")
        return try editUser(id, "user.rename", by: change) { $0.name = name }
    }

    package func setUserStatus(
        _ id: UserID, _ status: Standing, by change: Change
    ) throws(DirectoryError) -> UserRecord {
        try editUser(id, status == .active ? "user.resume" : "user.suspend", by: change) {
            $0.status = status
        }
    }

    /// Gives the user a seat, or takes it (`nil`).
    package func seat(
        _ id: UserID, as role: MemberRole?, by change: Change
    ) throws(DirectoryError) -> UserRecord {
        try editUser(id, role == nil ? "user.unseat" : "user.seat", by: change) { $0.role = role }
    }

    /// Takes out the user with keys, sessions and overrides. Access tokens that are out are refused
    /// until the last has expired.
    package func deleteUser(
        _ id: UserID, tokensExpire: WallTime, by change: Change
    ) throws(DirectoryError) -> RevocationRecord {
        try store.change(change, "user.delete", of: organization, id.text) {
            () throws(DirectoryError) in
            let before = try user(id)
            let values = [tenant, .text(id.text)]
            try store.run("DELETE FROM overrides WHERE organization = ? AND user = ?", values)
            try store.run("DELETE FROM users WHERE organization = ? AND id = ?", values)
            let revoked = try insertRevocation(
                .user, id.text, at: change.at, expires: tokensExpire)
            return Changed(result: revoked, before: before.logText, after: nil)
        }
    }

    private func editUser(
        _ id: UserID, _ action: String, by change: Change, _ edit: (inout UserRecord) -> Void
    ) throws(DirectoryError) -> UserRecord {
        try store.change(change, action, of: organization, id.text) { () throws(DirectoryError) in
            let before = try user(id)
            var after = before
            edit(&after)
            try store.run(
                """
                UPDATE users SET name = ?3, status = ?4, role = ?5
                WHERE organization = ?1 AND id = ?2
                """,
                [
                    tenant, .text(id.text), .text(after.name), .text(after.status.rawValue),
                    .optional(after.role?.rawValue),
                ])
            return Changed(result: after, before: before.logText, after: after.logText)
        }
    }
}

extension UserRecord {
    static let select = "SELECT organization, id, name, status, created, role FROM users"

    static func read(_ row: Statement) throws(StorageFault) -> Self {
        try read(row, of: OrganizationID(unchecked: try row.name(0)))
    }

    /// Of an organization whose id was read before.
    static func read(
        _ row: Statement, of organization: OrganizationID
    ) throws(StorageFault) -> Self {
        Self(
            organization: organization,
            id: UserID(unchecked: try row.name(1)), name: row.text(2),
            status: try row.word(3, Standing.self), created: row.time(4),
            role: row.isNull(5) ? nil : try row.word(5, MemberRole.self))
    }
}
