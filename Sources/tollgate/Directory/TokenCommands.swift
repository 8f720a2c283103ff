import ArgumentParser
import TollgateWire

/// Where to put the two secrets of a login.
struct TokenFiles: ParsableArguments {
    @Option(
        help: "Write the access token to this new file (mode 0600), not to standard output.",
        completion: .file())
    var accessFile: String?
    @Option(
        help: "Write the refresh token to this new file (mode 0600), not to standard output.",
        completion: .file())
    var refreshFile: String?

    /// Makes the tokens and hands them over: each alone on a line of standard output, the access
    /// token first, or in its file; what else there is to say goes to standard error.
    func hand(_ output: OutputOptions, make: () throws -> JSONObject) throws {
        let files = try [("access_token", accessFile), ("refresh_token", refreshFile)].map {
            ($0, try $1.map(SecretFile.init))
        }
        var reply = try make()
        var lines: [String] = []
        for (member, file) in files {
            let token = try reply.required(member, JSONObject.string)
            guard let file else {
                lines.append(token)
                continue
            }
            try file.write(token)
            reply.members.removeAll { $0.name == member }
            reply.append(member + "_file", .string(file.path))
        }
        if output.json { return try Console.print(JSONValue.object(reply).text) }
        Console.printError("the access token expires \(reply.shown("expires_at"))")
        if let session = reply.object("session") {
            Console.printError(View.session.text(session, output))
        }
        if !lines.isEmpty { try Console.print(lines.joined(separator: "\n")) }
    }
}

struct TokenIssue: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "issue", abstract: "Log a user in: make an access and a refresh token.",
        discussion: """
            Both are shown once, the access token on the first line, the refresh token on the \
            second, or written to files. Who has the role issue and not admin names the data \
            socket with --socket.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var files: TokenFiles
    @OptionGroup var which: UserArguments
    @Option(help: "A permission the access token has at most; repeatable. Default: all.")
    var permission: [String] = []

    func run() throws {
        try files.hand(options.output) {
            try options.call(
                .issueTokens,
                [
                    "organization": which.organizationValue, "user": which.userValue,
                    "permissions": permission.isEmpty ? nil : .strings(permission),
                ])
        }
    }
}

/// A secret that a command is given.
struct RefreshTokenSource: ParsableArguments {
    @Option(
        name: .customLong("token-file"),
        help: "File with the refresh token; - is standard input.", completion: .file())
    var path: String

    func value() throws -> JSONValue {
        let token = try Input.token(path)
        guard !token.isEmpty else {
            throw Failure(
                .badData, "there is no refresh token in \(path)",
                next: "give a file with one token in it, or - and the token on standard input")
        }
        return .string(token)
    }
}

struct TokenRefresh: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "refresh",
        abstract: "Trade a refresh token for a new one and an access token.",
        discussion: """
            A refresh token is good once; when the answer was lost, the same again within seconds \
            gets the same. Any other use of a spent one ends the session. Exit code 2: refused, \
            log in again. Who has the role issue and not admin names the data socket with --socket.
            """)
    @OptionGroup var options: AdminOptions
    @OptionGroup var source: RefreshTokenSource
    @OptionGroup var files: TokenFiles

    func run() throws {
        let token = try source.value()
        try files.hand(options.output) {
            try options.call(.refreshTokens, ["refresh_token": token])
        }
    }
}

struct TokenRevoke: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "Refuse one access token from now on.",
        discussion: """
            Reads the organization, the user, the id (jti) and the expiry out of the token; its \
            signature is not verified. Where only the id is known: tollgate revoke token. Asks \
            first, unless --yes is given.
            """)
    @OptionGroup var options: AdminOptions
    @Option(
        name: .customLong("token-file"), help: "File with the access token; - is standard input.",
        completion: .file())
    var file: String
    @Option(help: "The claim that names the organization.") var organizationClaim = "org"
    @OptionGroup var confirmation: Confirmation

    func run() throws {
        let text = try Input.token(file)
        if text.hasPrefix("tgr_") {
            throw Failure(
                .badData, "that is a refresh token",
                next: "end its session with: tollgate session end --token-file \(file)")
        }
        let token = try TokenText(text)
        guard let id = try claim("jti", of: token) else {
            throw Failure(
                .badData, "the token has no id (jti): it cannot be revoked alone",
                next: "end its session, or revoke all of its user's: tollgate revoke user")
        }
        let organization = try claim(organizationClaim, of: token)
        guard let owner = try organization ?? claim("sub", of: token) else {
            throw Failure(.badData, "the token names neither an organization nor a user")
        }
        let expires = token.claims.first { $0.name == "exp" }.flatMap { Double($0.value) }
        let known = expires.flatMap { (0...Times.secondsRange.upperBound).contains($0) ? $0 : nil }
            .map { Int64($0.rounded(.up)) * 1_000 }
        try confirmation.confirm("revoke token \(id) of \(owner)")
        try options.tell(
            .revokeToken,
            [
                "organization": .string(owner), "personal": organization == nil ? .bool(true) : nil,
                "jti": .string(id), "expires_at": .optional(known),
            ]
        ) { "token \(id) of \(owner) is revoked\(RevocationText.until($0))" }
    }

    /// A claim that is a text; its escapes taken apart.
    private func claim(_ name: String, of token: TokenText) throws -> String? {
        guard let claim = token.claims.first(where: { $0.name == name }) else { return nil }
        do throws(JSONError) {
            if case .string(let text) = try JSONValue(reading: Array(claim.value.utf8)) {
                return text
            }
        } catch { throw Failure(.badData, "the claim \(name) cannot be read: \(error)") }
        throw Failure(.badData, "the claim \(name) is not a text")
    }
}
