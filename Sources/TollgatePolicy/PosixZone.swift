import TollgateCore

/// The rule in a TZif footer: a TZ string of POSIX with the extensions of RFC 8536 §3.3.1, such
/// as `CET-1CEST,M3.5.0,M10.5.0/3`.
struct PosixZone {
    private var standard: Int32
    private var daylight: Int32?
    private var begin = Change(kind: .monthWeek(3, 2, 0), seconds: 7_200)
    private var end = Change(kind: .monthWeek(11, 1, 0), seconds: 7_200)
    /// A rule is not written out for years before this: no period there is ever asked for, and a
    /// file may name a last transition as old as it likes.
    private static let yearMin: Int64 = 1_970
    /// Hours of an offset (RFC 8536 §3.3.1), and of a change's time of day.
    private static let offsetHoursMax: Int64 = 24
    private static let changeHoursMax: Int64 = 167

    private struct Change {
        enum Kind {
            /// Day 1 to 365, without 29 February.
            case julian(Int64)
            /// Day 0 to 365.
            case dayOfYear(Int64)
            /// Month, week (5 is the last), weekday (0 is Sunday).
            case monthWeek(Int64, Int64, Int64)
        }
        var kind: Kind
        /// Local time of day, -167 to 167 hours.
        var seconds: Int64
    }

    init?(_ text: String) {
        var scanner = Scanner(Array(text.utf8))
        guard scanner.name(), let west = scanner.time(hoursMax: Self.offsetHoursMax) else {
            return nil
        }
        standard = Int32(-west)
        guard !scanner.isAtEnd else { return }
        guard scanner.name() else { return nil }
        daylight = standard + 3_600
        if !scanner.isAtEnd, scanner.peek != UInt8(ascii: ",") {
            guard let west = scanner.time(hoursMax: Self.offsetHoursMax) else { return nil }
            daylight = Int32(-west)
        }
        guard !scanner.isAtEnd else { return }
        guard let begin = scanner.change(), let end = scanner.change(), scanner.isAtEnd else {
            return nil
        }
        self.begin = begin
        self.end = end
    }

    /// Adds the transitions after the last recorded one, through the year `last`.
    func extend(_ rules: inout ZoneRules, through last: Int64) {
        guard let daylight else {
            if rules.transitions.isEmpty { rules.firstOffset = standard }
            return
        }
        let recorded = rules.transitions.last ?? Int64.min
        let from = max(
            Self.yearMin, TollgateCore.Calendar.civil(fromDays: recorded / 86_400 - 1).year)
        guard from <= last else { return }
        var changes: [(instant: Int64, offset: Int32, isDaylight: Bool)] = []
        for year in from...last {
            changes.append((Self.instant(begin, year) - Int64(standard), daylight, true))
            changes.append((Self.instant(end, year) - Int64(daylight), standard, false))
        }
        // Where daylight time ends and begins again at one instant (a rule that has it all year,
        // RFC 8536 §3.3.1), it goes on.
        changes.sort {
            $0.instant == $1.instant ? $1.isDaylight && !$0.isDaylight : $0.instant < $1.instant
        }
        for change in changes where change.instant > recorded {
            if rules.transitions.last == change.instant {
                rules.offsets[rules.offsets.count - 1] = change.offset
            } else if rules.offsets.last ?? rules.firstOffset != change.offset {
                rules.transitions.append(change.instant)
                rules.offsets.append(change.offset)
            }
        }
    }

    /// Local seconds since 1970 of a change in a year.
    private static func instant(_ change: Change, _ year: Int64) -> Int64 {
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let first = TollgateCore.Calendar.days(year: year, month: 1, day: 1)
        var day: Int64
        switch change.kind {
        case .julian(let number): day = first + number - 1 + (isLeap && number >= 60 ? 1 : 0)
        case .dayOfYear(let number): day = first + number
        case .monthWeek(let month, let week, let weekday):
            day = TollgateCore.Calendar.days(year: year, month: month, day: 1)
            let next =
                month == 12
                ? TollgateCore.Calendar.days(year: year + 1, month: 1, day: 1)
                : TollgateCore.Calendar.days(year: year, month: month + 1, day: 1)
            // 1970-01-01 was a Thursday.
            let of = (day + 4) % 7
            day += (weekday - of + 7) % 7 + 7 * (week - 1)
            while day >= next { day -= 7 }
        }
        return day * 86_400 + change.seconds
    }

    private struct Scanner {
        private let bytes: [UInt8]
        private var at = 0

        init(_ bytes: [UInt8]) { self.bytes = bytes }

        var isAtEnd: Bool { at >= bytes.count }
        var peek: UInt8 { isAtEnd ? 0 : bytes[at] }

        mutating func take(_ character: Character) -> Bool {
            guard peek == character.asciiValue, !isAtEnd else { return false }
            at += 1
            return true
        }

        /// `CET`, or `<+03>`.
        mutating func name() -> Bool {
            let start = at
            if take("<") {
                while !isAtEnd, peek != UInt8(ascii: ">") { at += 1 }
                return take(">")
            }
            while (0x41...0x5a).contains(peek & 0xdf), peek >= 0x41 { at += 1 }
            return at - start >= 3
        }

        mutating func number(max: Int64) -> Int64? {
            let start = at
            var value: Int64 = 0
            while (0x30...0x39).contains(peek), at - start < 4 {
                value = value * 10 + Int64(peek - 0x30)
                at += 1
            }
            return at > start && value <= max ? value : nil
        }

        /// `[+-]h[h[h]][:mm[:ss]]`, in seconds.
        mutating func time(hoursMax: Int64) -> Int64? {
            let isNegative = take("-")
            if !isNegative { _ = take("+") }
            guard let hours = number(max: hoursMax) else { return nil }
            var seconds = hours * 3_600
            if take(":") {
                guard let minutes = number(max: 59) else { return nil }
                seconds += minutes * 60
                if take(":") {
                    guard let rest = number(max: 59) else { return nil }
                    seconds += rest
                }
            }
            return isNegative ? -seconds : seconds
        }

        mutating func change() -> Change? {
            guard take(",") else { return nil }
            var kind: Change.Kind
            if take("M") {
                guard let month = number(max: 12), month > 0, take("."), let week = number(max: 5),
                    week > 0, take("."), let weekday = number(max: 6)
                else { return nil }
                kind = .monthWeek(month, week, weekday)
            } else if take("J") {
                guard let day = number(max: 365), day > 0 else { return nil }
                kind = .julian(day)
            } else {
                guard let day = number(max: 365) else { return nil }
                kind = .dayOfYear(day)
            }
            guard take("/") else { return Change(kind: kind, seconds: 7_200) }
            guard let seconds = time(hoursMax: PosixZone.changeHoursMax) else { return nil }
            return Change(kind: kind, seconds: seconds)
        }
    }
}
