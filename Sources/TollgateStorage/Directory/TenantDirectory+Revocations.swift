import TollgateCore

extension TenantDirectory {
    /// Refuses one access token.
    package func revokeToken(
        jti: String, expires: WallTime, by change: Change
    ) throws(DirectoryError) -> RevocationRecord {
        try UserID.check(jti, field: "jti")
        return try logged("token.revoke", jti, by: change) { () throws(DirectoryError) in
            _ = try record()
            return try insertRevocation(.jti, jti, at: change.at, expires: expires)
        }
    }

    /// Everything of a user that was issued until now: access tokens, and sessions with them. Keys
    /// are revoked one by one.
    package func revokeUser(
        _ id: UserID, tokensExpire: WallTime, by change: Change
    ) throws(DirectoryError) -> RevocationRecord {
        try logged("user.revoke", id.text, by: change) { () throws(DirectoryError) in
            _ = try user(id)
            try store.run(
                """
                UPDATE refresh_families SET revoked = ?3, reason = 'asked'
                WHERE organization = ?1 AND user = ?2 AND revoked IS NULL
                """, [tenant, .text(id.text), .integer(change.at.milliseconds)])
            return try insertRevocation(.user, id.text, at: change.at, expires: tokensExpire)
        }
    }

    /// The same of everybody in the organization.
    package func revokeAll(
        tokensExpire: WallTime, by change: Change
    ) throws(DirectoryError) -> RevocationRecord {
        try logged("org.revoke", organization.text, by: change) { () throws(DirectoryError) in
            _ = try record()
            try store.run(
                """
                UPDATE refresh_families SET revoked = ?2, reason = 'asked'
                WHERE organization = ?1 AND revoked IS NULL
                """, [tenant, .integer(change.at.milliseconds)])
            return try insertRevocation(
                .organization, organization.text, at: change.at, expires: tokensExpire)
        }
    }

    /// By kind, then by subject.
    package func revocations(
        _ kind: RevocationKind, after: String? = nil, limit: Int = 100
    ) throws(DirectoryError) -> Page<RevocationRecord> {
        try store.page(
            RevocationRecord.select + """
                 WHERE organization = ? AND kind = ? AND subject > ? ORDER BY subject LIMIT ?
                """, [tenant, .text(kind.rawValue), .text(after ?? "")], limit: limit,
            cursor: { $0.subject }, RevocationRecord.read)
    }

    private func logged(
        _ action: String, _ subject: String, by change: Change,
        _ revoke: () throws(DirectoryError) -> RevocationRecord
    ) throws(DirectoryError) -> RevocationRecord {
        try store.change(change, action, of: organization, subject) {
            () throws(DirectoryError) in
            let made = try revoke()
            return Changed(result: made, before: nil, after: made.logText)
        }
    }

    /// Within a change. What was revoked stays so at least as long, and for at least as much.
    func insertRevocation(
        _ kind: RevocationKind, _ subject: String, at: WallTime, expires: WallTime
    ) throws(DirectoryError) -> RevocationRecord {
        let made = try store.row(
            """
            INSERT INTO revocations(organization, kind, subject, at, expires)
            VALUES(?, ?, ?, ?, ?) ON CONFLICT(organization, kind, subject) DO UPDATE SET
              at = max(at, excluded.at), expires = max(expires, excluded.expires)
            RETURNING organization, kind, subject, at, expires
            """,
            [
                tenant, .text(kind.rawValue), .text(subject), .integer(at.milliseconds),
                .integer(expires.milliseconds),
            ], RevocationRecord.read)
        return try found(made)
    }
}

extension RevocationRecord {
    static let select = "SELECT organization, kind, subject, at, expires FROM revocations"

    static func read(_ row: Statement) throws(StorageFault) -> Self {
        Self(
            organization: OrganizationID(unchecked: row.text(0)),
            kind: try row.word(1, RevocationKind.self), subject: row.text(2), at: row.time(3),
            expires: row.time(4))
    }
}
