import Glibc
import TollgateCore
import TollgateWire

/// A decision, as the log has it: all of its entry, with names for what were indices. An index of
/// which no name is known is `#` and the number.
package struct AuditRecord: Sendable, Equatable {
    /// A limit that is shown with the decision, or that refused.
    package struct Shown: Sendable, Equatable {
        package var name: String
        package var limit: UInt64
        package var used: UInt64
    }

    package struct Charge: Sendable, Equatable {
        package var meter: String
        package var units: UInt64
        package var weighted: UInt64
    }

    /// Where a limit stood.
    package struct Standing: Sendable, Equatable {
        package var limit: String
        package var meter: String?
        /// `LimitKind` and `LimitScope`, raw; a kind of 0 is not known.
        package var kind: UInt8
        package var scope: UInt8
        package var refuses: Bool
        package var isShadow: Bool
        package var used: UInt64
        package var held: UInt64
        package var most: UInt64
    }

    package var kind: AuditKind
    package var flags: AuditFlags
    /// The true one; 0: allowed.
    package var reason: UInt16
    package var id: UInt64
    package var wall: WallTime
    package var bootNanoseconds: UInt64
    package var generation: UInt32
    package var latencyNanoseconds: UInt32
    /// Place among the decisions of the organization's shard; 0: it came not so far.
    package var order: UInt64
    /// Of the daemon that decided it: random, another after each start. All of one life stand in
    /// the log before those of the next, and share a boottime that only goes on.
    package var life: UInt64
    package var plan: String?
    package var operation: String?
    package var rate: Shown?
    package var quota: Shown?
    /// Micro-units of money.
    package var cost: UInt64
    package var retryMilliseconds: UInt32
    /// `CredentialKind`, raw.
    package var credentialKind: UInt8
    package var issuer: String?
    /// 0, 4 or 6, and the address in network order, as it stands in memory.
    package var addressFamily: UInt8
    package var addressHigh: UInt64
    package var addressLow: UInt64
    package var charges: [Charge]
    package var standings: [Standing]
    /// 16 bytes each.
    package var hold: [UInt8]?
    package var idempotency: [UInt8]?
    package var keyID: String?
    package var organization: String
    package var user: String
    /// Where it stands.
    package var segment: UInt64
    package var block: UInt64

    package var isAllowed: Bool { reason == 0 }

    /// Of a decision that only shadow let through: the limits that would have refused it, and
    /// `permission`.
    package var wouldDeny: [String] {
        guard flags.contains(.shadow) else { return [] }
        return standings.filter { $0.refuses && $0.isShadow }.map(\.limit)
    }

    /// The credential had not the operation's permission: that denied it, or would have.
    package var isWithoutPermission: Bool {
        if reason == Reason.permissionDenied.rawValue { return true }
        return flags.contains(.shadow)
            && standings.contains { $0.kind == 0 && $0.scope == 0 && $0.limit == Self.permission }
    }

    /// What stands for the operation's permission among standings.
    package static let permission = "permission"

    /// As it is written; `nil` without one.
    package var address: String? {
        guard addressFamily == 4 || addressFamily == 6 else { return nil }
        return withUnsafeBytes(of: (addressHigh, addressLow)) { bytes in
            withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
                let family = addressFamily == 4 ? AF_INET : AF_INET6
                guard let base = text.baseAddress,
                    let made = inet_ntop(
                        family, bytes.baseAddress, base, socklen_t(INET6_ADDRSTRLEN))
                else { return nil }
                return String(cString: made)
            }
        }
    }

    /// Whose it is: names instead of numbers.
    struct Owner {
        var organization: String
        var user: String
        var keyID: String?
    }

    /// What the page has, with names of its generation.
    init(
        _ record: AuditPageRecord, life: UInt64, _ owner: Owner, _ names: AuditNames?,
        segment: UInt64, block: UInt64
    ) {
        let head = record.head
        kind = AuditKind(rawValue: head.kind) ?? .check
        flags = head.flags
        reason = head.reason
        id = head.id
        wall = WallTime(milliseconds: head.wallMilliseconds)
        bootNanoseconds = head.bootNanoseconds
        generation = head.generation
        latencyNanoseconds = head.latencyNanoseconds
        order = head.order
        self.life = life
        plan = Self.name(head.plan, names?.plans)
        operation = Self.name(head.operation, names?.operations)
        rate = Self.limit(head.rate, names).map {
            Shown(name: $0, limit: head.rateLimit, used: head.rateUsed)
        }
        quota = Self.limit(head.quota, names).map {
            Shown(name: $0, limit: head.quotaLimit, used: head.quotaUsed)
        }
        cost = head.cost
        retryMilliseconds = head.retryMilliseconds
        credentialKind = head.credentialKind
        issuer = Self.name(head.issuer, names?.issuers)
        addressFamily = head.addressFamily
        addressHigh = head.addressHigh
        addressLow = head.addressLow
        charges = record.charges.map {
            Charge(
                meter: Self.named($0.meter, names?.meters), units: $0.units,
                weighted: $0.weighted)
        }
        standings = record.standings.map { Self.standing($0, names) }
        hold = record.hold.map(Array.init)
        idempotency = record.idempotency.map(Array.init)
        keyID = owner.keyID
        organization = owner.organization
        user = owner.user
        self.segment = segment
        self.block = block
    }

    private static func standing(_ standing: AuditStanding, _ names: AuditNames?) -> Standing {
        let limits = names?.limits ?? []
        let limit = Int(standing.limit) < limits.count ? limits[Int(standing.limit)] : nil
        return Standing(
            limit: standing.limit == AuditHead.none
                ? permission : limit?.name ?? "#\(standing.limit)", meter: limit?.meter,
            kind: limit?.kind ?? 0, scope: standing.scope,
            refuses: standing.flags & AuditStanding.refuses != 0,
            isShadow: standing.flags & AuditStanding.shadow != 0, used: standing.used,
            held: standing.held, most: standing.most)
    }

    private static func limit(_ index: UInt16, _ names: AuditNames?) -> String? {
        guard index != AuditHead.none else { return nil }
        guard let limits = names?.limits, Int(index) < limits.count else { return "#\(index)" }
        return limits[Int(index)].name
    }

    private static func name(_ index: UInt16, _ names: [String]?) -> String? {
        index == AuditHead.none ? nil : named(index, names)
    }

    private static func named(_ index: UInt16, _ names: [String]?) -> String {
        guard let names, Int(index) < names.count else { return "#\(index)" }
        return names[Int(index)]
    }
}
