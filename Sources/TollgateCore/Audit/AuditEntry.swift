import TollgateWire

/// What an entry of the audit ring tells of.
package enum AuditKind: UInt8, Sendable, CaseIterable {
    case check = 1
    case consume = 2
    case reserve = 3
    case extend = 4
    case settle = 5
    case cancel = 6
    /// A hold that nobody ended: its time was over, or its connection was gone.
    case cut = 7
}

/// What is special about a decision.
package struct AuditFlags: OptionSet, BitwiseCopyable, Sendable {
    package let rawValue: UInt8
    @inlinable
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Nothing was charged: it was only asked.
    package static let dryRun = AuditFlags(rawValue: 1 << 0)
    /// The organization is the user's own.
    package static let personal = AuditFlags(rawValue: 1 << 1)
    /// Taken beyond a limit: of a soft quota, or of what was used already.
    package static let overage = AuditFlags(rawValue: 1 << 2)
    /// An answer that was given before, to a request with the same idempotency id: nothing was
    /// charged again.
    package static let repeated = AuditFlags(rawValue: 1 << 3)
    /// Behind the charges and standings stands the id of the hold that it is about.
    @inlinable
    package static var hold: AuditFlags { AuditFlags(rawValue: 1 << 4) }
    /// Behind it stands the request's idempotency id.
    @inlinable
    package static var idempotencyID: AuditFlags { AuditFlags(rawValue: 1 << 5) }
    /// Behind it stands the id of the API key.
    @inlinable
    package static var keyID: AuditFlags { AuditFlags(rawValue: 1 << 6) }
    /// It is allowed because what would have refused it is in shadow: its standings say what.
    package static let shadow = AuditFlags(rawValue: 1 << 7)
}

/// The fixed part of an entry, as it stands in a ring. All numbers are little-endian. Behind it,
/// without gaps: charges, standings, hold id, idempotency id, key id, organization, user. Behind
/// that, at the next multiple of 8, for alerts alone and not for the log: how each quota in shadow
/// stands after the decision, at most `shadowQuotasMax`, as standings, to the entry's end.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4 | bytes of the whole entry, a multiple of 8; 2^32 - 1: to the ring's end is left out |
/// | 4 | 1 | `AuditKind` |
/// | 5 | 1 | `AuditFlags` |
/// | 6 | 2 | reason, the true one; 0: allowed |
/// | 8 | 8 | decision id |
/// | 16 | 8 | wall clock, milliseconds since 1970 |
/// | 24 | 8 | boottime, nanoseconds |
/// | 32 | 4 | generation of the policy, whose indices follow |
/// | 36 | 4 | nanoseconds from the turn's beginning to just before the reply left |
/// | 40 | 8 | place among all decisions of the organization's shard; 0: it came not so far |
/// | 48 | 2 | plan; 65,535: none |
/// | 50 | 2 | operation; 65,535: none |
/// | 52 | 2 | rate limit shown, or that refused; 65,535: none |
/// | 54 | 2 | quota shown, or that refused; 65,535: none |
/// | 56 | 8 | its limit: of the rate limit |
/// | 64 | 8 | used of it, after the decision |
/// | 72 | 8 | its limit: of the quota |
/// | 80 | 8 | used and held of it, after the decision |
/// | 88 | 8 | cost, micro-units of money |
/// | 96 | 4 | retry after, milliseconds |
/// | 100 | 1 | `CredentialKind` |
/// | 101 | 1 | bits 0 to 2: address family: 0, 4, 6; bits 3 to 7: whole days of the quota's period,
/// 1 to 31; 0: unknown, or it never ends |
/// | 102 | 1 | bytes of the organization |
/// | 103 | 1 | bytes of the user |
/// | 104 | 1 | number of charges |
/// | 105 | 1 | number of standings |
/// | 106 | 2 | issuer of an access token; 65,535: none |
/// | 108 | 4 | seconds until the quota's period ends, begun ones too; 0: unknown, or never |
/// | 112 | 16 | address, in network order, zeros behind an IPv4 address |
package struct AuditHead: BitwiseCopyable, Sendable {
    package static let bytes = 128
    package static let none = UInt16.max

    package var bytes: UInt32 = 0
    package var kind: UInt8 = 0
    package var flags = AuditFlags()
    package var reason: UInt16 = 0
    package var id: UInt64 = 0
    package var wallMilliseconds: Int64 = 0
    package var bootNanoseconds: UInt64 = 0
    package var generation: UInt32 = 0
    package var latencyNanoseconds: UInt32 = 0
    package var order: UInt64 = 0
    package var plan = AuditHead.none
    package var operation = AuditHead.none
    package var rate = AuditHead.none
    package var quota = AuditHead.none
    package var rateLimit: UInt64 = 0
    package var rateUsed: UInt64 = 0
    package var quotaLimit: UInt64 = 0
    package var quotaUsed: UInt64 = 0
    package var cost: UInt64 = 0
    package var retryMilliseconds: UInt32 = 0
    package var credentialKind: UInt8 = 0
    @usableFromInline var familyAndDays: UInt8 = 0
    package var organizationBytes: UInt8 = 0
    package var userBytes: UInt8 = 0
    package var chargeCount: UInt8 = 0
    package var standingCount: UInt8 = 0
    package var issuer = AuditHead.none
    package var quotaResetSeconds: UInt32 = 0
    package var addressHigh: UInt64 = 0
    package var addressLow: UInt64 = 0

    package init() {}

    /// 0, 4 or 6.
    @inlinable
    package var addressFamily: UInt8 {
        get { familyAndDays & 7 }
        set { familyAndDays = familyAndDays & ~7 | newValue & 7 }
    }

    /// How long the quota's period is, whole days, 1 to 31; 0: unknown, or it never ends.
    package var quotaPeriodDays: UInt8 {
        get { familyAndDays &>> 3 }
        set { familyAndDays = familyAndDays & 7 | newValue &<< 3 }
    }
}

/// What a decision charged of one meter, or was asked to.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 2 | meter |
/// | 2 | 6 | spare, 0 |
/// | 8 | 8 | units as they were named, or the operation's own |
/// | 16 | 8 | the same, weighted: what was counted |
package struct AuditCharge: BitwiseCopyable, Sendable, Equatable {
    package static let bytes = 24

    package var meter: UInt16
    private var spare: UInt16 = 0
    private var spare2: UInt32 = 0
    package var units: UInt64
    package var weighted: UInt64

    package init(meter: UInt16, units: UInt64, weighted: UInt64) {
        self.meter = meter
        self.units = units
        self.weighted = weighted
    }
}

/// Where one limit stood when a decision looked at it. Of decisions that deny, and of those that
/// only shadow let through, every limit of the stages in which one refuses.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 2 | limit; 65,535: the operation's permission |
/// | 2 | 1 | `LimitScope` |
/// | 3 | 1 | bit 0: it refuses; bit 1: it is in shadow, and would have |
/// | 4 | 4 | of a quota in shadow, for alerts: bits 0 to 26 seconds until its period ends, begun
/// ones too, bits 27 to 31 whole days of the period; 0: unknown, or it never ends; else spare, 0 |
/// | 8 | 8 | used |
/// | 16 | 8 | held |
/// | 24 | 8 | limit |
package struct AuditStanding: BitwiseCopyable, Sendable, Equatable {
    package static let bytes = 32
    package static let refuses: UInt8 = 1
    package static let shadow: UInt8 = 2

    package var limit: UInt16
    package var scope: UInt8
    package var flags: UInt8
    private var period: UInt32 = 0
    package var used: UInt64
    package var held: UInt64
    package var most: UInt64

    package init(
        limit: UInt16, scope: UInt8, flags: UInt8, used: UInt64, held: UInt64, most: UInt64
    ) {
        self.limit = limit
        self.scope = scope
        self.flags = flags
        self.used = used
        self.held = held
        self.most = most
    }

    private static let secondsMost: UInt32 = (1 << 27) - 1

    /// Until the quota's period ends; 0: unknown, or it never ends. More than four years are told
    /// as that.
    package var resetSeconds: UInt32 {
        get { period & Self.secondsMost }
        set { period = period & ~Self.secondsMost | min(newValue, Self.secondsMost) }
    }

    /// How long the quota's period is, whole days, 1 to 31; 0: unknown, or it never ends.
    package var periodDays: UInt8 {
        get { UInt8(truncatingIfNeeded: period &>> 27) }
        set { period = period & Self.secondsMost | UInt32(newValue) &<< 27 }
    }
}

/// An entry of a ring, whole. Borrows the ring's memory.
package struct AuditEntry: BitwiseCopyable {
    package static let standingsMax = 255
    /// Of a policy's plan with more quotas in shadow, alerts see the first.
    package static let shadowQuotasMax = 16
    /// The largest there is: every charge, every standing, every id, the longest names.
    package static let bytesMax =
        AuditHead.bytes + WireLimits.metersMax * AuditCharge.bytes
        + (standingsMax + shadowQuotasMax) * AuditStanding.bytes + 3 * 16
        + 2 * WireLimits.identifierBytesMax + 8

    package let head: AuditHead
    @usableFromInline let bytes: UnsafeRawBufferPointer

    /// `nil` when the bytes cannot be an entry: their lengths contradict.
    @inlinable
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= AuditHead.bytes else { return nil }
        let head = bytes.loadUnaligned(as: AuditHead.self)
        guard Int(head.bytes) <= bytes.count, head.bytes % 8 == 0,
            Self.unpaddedBytes(head) <= Int(head.bytes), AuditKind(rawValue: head.kind) != nil
        else { return nil }
        self.head = head
        self.bytes = UnsafeRawBufferPointer(rebasing: bytes[..<Int(head.bytes)])
    }

    @inlinable
    static func unpaddedBytes(_ head: AuditHead) -> Int {
        standingsOffset(head) + Int(head.standingCount) * AuditStanding.bytes
            + idCount(head.flags) * 16 + Int(head.organizationBytes) + Int(head.userBytes)
    }

    /// Without what stands behind for alerts.
    static func paddedBytes(_ head: AuditHead) -> Int { (unpaddedBytes(head) + 7) & ~7 }

    @inlinable
    static func standingsOffset(_ head: AuditHead) -> Int {
        AuditHead.bytes + Int(head.chargeCount) * AuditCharge.bytes
    }

    /// Of `hold`, `idempotencyID` and `keyID`.
    @inlinable
    static func idCount(_ flags: AuditFlags) -> Int {
        (flags.rawValue & 0b111_0000).nonzeroBitCount
    }

    package var kind: AuditKind { AuditKind(rawValue: head.kind) ?? .check }
    @inlinable
    package var chargeCount: Int { Int(head.chargeCount) }
    @inlinable
    package var standingCount: Int { Int(head.standingCount) }

    /// Traps on an index that is none.
    @inlinable
    package func charge(_ index: Int) -> AuditCharge {
        precondition(index >= 0 && index < chargeCount)
        return bytes.loadUnaligned(
            fromByteOffset: AuditHead.bytes + index * AuditCharge.bytes, as: AuditCharge.self)
    }

    /// Traps on an index that is none.
    @inlinable
    package func standing(_ index: Int) -> AuditStanding {
        precondition(index >= 0 && index < standingCount)
        return bytes.loadUnaligned(
            fromByteOffset: Self.standingsOffset(head) + index * AuditStanding.bytes,
            as: AuditStanding.self)
    }

    /// Behind all that goes into the log.
    private var shadowQuotasOffset: Int { Self.paddedBytes(head) }

    package var shadowQuotaCount: Int {
        min(Self.shadowQuotasMax, (Int(head.bytes) - shadowQuotasOffset) / AuditStanding.bytes)
    }

    /// How a quota in shadow stands after the decision. Traps on an index that is none.
    package func shadowQuota(_ index: Int) -> AuditStanding {
        precondition(index >= 0 && index < shadowQuotaCount)
        return bytes.loadUnaligned(
            fromByteOffset: shadowQuotasOffset + index * AuditStanding.bytes,
            as: AuditStanding.self)
    }

    /// 16 bytes each; `nil` where the entry has none.
    @inlinable
    package var holdID: UnsafeRawBufferPointer? { id(.hold) }
    @inlinable
    package var idempotencyID: UnsafeRawBufferPointer? { id(.idempotencyID) }
    @inlinable
    package var keyID: UnsafeRawBufferPointer? { id(.keyID) }

    @inlinable
    var idsOffset: Int {
        Self.standingsOffset(head) + standingCount * AuditStanding.bytes
    }

    @inlinable
    func id(_ flag: AuditFlags) -> UnsafeRawBufferPointer? {
        guard head.flags.contains(flag) else { return nil }
        var offset = idsOffset
        if flag != .hold, head.flags.contains(.hold) { offset += 16 }
        if flag == .keyID, head.flags.contains(.idempotencyID) { offset += 16 }
        return bytes.slice(at: offset, length: 16)
    }

    @inlinable
    package var organization: UnsafeRawBufferPointer {
        bytes.slice(
            at: idsOffset + Self.idCount(head.flags) * 16, length: Int(head.organizationBytes))
    }

    @inlinable
    package var user: UnsafeRawBufferPointer {
        bytes.slice(
            at: idsOffset + Self.idCount(head.flags) * 16 + Int(head.organizationBytes),
            length: Int(head.userBytes))
    }
}
