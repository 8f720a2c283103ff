import Testing
import TollgateCore

@Suite struct CalendarTests {
    @Test func datesAndDaysAreInverse() {
        for day in stride(from: Int64(-700_000), through: 2_900_000, by: 97) {
            let date = Calendar.civil(fromDays: day)
            #expect(Calendar.days(year: date.year, month: date.month, day: date.day) == day)
        }
        #expect(Calendar.days(year: 2000, month: 3, day: 1) == 11_017)
    }

    @Test func monthsInUTCEndWhereTheNextBegins() {
        var instant: Int64 = 1_577_836_800  // 2020-01-01T00:00:00Z
        for _ in 0..<252 {
            let period = Calendar.interval(
                of: .month, at: WallTime(seconds: instant), zone: .utc)
            #expect(period.start == instant)
            #expect(Calendar.interval(
                of: .month, at: WallTime(seconds: period.end - 1), zone: .utc) == period)
            instant = period.end
        }
        #expect(instant == 2_240_611_200)  // 2041-01-01T00:00:00Z
    }

    @Test func aDayOfAClockChangeHas23Or25Hours() {
        // Berlin's 2026: +1 h, to +2 h on 29 March, back on 25 October, both at 01:00 UTC.
        let berlin = ZoneRules(
            name: "Europe/Berlin", transitions: [1_774_746_000, 1_792_890_000],
            offsets: [7_200, 3_600], firstOffset: 3_600)
        let spring = Calendar.interval(
            of: .day, at: WallTime(seconds: 1_774_746_000), zone: berlin)
        #expect(spring.end - spring.start == 23 * 3_600)
        let autumn = Calendar.interval(
            of: .day, at: WallTime(seconds: 1_792_890_000), zone: berlin)
        #expect(autumn.end - autumn.start == 25 * 3_600)
    }
}

@Suite struct BillingClockTests {
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

    @Test func aStepForwardOfMoreThanADayIsHeldUntilConfirmed() {
        var clock = BillingClock()
        _ = clock.observe(moment(boot: 0, wall: 1_000_000_000))
        let held = clock.observe(moment(boot: 10, wall: 9_000_000_000))
        #expect(held.heldForward && held.period.milliseconds == 1_000_000_010)
        clock.confirm()
        let believed = clock.observe(moment(boot: 20, wall: 9_000_000_010))
        #expect(!believed.heldForward && believed.period.milliseconds == 9_000_000_010)
    }
}
