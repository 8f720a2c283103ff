import TollgateWire

/// Where one limit's counter stands in a row.
struct CounterSlot: Sendable, Equatable, Hashable {
    /// The limit's stable identity: counters survive a reload or a plan change where it does.
    var identity: String
    /// `nil` for a quota.
    var window: WindowKey?
    /// Offset of the `WindowHead` or `QuotaCell` from the row's counters, in bytes.
    var headOffset = 0
    /// Offset of the window's cells from the row's counters; 0 for a quota.
    var ringOffset = 0

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
        window = WindowKey(
            windowNanoseconds: limit.windowNanoseconds, subBuckets: limit.subBuckets,
            mode: limit.mode, limitCeiling: Self.ceiling(limit.mostUnits))
    }

    init(_ quota: QuotaDefinition) {
        identity = "q \(quota.name) \(quota.meter) \(quota.period.rawValue)"
        window = nil
    }

    /// A key's own limit: calls in a window of so many seconds.
    init(_ limit: KeyLimit) {
        identity = "k \(limit.seconds)"
        window = WindowKey(
            windowNanoseconds: UInt64(limit.seconds) * 1_000_000_000,
            subBuckets: RateLimitDefinition.subBucketsDefault, mode: .strict,
            limitCeiling: Self.ceiling(limit.units))
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
        identity == other.identity && window == other.window
    }

    /// The same counter with cells as wide as the wider of the two: of limits of one name, each
    /// counts in the same cells.
    mutating func widen(to other: CounterSlot) {
        guard let ceiling = other.window?.limitCeiling else { return }
        let own = window?.limitCeiling ?? 0
        window?.limitCeiling = max(own, ceiling)
    }

    private static func ceiling(_ limit: UInt64) -> UInt64 {
        limit <= 32_767 ? 32_767 : limit <= 0x7fff_ffff ? 0x7fff_ffff : .max
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
            end +=
                slots[index].window == nil
                ? MemoryLayout<QuotaCell>.stride : MemoryLayout<WindowHead>.stride
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
}

/// Units used in the period that ends at `endSeconds`. All-zero bytes are an empty quota.
struct QuotaCell: BitwiseCopyable {
    var used: UInt64
    /// The period's end, wall clock; never decreases, so a closed period never reopens.
    var endSeconds: Int64

    /// Opens the period `interval`, in which `now` lies, when the one that was counted is over.
    /// That is said by its own end: a zone that was edited may begin its next period before it.
    @inline(__always)
    mutating func roll(to interval: PeriodInterval, now: WallTime) {
        // Ends are within year 9999 (`BillingClock`).
        if now.milliseconds >= endSeconds &* 1_000 {
            used = 0
            endSeconds = interval.end
        }
    }
}
