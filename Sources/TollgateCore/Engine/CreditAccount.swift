/// One grant of units, and what is burnt of it. Its content never changes but for `burnt` and
/// `flags`; what is burnt is in the journal, all else in the directory.
///
/// Invariant: `burnt ≤ units` of one that is defined.
struct GrantCell: BitwiseCopyable {
    static let idBytesMax = 40
    /// The directory says what it is. One that was read from a ledger and is in no directory stays
    /// as it is, burns no more, and goes on where it was if it comes again.
    static let defined: UInt8 = 1
    static let voided: UInt8 = 2

    var id = InlineArray<40, UInt8>(repeating: 0)
    var units: UInt64 = 0
    var burnt: UInt64 = 0
    /// Billing time in milliseconds: it can be used from `effective` on and before `expires`, which
    /// is `Int64.max` where it never ends.
    var effective: Int64 = 0
    var expires = Int64.max
    var created: Int64 = 0
    /// What it is granted in: `CreditAccount.meterTag`.
    var meter: UInt32 = 0
    var idBytes: UInt8 = 0
    var priority: UInt8 = 0
    var flags: UInt8 = 0
    var spare: UInt8 = 0

    var left: UInt64 { units &- min(units, burnt) }

    /// It can be used, now or later.
    @inline(__always)
    func isActive(at now: Int64) -> Bool {
        flags & (Self.defined | Self.voided) == Self.defined && now < expires && burnt < units
    }

    @inline(__always)
    func isUsable(at now: Int64) -> Bool { isActive(at: now) && effective <= now }

    func hasID(_ other: UnsafeRawBufferPointer) -> Bool {
        withUnsafeBytes(of: id) {
            equalBytes(UnsafeRawBufferPointer(rebasing: $0[..<Int(idBytes)]), other)
        }
    }

    /// Whether it burns before another: by priority, then the earlier end, then age.
    func burnsBefore(_ other: GrantCell) -> Bool {
        if priority != other.priority { return priority < other.priority }
        if expires != other.expires { return expires < other.expires }
        if created != other.created { return created < other.created }
        for index in 0..<Self.idBytesMax where id[index] != other.id[index] {
            return id[index] < other.id[index]
        }
        return false
    }
}

/// What burnt of all grants in one period of one counter, whose end it names.
struct CreditPeriod: BitwiseCopyable {
    /// `CreditAccount.tag` of the quota's counter; 0: none.
    var tag: UInt64
    var end: Int64
    var burnt: UInt64
}

/// What an account begins with. A quota's name is that of one counter; there are two places, so
/// that a policy may be edited and edited back in a period.
struct CreditHead: BitwiseCopyable {
    var count: UInt16
    /// The first so many may be used, now or later, and stand in the order in which they burn; the
    /// others were over when the order was last made.
    var active: UInt16
    var spare: UInt32
    var periods: (CreditPeriod, CreditPeriod)
}

/// The grants of one organization beyond one of its quotas: a row of its tenant shard, of kind
/// `credits`, whose id is the quota's name and whose owner is the organization. It stands beside
/// the organization's own row, so it outlives every plan and policy, and is as durable as what is
/// used.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 56 | `CreditHead` |
/// | 56 | 88 each | `GrantCell` |
///
/// A view of memory that a `RowTable` owns; valid under that table's lock.
struct CreditAccount: BitwiseCopyable {
    let row: Row

    /// An account has room for so many from the start: its row never moves, which a snapshot that
    /// is being taken could miss.
    static let grantsMax = 16
    /// Of one account, that can be used now or later.
    static let activeMax = 8
    /// Bytes of a journal's item, behind which the grant's id stands.
    static let itemBytes = 36
    /// `burnt` of an item after which the grant is forgotten.
    static let forgotten = UInt64.max

    private static let headBytes = MemoryLayout<CreditHead>.stride

    init(_ row: Row) { self.row = row }

    static let bytes = headBytes + grantsMax * MemoryLayout<GrantCell>.stride
    static let layout = RowLayout([CounterSlot(identity: "g", kind: .grants)])

    /// Of a counter's identity.
    static func tag(_ identity: String) -> UInt64 {
        var identity = identity
        return identity.withUTF8 { TollgateCore.meterTag(UnsafeRawBufferPointer($0)) }
    }

    static func meterTag(_ meter: String) -> UInt32 {
        UInt32(truncatingIfNeeded: tag(meter))
    }

    var head: UnsafeMutablePointer<CreditHead> {
        row.counters.assumingMemoryBound(to: CreditHead.self)
    }

    var grants: UnsafeMutablePointer<GrantCell> {
        (row.counters + Self.headBytes).assumingMemoryBound(to: GrantCell.self)
    }

    var count: Int { Int(head.pointee.count) }
    var active: Int { Int(head.pointee.active) }

    // MARK: periods

    /// What burnt in the period of a counter that ends so.
    func burnt(_ tag: UInt64, end: Int64) -> UInt64 {
        let periods = head.pointee.periods
        if periods.0.tag == tag, periods.0.end == end { return periods.0.burnt }
        if periods.1.tag == tag, periods.1.end == end { return periods.1.burnt }
        return 0
    }

    /// Of one counter the latest period is known.
    func setBurnt(_ tag: UInt64, end: Int64, _ burnt: UInt64) {
        let made = CreditPeriod(tag: tag, end: end, burnt: burnt)
        let periods = head.pointee.periods
        if periods.0.tag == tag {
            head.pointee.periods.0 = made
        } else if periods.1.tag == tag || periods.1.end <= periods.0.end {
            head.pointee.periods.1 = made
        } else {
            head.pointee.periods.0 = made
        }
    }

    // MARK: grants

    /// Units of a meter that can be used at an instant.
    func left(_ meter: UInt32, at now: Int64) -> UInt64 {
        var sum: UInt64 = 0
        for index in 0..<active where grants[index].meter == meter {
            if grants[index].isUsable(at: now) { sum = sum.addingClamped(grants[index].left) }
        }
        return sum
    }

    func find(_ id: UnsafeRawBufferPointer) -> Int? {
        (0..<count).first { grants[$0].hasID(id) }
    }

    var isFull: Bool { count >= Self.grantsMax }

    /// Adds one where there is room.
    func append(_ grant: GrantCell) {
        grants[count] = grant
        head.pointee.count &+= 1
    }

    func remove(at index: Int) {
        for next in (index + 1)..<max(count, index + 1) { grants[next - 1] = grants[next] }
        head.pointee.count &-= 1
        head.pointee.active = 0
    }

    /// Puts those that can be used first, in the order in which they burn. Of few: by insertion.
    func sort(at now: Int64) {
        func stands(_ a: GrantCell, before b: GrantCell) -> Bool {
            let (isA, isB) = (a.isActive(at: now), b.isActive(at: now))
            return isA == isB ? a.burnsBefore(b) : isA
        }
        for index in 0..<count {
            let grant = grants[index]
            var place = index
            while place > 0, stands(grant, before: grants[place - 1]) {
                grants[place] = grants[place - 1]
                place -= 1
            }
            grants[place] = grant
        }
        var active: UInt16 = 0
        for index in 0..<count where grants[index].isActive(at: now) { active &+= 1 }
        head.pointee.active = active
    }

    /// Nothing was ever granted.
    func clear() {
        let none = CreditPeriod(tag: 0, end: 0, burnt: 0)
        head.pointee = CreditHead(count: 0, active: 0, spare: 0, periods: (none, none))
    }

    func copy(to other: CreditAccount) {
        other.head.pointee = head.pointee
        for index in 0..<count { other.grants[index] = grants[index] }
    }

    /// Of a row that was read from a disk: false when it contradicts itself. Nothing is defined
    /// before the directory says what it is.
    func restore() -> Bool {
        guard count <= Self.grantsMax else { return false }
        head.pointee.active = 0
        for index in 0..<count {
            guard Int(grants[index].idBytes) <= GrantCell.idBytesMax else { return false }
            grants[index].flags = 0
        }
        return true
    }
}

extension TenantHash {
    /// The row of what is granted beyond a quota.
    func creditsKey(_ quota: UnsafeRawBufferPointer, _ keyed: KeyedHash) -> RowKey {
        RowKey(kind: .credits, owner: fingerprint, id: quota, hash: keyed.hash(quota, tweak: hash))
    }
}
