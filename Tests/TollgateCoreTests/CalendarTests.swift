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
        #expect(period.start == start && period.end == end)
        #expect(Int64(period.startDay) == max(0, start / 86_400))
    }

    /// T3: for each kind of period the first day and the first day of the next, both in UTC, as
    /// `date -u -d` has them.
    @Test(arguments: [
        (.day, 1, "2016-12-31", "2016-12-31", "2017-01-01"),  // ends in a leap second
        (.day, 1, "2100-02-28", "2100-02-28", "2100-03-01"),
        (.day, 1, "2000-02-28", "2000-02-28", "2000-02-29"),
        (.day, 1, "1970-01-01", "1970-01-01", "1970-01-02"),
        (.day, 1, "1969-12-31", "1969-12-31", "1970-01-01"),
        (.day, 1, "2038-01-19", "2038-01-19", "2038-01-20"),
        (.day, 1, "9998-12-31", "9998-12-31", "9999-01-01"),
        (.week, 1, "1970-01-01", "1969-12-29", "1970-01-05"),
        (.week, 1, "1970-01-04", "1969-12-29", "1970-01-05"),
        (.week, 1, "1970-01-05", "1970-01-05", "1970-01-12"),
        (.week, 1, "1969-12-28", "1969-12-22", "1969-12-29"),
        (.week, 1, "2020-12-31", "2020-12-28", "2021-01-04"),  // the 53rd
        (.week, 1, "2024-02-29", "2024-02-26", "2024-03-04"),
        (.week, 1, "2100-02-28", "2100-02-22", "2100-03-01"),
        (.week, 1, "2038-01-19", "2038-01-18", "2038-01-25"),
        (.month, 1, "2100-02-28", "2100-02-01", "2100-03-01"),
        (.month, 1, "1969-12-31", "1969-12-01", "1970-01-01"),
        (.month, 1, "2024-12-31", "2024-12-01", "2025-01-01"),
        (.billingMonth, 31, "2100-02-28", "2100-02-28", "2100-03-31"),
        (.billingMonth, 31, "2100-02-27", "2100-01-31", "2100-02-28"),
        (.billingMonth, 31, "2024-02-28", "2024-01-31", "2024-02-29"),
        (.billingMonth, 31, "2024-02-29", "2024-02-29", "2024-03-31"),
        (.billingMonth, 31, "2026-04-30", "2026-04-30", "2026-05-31"),
        (.billingMonth, 31, "2026-05-30", "2026-04-30", "2026-05-31"),
        (.billingMonth, 30, "2026-02-28", "2026-02-28", "2026-03-30"),
        (.billingMonth, 30, "2024-02-29", "2024-02-29", "2024-03-30"),
        (.billingMonth, 29, "2023-03-01", "2023-02-28", "2023-03-29"),
        (.billingMonth, 29, "2024-03-01", "2024-02-29", "2024-03-29"),
        (.billingMonth, 1, "2026-11-25", "2026-11-01", "2026-12-01"),
        (.billingMonth, 15, "2026-01-14", "2025-12-15", "2026-01-15"),
        (.billingMonth, 15, "2026-01-15", "2026-01-15", "2026-02-15"),
        (.billingMonth, 15, "2026-12-31", "2026-12-15", "2027-01-15"),
        (.billingMonth, 28, "1970-01-01", "1969-12-28", "1970-01-28"),
        (.billingMonth, 19, "2038-01-19", "2038-01-19", "2038-02-19"),
    ] as [(PeriodKind, Int64, String, String, String)])
    func edgesOfEveryKindFallInTheirPeriod(
        kind: PeriodKind, anchor: Int64, day: String, start: String, end: String
    ) {
        let first = Self.day(day) * 86_400
        for second in [first, first + 86_399] {
            let period = Calendar.interval(
                of: kind, at: WallTime(seconds: second), zone: .utc, anchorDay: anchor)
            #expect(period.start == Self.day(start) * 86_400)
            #expect(period.end == Self.day(end) * 86_400)
            #expect(Int64(period.startDay) == max(0, Self.day(start)))
        }
    }

    private static func day(_ text: String) -> Int64 {
        let parts = text.split(separator: "-").map { Int64($0) ?? 0 }
        return Calendar.days(year: parts[0], month: parts[1], day: parts[2])
    }

    @Test func aTotalIsOnePeriodAndNeverEnds() {
        for seconds in [0, 1, 1_700_000_000, 253_402_300_799] as [Int64] {
            let period = Calendar.interval(
                of: .total, at: WallTime(seconds: seconds), zone: .utc)
            #expect(period == PeriodInterval(start: 0, end: .max, startDay: 0))
        }
    }

    /// A week with a day of 23 hours, a month with one of 25, and a billing month that begins on
    /// the day of the change.
    @Test func clockChangesFallInsideOfLongerPeriods() {
        let berlin = ZoneRules(
            name: "Europe/Berlin", transitions: [1_774_746_000, 1_792_890_000],
            offsets: [7_200, 3_600], firstOffset: 3_600)
        func hours(_ kind: PeriodKind, _ at: Int64, anchor: Int64 = 1) -> Int64 {
            let period = Calendar.interval(
                of: kind, at: WallTime(seconds: at), zone: berlin, anchorDay: anchor)
            return (period.end - period.start) / 3_600
        }
        #expect(hours(.week, 1_774_746_000) == 7 * 24 - 1)
        #expect(hours(.month, 1_774_746_000) == 31 * 24 - 1)
        #expect(hours(.month, 1_792_890_000) == 31 * 24 + 1)
        #expect(hours(.billingMonth, 1_774_746_000, anchor: 29) == 31 * 24 - 1)
        #expect(hours(.billingMonth, 1_792_890_000, anchor: 25) == 31 * 24 + 1)
        #expect(hours(.billingMonth, 1_792_890_000, anchor: 26) == 30 * 24 + 1)
    }

    @Test func noInstantTraps() {
        let shifted = ZoneRules(
            name: "T", transitions: [Int64.min, 0, Int64.max], offsets: [-93_600, 93_600, 0],
            firstOffset: 0)
        for zone in [ZoneRules.utc, shifted] {
            for kind in PeriodKind.allCases {
                for milliseconds in [Int64.min, -1, 0, 1, Int64.max] {
                    for anchor in [Int64.min, 0, 1, 31, 32] {
                        let period = Calendar.interval(
                            of: kind, at: WallTime(milliseconds: milliseconds), zone: zone,
                            anchorDay: anchor)
                        #expect(period.start < period.end && period.startDay >= 0)
                    }
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
        for kind in PeriodKind.allCases where kind != .total {
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
