/// What a quota allows in a period within which the plan is changed: of the plan before for the
/// part of the period that is over, and of the plan after for the part that is left.
package enum Proration {
    /// Rounded up, so that nobody loses a unit by it. Never above the larger of both.
    package static func units(
        before: UInt64, after: UInt64, at now: WallTime, of period: PeriodInterval
    ) -> UInt64 {
        let length = UInt64(clamping: period.end - period.start) * 1_000
        guard length > 0 else { return after }
        let since = now.milliseconds - period.start * 1_000
        let over = min(UInt64(clamping: since), length)
        let weighted =
            UInt128(before) * UInt128(over) + UInt128(after) * UInt128(length - over)
        return UInt64(clamping: (weighted + UInt128(length) - 1) / UInt128(length))
    }
}
