import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateServer

@Suite struct UsagePeriodTests {
    @Test func aMonthAndADayNameTheirLocalDays() {
        #expect(UsagePeriod("1970-01")?.days == 0...30)
        #expect(UsagePeriod("1970-01-01")?.days == 0...0)
        #expect(UsagePeriod("2024-02")?.days.count == 29)
        #expect(UsagePeriod("2023-02")?.days.count == 28)
        let december = UsagePeriod("2026-12")?.days
        #expect(december?.upperBound == UsagePeriod("2026-12-31")?.days.lowerBound)
        #expect(UsagePeriod("9999-12-31") != nil)
    }

    @Test(arguments: [
        "", "2026", "2026-", "2026-1", "2026-13", "2026-00", "2026-02-29", "2026-02-00",
        "2026-04-31", "2026-10-1", "2026-10-011", "1969-12", "0000-01", "+026-10", "2026-10-31-1",
        "2026/10", " 2026-10", "２０２６-10", "2026-1o",
    ])
    func whatIsNoneIsRefused(text: String) { #expect(UsagePeriod(text) == nil) }

    @Test func itIsOverWhenItIsOverInTheWest() {
        let over = UsagePeriod("1970-01-01")?.isOverEverywhereAt
        #expect(over == WallTime(milliseconds: 36 * 3_600_000))
    }

    @Test func everyDayOfAMonthIsOneOfItsDays() {
        var random = SeededRandom.printed("usage periods")
        func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        for _ in 0..<500 {
            let day = Int64.random(in: 0..<2_932_896, using: &random)
            let date = Calendar.civil(fromDays: day)
            let text = "\(date.year)-\(two(date.month))"
            #expect(UsagePeriod(text)?.days.contains(UInt32(day)) == true)
            #expect(UsagePeriod("\(text)-\(two(date.day))")?.days == UInt32(day)...UInt32(day))
        }
    }

    private static func closed(_ change: (inout ClosedPeriod) -> Void) throws -> ClosedPeriod {
        var bytes = [UInt8](repeating: 0, count: ClosedPeriod.headerBytes)
        (bytes[2], bytes[4], bytes[5]) = (1, 4, 3)
        bytes += Array("acmeada".utf8)
        var period = try #require(bytes.withUnsafeBytes { ClosedPeriod($0) })
        change(&period)
        return period
    }

    @Test func aClosedPeriodIsToldWithItsQuotasNames() throws {
        let period = try Self.closed {
            $0.used = 12
            $0.startDay = 20_741
            $0.endSeconds = 1_794_614_400
        }
        let usage = try #require(
            PeriodUsage(period, counter: "q monthly_tokens tokens 4", isOpen: false))
        #expect(usage.limit == "monthly_tokens" && usage.meter == "tokens" && usage.used == 12)
        #expect(usage.period == .billingMonth && usage.beginsOn == "2026-10-15")
        #expect(usage.endsAt?.milliseconds == 1_794_614_400_000 && usage.user == "ada")
        #expect(!usage.isShare)
        let share = try #require(
            PeriodUsage(period, counter: "m monthly_tokens tokens 4", isOpen: false))
        #expect(share.isShare && share.limit == "monthly_tokens" && share.user == "ada")
        #expect(share.used == 12)
        let endless = try Self.closed { $0.endSeconds = .max }
        let total = PeriodUsage(endless, counter: "q all calls 5", isOpen: true)
        #expect(total?.endsAt == nil && total?.beginsOn == "1970-01-01" && total?.isOpen == true)
        for name in ["w per_minute calls", "q all calls", "q all calls 9", "q all calls x", ""] {
            #expect(PeriodUsage(endless, counter: name, isOpen: true) == nil)
        }
    }
}
