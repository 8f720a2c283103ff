import Testing
import TollgateWire

@testable import TollgateCore

/// RELIABILITY J10: a token that was good a moment ago, after the configuration or the time has
/// changed. What was remembered of it must not be believed any longer.
@Suite struct TokenReloadTests {
    private static let others = (0..<4).map { seed in
        SecretBytes(
            copying: (0..<32).map { UInt8(truncatingIfNeeded: $0 &* 13 &+ 7 &+ seed &* 29) })
    }

    private static func policy(
        keys: [(String, SecretBytes)], change: (inout IssuerDefinition) -> Void = { _ in }
    ) -> PolicyDefinition {
        var policy = PolicyDefinition()
        policy.plans = [PlanDefinition(name: "pro_tier")]
        policy.operations = [OperationDefinition(name: "chat")]
        policy.revealsCredentialFailures = true
        var issuer = IssuerDefinition(
            name: "i", issuer: "https://issuer",
            keys: keys.map {
                SigningKeyDefinition(keyID: $0.0, algorithm: .hs256, secret: $0.1)
            })
        change(&issuer)
        policy.issuers = [issuer]
        return policy
    }

    private static func token(_ user: String, key: (String, SecretBytes), seconds: Int64 = 600)
        -> String
    {
        let start = EngineHarness.startSeconds
        return TokenMinter.mint(
            claims: [
                ("iss", .string("https://issuer")), ("sub", .string(user)),
                ("org", .string("acme")),
                ("plan", .string("pro_tier")), ("iat", .integer(start)),
                ("exp", .integer(start + seconds)),
            ], algorithm: .hs256, keyID: key.0, secret: key.1) ?? ""
    }

    @Test func aRememberedTokenIsJudgedByThePolicyInForce() throws {
        let key = ("a", Self.others[0])
        let harness = try EngineHarness(Self.policy(keys: [key]))
        let token = Self.token("ada", key: key)
        func expect(_ reason: Reason, _ definition: PolicyDefinition) throws {
            for _ in 0..<2 { #expect(harness.check(token).reason == .none) }
            try harness.reload(definition)
            for _ in 0..<2 { #expect(harness.check(token).reason == reason) }
            try harness.reload(Self.policy(keys: [key]))
        }
        try expect(.keyUnknown, Self.policy(keys: [("b", Self.others[0])]))
        try expect(.signatureInvalid, Self.policy(keys: [("a", Self.others[1])]))
        try expect(.keyUnknown, Self.policy(keys: [("b", Self.others[1]), ("c", Self.others[0])]))
        try expect(.issuerUnknown, Self.policy(keys: [key]) { $0.issuer = "https://other" })
        try expect(.audienceMismatch, Self.policy(keys: [key]) { $0.audiences = ["x"] })
        try expect(.claimInvalid, Self.policy(keys: [key]) { $0.types = ["at+jwt"] })
        try expect(.claimInvalid, Self.policy(keys: [key]) { $0.claims.user = "email" })
        try expect(.tokenLifetimeTooLong, Self.policy(keys: [key]) { $0.lifetimeMaxSeconds = 599 })
        try expect(.claimInvalid, Self.policy(keys: [key]) { $0.keys[0].organization = "other" })
        try expect(.none, Self.policy(keys: [key, ("b", Self.others[1])]))
        var without = Self.policy(keys: [key])
        without.plans = [PlanDefinition(name: "free_tier")]
        try expect(.planUnknown, without)
        var permission = Self.policy(keys: [key])
        permission.operations[0].permission = "can_use_gpt4o"
        try expect(.permissionDenied, permission)
    }

    @Test(arguments: [0, 30] as [Int64])
    func aRememberedTokenEndsOnTime(leeway: Int64) throws {
        let key = ("a", Self.others[0])
        let harness = try EngineHarness(
            Self.policy(keys: [key]) { $0.leewaySeconds = leeway })
        let token = Self.token("ada", key: key)
        let end = UInt64(600 + leeway) * 1_000
        #expect(harness.check(token).reason == .none)
        harness.advance(milliseconds: end - 1)
        #expect(harness.check(token).reason == .none)
        harness.advance(milliseconds: 1)
        #expect(harness.check(token).reason == .tokenExpired)
        // The clock steps back: what has expired stays so, and a time before the token was
        // verified is no time at which it is known to be good.
        harness.wall -= 700_000
        harness.beginTurn()
        #expect(harness.check(token).reason != .none)
    }

    /// Keys come and go under their names at random while tokens of all of them are shown.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func noTokenOutlivesItsKey(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let names = ["a", "b"]
        var held: [String: Int] = ["a": 0]
        func definition() -> PolicyDefinition {
            Self.policy(
                keys: names.compactMap { name in held[name].map { (name, Self.others[$0]) } })
        }
        let harness = try EngineHarness(definition())
        var tokens: [(user: String, name: String, secret: Int, text: String)] = []
        for index in 0..<24 {
            let name = names[index % 2]
            let secret = index / 2 % 4
            let user = "user-\(index)"
            tokens.append((user, name, secret, Self.token(user, key: (name, Self.others[secret]))))
        }
        var admitted = 0
        for _ in 0..<2_500 {
            if Int.random(in: 0..<20, using: &random) == 0 {
                let name = names.randomElement(using: &random) ?? "a"
                held[name] =
                    Bool.random(using: &random) ? Int.random(in: 0..<4, using: &random) : nil
                if held.isEmpty { held["a"] = 0 }
                try harness.reload(definition())
            }
            let token = tokens.randomElement(using: &random) ?? tokens[0]
            let answer = harness.check(token.text)
            let good = held[token.name] == token.secret
            #expect((answer.reason == .none) == good, "seed \(seed)")
            guard good else { continue }
            admitted += 1
            // Never the claims of another token.
            #expect(answer.texts[0] == token.user)
        }
        #expect(admitted > 100)
    }
}
