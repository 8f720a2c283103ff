import TollgateWire

/// Where one limit's counter stands in a row.
struct CounterSlot: Sendable, Equatable, Hashable {
    /// The limit's stable identity: counters survive a reload or a plan change where it does.
    var identity: String
    var isQuota: Bool
    /// Offset of the `WindowHead` or `QuotaCell` from the row's counters, in bytes.
    var headOffset: Int
    /// Offset of the window's cells from the row's counters; 0 for a quota.
    var ringOffset: Int
    /// Zero-width for a quota.
    var shape: ShapeKey

    /// The parts of a `WindowShape`, comparable.
    struct ShapeKey: Sendable, Equatable, Hashable {
        var windowNanoseconds: UInt64
        var subBuckets: Int
        var mode: WindowMode
        /// The largest limit with cells of the same width: an edited limit keeps its layout.
        var limitCeiling: UInt64
    }
}

/// The shape of a row's counters: heads and quotas first, so that they share the row's first
/// cache lines, then the windows' cells. Immutable once made; rows name it by its number.
struct RowLayout: Sendable, Equatable, Hashable {
    var slots: [CounterSlot]
    /// Bytes of all counters, a multiple of 8.
    var bytes: Int

    /// Lays out windows, then quotas, each list in its order.
    init(rateLimits: [RateLimitDefinition], quotas: [QuotaDefinition]) {
        var slots: [CounterSlot] = []
        var head = 0
        for limit in rateLimits {
            let key = CounterSlot.ShapeKey(
                windowNanoseconds: limit.windowNanoseconds, subBuckets: limit.subBuckets,
                mode: limit.mode, limitCeiling: Self.ceiling(limit.limit))
            slots.append(
                CounterSlot(
                    identity: "w/\(limit.name)/\(limit.meter)", isQuota: false, headOffset: head,
                    ringOffset: 0, shape: key))
            head += MemoryLayout<WindowHead>.stride
        }
        for quota in quotas {
            let zero = CounterSlot.ShapeKey(
                windowNanoseconds: 0, subBuckets: 0, mode: .strict, limitCeiling: 0)
            slots.append(
                CounterSlot(
                    identity: "q/\(quota.name)/\(quota.meter)/\(quota.period.rawValue)",
                    isQuota: true, headOffset: head, ringOffset: 0, shape: zero))
            head += MemoryLayout<QuotaCell>.stride
        }
        for index in slots.indices where !slots[index].isQuota {
            slots[index].ringOffset = head
            head += slots[index].windowShape.ringBytes
        }
        self.slots = slots
        self.bytes = (head + 7) / 8 * 8
    }

    private static func ceiling(_ limit: UInt64) -> UInt64 {
        limit <= 32_767 ? 32_767 : limit <= 0x7fff_ffff ? 0x7fff_ffff : .max
    }
}

extension CounterSlot {
    var windowShape: WindowShape {
        WindowShape.make(
            windowNanoseconds: shape.windowNanoseconds, subBuckets: shape.subBuckets,
            mode: shape.mode, limit: shape.limitCeiling)
    }
}

/// Units used in the period that ends at `endSeconds`. All-zero bytes are an empty quota.
struct QuotaCell: BitwiseCopyable {
    var used: UInt64
    /// The period's end, wall clock; never decreases, so a closed period never reopens.
    var endSeconds: Int64

    /// Opens the period `interval` when the one that was counted is over.
    @inline(__always)
    mutating func roll(to interval: PeriodInterval) {
        if interval.start >= endSeconds {
            used = 0
            endSeconds = interval.end
        }
    }
}
