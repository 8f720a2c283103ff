import Testing
import TollgateCore
import TollgateWire

/// Claims of tokens whose signature is good.
@Suite struct TokenClaimsTests {
    static let cases: [(String, String?, Reason)] = [
        ("iss", nil, .issuerUnknown), ("iss", "null", .issuerUnknown), ("iss", "1", .issuerUnknown),
        ("iss", #"["https://issuer.example"]"#, .issuerUnknown),
        ("iss", #""https://issuer.example/""#, .issuerUnknown),
        ("iss", #""https://issuer.exampl""#, .issuerUnknown),
        ("iss", #""issuer.example""#, .issuerUnknown), ("iss", "\"\"", .issuerUnknown),
        ("iss", #""HTTPS://ISSUER.EXAMPLE""#, .issuerUnknown),
        ("iss", #""https://issuer.example\u0000""#, .issuerUnknown),
        ("iss", #""https:\/\/issuer.example""#, .none),
        ("aud", nil, .audienceMismatch), ("aud", "\"\"", .audienceMismatch),
        ("aud", "[]", .audienceMismatch), ("aud", "[\"x\"]", .audienceMismatch),
        ("aud", #""https://api.example/""#, .audienceMismatch),
        ("aud", #""https://api.exampl""#, .audienceMismatch),
        ("aud", #""https://api.example https://x.example""#, .audienceMismatch),
        ("aud", #"["x","https://api.example"]"#, .none),
        ("aud", #"[ "https:\/\/api.example" , "x" ]"#, .none),
        ("aud", #"["https://api.example",1]"#, .claimInvalid),
        ("aud", #"["https://api.example",null]"#, .claimInvalid),
        ("aud", #"[["https://api.example"]]"#, .claimInvalid),
        ("aud", #"{"a":"https://api.example"}"#, .claimInvalid), ("aud", "1", .claimInvalid),
        ("aud", "null", .claimInvalid), ("aud", "true", .claimInvalid),
        ("sub", nil, .claimInvalid), ("sub", "\"\"", .claimInvalid), ("sub", "1", .claimInvalid),
        ("sub", "null", .claimInvalid), ("sub", "[\"user-1\"]", .claimInvalid),
        ("sub", "{\"sub\":\"user-1\"}", .claimInvalid), ("sub", "false", .claimInvalid),
        ("sub", #""a\u0000b""#, .claimInvalid), ("sub", #""a\nb""#, .claimInvalid),
        ("sub", "\"a\u{7f}b\"", .claimInvalid), ("sub", "\"a\u{85}b\"", .claimInvalid),
        ("sub", "\"a\u{9f}\"", .claimInvalid), ("sub", #""a\u0085""#, .claimInvalid),
        ("sub", "\"a\u{a0}b\"", .none), ("sub", "\"Zo\u{eb}\"", .none),
        ("sub", "\"\(String(repeating: "u", count: 128))\"", .none),
        ("sub", "\"\(String(repeating: "u", count: 129))\"", .claimInvalid),
        ("sub", "\"\(String(repeating: "\\u0061", count: 128))\"", .none),
        ("sub", "\"\(String(repeating: "é", count: 65))\"", .claimInvalid),
        ("org", nil, .none), ("org", "null", .claimInvalid), ("org", "\"\"", .claimInvalid),
        ("org", "7", .claimInvalid), ("org", "[\"acme\"]", .claimInvalid),
        ("org", #""a\tb""#, .claimInvalid),
        ("org", "\"\(String(repeating: "o", count: 129))\"", .claimInvalid),
        ("plan", nil, .none), ("plan", "null", .claimInvalid), ("plan", "\"\"", .claimInvalid),
        ("plan", "[]", .claimInvalid), ("plan", "3", .claimInvalid),
        ("other", #"{"crit":["x"],"exp":1}"#, .none), ("alg", "\"none\"", .none),
        // Unmapped claims are not looked at.
        ("scope", "1", .none), ("roles", "1", .none),
    ]

    @Test(arguments: cases)
    func claimsAreJudgedByTheTable(_ name: String, _ value: String?, _ reason: Reason) throws {
        var bench = try TokenBench()
        let token = try TokenBench.token(payload: TokenBench.payload([name: value]))
        for _ in 0..<2 { #expect(bench.verify(token) == reason) }
    }

    @Test(arguments: [
        "", "null", "foo", "1", "\"claims\"", "[]", "[{}]", "{", "{}{}", #"{"sub":"a","sub":"b"}"#,
        #"{"sub":"a","\u0073ub":"b"}"#, #"{"sub":"\ud800"}"#, "\u{feff}{}",
        "{\"a\":" + String(repeating: "[", count: 100) + String(repeating: "]", count: 100) + "}",
    ])
    func payloadsThatAreNotOneObjectAreMalformed(_ payload: String) throws {
        var bench = try TokenBench()
        #expect(bench.verify(try TokenBench.token(payload: payload)) == .credentialMalformed)
    }

    @Test func anIssuerWithoutAudiencesDoesNotLookAtThem() throws {
        var bench = try TokenBench([TokenBench.issuer(audiences: [])])
        for value in [nil, "1", "[1]", "\"x\""] {
            let token = try TokenBench.token(payload: TokenBench.payload(["aud": value]))
            #expect(bench.verify(token) == .none)
        }
    }

    @Test func aTokenOfOneTenantsKeyIsGoodForThatTenantOnly() throws {
        let key = SigningKeyDefinition(
            keyID: "k1", algorithm: .hs256, secret: TokenBench.key, organization: "acme")
        var bench = try TokenBench([TokenBench.issuer(keys: [key])])
        let values: [(String?, Reason)] = [
            ("\"acme\"", .none), (#""\u0061cme""#, .none), ("\"other\"", .claimInvalid),
            ("\"ACME\"", .claimInvalid), ("\"acme \"", .claimInvalid), (nil, .claimInvalid),
        ]
        for (organization, reason) in values {
            let token = try TokenBench.token(payload: TokenBench.payload(["org": organization]))
            #expect(bench.verify(token) == reason)
        }
    }

    @Test func rolesChooseThePlanWhereNoneIsNamed() throws {
        var bench = try TokenBench([
            TokenBench.issuer {
                $0.claims.roles = "https://example.com/roles"
                $0.claims.plansByRole = ["admin": "enterprise_tier", "member": "pro_tier"]
            }
        ])
        let values: [(String?, String, Reason)] = [
            ("\"admin\"", "enterprise_tier", .none),
            (#"["x","member","admin"]"#, "pro_tier", .none),
            (#"["\u0061dmin"]"#, "enterprise_tier", .none), ("[]", "", .none),
            ("[\"nobody\"]", "", .none), (nil, "", .none), ("1", "", .claimInvalid),
            ("[\"admin\",1]", "", .claimInvalid), ("null", "", .claimInvalid),
        ]
        for (roles, plan, reason) in values {
            let changes: [String: String?] = ["plan": nil, "https://example.com/roles": roles]
            let token = try TokenBench.token(payload: TokenBench.payload(changes))
            #expect(bench.verify(token) == reason)
            guard reason == .none else { continue }
            #expect(text(bench.claims.plan) == plan)
            #expect(bench.claims.hasPlan == !plan.isEmpty)
        }
        let both = ["https://example.com/roles": "\"admin\""]
        #expect(bench.verify(try TokenBench.token(payload: TokenBench.payload(both))) == .none)
        #expect(text(bench.claims.plan) == "pro_tier")
    }

    @Test func permissionsAreAnArrayOrWordsOfAString() throws {
        var bench = try TokenBench([
            TokenBench.issuer {
                $0.claims.permissions = "scope"
                $0.claims.permissionMode = .grant
            }
        ])
        let many = (0..<65).map { "\"p\($0)\"" }
        let values: [(String?, [String]?)] = [
            ("\"a b\"", ["a", "b"]), ("\" a  b \"", ["a", "b"]), ("\"\"", []), ("[]", []),
            (#"["a","\u0062","c d"]"#, ["a", "b", "c d"]), (#""a\u0020b""#, ["a", "b"]),
            ("[" + many.dropLast().joined(separator: ",") + "]", (0..<64).map { "p\($0)" }),
            ("[" + many.joined(separator: ",") + "]", nil), ("[\"\"]", nil), ("[\"a\",1]", nil),
            ("1", nil), ("null", nil), (#""a\tb""#, nil),
            ("\"\(String(repeating: "p", count: 129))\"", nil),
        ]
        for (value, expected) in values {
            let token = try TokenBench.token(payload: TokenBench.payload(["scope": value]))
            #expect(bench.verify(token) == (expected == nil ? .claimInvalid : .none))
            guard let expected else { continue }
            #expect(bench.claims.hasPermissions)
            #expect(bench.claims.permissionMode == .grant)
            #expect(bench.claims.permissions.map(text) == expected)
        }
        #expect(bench.verify(try TokenBench.token()) == .none)
        #expect(!bench.claims.hasPermissions)
    }

    /// The room for unescaped strings holds whatever a token of the largest size can ask for.
    @Test func manyEscapesDoNotRunOutOfRoom() throws {
        var bench = try TokenBench([
            TokenBench.issuer {
                $0.claims.roles = "list"
                $0.claims.permissions = "list"
            }
        ])
        let word = "\"" + String(repeating: "\\/", count: 40) + "\""
        let list = "[" + Array(repeating: word, count: 60).joined(separator: ",") + "]"
        let token = try TokenBench.token(
            payload: TokenBench.payload(["plan": nil, "list": list]))
        #expect(bench.verify(token) == .none)
        #expect(bench.claims.permissions.count == 60)
        #expect(
            bench.claims.permissions.allSatisfy { text($0) == String(repeating: "/", count: 40) })
    }
}
