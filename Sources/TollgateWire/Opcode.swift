/// What a frame asks for. A reply carries the same value with `replyBit` set.
///
/// Numbers are permanent: Protocol.md, "Opcodes".
public enum Opcode: UInt8, Sendable, CaseIterable {
    case hello = 0x01
    case ping = 0x02
    case check = 0x10
    case consume = 0x11
    case usage = 0x12
    /// A CHECK whose units are an estimate, held until SETTLE says what it was.
    case reserve = 0x13
    /// Asks whether work under a reservation may go on.
    case extend = 0x14
    case settle = 0x15
    case cancel = 0x16
    case stats = 0x40
    case reload = 0x41
    case shutdown = 0x42
    /// A call of the directory, as JSON: organizations, keys, tokens, revocation.
    case call = 0x50

    /// Set in the opcode byte of every reply.
    public static let replyBit: UInt8 = 0x80
}

/// How the daemon took a request: anything but `ok` means that no decision was made and nothing
/// was charged. Not to be confused with `Reason`, which says why a decision denies.
///
/// Numbers are permanent: Protocol.md, "Status codes".
public enum Status: UInt16, Sendable, CaseIterable, BitwiseCopyable {
    case ok = 0
    /// The header breaks the grid; the connection is closed after this reply.
    case malformedFrame = 1
    /// The length field is above the ceiling; the connection is closed after this reply.
    case frameTooLarge = 2
    case unknownOpcode = 3
    case malformedBody = 4
    /// No version in the range that HELLO offered is spoken here.
    case unsupportedVersion = 5
    /// A flag bit or an extension field marked critical that this version does not know.
    case unsupportedField = 6
    /// The peer's role does not allow this opcode.
    case forbidden = 7
    /// A meter that the policy does not define, or that the operation does not charge.
    case unknownMeter = 8
    /// Units above `WireLimits.unitsMax`, or a weighted sum that leaves 64 bits.
    case unitsOutOfRange = 9
    /// CONSUME or USAGE named a plan that the policy does not define.
    case unknownPlan = 10
    /// CONSUME named an operation that the policy does not define.
    case unknownOperation = 11
    /// The daemon is at its ceiling of connections; it closes this one.
    case tooManyConnections = 12
    /// The daemon is draining; connect again.
    case unavailable = 13
    /// RELOAD found the policy at fault; the one in force stays. The detail says where and why.
    case policyInvalid = 14
    /// A defect in the daemon; the connection is closed.
    case internalError = 15
    /// What CALL names is not there, or another organization's; or there is no such reservation.
    case notFound = 16
    case alreadyExists = 17
    /// A value of CALL that is none; also a member or a call that is not known, or is missing.
    case invalidValue = 18
    /// What is asked for cannot be now: of CALL the detail says why, and what to do; or the
    /// reservation has ended otherwise, or the idempotency id stands for another request.
    case conflict = 19
    /// The disk did not take the change; nothing changed.
    case storageFailed = 20
    /// The policy has no directory.
    case noDirectory = 21
    /// Too many calls wait; ask again.
    case busy = 22
    /// What every refused refresh token looks like.
    case refreshRefused = 23
}

/// Why a decision denies. `Reason.none` stands in every decision that allows.
///
/// The order of checks, and so of reasons when several hold, is that of the numbers
/// (Protocol.md, "Reasons"). Numbers are permanent.
public enum Reason: UInt16, Sendable, CaseIterable, BitwiseCopyable {
    case none = 0
    /// The path is not in canonical form (dot segments, doubled or encoded slashes, bad escapes).
    case pathNotCanonical = 1

    case credentialMissing = 10
    /// What every refused credential looks like unless the policy reveals the true reason.
    case credentialInvalid = 11
    case credentialMalformed = 12
    case algorithmNotAllowed = 13
    case issuerUnknown = 14
    case keyUnknown = 15
    case signatureInvalid = 16
    case tokenExpired = 17
    case tokenNotYetValid = 18
    case tokenLifetimeTooLong = 19
    case audienceMismatch = 20
    case claimInvalid = 21
    case credentialRevoked = 22
    case credentialKindUnsupported = 23
    /// The API key may not be used from that address, or the address was not given.
    case addressNotAllowed = 24

    case subscriptionInactive = 30
    case planUnknown = 31

    case operationUnknown = 40
    case permissionDenied = 41

    /// The source address sent too many invalid credentials; the credential was not looked at.
    case invalidCredentialLimited = 50
    case rateLimited = 51
    case concurrencyExceeded = 60
    case quotaExhausted = 70
    /// A table is at its configured ceiling: nobody new is let in.
    case capacityExhausted = 80
    /// The journal cannot be written: nothing that is billed is charged.
    case ledgerUnavailable = 81
    /// The audit log cannot be written, and the policy has it that nothing goes unrecorded.
    case auditUnavailable = 82
}

/// What a caller proves its identity with.
public enum CredentialKind: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case none = 0
    /// A JWS in compact serialization (RFC 7515 §7.1).
    case accessToken = 1
    case apiKey = 2
}

/// Allow or deny.
public enum Verdict: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case allow = 1
    case deny = 2
}

/// Whom a limit counts for.
public enum LimitScope: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case user = 1
    case organization = 2
    case address = 3
    case credential = 4
}

/// Whether a limit is a sliding window, a calendar period or a number of open reservations.
public enum LimitKind: UInt8, Sendable, CaseIterable, BitwiseCopyable {
    case rateLimit = 1
    case quota = 2
    case concurrency = 3
}
