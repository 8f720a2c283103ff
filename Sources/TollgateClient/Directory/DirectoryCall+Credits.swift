import TollgateWire

extension DirectoryCall where Answer == CreditGrant {
    /// Units beyond a quota that takes credits. With an `id` the same call again is the same grant;
    /// `conflict` where a grant of that id is another. `priority`: the lower burns first, 100 where
    /// it is left out. `effectiveAt`: now, where it is left out.
    public static func grantCredits(
        organization: String, quota: String, units: UInt64, priority: UInt8? = nil,
        effectiveAt: Timestamp? = nil, expiresAt: Timestamp? = nil, id: String? = nil,
        note: String? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .grantCredits, answering: "credit",
            [
                "organization": .string(organization), "quota": .string(quota),
                "units": .units(units), "priority": .member(priority.map { Int64($0) }),
                "effective_at": .member(effectiveAt), "expires_at": .member(expiresAt),
                "id": .member(id), "note": .member(note),
            ])
    }

    /// Ends a grant: what is burnt of it stays burnt.
    public static func voidCredits(organization: String, id: String) -> DirectoryCall {
        DirectoryCall(
            .voidCredits, answering: "credit",
            ["organization": .string(organization), "id": .string(id)])
    }
}

extension DirectoryCall where Answer == DirectoryPage<CreditGrant> {
    /// The grants of an organization, the oldest first, part by part.
    public static func credits(
        organization: String, after: String? = nil, limit: Int64? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .listCredits,
            [
                "organization": .string(organization), "after": .member(after),
                "limit": .member(limit),
            ])
    }
}
