/// Which organizations have the most decisions of late, and who is nearest to the end of a quota.
/// A reply that would be too long for a frame has fewer of both.
public struct TopOrganizations: DirectoryDocument {
    /// The most of each list that can be asked for.
    public static let listMax = 100
    /// After each such time what was counted before weighs half as much.
    public static let halvingSeconds: Int64 = 30

    /// When `nearest` was looked at: a moment ago at most, or longer where there are very many.
    public var at: Timestamp
    /// Since when decisions are counted: they are from the first time that somebody asks on, until
    /// nobody has asked for five minutes. `nil`: they are not, for there is no audit log.
    public var since: Timestamp?
    /// Of allowed CHECKs one in so many is counted: `audit.sample_allowed` of the policy.
    public var sampleOneIn: UInt64
    /// Who is not counted apart weighs at most so much; 0: all are.
    public var missedMax: UInt64
    /// The heaviest first.
    public var busiest: [BusyOrganization]
    /// The nearest first.
    public var nearest: [NearestQuota]

    /// Lists, and what they are of.
    public init(
        at: Timestamp, since: Timestamp?, sampleOneIn: UInt64 = 1, missedMax: UInt64 = 0,
        busiest: [BusyOrganization] = [], nearest: [NearestQuota] = []
    ) {
        self.at = at
        self.since = since
        self.sampleOneIn = sampleOneIn
        self.missedMax = missedMax
        self.busiest = busiest
        self.nearest = nearest
    }

    /// Reads both lists.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        at = try members.instant("at")
        since = try members.optionalInstant("since_at")
        sampleOneIn = try members.count("sample_one_in")
        missedMax = try members.count("missed_max")
        busiest = try members.documents("busiest")
        nearest = try members.documents("nearest")
    }

    /// All of its members.
    public var json: JSONValue {
        .object([
            "at": at.json, "since_at": .optional(since), "sample_one_in": .count(sampleOneIn),
            "missed_max": .count(missedMax), "busiest": .documents(busiest),
            "nearest": .documents(nearest),
        ])
    }
}

/// An organization and its decisions: CHECK, RESERVE and CONSUME.
public struct BusyOrganization: DirectoryDocument {
    public var organization: String
    public var isPersonal: Bool
    /// Decisions of late: each counts half as much after every 30 seconds.
    public var recent: UInt64
    /// By how much `recent` may be too high, where there are very many organizations.
    public var recentError: UInt64
    /// Whole decisions since it is counted apart, which `recent` alone does not say: they only
    /// grow, and begin anew where others took its place meanwhile.
    public var allowed: UInt64
    public var denied: UInt64

    /// An organization's counts.
    public init(
        organization: String, isPersonal: Bool, recent: UInt64, recentError: UInt64 = 0,
        allowed: UInt64, denied: UInt64
    ) {
        self.organization = organization
        self.isPersonal = isPersonal
        self.recent = recent
        self.recentError = recentError
        self.allowed = allowed
        self.denied = denied
    }

    /// Reads the counts.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        organization = try members.text("organization")
        isPersonal = try members.flag("personal")
        recent = try members.count("recent")
        recentError = try members.count("recent_error")
        allowed = try members.count("allowed")
        denied = try members.count("denied")
    }

    /// All of its members.
    public var json: JSONValue {
        .object([
            "organization": .string(organization), "personal": .bool(isPersonal),
            "recent": .count(recent), "recent_error": .count(recentError),
            "allowed": .count(allowed), "denied": .count(denied),
        ])
    }
}

/// How much of a quota is taken in the period that goes on.
public struct NearestQuota: DirectoryDocument {
    public var organization: String
    public var isPersonal: Bool
    /// `nil`: of the organization as a whole.
    public var user: String?
    public var plan: String
    /// The quota's name.
    public var quota: String
    public var meter: String
    public var period: PlanInfo.Period
    /// Units.
    public var used: UInt64
    /// Units of open reservations, and no part of `used`.
    public var held: UInt64
    /// Units, with all that holds: overrides, units carried over, credits.
    public var limit: UInt64
    /// `nil`: the period never ends.
    public var endsAt: Timestamp?
    /// It is the user's cap within an organization's quota.
    public var isShare: Bool
    /// It refuses nobody.
    public var isShadow: Bool

    /// How a quota stands.
    public init(
        organization: String, isPersonal: Bool, user: String?, plan: String, quota: String,
        meter: String, period: PlanInfo.Period, used: UInt64, held: UInt64, limit: UInt64,
        endsAt: Timestamp?, isShare: Bool = false, isShadow: Bool = false
    ) {
        self.organization = organization
        self.isPersonal = isPersonal
        self.user = user
        self.plan = plan
        self.quota = quota
        self.meter = meter
        self.period = period
        self.used = used
        self.held = held
        self.limit = limit
        self.endsAt = endsAt
        self.isShare = isShare
        self.isShadow = isShadow
    }

    /// Reads how it stands.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        organization = try members.text("organization")
        isPersonal = try members.flag("personal")
        user = try members.optionalText("user")
        plan = try members.text("plan")
        quota = try members.text("quota")
        meter = try members.text("meter")
        period = try members.choice("period")
        used = try members.units("used")
        held = try members.units("held")
        limit = try members.units("limit")
        endsAt = try members.optionalInstant("ends_at")
        isShare = try members.flag("share")
        isShadow = try members.flag("shadow")
    }

    /// All of its members.
    public var json: JSONValue {
        .object([
            "organization": .string(organization), "personal": .bool(isPersonal),
            "user": .optional(user), "plan": .string(plan), "quota": .string(quota),
            "meter": .string(meter), "period": .choice(period), "used": .units(used),
            "held": .units(held), "limit": .units(limit), "ends_at": .optional(endsAt),
            "share": .bool(isShare), "shadow": .bool(isShadow),
        ])
    }
}
