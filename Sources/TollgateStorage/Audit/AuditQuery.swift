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

    package init() {}

    /// Of a block or segment: whether a decision between two wall clocks may be wanted.
    func mayMatch(first: Int64, last: Int64) -> Bool {
        if let since, last < since.milliseconds { return false }
        if let until, first >= until.milliseconds { return false }
        return true
    }

    /// What can be told before names are looked up.
    func matches(_ record: AuditPageRecord, _ page: AuditPage) -> Bool {
        let head = record.head
        guard mayMatch(first: head.wallMilliseconds, last: head.wallMilliseconds) else {
            return false
        }
        if let id, head.id != id { return false }
        if let reasons, !reasons.contains(head.reason) { return false }
        if let isDenied, isDenied != (head.reason != 0) { return false }
        if isShadow, !head.flags.contains(.shadow) { return false }
        if let kinds, !kinds.contains(where: { $0.rawValue == head.kind }) { return false }
        if let addresses, !Self.isAddress(of: head, in: addresses) { return false }
        if let hold, record.hold.map({ $0.elementsEqual(hold) }) != true { return false }
        if let keyID, record.key.map({ $0.elementsEqual(keyID.utf8) }) != true { return false }
        if let organization,
            !page.organizations[record.organization].elementsEqual(organization.utf8)
        {
            return false
        }
        if let user, !page.users[record.user].elementsEqual(user.utf8) { return false }
        return true
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

/// What a query cost.
package struct AuditScan: Sendable, Equatable {
    package var matched = 0
    package var segments = 0
    /// Blocks of records that were read.
    package var blocks = 0
}
