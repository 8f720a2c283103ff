import Foundation
import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// The rule in a zone file's footer, and files that are damaged.
@Suite struct PosixZoneTests {
    /// Offsets by zoneinfo of a file without transitions and with each argument as its footer,
    /// every 7 hours of three years; the C library's instead for days counted from 0 and for J59,
    /// of which CPython 3.11's zoneinfo is one off (POSIX.1-2017 §8.3, TZ).
    private static let script = """
        import datetime as d, zoneinfo, sys, array, io, struct, os, time
        def glibc(text):
            os.environ["TZ"] = text
            time.tzset()
            return lambda at: time.localtime(at).tm_gmtoff
        def info(text):
            body = struct.pack(">iBB", 0, 0, 0) + b"UTC\\0"
            head = b"TZif2" + bytes(15) + struct.pack(">6I", 0, 0, 0, 0, 1, 4)
            file = io.BytesIO(head + body + head + body + b"\\n" + text.encode() + b"\\n")
            zone = zoneinfo.ZoneInfo.from_file(file)
            return lambda at: int(d.datetime.fromtimestamp(at, zone).utcoffset().total_seconds())
        for text in sys.argv[1:]:
            out = array.array("q")
            offset = glibc(text) if ",J59" in text or any(
                part[0].isdigit() for part in text.split(",")[1:]) else info(text)
            for year in (1972, 2023, 2099):
                start = int(d.datetime(year, 1, 10, tzinfo=d.timezone.utc).timestamp())
                for at in range(start, start + 1_170 * 25_200, 25_200):
                    out.extend((at, offset(at)))
            out.tofile(sys.stdout.buffer)
        """

    private static func file(_ footer: String) -> [UInt8] {
        let head = Array("TZif2".utf8) + [UInt8](repeating: 0, count: 34) + [1, 0, 0, 0, 4]
        let body: [UInt8] = [0, 0, 0, 0, 0, 0] + Array("UTC\0".utf8)
        return head + body + head + body + Array("\n\(footer)\n".utf8)
    }

    private static func rules(_ footer: String) -> ZoneRules? {
        TZif.parse(file(footer), name: "Test", yearMax: 2_100)
    }

    /// A rule with one change in spring and one in autumn, as those of all zones have.
    private static func randomRule(_ random: inout SeededRandom) -> String {
        let isCounted = Bool.random(using: &random)
        func change(inSpring: Bool) -> String {
            let hours = isCounted ? 0...24 : -30...50
            let minutes = ["", ":30", ":07:09"].randomElement(using: &random) ?? ""
            let at = Int.random(in: hours, using: &random)
            let time = Bool.random(using: &random) ? "" : "/\(at)\(minutes)"
            let day = Int.random(in: inSpring ? 40...150 : 210...320, using: &random)
            if isCounted { return "\(day)\(time)" }
            if Bool.random(using: &random) { return "J\(max(61, day))\(time)" }
            let week = Int.random(in: 1...5, using: &random)
            let weekday = Int.random(in: 0...6, using: &random)
            let month = Int.random(in: inSpring ? 2...5 : 8...11, using: &random)
            return "M\(month).\(week).\(weekday)\(time)"
        }
        let west = Int.random(in: -14...12, using: &random)
        let hours = west - Int.random(in: 1...2, using: &random)
        let daylight = Bool.random(using: &random) ? "" : "\(hours)"
        let isNorth = Bool.random(using: &random)
        let changes = "\(change(inSpring: isNorth)),\(change(inSpring: !isNorth))"
        return "<+XX>\(west):15<SSS>\(daylight),\(changes)"
    }

    @Test func rulesAgreeWithZoneinfoAndTheCLibrary() throws {
        var random = SeededRandom.printed("footers")
        var footers = [
            "UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "IST-1GMT0,M10.5.0,M3.5.0/1", "<+0330>-3:30",
            "<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "EST5EDT4:30,J60/2,300/24", "AAA3BBB,J59,300",
            "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        ]
        for _ in 0..<(40 * testScale) { footers.append(Self.randomRule(&random)) }
        let expected = try ZoneInfo.run(Self.script, footers)
        let samples = 3 * 1_170
        try #require(expected.count == footers.count * samples * 2)
        for (index, footer) in footers.enumerated() {
            let rules = try #require(Self.rules(footer), "\(footer)")
            var wrong = 0
            for sample in 0..<samples {
                let at = (index * samples + sample) * 2
                if rules.offset(at: expected[at]) != expected[at + 1] { wrong += 1 }
            }
            #expect(wrong == 0, "\(footer): \(wrong) of \(samples)")
        }
    }

    @Test func daylightTimeThatLastsAllYearNeverEnds() throws {
        // RFC 8536 §3.3.1's own example: begins with the year, ends where the next begins.
        let rules = try #require(Self.rules("EST5EDT,0/0,J365/25"))
        for year in [1_971, 2_024, 2_025, 2_099] as [Int64] {
            let start = TollgateCore.Calendar.days(year: year, month: 1, day: 1) * 86_400
            for hour in stride(from: Int64(0), to: 366 * 24, by: 5) {
                #expect(rules.offset(at: start + hour * 3_600) == -4 * 3_600, "\(year) +\(hour) h")
            }
        }
    }

    @Test(arguments: [
        "AB0", "UTC", "UTC25", "UTC0X", "EST5EDT,M3.2.0", "EST5EDT,M13.2.0,M11.1.0",
        "EST5EDT,M3.6.0,M11.1.0", "EST5EDT,M3.2.7,M11.1.0", "EST5EDT,J0,J9", "EST5EDT,366,J9",
        "EST5EDT,M3.2.0/168,M11.1.0", "EST5EDT,M3.2.0,M11.1.0 ", "<+1>", "<+1",
    ])
    func aFooterThatIsNoRuleIsRefused(footer: String) {
        #expect(Self.rules(footer) == nil)
    }

    @Test func aLastTransitionOfLongAgoIsNotFollowedYearByYear() throws {
        var bytes = Self.file("CET-1CEST,M3.5.0,M10.5.0/3")
        // One transition, at -2^59, as the oldest of what zic calls fat files.
        let second = bytes.count - 28 - 10 - 44
        bytes[second + 35] = 1
        let oldest = [UInt8]([0xf8, 0, 0, 0, 0, 0, 0, 0]) + [0]
        bytes.insert(contentsOf: oldest, at: second + 44)
        let rules = try #require(TZif.parse(bytes, name: "Test", yearMax: 2_100))
        #expect(rules.transitions.count == 1 + 2 * 131)
    }

    @Test func aDamagedFileIsRefusedOrReadAndNeverTraps() throws {
        let path = "/usr/share/zoneinfo/Antarctica/Troll"
        let good = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        for length in 0..<good.count {
            _ = TZif.parse(Array(good[..<length]), name: "T", yearMax: 2_030)
        }
        var random = SeededRandom.printed("damaged zone file")
        for index in good.indices {
            var bytes = good
            bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            guard let rules = TZif.parse(bytes, name: "T", yearMax: 2_030) else { continue }
            for seconds in [Int64.min / 1_000, 0, 1_700_000_000, Int64.max / 1_000] {
                let period = TollgateCore.Calendar.interval(
                    of: .month, at: WallTime(seconds: seconds), zone: rules)
                #expect(period.start < period.end, "byte \(index)")
            }
        }
    }
}
