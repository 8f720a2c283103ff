import ArgumentParser
import TollgateClient
import TollgateWire

struct HealthCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "health", abstract: "Whether the daemon answers, and takes charges.",
        discussion: """
            Exit code 0: all is well. 1: it serves, and something wants to be seen to: a disk that \
            charges go past, a journal or a snapshot that lags, a clock that is not believed. 2: \
            it refuses charges, for the ledger's disk takes nothing. 69: it does not answer.

            What the ledger does is told on the admin socket, to who has the role admin; for \
            others the command says whether the daemon answers.
            """)
    @OptionGroup var options: DataOptions
    @Option(
        help: """
            The daemon's admin socket (default: TOLLGATE_ADMIN_SOCKET, or /run/tollgate/admin.sock).
            """,
        completion: .file())
    var adminSocket: String?
    @Flag(name: .shortAndLong, help: "Print nothing.") var quiet = false

    func run() throws {
        let (version, generation) = try options.ask { (client) throws(ClientError) in
            try client.hello()
        }
        let health = Health(ledger: try ledger())
        if !quiet {
            let style: OutputOptions.Style = health.code == 0 ? .green : .red
            let head = options.output.paint(health.word, style)
            let lines =
                ["\(head): version \(visible(version)), policy generation \(generation)"]
                + health.lines
            try options.output.print(
                .object(
                    [
                        ("healthy", .bool(health.code == 0)), ("version", .text(version)),
                        ("policy_generation", .count(generation)),
                    ] + health.members), lines.joined(separator: "\n"))
        }
        if health.code != 0 { throw ExitCode(health.code) }
    }

    /// `nil` when it is not for this user to ask, or the daemon is older than its ledger.
    private func ledger() throws -> LedgerHealth? {
        let path =
            adminSocket ?? environment("TOLLGATE_ADMIN_SOCKET") ?? "/run/tollgate/admin.sock"
        let client = BlockingClient(path: path, timeoutMilliseconds: options.timeout)
        do throws(ClientError) { return try client.perform(.ledgerStatus()) } catch {
            switch error {
            case .unreachable, .refused: return nil
            default:
                throw Failure(
                    error, SocketNames(option: "--admin-socket", variable: "TOLLGATE_ADMIN_SOCKET"))
            }
        }
    }
}

/// What a ledger's status comes to.
struct Health {
    /// Slots that wait longer than this are worth a word: a sync is due each second.
    static let lagMillisecondsMax: UInt64 = 5_000

    let ledger: LedgerHealth?
    /// What is wrong, and what to do.
    let problems: [(what: String, next: String)]

    init(ledger: LedgerHealth?) {
        self.ledger = ledger
        var problems: [(what: String, next: String)] = []
        if let trouble = ledger?.trouble {
            problems.append((trouble, ledger?.advice ?? "look at the daemon's log"))
        }
        if let ledger, ledger.trouble == nil, ledger.lagMilliseconds > Self.lagMillisecondsMax {
            problems.append(
                (
                    "charges of the last \(span(ledger.lagMilliseconds)) are not on the disk",
                    "the disk is slow or stuck: look at it, and at the daemon's log"
                ))
        }
        if ledger?.isClockHeld == true {
            problems.append(
                (
                    "the wall clock jumped ahead and is not believed: quotas go by the old one",
                    "if it is right now, say so: tollgate reload"
                ))
        }
        self.problems = problems
    }

    /// The exit code.
    var code: Int32 {
        if ledger?.state == .refusing { return 2 }
        return problems.isEmpty && ledger?.state != .unjournaled ? 0 : 1
    }

    var word: String { ["healthy", "degraded", "failing"][Int(code)] }

    var members: [(String, JSON)] {
        [
            ("ledger", ledger.map { .verbatim($0.json.text) } ?? .null),
            (
                "problems",
                .list(
                    problems.map { .object([("what", .text($0.what)), ("next", .text($0.next))]) })
            ),
        ]
    }

    var lines: [String] {
        var lines: [String] = []
        if let ledger { lines.append(pairs(Self.rows(of: ledger))) }
        for problem in problems {
            lines.append(visible("problem: \(problem.what)\n  \(problem.next)"))
        }
        return lines
    }

    private static func rows(of ledger: LedgerHealth) -> [(String, String)] {
        guard ledger.state != .off else {
            return [("ledger", "none: usage is forgotten when the daemon ends")]
        }
        let words: [LedgerHealth.State: String] = [
            .serving: "serving", .refusing: "refuses charges: its disk takes nothing",
            .unjournaled: "charges are counted in memory alone: its disk takes nothing",
        ]
        let path = ledger.path ?? "-"
        var rows = [
            ("ledger", "\(words[ledger.state] ?? ledger.state.rawValue), \(path)"),
            ("durability", ledger.durability?.rawValue ?? "-"),
            (
                "journal",
                "\(grouped(ledger.appended)) slots, \(waiting(ledger)); \(ledger.segments) files,"
                    + " \(bytes(Double(ledger.journalBytes)))"
            ),
        ]
        if let snapshot = ledger.snapshot {
            let age = max(0, Times.now * 1_000 - snapshot.at.milliseconds)
            rows.append(
                (
                    "snapshot",
                    "generation \(snapshot.generation), \(span(UInt64(age))) ago,"
                        + " \(bytes(Double(snapshot.bytes)))"
                ))
        } else {
            rows.append(("snapshot", "none yet"))
        }
        rows.append(
            (
                "open",
                "\(grouped(ledger.reservations)) reservations,"
                    + " \(grouped(ledger.idempotencyRecords)) idempotency records,"
                    + " \(grouped(ledger.closedWaiting)) closed periods to archive"
            ))
        return rows
    }

    private static func waiting(_ ledger: LedgerHealth) -> String {
        let behind = ledger.appended >= ledger.synced ? ledger.appended - ledger.synced : 0
        guard behind > 0 else { return "all on the disk" }
        return "\(grouped(behind)) not yet on the disk, for \(span(ledger.lagMilliseconds))"
    }
}
