import ArgumentParser
import TollgateClient
import TollgateWire

struct HealthCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "health", abstract: "Whether the daemon answers, and takes charges.",
        discussion: """
            Exit code 0: all is well. 1: it serves, and something wants to be seen to: a disk that \
            charges go past, a journal or a snapshot that lags, a clock that is not believed, \
            decisions left out of the audit log, alerts that cannot be written or that nobody \
            delivers. 2: it refuses charges, for the ledger's disk takes nothing; or requests, for \
            the audit log's does not and nothing is to be decided unrecorded (overload: block), as \
            soon as no more find room in memory. 69: it does not answer.

            What the ledger, the audit log and the alerts do is told on the admin socket, to who \
            has the role admin; for others the command says whether the daemon answers, and what \
            it could not see: "answers", not "healthy", and with --json "healthy" is null.
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
        let health = try look()
        if !quiet {
            let style: OutputOptions.Style =
                health.code != 0 ? .red : health.unseen == nil ? .green : .dim
            let head = options.output.paint(health.word, style)
            let lines =
                ["\(head): version \(visible(version)), policy generation \(generation)"]
                + health.lines
            try options.output.print(
                .object(
                    [
                        ("healthy", health.unseen == nil ? .bool(health.code == 0) : .null),
                        ("version", .text(version)),
                        ("policy_generation", .count(generation)),
                    ] + health.members), lines.joined(separator: "\n"))
        }
        if health.code != 0 { throw ExitCode(health.code) }
    }

    /// Of the ledger too, unless it is not for this user to ask, or there is no way to.
    private func look() throws -> Health {
        let path =
            adminSocket ?? environment("TOLLGATE_ADMIN_SOCKET") ?? "/run/tollgate/admin.sock"
        let client = BlockingClient(path: path, timeoutMilliseconds: options.timeout)
        do throws(ClientError) {
            return Health(
                ledger: try client.perform(.ledgerStatus()),
                statistics: try client.statistics())
        } catch {
            switch error {
            case .unreachable:
                return Health(unseen: "nobody answers at the admin socket \(path)")
            case .refused:
                return Health(unseen: "the daemon does not tell this user at \(path)")
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

    /// `nil` when it was not seen, and `unseen` says why.
    let ledger: LedgerHealth?
    let unseen: String?
    /// What is wrong, and what to do.
    let problems: [(what: String, next: String)]
    let shadow: Shadow?
    /// `nil` as well where there is none.
    let audit: AuditHealth?
    let alerts: AlertsHealth?

    /// What refuses nobody, and what that comes to.
    struct Shadow {
        /// The policy as a whole.
        let isPolicy: Bool
        let limits: UInt64
        /// Since the daemon's start.
        let wouldDeny: UInt64

        init(_ statistics: [StatisticEntry]) {
            func sum(_ prefix: String) -> UInt64 {
                statistics.lazy.filter { $0.name.hasPrefix(prefix) }.reduce(0) { $0 &+ $1.value }
            }
            isPolicy = sum("tollgate_policy_in_shadow") > 0
            limits = sum("tollgate_policy_limits_in_shadow")
            wouldDeny = sum("tollgate_would_deny_total{")
        }

        var isSome: Bool { isPolicy || limits > 0 || wouldDeny > 0 }

        var text: String {
            let what = isPolicy
                ? "the whole policy: no limit and no permission refuses"
                : limits == 0 ? "nothing now" : limits == 1 ? "1 limit" : "\(limits) limits"
            return what + "; \(grouped(wouldDeny)) times one would have refused, since the start"
        }
    }

    /// Of a daemon that answers, and whose ledger cannot be asked for.
    init(unseen: String) {
        (ledger, self.unseen, problems, shadow) = (nil, unseen, [], nil)
        (audit, alerts) = (nil, nil)
    }

    init(ledger: LedgerHealth, statistics: [StatisticEntry]) {
        (self.ledger, unseen, shadow) = (ledger, nil, Shadow(statistics))
        (audit, alerts) = (AuditHealth(statistics), AlertsHealth(statistics))
        var problems: [(what: String, next: String)] = []
        if let trouble = ledger.trouble {
            problems.append((trouble, ledger.advice ?? "look at the daemon's log"))
        }
        if ledger.trouble == nil, ledger.lagMilliseconds > Self.lagMillisecondsMax {
            problems.append(
                (
                    "charges of the last \(span(ledger.lagMilliseconds)) are not on the disk",
                    "the disk is slow or stuck: look at it, and at the daemon's log"
                ))
        }
        if ledger.isClockHeld {
            problems.append(
                (
                    "the wall clock is far ahead and is not believed: quotas go by the old one",
                    "if it is right now, say so: tollgate reload"
                ))
        }
        if let problem = audit?.problem { problems.append(problem) }
        problems += alerts?.problems ?? []
        self.problems = problems
    }

    /// The exit code.
    var code: Int32 {
        if ledger?.state == .refusing || audit?.state == .refusing { return 2 }
        return problems.isEmpty && ledger?.state != .unjournaled ? 0 : 1
    }

    var word: String {
        unseen == nil ? ["healthy", "degraded", "failing"][Int(code)] : "answers"
    }

    var members: [(String, JSON)] {
        [
            ("ledger", ledger.map { .verbatim($0.json.text) } ?? .null),
            ("audit", audit?.json ?? .null), ("alerts", alerts?.json ?? .null),
            ("not_seen", .optional(unseen.map { "the ledger: \($0)" })),
            (
                "shadow",
                shadow.map {
                    .object([
                        ("policy", .bool($0.isPolicy)), ("limits", .count($0.limits)),
                        ("would_deny", .count($0.wouldDeny)),
                    ])
                } ?? .null
            ),
            (
                "problems",
                .list(
                    problems.map { .object([("what", .text($0.what)), ("next", .text($0.next))]) })
            ),
        ]
    }

    var lines: [String] {
        var lines: [String] = []
        var others: [(String, String)] = []
        if let audit { others.append(("audit", audit.text)) }
        if let alerts { others.append(("alerts", alerts.text)) }
        if let shadow, shadow.isSome { others.append(("in shadow", shadow.text)) }
        if let ledger { lines.append(pairs(Self.rows(of: ledger) + others)) }
        if let unseen { lines.append(visible("not seen: the ledger: \(unseen)")) }
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
