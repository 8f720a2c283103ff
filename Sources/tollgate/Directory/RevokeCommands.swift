import ArgumentParser
import TollgateWire

struct RevokeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "Refuse credentials, from the very next request on.",
        discussion: """
            What is issued later is let in again: revoking is for credentials that got about; to \
            shut somebody out, suspend (tollgate user suspend, tollgate org suspend). Each asks \
            first, unless --yes is given.
            """,
        subcommands: [
            RevokeToken.self, RevokeSession.self, RevokeUser.self, RevokeOrganization.self,
            RevokeKey.self, RevokeList.self,
        ])
}

/// Whose credentials are meant.
struct RevokedOwner: ParsableArguments {
    @Argument(help: "The organization's id; with --personal, the user's.")
    var organization: String
    @Flag(help: "The user's own: tokens that name no organization.") var personal = false

    var value: JSONValue? { .string(organization) }
    var personalValue: JSONValue? { personal ? .bool(true) : nil }

    /// Says also where the directory knows nobody of that name.
    func tell(
        _ options: AdminOptions, _ what: String, _ call: CallName,
        _ members: KeyValuePairs<String, JSONValue?>
    ) throws {
        let owner: [(String, JSONValue?)] = [("organization", value), ("personal", personalValue)]
        let reply = try options.call(call, members: owner + Array(members))
        let revocation = try reply.required("revocation", JSONObject.object)
        try options.output.print(
            reply.json,
            visible("\(what) is revoked; kept until \(revocation.shown("expires_at"))"))
        if reply.bool("known") == false, !options.output.json {
            Console.printError(
                visible("the directory knows no \(what): tokens that name it are refused anyway"))
        }
    }
}

struct RevokeToken: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Refuse one access token, named by its id (jti).",
        discussion: "With the token itself in a file: tollgate token revoke.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var owner: RevokedOwner
    @Argument(help: "The token's jti.") var jti: String
    @Option(
        help: """
            When the token expires, and the revocation can go: an ISO 8601 date or a length of \
            time from now. Default: as late as any token can.
            """,
        transform: Instants.milliseconds)
    var expires: Int64?
    @OptionGroup var confirmation: Confirmation

    func run() throws {
        let what = "token \(jti) of \(owner.organization)"
        try confirmation.confirm("revoke \(what)")
        try owner.tell(
            options, what, .revokeToken,
            ["jti": .string(jti), "expires_at": .optional(expires)])
    }
}

struct RevokeSession: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "session", abstract: "End a session and refuse its access tokens.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: SessionArguments
    @OptionGroup var confirmation: Confirmation

    func run() throws { try SessionRevoke.revoke(which, options, confirmation) }
}

struct RevokeUser: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user",
        abstract: "Refuse all of a user issued until now: tokens, sessions, API keys.",
        discussion: """
            Also where the directory does not know the user, whose tokens another issuer made.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var owner: RevokedOwner
    @Argument(help: "The user's id; with --personal it may be left out.") var user: String?
    @OptionGroup var confirmation: Confirmation

    func validate() throws {
        if user == nil, !owner.personal { throw ValidationError("name the user") }
    }

    func run() throws {
        let user = user ?? owner.organization
        let what = "user \(user) \(owner.personal ? "on its own" : "of \(owner.organization)")"
        try confirmation.confirm("revoke all tokens, sessions and API keys of \(what)")
        try owner.tell(options, what, .revokeUser, ["user": .string(user)])
    }
}

struct RevokeOrganization: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "organization",
        abstract: "Refuse all of an organization issued until now: tokens, sessions, API keys.",
        discussion: """
            Also where the directory does not know the organization, whose tokens another issuer \
            made.
            """,
        aliases: ["org"])
    @OptionGroup var options: AdminOptions
    @OptionGroup var owner: RevokedOwner
    @OptionGroup var confirmation: Confirmation

    func run() throws {
        let what = "organization \(owner.organization)"
        try confirmation.confirm("revoke all tokens, sessions and API keys of \(what)")
        try owner.tell(options, what, .revokeOrganization, [:])
    }
}

struct RevokeKey: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "End an API key at once, for good.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var which: KeyArguments
    @OptionGroup var confirmation: Confirmation

    func run() throws { try KeyRevoke.revoke(which, options, confirmation) }
}

struct RevokeList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List an organization's revocations that still count.",
        discussion: "One leaves the list when no token that it refuses can be alive.")
    @OptionGroup var options: AdminOptions
    @OptionGroup var owner: RevokedOwner
    @Option(help: "Only of this kind.") var kind: Kind?
    @OptionGroup var list: ListOptions

    enum Kind: String, ExpressibleByArgument, CaseIterable {
        case token, session, user, organization
    }

    func run() throws {
        var printer = ListPrinter(options, list, .revocation)
        try printer.print(
            .listRevocations,
            [
                "organization": owner.value, "personal": owner.personalValue,
                "kind": .optional(kind?.rawValue),
            ])
    }
}
