import ArgumentParser
import Glibc

/// How a command prints: the same for all of them.
struct OutputOptions: ParsableArguments {
    @Flag(help: "Print JSON.") var json = false
    @Flag(name: .customLong("no-color"), help: "No colours, on a terminal either.")
    var noColor = false

    enum Style: String {
        case green = "32", red = "31", dim = "2", bold = "1"
    }

    /// The text, in colour where that is wanted: on a terminal that has colours, and without
    /// NO_COLOR (no-color.org).
    func paint(_ text: String, _ style: Style) -> String {
        let isWanted =
            !noColor && Console.isTerminal && (environment("NO_COLOR") ?? "").isEmpty
            && environment("TERM") != "dumb"
        return isWanted ? "\u{1b}[\(style.rawValue)m\(text)\u{1b}[0m" : text
    }

    func print(_ json: JSON, _ text: @autoclosure () -> String) throws {
        try Console.print(self.json ? json.text : text())
    }
}

/// Standard output and standard error, unbuffered, with their errors.
enum Console {
    /// The reader of standard output went away. The main thread's alone.
    private(set) nonisolated(unsafe) static var isClosed = false

    static var isTerminal: Bool { isatty(1) == 1 }

    /// Writes a line, or lines. When the reader went away that is no failure: it has what it wants.
    static func print(_ text: String, isLine: Bool = true) throws {
        guard !isClosed, let code = write(isLine ? text + "\n" : text, to: 1) else { return }
        guard code == EPIPE else {
            throw Failure(.output, "cannot write the output: \(systemText(code))")
        }
        isClosed = true
    }

    static func printError(_ text: String, isLine: Bool = true) {
        // There is nobody left to tell.
        _ = write(isLine ? text + "\n" : text, to: 2)
    }

    /// An errno, or `nil`.
    private static func write(_ text: String, to descriptor: Int32) -> Int32? {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                return errno
            }
        }
        return nil
    }
}

func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
