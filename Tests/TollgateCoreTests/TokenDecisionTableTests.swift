import Testing
import TollgateCore
import TollgateWire

/// RELIABILITY J8: tokens put together from values of every claim, each with what it is worth by
/// itself. The written rule: the token's reason is the lowest number among the reasons of its
/// claims; with none, it is good.
@Suite struct TokenDecisionTableTests {
    typealias Entry = (text: String?, reason: Reason)

    static let issuers: [Entry] = [
        ("\"https://issuer.example\"", .none), (#""https:\/\/issuer.exampl\u0065""#, .none),
        (nil, .issuerUnknown), ("\"\"", .issuerUnknown), ("1", .issuerUnknown),
        ("\"https://issuer.example/\"", .issuerUnknown), ("\"issuer.example\"", .issuerUnknown),
        ("\"https://issuer.exampl\"", .issuerUnknown), ("\"https\"", .issuerUnknown),
        ("[\"https://issuer.example\"]", .issuerUnknown), ("null", .issuerUnknown),
        ("\"HTTPS://issuer.example\"", .issuerUnknown), ("true", .issuerUnknown),
    ]
    static let audiences: [Entry] = [
        ("\"https://api.example\"", .none), ("[\"https://api.example\"]", .none),
        (#"["x","https://two.example"]"#, .none), ("\"https://two.example\"", .none),
        (#"["",{},"https://api.example"]"#, .claimInvalid), (nil, .audienceMismatch),
        ("[]", .audienceMismatch), ("\"https://api.exampl\"", .audienceMismatch),
        ("\"https://api.example/v1\"", .audienceMismatch), ("\"api\"", .audienceMismatch),
        ("\"HTTPS://API.EXAMPLE\"", .audienceMismatch), ("[\"\",\"x\"]", .audienceMismatch),
        ("\"https://api.example,https://two.example\"", .audienceMismatch),
        ("null", .claimInvalid), ("0", .claimInvalid), ("{}", .claimInvalid),
        ("[[\"https://api.example\"]]", .claimInvalid), ("[null]", .claimInvalid),
    ]
    static let expiries: [Entry] = [
        ("1800000300", .none), ("1800000001", .none), ("1800000300.25", .none),
        (nil, .claimInvalid), ("\"1800000300\"", .claimInvalid), ("-1", .claimInvalid),
        ("1.8e9", .claimInvalid), ("1e400", .claimInvalid), ("9007199254740993", .claimInvalid),
        ("9223372036854775808", .claimInvalid), ("null", .claimInvalid),
        ("[1800000300]", .claimInvalid),
        ("1800000000", .tokenExpired), ("1799999999.999", .tokenExpired), ("0", .tokenExpired),
        ("1800000000.5", .tokenExpired), ("9007199254740992", .tokenLifetimeTooLong),
        ("1800099999", .tokenLifetimeTooLong),
    ]
    static let notBefores: [Entry] = [
        (nil, .none), ("1800000000", .none), ("0", .none), ("1799999999.5", .none),
        ("1800000001", .tokenNotYetValid), ("1800000000.001", .tokenNotYetValid),
        ("9007199254740992", .tokenNotYetValid), ("\"0\"", .claimInvalid), ("-5", .claimInvalid),
        ("1e3", .claimInvalid), ("null", .claimInvalid), ("{}", .claimInvalid),
    ]
    static let users: [Entry] = [
        ("\"user-1\"", .none), (#""\u00fc\ud83d\ude00""#, .none), (nil, .claimInvalid),
        ("\"\"", .claimInvalid), ("7", .claimInvalid), ("null", .claimInvalid),
        ("[\"a\"]", .claimInvalid), (#""a\u0000""#, .claimInvalid), (#""\u007f""#, .claimInvalid),
        ("\"\(String(repeating: "u", count: 129))\"", .claimInvalid),
    ]
    static let organizations: [Entry] = [
        ("\"acme\"", .none), (#""\u0061cme""#, .none), (nil, .claimInvalid),
        ("\"acme2\"", .claimInvalid), ("\"acm\"", .claimInvalid), ("\"Acme\"", .claimInvalid),
        ("\"\"", .claimInvalid), ("null", .claimInvalid), ("[\"acme\"]", .claimInvalid),
    ]
    static let types: [Entry] = [
        (nil, .none), ("\"JWT\"", .none), ("\"at+jwt\"", .none), ("\"Application/AT+JWT\"", .none),
        ("\"refresh+jwt\"", .claimInvalid), ("\"id_token\"", .claimInvalid),
        ("\"\"", .claimInvalid), ("1", .credentialMalformed), ("null", .credentialMalformed),
    ]

    /// The issuer's key is good for one organization only.
    private static func bench() throws -> TokenBench {
        let key = SigningKeyDefinition(
            keyID: "k1", algorithm: .hs256, secret: TokenBench.key, organization: "acme")
        return try TokenBench([
            TokenBench.issuer(
                keys: [key], audiences: ["https://api.example", "https://two.example"])
        ])
    }

    private static func check(_ picked: [Entry], _ bench: inout TokenBench) throws -> Reason {
        let names = ["iss", "aud", "exp", "nbf", "sub", "org"]
        let claims = zip(names, picked).compactMap { name, entry in
            entry.text.map { "\"\(name)\":\($0)" }
        }
        let type = picked[6].text.map { ",\"typ\":\($0)" } ?? ""
        let token = try TokenBench.token(
            header: "{\"alg\":\"HS256\",\"kid\":\"k1\"\(type)}",
            payload: "{\"iat\":1799999990," + claims.joined(separator: ",") + "}")
        let found = bench.verify(token)
        let wanted =
            picked.map(\.reason).filter { $0 != .none }
            .min { $0.rawValue < $1.rawValue } ?? .none
        if found != wanted {
            Issue.record("\(picked.map { $0.text ?? "absent" }): \(found), not \(wanted)")
        }
        return found
    }

    private static let table = [
        issuers, audiences, expiries, notBefores, users, organizations, types,
    ]

    @Test func everyPairOfClaimsIsJudgedByTheTable() throws {
        var bench = try Self.bench()
        let good = Self.table.map { $0.first { $0.reason == .none } ?? (nil, .none) }
        var cases = 0
        for first in Self.table.indices {
            for second in Self.table.indices where second > first {
                for a in Self.table[first] {
                    for b in Self.table[second] {
                        var picked = good
                        picked[first] = a
                        picked[second] = b
                        _ = try Self.check(picked, &bench)
                        cases += 1
                    }
                }
            }
        }
        #expect(cases > 2_000)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func randomTokensAreJudgedByTheTable(seed: UInt64) throws {
        var bench = try Self.bench()
        var random = SeededRandom(seed: seed)
        var reached: [Reason: Int] = [:]
        for _ in 0..<2_000 {
            // Mostly good values, or nearly every token would have many faults.
            let picked = Self.table.map { entries in
                let fit = Int.random(in: 0..<8, using: &random) > 0
                let choice = fit ? entries.filter { $0.reason == .none } : entries
                return choice.randomElement(using: &random) ?? (nil, .none)
            }
            reached[try Self.check(picked, &bench), default: 0] += 1
        }
        let all: [Reason] = [
            .none, .credentialMalformed, .issuerUnknown, .tokenExpired, .tokenNotYetValid,
            .tokenLifetimeTooLong, .audienceMismatch, .claimInvalid,
        ]
        for reason in all { #expect(reached[reason, default: 0] > 5, "seed \(seed): \(reason)") }
    }
}
