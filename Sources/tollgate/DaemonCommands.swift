import ArgumentParser
import Glibc
import TollgateClient
import TollgateCore
import TollgatePolicy
import TollgateWire

struct StatsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stats", abstract: "Show the daemon's counters and gauges.")
    @OptionGroup var options: AdminOptions
    @Flag(help: "Also those that are 0.") var all = false

    func run() throws {
        let entries = try orExit { () throws(ClientError) in try options.client.statistics() }
        if options.json {
            return print(object(entries.map { ($0.name, "\($0.value)") }))
        }
        let shown = entries.filter { all || $0.value > 0 }
        print(table(["NAME", "VALUE"], shown.map { [$0.name, "\($0.value)"] }))
    }
}

struct TopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Watch decisions a second, by reason.")
    @OptionGroup var options: AdminOptions
    @Option(help: "Seconds between looks.") var interval = 1
    @Option(help: "Looks before it ends; default: until interrupted.") var count: Int?

    func validate() throws {
        guard interval >= 1 else { throw ValidationError("--interval is at least 1") }
    }

    func run() throws {
        let client = options.client
        var before = try look(client)
        var looks = 0
        while looks < count ?? .max {
            sleep(UInt32(interval))
            let now = try look(client)
            show(before, now)
            before = now
            looks += 1
        }
    }

    private func look(_ client: BlockingClient) throws -> [String: StatisticEntry] {
        let entries = try orExit { () throws(ClientError) in try client.statistics() }
        return Dictionary(entries.map { ($0.name, $0) }, uniquingKeysWith: { a, _ in a })
    }

    private func show(_ before: [String: StatisticEntry], _ now: [String: StatisticEntry]) {
        func rate(_ entry: StatisticEntry) -> UInt64 {
            (entry.value &- (before[entry.name]?.value ?? 0)) / UInt64(interval)
        }
        let moving = now.values.filter { !$0.isGauge && rate($0) > 0 }.sorted { $0.name < $1.name }
        let gauges = now.values.filter { $0.isGauge }.sorted { $0.name < $1.name }
        if options.json {
            let rates = object(moving.map { ($0.name, "\(rate($0))") })
            return print(object([("per_second", rates), ("gauges", object(gauges.map { ($0.name, "\($0.value)") }))]))
        }
        if isatty(1) == 1 { print("\u{1b}[H\u{1b}[2J", terminator: "") }
        print(table(["A SECOND", "RATE"], moving.map { [$0.name, "\(rate($0))"] }))
        print(table(["NOW", "VALUE"], gauges.map { [$0.name, "\($0.value)"] }) + "\n")
        fflush(nil)
    }
}

struct ReloadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reload", abstract: "Have the daemon read its policy again.")
    @OptionGroup var options: AdminOptions

    func run() throws {
        let generation = try orExit { () throws(ClientError) in try options.client.reload() }
        print(
            options.json
                ? object([("generation", "\(generation)")])
                : "policy generation \(generation) is in force")
    }
}

struct StopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop", abstract: "End the daemon: it answers what has arrived first.")
    @OptionGroup var options: AdminOptions

    func run() throws {
        try orExit { () throws(ClientError) in try options.client.shutdown() }
        print(options.json ? object([("stopping", "true")]) : "stopping")
    }
}

struct HealthCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "health", abstract: "Whether the daemon answers: exit code 0, else 69.")
    @OptionGroup var options: DataOptions
    @Flag(name: .shortAndLong, help: "Print nothing.") var quiet = false

    func run() throws {
        let (version, generation) = try orExit { () throws(ClientError) in
            try options.client.hello()
        }
        guard !quiet else { return }
        print(
            options.json
                ? object([
                    ("healthy", "true"), ("version", ClaimValue.quoted(version)),
                    ("policy_generation", "\(generation)"),
                ]) : "healthy: version \(version), policy generation \(generation)")
    }
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Print the version.")
    @Flag(help: "Print JSON.") var json = false

    func run() {
        print(json ? object([("version", "\"\(Version.text)\""), ("protocol", "\(WireLimits.version)")])
            : "tollgate \(Version.text), protocol \(WireLimits.version)")
    }
}

struct PolicyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy", abstract: "Look at policy files.",
        subcommands: [PolicyCheck.self, PolicyShow.self])

    static func load(_ file: String) throws -> LoadedPolicy {
        do throws(PolicyErrors) { return try PolicyLoader.load(path: file) } catch {
            for fault in error.errors { printError(fault.description) }
            throw ExitCode(78)
        }
    }
}

struct PolicyCheck: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Say what is wrong with a policy file.")
    @Argument(help: "The policy file.") var file: String

    func run() throws {
        let policy = try PolicyCommand.load(file).definition
        print(
            "\(file): ok: \(policy.plans.count) plans, \(policy.operations.count) operations,"
                + " \(policy.issuers.count) issuers")
    }
}

struct PolicyShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show what the plans of a policy file grant. No secrets.")
    @Argument(help: "The policy file.") var file: String

    func run() throws {
        let policy = try PolicyCommand.load(file).definition
        for plan in policy.plans {
            print(Style.paint(plan.name, .bold))
            print("  permissions: " + (plan.permissions.isEmpty ? "none" : plan.permissions.joined(separator: ", ")))
            let limits = plan.rateLimits.map {
                ["  " + $0.name, "\($0.scope)", $0.meter, "\($0.limit)", span($0.windowNanoseconds / 1_000_000)]
            }
            let quotas = plan.quotas.map {
                ["  " + $0.name, "\($0.scope)", $0.meter, "\($0.limit)", "\($0.period)"]
            }
            if limits.isEmpty && quotas.isEmpty {
                print("  no limits")
            } else {
                print(table(["  LIMIT", "SCOPE", "METER", "AT MOST", "PER"], limits + quotas))
            }
        }
    }
}
