import CLinux
import Glibc

/// One line on a terminal's standard error that says how far a long command is; nothing elsewhere.
struct Progress {
    private let isShown = isatty(2) == 1
    private var isDrawn = false
    private var last: UInt64 = 0
    private static let nanosecondsBetween: UInt64 = 200_000_000

    mutating func show(_ text: String) {
        let now = tg_boottime()
        guard isShown, !isDrawn || now - last >= Self.nanosecondsBetween else { return }
        (last, isDrawn) = (now, true)
        Console.printError("\r\u{1b}[K" + visible(text), isLine: false)
    }

    /// Takes the line away, before anything else is said.
    mutating func clear() {
        if isDrawn { Console.printError("\r\u{1b}[K", isLine: false) }
        isDrawn = false
    }
}
