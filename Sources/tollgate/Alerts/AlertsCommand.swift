import ArgumentParser
import Glibc
import TollgateCore
import TollgatePolicy
import TollgateStorage

struct AlertsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "alerts", abstract: "What an operator was told of.",
        discussion: """
            list reads the file in which the daemon keeps it, also while it runs; the others ask \
            the daemon, and deliver is a service of its own. The rules stand in the policy \
            (tollgate policy show).
            """,
        subcommands: [
            AlertsList.self, AlertsAck.self, AlertsSilence.self, AlertsTest.self,
            AlertsDeliver.self,
        ])
}

struct AlertsList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "The newest alerts, newest first; 1,000 are kept.",
        discussion: """
            With -f the oldest of them first, and then those that come; in JSON an object a line.
            """)

    @Option(help: "The alerts' directory (default: as the policy says).", completion: .directory)
    var directory: String?
    @Option(
        name: .shortAndLong,
        help: "The policy file (default: TOLLGATE_CONFIG, or /etc/tollgate/tollgate.yaml).",
        completion: .file())
    var config: String?
    @Option(help: "Of this rule.") var rule: String?
    @Option(help: "Of this organization.") var organization: String?
    @Option(
        help: "Since then: an ISO 8601 date, or so long ago (2h, 7d).",
        transform: Instants.past)
    var since: Int64?
    @Option(help: "At least so severe: info, warning or critical.", transform: AlertsList.severity)
    var severity: AlertSeverity?
    @Flag(help: "That nobody has taken note of.") var unacknowledged = false
    @Option(name: .short, help: "At most so many.") var n = 100
    @Flag(name: .shortAndLong, help: "Go on, until interrupted.") var follow = false
    @OptionGroup var output: OutputOptions

    static func severity(_ word: String) throws -> AlertSeverity {
        guard let severity = AlertSeverity.allCases.first(where: { $0.word == word }) else {
            throw ValidationError("a severity is info, warning or critical, not \"\(word)\"")
        }
        return severity
    }

    func validate() throws {
        if directory != nil, config != nil {
            throw ValidationError("give --directory or --config, not both")
        }
        guard n > 0 else { throw ValidationError("-n is at least 1") }
    }

    func run() throws {
        let place = try place()
        guard try onAlerts({ () throws(AuditFailure) in try AlertStore.isPlace(place) }) else {
            throw Failure(.noInput, "\(place) has no alerts", next: Self.next)
        }
        if follow { return try follow(place) }
        let alerts = try Self.read(place).recent.reversed().filter(isWanted).prefix(n)
        if output.json {
            try Console.print(JSON.list(alerts.map { $0.json }).text)
            return
        }
        if alerts.isEmpty { Console.printError("no alert meets that") }
        for alert in alerts { try Console.print(line(alert)) }
    }

    private static func read(_ place: String) throws -> AlertState {
        try onAlerts { () throws(AuditFailure) in try AlertStore.read(place) } ?? AlertState()
    }

    fileprivate static let next =
        "name the directory in which the daemon keeps its alerts: its policy says (alerts: path)"

    private func line(_ alert: Alert) -> String {
        if output.json { return alert.json.text }
        var notes = alert.isSilenced ? "  (silenced)" : ""
        if alert.acknowledgedAt != nil { notes += "  (acknowledged)" }
        let time = Times.calendar(Double(alert.at / 1_000)) ?? "?"
        return visible(
            "\(time)  \(alert.id)  \(alert.severity.word)  \(alert.rule): \(alert.text)\(notes)",
            onOneLine: true)
    }

    private static let lookMicroseconds: UInt32 = 200_000

    /// Looks at the file as often as another stands in its place.
    private func follow(_ place: String) throws {
        var seen: UInt64 = 0
        var (file, isFirst) = (Self.identity(place), true)
        while !Console.isClosed {
            let state = try Self.read(place)
            // One that was begun anew counts from 1.
            if state.recent.last.map({ $0.id < seen }) ?? false { seen = 0 }
            var fresh = state.recent.filter { $0.id > seen && isWanted($0) }[...]
            if isFirst { fresh = fresh.suffix(n) }
            isFirst = false
            seen = max(seen, state.recent.last?.id ?? 0)
            if !fresh.isEmpty { try Console.print(fresh.map(line).joined(separator: "\n")) }
            let read = file
            repeat {
                usleep(Self.lookMicroseconds)
                file = Self.identity(place)
            } while file == read && !Console.isClosed
        }
    }

    /// The file that stands there: it is never changed, but another takes its place.
    private static func identity(_ place: String) -> [UInt64] {
        var status = stat()
        guard stat(AlertStore.path(place), &status) == 0 else { return [] }
        return [
            UInt64(status.st_ino), UInt64(bitPattern: Int64(status.st_mtim.tv_sec)),
            UInt64(bitPattern: Int64(status.st_mtim.tv_nsec)),
        ]
    }

    private func isWanted(_ alert: Alert) -> Bool {
        if let rule, rule != alert.rule { return false }
        if let organization, organization != alert.subject.organization { return false }
        if let since, alert.at < since { return false }
        if let severity, alert.severity.rawValue < severity.rawValue { return false }
        return !unacknowledged || alert.acknowledgedAt == nil
    }

    private func place() throws -> String {
        if let directory { return directory }
        let path = try Input.policyPath(config)
        let loaded: LoadedPolicy
        do throws(PolicyErrors) { loaded = try PolicyLoader.load(path: path) } catch {
            throw Failure(
                .configuration, "\(error)",
                next: "mend the policy, or name the alerts' directory with --directory")
        }
        guard let alerts = loaded.alerts else {
            throw Failure(
                .notDone, "the policy \(path) has no alerts",
                next: "add the section alerts:, or name their directory with --directory")
        }
        return alerts.path
    }
}

/// Runs what reads the daemon's file of alerts. What is wrong with it says itself what to do.
private func onAlerts<T>(_ body: () throws(AuditFailure) -> T) throws -> T {
    do throws(AuditFailure) { return try body() } catch {
        var failure = Failure(error)
        failure.next = failure.code == .noInput ? AlertsList.next : nil
        throw failure
    }
}

extension Alert {
    /// Members that do not matter to its kind are left out.
    var json: JSON {
        var members: [(String, JSON)] = [
            ("id", .count(id)), ("rule", .text(rule)), ("kind", .text(kind.word)),
            ("severity", .text(severity.word)), ("at", .number("\(at)")), ("text", .text(text)),
        ]
        let texts = [
            ("organization", subject.organization), ("user", subject.user), ("key", subject.key),
            ("address", subject.address), ("quota", subject.quota),
            ("operation", subject.operation), ("trouble", subject.trouble),
        ]
        members += texts.filter { !$0.1.isEmpty }.map { ($0.0, .text($0.1)) }
        if subject.isPersonal { members.append(("personal", .bool(true))) }
        if subject.isShadow { members.append(("shadow", .bool(true))) }
        let numbers = [("threshold", threshold), ("value", value), ("limit", limit)]
        members += numbers.filter { $0.1 > 0 }.map { ($0.0, .count($0.1)) }
        if periodEnd != .max { members.append(("period_ends_at", .number("\(periodEnd)"))) }
        if let exhaustedAt { members.append(("exhausted_at", .number("\(exhaustedAt)"))) }
        members.append(("silenced", .bool(isSilenced)))
        if let acknowledgedAt { members.append(("acknowledged_at", .number("\(acknowledgedAt)"))) }
        if let acknowledgedBy { members.append(("acknowledged_by", .count(acknowledgedBy))) }
        if !note.isEmpty { members.append(("note", .text(note))) }
        return .object(members)
    }
}
