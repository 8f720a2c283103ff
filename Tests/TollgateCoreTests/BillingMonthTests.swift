import Testing
import TollgateCore

@Suite struct BillingMonthTests {
    private static let berlin = ZoneRules(
        name: "Europe/Berlin", transitions: [1_774_746_000, 1_792_890_000],
        offsets: [7_200, 3_600], firstOffset: 3_600)

    private func utc(_ year: Int64, _ month: Int64, _ day: Int64, hour: Int64 = 0) -> WallTime {
        WallTime(seconds: Calendar.days(year: year, month: month, day: day) * 86_400 + hour * 3_600)
    }

    @Test func aMonthEndsOnTheAnchorsDayOrOnItsLast() {
        let anchor = utc(2025, 1, 31, hour: 13)
        let cases: [(now: WallTime, end: WallTime)] = [
            (utc(2026, 1, 30, hour: 23), utc(2026, 1, 31)),
            (utc(2026, 1, 31), utc(2026, 2, 28)),
            (utc(2026, 2, 28), utc(2026, 3, 31)),
            (utc(2028, 2, 1), utc(2028, 2, 29)),
            (utc(2026, 4, 1), utc(2026, 4, 30)),
            (utc(2026, 12, 31), utc(2027, 1, 31)),
            (utc(2026, 12, 30), utc(2026, 12, 31)),
        ]
        for (now, end) in cases {
            #expect(BillingMonth.end(after: now, anchor: anchor, zone: .utc) == end)
        }
        let first = utc(2025, 5, 1)
        #expect(BillingMonth.end(after: first, anchor: first, zone: .utc) == utc(2025, 6, 1))
        #expect(
            BillingMonth.end(
                after: WallTime(milliseconds: first.milliseconds - 1), anchor: first, zone: .utc)
                == first)
    }

    @Test func theDayIsThatOfTheZone() {
        // 2026-01-14T23:30Z is the 15th in Berlin, where the day begins at 23:00Z.
        let anchor = WallTime(seconds: utc(2026, 1, 14, hour: 23).seconds + 1_800)
        #expect(
            BillingMonth.end(after: anchor, anchor: anchor, zone: Self.berlin)
                == utc(2026, 2, 14, hour: 23))
        // In summer it begins at 22:00Z.
        #expect(
            BillingMonth.end(after: utc(2026, 4, 20), anchor: anchor, zone: Self.berlin)
                == utc(2026, 5, 14, hour: 22))
        #expect(BillingMonth.end(after: anchor, anchor: anchor, zone: .utc) == utc(2026, 2, 14))
    }

    @Test func monthsFollowEachOtherWithoutAGap() {
        for day in 1...31 {
            let anchor = utc(2024, 1, Int64(day), hour: 5)
            var now = anchor
            for _ in 0..<48 {
                let end = BillingMonth.end(after: now, anchor: anchor, zone: .utc)
                let days = (end.seconds - now.seconds) / 86_400
                #expect((27...31).contains(days))
                let before = WallTime(milliseconds: end.milliseconds - 1)
                #expect(BillingMonth.end(after: before, anchor: anchor, zone: .utc) == end)
                now = end
            }
        }
    }
}

@Suite struct ProrationTests {
    private let day = PeriodInterval(start: 1_000_000, end: 1_086_400)

    private func units(_ before: UInt64, _ after: UInt64, _ seconds: Int64) -> UInt64 {
        Proration.units(
            held: nil, before: before, since: WallTime(seconds: 0), after: after,
            at: WallTime(seconds: day.start + seconds), of: day)
    }

    @Test func eachPlanGivesItsPartRoundedUp() {
        #expect(units(100, 10, 0) == 10)
        #expect(units(100, 10, 43_200) == 55)
        #expect(units(100, 10, 86_400) == 100)
        #expect(units(10, 100, 43_200) == 55)
        #expect(units(0, 1, 86_399) == 1)
        #expect(units(0, 1, 86_400) == 0)
        #expect(units(1, 2, 1) == 2)
        #expect(units(7, 7, 12_345) == 7)
    }

    @Test func nothingOverflowsAndNoClockIsOutsideOfThePeriod() {
        let most = UInt64.max
        #expect(units(most, most, 40_000) == most)
        #expect(units(most, 0, 86_400) == most)
        #expect(units(100, 10, -5_000) == 10)
        #expect(units(100, 10, 1 << 40) == 100)
        let empty = PeriodInterval(start: 5, end: 5)
        #expect(
            Proration.units(
                held: nil, before: 1, since: WallTime(seconds: 0), after: 9,
                at: WallTime(seconds: 5), of: empty)
                == 9)
    }

    @Test func nobodyEarnsOfAPlanBeforeTheyHadIt() {
        let month = PeriodInterval(start: 0, end: 1_000)
        func units(_ before: UInt64, since: Int64, _ after: UInt64, at: Int64) -> UInt64 {
            Proration.units(
                held: nil, before: before, since: WallTime(seconds: since), after: after,
                at: WallTime(seconds: at), of: month)
        }
        // From 10 to 1,000 with what was used carried over, and down again at once.
        #expect(units(1_000, since: 500, 10, at: 500) == 10)
        #expect(units(1_000, since: 500, 10, at: 600) == 109)
        // New in the middle of the month, then up: the time before is none of the larger plan's.
        #expect(units(10, since: 800, 1_000, at: 900) == 109)
    }

    /// Of 100 and 200 units: half the month of each, whatever came between.
    @Test func whoGoesBackAndForthHasOfEachPlanItsTime() {
        let month = PeriodInterval(start: 0, end: 1_000)
        var held: UInt64?
        var plans: [UInt64] = [100, 200]
        for second in stride(from: 100 as Int64, to: 1_000, by: 100) {
            held = Proration.units(
                held: held, before: plans[0], since: WallTime(seconds: 0), after: plans[1],
                at: WallTime(seconds: second), of: month)
            plans.swapAt(0, 1)
        }
        #expect(held == 150)
    }
}
