import TollgateCore

/// By what time records that have expired are taken out for good. A clock that was set ahead must
/// not take a revocation out whose token is good once the clock is right: also when the daemon was
/// started meanwhile, which takes whatever the clock says for the time.
///
/// So it goes on from where it stood at the last life's end, twice as fast as time passes at most,
/// and never ahead of billing time: a downtime is caught up with, and a clock that is wrong for
/// less than a day takes nothing out that has not expired.
struct PurgeClock {
    private static let dayMilliseconds: Int64 = 86_400_000
    private static let paceMax: UInt64 = 2

    /// Never decreases.
    private(set) var time: WallTime
    private var boot: BootTime

    /// `kept`: where it stood; `nil` in a directory that was just made.
    init(kept: WallTime?, billing: WallTime, boot: BootTime) {
        time = min(kept ?? billing, billing)
        self.boot = boot
    }

    /// What expired before the result is taken out.
    mutating func advance(to billing: WallTime, boot now: BootTime) -> WallTime {
        let passed =
            now > boot ? (now.nanoseconds - boot.nanoseconds) / 1_000_000 * Self.paceMax : 0
        let (reached, overflow) = time.milliseconds.addingReportingOverflow(
            Int64(clamping: passed))
        boot = now
        time = max(time, min(billing, WallTime(milliseconds: overflow ? .max : reached)))
        return WallTime(milliseconds: time.milliseconds - Self.dayMilliseconds)
    }
}
