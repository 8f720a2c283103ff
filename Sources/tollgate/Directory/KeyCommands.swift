import ArgumentParser
import TollgateCore
import TollgateWire

struct KeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "API keys of users.",
        discussion: """
            A key is shown once, when it is made or rotated; the daemon keeps a hash of it. What \
            names it, here and everywhere, is its id, which is public.
            """,
        subcommands: [
            KeyCreate.self, KeyList.self, KeyShow.self, KeyRotate.self, KeyEdit.self,
            KeyRevoke.self,
        ])
}

/// The key that a command is about.
struct KeyArguments: ParsableArguments {
    @Argument(help: "The organization's id.") var organization: String
    @Argument(help: "The key's id, or its prefix as tollgate key show has it.") var key: String

    var organizationValue: JSONValue? { .string(organization) }

    /// The id. A whole key is a secret, which would now stand in the list of processes.
    func id() throws -> JSONValue {
        guard key.hasPrefix("tg_") else { return .string(key) }
        let tail = key.split(separator: "_").last ?? ""
        guard tail.utf8.count == APIKeyID.bytes else {
            throw Failure(
                .usage, "that is no key's id, and perhaps a whole key: a secret",
                next: "name the key by its id, the 16 characters behind tg_…_; if it was a whole"
                    + " key, others may have seen it: rotate it")
        }
        return .string(String(tail))
    }
}

/// Where to put a secret.
struct SecretOptions: ParsableArguments {
    @Option(
        name: .customLong("secret-file"),
        help: "Write the secret to this new file (mode 0600), not to standard output.",
        completion: .file())
    var path: String?

    /// Makes the secret and hands it over: alone on standard output, or in the file; what else
    /// there is to say goes to standard error, as JSON to standard output.
    func hand(
        _ output: OutputOptions, _ words: (JSONObject) throws -> String,
        make: () throws -> JSONObject
    ) throws {
        let file = try path.map(SecretFile.init)
        var reply = try make()
        let secret = try reply.required("secret", JSONObject.string)
        if let file {
            try file.write(secret)
            reply.members.removeAll { $0.name == "secret" }
            reply.append("secret_file", .string(file.path))
        }
        if output.json { return try Console.print(JSONValue.object(reply).text) }
        // First, so that it is known which key it is even where its secret cannot be written.
        Console.printError(try words(reply))
        if file == nil { try Console.print(secret) }
    }
}

struct KeyCreate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make an API key for a user, and show it once.",
        discussion: """
            The key alone goes to standard output, or with --secret-file to a file; what is known \
            of it to standard error.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var secret: SecretOptions
    @OptionGroup var which: UserArguments
    @Option(help: "A name for people; default: key.") var name: String?
    @Option(help: "What stands behind tg_: 1 to 6 small letters and digits; default: live.")
    var environment: String?
    @Option(help: "A permission it has at most; repeatable. Default: all of the plan.")
    var permission: [String] = []
    @Option(help: "An address or network it may be used from (192.0.2.0/24); repeatable.")
    var address: [String] = []
    @Option(help: "Its own rate limit: 100/s, 6000/m, 10000/h, 50000/d.", transform: Rate.parsed)
    var rate: JSONObject?
    @Option(
        help: "When it ends: an ISO 8601 date, or a length of time from now (90d). Default: never.",
        transform: Instants.milliseconds)
    var expires: Int64?
    @Option(help: "Who made it, for the list; default: your user id.") var creator: String?

    func run() throws {
        let words = { (reply: JSONObject) in
            View.key.text(try reply.required("key", JSONObject.object), options.output)
        }
        try secret.hand(options.output, words) {
            try options.call(
                .createKey,
                [
                    "organization": which.organizationValue, "user": which.userValue,
                    "name": .optional(name), "environment": .optional(environment),
                    "permissions": permission.isEmpty ? nil : .strings(permission),
                    "addresses": address.isEmpty ? nil : .strings(address),
                    "rate": rate.map { .object($0) }, "expires_at": .optional(expires),
                    "creator": .optional(creator),
                ])
        }
    }
}

struct KeyList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List an organization's API keys, or one user's.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: OrganizationArgument
    @Option(help: "Only this user's.") var user: String?
    @OptionGroup var list: ListOptions

    func run() throws {
        var printer = ListPrinter(options, list, .key)
        try printer.print(
            .listKeys, ["organization": which.value, "user": .optional(user)])
    }
}

struct KeyShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show all that is known of an API key.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: KeyArguments

    func run() throws {
        try options.show(
            .showKey, ["organization": which.organizationValue, "key": try which.id()], "key",
            .key)
    }
}

struct KeyRotate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate", abstract: "Give an API key a new secret, and show it once.",
        discussion: """
            Its id, limits and counters stay. The old secret is good for the overlap, so that \
            whoever uses it has time to change; then it is refused. With --overlap 0s that is at \
            once: it asks first, unless --yes is given.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var secret: SecretOptions
    @OptionGroup var which: KeyArguments
    @Option(
        help: "How long the old secret stays good: 0s to 30d; default: 1d.",
        transform: Lengths.seconds)
    var overlap: Int64?
    @OptionGroup var confirmation: Confirmation

    func run() throws {
        let id = try which.id()
        if overlap == 0 {
            try confirmation.confirm(
                "refuse the present secret of API key \(id.shown) of \(which.organization) at once")
        }
        let words = { (reply: JSONObject) in
            View.key.text(try reply.required("key", JSONObject.object), options.output)
        }
        try secret.hand(options.output, words) {
            try options.call(
                .rotateKey,
                [
                    "organization": which.organizationValue, "key": id,
                    "overlap_seconds": .optional(overlap),
                ])
        }
    }
}

struct KeyRevoke: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "End an API key at once, for good.",
        discussion: "The same as tollgate revoke key. Asks first, unless --yes is given.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: KeyArguments
    @OptionGroup var confirmation: Confirmation

    func run() throws { try Self.revoke(which, options, confirmation) }

    static func revoke(
        _ which: KeyArguments, _ options: AdminOptions, _ confirmation: Confirmation
    ) throws {
        let id = try which.id()
        try confirmation.confirm("revoke API key \(id.shown) of \(which.organization), for good")
        try options.tell(
            .revokeKey, ["organization": which.organizationValue, "key": id]
        ) { _ in "API key \(id.shown) is revoked" }
    }
}
