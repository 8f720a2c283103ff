import TollgateWire

/// What an edit makes of a member that may be absent.
public enum Edit<Value: Sendable & Equatable>: Sendable, Equatable {
    case unchanged
    /// As if it had never been given.
    case removed
    case to(Value)

    func member(_ value: (Value) -> JSONValue?) -> JSONValue? {
        switch self {
        case .unchanged: nil
        case .removed: .null
        case .to(let new): value(new)
        }
    }
}

extension DirectoryCall where Answer == IssuedKey {
    /// A new key, whose secret is told this once. Left out: named `key`, environment `live`, with
    /// all that the plan grants, from everywhere, as fast as the plan allows, for good.
    public static func createKey(
        organization: String, user: String, name: String? = nil, environment: String? = nil,
        permissions: [String]? = nil, addresses: [String]? = nil, rate: APIKeyInfo.Rate? = nil,
        expiresAt: Timestamp? = nil, creator: String? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .createKey,
            [
                "organization": .string(organization), "user": .string(user),
                "name": .member(name), "environment": .member(environment),
                "permissions": .member(permissions), "addresses": .member(addresses),
                "rate": .member(rate), "expires_at": .member(expiresAt),
                "creator": .member(creator),
            ])
    }

    /// Another secret, told this once; the former one stays good for the overlap, by default a day,
    /// at most 30. Identity and counters stay.
    public static func rotateKey(
        _ key: String, organization: String, overlapSeconds: Int64? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .rotateKey,
            [
                "organization": .string(organization), "key": .string(key),
                "overlap_seconds": .member(overlapSeconds),
            ])
    }
}

extension DirectoryCall where Answer == APIKeyInfo {
    /// The key as it is, without its secret.
    public static func key(_ key: String, organization: String) -> DirectoryCall {
        of(.showKey, key, organization)
    }

    /// Changes what is given.
    public static func editKey(
        _ key: String, organization: String, name: String? = nil,
        permissions: Edit<[String]> = .unchanged, addresses: Edit<[String]> = .unchanged,
        rate: Edit<APIKeyInfo.Rate> = .unchanged, expiresAt: Edit<Timestamp> = .unchanged
    ) -> DirectoryCall {
        DirectoryCall(
            .editKey, answering: "key",
            [
                "organization": .string(organization), "key": .string(key),
                "name": .member(name), "permissions": permissions.member { .member($0) },
                "addresses": addresses.member { .member($0) },
                "rate": rate.member { .member($0) },
                "expires_at": expiresAt.member { .member($0) },
            ])
    }

    /// For good: from now on both of its secrets are refused.
    public static func revokeKey(_ key: String, organization: String) -> DirectoryCall {
        of(.revokeKey, key, organization)
    }

    private static func of(
        _ call: CallName, _ key: String, _ organization: String
    ) -> DirectoryCall {
        DirectoryCall(
            call, answering: "key",
            ["organization": .string(organization), "key": .string(key)])
    }
}

extension DirectoryCall where Answer == DirectoryPage<APIKeyInfo> {
    /// The keys of an organization, or of one of its users, part by part.
    public static func keys(
        organization: String, user: String? = nil, after: String? = nil, limit: Int64? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .listKeys,
            [
                "organization": .string(organization), "user": .member(user),
                "after": .member(after), "limit": .member(limit),
            ])
    }
}
