import CAllocationCount
import Testing
import TollgateCore
import TollgateWire

/// The budget of `TokenVerifier.verify` is 0 allocations, whatever it answers.
@Suite struct TokenAllocationTests {
    @Test func theCounterCounts() {
        guard tg_allocations_are_counted() == 1 else { return }
        let before = tg_allocations()
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 16)
        #expect(tg_allocations() == before + 1)
        memory.deallocate()
    }

    @Test func verifyingAllocatesNothing() throws {
        guard tg_allocations_are_counted() == 1 else { return }
        var bench = try TokenBench([
            TokenBench.issuer {
                $0.claims.roles = "roles"
                $0.claims.permissions = "scope"
                $0.claims.plansByRole = ["admin": "enterprise_tier"]
            }
        ])
        let tokens: [(String, Reason)] = [
            (try TokenBench.token(), .none),
            (
                try TokenBench.token(
                    payload: TokenBench.payload([
                        "sub": #""\u00e9\ud83d\ude00\n""#, "aud": #"["x","https:\/\/api.example"]"#,
                    ])), .claimInvalid
            ),
            (
                try TokenBench.token(
                    payload: TokenBench.payload([
                        "sub": #""\u00e9\ud83d\ude00""#, "plan": nil,
                        "roles": #"["x","\u0061dmin"]"#,
                        "scope": #"["a","\u0062","c d"]"#,
                    ])), .none
            ),
            (
                try TokenBench.token(payload: TokenBench.payload(["scope": "\"a b  c\""])), .none
            ),
            (try TokenBench.token(header: #"{"alg":"none"}"#), .algorithmNotAllowed),
            (
                try TokenBench.token(header: #"{"alg":"HS256","kid":"other"}"#), .keyUnknown
            ),
            (try TokenBench.token() + "A", .signatureInvalid),
            (try TokenBench.token(payload: TokenBench.payload(["exp": "1"])), .tokenExpired),
        ]
        for (token, reason) in tokens {
            let bytes = Array(token.utf8)
            let allocations = bytes.withUnsafeBytes { view in
                _ = bench.verifier.verify(
                    view, issuers: bench.issuers, expiryNow: bench.expiryNow,
                    notBeforeNow: bench.notBeforeNow)
                let before = tg_allocations()
                for _ in 0..<1_000 {
                    let found = bench.verifier.verify(
                        view, issuers: bench.issuers, expiryNow: bench.expiryNow,
                        notBeforeNow: bench.notBeforeNow)
                    if found != reason { return UInt64.max }
                }
                return tg_allocations() - before
            }
            #expect(allocations == 0, "\(token)")
        }
    }
}
