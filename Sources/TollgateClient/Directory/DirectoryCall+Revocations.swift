import TollgateWire

extension DirectoryCall where Answer == RevocationOutcome {
    /// Refuses one access token by its `jti`. `expiresAt` is the token's own end; without it the
    /// revocation is kept for as long as any token lives.
    public static func revokeToken(
        jti: String, organization: String, isPersonal: Bool = false, expiresAt: Timestamp? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .revokeToken,
            [
                "organization": .string(organization), "personal": .flag(isPersonal),
                "jti": .string(jti), "expires_at": .member(expiresAt),
            ])
    }

    /// Refuses all that was issued to a user until now.
    public static func revokeUser(
        _ user: String, organization: String, isPersonal: Bool = false
    ) -> DirectoryCall {
        DirectoryCall(
            .revokeUser,
            [
                "organization": .string(organization), "personal": .flag(isPersonal),
                "user": .string(user),
            ])
    }

    /// Refuses all that was issued to an organization until now.
    public static func revokeOrganization(
        _ organization: String, isPersonal: Bool = false
    ) -> DirectoryCall {
        DirectoryCall(
            .revokeOrganization,
            ["organization": .string(organization), "personal": .flag(isPersonal)])
    }
}

extension DirectoryCall where Answer == DirectoryPage<Revocation> {
    /// What is revoked of an organization, part by part; `isPersonal` left out: of personal ones
    /// and others of that id.
    public static func revocations(
        organization: String, isPersonal: Bool? = nil, kind: Revocation.Kind? = nil,
        after: String? = nil, limit: Int64? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .listRevocations,
            [
                "organization": .string(organization),
                "personal": isPersonal.map { .bool($0) }, "kind": .member(kind),
                "after": .member(after), "limit": .member(limit),
            ])
    }
}

extension DirectoryCall where Answer == LimitOverride {
    /// Another number for a limit of the plan, of one user or of the organization.
    public static func setOverride(
        organization: String, user: String? = nil, limit: String, units: UInt64,
        expiresAt: Timestamp? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .setOverride, answering: "override",
            [
                "organization": .string(organization), "user": .member(user),
                "limit": .string(limit), "units": .units(units), "expires_at": .member(expiresAt),
            ])
    }

    /// The plan's number again; the override that was.
    public static func removeOverride(
        organization: String, user: String? = nil, limit: String
    ) -> DirectoryCall {
        DirectoryCall(
            .removeOverride, answering: "override",
            [
                "organization": .string(organization), "user": .member(user),
                "limit": .string(limit),
            ])
    }
}

extension DirectoryCall where Answer == DirectoryPage<LimitOverride> {
    /// The overrides of an organization and its users, part by part.
    public static func overrides(
        organization: String, after: String? = nil, limit: Int64? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .listOverrides,
            [
                "organization": .string(organization), "after": .member(after),
                "limit": .member(limit),
            ])
    }
}
