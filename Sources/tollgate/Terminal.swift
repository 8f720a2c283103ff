import ArgumentParser
import Glibc
import TollgateClient
import TollgateCore
import TollgateWire

/// Sockets and output, the same for all commands.
struct DataOptions: ParsableArguments {
    @Option(help: "The daemon's data socket (default: TOLLGATE_SOCKET, or /run/tollgate/tollgate.sock).")
    var socket: String?
    @Option(help: "Milliseconds to wait for an answer.") var timeout = 2_000
    @Flag(help: "Print JSON.") var json = false

    var client: BlockingClient {
        let path = socket ?? environment("TOLLGATE_SOCKET") ?? "/run/tollgate/tollgate.sock"
        return BlockingClient(path: path, timeoutMilliseconds: timeout)
    }
}

struct AdminOptions: ParsableArguments {
    @Option(
        help: "The daemon's admin socket (default: TOLLGATE_ADMIN_SOCKET, or /run/tollgate/admin.sock).")
    var adminSocket: String?
    @Option(help: "Milliseconds to wait for an answer.") var timeout = 5_000
    @Flag(help: "Print JSON.") var json = false

    var client: BlockingClient {
        let path =
            adminSocket ?? environment("TOLLGATE_ADMIN_SOCKET") ?? "/run/tollgate/admin.sock"
        return BlockingClient(path: path, timeoutMilliseconds: timeout)
    }
}

func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

func printError(_ text: String) {
    var line = "tollgate: \(text)\n"
    line.withUTF8 { _ = write(2, $0.baseAddress, $0.count) }
}

/// Runs `work`, and ends with the exit code that its failure stands for.
func orExit<T>(_ work: () throws(ClientError) -> T) throws -> T {
    do { return try work() } catch {
        printError(error.description)
        switch error {
        case .unreachable, .timedOut, .disconnected, .cancelled, .tooManyWaiting:
            throw ExitCode(69)
        case .refused(.policyInvalid, _): throw ExitCode(78)
        case .refused, .invalidRequest: throw ExitCode(64)
        case .malformedReply: throw ExitCode(70)
        }
    }
}

enum Style: String {
    case green = "32", red = "31", dim = "2", bold = "1"

    /// The text, in colour when standard output is a terminal and NO_COLOR is not set.
    static func paint(_ text: String, _ style: Style) -> String {
        let isWanted = isatty(1) == 1 && (environment("NO_COLOR") ?? "").isEmpty
        return isWanted ? "\u{1b}[\(style.rawValue)m\(text)\u{1b}[0m" : text
    }
}

/// Columns as wide as their widest cell; numbers to the right.
func table(_ header: [String], _ rows: [[String]]) -> String {
    let all = [header] + rows
    let widths = header.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    return all.map { row in
        row.enumerated().map { column, cell in
            let gap = String(repeating: " ", count: widths[column] - cell.count)
            let isNumber = cell.first?.isNumber == true
            return isNumber ? gap + cell : cell + gap
        }.joined(separator: "  ").trimmed
    }.joined(separator: "\n")
}

extension String {
    var trimmed: String {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}

/// Milliseconds in words: `350 ms`, `12 s`, `5 min`, `3 h`, `12 d`.
func span(_ milliseconds: UInt64) -> String {
    switch milliseconds {
    case UInt64.max: "never"
    case ..<1_000: "\(milliseconds) ms"
    case ..<120_000: "\(milliseconds / 1_000) s"
    case ..<7_200_000: "\(milliseconds / 60_000) min"
    case ..<172_800_000: "\(milliseconds / 3_600_000) h"
    default: "\(milliseconds / 86_400_000) d"
    }
}

/// A JSON object of members that are JSON already.
func object(_ members: [(String, String)]) -> String {
    "{" + members.map { ClaimValue.quoted($0.0) + ":" + $0.1 }.joined(separator: ",") + "}"
}

extension LimitEntry {
    var json: String {
        object([
            ("kind", ClaimValue.quoted("\(kind)")), ("scope", ClaimValue.quoted("\(scope)")),
            ("name", ClaimValue.quoted(name)), ("meter", ClaimValue.quoted(meter)),
            ("used", "\(used)"), ("limit", "\(limit)"), ("remaining", "\(remaining)"),
            ("reset_ms", "\(resetMilliseconds)"), ("length_ms", "\(lengthMilliseconds)"),
            ("refuses", "\(refuses)"),
        ])
    }

    static let header = ["LIMIT", "SCOPE", "METER", "USED", "OF", "LEFT", "WINDOW", "RESET IN"]

    var row: [String] {
        [
            name, "\(scope)", meter, "\(used)", "\(limit)", "\(remaining)",
            span(lengthMilliseconds),
            resetMilliseconds == 0 ? "-" : span(resetMilliseconds),
        ]
    }
}
