import Glibc
import Testing

@testable import TollgateCore
@testable import TollgatePolicy

/// Issuers, their claims and their keys.
@Suite struct PolicyIssuerTests {
    private static let good = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeAE"
    private static let key = "{algorithm: HS256, file: keys/main.key}"

    private func faults(_ issuer: String) throws -> [String] {
        try PolicyDirectory().faults(smallPolicy("issuers:\n  i: \(issuer)"))
    }

    @Test(
        arguments: [
            ("{issuer: x}", [#"8:3: "keys" is missing"#]),
            ("{keys: [\(key)]}", [#"8:3: "issuer" is missing"#]),
            ("{issuer: x, keys: []}", ["8:24: keys is an empty list: an issuer has at least one"]),
            (
                "{issuer: x, audiences: [], keys: [\(key)]}",
                [#"8:29: audiences is an empty list: leave it out to not look at "aud""#]
            ),
            ("{issuer: x, audiences: x, keys: [\(key)]}", [#"8:29: audiences is a list, not "x""#]),
            (
                "{issuer: x, types: [], keys: [\(key)]}",
                ["8:25: types is an empty list: leave it out for JWT and at+jwt"]
            ),
            (
                "{issuer: x, keys: [{algorithm: RS256, file: k}]}",
                [#"8:37: algorithm "RS256" is unknown (did you mean "HS256"?)"#]
            ),
            (
                "{issuer: x, keys: [{algorithm: none, file: k}]}",
                [#"8:37: algorithm "none" is unknown; known: HS256, HS384, HS512"#]
            ),
            (
                "{issuer: x, keys: [{algorithm: hs256, file: k}]}",
                [#"8:37: algorithm "hs256" is unknown (did you mean "HS256"?)"#]
            ),
            ("{issuer: x, keys: [{file: keys/main.key}]}", [#"8:25: "algorithm" is missing"#]),
            ("{issuer: x, keys: [{algorithm: HS256}]}", [#"8:25: "file" is missing"#]),
            (
                "{issuer: x, keys: [{algorithm: HS256, file: keys/main.key, format: pem}]}",
                [#"8:73: format "pem" is unknown; known: jwk, base64url"#]
            ),
            (
                "{issuer: x, keys: [{algorithm: HS512, file: keys/main.key}]}",
                [
                    "8:50: key file keys/main.key: the secret has 32 bytes, HS512 needs 64 (RFC 7518 section 3.2)"
                ]
            ),
            (
                "{issuer: x, keys: [\(key), \(key)]}",
                ["8:66: issuer x has several keys and one has no key id: give each its `kid`"]
            ),
            (
                "{issuer: x, keys: [{id: a, algorithm: HS256, file: keys/main.key}, {id: a, algorithm: HS256, file: keys/main.key}]}",
                ["8:78: issuer x has two keys with the key id a: rename or remove one"]
            ),
            (
                "{issuer: x, keys: [\(key)], leeway: 61s}",
                ["8:75: leeway is in whole seconds, at most 60s"]
            ),
            (
                "{issuer: x, keys: [\(key)], leeway: 500ms}",
                ["8:75: leeway is in whole seconds, at most 60s"]
            ),
            (
                "{issuer: x, keys: [\(key)], leeway: 5}",
                [
                    #"8:75: leeway is a number and a unit (500ms, 30s, 5m, 24h, 7d), not "5" (did you mean 5s?)"#
                ]
            ),
            (
                "{issuer: x, keys: [\(key)], lifetime_max: 0s}",
                ["8:81: issuer x has a longest lifetime of 0 s: choose 1 to 315360000"]
            ),
            (
                "{issuer: x, keys: [\(key)], lifetime_max: 4000d}",
                ["8:81: lifetime_max is in whole seconds, at most 315360000s"]
            ),
            (
                "{issuer: x, keys: [\(key)], default_plan: prop}",
                [#"8:81: no plan "prop" (did you mean "pro"?)"#]
            ),
            (
                "{issuer: x, keys: [\(key)], claims: {usr: sub}}",
                [#"8:76: unknown key "usr" in claims (did you mean "user"?)"#]
            ),
            (
                "{issuer: x, keys: [\(key)], claims: {user: ~}}",
                ["8:82: user is a text, not nothing"]
            ),
            (
                "{issuer: x, keys: [\(key)], claims: {plan: off}}",
                [#"8:82: plan is a text: write "off" in quotes if it is meant"#]
            ),
            (
                "{issuer: x, keys: [\(key)], claims: {permission_mode: allow}}",
                [#"8:93: permission_mode "allow" is unknown; known: restrict, grant"#]
            ),
            (
                "{issuer: x, keys: [\(key)], claims: {plans_by_role: {a: pro}}}",
                ["8:91: plans_by_role without roles: name the claim that holds them"]
            ),
            (
                "{issuer: x, keys: [\(key)], claims: {roles: r, plans_by_role: {a: x}}}",
                [#"8:105: no plan "x"; known: pro"#]
            ),
            (
                "{issuer: x, keys: [\(key)]}\n  j: {issuer: x, keys: [\(key)]}",
                ["9:15: two issuers have the `iss` x: merge them, or correct one"]
            ),
        ] as [(String, [String])])
    func aFaultOfAnIssuerIsExplained(issuer: String, faults: [String]) throws {
        let found = try self.faults(issuer)
        #expect(found == faults.map { "p.yaml:" + $0 }, "\(found)")
    }

    /// Where a key is written into the policy by mistake, nothing of it is shown.
    @Test(arguments: [
        "{issuer: x, keys: [{algorithm: HS256, file: \(good)}]}",
        "{issuer: x, keys: [{algorithm: HS256, secret: \(good), file: keys/main.key}]}",
        "{issuer: x, keys: [{algorithm: HS256, k: \(good), file: keys/main.key}]}",
    ])
    func aKeyInThePolicyIsRefusedAndNotShown(issuer: String) throws {
        let found = try faults(issuer)
        #expect(!found.isEmpty && found.allSatisfy { !$0.contains("q83v") }, "\(found)")
        #expect(found[0].contains("key"), "\(found)")
    }

    @Test func claimsAreMappedAsTheyAreWritten() throws {
        let directory = try PolicyDirectory()
        func claims(_ text: String) throws -> ClaimsMapping {
            let policy = smallPolicy(
                "issuers: {i: {issuer: x, keys: [\(Self.key)], claims: \(text)}}")
            return try directory.load(Array(policy.utf8)).definition.issuers[0].claims
        }
        var expected = ClaimsMapping()
        #expect(try claims("{}") == expected)
        expected.user = "email"
        expected.organization = nil
        expected.plan = nil
        expected.roles = "https://example.com/roles"
        expected.plansByRole = ["admin": "pro", "no": "pro"]
        expected.permissions = "scope"
        expected.permissionMode = .grant
        let all = """
            {user: email, organization: null, plan: ~, roles: "https://example.com/roles",
              plans_by_role: {admin: pro, "no": pro}, permissions: scope, permission_mode: grant}
            """
        #expect(try claims(all) == expected)
    }

    @Test func severalIssuersAndKeysAreKeptApart() throws {
        let directory = try PolicyDirectory()
        directory.write("keys/other", "{\"kty\":\"oct\",\"kid\":\"b\",\"k\":\"\(Self.good)\"}\n")
        let policy = smallPolicy(
            """
            issuers:
              one:
                issuer: https://one.example
                keys:
                  - {id: a, algorithm: HS256, file: keys/main.key, organization: acme}
                  - {id: b, algorithm: HS256, file: keys/other, format: jwk}
              two:
                issuer: https://two.example
                audiences: [x, y]
                leeway: 0s
                types: [at+jwt]
                default_plan: pro
                keys: [{algorithm: HS256, file: keys/main.key}]
            """)
        let issuers = try directory.load(Array(policy.utf8)).definition.issuers
        #expect(issuers.map(\.issuer) == ["https://one.example", "https://two.example"])
        #expect(issuers[0].keys.map(\.keyID) == ["a", "b"])
        #expect(issuers[0].keys.map(\.organization) == ["acme", nil])
        #expect(issuers[1].keys.map(\.keyID) == [nil] && issuers[1].audiences == ["x", "y"])
        #expect(issuers[1].leewaySeconds == 0 && issuers[1].types == ["at+jwt"])
        #expect(issuers.map(\.defaultPlan) == [nil, "pro"])
    }

    @Test func keyFilesThatOthersReadOrThatAreNoSecretsAreRefused() throws {
        let directory = try PolicyDirectory()
        func fault(
            _ text: String, mode: mode_t = 0o600, format: String = "base64url", id: String = ""
        ) -> String {
            directory.write("keys/other", text, mode: mode)
            let key = "{\(id)algorithm: HS256, file: keys/other, format: \(format)}"
            let found = directory.faults(smallPolicy("issuers: {i: {issuer: x, keys: [\(key)]}}"))
            #expect(found.allSatisfy { !$0.contains("q83v") })
            return found.joined(separator: "\n")
        }
        let good = Self.good
        for mode in [0o400, 0o600, 0o440, 0o640] as [mode_t] {
            #expect(fault(good, mode: mode) == "")
        }
        for mode in [0o644, 0o604, 0o602, 0o620, 0o660, 0o666, 0o601] as [mode_t] {
            #expect(fault(good, mode: mode).contains("others may read or write it; run: chmod"))
        }
        #expect(fault(good + "\n") == "" && fault(good + "\r\n") == "")
        for text in ["", "\n", "abc"] { #expect(fault(text).contains("needs 32")) }
        for text in [
            good + "=", " " + good, good + " ", good + "\n" + good, good + "\0", "+" + good,
        ] {
            #expect(fault(text).contains("not base64url without padding on one line"), "\(text)")
        }
        #expect(fault(String(repeating: "A", count: 43)).contains("repeats 1 byte"))
        #expect(fault(String(repeating: "A", count: 20_000)).contains("at most 16 KiB"))
        func jwk(_ members: String) -> String { fault("{\(members)}", format: "jwk") }
        let k = "\"kty\":\"oct\",\"k\":\"\(good)\""
        #expect(jwk(k) == "" && jwk(k + ",\"alg\":\"HS256\",\"use\":\"sig\"") == "")
        #expect(jwk(k + ",\"key_ops\":[\"verify\"]") == "")
        #expect(fault("{\(k),\"kid\":\"a\"}", format: "jwk", id: "id: a, ") == "")
        #expect(
            fault("{\(k),\"kid\":\"b\"}", format: "jwk", id: "id: a, ").contains("policy says a"))
        #expect(jwk(k + ",\"kid\":\"b\"").contains("the policy says nothing: add id: b"))
        #expect(jwk("\"kty\":\"RSA\",\"n\":\"\(good)\"").contains("kty"))
        #expect(jwk("\"kty\":\"OCT\",\"k\":\"\(good)\"").contains("kty"))
        #expect(jwk(k + ",\"alg\":\"HS512\"").contains("HS512"))
        #expect(jwk(k + ",\"use\":\"enc\"").contains("use"))
        #expect(jwk("\"kty\":\"oct\"").contains("missing"))
        #expect(jwk(k + ",\"k\":\"\(good)\"").contains("not one JWK"))
        #expect(jwk("\"keys\":[{\(k)}]").contains("not one JWK"))
        #expect(jwk(k + ",").contains("not one JWK"))
        #expect(jwk("\"kty\":\"oct\",\"k\":\"\\u0071\(good.dropFirst())\"").contains("not one JWK"))
        #expect(fault(good, format: "jwk").contains("not one JWK"))
        #expect(fault("{\(k)}").contains("not base64url"))
    }

    @Test func keyFilesThatAreNoneAreRefused() throws {
        let directory = try PolicyDirectory()
        for (file, message) in [
            ("keys/none", "No such file or directory; make one with: openssl"),
            ("keys", "not a file"),
            ("/dev/zero", "not a file"), ("/dev/null", "not a file"),
        ] {
            let key = "{algorithm: HS256, file: \(file)}"
            let found = directory.faults(smallPolicy("issuers: {i: {issuer: x, keys: [\(key)]}}"))
            #expect(
                found.count == 1 && found[0].hasPrefix("p.yaml:7:58: key file \(file): \(message)"),
                "\(found)")
        }
    }
}
