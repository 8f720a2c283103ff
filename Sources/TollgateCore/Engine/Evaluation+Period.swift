import TollgateWire

/// How long the periods of quotas are and last.
extension Evaluation {
    /// Milliseconds until the quota's period ends, and how many days it has.
    mutating func periodLeft(_ step: ChargeStep) -> (milliseconds: UInt64, days: UInt8) {
        var interval = intervals[Int(step.form)]
        let view = view(step)
        if let row = view.row, let offsets = view.offsets {
            // Rolled, as it was looked at: the period that is counted, whose end this is.
            let cell = row.quota(Int(offsets[Int(step.slot)].head))
            if cell.pointee.endSeconds != interval.end {
                // It began by another anchor, or in another zone: its first day's midnight is off
                // by the zone's distance from UTC, which `wholeDays` rounds away.
                interval.end = cell.pointee.endSeconds
                interval.start = Int64(cell.pointee.startDay) &* 86_400
            }
        }
        guard interval.end < Int64.max / 1_000 else { return (WireLimits.resetNever, 0) }
        let left = UInt64(max(0, interval.end &* 1_000 &- period.milliseconds))
        return (left, interval.wholeDays)
    }
}
