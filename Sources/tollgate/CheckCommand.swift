import ArgumentParser
import TollgateClient
import TollgateWire

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Ask for a decision, as a service would.",
        discussion: """
            The access token or API key comes from --token-file (- is standard input) or \
            TOLLGATE_TOKEN, never from an argument; what begins with tg_ is taken for a key. Exit \
            code 0: allowed; 2: denied.
            """)

    @OptionGroup var options: DataOptions
    @Option(
        name: .customLong("token-file"),
        help: "File with the token or API key; - is standard input.",
        completion: .file())
    var tokenFile: String?
    @Option(name: .shortAndLong, help: "Name of the operation.") var operation: String?
    @Option(help: "Method, with --path.") var method: String?
    @Option(help: "Path, with --method.") var path: String?
    @Option(help: "Address of the caller.") var address: String?
    @Option(name: .shortAndLong, help: "Units of a meter: tokens=120. Repeatable.")
    var units: [String] = []
    @Flag(name: .customLong("dry-run"), help: "Decide, and charge nothing.") var dryRun = false
    @Flag(help: "Show every limit that was looked at.") var explain = false

    func validate() throws {
        _ = try units.map(Input.units)
        _ = try Input.address(address)
    }

    func run() throws {
        let question = CheckQuestion(
            credential: .presented(try Input.token(tokenFile)), operation: try selector(),
            address: try Input.address(address), meters: try units.map(Input.units),
            isDryRun: dryRun, explains: explain)
        let decision = try options.ask { (client) throws(ClientError) in
            try client.check(question)
        }
        try options.output.print(json(decision), text(decision))
        if decision.reason == .credentialMissing, !options.output.json {
            Console.printError(
                "tollgate: no token or API key was given\n  name its file with --token-file, or -"
                    + " for standard input, or set TOLLGATE_TOKEN")
        }
        if !decision.isAllowed { throw ExitCode(2) }
    }

    private func selector() throws -> OperationSelector {
        switch (operation, method, path) {
        case (let name?, nil, nil): return .name(name)
        case (nil, let method?, let path?): return .route(method: method, path: path)
        default:
            // Not in `validate`, which would hide that an option was misspelled.
            throw Failure(
                .usage, "give --operation NAME, or --method METHOD and --path PATH",
                next: "tollgate check --help shows all options")
        }
    }

    private func text(_ decision: CheckDecision) -> String {
        let output = options.output
        let reason = decision.reason.map { "\($0)" } ?? "reason \(decision.reasonCode)"
        var verdict = output.paint("allow", .green)
        if !decision.isAllowed { verdict = output.paint("deny", .red) + "  " + reason }
        if decision.isDryRun { verdict += output.paint("  (dry run: nothing charged)", .dim) }
        var rows: [(String, String)] = []
        if !decision.user.isEmpty {
            let whose = decision.isPersonal ? "on its own" : "of \(decision.organization)"
            rows.append(("user", "\(decision.user) \(whose), plan \(decision.plan)"))
        }
        if !decision.operation.isEmpty { rows.append(("operation", decision.operation)) }
        for (name, limit) in [("rate limit", decision.rateLimit), ("quota", decision.quota)] {
            guard let limit else { continue }
            let reset =
                limit.resetMilliseconds == 0 ? "" : ", reset in \(span(limit.resetMilliseconds))"
            let left = "\(limit.remaining) of \(limit.limit) left"
            rows.append((name, "\(limit.name): \(left)\(reset)"))
        }
        if let retry = decision.retryAfterMilliseconds {
            let never = retry == WireLimits.retryNever
            rows.append(("retry", never ? "no wait helps" : "in \(span(UInt64(retry)))"))
        }
        var lines = [verdict]
        if !rows.isEmpty { lines.append(pairs(rows)) }
        if !decision.explanation.isEmpty {
            lines.append(LimitTable.text(decision.explanation, indent: 2))
        }
        return lines.joined(separator: "\n")
    }

    private func json(_ decision: CheckDecision) -> JSON {
        func limit(_ limit: LimitSummary?) -> JSON {
            guard let limit else { return .null }
            return .object([
                ("name", .text(limit.name)), ("limit", LimitTable.bounded(limit.limit)),
                ("remaining", LimitTable.bounded(limit.remaining)),
                ("reset_ms", LimitTable.reset(limit.resetMilliseconds)),
            ])
        }
        let isNever = decision.retryAfterMilliseconds == WireLimits.retryNever
        var members: [(String, JSON)] = [
            ("verdict", .text(decision.isAllowed ? "allow" : "deny")),
            ("reason", .text(decision.reason.map { "\($0)" } ?? "unknown")),
            ("reason_code", .count(decision.reasonCode)), ("dry_run", .bool(decision.isDryRun)),
            ("user", .text(decision.user)), ("organization", .text(decision.organization)),
            ("personal_organization", .bool(decision.isPersonal)), ("plan", .text(decision.plan)),
            ("operation", .text(decision.operation)), ("rate_limit", limit(decision.rateLimit)),
            ("quota", limit(decision.quota)),
            ("retry_after_ms", isNever ? .null : .optional(decision.retryAfterMilliseconds)),
            ("retry_helps", .bool(!isNever)),
        ]
        if explain { members.append(("limits", LimitTable.json(decision.explanation))) }
        return .object(members)
    }
}

/// Limits and what is used of them, as a table and as JSON.
enum LimitTable {
    static func text(_ limits: [LimitEntry], indent: Int = 0) -> String {
        let header = ["LIMIT", "SCOPE", "METER", "USED", "OF", "LEFT", "WINDOW", "RESET IN", ""]
        let rows = limits.map { limit in
            [
                limit.name, "\(limit.scope)", limit.meter, "\(limit.used)",
                units(limit.limit), units(limit.remaining), span(limit.lengthMilliseconds),
                limit.resetMilliseconds == 0 ? "-" : span(limit.resetMilliseconds),
                limit.refuses ? "refuses" : "",
            ]
        }
        return table(header, rows, indent: indent)
    }

    static func json(_ limits: [LimitEntry]) -> JSON {
        .list(
            limits.map { limit in
                .object([
                    ("kind", .text("\(limit.kind)")), ("scope", .text("\(limit.scope)")),
                    ("name", .text(limit.name)), ("meter", .text(limit.meter)),
                    ("used", .count(limit.used)), ("held", .count(limit.held)),
                    ("limit", bounded(limit.limit)), ("remaining", bounded(limit.remaining)),
                    ("reset_ms", reset(limit.resetMilliseconds)),
                    ("length_ms", .count(limit.lengthMilliseconds)),
                    ("refuses", .bool(limit.refuses)),
                ])
            })
    }

    private static func units(_ units: UInt64) -> String {
        units == .max ? "unlimited" : "\(units)"
    }

    /// `null` where there is no limit.
    static func bounded(_ units: UInt64) -> JSON { units == .max ? .null : .count(units) }

    /// `null` when it never comes.
    static func reset(_ milliseconds: UInt64) -> JSON {
        milliseconds == WireLimits.resetNever ? .null : .count(milliseconds)
    }
}
