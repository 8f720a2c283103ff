import Foundation
import Testing
import TollgateCore
import TollgateWire

/// Tokens that others made: two libraries in another language, and the standards' own examples.
@Suite struct TokenVectorTests {
    struct File: Decodable {
        struct Key: Decodable { var alg, kid, k: String }
        struct Token: Decodable {
            var library, algorithm, token, user: String
            var organization, plan: String?
            var permissions: [String]
            var expirySeconds: Int64
        }
        var now: Int64
        var keys: [Key]
        var tokens: [Token]
    }

    private func file() throws -> File {
        let path = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Vectors/tokens.json")
        return try JSONDecoder().decode(File.self, from: Data(contentsOf: path))
    }

    private func secret(_ base64URL: String) throws -> SecretBytes {
        var bytes = [UInt8](repeating: 0, count: base64URL.utf8.count)
        let count = Array(base64URL.utf8).withUnsafeBytes { from in
            bytes.withUnsafeMutableBytes { Base64URL.decode(from, into: $0) }
        }
        return SecretBytes(copying: bytes.prefix(try #require(count)))
    }

    @Test func tokensMintedByOtherLibrariesAreAccepted() throws {
        let file = try file()
        #expect(Set(file.tokens.map(\.library)) == ["PyJWT", "jwcrypto"])
        let keys = try file.keys.map { key in
            SigningKeyDefinition(
                keyID: key.kid,
                algorithm: try #require(TokenAlgorithm.allCases.first { $0.headerName == key.alg }),
                secret: try secret(key.k))
        }
        var bench = try TokenBench([
            TokenBench.issuer(keys: keys) { $0.claims.permissions = "scope" }
        ])
        bench.expiryNow = WallTime(seconds: file.now)
        bench.notBeforeNow = WallTime(seconds: file.now)
        for token in file.tokens {
            #expect(bench.verify(token.token) == .none, "\(token)")
            let claims = bench.claims
            #expect(text(claims.user) == token.user)
            #expect(claims.hasOrganization == (token.organization != nil))
            #expect(text(claims.organization) == token.organization ?? "")
            #expect(text(claims.plan) == token.plan ?? "")
            #expect(claims.permissions.map(text) == token.permissions)
            #expect(claims.expirySeconds == token.expirySeconds)
            // The same header and payload with any other signature is nothing.
            #expect(bench.verify(String(token.token.dropLast(4)) + "AAAA") != .none)
        }
    }

    /// RFC 7515 A.1, which is also RFC 7519 §3.1.
    @Test func theStandardsExampleIsAccepted() throws {
        let key = try secret(
            "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
        )
        let token =
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
            + ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl"
            + "LmNvbS9pc19yb290"
            + "Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        var bench = try TokenBench([
            TokenBench.issuer(
                "joe", keys: [SigningKeyDefinition(keyID: nil, algorithm: .hs256, secret: key)],
                audiences: []
            ) { $0.claims.user = "iss" }
        ])
        bench.expiryNow = WallTime(seconds: 1_300_819_379)
        bench.notBeforeNow = bench.expiryNow
        #expect(bench.verify(token) == .none)
        #expect(text(bench.claims.user) == "joe")
        bench.expiryNow = WallTime(seconds: 1_300_819_380)
        #expect(bench.verify(token) == .tokenExpired)
    }

    /// RFC 7519 §6.1.
    @Test func theStandardsUnsecuredTokenIsRefused() throws {
        var bench = try TokenBench()
        let token =
            "eyJhbGciOiJub25lIn0"
            + ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl"
            + "LmNvbS9pc19yb290"
            + "Ijp0cnVlfQ."
        #expect(bench.verify(token) == .algorithmNotAllowed)
    }

    /// RFC 4231, test case 1.
    @Test func macsAreThoseOfTheStandard() throws {
        let key = SecretBytes(copying: [UInt8](repeating: 0x0b, count: 20))
        let expected: [(TokenAlgorithm, String)] = [
            (.hs256, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                .hs384,
                "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c"
                    + "faea9ea9076ede7f4af152e8b2fa9cb6"
            ),
            (
                .hs512,
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
                    + "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
            ),
        ]
        for (algorithm, hex) in expected {
            let mac = try #require(
                TokenMinter.sign(Array("Hi There".utf8), algorithm: algorithm, secret: key))
            var bytes = [UInt8](repeating: 0, count: 64)
            let count = mac.withUnsafeBytes { from in
                bytes.withUnsafeMutableBytes { Base64URL.decode(from, into: $0) }
            }
            let found = bytes.prefix(count ?? 0).map {
                ($0 < 16 ? "0" : "") + String($0, radix: 16)
            }
            #expect(found.joined() == hex)
        }
    }
}
