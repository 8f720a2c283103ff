import CLinux
import Glibc
import TollgateCore

/// Lines on standard error: text, or one JSON object each. At most `linesPerSecondMax` a second;
/// what was left out is counted in the next line that is let through. Nobody may hand it a secret.
package final class Log: Sendable {
    package enum Level: Int, Sendable { case error, warning, info, debug }
    package static let linesPerSecondMax = 50

    private let level: Level
    private let isJSON: Bool
    /// systemd's `<N>` prefixes, when its journal reads standard error.
    private let hasPriorities: Bool
    private let lock = Lock()
    // Guarded by the lock.
    private nonisolated(unsafe) var second: Int64 = 0
    private nonisolated(unsafe) var lines = 0
    private nonisolated(unsafe) var suppressed = 0

    package init(level: Level, isJSON: Bool, hasPriorities: Bool) {
        self.level = level
        self.isJSON = isJSON
        self.hasPriorities = hasPriorities
    }

    package func error(_ message: String) { write(.error, message) }
    package func warning(_ message: String) { write(.warning, message) }
    package func info(_ message: String) { write(.info, message) }
    package func debug(_ message: String) { write(.debug, message) }

    private func write(_ level: Level, _ message: String) {
        guard level.rawValue <= self.level.rawValue else { return }
        let now = tg_walltime()
        lock.lock()
        if now / 1_000 != second { (second, lines) = (now / 1_000, 0) }
        lines += 1
        let isAllowed = lines <= Self.linesPerSecondMax
        let missed = suppressed
        suppressed = isAllowed ? 0 : suppressed + 1
        lock.unlock()
        guard isAllowed else { return }
        var line = format(level, message, now, missed: missed)
        line.withUTF8 { _ = Glibc.write(2, $0.baseAddress, $0.count) }
    }

    private func format(_ level: Level, _ message: String, _ now: Int64, missed: Int) -> String {
        let words = missed > 0 ? "\(message) (\(missed) lines left out before)" : message
        if isJSON {
            return "{\"ts\":\"\(Self.timestamp(now))\",\"level\":\"\(level)\","
                + "\"msg\":\(ClaimValue.quoted(words))}\n"
        }
        let priority = hasPriorities ? ["<3>", "<4>", "<6>", "<7>"][level.rawValue] : ""
        // A message is one line, whatever a file name or an error holds.
        let plain = String(words.unicodeScalars.map { $0.value < 0x20 ? " " : Character($0) })
        return hasPriorities
            ? "\(priority)\(level): \(plain)\n"
            : "\(Self.timestamp(now)) \(level): \(plain)\n"
    }

    /// RFC 3339, UTC, milliseconds.
    static func timestamp(_ milliseconds: Int64) -> String {
        let days = milliseconds / 86_400_000
        let date = TollgateCore.Calendar.civil(fromDays: days)
        let rest = milliseconds - days * 86_400_000
        func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let fraction = rest % 1_000
        let padded = String(repeating: "0", count: 3 - String(fraction).count) + String(fraction)
        return "\(date.year)-\(two(date.month))-\(two(date.day))T\(two(rest / 3_600_000)):"
            + "\(two(rest / 60_000 % 60)):\(two(rest / 1_000 % 60)).\(padded)Z"
    }
}
