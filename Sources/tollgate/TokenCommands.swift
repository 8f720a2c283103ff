import ArgumentParser
import Glibc
import TollgateCore
import TollgatePolicy

struct TokenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Make and read access tokens, for trying things.",
        subcommands: [TokenMint.self, TokenInspect.self])
}

struct TokenMint: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mint",
        abstract: "Make an access token of an issuer of a policy, signed with its key.")
    @Option(name: [.customShort("c"), .long], help: "The policy file.")
    var config = "/etc/tollgate/tollgate.yaml"
    @Option(help: "Issuer, by its name in the policy; default: the first.") var issuer: String?
    @Option(help: "The user.") var user: String
    @Option(help: "The organization.") var organization: String?
    @Option(help: "The plan.") var plan: String?
    @Option(help: "A permission; repeatable.") var permission: [String] = []
    @Option(help: "Seconds until it expires.") var lifetime: Int64 = 600

    func run() throws {
        let policy = try PolicyCommand.load(config).definition
        guard let issuer = policy.issuers.first(where: { self.issuer == nil || $0.name == self.issuer }),
            let key = issuer.keys.first
        else {
            printError("\(config) has no issuer \(self.issuer ?? "at all")")
            throw ExitCode(78)
        }
        guard (1...issuer.lifetimeMaxSeconds).contains(lifetime) else {
            printError("the issuer's tokens live 1 to \(issuer.lifetimeMaxSeconds) seconds")
            throw ExitCode(64)
        }
        let now = Int64(time(nil))
        var claims: [(name: String, value: ClaimValue)] = [
            ("iss", .string(issuer.issuer)), (issuer.claims.user, .string(user)),
            ("iat", .integer(now)), ("exp", .integer(now + lifetime)),
        ]
        if let audience = issuer.audiences.first { claims.append(("aud", .string(audience))) }
        if let organization, let name = issuer.claims.organization {
            claims.append((name, .string(organization)))
        }
        if let plan, let name = issuer.claims.plan { claims.append((name, .string(plan))) }
        if !permission.isEmpty, let name = issuer.claims.permissions {
            claims.append((name, .strings(permission)))
        }
        guard
            let token = TokenMinter.mint(
                claims: claims, algorithm: key.algorithm, keyID: key.keyID, secret: key.secret)
        else { throw ExitCode(70) }
        print(token)
    }
}

struct TokenInspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show what a token says. Its signature is not verified: use check for that.")
    @Argument(help: "File with the token; - is standard input.") var file = "-"

    func run() throws {
        let token = try Input.token(file)
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3 else {
            printError("a token in compact form has three parts, this has \(parts.count)")
            throw ExitCode(65)
        }
        for (name, part) in zip(["header", "claims"], parts) {
            let bytes = Array(part.utf8)
            var decoded = [UInt8](repeating: 0, count: bytes.count)
            let count = bytes.withUnsafeBytes { source in
                decoded.withUnsafeMutableBytes { Base64URL.decode(source, into: $0) }
            }
            guard let count else {
                printError("the \(name) is not base64url")
                throw ExitCode(65)
            }
            print("\(name) \(String(decoding: decoded[..<count], as: UTF8.self))")
        }
        print(Style.paint("the signature was not verified", .dim))
    }
}
