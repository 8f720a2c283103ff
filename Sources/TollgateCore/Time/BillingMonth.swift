/// Billing months: from the anchor's day of the month, in the subscription's zone, to the same day
/// of the next; where a month has no such day, from its last.
package enum BillingMonth {
    /// The first instant after `now` at which a billing month ends: the start of a local day.
    package static func end(after now: WallTime, anchor: WallTime, zone: ZoneRules) -> WallTime {
        let anchorDay = date(of: anchor, zone).day
        var (year, month, _) = date(of: now, zone)
        while true {
            let next = month == 12 ? (year + 1, Int64(1)) : (year, month + 1)
            let last = Calendar.days(year: next.0, month: next.1, day: 1) - 1
            let first = Calendar.days(year: year, month: month, day: 1)
            let end = start(ofDay: min(first + anchorDay - 1, last), zone)
            if end > now { return end }
            (year, month) = next
        }
    }

    private static func date(
        of time: WallTime, _ zone: ZoneRules
    ) -> (year: Int64, month: Int64, day: Int64) {
        let local = time.seconds + zone.offset(at: time.seconds)
        return Calendar.civil(fromDays: local / 86_400 - (local % 86_400 < 0 ? 1 : 0))
    }

    /// Noon lies in the day whatever the clock does at night.
    private static func start(ofDay day: Int64, _ zone: ZoneRules) -> WallTime {
        let noon = day * 86_400 + 43_200
        let inside = WallTime(seconds: noon - zone.offset(at: noon))
        return WallTime(seconds: Calendar.interval(of: .day, at: inside, zone: zone).start)
    }
}
