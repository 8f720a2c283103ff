import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// Quota calendars against Python's zoneinfo.
@Suite struct TimeZoneTests {
    /// Numbers, in this order: for each zone named in the arguments, the number of its file among
    /// those that differ; how many periods there are, and of each its kind, its anchor's day, and
    /// the days since 1970 of its start and its end; how many days those are, and which; then for
    /// each file the instant at which each of those days begins. A day begins at the first instant
    /// of its date: at midnight, or, where the clock jumps past midnight, at the jump.
    private static let script = """
        import calendar, datetime as d, zoneinfo, sys, array, pathlib
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
        epoch = d.date(1970, 1, 1).toordinal()
        first, last = d.date(2020, 1, 1).toordinal(), d.date(2041, 1, 1).toordinal()
        def months(years, anchor):
            starts = [d.date(y, m, min(anchor, calendar.monthrange(y, m)[1])).toordinal()
                      for y in years for m in range(1, 13)]
            return list(zip(starts, starts[1:]))
        weeks = [day for day in range(first, last) if d.date.fromordinal(day).weekday() == 0]
        periods = [(1, 1, day, day + 1) for day in range(first, last)]
        periods += [(3, 1, a, b) for a, b in zip(weeks, weeks[1:])]
        periods += [(2, 1, a, b) for a, b in months(range(2020, 2042), 1)]
        periods += [(2, 1, a, b) for y in (2050, 2075, 2099) for a, b in months((y, y + 1), 1)]
        periods += [(4, k, a, b) for k in range(1, 32) for a, b in months(range(2020, 2041), k)]
        days = sorted({day for period in periods for day in period[2:]})
        files, numbers = {}, []
        for name in sys.argv[1:]:
            paths = [pathlib.Path(folder, name) for folder in zoneinfo.TZPATH]
            file = next(path.read_bytes() for path in paths if path.is_file())
            numbers.append(files.setdefault(file, (len(files), name))[0])
        out = array.array("q", numbers + [len(periods)])
        for kind, anchor, a, b in periods: out.extend((kind, anchor, a - epoch, b - epoch))
        out.extend([len(days)] + [day - epoch for day in days])
        out.tofile(sys.stdout.buffer)
        for _, name in files.values():
            zone = zoneinfo.ZoneInfo(name)
            array.array("q", [begins(zone, day) for day in days]).tofile(sys.stdout.buffer)
        """

    /// A period by its place among the days whose instants the script gives.
    private struct Expected {
        var kind: PeriodKind
        var anchor: Int64
        var start: Int
        var end: Int
        var startDay: Int32
    }

    private static func periods(
        _ numbers: inout ArraySlice<Int64>
    ) throws -> (periods: [Expected], days: Int) {
        let count = Int(try #require(numbers.first))
        numbers = numbers.dropFirst()
        let records = Array(numbers.prefix(4 * count))
        numbers = numbers.dropFirst(4 * count)
        let dayCount = Int(try #require(numbers.first))
        numbers = numbers.dropFirst()
        var places: [Int64: Int] = [:]
        for (place, day) in numbers.prefix(dayCount).enumerated() { places[day] = place }
        numbers = numbers.dropFirst(dayCount)
        let periods = try (0..<count).map { index in
            let record = records[(4 * index)..<(4 * index + 4)]
            let at = record.startIndex
            return Expected(
                kind: try #require(PeriodKind(rawValue: UInt8(record[at]))), anchor: record[at + 1],
                start: try #require(places[record[at + 2]]),
                end: try #require(places[record[at + 3]]), startDay: Int32(record[at + 2]))
        }
        return (periods, dayCount)
    }

    @Test func periodsOfEveryZoneAgreeWithZoneinfo() throws {
        let names = try ZoneInfo.names()
        #expect(names.count > 500)
        var numbers = try ZoneInfo.run(Self.script, names)[...]
        let files = numbers.prefix(names.count)
        numbers = numbers.dropFirst(names.count)
        let (periods, days) = try Self.periods(&numbers)
        #expect(periods.count > 16_000)
        var rules: [ZoneRules] = []
        var shortestDay = Int64.max
        for (name, file) in zip(names, files) {
            let zone = try TimeZones().load(name)
            guard Int(file) == rules.count else {
                // Another name of a zone that was looked at.
                let known = rules[Int(file)]
                #expect(zone.transitions == known.transitions && zone.offsets == known.offsets)
                continue
            }
            rules.append(zone)
            let instants = Array(numbers.prefix(days))
            numbers = numbers.dropFirst(days)
            #expect(Self.differences(zone, periods, instants) == 0, "\(name)")
            for period in periods where period.kind == .day {
                shortestDay = min(shortestDay, instants[period.end] - instants[period.start])
            }
        }
        #expect(numbers.isEmpty)
        print("calendars: \(names.count) zones, \(rules.count * periods.count) periods")
        // What a step of the clock may be without closing two periods.
        #expect(BillingClock.forwardStepMaxMilliseconds <= shortestDay * 1_000)
    }

    /// How many periods are not as they should be, by their first instants and their last.
    private static func differences(
        _ zone: ZoneRules, _ periods: [Expected], _ instants: [Int64]
    ) -> Int {
        var wrong = 0
        for period in periods {
            let interval = PeriodInterval(
                start: instants[period.start], end: instants[period.end],
                startDay: period.startDay)
            for instant in [interval.start, interval.end - 1] {
                let ours = TollgateCore.Calendar.interval(
                    of: period.kind, at: WallTime(seconds: instant), zone: zone,
                    anchorDay: period.anchor)
                if ours == interval { continue }
                wrong += 1
                if wrong <= 3 {
                    Issue.record(
                        """
                        \(zone.name) \(period.kind) from day \(period.anchor) at \(instant): \
                        \(ours), not \(interval)
                        """)
                }
            }
        }
        return wrong
    }

    @Test func namesThatAreNoneAreRefused() {
        for name in [
            "", "/etc/passwd", "../x", "Europe/", "Mars/Olympus", "a b", "Europe", "right/UTC",
        ] {
            #expect(throws: TimeZoneFault.self, "\(name)") { _ = try TimeZones().load(name) }
        }
    }
}
