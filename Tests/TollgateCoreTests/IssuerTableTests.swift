import Testing
import TollgateCore
import TollgateWire

@Suite struct IssuerTableTests {
    static let second = SecretBytes(
        copying: Array("another secret of sixty-four bytes, another secret of 64 bytes..".utf8))

    private func key(
        _ keyID: String?, _ algorithm: TokenAlgorithm = .hs256,
        _ secret: SecretBytes = TokenBench.key
    ) -> SigningKeyDefinition {
        SigningKeyDefinition(keyID: keyID, algorithm: algorithm, secret: secret)
    }

    private func token(
        _ keyID: String?, issuer: String = "https://issuer.example",
        _ algorithm: TokenAlgorithm = .hs256,
        _ secret: SecretBytes = TokenBench.key
    ) throws -> String {
        let kid = keyID.map { ",\"kid\":" + ClaimValue.quoted($0) } ?? ""
        return try TokenBench.token(
            header: "{\"alg\":\"\(algorithm.headerName)\"\(kid)}",
            payload: TokenBench.payload(["iss": ClaimValue.quoted(issuer)]), algorithm: algorithm,
            key: secret)
    }

    @Test func theKeyIDChoosesAmongTheIssuersKeys() throws {
        var bench = try TokenBench([
            TokenBench.issuer(keys: [key("a"), key("b", .hs512, Self.second), key("c", .hs384)])
        ])
        #expect(bench.verify(try token("a")) == .none)
        #expect(bench.verify(try token("b", .hs512, Self.second)) == .none)
        #expect(bench.verify(try token("c", .hs384)) == .none)
        #expect(bench.verify(try token("b", .hs512)) == .signatureInvalid)
        #expect(bench.verify(try token("a", .hs256, Self.second)) == .signatureInvalid)
        #expect(bench.verify(try token("b", .hs256, Self.second)) == .algorithmNotAllowed)
        #expect(bench.verify(try token("d")) == .keyUnknown)
        #expect(bench.verify(try token(nil)) == .keyUnknown)
    }

    @Test func aTokenWithoutKeyIDWorksOnlyWithASingleKeyWithoutOne() throws {
        var without = try TokenBench([TokenBench.issuer(keys: [key(nil)])])
        #expect(without.verify(try token(nil)) == .none)
        #expect(without.verify(try token("a")) == .keyUnknown)
        var with = try TokenBench([TokenBench.issuer(keys: [key("a")])])
        #expect(with.verify(try token(nil)) == .keyUnknown)
    }

    @Test func issuersMayShareAKeyIDAndNeverShareKeys() throws {
        var bench = try TokenBench([
            TokenBench.issuer("one", keys: [key("k")]),
            TokenBench.issuer("two", keys: [key("k", .hs256, Self.second)]),
        ])
        for _ in 0..<3 {
            #expect(bench.verify(try token("k", issuer: "one")) == .none)
            #expect(bench.claims.issuerIndex == 0)
            #expect(bench.verify(try token("k", issuer: "two", .hs256, Self.second)) == .none)
            #expect(bench.claims.issuerIndex == 1)
            #expect(bench.verify(try token("k", issuer: "two")) == .signatureInvalid)
            #expect(bench.verify(try token("k", issuer: "three")) == .issuerUnknown)
        }
    }

    /// What the header memo learned must not outlive the table that it was learned under.
    @Test func aReplacedTableDecidesAtOnce() throws {
        let keys = try [
            IssuerTable([TokenBench.issuer(keys: [key("a")])]),
            IssuerTable([TokenBench.issuer(keys: [key("a", .hs256, Self.second)])]),
            IssuerTable([TokenBench.issuer(keys: [key("b")])]),
            IssuerTable([TokenBench.issuer("other", keys: [key("a")])]),
            IssuerTable([TokenBench.issuer(keys: [key("b"), key("a")])]),
            IssuerTable([]),
        ]
        let expected: [Reason] = [
            .none, .signatureInvalid, .keyUnknown, .issuerUnknown, .none, .issuerUnknown,
        ]
        var verifier = TokenVerifier()
        let token = Array(try token("a").utf8)
        let now = WallTime(seconds: TokenBench.now)
        for index in [0, 0, 1, 0, 2, 0, 3, 0, 4, 4, 5, 0, 1] {
            let reason = token.withUnsafeBytes {
                verifier.verify($0, issuers: keys[index], expiryNow: now, notBeforeNow: now)
            }
            #expect(reason == expected[index])
        }
    }

    /// A typ that another issuer takes is not taken because its header was remembered.
    @Test func theMemoKeepsIssuersTypesApart() throws {
        var bench = try TokenBench([
            TokenBench.issuer("one", keys: [key("k")]) { $0.types = ["one+jwt"] },
            TokenBench.issuer("two", keys: [key("k")]) { $0.types = ["two+jwt"] },
        ])
        func token(_ issuer: String, _ type: String) throws -> String {
            try TokenBench.token(
                header: "{\"alg\":\"HS256\",\"typ\":\"\(type)\",\"kid\":\"k\"}",
                payload: TokenBench.payload(["iss": "\"\(issuer)\""]))
        }
        for _ in 0..<2 {
            #expect(bench.verify(try token("one", "ONE+jwt")) == .none)
            #expect(bench.verify(try token("two", "ONE+jwt")) == .claimInvalid)
            #expect(bench.verify(try token("two", "two+JWT")) == .none)
            #expect(bench.verify(try token("one", "two+JWT")) == .claimInvalid)
        }
    }

    @Test func manyKeysAreAllFound() throws {
        let keys = (0..<500).map { index in
            SigningKeyDefinition(
                keyID: "tenant-\(index)", algorithm: .hs256,
                secret: SecretBytes(
                    copying: [UInt8](repeating: UInt8(index % 251), count: 32 + index / 251)),
                organization: "org-\(index)")
        }
        var bench = try TokenBench([TokenBench.issuer(keys: keys)])
        for (index, key) in keys.enumerated() {
            let payload = TokenBench.payload(["org": "\"org-\(index)\""])
            let header = "{\"alg\":\"HS256\",\"kid\":\"tenant-\(index)\"}"
            let good = try TokenBench.token(header: header, payload: payload, key: key.secret)
            #expect(bench.verify(good) == .none)
            let other = try TokenBench.token(header: header, key: key.secret)
            #expect(bench.verify(other) == .claimInvalid)
        }
    }

    @Test func unfitIssuersAreRefusedWithWhatToDo() {
        let short = SecretBytes(copying: [UInt8](repeating: 1, count: 47))
        let unfit: [([IssuerDefinition], IssuerTableError)] = [
            ([TokenBench.issuer("a", keys: [])], .noKeys(issuer: "a")),
            ([TokenBench.issuer("")], .emptyIssuer(name: "test")),
            ([TokenBench.issuer("a"), TokenBench.issuer("a")], .duplicateIssuer("a")),
            (
                [TokenBench.issuer("a", keys: [key("k"), key("k")])],
                .duplicateKeyID(issuer: "a", keyID: "k")
            ),
            ([TokenBench.issuer("a", keys: [key("k"), key(nil)])], .keyWithoutID(issuer: "a")),
            ([TokenBench.issuer("a", keys: [key("")])], .keyIDLength(issuer: "a")),
            (
                [TokenBench.issuer("a", keys: [key(String(repeating: "k", count: 129))])],
                .keyIDLength(issuer: "a")
            ),
            (
                [TokenBench.issuer("a", keys: [key("k", .hs384, short)])],
                .secretTooShort(issuer: "a", bytes: 47, least: 48)
            ),
            (
                [TokenBench.issuer("a", keys: [key("k", .hs256, SecretBytes(copying: []))])],
                .secretTooShort(issuer: "a", bytes: 0, least: 32)
            ),
            (
                [TokenBench.issuer("a") { $0.leewaySeconds = 61 }],
                .leewayOutOfRange(issuer: "a", seconds: 61)
            ),
            (
                [TokenBench.issuer("a") { $0.leewaySeconds = -1 }],
                .leewayOutOfRange(issuer: "a", seconds: -1)
            ),
            (
                [TokenBench.issuer("a") { $0.lifetimeMaxSeconds = 0 }],
                .lifetimeOutOfRange(issuer: "a", seconds: 0)
            ),
            (
                [TokenBench.issuer("a", audiences: [""])],
                .identifierLength(issuer: "a", what: "an audience")
            ),
        ]
        for (definitions, error) in unfit {
            #expect(throws: error) { try IssuerTable(definitions) }
            #expect(error.message.contains(":") && !error.message.contains("0123456789"))
        }
        // Canonical equivalents are different bytes, so different names.
        #expect(throws: Never.self) {
            _ = try IssuerTable([TokenBench.issuer("\u{e9}"), TokenBench.issuer("e\u{301}")])
            _ = try IssuerTable([TokenBench.issuer(keys: [key("\u{e9}"), key("e\u{301}")])])
        }
    }
}
