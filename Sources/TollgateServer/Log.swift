import CLinux
import Glibc
import TollgateCore

/// Lines on standard error: text, or one JSON object each. At most `linesPerSecondMax` a second;
/// what was left out is counted in the next line that is let through. Nobody may hand it a secret.
///
/// Never waits: a line that standard error does not take at once is left out and counted too, for
/// a reader that has stopped must not stop the daemon.
package final class Log: Sendable {
    package enum Level: Int, Sendable { case error, warning, info, debug }
    package static let linesPerSecondMax = 50
    /// A pipe takes a line of this size whole or not at all (pipe(7), PIPE_BUF).
    package static let lineBytesMax = 4_096

    package let level: Level
    private let isJSON: Bool
    /// systemd's `<N>` prefixes, when its journal reads standard error.
    private let hasPriorities: Bool
    private let descriptor: Int32
    private let lock = Lock()
    // Guarded by the lock.
    private nonisolated(unsafe) var second: Int64 = 0
    private nonisolated(unsafe) var lines = 0
    private nonisolated(unsafe) var suppressed = 0

    package init(level: Level, isJSON: Bool, hasPriorities: Bool, descriptor: Int32 = 2) {
        self.level = level
        self.isJSON = isJSON
        self.hasPriorities = hasPriorities
        self.descriptor = descriptor
    }

    package func error(_ message: String) { write(.error, message) }
    package func warning(_ message: String) { write(.warning, message) }
    package func info(_ message: String) { write(.info, message) }
    package func debug(_ message: String) { write(.debug, message) }

    package func write(_ level: Level, _ message: String) {
        guard level.rawValue <= self.level.rawValue else { return }
        let now = tg_walltime()
        lock.lock()
        defer { lock.unlock() }
        if now / 1_000 != second { (second, lines) = (now / 1_000, 0) }
        lines += 1
        guard lines <= Self.linesPerSecondMax else {
            suppressed += 1
            return
        }
        var line = format(level, message, now, missed: suppressed)
        let isWritten = line.withUTF8 {
            tg_write_ready(descriptor, $0.baseAddress, $0.count) == $0.count
        }
        suppressed = isWritten ? 0 : suppressed + 1
    }

    private func format(_ level: Level, _ message: String, _ now: Int64, missed: Int) -> String {
        let said = missed > 0 ? "\(message) (\(missed) lines left out before)" : message
        // Names are others' words. Of plain controls JSON takes care, and lines below.
        let words = Self.spelledOut(said)
        let priority = hasPriorities ? ["<3>", "<4>", "<6>", "<7>"][level.rawValue] : ""
        if isJSON {
            // Escapes make a text longer, by six times at most.
            let text = Self.prefix(of: words, bytes: (Self.lineBytesMax - 128) / 6)
            return "\(priority){\"ts\":\"\(Self.timestamp(now))\",\"level\":\"\(level)\","
                + "\"msg\":\(ClaimValue.quoted(text))}\n"
        }
        // A message is one line, whatever a file name or an error holds.
        let plain = String(
            Self.prefix(of: words, bytes: Self.lineBytesMax - 64).unicodeScalars.map {
                $0.value < 0x20 || $0.value == 0x7f ? " " : Character($0)
            })
        return hasPriorities
            ? "\(priority)\(level): \(plain)\n" : "\(Self.timestamp(now)) \(level): \(plain)\n"
    }

    private static func spelledOut(_ text: String) -> String {
        let isHidden = { (scalar: Unicode.Scalar) in
            scalar.value >= 0x80 && VisibleText.isHidden(scalar)
        }
        guard text.unicodeScalars.contains(where: isHidden) else { return text }
        return text.unicodeScalars.reduce(into: "") { shown, scalar in
            shown += isHidden(scalar)
                ? VisibleText.spelledOut(String(scalar)) : String(Character(scalar))
        }
    }

    /// As many whole characters as fit.
    private static func prefix(of text: String, bytes: Int) -> String {
        guard text.utf8.count > bytes else { return text }
        var kept = String.UnicodeScalarView()
        var left = bytes - 3
        for scalar in text.unicodeScalars {
            left -= UTF8.width(scalar)
            guard left >= 0 else { break }
            kept.append(scalar)
        }
        return String(kept) + "…"
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
