import ArgumentParser
import TollgateCore
import TollgatePolicy

struct PolicyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy", abstract: "Look at policy files.",
        subcommands: [PolicyCheck.self, PolicyShow.self, PolicyDiff.self])

    /// The policy in a file; what is wrong with it is told on standard error, one fault a line.
    static func load(_ file: String) throws -> LoadedPolicy {
        do throws(PolicyErrors) { return try PolicyLoader.load(path: file) } catch {
            throw Failure(
                .configuration, error.description,
                next: "correct it; Deploy/tollgate.yaml shows every setting")
        }
    }
}

struct PolicyCheck: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Say what is wrong with a policy file, and with the keys that it names.",
        discussion: "Exit code 0: nothing; 78: something; 66: there is no such file.")
    @OptionGroup var output: OutputOptions
    @Argument(
        help: "The policy file (default: TOLLGATE_CONFIG, or /etc/tollgate/tollgate.yaml).",
        completion: .file())
    var file: String?

    func run() throws {
        let path = try Input.policyPath(file)
        let loaded: LoadedPolicy
        let unseen: [String]
        do throws(PolicyErrors) {
            loaded = try PolicyLoader.load(path: path)
            unseen = try loaded.checkPeppers(credentials: environment("CREDENTIALS_DIRECTORY"))
        } catch {
            if output.json { try Console.print(Self.json(path, error).text) }
            throw Failure(
                .configuration, error.description,
                next: "correct it; Deploy/tollgate.yaml shows every setting")
        }
        let policy = loaded.definition
        let counts = [
            ("plans", policy.plans.count), ("operations", policy.operations.count),
            ("issuers", policy.issuers.count),
        ]
        try output.print(
            .object(
                [("file", .text(path)), ("ok", .bool(true)), ("errors", .list([]))]
                    + counts.map { ($0.0, .count($0.1)) }
                    + [("unseen_credentials", .texts(unseen))]),
            "\(path): \(output.paint("ok", .green)): "
                + counts.map { "\($0.1) \($0.0)" }.joined(separator: ", ")
                + unseen.map {
                    "\n  credential \(visible($0)): not looked at, because CREDENTIALS_DIRECTORY is"
                        + " not set"
                }.joined())
    }

    private static func json(_ path: String, _ errors: PolicyErrors) -> JSON {
        .object([
            ("file", .text(path)), ("ok", .bool(false)),
            (
                "errors",
                .list(
                    errors.errors.map {
                        .object([
                            ("file", .text($0.file)), ("line", .count($0.line)),
                            ("column", .count($0.column)), ("message", .text($0.message)),
                        ])
                    })
            ),
        ])
    }
}

struct PolicyShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Show what a policy file comes to, defaults included. No secrets.")
    @OptionGroup var output: OutputOptions
    @Argument(
        help: "The policy file (default: TOLLGATE_CONFIG, or /etc/tollgate/tollgate.yaml).",
        completion: .file())
    var file: String?

    func run() throws {
        let loaded = try PolicyCommand.load(try Input.policyPath(file))
        try output.print(PolicyJSON.value(loaded), PolicyText(output: output).text(loaded))
    }
}
