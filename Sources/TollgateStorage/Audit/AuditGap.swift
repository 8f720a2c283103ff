import TollgateWire

/// What is not in the log, and why: the payload of a gap block.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 1 | `Cause` |
/// | 1 | 1 | number of the ring; 0: of none |
/// | 2 | 6 | spare, 0 |
/// | 8 | 8 | how many: see the cause |
/// | 16 | 8 | of dropped: the ring's counter with them; of pruned: the first segment left |
/// | 24 | 8 | life of the daemon whose ring it is |
package struct AuditGap: Sendable, Equatable {
    package enum Cause: UInt8, Sendable, CaseIterable {
        /// So many decisions found no room in the ring.
        case dropped = 1
        /// So many bytes at the end of the segment before were cut off: they were not whole.
        case torn = 2
        /// The host lost power: so many bytes of the ring that were not yet in the log.
        case powerLoss = 3
        /// So many bytes of the ring were not readable.
        case unreadable = 4
        /// So many segments were removed, because they were old or too many.
        case pruned = 5
        /// So many blocks that had been durable are gone; 0: the signed end of the log was
        /// missing, or on no block that was there. What stands before was taken over unproven.
        case lost = 6
    }

    static let bytes = 32

    package var cause: Cause
    package var ring: UInt8
    package var count: UInt64
    package var mark: UInt64
    package var life: UInt64
    /// Between which wall clocks, milliseconds since 1970.
    package var first: Int64
    package var last: Int64

    package init(
        _ cause: Cause, ring: UInt8 = 0, count: UInt64, mark: UInt64 = 0, life: UInt64,
        first: Int64, last: Int64
    ) {
        self.life = life
        self.cause = cause
        self.ring = ring
        self.count = count
        self.mark = mark
        self.first = first
        self.last = last
    }

    var block: AuditBlock {
        var block = AuditBlock(.gap)
        block.first = first
        block.last = last
        block.payload = [cause.rawValue, ring, 0, 0, 0, 0, 0, 0]
        for value in [count, mark, life] {
            for shift in stride(from: UInt64(0), to: 64, by: 8) {
                block.payload.append(UInt8(truncatingIfNeeded: value &>> shift))
            }
        }
        if cause == .dropped { block.dropped = AuditDrop(ring: ring, life: life, through: mark) }
        return block
    }

    init?(_ payload: UnsafeRawBufferPointer, first: Int64, last: Int64) {
        guard payload.count == Self.bytes,
            let cause = Cause(rawValue: payload.loadLittle(at: 0, as: UInt8.self))
        else { return nil }
        self.cause = cause
        ring = payload.loadLittle(at: 1, as: UInt8.self)
        count = payload.loadLittle(at: 8, as: UInt64.self)
        mark = payload.loadLittle(at: 16, as: UInt64.self)
        life = payload.loadLittle(at: 24, as: UInt64.self)
        self.first = first
        self.last = last
    }
}

/// What a ring's counter of drops says with a gap that is in the log.
struct AuditDrop: Sendable, Equatable {
    var ring: UInt8
    var life: UInt64
    var through: UInt64
}
