import Testing
import TollgateCore
import TollgateWire

@Suite struct TokenVerifierTests {
    @Test func aGoodTokenIsAcceptedAndItsClaimsAreRead() throws {
        var bench = try TokenBench()
        let token = try TokenBench.token()
        for _ in 0..<3 {
            #expect(bench.verify(token) == .none)
            #expect(text(bench.claims.user) == "user-1")
            #expect(text(bench.claims.organization) == "acme")
            #expect(text(bench.claims.plan) == "pro_tier")
            #expect(bench.claims.expirySeconds == 1_800_000_300)
            #expect(!bench.claims.hasPermissions)
        }
    }

    @Test func anotherKeysSignatureIsRefused() throws {
        var bench = try TokenBench()
        let other = SecretBytes(copying: [UInt8](repeating: 7, count: 32))
        #expect(bench.verify(try TokenBench.token(key: other)) == .signatureInvalid)
    }

    @Test func aTokenIsGoodStrictlyBeforeItsExpiry() throws {
        var bench = try TokenBench()
        let token = try TokenBench.token()
        bench.expiryNow = WallTime(milliseconds: 1_800_000_299_999)
        #expect(bench.verify(token) == .none)
        bench.expiryNow = WallTime(milliseconds: 1_800_000_300_000)
        #expect(bench.verify(token) == .tokenExpired)
    }
}
