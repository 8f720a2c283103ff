/// A half-open stretch of wall time, in seconds since 1970: `start <= t < end`.
package struct PeriodInterval: BitwiseCopyable, Sendable, Equatable {
    package var start: Int64
    package var end: Int64
    /// The local date of its start: days since 1970-01-01, not below 0.
    package var startDay: Int32

    package init(start: Int64, end: Int64, startDay: Int32 = 0) {
        self.start = start
        self.end = end
        self.startDay = startDay
    }

    /// How long it is, to the nearest day, 1 to 31; 0: longer, or it never ends.
    package var wholeDays: UInt8 { Self.wholeDays(from: start, to: end) }

    @inline(__always)
    static func wholeDays(from start: Int64, to end: Int64) -> UInt8 {
        guard end > start, end &- start < 32 * 86_400 else { return 0 }
        let days = (end &- start &+ 43_200) / 86_400
        return days > 31 ? 0 : UInt8(truncatingIfNeeded: max(1, days))
    }
}

/// Calendar periods in a time zone. Periods of a kind partition time: no gap, no overlap.
///
/// A local day begins at the first instant whose local date is that day: where midnight does not
/// exist, when the clock jumps past it; where it exists twice, the first time.
package enum Calendar {
    /// Years 0001 to 9999; instants outside are judged as the nearest inside.
    private static let secondsMin: Int64 = -62_135_596_800
    private static let secondsMax: Int64 = 253_402_300_799

    /// The period of `kind` that `instant` lies in. `anchorDay`, of a billing month: 1 to 31.
    package static func interval(
        of kind: PeriodKind, at instant: WallTime, zone: ZoneRules, anchorDay: Int64 = 1
    ) -> PeriodInterval {
        let seconds = min(max(instant.seconds, secondsMin + 40 * 86_400), secondsMax - 40 * 86_400)
        let day = localDay(seconds, zone)
        switch kind {
        case .day:
            // A day whose midnight comes twice may begin before the date first shows again.
            return interval(from: day, to: day + 1, zone)
        case .week:
            // 1970-01-05 was a Monday.
            let monday = floorDivide(day - 4, 7) * 7 + 4
            return interval(from: monday, to: monday + 7, zone)
        case .month, .billingMonth:
            let date = civil(fromDays: day)
            let anchor = kind == .month ? 1 : anchorDay
            let here = anchored(date.year, date.month, anchor)
            if day < here {
                return interval(
                    from: anchored(date.year, date.month - 1, anchor), to: here, zone)
            }
            return interval(from: here, to: anchored(date.year, date.month + 1, anchor), zone)
        case .total: return PeriodInterval(start: 0, end: .max)
        }
    }

    /// From the start of one local day to that of another.
    private static func interval(
        from first: Int64, to next: Int64, _ zone: ZoneRules
    ) -> PeriodInterval {
        PeriodInterval(
            start: start(ofDay: first, zone), end: start(ofDay: next, zone),
            startDay: Int32(clamping: max(0, first)))
    }

    /// The anchor's day in a month, or where the month has no such day its last. Month 0 is
    /// December of the year before, month 13 January of the year after.
    private static func anchored(_ year: Int64, _ month: Int64, _ anchorDay: Int64) -> Int64 {
        let (year, month) =
            month < 1 ? (year - 1, 12) : month > 12 ? (year + 1, 1) : (year, month)
        let next = month == 12 ? (year + 1, 1) : (year, month + 1)
        let last = days(year: next.0, month: next.1, day: 1) - 1
        return min(days(year: year, month: month, day: 1) + max(anchorDay, 1) - 1, last)
    }

    /// The local date of an instant, as days since 1970; within an overlap that repeats the end of
    /// a day after the next one began, the later date holds, so that periods never run back.
    private static func localDay(_ seconds: Int64, _ zone: ZoneRules) -> Int64 {
        let day = floorDivide(seconds + zone.offset(at: seconds), 86_400)
        return start(ofDay: day + 1, zone) <= seconds ? day + 1 : day
    }

    /// The first instant whose local date is at least `day`.
    private static func start(ofDay day: Int64, _ zone: ZoneRules) -> Int64 {
        let midnight = day * 86_400
        // Offsets are within a day either way, so the start lies in this stretch; inside it, walk
        // the stretches of constant offset.
        let from = midnight - 2 * 86_400
        var index = zone.firstTransition(after: from)
        var begin = from
        while true {
            let offset = zone.offset(beforeTransition: index)
            let end = index < zone.transitions.count ? zone.transitions[index] : Int64.max
            let candidate = max(begin, midnight - offset)
            if candidate < end { return candidate }
            begin = end
            index += 1
        }
    }

    /// Days since 1970-01-01 of a date of the proleptic Gregorian calendar
    /// (Howard Hinnant, "chrono-compatible low-level date algorithms", days_from_civil).
    package static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let y = month <= 2 ? year - 1 : year
        let era = floorDivide(y, 400)
        let yearOfEra = y - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    /// The date of a day since 1970-01-01 (the inverse of `days`).
    package static func civil(
        fromDays days: Int64
    ) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = floorDivide(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthIndex + 2) / 5 + 1
        let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }

    private static func floorDivide(_ a: Int64, _ b: Int64) -> Int64 {
        a >= 0 ? a / b : (a - b + 1) / b
    }
}

extension ZoneRules {
    /// The index of the first transition later than `seconds`.
    func firstTransition(after seconds: Int64) -> Int {
        var low = 0
        var high = transitions.count
        while low < high {
            let middle = (low + high) / 2
            if transitions[middle] <= seconds { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Seconds east of UTC in the stretch that ends at transition `index`.
    func offset(beforeTransition index: Int) -> Int64 {
        Int64(index == 0 ? firstOffset : offsets[index - 1])
    }

    /// Seconds east of UTC at an instant.
    package func offset(at seconds: Int64) -> Int64 {
        offset(beforeTransition: firstTransition(after: seconds))
    }
}
