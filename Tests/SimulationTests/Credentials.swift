import TollgateCore

/// Who is whom in a simulation: one issuer whose tokens live for years.
enum Credentials {
    private static let lifetimeSeconds: Int64 = 315_360_000
    private static let secret = SecretBytes(copying: (0..<32).map { UInt8($0 &* 7 &+ 3) })

    static var issuer: IssuerDefinition {
        IssuerDefinition(
            name: "main", issuer: "https://issuer",
            keys: [SigningKeyDefinition(keyID: "k1", algorithm: .hs256, secret: secret)],
            lifetimeMaxSeconds: lifetimeSeconds)
    }

    static func token(
        organization: String, user: String, plan: String, at wall: Int64
    ) -> String {
        TokenMinter.mint(
            claims: [
                ("iss", .string("https://issuer")), ("sub", .string(user)),
                ("exp", .integer(wall + lifetimeSeconds / 2)), ("org", .string(organization)),
                ("plan", .string(plan)),
            ], algorithm: .hs256, keyID: "k1", secret: secret) ?? ""
    }
}
