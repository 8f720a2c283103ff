/// Another number for a limit of the plan: of one user, or of the whole organization.
public struct LimitOverride: DirectoryDocument {
    public var organization: String
    /// `nil`: the organization.
    public var user: String?
    public var limit: String
    public var units: UInt64
    /// It holds before this instant, and no more at it; `nil`: until it is removed.
    public var expiresAt: Timestamp?

    /// As the directory has it.
    public init(
        organization: String, user: String?, limit: String, units: UInt64, expiresAt: Timestamp?
    ) {
        self.organization = organization
        self.user = user
        self.limit = limit
        self.units = units
        self.expiresAt = expiresAt
    }

    /// Reads an override.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        organization = try members.text("organization")
        user = try members.optionalText("user")
        limit = try members.text("limit")
        units = try members.count("units")
        expiresAt = try members.optionalInstant("expires_at")
    }

    /// The override with all of its members.
    public var json: JSONValue {
        .object([
            "organization": .string(organization), "user": .optional(user),
            "limit": .string(limit), "units": .count(units), "expires_at": .optional(expiresAt),
        ])
    }
}
