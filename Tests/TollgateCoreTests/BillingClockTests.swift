import Testing

@testable import TollgateCore

/// What steps of the wall clock do (RELIABILITY S44, S45, T1).
@Suite struct BillingClockTests {
    private static let day: Int64 = 86_400_000

    private func moment(boot: UInt64, wall: Int64) -> Moment {
        Moment(boot: BootTime(nanoseconds: boot * 1_000_000), wall: WallTime(milliseconds: wall))
    }

    @Test func aStepBackNeverMovesThePeriodBackAndExpiryFailsClosed() {
        var clock = BillingClock()
        _ = clock.observe(moment(boot: 0, wall: 1_000_000_000))
        let reading = clock.observe(moment(boot: 10, wall: 900_000_000))
        #expect(reading.period.milliseconds == 1_000_000_000)
        #expect(reading.expiry.milliseconds == 1_000_000_000)
    }

    /// What a ledger knew when the daemon ended holds when it starts: periods do not reopen, and no
    /// token lives again.
    @Test func aClockThatWasSetBackWhileTheDaemonWasDownDoesNotReopenAPeriod() {
        var clock = BillingClock(start(boot: 0, 1_000_000_000, isSameBoot: false))
        let reading = clock.observe(moment(boot: 0, wall: 900_000_000))
        #expect(reading.period.milliseconds == 1_000_000_000)
        #expect(reading.expiry.milliseconds == 1_000_000_000)
        let later = clock.observe(moment(boot: 5_000, wall: 900_005_000))
        #expect(later.period.milliseconds >= 1_000_000_000)
        #expect(later.expiry.milliseconds >= 1_000_000_000)
    }

    private func start(
        boot: UInt64, _ billing: Int64, floor: Int64 = 0, isSameBoot: Bool
    ) -> BillingStart {
        BillingStart(
            boot: BootTime(nanoseconds: boot * 1_000_000), billing: WallTime(milliseconds: billing),
            floor: WallTime(milliseconds: floor), isSameBoot: isSameBoot)
    }

    /// How long a machine was off, nothing says: weeks are believed, a year is not.
    @Test func aClockThatIsFarAheadWhenAMachineStartsIsHeldUntilConfirmed() {
        let known: Int64 = 1_700_000_000_000
        let cases: [(Int64, Bool)] = [(1, false), (35, false), (36, true), (400, true)]
        for (days, isHeld) in cases {
            var clock = BillingClock(start(boot: 90_000_000, known, isSameBoot: false))
            let wall = known + days * Self.day
            let first = clock.observe(moment(boot: 5_000, wall: wall))
            #expect(first.heldForward == isHeld, "\(days) days")
            #expect(first.period.milliseconds == (isHeld ? known : wall))
            guard isHeld else { continue }
            let later = clock.observe(moment(boot: 65_000, wall: wall + 60_000))
            #expect(later.heldForward && later.period.milliseconds == known + 60_000)
            // Set right, it is believed with no word: also three weeks on.
            var right = clock
            let week = known + 21 * Self.day
            #expect(right.observe(moment(boot: 66_000, wall: week)).period.milliseconds == week)
            // From then on as ever.
            #expect(right.observe(moment(boot: 67_000, wall: week + 2 * Self.day)).heldForward)
            clock.confirm()
            let confirmed = clock.observe(moment(boot: 66_000, wall: wall))
            #expect(!confirmed.heldForward && confirmed.period.milliseconds == wall)
        }
    }

    /// On the same boot, boottime says how long the daemon was away.
    @Test func aClockThatRanAheadWhileTheDaemonWasDownIsHeldByBoottime() {
        let (known, away): (Int64, UInt64) = (1_700_000_000_000, 90 * 86_400_000)
        var honest = BillingClock(start(boot: 1_000, known, isSameBoot: true))
        let wall = known + Int64(away)
        let believed = honest.observe(moment(boot: 1_000 + away, wall: wall))
        #expect(!believed.heldForward && believed.period.milliseconds == wall)
        var ahead = BillingClock(start(boot: 1_000, known, isSameBoot: true))
        let held = ahead.observe(moment(boot: 4_000, wall: known + 2 * Self.day))
        #expect(held.heldForward && held.period.milliseconds == known + 3_000)
        // What was confirmed and journaled behind the snapshot holds.
        var journaled = BillingClock(
            start(boot: 1_000, known, floor: known + 40 * Self.day, isSameBoot: true))
        let next = journaled.observe(moment(boot: 4_000, wall: known + 40 * Self.day + 2_000))
        #expect(!next.heldForward && next.period.milliseconds == known + 40 * Self.day + 2_000)
        // A boottime that a disk says and that is yet to come makes nothing run back.
        var odd = BillingClock(start(boot: .max / 2_000_000, known, isSameBoot: true))
        #expect(odd.observe(moment(boot: 5, wall: known - 5)).period.milliseconds == known)
    }

    @Test func aStepForwardOfMoreThanAPeriodIsHeldUntilConfirmed() {
        var clock = BillingClock()
        _ = clock.observe(moment(boot: 0, wall: 1_000_000_000))
        let held = clock.observe(moment(boot: 10, wall: 9_000_000_000))
        #expect(held.heldForward && held.period.milliseconds == 1_000_000_010)
        clock.confirm()
        let believed = clock.observe(moment(boot: 20, wall: 9_000_000_010))
        #expect(!believed.heldForward && believed.period.milliseconds == 9_000_000_010)
    }

    @Test func aHeldClockGoesOnHoweverOftenItIsRead() {
        var clock = BillingClock()
        _ = clock.observe(moment(boot: 0, wall: 0))
        // Every 0.3 ms for 3 s: each reading adds a part of a millisecond.
        var reading = clock.observe(moment(boot: 0, wall: 30 * Self.day))
        for turn in 1...10_000 as ClosedRange<UInt64> {
            reading = clock.observe(
                Moment(
                    boot: BootTime(nanoseconds: turn * 300_000),
                    wall: WallTime(milliseconds: 30 * Self.day)))
        }
        #expect(reading.heldForward && reading.period.milliseconds == 3_000)
    }

    @Test func confirmingAClockThatWasSetBackLetsTokensLiveByIt() {
        var clock = BillingClock()
        _ = clock.observe(moment(boot: 0, wall: 10 * Self.day))
        let before = clock.observe(moment(boot: 10, wall: 9 * Self.day))
        #expect(before.expiry.milliseconds == 10 * Self.day)
        clock.confirm()
        let after = clock.observe(moment(boot: 20, wall: 9 * Self.day))
        #expect(after.expiry.milliseconds == 9 * Self.day)
        #expect(after.period.milliseconds == 10 * Self.day)
    }

    @Test func aStepForwardClosesOnePeriodEvenWhenTheNextDayIsShort() {
        // Antarctica/Casey, 2020-10-04 00:01: three hours are skipped, the day has 21.
        let zone = ZoneRules(
            name: "Antarctica/Casey", transitions: [1_601_740_860], offsets: [39_600],
            firstOffset: 28_800)
        let short = Calendar.interval(
            of: .day, at: WallTime(seconds: 1_601_740_860), zone: zone)
        #expect(short.end - short.start == 21 * 3_600)
        let before = short.start * 1_000 - 1
        for step in [21 * 3_600_000, 21 * 3_600_000 + 1, 22 * 3_600_000, Self.day] as [Int64] {
            var clock = BillingClock()
            _ = clock.observe(moment(boot: 0, wall: before))
            let reading = clock.observe(moment(boot: 0, wall: before + step))
            #expect(reading.period.seconds < short.end, "step \(step)")
        }
    }

    /// ±1 ms to ±10 years, at random, in boottime that goes on.
    static func step(_ random: inout SeededRandom) -> Int64 {
        let sizes: [Int64] = [
            1, 1_000, 61_000, 3_600_000, 21 * 3_600_000, day, 40 * day, 3_653 * day,
        ]
        let most = sizes[Int.random(in: 0..<sizes.count, using: &random)]
        let size = Bool.random(using: &random) ? most : Int64.random(in: 1...most, using: &random)
        return Bool.random(using: &random) ? size : -size
    }

    @Test func whateverTheSteps_timeOfPeriodsRunsOnlyForwardAndByOnePeriodAtMost() {
        // 10^5 schedules at a scale of 50.
        var random = SeededRandom.printed("clock steps")
        let zone = ZoneRules(
            name: "T", transitions: [1_774_746_000], offsets: [10_800], firstOffset: 0)
        for _ in 0..<(2_000 * testScale) {
            var clock = BillingClock()
            var boot: UInt64 = 5_000
            var wall: Int64 = 1_774_600_000_000
            var last = clock.observe(moment(boot: boot, wall: wall))
            for _ in 0..<20 {
                let passed = UInt64.random(in: 0...2_000, using: &random)
                boot += passed
                wall += Int64(passed)
                if Int.random(in: 0..<3, using: &random) == 0 { wall += Self.step(&random) }
                let open = Calendar.interval(of: .day, at: last.period, zone: zone)
                let next = clock.observe(moment(boot: boot, wall: wall))
                #expect(next.period >= last.period)
                #expect(next.expiry.milliseconds >= wall)
                // At most into the day after the one that was open.
                let after = Calendar.interval(
                    of: .day, at: WallTime(seconds: open.end), zone: zone)
                #expect(next.period.seconds < after.end)
                last = next
            }
        }
    }
}
