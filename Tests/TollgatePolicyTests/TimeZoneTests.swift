import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// Quota calendars against Python's zoneinfo.
@Suite struct TimeZoneTests {
    /// Records of (zone, kind, start, end), each a period of a zone: kind 1 is a day, 2 a month.
    /// Arguments: every how many days one is written, then the zones. Days around a clock change,
    /// and all months, are always written. A day begins at the first instant of its date: at
    /// midnight, or, where the clock jumps past midnight, at the jump.
    private static let script = """
        import datetime as d, zoneinfo, sys, array
        every, names = int(sys.argv[1]), sys.argv[2:]
        def begins(zone, ordinal):
            midnight = d.datetime.fromordinal(ordinal)
            at = int(midnight.replace(tzinfo=zone).timestamp())
            if d.datetime.fromtimestamp(at, zone).replace(tzinfo=None) == midnight: return at
            before, after = at - 100_000, at
            while after - before > 1:
                middle = (before + after) // 2
                if d.datetime.fromtimestamp(middle, zone).toordinal() >= ordinal: after = middle
                else: before = middle
            return after
        first, last = d.date(2020, 1, 1).toordinal(), d.date(2041, 1, 1).toordinal()
        years = list(range(2020, 2041)) + [2050, 2075, 2099, 2100]
        months = [(d.date(y, m, 1).toordinal(), d.date(y + m // 12, m % 12 + 1, 1).toordinal())
                  for y in years for m in range(1, 13)]
        noons = [d.datetime.fromordinal(n) + d.timedelta(hours=12) for n in range(first, last)]
        for index, name in enumerate(names):
            zone, out = zoneinfo.ZoneInfo(name), array.array("q")
            offsets = [zone.utcoffset(noon) for noon in noons]
            near = {first + n + k for n in range(1, len(noons)) if offsets[n] != offsets[n - 1]
                    for k in (-2, -1, 0, 1)}
            for day in sorted(near | set(range(first + index % every, last, every))):
                out.extend((index, 1, begins(zone, day), begins(zone, day + 1)))
            for month, after in months:
                out.extend((index, 2, begins(zone, month), begins(zone, after)))
            out.tofile(sys.stdout.buffer)
        """

    @Test func daysAndMonthsOfEveryZoneAgreeWithZoneinfo() throws {
        let names = try ZoneInfo.names()
        #expect(names.count > 500)
        let every = testScale > 1 ? 1 : 23
        let records = try ZoneInfo.run(Self.script, ["\(every)"] + names)
        var shortestDay = Int64.max
        var wrong = 0
        var zone = ZoneRules.utc
        var zoneIndex = Int64(-1)
        for at in stride(from: 0, to: records.count, by: 4) {
            if records[at] != zoneIndex {
                zoneIndex = records[at]
                zone = try TimeZones().load(names[Int(zoneIndex)])
            }
            let kind = records[at + 1] == 1 ? PeriodKind.day : .month
            let period = PeriodInterval(start: records[at + 2], end: records[at + 3])
            if kind == .day { shortestDay = min(shortestDay, period.end - period.start) }
            for instant in [period.start, period.end - 1] {
                let ours = TollgateCore.Calendar.interval(
                    of: kind, at: WallTime(seconds: instant), zone: zone)
                if ours == period { continue }
                wrong += 1
                if wrong <= 10 {
                    Issue.record("\(zone.name) \(kind) at \(instant): \(ours), not \(period)")
                }
            }
        }
        #expect(wrong == 0)
        print("calendars: \(names.count) zones, \(records.count / 4) periods")
        #expect(records.count / 4 > names.count * 550)
        // What a step of the clock may be without closing two periods.
        #expect(BillingClock.forwardStepMaxMilliseconds <= shortestDay * 1_000)
    }

    @Test func namesThatAreNoneAreRefused() {
        for name in [
            "", "/etc/passwd", "../x", "Europe/", "Mars/Olympus", "a b", "Europe", "right/UTC",
        ] {
            #expect(throws: TimeZoneFault.self, "\(name)") { _ = try TimeZones().load(name) }
        }
    }
}
