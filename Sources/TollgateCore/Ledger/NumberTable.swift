/// Rows by what a journal calls them: open addressing with linear probing over a power of two of
/// slots, at most half full. Owned by one `ShardRestorer`, which looks one up for each item that it
/// replays.
///
/// Numbers are counted, and not chosen by callers, so they are spread by a multiplication.
/// Invariant: `2 * count ≤ capacity`.
struct NumberTable: ~Copyable {
    private struct Slot: BitwiseCopyable {
        var number: UInt32
        /// `none`: a free slot.
        var handle: RowHandle
    }

    private static let capacityLeast = 64

    private var slots: UnsafeMutablePointer<Slot>
    private var mask = NumberTable.capacityLeast - 1
    private(set) var count = 0

    init() { slots = Self.empty(Self.capacityLeast) }

    deinit { slots.deallocate() }

    private static func empty(_ capacity: Int) -> UnsafeMutablePointer<Slot> {
        let slots = UnsafeMutablePointer<Slot>.allocate(capacity: capacity)
        slots.initialize(repeating: Slot(number: 0, handle: .none), count: capacity)
        return slots
    }

    @inline(__always)
    private func home(_ number: UInt32) -> Int {
        Int(truncatingIfNeeded: (UInt64(number) &* 0x9e37_79b9_7f4a_7c15) &>> 32) & mask
    }

    /// Where a number stands, or would.
    @inline(__always)
    private func place(_ number: UInt32) -> Int {
        var slot = home(number)
        while slots[slot].handle != .none, slots[slot].number != number {
            slot = (slot &+ 1) & mask
        }
        return slot
    }

    /// `none`: no row has the number.
    @inline(__always)
    func find(_ number: UInt32) -> RowHandle { slots[place(number)].handle }

    /// `handle` is not `none`. Takes the place of what had the number.
    mutating func set(_ number: UInt32, _ handle: RowHandle) {
        precondition(handle != .none)
        let slot = place(number)
        let isNew = slots[slot].handle == .none
        slots[slot] = Slot(number: number, handle: handle)
        guard isNew else { return }
        count += 1
        if 2 * count > mask { rebuild(2 * (mask + 1)) { _, _ in true } }
    }

    mutating func remove(_ number: UInt32) {
        var hole = place(number)
        guard slots[hole].handle != .none else { return }
        count -= 1
        var slot = (hole &+ 1) & mask
        while slots[slot].handle != .none {
            let home = home(slots[slot].number)
            // It may move back when its home is not between the hole and itself.
            if (slot &- home) & mask >= (slot &- hole) & mask {
                slots[hole] = slots[slot]
                hole = slot
            }
            slot = (slot &+ 1) & mask
        }
        slots[hole] = Slot(number: 0, handle: .none)
    }

    /// Removes all that `isKept` does not name.
    mutating func keep(_ isKept: (UInt32, RowHandle) -> Bool) { rebuild(mask + 1, isKept) }

    mutating func clear() { self = NumberTable() }

    private mutating func rebuild(_ capacity: Int, _ isKept: (UInt32, RowHandle) -> Bool) {
        let old = slots
        let oldMask = mask
        slots = Self.empty(capacity)
        mask = capacity - 1
        count = 0
        for slot in 0...oldMask where old[slot].handle != .none {
            guard isKept(old[slot].number, old[slot].handle) else { continue }
            slots[place(old[slot].number)] = old[slot]
            count += 1
        }
        old.deallocate()
    }
}
