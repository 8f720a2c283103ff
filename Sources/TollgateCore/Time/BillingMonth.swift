/// Billing months: from the anchor's day of the month, in the subscription's zone, to the same day
/// of the next; where a month has no such day, from its last.
package enum BillingMonth {
    /// The first instant after `now` at which a billing month ends: the start of a local day.
    package static func end(after now: WallTime, anchor: WallTime, zone: ZoneRules) -> WallTime {
        let period = Calendar.interval(
            of: .billingMonth, at: now, zone: zone, anchorDay: anchorDay(of: anchor, zone: zone))
        return WallTime(seconds: period.end)
    }

    /// The day of the month, 1 to 31, on which an anchor falls in a zone.
    package static func anchorDay(of anchor: WallTime, zone: ZoneRules) -> Int64 {
        let local = anchor.seconds + zone.offset(at: anchor.seconds)
        return Calendar.civil(fromDays: local / 86_400 - (local % 86_400 < 0 ? 1 : 0)).day
    }
}
