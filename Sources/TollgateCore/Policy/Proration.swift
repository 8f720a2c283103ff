/// A quota for a period in which the plan changes: of each plan the part of the period in which it
/// holds.
package enum Proration {
    /// Rounded up, so that nobody loses a unit by it. `held` is what holds for the period so far:
    /// `before`, or, when the plan changed in this period already, what came of that. Whoever goes
    /// back and forth so gains nothing. Of the time before `since`, when the plan before began, the
    /// smaller of both counts, unless something is held: nobody earns of a plan before they had it.
    package static func units(
        held: UInt64?, before: UInt64, since: WallTime, after: UInt64, at now: WallTime,
        of period: PeriodInterval
    ) -> UInt64 {
        let length = UInt64(clamping: period.end - period.start) * 1_000
        guard length > 0 else { return after }
        let start = period.start * 1_000
        let past = min(UInt64(clamping: now.milliseconds - start), length)
        let left = Int128(length - past)
        // Below 2^64 times 2^60, so far from 2^127.
        var weighted = Int128(held ?? before) * Int128(length)
        if held == nil {
            let earlier = min(UInt64(clamping: since.milliseconds - start), past)
            weighted -= Int128(before - min(before, after)) * Int128(earlier)
        }
        weighted += (Int128(after) - Int128(before)) * left
        return UInt64(clamping: (max(0, weighted) + Int128(length) - 1) / Int128(length))
    }
}
