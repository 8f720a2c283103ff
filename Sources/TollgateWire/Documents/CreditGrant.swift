/// Units granted to an organization beyond one of its quotas: they burn when the quota's own
/// allowance of the period is used up.
public struct CreditGrant: DirectoryDocument {
    /// What becomes of it now.
    public enum State: String, DirectoryChoice {
        case active
        /// It begins later.
        case pending
        /// All of it is burnt.
        case exhausted
        case expired, voided
    }

    /// Whose it is.
    public var organization: String
    /// Unique in the organization.
    public var id: String
    public var quota: String
    /// What the quota counts.
    public var meter: String
    public var units: UInt64
    /// Of the units; in an export only of one that has been over for long.
    public var burnt: UInt64?
    /// What can still burn of it; 0 once it is over. Not in an export.
    public var remaining: UInt64?
    /// The lower burns first; of equal ones that which ends first, then the older.
    public var priority: UInt32
    /// Not in an export.
    public var state: State?
    public var effectiveAt: Timestamp
    /// It can be used strictly before; `nil`: it never ends.
    public var expiresAt: Timestamp?
    public var note: String
    public var createdAt: Timestamp
    public var voidedAt: Timestamp?

    /// As the directory has it, with what the ledger says.
    public init(
        organization: String, id: String, quota: String, meter: String, units: UInt64,
        burnt: UInt64?, remaining: UInt64?, priority: UInt32, state: State?,
        effectiveAt: Timestamp, expiresAt: Timestamp?, note: String, createdAt: Timestamp,
        voidedAt: Timestamp?
    ) {
        self.organization = organization
        self.id = id
        self.quota = quota
        self.meter = meter
        self.units = units
        self.burnt = burnt
        self.remaining = remaining
        self.priority = priority
        self.state = state
        self.effectiveAt = effectiveAt
        self.expiresAt = expiresAt
        self.note = note
        self.createdAt = createdAt
        self.voidedAt = voidedAt
    }

    /// Reads a grant.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        organization = try members.text("organization")
        id = try members.text("id")
        quota = try members.text("quota")
        meter = try members.text("meter")
        units = try members.count("units")
        burnt = members.has("burnt") ? try members.count("burnt") : nil
        remaining = members.has("remaining") ? try members.count("remaining") : nil
        priority = try members.small("priority")
        state = members.has("state") ? try members.choice("state") : nil
        effectiveAt = try members.instant("effective_at")
        expiresAt = try members.optionalInstant("expires_at")
        note = try members.text("note")
        createdAt = try members.instant("created_at")
        voidedAt = try members.optionalInstant("voided_at")
    }

    /// The grant with all of its members.
    public var json: JSONValue {
        .object([
            "organization": .string(organization), "id": .string(id), "quota": .string(quota),
            "meter": .string(meter), "units": .count(units), "burnt": .optional(burnt),
            "remaining": .optional(remaining), "priority": .count(UInt64(priority)),
            "state": state.map { .choice($0) } ?? .null, "effective_at": effectiveAt.json,
            "expires_at": .optional(expiresAt), "note": .string(note),
            "created_at": createdAt.json, "voided_at": .optional(voidedAt),
        ])
    }
}
