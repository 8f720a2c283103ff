/// Which plan an organization has, and since when.
public struct Subscription: DirectoryDocument {
    /// The first three are served.
    public enum Status: String, DirectoryChoice {
        case trialing, active
        case pastDue = "past_due"
        case suspended, canceled
    }

    /// What becomes of the usage at a change of plans: it is kept, reduced by how far the period
    /// has come, or forgotten.
    public enum ChangeMode: String, DirectoryChoice { case carry, prorate, reset }

    /// A change of plans that is still to come.
    public struct Pending: DirectoryDocument {
        public var plan: String
        public var mode: ChangeMode
        public var at: Timestamp

        /// A change to that plan at that instant.
        public init(plan: String, mode: ChangeMode, at: Timestamp) {
            self.plan = plan
            self.mode = mode
            self.at = at
        }

        /// Reads a pending change.
        public init(json: JSONValue) throws(DocumentError) {
            let members = try MemberReader(json)
            plan = try members.text("plan")
            mode = try members.choice("mode")
            at = try members.instant("at")
        }

        /// The change with all of its members.
        public var json: JSONValue {
            .object(["plan": .string(plan), "mode": .choice(mode), "at": at.json])
        }
    }

    /// In force, whatever is pending.
    public var plan: String
    public var status: Status
    /// Billing periods are counted from it.
    public var anchorAt: Timestamp
    /// An IANA name.
    public var timeZone: String
    /// When it got the plan.
    public var sinceAt: Timestamp
    public var pending: Pending?

    /// As the directory has it.
    public init(
        plan: String, status: Status, anchorAt: Timestamp, timeZone: String, sinceAt: Timestamp,
        pending: Pending?
    ) {
        self.plan = plan
        self.status = status
        self.anchorAt = anchorAt
        self.timeZone = timeZone
        self.sinceAt = sinceAt
        self.pending = pending
    }

    /// Reads a subscription.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        plan = try members.text("plan")
        status = try members.choice("status")
        anchorAt = try members.instant("anchor_at")
        timeZone = try members.text("time_zone")
        sinceAt = try members.instant("since_at")
        pending = try members.optionalDocument("pending")
    }

    /// The subscription with all of its members.
    public var json: JSONValue {
        .object([
            "plan": .string(plan), "status": .choice(status), "anchor_at": anchorAt.json,
            "time_zone": .string(timeZone), "since_at": sinceAt.json,
            "pending": .optional(pending),
        ])
    }
}
