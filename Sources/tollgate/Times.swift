import Glibc

/// Seconds since 1970 as people read them.
enum Times {
    /// What a calendar can show: the years 1 to 9999.
    static let secondsRange = -62_135_596_800.0...253_402_300_799.0

    /// `2026-11-24T21:23:20Z`, rounded down to the second; `nil` outside of `secondsRange`.
    static func calendar(_ seconds: Double) -> String? {
        guard secondsRange.contains(seconds) else { return nil }
        var instant = time_t(seconds.rounded(.down))
        var parts = tm()
        guard gmtime_r(&instant, &parts) != nil else { return nil }
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let year = String(parts.tm_year + 1_900)
        let padded = String(repeating: "0", count: max(0, 4 - year.count)) + year
        return "\(padded)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T\(two(parts.tm_hour)):"
            + "\(two(parts.tm_min)):\(two(parts.tm_sec))Z"
    }

    /// `2026-11-24T21:23:20Z`, rounded down to the second.
    static func shown(_ milliseconds: Int64) -> String {
        calendar((Double(milliseconds) / 1_000).rounded(.down)) ?? "\(milliseconds) ms"
    }

    /// `3 min ago`, `in 9 min`, `now`.
    static func distance(_ seconds: Double, from now: Double) -> String {
        let apart = seconds - now
        if abs(apart) < 1 { return "now" }
        let words = span(UInt64(min(abs(apart), 1e12) * 1_000))
        return apart < 0 ? "\(words) ago" : "in \(words)"
    }

    static var now: Int64 { Int64(time(nil)) }
}
