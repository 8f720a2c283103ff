import TollgateCore

/// An organization or a user that the directory does not know is revoked all the same, since tokens
/// of theirs may be out. `personal` says which of two tenants of one name is meant; `nil`: the one
/// that the directory knows, else the organization. What is asked of the other one is not done to
/// the one that is known.
extension TenantDirectory {
    /// Refuses one access token.
    package func revokeToken(
        jti: String, expires: WallTime, personal: Bool? = nil, by change: Change
    ) throws(DirectoryError) -> Revoked {
        try UserID.check(jti, field: "jti")
        return try logged("token.revoke", jti, by: change) { () throws(DirectoryError) in
            let record = try insertRevocation(
                .jti, jti, at: change.at, expires: expires, personal: personal)
            return Revoked(record: record, isKnown: try isKnown(personal: personal))
        }
    }

    /// Everything of a user that was issued until now: access tokens, sessions with them, API keys.
    package func revokeUser(
        _ id: UserID, tokensExpire: WallTime, personal: Bool? = nil, by change: Change
    ) throws(DirectoryError) -> Revoked {
        try logged("user.revoke", id.text, by: change) { () throws(DirectoryError) in
            if try isMeant(personal) {
                try store.run(
                    Self.revokeFamilies + " AND user = ?3",
                    [tenant, .integer(change.at.milliseconds), .text(id.text)])
                try store.run(
                    Self.revokeKeys + " AND user = ?3",
                    [tenant, .integer(change.at.milliseconds), .text(id.text)])
            }
            let record = try insertRevocation(
                .user, id.text, at: change.at, expires: tokensExpire, personal: personal)
            return Revoked(record: record, isKnown: try isKnown(id, personal: personal))
        }
    }

    /// The same of everybody in the organization.
    package func revokeAll(
        tokensExpire: WallTime, personal: Bool? = nil, by change: Change
    ) throws(DirectoryError) -> Revoked {
        try logged("org.revoke", organization.text, by: change) { () throws(DirectoryError) in
            if try isMeant(personal) {
                let values = [tenant, SQLiteValue.integer(change.at.milliseconds)]
                try store.run(Self.revokeFamilies, values)
                try store.run(Self.revokeKeys, values)
            }
            let record = try insertRevocation(
                .organization, organization.text, at: change.at, expires: tokensExpire,
                personal: personal)
            return Revoked(record: record, isKnown: try isKnown(personal: personal))
        }
    }

    // What was revoked before stays as it was.
    private static let revokeFamilies = """
        UPDATE refresh_families SET revoked = ?2, reason = 'asked'
        WHERE organization = ?1 AND revoked IS NULL
        """
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

    /// Whether the tenant that is asked for is the one of that name that the directory knows.
    private func isMeant(_ personal: Bool?) throws(DirectoryError) -> Bool {
        do throws(DirectoryError) {
            let known = try record()
            return personal.map { $0 == known.isPersonal } ?? true
        } catch .notFound {
            return false
        }
    }

    private func isKnown(
        _ user: UserID? = nil, personal: Bool?
    ) throws(DirectoryError) -> Bool {
        guard try isMeant(personal) else { return false }
        guard let user else { return true }
        do throws(DirectoryError) {
            _ = try self.user(user)
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
    func insertRevocation(
        _ kind: RevocationKind, _ subject: String, at: WallTime, expires: WallTime,
        personal: Bool? = nil
    ) throws(DirectoryError) -> RevocationRecord {
        let made = try store.row(
            """
            INSERT INTO revocations(organization, personal, kind, subject, at, expires)
            VALUES(?1, coalesce(?6, (SELECT personal FROM organizations WHERE id = ?1), 0), ?2, ?3,
              ?4, ?5)
            ON CONFLICT(organization, personal, kind, subject) DO UPDATE SET
              at = max(at, excluded.at), expires = max(expires, excluded.expires)
            RETURNING organization, personal, kind, subject, at, expires
            """,
            [
                tenant, .text(kind.rawValue), .text(subject), .integer(at.milliseconds),
                .integer(expires.milliseconds), personal.map { .flag($0) } ?? .null,
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
            organization: OrganizationID(unchecked: try row.name(0)), isPersonal: row.flag(1),
            kind: try row.word(2, RevocationKind.self), subject: try row.name(3), at: row.time(4),
            expires: row.time(5))
    }
}
