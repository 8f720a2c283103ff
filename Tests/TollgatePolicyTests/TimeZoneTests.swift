import Glibc
import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// Quota calendars against Python's zoneinfo, an implementation that shares nothing with ours.
@Suite struct TimeZoneTests {
    private static let script = """
        import datetime as d, zoneinfo, sys
        for name in sys.argv[1:]:
            zone = zoneinfo.ZoneInfo(name)
            day = d.date(2020, 1, 1)
            while day < d.date(2041, 1, 1):
                noon = d.datetime(day.year, day.month, day.day, 12, tzinfo=zone)
                offset = int(noon.utcoffset().total_seconds())
                print(name, day.isoformat(), int(noon.timestamp()), offset)
                day += d.timedelta(days=1)
        """

    private static let zones = [
        "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/Sao_Paulo",
        "America/St_Johns", "America/Santiago", "America/Havana", "Asia/Kolkata", "Asia/Kathmandu",
        "Asia/Tehran", "Asia/Gaza", "Asia/Beirut", "Asia/Tokyo", "Africa/Casablanca",
        "Africa/Cairo",
        "Australia/Lord_Howe", "Australia/Sydney", "Pacific/Chatham", "Pacific/Apia",
        "Pacific/Kiritimati", "Antarctica/Troll", "America/Nuuk", "UTC", "Etc/GMT+12",
    ]

    @Test func daysAndMonthsAgreeWithZoneinfo() throws {
        let zones = Self.zones.joined(separator: " ")
        let output = try output(of: "python3 -c '\(Self.script)' \(zones)")
        var rules: [Substring: ZoneRules] = [:]
        var checked = 0
        for line in String(decoding: output, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: " ")
            let zone = try rules[parts[0]] ?? TimeZones().load(String(parts[0]))
            rules[parts[0]] = zone
            let date = parts[1].split(separator: "-").compactMap { Int64($0) }
            let noon = try #require(Int64(parts[2]))
            #expect(zone.offset(at: noon) == Int64(parts[3]), "\(line)")
            let instant = WallTime(seconds: noon)
            let day = TollgateCore.Calendar.interval(of: .day, at: instant, zone: zone)
            #expect(day.start <= noon && noon < day.end, "\(line)")
            let month = TollgateCore.Calendar.interval(of: .month, at: instant, zone: zone)
            #expect(month.start <= day.start && day.end <= month.end, "\(line)")
            if date[2] == 1 { #expect(month.start == day.start, "\(line)") }
            checked += 1
        }
        #expect(checked == Self.zones.count * 7_671)
    }

    /// What a command of the shell writes; not Foundation's `Process`, which leaks under the leak
    /// sanitizer. Fails when the command does.
    private func output(of command: String) throws -> [UInt8] {
        let stream = try #require(popen(command, "r"))
        var output: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = fread(&chunk, 1, chunk.count, stream)
            if count == 0 { break }
            output += chunk[..<count]
        }
        try #require(pclose(stream) == 0)
        return output
    }

    @Test func namesThatAreNoneAreRefused() {
        for name in ["", "/etc/passwd", "../x", "Europe/", "Mars/Olympus", "a b", "Europe"] {
            #expect(throws: TimeZoneFault.self) { _ = try TimeZones().load(name) }
        }
    }
}
