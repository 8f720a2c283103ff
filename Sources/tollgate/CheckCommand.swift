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
    @OptionGroup var question: QuestionOptions
    @Flag(name: .customLong("dry-run"), help: "Decide, and charge nothing.") var dryRun = false
    @Flag(help: "Show every limit that was looked at.") var explain = false

    func run() throws {
        let asked = try question.read(isDryRun: dryRun, explains: explain)
        let decision = try options.ask { (client) throws(ClientError) in
            try client.check(asked)
        }
        let view = DecisionView(decision, options.output, explains: explain)
        try options.output.print(view.json, view.text)
        question.explainMissing(decision, options.output)
        if !decision.isAllowed { throw ExitCode(2) }
    }
}

/// Who asks for what: the options of CHECK and RESERVE.
struct QuestionOptions: ParsableArguments {
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

    func validate() throws {
        _ = try units.map(Input.units)
        _ = try Input.address(address)
    }

    /// The question that the options ask.
    func read(
        isDryRun: Bool, explains: Bool, of command: String = "tollgate check"
    ) throws -> CheckQuestion {
        CheckQuestion(
            credential: .presented(try Input.token(tokenFile)), operation: try selector(command),
            address: try Input.address(address), meters: try units.map(Input.units),
            isDryRun: isDryRun, explains: explains)
    }

    private func selector(_ command: String) throws -> OperationSelector {
        switch (operation, method, path) {
        case (let name?, nil, nil): return .name(name)
        case (nil, let method?, let path?): return .route(method: method, path: path)
        default:
            // Not in `validate`, which would hide that an option was misspelled.
            throw Failure(
                .usage, "give --operation NAME, or --method METHOD and --path PATH",
                next: "\(command) --help shows all options")
        }
    }

    /// Says how to give a credential, where none was given.
    func explainMissing(_ decision: CheckDecision, _ output: OutputOptions) {
        if decision.reason == .credentialMissing, !output.json {
            Console.printError(
                "tollgate: no token or API key was given\n  name its file with --token-file, or -"
                    + " for standard input, or set TOLLGATE_TOKEN")
        }
    }
}
