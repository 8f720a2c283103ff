import ArgumentParser
import TollgateClient
import TollgateWire

struct StatsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stats", abstract: "Show the daemon's counters and gauges.")
    @OptionGroup var options: AdminOptions
    @Flag(help: "Also those that are 0; JSON has them in any case.") var all = false

    func run() throws {
        let entries = try options.ask { (client) throws(ClientError) in try client.statistics() }
        let shown = entries.filter { all || $0.value > 0 }
        try options.output.print(
            .object(entries.map { ($0.name, .count($0.value)) }),
            table(
                ["NAME", "KIND", "VALUE"],
                shown.map { [$0.name, $0.isGauge ? "now" : "total", "\($0.value)"] }))
        if !options.output.json, let words = entries.leftOutWords {
            Console.printError("tollgate: \(words)")
        }
    }
}

extension [StatisticEntry] {
    /// What is to be said where the daemon's reply had no room for all.
    var leftOutWords: String? {
        leftOut == 0
            ? nil
            : "\(grouped(leftOut)) more numbers found no room in the daemon's reply: what is not"
                + " here need not be 0"
    }
}

struct ReloadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reload", abstract: "Have the daemon read its policy again.",
        discussion: "A policy at fault changes nothing: exit code 78, and what is wrong with it.")
    @OptionGroup var options: AdminOptions

    func run() throws {
        let generation = try options.ask { (client) throws(ClientError) in try client.reload() }
        try options.output.print(
            .object([("policy_generation", .count(generation))]),
            "policy generation \(generation) is in force")
    }
}

struct StopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop", abstract: "End the daemon: it answers what has arrived first.")
    @OptionGroup var options: AdminOptions

    func run() throws {
        try options.ask { (client) throws(ClientError) in try client.shutdown() }
        try options.output.print(.object([("stopping", .bool(true))]), "stopping")
    }
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Print the version of this command.",
        discussion: "The daemon's own: tollgate health.")
    @OptionGroup var output: OutputOptions

    func run() throws {
        try output.print(
            .object([("version", .text(Version.text)), ("protocol", .count(WireLimits.version))]),
            "tollgate \(Version.text), protocol \(WireLimits.version)")
    }
}
