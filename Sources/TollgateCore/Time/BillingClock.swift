/// What a ledger knows of billing time, when a daemon starts with it.
package struct BillingStart: Sendable, Equatable {
    /// Both clocks when it was saved last.
    package var boot: BootTime
    package var billing: WallTime
    /// The latest billing time that is known: it may have been journaled since.
    package var floor: WallTime
    /// The host has not been started since: its boottime says how much time has passed.
    package var isSameBoot: Bool

    package init(boot: BootTime, billing: WallTime, floor: WallTime, isSameBoot: Bool) {
        self.boot = boot
        self.billing = billing
        self.floor = floor
        self.isSameBoot = isSameBoot
    }
}

/// What the wall clock is believed, when it steps.
///
/// Quota periods must never reopen, so their time never runs back. A step forward against boottime
/// that is longer than the shortest local day would close periods that nobody used, so it is held
/// until an operator confirms it: period time goes on at boottime's pace. So is a clock that is
/// ahead at a start, by what the ledger knows (`BillingStart`). Tokens must not live
/// longer because the clock was set back, so expiry is judged by the latest time seen
/// (RELIABILITY S44, S45, T1).
package struct BillingClock: Sendable {
    /// What one instant means.
    package struct Reading: Sendable, Equatable {
        /// Decides which period a charge falls in; never decreases.
        package var period: WallTime
        /// Decides whether a token has expired.
        package var expiry: WallTime
        /// A step forward is being held back: raise an alert.
        package var heldForward: Bool
    }

    /// A step forward up to this is believed: it closes one daily period at the most. The shortest
    /// days of the tz database, from 2020 on, have 21 hours (Antarctica/Casey, 2020-10-04).
    static let forwardStepMaxMilliseconds: Int64 = 21 * 3_600_000
    /// After a start of the machine nothing says how long it was off: up to this is believed.
    static let absenceMaxMilliseconds: Int64 = 35 * 86_400_000
    /// A step back up to this is taken for ordinary correction.
    static let backwardLeewayMilliseconds: Int64 = 60_000
    /// The wall clock is kept within years 1970 to 9999, so that nothing below overflows.
    private static let wallMaxMilliseconds: Int64 = 253_402_300_799_000

    /// What period time was at a boottime; of that, a part of a millisecond is not counted yet.
    private var last: (boot: BootTime, period: WallTime)?
    private var wallHighWater = WallTime(milliseconds: 0)
    private var confirmed = false
    private var floor = WallTime(milliseconds: 0)
    /// How far a start may be ahead of what its ledger knows, until the wall clock was believed
    /// once; `nil` from then on.
    private var startLeewayMilliseconds: Int64?

    package init() {}

    /// Goes on from what a ledger knows: billing time does not run back over a restart, nothing
    /// lives longer for a clock that was set back meanwhile, and one that was set ahead is held.
    package init(_ start: BillingStart) {
        func bounded(_ time: WallTime) -> WallTime {
            WallTime(milliseconds: min(max(time.milliseconds, 0), Self.wallMaxMilliseconds))
        }
        let known = bounded(start.billing)
        floor = max(bounded(start.floor), known)
        last = start.isSameBoot ? (start.boot, known) : nil
        wallHighWater = floor
        startLeewayMilliseconds =
            start.isSameBoot
            ? Self.forwardStepMaxMilliseconds + (floor.milliseconds - known.milliseconds)
            : Self.absenceMaxMilliseconds
    }

    /// The latest period time that was read.
    package var reached: WallTime { last?.period ?? floor }

    /// Believe the wall clock again, however far it went: token expiry at once, also when it was
    /// set back; periods, which never run back, when it is ahead of them.
    package mutating func confirm() { confirmed = true }

    package mutating func observe(_ now: Moment) -> Reading {
        let wall = WallTime(
            milliseconds: min(max(now.wall.milliseconds, 0), Self.wallMaxMilliseconds))
        let isFirst = last == nil
        let last = last ?? (now.boot, startLeewayMilliseconds == nil ? wall : floor)
        if isFirst { wallHighWater = last.period }
        let passed =
            now.boot > last.boot ? (now.boot.nanoseconds - last.boot.nanoseconds) / 1_000_000 : 0
        let expected = min(
            last.period.milliseconds + Int64(min(passed, UInt64(Self.wallMaxMilliseconds))),
            Self.wallMaxMilliseconds)
        let leeway = startLeewayMilliseconds ?? Self.forwardStepMaxMilliseconds
        let held = !confirmed && wall.milliseconds - expected > leeway
        if !held, wall.milliseconds >= floor.milliseconds { startLeewayMilliseconds = nil }
        let period = max(
            held ? expected : max(wall.milliseconds, last.period.milliseconds), floor.milliseconds)
        if confirmed {
            confirmed = false
            wallHighWater = wall
        }
        let boot = BootTime(nanoseconds: last.boot.nanoseconds + passed * 1_000_000)
        self.last = (boot, WallTime(milliseconds: period))
        if !held, wall > wallHighWater { wallHighWater = wall }
        let steppedBack =
            wall.milliseconds < wallHighWater.milliseconds - Self.backwardLeewayMilliseconds
        return Reading(
            period: WallTime(milliseconds: period), expiry: steppedBack ? wallHighWater : wall,
            heldForward: held)
    }
}
