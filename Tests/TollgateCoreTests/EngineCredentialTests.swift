import Testing
import TollgateWire

@testable import TollgateCore

/// Credentials as the engine takes them: what it counts, what it remembers, how long they may be.
@Suite struct EngineCredentialTests {
    @Test func aDryRunOfAForgedTokenIsNotCountedAgainstItsAddress() throws {
        let harness = try EngineHarness()
        for _ in 0..<20 {
            let answer = harness.check("a.b.c", flags: RequestFlags.dryRun)
            #expect(answer.reason == .credentialInvalid)
        }
        #expect(harness.check("a.b.c").reason == .credentialInvalid)
        for _ in 0..<3 { _ = harness.check("a.b.c") }
        #expect(harness.check("a.b.c").reason == .invalidCredentialLimited)
    }

    @Test func aRememberedTokenIsLookedAtAgainWhenTheClockStepsBehindItsBeginning() throws {
        let harness = try EngineHarness()
        let token =
            TokenMinter.mint(
                claims: [
                    ("iss", .string("https://issuer")), ("sub", .string("ada")),
                    ("org", .string("acme")), ("plan", .string("pro_tier")),
                    ("nbf", .integer(EngineHarness.startSeconds)),
                    ("exp", .integer(EngineHarness.startSeconds + 600)),
                ], algorithm: .hs256, keyID: "k1", secret: EngineHarness.secret) ?? ""
        #expect(harness.check(token).isAllowed)
        harness.wall -= 30_000
        harness.beginTurn()
        #expect(harness.check(token).reason == .credentialInvalid)
        harness.wall += 30_000
        harness.beginTurn()
        #expect(harness.check(token).isAllowed)
    }

    @Test func aTokenLongerThanThePolicyAllowsIsMalformed() throws {
        let token = EngineHarness.token()
        var policy = PolicyDefinition.small()
        policy.revealsCredentialFailures = true
        policy.credentialBytesMax = token.utf8.count
        let harness = try EngineHarness(policy)
        #expect(harness.check(token).isAllowed)
        policy.credentialBytesMax = token.utf8.count - 1
        try harness.reload(policy)
        #expect(harness.check(token).reason == .credentialMalformed)
    }
}
