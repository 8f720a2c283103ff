import ArgumentParser

/// The operator's tool: everything over the daemon's sockets, and a few things about files.
@main
struct TollgateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tollgate",
        abstract: "Ask, watch and steer the Tollgate daemon.",
        discussion: """
            Exit codes: 0 allowed or done, 2 denied, 64 usage, 69 daemon unreachable, \
            70 unexpected answer, 78 configuration. Completions: tollgate \
            --generate-completion-script bash|zsh|fish.
            """,
        version: "tollgate \(Version.text)",
        subcommands: [
            CheckCommand.self, UsageCommand.self, StatsCommand.self, TopCommand.self,
            PolicyCommand.self, ReloadCommand.self, TokenCommand.self, HealthCommand.self,
            StopCommand.self, VersionCommand.self,
        ])
}

enum Version { static let text = "0.1.0" }
