import ArgumentParser
import Glibc
import TollgateCore
import TollgatePolicy
import TollgateWire

struct TokenMint: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mint",
        abstract: "Make an access token, signed with a key of a policy or of a file.",
        discussion: """
            Keys come from files, never from an argument. With --key-file no policy is read: name \
            its --algorithm and --issuer then.
            """)
    @OptionGroup var output: OutputOptions
    @Option(
        name: [.customShort("c"), .long],
        help: "The policy file (default: TOLLGATE_CONFIG, or /etc/tollgate/tollgate.yaml).",
        completion: .file())
    var config: String?
    @Option(help: "A key file, instead of a policy's.", completion: .file()) var keyFile: String?
    @Option(help: "Format of the key file.") var keyFormat = KeyFormat.base64url
    @Option(help: "Algorithm; with a policy, that of the key to use.") var algorithm: AlgorithmName?
    @Option(help: "The key's id: which of the issuer's keys, or what the header says.")
    var kid: String?
    @Option(
        help: "Issuer by its name in the policy (default: the first); of a file's key, the iss.")
    var issuer: String?
    @Option(help: "The aud; default: the issuer's first audience.") var audience: String?
    @Option(help: "The user.") var user: String
    @Option(help: "The organization.") var organization: String?
    @Option(help: "The plan.") var plan: String?
    @Option(help: "A permission; repeatable.") var permission: [String] = []
    @Option(help: "Seconds until it expires.") var lifetime: Int64 = 600

    enum KeyFormat: String, ExpressibleByArgument, CaseIterable { case base64url, jwk }

    enum AlgorithmName: String, ExpressibleByArgument, CaseIterable {
        case hs256 = "HS256"
        case hs384 = "HS384"
        case hs512 = "HS512"

        var algorithm: TokenAlgorithm {
            switch self {
            case .hs256: .hs256
            case .hs384: .hs384
            case .hs512: .hs512
            }
        }
    }

    func validate() throws {
        let names = [("--user", user), ("--organization", organization), ("--plan", plan)]
        for (option, text) in names {
            guard let text else { continue }
            guard (1...WireLimits.identifierBytesMax).contains(text.utf8.count) else {
                throw ValidationError("\(option) is 1 to 128 bytes long")
            }
        }
        guard lifetime >= 1 else { throw ValidationError("--lifetime is at least 1 second") }
        if keyFile != nil {
            if config != nil { throw ValidationError("give --config or --key-file, not both") }
            if algorithm == nil || issuer == nil {
                throw ValidationError("--key-file needs --algorithm and --issuer")
            }
        }
    }

    func run() throws {
        let signer = try keyFile.map(signerOfFile) ?? signerOfPolicy()
        guard lifetime <= signer.lifetimeMax else {
            throw Failure(
                .usage, "the issuer's tokens live at most \(signer.lifetimeMax) seconds",
                next: "give a --lifetime of at most that, or raise lifetime_max in the policy")
        }
        let now = Times.now
        let claims = try claims(signer, now: now)
        guard
            let token = TokenMinter.mint(
                claims: claims, algorithm: signer.key.algorithm, keyID: signer.key.keyID,
                secret: signer.key.secret, type: signer.type)
        else { throw Failure(.unexpected, "the key cannot be prepared: memory is short") }
        try output.print(
            .object([
                ("token", .text(token)), ("algorithm", .text(signer.key.algorithm.headerName)),
                ("kid", .optional(signer.key.keyID)), ("issuer", .text(signer.issuer)),
                ("user", .text(user)), ("organization", .optional(organization)),
                ("plan", .optional(plan)), ("issued_at", .count(now)),
                ("expires_at", .count(now + lifetime)),
            ]), token)
    }

    /// What a token is signed with, and how it says things.
    private struct Signer {
        var issuer: String
        var audience: String?
        var type: String?
        var claims: ClaimsMapping
        var key: SigningKeyDefinition
        var lifetimeMax: Int64
    }

    private func signerOfFile(_ path: String) throws -> Signer {
        guard let algorithm = algorithm?.algorithm, let issuer else {
            throw Failure(.usage, "--key-file needs --algorithm and --issuer")
        }
        guard access(path, R_OK) == 0 else {
            throw Failure(
                .noInput, "cannot read \(path): \(systemText(errno))",
                next: "make a key with: openssl rand 32 | basenc --base64url -w0 | tr -d = > FILE")
        }
        var claims = ClaimsMapping()
        claims.permissions = "permissions"
        do throws(KeyFileFault) {
            let secret = try KeyFiles(directory: ".").secret(
                path, format: keyFormat == .jwk ? .jwk : .base64url, algorithm: algorithm,
                keyID: kid)
            return Signer(
                issuer: issuer, audience: audience, type: "JWT", claims: claims,
                key: SigningKeyDefinition(keyID: kid, algorithm: algorithm, secret: secret),
                lifetimeMax: 315_360_000)
        } catch { throw Failure(.configuration, error.message) }
    }

    private func signerOfPolicy() throws -> Signer {
        let path = try Input.policyPath(config)
        let policy = try PolicyCommand.load(path).definition
        guard
            let found = policy.issuers.first(where: { issuer == nil || $0.name == issuer })
        else {
            let names = policy.issuers.map(\.name).joined(separator: ", ")
            throw Failure(
                .configuration, "\(path) has no issuer \(issuer.map { "\"\($0)\"" } ?? "at all")",
                next: names.isEmpty ? "add one under issuers:" : "it has: \(names)")
        }
        if let plan, !policy.plans.contains(where: { $0.name == plan }) {
            Console.printError("tollgate: \(path) has no plan \(visible(plan)): it will be denied")
        }
        return Signer(
            issuer: found.issuer, audience: audience ?? found.audiences.first,
            type: found.types.first, claims: found.claims, key: try key(of: found),
            lifetimeMax: found.lifetimeMaxSeconds)
    }

    /// The issuer's first key that is as asked for and good for the organization.
    private func key(of issuer: IssuerDefinition) throws -> SigningKeyDefinition {
        let fitting = issuer.keys.filter { key in
            (kid == nil || key.keyID == kid)
                && (algorithm == nil || key.algorithm == algorithm?.algorithm)
        }
        let usable = fitting.filter { $0.organization == nil || $0.organization == organization }
        if let key = usable.first { return key }
        let keys = (fitting.isEmpty ? issuer.keys : fitting).map { key in
            "\(key.keyID ?? "(no id)") \(key.algorithm.headerName)"
                + (key.organization.map { " for organization \($0)" } ?? "")
        }
        throw Failure(
            .configuration, "issuer \(issuer.name) has no such key for this token",
            next: "it has: " + keys.joined(separator: "; "))
    }

    private func claims(
        _ signer: Signer, now: Int64
    ) throws -> [(name: String, value: ClaimValue)] {
        var claims: [(name: String, value: ClaimValue)] = [
            ("iss", .string(signer.issuer)), (signer.claims.user, .string(user)),
            ("iat", .integer(now)), ("exp", .integer(now + lifetime)),
        ]
        if let audience = signer.audience { claims.append(("aud", .string(audience))) }
        func add(_ what: String, _ name: String?, _ value: ClaimValue?) throws {
            guard let value else { return }
            guard let name else {
                throw Failure(
                    .configuration, "the issuer maps no claim to the \(what)",
                    next: "name one under claims: in the policy, or leave the option out")
            }
            claims.append((name, value))
        }
        try add("organization", signer.claims.organization, organization.map { .string($0) })
        try add("plan", signer.claims.plan, plan.map { .string($0) })
        try add(
            "permissions", signer.claims.permissions,
            permission.isEmpty ? nil : .strings(permission))
        return claims
    }
}
