/// What is shown of an API key: everything but its secret.
public struct APIKeyInfo: DirectoryDocument {
    /// `rotating`: the secret before the last rotation is still good.
    public enum State: String, DirectoryChoice { case active, rotating, expired, revoked }

    /// A rate limit of the key's own.
    public struct Rate: DirectoryDocument {
        public var limit: UInt64
        /// 1, 60, 3,600 or 86,400.
        public var windowSeconds: UInt32

        /// So many requests a window.
        public init(limit: UInt64, windowSeconds: UInt32) {
            self.limit = limit
            self.windowSeconds = windowSeconds
        }

        /// Reads a rate.
        public init(json: JSONValue) throws(DocumentError) {
            let members = try MemberReader(json)
            limit = try members.count("limit")
            windowSeconds = try members.small("window_seconds")
        }

        /// The rate with all of its members.
        public var json: JSONValue {
            .object(["limit": .count(limit), "window_seconds": .count(UInt64(windowSeconds))])
        }
    }

    /// Of `user`, whom the key acts for.
    public var organization: String
    public var id: String
    /// What the key begins with, for lists.
    public var prefix: String
    public var user: String
    public var name: String
    public var environment: String
    public var creator: String
    public var createdAt: Timestamp
    public var lastUsedAt: Timestamp?
    public var expiresAt: Timestamp?
    public var revokedAt: Timestamp?
    public var state: State
    public var rotatingUntilAt: Timestamp?
    /// `nil`: all that the plan grants.
    public var permissions: [String]?
    /// Blocks in CIDR notation; `nil`: from everywhere.
    public var addresses: [String]?
    public var rate: Rate?
    /// Which generation of the pepper its digest was made with.
    public var pepper: UInt32

    /// As the directory has it.
    public init(
        organization: String, id: String, prefix: String, user: String, name: String,
        environment: String, creator: String, createdAt: Timestamp, lastUsedAt: Timestamp?,
        expiresAt: Timestamp?, revokedAt: Timestamp?, state: State, rotatingUntilAt: Timestamp?,
        permissions: [String]?, addresses: [String]?, rate: Rate?, pepper: UInt32
    ) {
        self.organization = organization
        self.id = id
        self.prefix = prefix
        self.user = user
        self.name = name
        self.environment = environment
        self.creator = creator
        self.createdAt = createdAt
        self.lastUsedAt = lastUsedAt
        self.expiresAt = expiresAt
        self.revokedAt = revokedAt
        self.state = state
        self.rotatingUntilAt = rotatingUntilAt
        self.permissions = permissions
        self.addresses = addresses
        self.rate = rate
        self.pepper = pepper
    }

    /// Reads a key.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        organization = try members.text("organization")
        id = try members.text("id")
        prefix = try members.text("prefix")
        user = try members.text("user")
        name = try members.text("name")
        environment = try members.text("environment")
        creator = try members.text("creator")
        createdAt = try members.instant("created_at")
        lastUsedAt = try members.optionalInstant("last_used_at")
        expiresAt = try members.optionalInstant("expires_at")
        revokedAt = try members.optionalInstant("revoked_at")
        state = try members.choice("state")
        rotatingUntilAt = try members.optionalInstant("rotating_until_at")
        permissions = try members.optionalTexts("permissions")
        addresses = try members.optionalTexts("addresses")
        rate = try members.optionalDocument("rate")
        pepper = try members.small("pepper")
    }

    /// The key with all of its members.
    public var json: JSONValue {
        .object([
            "organization": .string(organization), "id": .string(id), "prefix": .string(prefix),
            "user": .string(user), "name": .string(name), "environment": .string(environment),
            "creator": .string(creator), "created_at": createdAt.json,
            "last_used_at": .optional(lastUsedAt), "expires_at": .optional(expiresAt),
            "revoked_at": .optional(revokedAt), "state": .choice(state),
            "rotating_until_at": .optional(rotatingUntilAt),
            "permissions": .optional(permissions), "addresses": .optional(addresses),
            "rate": .optional(rate), "pepper": .count(UInt64(pepper)),
        ])
    }
}

/// A key just made or rotated, with its secret, which is never told again.
public struct IssuedKey: DirectoryDocument {
    public var key: APIKeyInfo
    /// The whole key as callers send it.
    public var secret: SecretText

    /// A key and its secret.
    public init(key: APIKeyInfo, secret: SecretText) {
        self.key = key
        self.secret = secret
    }

    /// Reads key and secret.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        key = try members.document("key")
        secret = try members.secret("secret")
    }

    /// Both, the secret in clear: for the frame that tells it, and nothing else.
    public var json: JSONValue {
        .object(["key": key.json, "secret": .string(secret.revealed())])
    }
}
