import ArgumentParser
import Glibc
import TollgatePolicy

/// The operator's tool: everything over the daemon's sockets, and a few things about files.
struct TollgateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tollgate",
        abstract: "Ask, watch and steer the Tollgate daemon.",
        discussion: """
            Data goes to standard output, messages to standard error; --json makes both JSON.

            Exit codes: 0 allowed or done, 1 not done (no such thing, one there already, cannot be \
            now, or declined), 2 denied, 64 usage, 65 bad data, 66 no input, 69 daemon \
            unreachable, 70 unexpected answer, 74 output or the daemon's disk, 75 busy or \
            interrupted: try again, 77 forbidden, 78 configuration.

            Environment: TOLLGATE_SOCKET, TOLLGATE_ADMIN_SOCKET, TOLLGATE_CONFIG, \
            TOLLGATE_TOKEN, NO_COLOR.

            Completions: tollgate --generate-completion-script bash|zsh|fish
            """,
        version: "tollgate \(Version.text)",
        subcommands: [
            CheckCommand.self, ReserveCommand.self, ExtendCommand.self, SettleCommand.self,
            CancelCommand.self, UsageCommand.self, OrganizationCommand.self, UserCommand.self,
            KeyCommand.self, PlanCommand.self, TokenCommand.self, SessionCommand.self,
            RevokeCommand.self, OverrideCommand.self, CreditCommand.self, SigningKeyCommand.self,
            PolicyCommand.self, LogCommand.self, BackupCommand.self, ImportCommand.self,
            ExportCommand.self, DirectoryCommand.self, LedgerCommand.self, SnapshotCommand.self,
            AuditCommand.self, AlertsCommand.self, ExplainCommand.self, StatsCommand.self,
            TopCommand.self, HealthCommand.self, ReloadCommand.self, StopCommand.self,
            VersionCommand.self,
        ])
}

extension ParsableCommand {
    /// The subcommand of that name.
    fileprivate static func subcommand(_ name: String) -> (any ParsableCommand.Type)? {
        configuration.subcommands.first {
            $0.configuration.commandName == name || $0.configuration.aliases.contains(name)
        }
    }
}

extension TollgateCommand {
    /// The command that the arguments name, as far as they name one: `tollgate org create`.
    static func named(in arguments: ArraySlice<String>) -> String {
        var command: any ParsableCommand.Type = TollgateCommand.self
        var path = "tollgate"
        for argument in arguments {
            guard let next = command.subcommand(argument) else { break }
            command = next
            path += " " + argument
        }
        return path
    }
}

enum Version { static let text = "0.1.0" }

@main
enum Entry {
    static func main() {
        // A reader that goes away (| head) must not change what the exit code says.
        signal(SIGPIPE, SIG_IGN)
        do {
            try nameCommands(CommandLine.arguments.dropFirst())
            var command = try TollgateCommand.parseAsRoot()
            try command.run()
        } catch { exit(Failure.report(error)) }
    }

    /// The argument parser calls a command that is none an unexpected argument; this says more.
    private static func nameCommands(_ arguments: ArraySlice<String>) throws {
        var command: any ParsableCommand.Type = TollgateCommand.self
        var path = "tollgate"
        for argument in arguments {
            let known = command.configuration.subcommands
            let next = command.subcommand(argument)
            if next == nil, command.configuration.defaultSubcommand != nil { return }
            if known.isEmpty || argument.hasPrefix("-") || argument == "help" { return }
            guard let next else {
                let names = known.compactMap { $0.configuration.commandName }
                let meant = likelyMeant(argument, names).map { "did you mean \($0)? " } ?? ""
                throw Failure(
                    .usage, "\(path) has no command \"\(argument)\"",
                    next: meant + "there are: " + names.joined(separator: ", ")
                        + " (\(path) --help)")
            }
            command = next
            path += " " + argument
        }
    }
}
