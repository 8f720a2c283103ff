import TollgateCore

/// An organization or a user that the directory does not know is revoked all the same, since tokens
/// of theirs may be out; `personal` is asked for those. A known organization's own flag decides.
extension TenantDirectory {
    /// Refuses one access token.
    package func revokeToken(
        jti: String, expires: WallTime, personal: Bool = false, by change: Change
    ) throws(DirectoryError) -> Revoked {
        try UserID.check(jti, field: "jti")
        return try logged("token.revoke", jti, by: change) { () throws(DirectoryError) in
            let record = try insertRevocation(
                .jti, jti, at: change.at, expires: expires, orPersonal: personal)
            return Revoked(record: record, isKnown: try isKnown())
        }
    }

    /// Everything of a user that was issued until now: access tokens, sessions with them, API keys.
    package func revokeUser(
        _ id: UserID, tokensExpire: WallTime, personal: Bool = false, by change: Change
    ) throws(DirectoryError) -> Revoked {
        try logged("user.revoke", id.text, by: change) { () throws(DirectoryError) in
            try store.run(
                """
                UPDATE refresh_families SET revoked = ?3, reason = 'asked'
                WHERE organization = ?1 AND user = ?2 AND revoked IS NULL
                """, [tenant, .text(id.text), .integer(change.at.milliseconds)])
            try store.run(
                Self.revokeKeys + " AND user = ?3",
                [tenant, .integer(change.at.milliseconds), .text(id.text)])
            let record = try insertRevocation(
                .user, id.text, at: change.at, expires: tokensExpire, orPersonal: personal)
            return Revoked(record: record, isKnown: try isKnown(id))
        }
    }

    /// The same of everybody in the organization.
    package func revokeAll(
        tokensExpire: WallTime, personal: Bool = false, by change: Change
    ) throws(DirectoryError) -> Revoked {
        try logged("org.revoke", organization.text, by: change) { () throws(DirectoryError) in
            try store.run(
                """
                UPDATE refresh_families SET revoked = ?2, reason = 'asked'
                WHERE organization = ?1 AND revoked IS NULL
                """, [tenant, .integer(change.at.milliseconds)])
            try store.run(Self.revokeKeys, [tenant, .integer(change.at.milliseconds)])
            let record = try insertRevocation(
                .organization, organization.text, at: change.at, expires: tokensExpire,
                orPersonal: personal)
            return Revoked(record: record, isKnown: try isKnown())
        }
    }

    /// One that was revoked before stays as it was.
    private static let revokeKeys = """
        UPDATE api_keys SET revoked = ?2 WHERE organization = ?1 AND revoked IS NULL
        """

    /// In the order of organizations and personal ones, then by kind, then by subject; `nil`: of
    /// both, of every kind. None of an organization that the directory does not know is not an
    /// error.
    package func revocations(
        personal: Bool? = nil, kind: RevocationKind? = nil, after: String? = nil, limit: Int = 100
    ) throws(DirectoryError) -> Page<RevocationRecord> {
        let start = try RevocationRecord.place(after)
        return try store.page(
            RevocationRecord.select + """
                 WHERE organization = ?1 AND (personal, kind, subject) > (?2, ?3, ?4)
                  AND (?5 IS NULL OR personal = ?5) AND (?6 IS NULL OR kind = ?6)
                ORDER BY personal, kind, subject LIMIT ?7
                """,
            [tenant] + start + [
                personal.map { .flag($0) } ?? .null, .optional(kind?.rawValue),
            ], limit: limit, cursor: { $0.cursor }, RevocationRecord.read)
    }

    /// The instant up to which all access tokens of a user are refused, be it the user's own or the
    /// organization's.
    package func tokensRefusedUntil(of user: UserID) throws(DirectoryError) -> WallTime? {
        let found = try store.row(
            """
            SELECT max(at) FROM revocations WHERE organization = ?1
              AND personal = (SELECT personal FROM organizations WHERE id = ?1)
              AND ((kind = 'user' AND subject = ?2) OR (kind = 'organization' AND subject = ?1))
            """, [tenant, .text(user.text)]
        ) { row in row.optionalTime(0) }
        return found ?? nil
    }

    private func isKnown(_ user: UserID? = nil) throws(DirectoryError) -> Bool {
        do throws(DirectoryError) {
            if let user { _ = try self.user(user) } else { _ = try record() }
            return true
        } catch .notFound {
            return false
        }
    }

    private func logged(
        _ action: String, _ subject: String, by change: Change,
        _ revoke: () throws(DirectoryError) -> Revoked
    ) throws(DirectoryError) -> Revoked {
        try store.change(change, action, of: organization, subject) {
            () throws(DirectoryError) in
            let made = try revoke()
            return Changed(result: made, before: nil, after: made.record.logText)
        }
    }

    func known(_ record: RevocationRecord) throws(DirectoryError) -> RevocationRecord? {
        try store.row(
            RevocationRecord.select + """
                 WHERE organization = ? AND personal = ? AND kind = ? AND subject = ?
                """,
            [
                tenant, .flag(record.isPersonal), .text(record.kind.rawValue),
                .text(record.subject),
            ], RevocationRecord.read)
    }

    /// Within a change, as it stood elsewhere.
    func insert(_ made: RevocationRecord) throws(DirectoryError) {
        try store.run(
            """
            INSERT INTO revocations(organization, personal, kind, subject, at, expires)
            VALUES(?, ?, ?, ?, ?, ?)
            """,
            [
                tenant, .flag(made.isPersonal), .text(made.kind.rawValue), .text(made.subject),
                .integer(made.at.milliseconds), .integer(made.expires.milliseconds),
            ])
    }

    /// Within a change. What was revoked stays so at least as long, and for at least as much.
    /// `orPersonal` counts when the organization is not known.
    func insertRevocation(
        _ kind: RevocationKind, _ subject: String, at: WallTime, expires: WallTime,
        orPersonal: Bool = false
    ) throws(DirectoryError) -> RevocationRecord {
        let made = try store.row(
            """
            INSERT INTO revocations(organization, personal, kind, subject, at, expires)
            VALUES(?1, coalesce((SELECT personal FROM organizations WHERE id = ?1), ?6), ?2, ?3,
              ?4, ?5)
            ON CONFLICT(organization, personal, kind, subject) DO UPDATE SET
              at = max(at, excluded.at), expires = max(expires, excluded.expires)
            RETURNING organization, personal, kind, subject, at, expires
            """,
            [
                tenant, .text(kind.rawValue), .text(subject), .integer(at.milliseconds),
                .integer(expires.milliseconds), .flag(orPersonal),
            ], RevocationRecord.read)
        return try found(made)
    }
}

extension RevocationRecord {
    static let select = "SELECT organization, personal, kind, subject, at, expires FROM revocations"

    /// Flag, kind and subject; no subject has a line feed.
    var cursor: String { (isPersonal ? "1" : "0") + "\n" + kind.rawValue + "\n" + subject }

    /// What a cursor means; the beginning without one.
    fileprivate static func place(_ cursor: String?) throws(DirectoryError) -> [SQLiteValue] {
        let parts = (cursor ?? "0\n\n").split(
            separator: "\n", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "0" || parts[0] == "1" else {
            throw .invalid(field: "cursor", why: "is none of ours")
        }
        return [.flag(parts[0] == "1"), .text(String(parts[1])), .text(String(parts[2]))]
    }

    static func read(_ row: Statement) throws(StorageFault) -> Self {
        Self(
            organization: OrganizationID(unchecked: row.text(0)), isPersonal: row.flag(1),
            kind: try row.word(2, RevocationKind.self), subject: row.text(3), at: row.time(4),
            expires: row.time(5))
    }
}
