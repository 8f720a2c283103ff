import TollgateCore

/// Which decisions are wanted: all that meet every condition that is there.
package struct AuditQuery: Sendable, Equatable {
    /// Wall clock, from, and up to but not with.
    package var since: WallTime?
    package var until: WallTime?
    package var organization: String?
    package var user: String?
    package var keyID: String?
    package var operation: String?
    package var plan: String?
    /// The caller's address is one of these; one without an address meets no such condition.
    package var addresses: AddressBlock?
    /// Raw values of `Reason`, any of them; 0: allowed.
    package var reasons: Set<UInt16>?
    package var isDenied: Bool?
    /// Allowed because what would have refused it is in shadow.
    package var isShadow = false
    package var kinds: Set<AuditKind>?
    /// 16 bytes.
    package var hold: [UInt8]?
    package var id: UInt64?
    /// At most so many; `nil`: all.
    package var limit: Int?
    /// In the order of the log, or the other way round.
    package var isNewestFirst = false
    /// What is damaged is left out, and told of, and does not end the answer. A name that stood
    /// there is `#` and its number.
    package var skipsDamaged = false

    package init() {}

    /// Of a block or segment: whether a decision between two wall clocks may be wanted.
    func mayMatch(first: Int64, last: Int64) -> Bool {
        if let since, last < since.milliseconds { return false }
        if let until, first >= until.milliseconds { return false }
        return true
    }

    /// What can be told before names are looked up. `wanted`: what the page's names are that are
    /// asked for.
    func matches(_ record: AuditPageRecord, _ wanted: AuditWanted) -> Bool {
        let head = record.head
        guard mayMatch(first: head.wallMilliseconds, last: head.wallMilliseconds) else {
            return false
        }
        if let number = wanted.organization, number != record.organization { return false }
        if let number = wanted.user, number != record.user { return false }
        if let number = wanted.key, number != record.key { return false }
        if let id, head.id != id { return false }
        if let reasons, !reasons.contains(head.reason) { return false }
        if let isDenied, isDenied != (head.reason != 0) { return false }
        if isShadow, !head.flags.contains(.shadow) { return false }
        if let kinds, !kinds.contains(where: { $0.rawValue == head.kind }) { return false }
        if let addresses, !Self.isAddress(of: head, in: addresses) { return false }
        if let hold, record.hold.map({ $0.elementsEqual(hold) }) != true { return false }
        return true
    }

    /// The names that are asked for.
    var names: [(kind: AuditNameKind, name: [UInt8])] {
        [
            (AuditNameKind.organizations, organization), (.users, user), (.keys, keyID),
        ].compactMap { kind, name in name.map { (kind, Array($0.utf8)) } }
    }

    func matches(_ record: AuditRecord) -> Bool {
        (operation ?? record.operation) == record.operation && (plan ?? record.plan) == record.plan
    }

    private static func isAddress(of head: AuditHead, in block: AddressBlock) -> Bool {
        let count = head.addressFamily == 4 ? 4 : head.addressFamily == 6 ? 16 : 0
        return withUnsafeBytes(of: (head.addressHigh, head.addressLow)) {
            block.contains(UnsafeRawBufferPointer(rebasing: $0.prefix(count)))
        }
    }
}

/// The names that a query asks for, as numbers of a segment, or, of version 1, as places in the
/// tables of a page; `nil`: it does not ask.
struct AuditWanted {
    var organization: Int?
    var user: Int?
    var key: Int?

    subscript(_ kind: AuditNameKind) -> Int? {
        get {
            switch kind {
            case .organizations: organization
            case .users: user
            case .keys: key
            }
        }
        set {
            switch kind {
            case .organizations: organization = newValue
            case .users: user = newValue
            case .keys: key = newValue
            }
        }
    }
}

/// What a query cost.
package struct AuditScan: Sendable, Equatable {
    package var matched = 0
    package var segments = 0
    /// Blocks of records that were read.
    package var blocks = 0
    package var leftOut: [AuditLeftOut] = []

    package init() {}
}
