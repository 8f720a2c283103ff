import ArgumentParser
import TollgateWire

struct SessionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "session", abstract: "Logins: what a refresh token keeps alive.",
        discussion: "tollgate token issue begins one.",
        subcommands: [
            SessionList.self, SessionShow.self, SessionRevoke.self, SessionEnd.self,
        ])
}

/// The session that a command is about.
struct SessionArguments: ParsableArguments {
    @Argument(help: "The organization's id.") var organization: String
    @Argument(help: "The session's id, as tokens name it (sid).") var session: String

    var organizationValue: JSONValue? { .string(organization) }
    var sessionValue: JSONValue? { .string(session) }
}

struct SessionList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List a user's sessions.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: UserArguments
    @OptionGroup var list: ListOptions

    func run() throws {
        var printer = ListPrinter(options, list, .session)
        try printer.print(
            .listSessions, ["organization": which.organizationValue, "user": which.userValue])
    }
}

struct SessionShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show a session.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: SessionArguments

    func run() throws {
        try options.show(
            .showSession,
            ["organization": which.organizationValue, "session": which.sessionValue], "session",
            .session)
    }
}

struct SessionRevoke: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "End a session and refuse its access tokens at once.",
        discussion: "The same as tollgate revoke session. Asks first, unless --yes is given.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: SessionArguments
    @OptionGroup var confirmation: Confirmation

    func run() throws { try Self.revoke(which, options, confirmation) }

    static func revoke(
        _ which: SessionArguments, _ options: AdminOptions, _ confirmation: Confirmation
    ) throws {
        let name = "session \(which.session) of \(which.organization)"
        try confirmation.confirm("revoke \(name)")
        try options.tell(
            .revokeSession,
            ["organization": which.organizationValue, "session": which.sessionValue]
        ) { "\(name) is revoked\(RevocationText.until($0))" }
    }
}

struct SessionEnd: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "end", abstract: "Log out: end the session of a refresh token.",
        discussion: """
            For whoever holds the token. Who has the role issue and not admin names the data \
            socket with --socket. A token that was spent ends its session too. Exit code 2: the \
            token is refused.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var source: RefreshTokenSource

    func run() throws {
        try options.show(
            .endSession, ["refresh_token": try source.value()], "session", .session)
    }
}
