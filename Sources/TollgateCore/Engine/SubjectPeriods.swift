/// The present periods of one policy's calendars for every calendar of subscriptions, as one
/// worker has them: computed when they are first asked for, and again when one of them is over.
/// Nothing is allocated but at first sight of a calendar.
struct SubjectPeriods {
    private struct Entry: BitwiseCopyable {
        /// As many as the policy has calendars; `nil`: not asked for yet.
        var intervals: UnsafeMutablePointer<PeriodInterval>?
        /// Billing time, in seconds, at which the first of them is over.
        var validUntil: Int64
    }

    private let table: CalendarTable
    private let calendars: [QuotaCalendar]
    private let policyZone: ZoneRules
    private var entries: UnsafeMutablePointer<Entry>
    private var capacity: Int
    /// By number: what the entries are computed by.
    private var subjects: [Int: SubjectCalendar] = [:]

    init(_ policy: PolicyImage, _ table: CalendarTable) {
        self.table = table
        calendars = policy.calendars
        policyZone = policy.timeZone
        capacity = 16
        entries = Self.allocate(capacity)
    }

    func deallocate() {
        for index in 0..<capacity { entries[index].intervals?.deallocate() }
        entries.deallocate()
    }

    private static func allocate(_ count: Int) -> UnsafeMutablePointer<Entry> {
        let entries = UnsafeMutablePointer<Entry>.allocate(capacity: count)
        entries.initialize(repeating: Entry(intervals: nil, validUntil: .min), count: count)
        return entries
    }

    /// The periods that `now` lies in, by calendar of the policy.
    @inline(__always)
    mutating func intervals(
        of subject: Int, at now: WallTime
    ) -> UnsafeMutablePointer<PeriodInterval> {
        if subject < capacity, let known = entries[subject].intervals,
            now.milliseconds < entries[subject].validUntil
        {
            return known
        }
        return compute(subject, now)
    }

    @inline(never)
    private mutating func compute(
        _ subject: Int, _ now: WallTime
    ) -> UnsafeMutablePointer<PeriodInterval> {
        if subject >= capacity { grow(to: subject + 1) }
        if subjects[subject] == nil { subjects[subject] = table.calendar(subject) }
        let own = subjects[subject] ?? SubjectCalendar()
        let intervals =
            entries[subject].intervals ?? .allocate(capacity: max(1, calendars.count))
        var end = Int64.max
        for (index, calendar) in calendars.enumerated() {
            let interval = calendar.interval(at: now, subject: own, policyZone: policyZone)
            intervals[index] = interval
            end = min(end, interval.end)
        }
        let (milliseconds, overflow) = end.multipliedReportingOverflow(by: 1_000)
        entries[subject] = Entry(
            intervals: intervals, validUntil: overflow ? .max : milliseconds)
        return intervals
    }

    private mutating func grow(to count: Int) {
        var wider = capacity
        while wider < count { wider *= 2 }
        let made = Self.allocate(wider)
        made.update(from: entries, count: capacity)
        entries.deallocate()
        (entries, capacity) = (made, wider)
    }
}

extension QuotaCalendar {
    func interval(
        at now: WallTime, subject: SubjectCalendar, policyZone: ZoneRules
    ) -> PeriodInterval {
        Calendar.interval(
            of: period, at: now, zone: zone ?? subject.zone ?? policyZone,
            anchorDay: subject.anchorDay)
    }
}
