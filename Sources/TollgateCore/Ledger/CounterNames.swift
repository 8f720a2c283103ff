import Synchronization

/// What the journal calls each counter's identity: numbers from 0 on, given on first sight, kept
/// over restarts. Grows, never shrinks.
///
/// Adding takes the lock; reading a name below `count` does not: it was written before.
final class CounterNames: Sendable {
    static let namesMax = 65_535

    private let lock = Lock(.leaf)
    private let count = Atomic<Int>(0)
    // Entries below `count` are immutable; the one at `count` is written under the lock.
    private nonisolated(unsafe) let names: UnsafeMutablePointer<String>
    // Guarded by the lock.
    private nonisolated(unsafe) var numbers: [String: UInt16] = [:]

    init() { names = .allocate(capacity: Self.namesMax) }

    deinit {
        names.deinitialize(count: count.load(ordering: .acquiring))
        names.deallocate()
    }

    /// `nil` when there are too many.
    func number(of identity: String) -> UInt16? {
        lock.lock()
        defer { lock.unlock() }
        if let known = numbers[identity] { return known }
        let next = count.load(ordering: .relaxed)
        guard next < Self.namesMax else { return nil }
        (names + next).initialize(to: identity)
        numbers[identity] = UInt16(next)
        count.store(next + 1, ordering: .releasing)
        return UInt16(next)
    }

    @inline(__always)
    var total: Int { count.load(ordering: .acquiring) }

    /// `nil` for a number that was not given.
    func name(_ number: Int) -> String? {
        guard number >= 0, number < total else { return nil }
        return names[number]
    }
}
