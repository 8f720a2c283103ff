import Testing
import TollgateCore
import TollgateWire

/// A verifier, an issuer table and a clock to try tokens with.
struct TokenBench: ~Copyable {
    static let now: Int64 = 1_800_000_000
    static let keyText = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    static let key = SecretBytes(copying: Array(keyText.utf8))

    var verifier = TokenVerifier()
    let issuers: IssuerTable
    var expiryNow = WallTime(seconds: now)
    var notBeforeNow = WallTime(seconds: now)

    init(_ definitions: [IssuerDefinition] = [TokenBench.issuer()]) throws {
        issuers = try IssuerTable(definitions)
    }

    static func issuer(
        _ issuer: String = "https://issuer.example",
        keys: [SigningKeyDefinition] = [
            SigningKeyDefinition(keyID: "k1", algorithm: .hs256, secret: key)
        ],
        audiences: [String] = ["https://api.example"],
        change: (inout IssuerDefinition) -> Void = { _ in }
    ) -> IssuerDefinition {
        var definition = IssuerDefinition(
            name: "test", issuer: issuer, audiences: audiences, keys: keys)
        change(&definition)
        return definition
    }

    /// The claims of a good token by name, as JSON.
    static let good: [(String, String)] = [
        ("iss", "\"https://issuer.example\""), ("aud", "\"https://api.example\""),
        ("sub", "\"user-1\""), ("org", "\"acme\""), ("plan", "\"pro_tier\""),
        ("iat", "1799999900"), ("exp", "1800000300"),
    ]
    static let goodHeader = #"{"alg":"HS256","typ":"JWT","kid":"k1"}"#

    /// The good claims with some replaced, added or (`nil`) left out.
    static func payload(_ changes: [String: String?] = [:]) -> String {
        var members: [String] = []
        for (name, value) in good {
            if let change = changes[name] {
                if let change { members.append("\"\(name)\":\(change)") }
            } else {
                members.append("\"\(name)\":\(value)")
            }
        }
        let known = Set(good.map(\.0))
        for name in changes.keys.sorted() where !known.contains(name) {
            if let value = changes[name] ?? nil { members.append("\"\(name)\":\(value)") }
        }
        return "{" + members.joined(separator: ",") + "}"
    }

    static func token(
        header: String = goodHeader, payload: String = payload(),
        algorithm: TokenAlgorithm = .hs256, key: SecretBytes = key
    ) throws -> String {
        try #require(
            TokenMinter.sign(header: header, payload: payload, algorithm: algorithm, secret: key))
    }

    mutating func verify(_ token: String) -> Reason { verify(Array(token.utf8)) }

    mutating func verify(_ token: [UInt8]) -> Reason {
        token.withUnsafeBytes {
            verifier.verify(
                $0, issuers: issuers, expiryNow: expiryNow, notBeforeNow: notBeforeNow)
        }
    }

    var claims: TokenClaims { verifier.claims }
}

func text(_ view: UnsafeRawBufferPointer) -> String { String(decoding: view, as: UTF8.self) }
