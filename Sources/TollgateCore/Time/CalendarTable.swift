import Synchronization

/// Where and when somebody's periods begin, beside what a quota says itself.
package struct SubjectCalendar: Sendable, Equatable {
    /// `nil`: where the policy's do.
    package var zone: ZoneRules?
    /// The day of the month on which billing months begin: 1 to 31.
    package var anchorDay: Int64 = 1

    package init(zone: ZoneRules? = nil, anchorDay: Int64 = 1) {
        self.zone = zone
        self.anchorDay = anchorDay
    }

    /// That of a subscription that began at `anchor`.
    package init(zone: ZoneRules?, anchor: WallTime?) {
        self.zone = zone
        anchorDay = anchor.map { BillingMonth.anchorDay(of: $0, zone: zone ?? .utc) } ?? 1
    }
}

/// The calendars of all subscriptions, each once, by number; 0 is that of who has none. Grows,
/// never shrinks: there are not more than zones times 31 days.
///
/// Adding takes the lock; reading does not, so it may happen under a shard's lock: an entry is
/// written before `count` says that it is there, and never again.
final class CalendarTable: Sendable {
    /// Beyond it, a calendar is the policy's; there are some 600 zones.
    static let calendarsMax = 32_768

    private struct Key: Hashable {
        var zone: String?
        var anchorDay: Int64
    }

    private let lock = Lock(.leaf)
    private let count = Atomic<Int>(1)
    // Entries below `count` are immutable; the one at `count` is written under the lock.
    private nonisolated(unsafe) let calendars: UnsafeMutablePointer<SubjectCalendar>
    // Guarded by the lock.
    private nonisolated(unsafe) var numbers = [Key(zone: nil, anchorDay: 1): UInt16(0)]

    init() {
        calendars = .allocate(capacity: Self.calendarsMax)
        calendars.initialize(to: SubjectCalendar())
    }

    deinit {
        calendars.deinitialize(count: count.load(ordering: .acquiring))
        calendars.deallocate()
    }

    /// The number of a calendar, given on first sight.
    func number(of calendar: SubjectCalendar) -> UInt16 {
        let key = Key(zone: calendar.zone?.name, anchorDay: calendar.anchorDay)
        lock.lock()
        defer { lock.unlock() }
        if let known = numbers[key] { return known }
        let next = count.load(ordering: .relaxed)
        guard next < Self.calendarsMax else { return 0 }
        (calendars + next).initialize(to: calendar)
        numbers[key] = UInt16(next)
        count.store(next + 1, ordering: .releasing)
        return UInt16(next)
    }

    /// The calendar of a number that was given.
    func calendar(_ number: Int) -> SubjectCalendar {
        precondition(number < count.load(ordering: .acquiring))
        return calendars[number]
    }
}
