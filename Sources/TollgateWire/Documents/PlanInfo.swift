/// Whether a limit of a document is a sliding window or a calendar period.
public enum PlanLimitKind: String, DirectoryChoice {
    case rateLimit = "rate_limit"
    case quota
}

/// Whom a limit of a plan counts for.
public enum PlanLimitScope: String, DirectoryChoice { case user, organization }

/// A plan of the policy in force.
public struct PlanInfo: DirectoryDocument {
    /// Calendar periods, in the time zone of the subscription.
    public enum Period: String, DirectoryChoice {
        case day, week, month
        case billingMonth = "billing_month"
        /// It never ends.
        case total
    }

    /// A limit of the plan.
    public struct Limit: DirectoryDocument {
        public var name: String
        public var kind: PlanLimitKind
        public var scope: PlanLimitScope
        public var meter: String
        public var limit: UInt64
        /// Of a rate limit.
        public var windowMilliseconds: UInt64?
        /// Of a quota.
        public var period: Period?

        /// As the policy has it.
        public init(
            name: String, kind: PlanLimitKind, scope: PlanLimitScope, meter: String, limit: UInt64,
            windowMilliseconds: UInt64?, period: Period?
        ) {
            self.name = name
            self.kind = kind
            self.scope = scope
            self.meter = meter
            self.limit = limit
            self.windowMilliseconds = windowMilliseconds
            self.period = period
        }

        /// Reads a limit.
        public init(json: JSONValue) throws(DocumentError) {
            let members = try MemberReader(json)
            name = try members.text("name")
            kind = try members.choice("kind")
            scope = try members.choice("scope")
            meter = try members.text("meter")
            limit = try members.count("limit")
            windowMilliseconds = try members.optionalCount("window_milliseconds")
            period = try members.optionalChoice("period")
        }

        /// The limit with all of its members.
        public var json: JSONValue {
            .object([
                "name": .string(name), "kind": .choice(kind), "scope": .choice(scope),
                "meter": .string(meter), "limit": .count(limit),
                "window_milliseconds": .optional(windowMilliseconds), "period": .optional(period),
            ])
        }
    }

    /// With what it grants and how much of it.
    public var name: String
    public var permissions: [String]
    public var limits: [Limit]

    /// As the policy has it.
    public init(name: String, permissions: [String], limits: [Limit]) {
        self.name = name
        self.permissions = permissions
        self.limits = limits
    }

    /// Reads a plan.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        name = try members.text("name")
        permissions = try members.texts("permissions")
        limits = try members.documents("limits")
    }

    /// The plan with all of its members.
    public var json: JSONValue {
        .object([
            "name": .string(name), "permissions": .texts(permissions),
            "limits": .documents(limits),
        ])
    }
}
