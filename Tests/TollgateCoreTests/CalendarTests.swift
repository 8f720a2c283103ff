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

    /// Instants where calendars and integers have edges; the start and the end of the month in
    /// UTC, as `date -u -d` says them.
    @Test(arguments: [
        (0, 0, 2_678_400),  // the epoch
        (-1, -2_678_400, 0),
        (-2_147_483_648, -2_148_595_200, -2_145_916_800),  // 1901-12-13T20:45:52
        (2_147_483_647, 2_145_916_800, 2_148_595_200),  // 2038-01-19T03:14:07
        (2_147_483_648, 2_145_916_800, 2_148_595_200),
        (4_294_967_295, 4_294_425_600, 4_296_844_800),  // 2106-02-07
        (1_483_228_799, 1_480_550_400, 1_483_228_800),  // before the leap second of 2016
        (1_483_228_800, 1_483_228_800, 1_485_907_200),  // and after it
        (4_107_542_399, 4_105_123_200, 4_107_542_400),  // 2100-02-28T23:59:59, no leap year
        (4_107_542_400, 4_107_542_400, 4_110_220_800),
        (951_782_400, 949_363_200, 951_868_800),  // 2000-02-29, a leap year
        (1_709_164_800, 1_706_745_600, 1_709_251_200),  // 2024-02-29
    ] as [(Int64, Int64, Int64)])
    func edgesOfCalendarsAndIntegersFallInTheirMonth(at: Int64, start: Int64, end: Int64) {
        let period = Calendar.interval(of: .month, at: WallTime(seconds: at), zone: .utc)
        #expect(period == PeriodInterval(start: start, end: end))
    }

    @Test func noInstantTraps() {
        let shifted = ZoneRules(
            name: "T", transitions: [Int64.min, 0, Int64.max], offsets: [-93_600, 93_600, 0],
            firstOffset: 0)
        for zone in [ZoneRules.utc, shifted] {
            for kind in [PeriodKind.day, .month] {
                for milliseconds in [Int64.min, -1, 0, 1, Int64.max] {
                    let period = Calendar.interval(
                        of: kind, at: WallTime(milliseconds: milliseconds), zone: zone)
                    #expect(period.start < period.end)
                }
            }
        }
    }

    @Test func aDateThatComesTwiceOrNeverStillPartitionsTime() {
        // Noon of 1970-01-11 UTC: the clock goes back a day, and later forward a day and a half.
        let back: Int64 = 10 * 86_400 + 43_200
        let forward = back + 10 * 86_400
        let zone = ZoneRules(
            name: "T", transitions: [back, forward], offsets: [-86_400, 43_200], firstOffset: 0)
        for kind in [PeriodKind.day, .month] {
            var instant: Int64 = 0
            while instant < 40 * 86_400 {
                let period = Calendar.interval(of: kind, at: WallTime(seconds: instant), zone: zone)
                #expect(period.start <= instant && instant < period.end)
                for inside in [period.start, (period.start + period.end) / 2, period.end - 1] {
                    let same = Calendar.interval(
                        of: kind, at: WallTime(seconds: inside), zone: zone)
                    #expect(same == period, "\(kind) at \(inside)")
                }
                instant = period.end
            }
        }
    }
}
