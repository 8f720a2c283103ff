import TollgateWire

@testable import TollgateCore

/// An engine with a directory: `acme` with ada, on `pro_tier`, and keys made from a seed.
final class DirectoryHarness {
    let engine: EngineHarness
    let image: DirectoryImage
    private var random: SeededRandom
    let pepper: APIKeyPepper

    init(
        _ definition: PolicyDefinition = .withDirectory(), seed: UInt64 = 1,
        peppers: [APIKeyPepper]? = nil
    ) throws {
        engine = try EngineHarness(definition)
        image = engine.engine.directory
        random = SeededRandom(seed: seed)
        let peppers = try peppers ?? [APIKeyTests.pepper()]
        image.setPeppers(peppers)
        pepper = peppers[peppers.count - 1]
        put("acme", plan: "pro_tier")
        image.put(UserEntry(organization: "acme", id: "ada"))
    }

    func put(
        _ id: String, plan: String? = "pro_tier", isServed: Bool = true, isActive: Bool = true,
        isPersonal: Bool = false, overrides: [OverrideEntry] = []
    ) {
        image.put(
            OrganizationEntry(
                id: id, isPersonal: isPersonal, isActive: isActive,
                subscription: plan.map { SubscriptionEntry(plan: $0, isServed: isServed) },
                overrides: overrides))
    }

    struct Made {
        var entry: APIKeyEntry
        var text: String
    }

    /// A key that the directory does not know yet.
    func make(
        _ organization: String = "acme", _ user: String = "ada", pepper: APIKeyPepper? = nil,
        edit: (inout APIKeyEntry) -> Void = { _ in }
    ) throws -> Made {
        let (id, text) = try APIKeyTests.key(&random)
        let pepper = pepper ?? self.pepper
        var entry = APIKeyEntry(
            id: id, organization: organization, user: user,
            digest: try Self.digest(text, pepper), pepper: pepper.generation)
        edit(&entry)
        return Made(entry: entry, text: String(decoding: text, as: UTF8.self))
    }

    func add(
        _ organization: String = "acme", _ user: String = "ada",
        edit: (inout APIKeyEntry) -> Void = { _ in }
    ) throws -> Made {
        let made = try make(organization, user, edit: edit)
        image.put(made.entry)
        return made
    }

    /// Another secret of the same key.
    func secret(of key: Made) throws -> (text: String, digest: APIKeyDigest) {
        let (_, text) = try APIKeyTests.key(&random, id: key.entry.id)
        return (String(decoding: text, as: UTF8.self), try Self.digest(text, pepper))
    }

    static func digest(_ text: [UInt8], _ pepper: APIKeyPepper) throws -> APIKeyDigest {
        APIKeyTests.parsed(text) { pepper.digest(of: $0) } ?? .none
    }

    func check(
        _ credential: String, _ operation: String = "chat", address: [UInt8] = [10, 0, 0, 1],
        flags: UInt16 = 0
    ) -> Answer {
        engine.check(credential, operation: operation, address: address, flags: flags)
    }

    static func token(
        user: String = "ada", organization: String? = "acme", plan: String? = "free_tier",
        tokenID: String? = nil, session: String? = nil, issued: String? = nil
    ) -> String {
        var claims: [(name: String, value: ClaimValue)] = [
            ("iss", .string("https://issuer")), ("sub", .string(user)),
            ("exp", .integer(EngineHarness.startSeconds + 80_000)),
        ]
        if let organization { claims.append(("org", .string(organization))) }
        if let plan { claims.append(("plan", .string(plan))) }
        if let tokenID { claims.append(("jti", .string(tokenID))) }
        if let session { claims.append(("sid", .string(session))) }
        claims.append(("iat", .number(issued ?? String(EngineHarness.startSeconds - 10))))
        return TokenMinter.mint(
            claims: claims, algorithm: .hs256, keyID: "k1", secret: EngineHarness.secret) ?? ""
    }
}

extension PolicyDefinition {
    /// The small policy, its issuer's callers with plans of the directory, and true reasons.
    static func withDirectory(
        _ source: PlanSource = .directory, unknown: UnknownOrganizations = .refuse,
        reveals: Bool = true
    ) -> PolicyDefinition {
        var policy = PolicyDefinition.small(userPerSecond: 1_000)
        policy.plans[1].rateLimits[2].limit = 1_000
        policy.invalidCredentialLimit?.limit = 1_000
        policy.issuers[0].planSource = source
        policy.issuers[0].unknownOrganizations = unknown
        policy.revealsCredentialFailures = reveals
        return policy
    }
}

extension WallTime {
    /// Of the harness' start.
    static func start(_ milliseconds: Int64 = 0) -> WallTime {
        WallTime(milliseconds: EngineHarness.startSeconds * 1_000 + milliseconds)
    }
}
