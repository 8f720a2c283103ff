import Synchronization

/// Every row layout that was ever in use, by number. Grows, never shrinks: rows name their layout
/// by number, and outlive policies.
///
/// Adding takes the lock; reading does not, so it may happen under a shard's lock: an entry is
/// written before `count` says that it is there, and never again.
final class LayoutRegistry: Sendable {
    static let layoutsMax = 65_536

    /// A layout, and what the journal calls its counters, by slot.
    struct Entry {
        var layout: RowLayout
        var counters: [UInt16]
    }

    let names = CounterNames()
    private let lock = Lock(.registry)
    private let count = Atomic<Int>(0)
    // Entries below `count` are immutable; the one at `count` is written under the lock.
    private nonisolated(unsafe) let layouts: UnsafeMutablePointer<Entry>
    // Guarded by the lock.
    private nonisolated(unsafe) var numbers: [RowLayout: UInt32] = [:]

    init() { layouts = .allocate(capacity: Self.layoutsMax) }

    deinit {
        layouts.deinitialize(count: count.load(ordering: .acquiring))
        layouts.deallocate()
    }

    /// The number of a layout, given on first sight; `nil` when there are too many.
    func number(of layout: RowLayout) -> UInt32? {
        lock.lock()
        defer { lock.unlock() }
        if let known = numbers[layout] { return known }
        let next = count.load(ordering: .relaxed)
        guard next < Self.layoutsMax else { return nil }
        var counters: [UInt16] = []
        for slot in layout.slots {
            guard let number = names.number(of: slot.identity) else { return nil }
            counters.append(number)
        }
        (layouts + next).initialize(to: Entry(layout: layout, counters: counters))
        numbers[layout] = UInt32(next)
        count.store(next + 1, ordering: .releasing)
        return UInt32(next)
    }

    /// A layout with `more` behind what `layout` has; `nil` when a row would be too large, or half
    /// of all numbers are given: the others are policies'.
    func wider(_ layout: RowLayout, _ more: [CounterSlot]) -> (number: UInt32, bytes: Int)? {
        let made = RowLayout(layout.slots + more)
        guard made.bytes <= RowArena.rowUnitsMax / 2 * RowArena.unitBytes,
            total < Self.layoutsMax / 2, let number = number(of: made)
        else { return nil }
        return (number, made.bytes)
    }

    /// How many there are.
    var total: Int { count.load(ordering: .acquiring) }

    func layout(_ number: UInt32) -> RowLayout {
        precondition(Int(number) < count.load(ordering: .acquiring))
        return layouts[Int(number)].layout
    }

    /// What the journal calls the counters of a layout, by slot.
    func counters(_ number: UInt32) -> [UInt16] {
        precondition(Int(number) < count.load(ordering: .acquiring))
        return layouts[Int(number)].counters
    }
}
