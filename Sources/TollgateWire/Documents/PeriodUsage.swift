/// What an organization, or one of its users, used of a quota in one period: what is billed.
public struct PeriodUsage: DirectoryDocument {
    public var organization: String
    public var isPersonal: Bool
    /// `nil`: of the organization as a whole.
    public var user: String?
    /// The quota's name.
    public var limit: String
    public var meter: String
    public var period: PlanInfo.Period
    /// The date on which it began, in the quota's time zone: `2026-10-01`.
    public var beginsOn: String
    /// `nil`: it never ends.
    public var endsAt: Timestamp?
    /// Units.
    public var used: UInt64
    /// Of those, what credits paid.
    public var credits: UInt64
    /// It goes on, and more may be used.
    public var isOpen: Bool
    /// It is the user's share of an organization's quota, whose own entry counts these units too.
    public var isShare: Bool

    /// What was used of one quota.
    public init(
        organization: String, isPersonal: Bool, user: String?, limit: String, meter: String,
        period: PlanInfo.Period, beginsOn: String, endsAt: Timestamp?, used: UInt64, isOpen: Bool,
        isShare: Bool = false, credits: UInt64 = 0
    ) {
        self.organization = organization
        self.isPersonal = isPersonal
        self.user = user
        self.limit = limit
        self.meter = meter
        self.period = period
        self.beginsOn = beginsOn
        self.endsAt = endsAt
        self.used = used
        self.credits = credits
        self.isOpen = isOpen
        self.isShare = isShare
    }

    /// Reads one.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        organization = try members.text("organization")
        isPersonal = try members.flag("personal")
        user = try members.optionalText("user")
        limit = try members.text("limit")
        meter = try members.text("meter")
        period = try members.choice("period")
        beginsOn = try members.text("begins_on")
        endsAt = try members.optionalInstant("ends_at")
        used = try members.units("used")
        credits = try members.units("credits")
        isOpen = try members.flag("open")
        isShare = try members.flag("share")
    }

    /// All of its members.
    public var json: JSONValue {
        .object([
            "organization": .string(organization), "personal": .bool(isPersonal),
            "user": .optional(user), "limit": .string(limit), "meter": .string(meter),
            "period": .choice(period), "begins_on": .string(beginsOn),
            "ends_at": .optional(endsAt), "used": .units(used), "open": .bool(isOpen),
            "share": .bool(isShare), "credits": .units(credits),
        ])
    }
}

/// What pruning took away.
public struct PruneOutcome: DirectoryDocument {
    /// Entries of the archive.
    public var pruned: UInt64

    /// A count of entries.
    public init(pruned: UInt64) { self.pruned = pruned }

    /// Reads the count.
    public init(json: JSONValue) throws(DocumentError) {
        pruned = try MemberReader(json).count("pruned")
    }

    /// The count.
    public var json: JSONValue { .object(["pruned": .count(pruned)]) }
}
