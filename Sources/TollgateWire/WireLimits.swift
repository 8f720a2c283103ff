/// Every bound of the protocol, in one place. Protocol.md, "Limits".
public enum WireLimits {
    /// The version spoken here, and the lowest that is still understood.
    public static let version: UInt16 = 1
    public static let versionMin: UInt16 = 1

    /// The frame header, with the length field, in bytes.
    public static let headerBytes = 16
    /// The length field itself, in bytes; it counts what follows it.
    public static let lengthFieldBytes = 4
    /// The smallest value of the length field: a header and no body.
    public static let lengthMin = headerBytes - lengthFieldBytes
    /// The ceiling of the length field that a daemon may be configured up to.
    public static let lengthMax = 65_536
    /// Requests on one connection that may await their reply.
    public static let inFlightMax = 256

    /// Identifiers (user, organization, plan, limit, meter, operation), in bytes of UTF-8.
    public static let identifierBytesMax = 128
    /// A credential, in bytes. A policy may lower it.
    public static let credentialBytesMax = 8_192
    /// A method, in bytes.
    public static let methodBytesMax = 32
    /// A path with its query, in bytes.
    public static let pathBytesMax = 8_192
    /// Meters in one request.
    public static let metersMax = 16
    /// Units of one meter in one request: 2^40.
    public static let unitsMax: UInt64 = 1 << 40
    /// What PING carries back, in bytes.
    public static let pingBytesMax = 64
    /// The text that explains a status other than `ok`, in bytes.
    public static let detailBytesMax = 1_024

    /// `retryAfterMilliseconds` when no wait helps: the request is larger than the limit.
    public static let retryNever: UInt32 = .max
    /// A reset that never comes: nothing is counted, or the quota is of the kind `total`.
    public static let resetNever: UInt64 = .max
}

/// Fixed parts of the bodies, in bytes. Protocol.md has each as a byte table.
public enum BodyBytes {
    public static let helloRequest = 12
    public static let helloReply = 32
    public static let checkRequest = 32
    public static let consumeRequest = 16
    public static let usageRequest = 8
    public static let usageReply = 8
    public static let reserveRequest = 32
    public static let extendRequest = 24
    public static let settleRequest = 24
    public static let cancelRequest = 24
    public static let decisionReply = 64
    public static let limitEntry = 56
    public static let extensionHeader = 4
    /// A reservation's id and an idempotency id.
    public static let reservationID = 16
    public static let idempotencyID = 16
    /// Values of the extension fields `cost` and `reservation`.
    public static let cost = 8
    public static let reservation = 24
    /// Value of the extension field `decisionID`.
    public static let decisionID = 8
    /// Value of the extension field `wouldDeny`, before the limit's name.
    public static let wouldDeny = 4
    /// A grant in the extension field `credits`, before its names.
    public static let creditEntry = 40
    public static let statsEntry = 10
}

/// Bits of the flags field of requests.
public enum RequestFlags {
    /// Decide, and charge nothing.
    public static let dryRun: UInt16 = 1 << 0
    /// Add every limit that was looked at to the reply.
    public static let explain: UInt16 = 1 << 1
    /// The organization named is the user's own (CONSUME and USAGE).
    public static let personalOrganization: UInt16 = 1 << 2
    /// The hold outlives the connection that made it (RESERVE).
    public static let detached: UInt16 = 1 << 3

    /// What each opcode takes; any other bit is refused.
    public static let knownToCheck: UInt16 = dryRun | explain
    public static let knownToConsume: UInt16 = dryRun | explain | personalOrganization
    public static let knownToUsage: UInt16 = personalOrganization
    public static let knownToReserve: UInt16 = dryRun | explain | detached
    /// EXTEND, SETTLE and CANCEL.
    public static let knownToReservation: UInt16 = explain
}

/// Bits of the flags byte of a decision.
public enum DecisionFlags {
    public static let dryRun: UInt8 = 1 << 0
    /// `rateLimit…` fields are filled in.
    public static let rateLimit: UInt8 = 1 << 1
    /// `quota…` fields are filled in.
    public static let quota: UInt8 = 1 << 2
    /// The organization is the user's own: pass it on in CONSUME and USAGE.
    public static let personalOrganization: UInt8 = 1 << 3
    /// CONSUME or SETTLE took a limit past its end.
    public static let overage: UInt8 = 1 << 4
}

/// Bits of the flags byte of a limit entry.
public enum LimitEntryFlags {
    /// This limit refuses the request.
    public static let refused: UInt8 = 1 << 0
    /// The limit is in shadow: it refuses nobody, and with `refused` it would have.
    public static let shadow: UInt8 = 1 << 1
}

/// Tags of extension fields.
public enum ExtensionTag {
    /// In a decision: u16 count, then that many limit entries.
    public static let explain: UInt8 = 1
    /// In CHECK, CONSUME and RESERVE: 16 bytes, the same in each repetition of the request.
    public static let idempotencyID: UInt8 = 2
    /// In a decision: u64 micro-units of money.
    public static let cost: UInt8 = 3
    /// In an allowed RESERVE's decision: its id and time to live.
    public static let reservation: UInt8 = 4
    /// In a decision: u64, by which the audit log knows it.
    public static let decisionID: UInt8 = 5
    /// In the reply to USAGE: u16 count, then that many grants of credits.
    public static let credits: UInt8 = 6
    /// In a decision that allows: what would have refused it but is in shadow. u16 reason, u8
    /// bytes of the limit's name, a reserved byte, the name; without one of a permission.
    public static let wouldDeny: UInt8 = 7
}

/// Bits of the flags byte of an extension field.
public enum ExtensionFlags {
    /// A receiver that does not know the tag refuses the frame instead of skipping the field.
    public static let critical: UInt8 = 1 << 0
}
