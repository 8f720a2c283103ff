import TollgateCore
import TollgateWire

/// A month or a day that calls of usage name: the periods that began in it.
struct UsagePeriod: Sendable, Equatable {
    /// Local days since 1970.
    let days: ClosedRange<UInt32>

    /// `2026-10` or `2026-10-31`; `nil` for what is none of the calendar's from 1970 to 9999.
    init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { part -> Int64? in
            part.utf8.allSatisfy { (0x30...0x39).contains($0) } ? Int64(part) : nil
        }
        guard numbers.count == parts.count, (2...3).contains(parts.count),
            parts.enumerated().allSatisfy({ $1.utf8.count == ($0 == 0 ? 4 : 2) }),
            (1970...9999).contains(numbers[0]), (1...12).contains(numbers[1])
        else { return nil }
        let (year, month) = (numbers[0], numbers[1])
        let first = Calendar.days(year: year, month: month, day: 1)
        let next = Calendar.days(
            year: month == 12 ? year + 1 : year, month: month == 12 ? 1 : month + 1, day: 1)
        guard parts.count == 3 else {
            days = UInt32(first)...UInt32(next - 1)
            return
        }
        let day = first + numbers[2] - 1
        guard numbers[2] >= 1, day < next else { return nil }
        days = UInt32(day)...UInt32(day)
    }

    /// The instant from which on it is over in every time zone.
    var isOverEverywhereAt: WallTime {
        let westernmostHours: Int64 = 12
        return WallTime(
            milliseconds: ((Int64(days.upperBound) + 1) * 24 + westernmostHours) * 3_600_000)
    }
}

extension PeriodUsage {
    /// What a counter's name and its period say; `nil` for a counter that is no quota. Members'
    /// shares of an organization's quota have the quota's name.
    init?(_ period: ClosedPeriod, counter name: String, isOpen: Bool) {
        let parts = name.split(separator: " ").map(String.init)
        guard parts.count == 4, parts[0] == "q" || (parts[0] == "m" && period.user != nil),
            let kind = UInt8(parts[3]).flatMap({ PeriodKind(rawValue: $0) }),
            let word = PlanInfo.Period(rawValue: kind.word)
        else { return nil }
        let date = Calendar.civil(fromDays: Int64(period.startDay))
        func padded(_ number: Int64, _ digits: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, digits - text.count)) + text
        }
        let isEndless = period.endSeconds == .max || period.endSeconds < 0
        self.init(
            organization: period.organization, isPersonal: period.isPersonal, user: period.user,
            limit: parts[1], meter: parts[2], period: word,
            beginsOn: [padded(date.year, 4), padded(date.month, 2), padded(date.day, 2)]
                .joined(separator: "-"),
            endsAt: isEndless
                ? nil : Timestamp(milliseconds: period.endSeconds.multipliedReportingOverflow(
                    by: 1_000).partialValue),
            used: period.used, isOpen: isOpen, isShare: parts[0] == "m",
            credits: period.credits)
    }
}
