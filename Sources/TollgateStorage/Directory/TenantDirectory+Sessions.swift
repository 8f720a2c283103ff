import TollgateCore

/// How a refresh is done, from the policy.
package struct RefreshTerms: Sendable {
    package var graceMilliseconds: Int64
    /// The longest that an access token of the session can still live.
    package var accessTokensExpire: WallTime

    package init(graceMilliseconds: Int64, accessTokensExpire: WallTime) {
        self.graceMilliseconds = graceMilliseconds
        self.accessTokensExpire = accessTokensExpire
    }
}

extension TenantDirectory {
    /// Begins a session. `token` is the hash of its first refresh token, whose text is made by
    /// `RefreshToken.make` and not kept. `session` is 22 random base64url characters. `permissions`
    /// narrows every access token of the session, also those that a refresh gives.
    package func logIn(
        _ user: UserID, session: SessionID, token: RefreshTokenHash, expires: WallTime,
        idleMilliseconds: Int64, permissions: [String]? = nil, by change: Change
    ) throws(DirectoryError) -> SessionRecord {
        guard session.text.utf8.count == 22 else {
            throw .invalid(field: "session", why: "has 22 characters")
        }
        guard idleMilliseconds > 0, expires > change.at else {
            throw .invalid(field: "lifetime", why: "is above 0")
        }
        let made = SessionRecord(
            organization: organization, session: session, user: user, created: change.at,
            expires: expires, idleMilliseconds: idleMilliseconds, permissions: permissions,
            revoked: nil, reason: nil)
        return try store.change(change, "session.create", of: organization, session.text) {
            () throws(DirectoryError) in
            let holder = try self.user(user)
            let holders = try record()
            guard holder.status == .active, holders.status == .active else {
                throw .conflict("the user or the organization is suspended")
            }
            try store.run(
                """
                INSERT INTO refresh_families
                  (organization, session, user, created, expires, idle_milliseconds, permissions)
                VALUES(?, ?, ?, ?, ?, ?, ?)
                """,
                [
                    tenant, .text(session.text), .text(user.text),
                    .integer(change.at.milliseconds), .integer(expires.milliseconds),
                    .integer(idleMilliseconds), .lines(permissions),
                ])
            try insertToken(token, of: made, parent: nil, at: change.at)
            return Changed(result: made, before: nil, after: made.logText)
        }
    }

    package func session(_ id: SessionID) throws(DirectoryError) -> SessionRecord {
        try found(
            store.row(
                SessionRecord.select + " WHERE organization = ? AND session = ?",
                [tenant, .text(id.text)], SessionRecord.read))
    }

    /// The session that a refresh token is of, be it one that can be used or was.
    package func session(
        presenting hash: RefreshTokenHash
    ) throws(DirectoryError) -> SessionRecord {
        guard let kept = try keptToken(hash) else { throw .notFound }
        return try session(kept.session)
    }

    package func sessions(
        of user: UserID, after: String? = nil, limit: Int = 100
    ) throws(DirectoryError) -> Page<SessionRecord> {
        _ = try self.user(user)
        return try store.page(
            SessionRecord.select
                + " WHERE organization = ? AND user = ? AND session > ? ORDER BY session LIMIT ?",
            [tenant, .text(user.text), .text(after ?? "")], limit: limit,
            cursor: { $0.session.text }, SessionRecord.read)
    }

    /// Exchanges a refresh token, in one transaction. The answer, also one that ends the family, is
    /// on the disk when this returns. `salt` is 32 random bytes, used when a successor is made.
    package func refresh(
        _ text: UnsafeRawBufferPointer, salt: [UInt8], pepper: APIKeyPepper, terms: RefreshTerms,
        by change: Change
    ) throws(DirectoryError) -> RefreshOutcome {
        guard let hash = RefreshToken.hash(text) else { return .refused(.unknown) }
        return try store.together { () throws(DirectoryError) -> RefreshOutcome in
            store.atStep?(.began)
            guard let kept = try keptToken(hash) else { return .refused(.unknown) }
            let session = try session(kept.session)
            let user = try user(session.user)
            let organization = try record()
            let presented = PresentedToken(
                spent: kept.spent, successorIsSpent: kept.successorIsSpent,
                idleExpires: kept.idleExpires, familyExpires: session.expires,
                familyIsRevoked: session.revoked != nil,
                holderIsActive: user.status == .active && organization.status == .active)
            switch RefreshRotation.decide(
                presented, now: change.at, graceMilliseconds: terms.graceMilliseconds)
            {
            case .refuse(let refusal): return .refused(refusal)
            case .endFamily:
                let (ended, revocation) = try end(
                    session, .reuse, tokensExpire: terms.accessTokensExpire, by: change)
                return .reused(ended, revocation)
            case .giveAgain:
                let made = try successor(text, kept.salt ?? [], pepper)
                guard let made, made.hash == kept.successor else {
                    return .refused(.pepperChanged)
                }
                return .renewed(session, token: made.text, isRetry: true)
            case .rotate:
                guard let made = try successor(text, salt, pepper) else {
                    throw .invalid(field: "salt", why: "has \(RefreshToken.saltBytes) bytes")
                }
                try spend(kept, hash: hash, salt: salt, successor: made.hash, at: change.at)
                store.atStep?(.changed)
                try insertToken(made.hash, of: session, parent: hash, at: change.at)
                store.atStep?(.logged)
                return .renewed(session, token: made.text, isRetry: false)
            }
        }
    }

    /// Ends a session: its refresh tokens, and its access tokens. Asked twice, it was ended the
    /// first time.
    package func revokeSession(
        _ id: SessionID, tokensExpire: WallTime, by change: Change
    ) throws(DirectoryError) -> (SessionRecord, RevocationRecord) {
        try store.together { () throws(DirectoryError) in
            try end(try session(id), .asked, tokensExpire: tokensExpire, by: change)
        }
    }

    private func end(
        _ session: SessionRecord, _ reason: RevokeReason, tokensExpire: WallTime,
        by change: Change
    ) throws(DirectoryError) -> (SessionRecord, RevocationRecord) {
        let action = reason == .asked ? "session.revoke" : "session.reuse"
        return try store.change(change, action, of: organization, session.session.text) {
            () throws(DirectoryError) in
            var ended = session
            if ended.revoked == nil {
                ended.revoked = change.at
                ended.reason = reason
            }
            try store.run(
                """
                UPDATE refresh_families SET revoked = ?3, reason = ?4
                WHERE organization = ?1 AND session = ?2
                """,
                [
                    tenant, .text(session.session.text), .optional(ended.revoked),
                    .optional(ended.reason?.rawValue),
                ])
            let revocation = try insertRevocation(
                .session, session.session.text, at: change.at, expires: tokensExpire)
            return Changed(
                result: (ended, revocation), before: session.logText, after: ended.logText)
        }
    }

    private func successor(
        _ parent: UnsafeRawBufferPointer, _ salt: [UInt8], _ pepper: APIKeyPepper
    ) throws(DirectoryError) -> (text: SecretBytes, hash: RefreshTokenHash)? {
        guard salt.count == RefreshToken.saltBytes else { return nil }
        do throws(APIKeyError) {
            return try RefreshToken.successor(of: parent, salt: salt, pepper: pepper)
        } catch {
            throw .conflict("no successor comes of this token: log in again")
        }
    }

    /// Before the successor is written: a family has one token that is not spent.
    private func spend(
        _ kept: KeptToken, hash: RefreshTokenHash, salt: [UInt8], successor: RefreshTokenHash,
        at now: WallTime
    ) throws(DirectoryError) {
        try store.run(
            """
            UPDATE refresh_tokens SET spent = ?3, successor = ?4, salt = ?5
            WHERE organization = ?1 AND hash = ?2
            """,
            [
                tenant, .hash(hash), .integer(now.milliseconds), .hash(successor), .bytes(salt),
            ])
        // The parent's successor is used now: it is not given again.
        guard let parent = kept.parent else { return }
        try store.run(
            "UPDATE refresh_tokens SET salt = NULL WHERE organization = ? AND hash = ?",
            [tenant, .hash(parent)])
    }

    private func insertToken(
        _ hash: RefreshTokenHash, of session: SessionRecord, parent: RefreshTokenHash?,
        at now: WallTime
    ) throws(DirectoryError) {
        let (idle, overflow) = now.milliseconds.addingReportingOverflow(session.idleMilliseconds)
        try store.run(
            """
            INSERT INTO refresh_tokens(organization, hash, session, parent, issued, idle_expires)
            VALUES(?, ?, ?, ?, ?, ?)
            """,
            [
                tenant, .hash(hash), .text(session.session.text),
                parent.map { .hash($0) } ?? .null, .integer(now.milliseconds),
                .integer(overflow ? .max : idle),
            ])
    }

    private func keptToken(_ hash: RefreshTokenHash) throws(DirectoryError) -> KeptToken? {
        try store.row(
            """
            SELECT t.session, t.parent, t.successor, t.salt, t.idle_expires, t.spent,
              s.spent IS NOT NULL
            FROM refresh_tokens t LEFT JOIN refresh_tokens s ON s.hash = t.successor
            WHERE t.organization = ? AND t.hash = ?
            """, [tenant, .hash(hash)]
        ) { (row) throws(StorageFault) in
            KeptToken(
                session: SessionID(unchecked: try row.name(0)),
                parent: row.withBytes(1) { RefreshTokenHash($0) },
                successor: row.withBytes(2) { RefreshTokenHash($0) },
                salt: row.isNull(3) ? nil : row.withBytes(3, Array.init),
                idleExpires: row.time(4), spent: row.optionalTime(5),
                successorIsSpent: row.integer(6) != 0)
        }
    }
}

private struct KeptToken {
    var session: SessionID
    var parent: RefreshTokenHash?
    var successor: RefreshTokenHash?
    var salt: [UInt8]?
    var idleExpires: WallTime
    var spent: WallTime?
    var successorIsSpent: Bool
}

extension SQLiteValue {
    fileprivate static func hash(_ hash: RefreshTokenHash) -> SQLiteValue {
        .bytes(hash.withBytes(Array.init))
    }
}

extension SessionRecord {
    static let select = """
        SELECT organization, session, user, created, expires, idle_milliseconds, revoked, reason,
          permissions FROM refresh_families
        """

    static func read(_ row: Statement) throws(StorageFault) -> Self {
        Self(
            organization: OrganizationID(unchecked: try row.name(0)),
            session: SessionID(unchecked: try row.name(1)),
            user: UserID(unchecked: try row.name(2)),
            created: row.time(3), expires: row.time(4), idleMilliseconds: row.integer(5),
            permissions: row.optionalLines(8),
            revoked: row.optionalTime(6),
            reason: row.isNull(7) ? nil : try row.word(7, RevokeReason.self))
    }
}
