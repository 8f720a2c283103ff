import ArgumentParser
import Glibc

/// Instants as they stand on the command line and as they are shown; in milliseconds since 1970.
enum Instants {
    /// ISO 8601 (`2026-12-31`, midnight UTC; `2026-12-31T18:00:00Z`; `2026-12-31T18:00+01:00`), or
    /// a length of time from now (`90d`).
    static func milliseconds(_ text: String) throws(ValidationError) -> Int64 {
        if let seconds = Lengths.parsed(text) { return (Times.now + seconds) * 1_000 }
        return try calendar(text, or: "from now (90d)")
    }

    /// As `milliseconds`, but a length of time is one before now.
    static func past(_ text: String) throws(ValidationError) -> Int64 {
        if let seconds = Lengths.parsed(text) { return (Times.now - seconds) * 1_000 }
        return try calendar(text, or: "ago (1h)")
    }

    private static func calendar(
        _ text: String, or length: String
    ) throws(ValidationError) -> Int64 {
        if let milliseconds = calendar(text) { return milliseconds }
        throw ValidationError(
            "an instant is a date in ISO 8601 (2026-12-31, 2026-12-31T18:00:00Z,"
                + " 2026-12-31T18:00:00+01:00) or a length of time \(length), not \"\(text)\"")
    }

    /// Date, perhaps with a time and then with its zone.
    private static func calendar(_ text: String) -> Int64? {
        var scanner = Scanner(text)
        guard let year = scanner.number(4), scanner.skip("-"), let month = scanner.number(2),
            scanner.skip("-"), let day = scanner.number(2),
            let midnight = midnight(year, month, day)
        else { return nil }
        if scanner.isAtEnd { return midnight * 1_000 }
        guard scanner.skip("T"), let hour = scanner.number(2), scanner.skip(":"),
            let minute = scanner.number(2), hour < 24, minute < 60
        else { return nil }
        var milliseconds: Int64 = 0
        if scanner.skip(":") {
            guard let second = scanner.number(2), second < 60 else { return nil }
            milliseconds = second * 1_000
            if scanner.skip(".") {
                guard let thousandths = scanner.number(3) else { return nil }
                milliseconds += thousandths
            }
        }
        guard let offset = scanner.zone(), scanner.isAtEnd else { return nil }
        return (midnight + hour * 3_600 + (minute - offset) * 60) * 1_000 + milliseconds
    }

    /// Seconds since 1970; `nil` for a day that is none, or before 1970.
    private static func midnight(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64? {
        var parts = tm()
        parts.tm_year = Int32(year - 1_900)
        parts.tm_mon = Int32(month - 1)
        parts.tm_mday = Int32(day)
        let seconds = Int64(timegm(&parts))
        // A day that the month has not becomes one of another month.
        return seconds >= 0 && parts.tm_mon == Int32(month - 1) ? seconds : nil
    }

    /// Reads a text from front to back.
    private struct Scanner {
        private var rest: Substring
        init(_ text: String) { rest = text[...] }

        var isAtEnd: Bool { rest.isEmpty }

        mutating func skip(_ character: Character) -> Bool {
            guard rest.first == character else { return false }
            rest = rest.dropFirst()
            return true
        }

        /// Exactly that many digits.
        mutating func number(_ count: Int) -> Int64? {
            let digits = rest.prefix(count)
            guard digits.count == count, digits.allSatisfy({ ("0"..."9").contains($0) }) else {
                return nil
            }
            rest = rest.dropFirst(count)
            return Int64(digits)
        }

        /// Minutes east of UTC: `Z`, `+01:00`.
        mutating func zone() -> Int64? {
            if skip("Z") { return 0 }
            let sign: Int64 = skip("+") ? 1 : skip("-") ? -1 : 0
            guard sign != 0, let hours = number(2), skip(":"), let minutes = number(2), hours < 24,
                minutes < 60
            else { return nil }
            return sign * (hours * 60 + minutes)
        }
    }
}
