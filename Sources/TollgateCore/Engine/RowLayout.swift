import TollgateWire

/// Where one limit's counter stands in a row.
struct CounterSlot: Sendable, Equatable, Hashable {
    /// The limit's stable identity: counters survive a reload or a plan change where it does.
    var identity: String
    var kind: Kind
    /// Offset of the `WindowHead`, `QuotaCell` or `ConcurrencyCell` from the row's counters, in
    /// bytes.
    var headOffset = 0
    /// Offset of the window's cells from the row's counters; 0 for what has none.
    var ringOffset = 0

    enum Kind: Sendable, Equatable, Hashable {
        case window(WindowKey)
        case quota
        case concurrency
        /// A `PoolCell`; its name tells that it is one.
        case pool
        /// Of a row of credits: all of a `CreditAccount`.
        case grants

        var headBytes: Int {
            switch self {
            case .window: MemoryLayout<WindowHead>.stride
            case .quota: MemoryLayout<QuotaCell>.stride
            case .concurrency: MemoryLayout<ConcurrencyCell>.stride
            case .pool: MemoryLayout<PoolCell>.stride
            case .grants: CreditAccount.bytes
            }
        }
    }

    var window: WindowKey? {
        if case .window(let key) = kind { return key }
        return nil
    }

    /// The parts of a `WindowShape`, comparable.
    struct WindowKey: Sendable, Equatable, Hashable {
        var windowNanoseconds: UInt64
        var subBuckets: Int
        var mode: WindowMode
        /// The largest limit with cells of the same width: an edited limit keeps its layout.
        var limitCeiling: UInt64
    }

    // Names have no spaces, so no two identities are spelled alike.

    init(_ limit: RateLimitDefinition) {
        identity = "w \(limit.name) \(limit.meter)"
        kind = .window(
            WindowKey(
                windowNanoseconds: limit.windowNanoseconds, subBuckets: limit.subBuckets,
                mode: limit.mode, limitCeiling: Self.ceiling(limit.mostUnits)))
    }

    init(_ quota: QuotaDefinition) {
        identity = "q \(quota.name) \(quota.meter) \(quota.period.rawValue)"
        kind = .quota
    }

    /// What a member of an organization has used of its quota.
    init(memberOf quota: QuotaDefinition) {
        identity = "m \(quota.name) \(quota.meter) \(quota.period.rawValue)"
        kind = .quota
    }

    /// What an organization's quota knows of its members.
    init(poolOf quota: QuotaDefinition) {
        identity = "p \(quota.name) \(quota.meter) \(quota.period.rawValue)"
        kind = .pool
    }

    init(_ limit: ConcurrencyDefinition) {
        identity = "c \(limit.name)"
        kind = .concurrency
    }

    /// A counter as a ledger's files name it: what they do not, is as it was when they were made.
    init(identity: String, kind: Kind) {
        self.identity = identity
        self.kind = kind
    }

    /// A key's own limit: calls in a window of so many seconds.
    init(_ limit: KeyLimit) {
        identity = "k \(limit.seconds)"
        kind = .window(
            WindowKey(
                windowNanoseconds: UInt64(limit.seconds) * 1_000_000_000,
                subBuckets: RateLimitDefinition.subBucketsDefault, mode: .strict,
                limitCeiling: Self.ceiling(limit.units)))
    }

    var shape: WindowShape? {
        window.map {
            WindowShape.make(
                windowNanoseconds: $0.windowNanoseconds, subBuckets: $0.subBuckets, mode: $0.mode,
                limit: $0.limitCeiling)
        }
    }

    /// Whether the same counter stands there, wherever in the row.
    func isSameCounter(as other: CounterSlot) -> Bool {
        identity == other.identity && kind == other.kind
    }

    /// The same counter with cells as wide as the wider of the two: of limits of one name, each
    /// counts in the same cells.
    mutating func widen(to other: CounterSlot) {
        guard case .window(let wide) = other.kind, case .window(var key) = kind else { return }
        key.limitCeiling = max(key.limitCeiling, wide.limitCeiling)
        kind = .window(key)
    }

    private static func ceiling(_ limit: UInt64) -> UInt64 {
        limit <= 32_767 ? 32_767 : limit <= 0x7fff_ffff ? 0x7fff_ffff : .max
    }
}

extension CounterSlot {
    /// Copies a counter from where it stands in one row to where it stands in another.
    static func migrate(
        _ old: CounterSlot, of from: Row, to new: CounterSlot, of to: Row, now: BootTime
    ) {
        switch (old.kind, new.kind) {
        case (.quota, .quota):
            to.quota(new.headOffset).pointee = from.quota(old.headOffset).pointee
        case (.pool, .pool):
            to.pool(new.headOffset).pointee = from.pool(old.headOffset).pointee
        case (.grants, .grants): CreditAccount(from).copy(to: CreditAccount(to))
        case (.concurrency, .concurrency):
            to.concurrency(new.headOffset).pointee = from.concurrency(old.headOffset).pointee
        case (.window, .window):
            guard let a = old.shape, let b = new.shape else { return }
            Window.migrate(
                from.head(old.headOffset), from.counters + old.ringOffset, a,
                to: to.head(new.headOffset), to.counters + new.ringOffset, b, now: now)
        default: return
        }
    }

    /// Whether what it counts in a row stays though the policy has it no more: a quota while its
    /// period goes on, or, of one that never ends, something is used or held; open reservations
    /// while there are any.
    func isCounting(in row: Row, at wall: WallTime) -> Bool {
        switch kind {
        case .quota:
            let cell = row.quota(headOffset).pointee
            return !cell.isOver(wall) && (cell.endSeconds != .max || cell.occupied > 0)
        case .concurrency: return row.concurrency(headOffset).pointee.open > 0
        case .window, .pool, .grants: return false
        }
    }
}

/// The shape of a row's counters: heads and quotas first, so that they share the row's first
/// cache lines, then the windows' cells. Immutable once made; rows name it by its number.
struct RowLayout: Sendable, Equatable, Hashable {
    private(set) var slots: [CounterSlot]
    /// Bytes of all counters, a multiple of 8.
    private(set) var bytes: Int

    /// Lays out the slots in their order; their offsets are set here.
    init(_ unplaced: [CounterSlot]) {
        var slots = unplaced
        var end = 0
        for index in slots.indices {
            slots[index].headOffset = end
            end += slots[index].kind.headBytes
        }
        for index in slots.indices {
            guard let shape = slots[index].shape else { continue }
            slots[index].ringOffset = end
            end += shape.ringBytes
        }
        self.slots = slots
        bytes = end
    }

    func slot(_ identity: String) -> CounterSlot? { slots.first { $0.identity == identity } }
}

/// Where a step's counter stands in the rows of one layout, in bytes from the row's counters.
struct SlotOffsets: BitwiseCopyable {
    var head: UInt32
    var ring: UInt32
    /// What the journal calls the counter: `CounterNames`.
    var counter: UInt16
}

/// Units used in the period that ends at `endSeconds`. All-zero bytes are a quota in which no
/// period was opened.
struct QuotaCell: BitwiseCopyable {
    var used: UInt64
    /// Of open reservations; at most what they hold, and no part of `used`.
    var held: UInt64
    /// The period's end, wall clock; never decreases, so a closed period never reopens.
    /// `Int64.max`: it never ends.
    var endSeconds: Int64
    /// Unused units of the period before, which add to the limit.
    var carried: UInt64
    /// The local date on which the period begins: days since 1970-01-01.
    var startDay: UInt32
    var spare: UInt32 = 0

    /// Whether the period that was counted is over. That is said by its own end: a zone that was
    /// edited may begin its next period before it.
    @inline(__always)
    func isOver(_ now: WallTime) -> Bool {
        // Ends are within year 9999 (`BillingClock`), or never.
        endSeconds != .max && now.milliseconds >= endSeconds &* 1_000
    }

    /// Opens the period `interval`, in which now lies. What is held was held in the period before.
    @inline(__always)
    mutating func open(_ interval: PeriodInterval) {
        used = 0
        held = 0
        carried = 0
        endSeconds = interval.end
        spare = 0
        startDay = UInt32(truncatingIfNeeded: max(0, interval.startDay))
    }
}

/// How many reservations are open.
struct ConcurrencyCell: BitwiseCopyable {
    var open: UInt32
    var spare: UInt32 = 0
}
