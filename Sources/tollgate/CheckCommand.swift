import ArgumentParser
import Glibc
import TollgateClient
import TollgateCore
import TollgateWire

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Ask for a decision, as a service would.",
        discussion: "The token comes from --token-file (- is standard input) or TOLLGATE_TOKEN.")

    @OptionGroup var options: DataOptions
    @Option(name: .customLong("token-file"), help: "File with the token; - is standard input.")
    var tokenFile: String?
    @Option(name: .shortAndLong, help: "Name of the operation.") var operation: String?
    @Option(help: "Method, with --path.") var method: String?
    @Option(help: "Path, with --method.") var path: String?
    @Option(help: "Address of the caller.") var address: String?
    @Option(name: .shortAndLong, help: "Units of a meter: tokens=120. Repeatable.")
    var units: [String] = []
    @Flag(name: .customLong("dry-run"), help: "Decide, and charge nothing.") var dryRun = false
    @Flag(help: "Show every limit that was looked at.") var explain = false

    func run() throws {
        let question = CheckQuestion(
            token: try Input.token(tokenFile), operation: try selector(),
            address: try Input.address(address), meters: try units.map(Input.units),
            isDryRun: dryRun, explains: explain)
        let decision = try orExit { () throws(ClientError) in try options.client.check(question) }
        print(options.json ? Self.json(decision) : Self.text(decision))
        if !decision.isAllowed { throw ExitCode(2) }
    }

    private func selector() throws -> OperationSelector {
        switch (operation, method, path) {
        case (let name?, nil, nil): return .name(name)
        case (nil, let method?, let path?): return .route(method: method, path: path)
        default:
            throw ValidationError("give --operation NAME, or --method and --path")
        }
    }

    static func text(_ decision: CheckDecision) -> String {
        let reason = decision.reason.map { "\($0)" } ?? "reason \(decision.reasonCode)"
        var lines = [
            decision.isAllowed
                ? Style.paint("allow", .green) : Style.paint("deny", .red) + "  " + reason
        ]
        if decision.isDryRun { lines[0] += Style.paint("  (dry run: nothing charged)", .dim) }
        if !decision.user.isEmpty {
            let whose = decision.isPersonal ? "on its own" : "of \(decision.organization)"
            lines.append("  user        \(decision.user) \(whose), plan \(decision.plan)")
        }
        for (what, limit) in [("rate limit", decision.rateLimit), ("quota     ", decision.quota)] {
            guard let limit else { continue }
            lines.append(
                "  \(what)  \(limit.name): \(limit.remaining) of \(limit.limit) left, reset in"
                    + " \(span(limit.resetMilliseconds))")
        }
        if let retry = decision.retryAfterMilliseconds {
            lines.append(
                "  retry       "
                    + (retry == WireLimits.retryNever ? "no wait helps" : "in \(span(UInt64(retry)))"))
        }
        if !decision.explanation.isEmpty {
            lines.append(table(LimitEntry.header, decision.explanation.map(\.row)))
        }
        return lines.joined(separator: "\n")
    }

    static func json(_ decision: CheckDecision) -> String {
        func limit(_ limit: LimitSummary?) -> String {
            guard let limit else { return "null" }
            return object([
                ("name", ClaimValue.quoted(limit.name)), ("limit", "\(limit.limit)"),
                ("remaining", "\(limit.remaining)"), ("reset_ms", "\(limit.resetMilliseconds)"),
            ])
        }
        var members: [(String, String)] = [
            ("verdict", decision.isAllowed ? "\"allow\"" : "\"deny\""),
            ("reason", ClaimValue.quoted(decision.reason.map { "\($0)" } ?? "unknown")),
            ("reason_code", "\(decision.reasonCode)"), ("dry_run", "\(decision.isDryRun)"),
            ("user", ClaimValue.quoted(decision.user)),
            ("organization", ClaimValue.quoted(decision.organization)),
            ("personal_organization", "\(decision.isPersonal)"),
            ("plan", ClaimValue.quoted(decision.plan)),
            ("operation", ClaimValue.quoted(decision.operation)),
            ("rate_limit", limit(decision.rateLimit)), ("quota", limit(decision.quota)),
            ("retry_after_ms", decision.retryAfterMilliseconds.map { "\($0)" } ?? "null"),
        ]
        if !decision.explanation.isEmpty {
            members.append(
                ("limits", "[" + decision.explanation.map(\.json).joined(separator: ",") + "]"))
        }
        return object(members)
    }
}

struct UsageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "usage", abstract: "Show what an organization or a user has used.")

    @OptionGroup var options: DataOptions
    @Argument(help: "The organization; with --personal, the user.") var organization: String
    @Argument(help: "A user of it; without, the organization's limits alone.") var user: String?
    @Option(help: "Plan whose limits to show; default: the one last decided with.") var plan: String?
    @Flag(help: "The user's own organization.") var personal = false

    func run() throws {
        let named = user ?? (personal ? organization : "")
        let report = try orExit { () throws(ClientError) in
            try options.client.usage(
                organization: organization, user: named, plan: plan ?? "", isPersonal: personal)
        }
        if options.json {
            let limits = "[" + report.limits.map(\.json).joined(separator: ",") + "]"
            return print(object([("plan", ClaimValue.quoted(report.plan)), ("limits", limits)]))
        }
        guard !report.plan.isEmpty else {
            return print("nothing is known of \(organization); name a --plan to see its limits")
        }
        print("plan \(report.plan)")
        print(table(LimitEntry.header, report.limits.map(\.row)))
    }
}

/// Values as they stand on the command line.
enum Input {
    /// Tokens are secrets: they come from a file or the environment, never from an argument.
    static func token(_ file: String?) throws -> String {
        guard let file else { return environment("TOLLGATE_TOKEN") ?? "" }
        var text = try readText(file)
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }

    static func readText(_ path: String) throws -> String {
        let descriptor = path == "-" ? 0 : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            printError("\(path): \(String(cString: strerror(errno)))")
            throw ExitCode(66)
        }
        defer { if descriptor > 0 { close(descriptor) } }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while bytes.count < 1 << 20 {
            let got = read(descriptor, &chunk, chunk.count)
            guard got > 0 else { break }
            bytes += chunk[..<got]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func units(_ text: String) throws -> MeterUnits {
        let parts = text.split(separator: "=", maxSplits: 1)
        guard parts.count == 2, let units = UInt64(parts[1]) else {
            throw ValidationError("units are METER=NUMBER, not \(text)")
        }
        return MeterUnits(String(parts[0]), units)
    }

    static func address(_ text: String?) throws -> ClientAddress {
        guard let text else { return .none }
        var bytes = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET, text, &bytes) == 1 { return .v4(Array(bytes[..<4])) }
        if inet_pton(AF_INET6, text, &bytes) == 1 { return .v6(bytes) }
        throw ValidationError("\(text) is no IPv4 or IPv6 address")
    }
}
