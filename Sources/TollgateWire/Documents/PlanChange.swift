/// What a change of plans does, computed before it is done.
public struct PlanChangePreview: DirectoryDocument {
    /// A limit before and after; `nil` where the plan has none of that name.
    public struct Limit: DirectoryDocument {
        public var name: String
        public var kind: PlanLimitKind
        public var scope: PlanLimitScope
        public var meter: String
        public var before: UInt64?
        public var after: UInt64?

        /// One limit of either plan.
        public init(
            name: String, kind: PlanLimitKind, scope: PlanLimitScope, meter: String,
            before: UInt64?, after: UInt64?
        ) {
            self.name = name
            self.kind = kind
            self.scope = scope
            self.meter = meter
            self.before = before
            self.after = after
        }

        /// Reads a limit.
        public init(json: JSONValue) throws(DocumentError) {
            let members = try MemberReader(json)
            name = try members.text("name")
            kind = try members.choice("kind")
            scope = try members.choice("scope")
            meter = try members.text("meter")
            before = try members.optionalCount("before")
            after = try members.optionalCount("after")
        }

        /// The limit with all of its members.
        public var json: JSONValue {
            .object([
                "name": .string(name), "kind": .choice(kind), "scope": .choice(scope),
                "meter": .string(meter), "before": .optional(before), "after": .optional(after),
            ])
        }
    }

    /// Who has used more than the limit afterwards admits, and until when that holds.
    public struct Over: DirectoryDocument {
        /// `nil`: the organization.
        public var user: String?
        public var limit: String
        public var meter: String
        public var used: UInt64
        public var limitAfter: UInt64
        /// `nil`: for good.
        public var untilAt: Timestamp?

        /// One who is over.
        public init(
            user: String?, limit: String, meter: String, used: UInt64, limitAfter: UInt64,
            untilAt: Timestamp?
        ) {
            self.user = user
            self.limit = limit
            self.meter = meter
            self.used = used
            self.limitAfter = limitAfter
            self.untilAt = untilAt
        }

        /// Reads one who is over.
        public init(json: JSONValue) throws(DocumentError) {
            let members = try MemberReader(json)
            user = try members.optionalText("user")
            limit = try members.text("limit")
            meter = try members.text("meter")
            used = try members.count("used")
            limitAfter = try members.count("limit_after")
            untilAt = try members.optionalInstant("until_at")
        }

        /// All of its members.
        public var json: JSONValue {
            .object([
                "user": .optional(user), "limit": .string(limit), "meter": .string(meter),
                "used": .count(used), "limit_after": .count(limitAfter),
                "until_at": .optional(untilAt),
            ])
        }
    }

    /// `nil`: there was no subscription.
    public var from: String?
    public var to: String
    public var mode: Subscription.ChangeMode
    public var effectiveAt: Timestamp
    public var permissionsLost: [String]
    public var permissionsGained: [String]
    public var limits: [Limit]
    /// The first of those who are over; `overCount` is how many there are.
    public var over: [Over]
    public var overCount: UInt64

    /// As it was computed.
    public init(
        from: String?, to: String, mode: Subscription.ChangeMode, effectiveAt: Timestamp,
        permissionsLost: [String], permissionsGained: [String], limits: [Limit], over: [Over],
        overCount: UInt64
    ) {
        self.from = from
        self.to = to
        self.mode = mode
        self.effectiveAt = effectiveAt
        self.permissionsLost = permissionsLost
        self.permissionsGained = permissionsGained
        self.limits = limits
        self.over = over
        self.overCount = overCount
    }

    /// Reads a preview.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        from = try members.optionalText("from")
        to = try members.text("to")
        mode = try members.choice("mode")
        effectiveAt = try members.instant("effective_at")
        permissionsLost = try members.texts("permissions_lost")
        permissionsGained = try members.texts("permissions_gained")
        limits = try members.documents("limits")
        over = try members.documents("over")
        overCount = try members.count("over_count")
    }

    /// The preview with all of its members.
    public var json: JSONValue {
        .object([
            "from": .optional(from), "to": .string(to), "mode": .choice(mode),
            "effective_at": effectiveAt.json, "permissions_lost": .texts(permissionsLost),
            "permissions_gained": .texts(permissionsGained), "limits": .documents(limits),
            "over": .documents(over), "over_count": .count(overCount),
        ])
    }
}

/// A change of plans that was made or, of a preview, would have been.
public struct PlanChange: DirectoryDocument {
    public var organization: Organization
    public var effectiveAt: Timestamp
    public var preview: PlanChangePreview

    /// The organization as it is now, and what the change does.
    public init(organization: Organization, effectiveAt: Timestamp, preview: PlanChangePreview) {
        self.organization = organization
        self.effectiveAt = effectiveAt
        self.preview = preview
    }

    /// Reads a change.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        organization = try members.document("organization")
        effectiveAt = try members.instant("effective_at")
        preview = try members.document("preview")
    }

    /// The change with all of its members.
    public var json: JSONValue {
        .object([
            "organization": organization.json, "effective_at": effectiveAt.json,
            "preview": preview.json,
        ])
    }
}
