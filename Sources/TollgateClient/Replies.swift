import TollgateWire

/// The state of one limit as a decision carries it.
public struct LimitSummary: Sendable, Equatable {
    public var name: String
    public var limit: UInt64
    public var remaining: UInt64
    public var resetMilliseconds: UInt64
}

/// One limit as USAGE and explanations carry it.
public struct LimitEntry: Sendable, Equatable {
    public var kind: LimitKind
    public var scope: LimitScope
    public var refuses: Bool
    /// It refuses nobody; with `refuses`, it would have.
    public var isShadow: Bool
    public var name: String
    public var meter: String
    public var used: UInt64
    public var held: UInt64
    public var limit: UInt64
    public var remaining: UInt64
    public var resetMilliseconds: UInt64
    public var lengthMilliseconds: UInt64

    init(_ reader: inout ReplyReader) throws(ClientError) {
        guard let kind = LimitKind(rawValue: try reader.integer(UInt8.self)),
            let scope = LimitScope(rawValue: try reader.integer(UInt8.self))
        else { throw .malformedReply("a limit's kind or scope") }
        self.kind = kind
        self.scope = scope
        let flags = try reader.integer(UInt8.self)
        refuses = flags & LimitEntryFlags.refused != 0
        isShadow = flags & LimitEntryFlags.shadow != 0
        let nameBytes = Int(try reader.integer(UInt8.self))
        let meterBytes = Int(try reader.integer(UInt8.self))
        _ = try reader.bytes(3)
        used = try reader.integer(UInt64.self)
        held = try reader.integer(UInt64.self)
        limit = try reader.integer(UInt64.self)
        remaining = try reader.integer(UInt64.self)
        resetMilliseconds = try reader.integer(UInt64.self)
        lengthMilliseconds = try reader.integer(UInt64.self)
        name = try reader.text(nameBytes)
        meter = try reader.text(meterBytes)
    }

    /// The value of `explain`.
    static func list(_ value: [UInt8]) throws(ClientError) -> [LimitEntry] {
        var entries: [LimitEntry] = []
        var reader = ReplyReader(value)
        for _ in 0..<(try reader.integer(UInt16.self)) { entries.append(try LimitEntry(&reader)) }
        guard reader.isAtEnd else { throw .malformedReply("bytes behind the last limit") }
        return entries
    }
}

/// What the daemon decided.
public struct CheckDecision: Sendable, Equatable {
    public var isAllowed: Bool
    /// The number of the reason; a later daemon may give one that is not known here: a denial.
    public var reasonCode: UInt16
    /// `nil` when the daemon has one that this client does not know: a denial all the same.
    public var reason: Reason? { Reason(rawValue: reasonCode) }
    /// Nothing was charged: it was asked not to be.
    public var isDryRun: Bool
    /// The organization is the user's own: pass it on in CONSUME and USAGE.
    public var isPersonal: Bool
    /// CONSUME or SETTLE took a limit past its end.
    public var isOverage: Bool
    /// `nil` when not given; `WireLimits.retryNever` when no wait helps.
    public var retryAfterMilliseconds: UInt32?
    public var rateLimit: LimitSummary?
    public var quota: LimitSummary?
    public var user: String
    public var organization: String
    public var plan: String
    public var operation: String
    /// When it was asked for.
    public var explanation: [LimitEntry] = []
    /// Of what was charged or held, in micro-units of the operator's currency. `nil` where the
    /// plan has no prices or it came to nothing.
    public var costMicroUnits: UInt64?
    /// Of an allowed RESERVE.
    public var reservation: Reservation?
    /// By which the audit log knows the decision; `nil` where there is none. Of an answer that is
    /// given again, that of the first.
    public var decisionID: UInt64?
    /// What would have refused it if it were not in shadow; `nil` of a denial.
    public var wouldDeny: WouldDeny?

    init(_ body: [UInt8]) throws(ClientError) {
        var reader = ReplyReader(body)
        let verdict = try reader.integer(UInt8.self)
        let flags = try reader.integer(UInt8.self)
        reasonCode = try reader.integer(UInt16.self)
        guard verdict == 1 || verdict == 2, (verdict == 1) == (reasonCode == 0) else {
            throw .malformedReply("verdict and reason contradict")
        }
        isAllowed = verdict == Verdict.allow.rawValue
        isDryRun = flags & DecisionFlags.dryRun != 0
        isPersonal = flags & DecisionFlags.personalOrganization != 0
        isOverage = flags & DecisionFlags.overage != 0
        let retry = try reader.integer(UInt32.self)
        retryAfterMilliseconds = retry == 0 ? nil : retry
        var numbers: [UInt64] = []
        for _ in 0..<6 { numbers.append(try reader.integer(UInt64.self)) }
        var lengths: [Int] = []
        for _ in 0..<6 { lengths.append(Int(try reader.integer(UInt8.self))) }
        _ = try reader.bytes(2)
        user = try reader.text(lengths[0])
        organization = try reader.text(lengths[1])
        plan = try reader.text(lengths[2])
        let rateName = try reader.text(lengths[3])
        let quotaName = try reader.text(lengths[4])
        operation = try reader.text(lengths[5])
        if flags & DecisionFlags.rateLimit != 0 {
            rateLimit = LimitSummary(
                name: rateName, limit: numbers[0], remaining: numbers[1],
                resetMilliseconds: numbers[2])
        }
        if flags & DecisionFlags.quota != 0 {
            quota = LimitSummary(
                name: quotaName, limit: numbers[3], remaining: numbers[4],
                resetMilliseconds: numbers[5])
        }
        let fields = try reader.extensions(known: [
            ExtensionTag.explain, ExtensionTag.cost, ExtensionTag.reservation,
            ExtensionTag.decisionID, ExtensionTag.wouldDeny,
        ])
        if let value = fields[ExtensionTag.explain] { explanation = try LimitEntry.list(value) }
        if let value = fields[ExtensionTag.cost] {
            var cost = ReplyReader(value)
            costMicroUnits = try cost.integer(UInt64.self)
            guard cost.isAtEnd else { throw .malformedReply("bytes behind the cost") }
        }
        if let value = fields[ExtensionTag.decisionID] {
            var id = ReplyReader(value)
            decisionID = try id.integer(UInt64.self)
            guard id.isAtEnd else { throw .malformedReply("bytes behind the decision's id") }
        }
        if let value = fields[ExtensionTag.wouldDeny] {
            guard isAllowed else { throw .malformedReply("a denial that would be one") }
            wouldDeny = try WouldDeny(value)
        }
        if let value = fields[ExtensionTag.reservation] {
            guard isAllowed else { throw .malformedReply("a denial with a reservation") }
            reservation = try Reservation(value)
        }
    }
}

/// What is in shadow and would have refused.
public struct WouldDeny: Sendable, Equatable {
    public var reasonCode: UInt16
    /// `nil` when the daemon has one that this client does not know.
    public var reason: Reason? { Reason(rawValue: reasonCode) }
    /// The limit's name; `nil` where it is the operation's permission.
    public var limit: String?

    init(_ value: [UInt8]) throws(ClientError) {
        var reader = ReplyReader(value)
        reasonCode = try reader.integer(UInt16.self)
        let nameBytes = Int(try reader.integer(UInt8.self))
        _ = try reader.bytes(1)
        let name = try reader.text(nameBytes)
        guard reader.isAtEnd else { throw .malformedReply("bytes behind the limit's name") }
        limit = name.isEmpty ? nil : name
    }
}

/// What USAGE answers.
public struct UsageReport: Sendable, Equatable {
    /// Empty when the caller is not known and no plan was named.
    public var plan: String
    public var limits: [LimitEntry]
    /// Grants of units beyond its quotas, in the order in which they burn.
    public var credits: [CreditEntry] = []

    init(_ body: [UInt8]) throws(ClientError) {
        var reader = ReplyReader(body)
        let count = try reader.integer(UInt16.self)
        let planBytes = Int(try reader.integer(UInt8.self))
        _ = try reader.bytes(5)
        plan = try reader.text(planBytes)
        limits = []
        for _ in 0..<count { limits.append(try LimitEntry(&reader)) }
        let fields = try reader.extensions(known: [ExtensionTag.credits])
        guard let value = fields[ExtensionTag.credits] else { return }
        var grants = ReplyReader(value)
        for _ in 0..<(try grants.integer(UInt16.self)) { credits.append(try CreditEntry(&grants)) }
        guard grants.isAtEnd else { throw .malformedReply("bytes behind the credits") }
    }
}

/// A grant of units beyond a quota that can be used, now or later.
public struct CreditEntry: Sendable, Equatable {
    public var quota: String
    public var id: String
    /// The lower burns first.
    public var priority: UInt8
    /// Now; else from `effectiveAt` on.
    public var isUsable: Bool
    public var units: UInt64
    /// Of the units.
    public var burnt: UInt64
    public var effectiveAt: Timestamp
    /// It can be used strictly before; `nil`: it never ends.
    public var expiresAt: Timestamp?

    init(_ reader: inout ReplyReader) throws(ClientError) {
        let (quotaBytes, idBytes) = (
            Int(try reader.integer(UInt8.self)), Int(try reader.integer(UInt8.self))
        )
        priority = try reader.integer(UInt8.self)
        isUsable = try reader.integer(UInt8.self) != 0
        _ = try reader.bytes(4)
        units = try reader.integer(UInt64.self)
        burnt = try reader.integer(UInt64.self)
        effectiveAt = Timestamp(milliseconds: Int64(clamping: try reader.integer(UInt64.self)))
        let expires = try reader.integer(UInt64.self)
        expiresAt = expires == .max ? nil : Timestamp(milliseconds: Int64(clamping: expires))
        quota = try reader.text(quotaBytes)
        id = try reader.text(idBytes)
    }
}

/// One number of STATS.
public struct StatisticEntry: Sendable, Equatable {
    public var name: String
    public var value: UInt64
    public var isGauge: Bool

    static func list(_ body: [UInt8]) throws(ClientError) -> [StatisticEntry] {
        var reader = ReplyReader(body)
        var entries: [StatisticEntry] = []
        for _ in 0..<(try reader.integer(UInt32.self)) {
            let kind = try reader.integer(UInt8.self)
            let nameBytes = Int(try reader.integer(UInt8.self))
            let value = try reader.integer(UInt64.self)
            guard kind == 1 || kind == 2 else { throw .malformedReply("a number's kind") }
            entries.append(
                StatisticEntry(name: try reader.text(nameBytes), value: value, isGauge: kind == 2))
        }
        _ = try reader.extensions()
        return entries
    }
}

extension [StatisticEntry] {
    /// Numbers that the daemon has besides, and that found no room in its reply: what is not here
    /// need not be 0.
    public var leftOut: UInt64 { first { $0.name == "tollgate_stats_left_out" }?.value ?? 0 }
}

/// Reads a reply's body from front to back.
struct ReplyReader {
    private let body: [UInt8]
    private var at = 0

    init(_ body: [UInt8]) { self.body = body }

    var isAtEnd: Bool { at == body.count }

    mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type
    ) throws(ClientError) -> T {
        let size = MemoryLayout<T>.size
        guard body.count - at >= size else { throw .malformedReply("it ends too early") }
        let value = body.withUnsafeBytes { $0.loadLittle(at: at, as: type) }
        at += size
        return value
    }

    mutating func bytes(_ count: Int) throws(ClientError) -> [UInt8] {
        guard body.count - at >= count else { throw .malformedReply("it ends too early") }
        defer { at += count }
        return Array(body[at..<(at + count)])
    }

    /// The known ones of the extension fields that end a body, by their tag. The others are
    /// skipped, unless one is critical.
    mutating func extensions(known: [UInt8] = []) throws(ClientError) -> [UInt8: [UInt8]] {
        var found: [UInt8: [UInt8]] = [:]
        while !isAtEnd {
            let tag = try integer(UInt8.self)
            let flags = try integer(UInt8.self)
            let value = try bytes(Int(try integer(UInt16.self)))
            if known.contains(tag) {
                guard found.updateValue(value, forKey: tag) == nil else {
                    throw .malformedReply("an extension field comes twice")
                }
            } else if flags & ExtensionFlags.critical != 0 {
                throw .malformedReply("a critical extension field that is not known")
            }
        }
        return found
    }

    mutating func text(_ count: Int) throws(ClientError) -> String {
        guard let text = String(validating: try bytes(count), as: UTF8.self) else {
            throw .malformedReply("a text is not UTF-8")
        }
        return text
    }
}
