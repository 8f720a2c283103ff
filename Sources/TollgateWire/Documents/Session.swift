/// One login: a family of refresh tokens, and the access tokens that came of it.
public struct Session: DirectoryDocument {
    /// Why it was ended: somebody asked, or a refresh token was used twice.
    public enum EndReason: String, DirectoryChoice { case asked, reuse }

    /// Of `user`, who logged in.
    public var organization: String
    public var id: String
    public var user: String
    public var createdAt: Timestamp
    /// Its end whatever happens; it ends sooner when it is idle for `idleSeconds`.
    public var expiresAt: Timestamp
    public var idleSeconds: UInt64
    public var revokedAt: Timestamp?
    public var reason: EndReason?

    /// As the directory has it.
    public init(
        organization: String, id: String, user: String, createdAt: Timestamp, expiresAt: Timestamp,
        idleSeconds: UInt64, revokedAt: Timestamp?, reason: EndReason?
    ) {
        self.organization = organization
        self.id = id
        self.user = user
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.idleSeconds = idleSeconds
        self.revokedAt = revokedAt
        self.reason = reason
    }

    /// Reads a session.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        organization = try members.text("organization")
        id = try members.text("id")
        user = try members.text("user")
        createdAt = try members.instant("created_at")
        expiresAt = try members.instant("expires_at")
        idleSeconds = try members.count("idle_seconds")
        revokedAt = try members.optionalInstant("revoked_at")
        reason = try members.optionalChoice("reason")
    }

    /// The session with all of its members.
    public var json: JSONValue {
        .object([
            "organization": .string(organization), "id": .string(id), "user": .string(user),
            "created_at": createdAt.json, "expires_at": expiresAt.json,
            "idle_seconds": .count(idleSeconds), "revoked_at": .optional(revokedAt),
            "reason": .optional(reason),
        ])
    }
}

/// What a login or a refresh gives. Neither token is ever told again, but for the retry of a
/// refresh whose answer was lost.
public struct IssuedTokens: DirectoryDocument {
    public var accessToken: SecretText
    /// `Bearer`
    public var tokenType: String
    /// Of the access token, from when it was issued.
    public var expiresInSeconds: UInt64
    /// Of the access token.
    public var expiresAt: Timestamp
    public var refreshToken: SecretText
    public var session: Session
    /// A refresh only: the same refresh was answered before, with the same refresh token.
    public var isRetried: Bool?

    /// Two tokens and their session; `isRetried` for a refresh only.
    public init(
        accessToken: SecretText, tokenType: String = "Bearer", expiresInSeconds: UInt64,
        expiresAt: Timestamp, refreshToken: SecretText, session: Session, isRetried: Bool? = nil
    ) {
        self.accessToken = accessToken
        self.tokenType = tokenType
        self.expiresInSeconds = expiresInSeconds
        self.expiresAt = expiresAt
        self.refreshToken = refreshToken
        self.session = session
        self.isRetried = isRetried
    }

    /// Reads tokens.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        accessToken = try members.secret("access_token")
        tokenType = try members.text("token_type")
        expiresInSeconds = try members.count("expires_in_seconds")
        expiresAt = try members.instant("expires_at")
        refreshToken = try members.secret("refresh_token")
        session = try members.document("session")
        isRetried = try members.optional("retried") { (value) throws(DocumentError) in
            try value.asFlag()
        }
    }

    /// The tokens in clear: for the frame that tells them, and nothing else. `retried` only where
    /// it is known.
    public var json: JSONValue {
        var object: JSONObject = [
            "access_token": .string(accessToken.revealed()), "token_type": .string(tokenType),
            "expires_in_seconds": .count(expiresInSeconds), "expires_at": expiresAt.json,
            "refresh_token": .string(refreshToken.revealed()), "session": session.json,
        ]
        if let isRetried { object.append("retried", .bool(isRetried)) }
        return .object(object)
    }
}
