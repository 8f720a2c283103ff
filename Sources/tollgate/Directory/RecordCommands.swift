import ArgumentParser
import TollgateWire

struct BackupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Have the daemon write a copy of its directory.",
        discussion: """
            The copy is whole, and made while the daemon goes on. The daemon writes it, as its own \
            user and on its own machine. Signing keys and peppers are files beside the directory: \
            keep them too, and elsewhere.
            """)
    @OptionGroup var options: AdminOptions
    @Argument(help: "A new file, as the daemon sees it; begins with /.") var path: String

    func run() throws {
        guard path.hasPrefix("/") else {
            throw Failure(
                .usage, "\"\(path)\" is not a path from the root",
                next: "the daemon has another working directory: begin the path with /")
        }
        // As long as the disk takes.
        var options = options
        options.timeout = options.timeout ?? 600_000
        let reply = try options.call(.createBackup, ["path": .string(path)])
        let size = bytes(Double(try reply.required("bytes", JSONObject.integer)))
        try options.output.print(reply.json, visible("\(reply.shown("path")): \(size)"))
    }
}

struct LogCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log", abstract: "Show who changed what in the directory, newest first.")
    @OptionGroup var options: AdminOptions
    @Option(help: "Only changes of this organization.") var organization: String?
    @OptionGroup var list: ListOptions

    func run() throws {
        var printer = ListPrinter(options, list, .logEntry)
        try printer.print(.listLog, ["organization": .optional(organization)])
    }
}

struct DirectoryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "directory", abstract: "The durable records as a whole.",
        subcommands: [DirectoryStatus.self])
}

struct DirectoryStatus: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show what the directory holds, and its peppers.",
        discussion: """
            A pepper that no key uses, and that is not the newest, may leave the policy. One that \
            keys use and that is not configured leaves those keys refused.
            """)
    @OptionGroup var options: AdminOptions

    func run() throws {
        let reply = try options.call(.showStatus)
        let counts = ["path", "organizations", "users", "keys", "sessions", "revocations"]
        var text = pairs(counts.map { ($0, reply.shown($0)) }, indent: 0)
        let peppers = reply.objects("peppers")
        if !peppers.isEmpty {
            text += "\n" + table(
                ["PEPPER", "KEYS", "CONFIGURED"],
                peppers.map { pepper in
                    ["generation", "keys", "configured"].map { pepper.shown($0) }
                })
        }
        try options.output.print(reply.json, text)
    }
}
