/// What the command line says.
struct Options {
    enum Action { case run, check, version, help }

    var action = Action.run
    var config: String
    var dataSocket: String?
    var adminSocket: String?
    var threads: Int?
    var acceptsRollback = false

    static let help = """
        usage: tollgated [-c FILE] [options]

          -c, --config FILE      policy file (default /etc/tollgate/tollgate.yaml,
                                 or what TOLLGATE_CONFIG says)
          -t, --check-config     read and check the policy, say what is wrong, and exit
              --data-socket PATH     instead of the policy's data_socket
              --admin-socket PATH    instead of the policy's admin_socket
              --threads N            instead of the policy's threads
              --accept-rollback      go on with a ledger that is older than the directory
                                 knows it, or another; for one start
          --version          print the version
          -h, --help             print this

        Signals: HUP reads the policy again; TERM and INT answer what has arrived, then end, after
        5 seconds at most; a second one ends at once; USR1 and USR2 are ignored.
        Exit codes: 0 ended as asked, 64 usage, 70 defect, 71 the system refuses a resource,
        73 the lock file cannot be made, 74 input/output, 75 another daemon runs here,
        78 configuration.

        """
    private static let known = [
        "--config", "--check-config", "--data-socket", "--admin-socket", "--threads", "--version",
        "--help", "--accept-rollback",
    ]

    /// Throws what to tell the user.
    init(_ arguments: [String], environment: (String) -> String?) throws(OptionError) {
        config = environment("TOLLGATE_CONFIG") ?? "/etc/tollgate/tollgate.yaml"
        var rest = arguments[...]
        func value(of option: String) throws(OptionError) -> String {
            guard let value = rest.popFirst() else {
                throw OptionError("\(option) needs a value; see tollgated --help")
            }
            return value
        }
        while let argument = rest.popFirst() {
            switch argument {
            case "-c", "--config": config = try value(of: argument)
            case "-t", "--check-config": action = .check
            case "--data-socket": dataSocket = try value(of: argument)
            case "--admin-socket": adminSocket = try value(of: argument)
            case "--threads":
                let text = try value(of: argument)
                guard let count = Int(text), (1...64).contains(count) else {
                    throw OptionError("--threads is 1 to 64, not \(text)")
                }
                threads = count
            case "--accept-rollback": acceptsRollback = true
            case "--version": action = .version
            case "-h", "--help": action = .help
            default:
                let near = Self.known.first {
                    $0.hasPrefix(argument.prefix(5)) && argument.hasPrefix("--")
                }
                let hint = near.map { " (did you mean \($0)?)" } ?? ""
                throw OptionError("unknown option \(argument)\(hint); see tollgated --help")
            }
        }
    }
}

struct OptionError: Error {
    var message: String
    init(_ message: String) { self.message = message }
}
