import Foundation
import Testing
import TollgateCore

/// Weak secrets (RELIABILITY J2) and keys that are no secrets (J6), refused when a policy loads.
@Suite struct SecretCheckTests {
    private func problem(_ secret: [UInt8], _ algorithm: TokenAlgorithm = .hs256) -> String? {
        secret.withUnsafeBytes { SecretCheck.problem(with: $0, algorithm: algorithm) }
    }

    private func random(_ count: Int, _ source: inout SeededRandom) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &source) }
    }

    @Test func secretsShorterThanTheHashAreRefused() {
        var source = SeededRandom(seed: 7518)
        var cases = 0
        for algorithm in TokenAlgorithm.allCases {
            for length in 0..<algorithm.digestBytes {
                let found = problem(random(length, &source), algorithm)
                #expect(found?.contains("has \(length) bytes, \(algorithm.headerName)") == true)
                cases += 1
            }
            #expect(problem(random(algorithm.digestBytes, &source), algorithm) == nil)
        }
        #expect(cases == 144)
    }

    @Test func regularSecretsAreRefused() {
        var source = SeededRandom(seed: 8725)
        var cases = 0
        func refuse(_ secret: [UInt8], _ algorithm: TokenAlgorithm = .hs256) {
            #expect(problem(secret, algorithm) != nil, "\(secret)")
            cases += 1
        }
        for byte in UInt8.min...UInt8.max {
            refuse([UInt8](repeating: byte, count: 32))
            // Counting, by every step.
            refuse((0..<64).map { UInt8(truncatingIfNeeded: $0) &* byte &+ 7 }, .hs512)
        }
        for algorithm in TokenAlgorithm.allCases {
            for period in 2...(algorithm.digestBytes / 2) {
                let part = random(period, &source)
                refuse((0..<algorithm.digestBytes).map { part[$0 % period] }, algorithm)
            }
        }
        for _ in 0..<20 { refuse((0..<64).map { _ in UInt8.random(in: 1...7, using: &source) }) }
        #expect(cases > 580)
    }

    /// Secrets of the lists that crackers try, and of tutorials; filled up where they are short.
    @Test(arguments: [
        "secret", "SECRET", "Secret1", "my-secret", "s3cr3t", "password", "P@ssw0rd", "changeme",
        "CHANGE_ME", "your-256-bit-secret", "your-384-bit-secret", "your-512-bit-secret",
        "a-string-secret-at-least-256-bits-long", "a-valid-string-secret-that-is-at-least-512",
        "my-32-character-ultra-secure-and-ultra-long-secret", "your_jwt_key", "jwt_key", "jwtkey",
        "mykey", "my-key", "supersecretkey", "shhhhh", "qwertyuiop", "1q2w3e4r5t", "1qaz2wsx3edc",
        "0123456789abcdef0123456789abcdef", "abcdefghijklmnop", "123456789", "987654321",
        "letmein", "iloveyou", "admin", "example", "sample_key", "default", "placeholder",
        "replace-me", "hello world", "development", "production", "testing123", "signing-key",
        "correct horse battery staple", "lorem ipsum dolor", "privatekey",
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
        "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
    ])
    func wellKnownSecretsAreRefused(_ secret: String) {
        let random = "k8Zx41QmVt0uRw93LpYd72Hs"
        for text in [
            secret + random + random, random + secret + random,
            random + "." + secret + "!" + random,
        ] where secret.count < 30 {
            #expect(problem(Array(text.utf8)) != nil)
        }
        let whole = String(repeating: secret, count: 32 / secret.utf8.count + 1)
        let found = problem(Array(whole.utf8))
        #expect(found != nil && found?.contains(whole) == false)
    }

    @Test func keysPrintedInStandardsAreRefused() {
        for text in [
            "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ+EstJQLr/T"
                + "+1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow==",
            "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG+Onbc6mxCcYg=",
        ] {
            let secret = Data(base64Encoded: text).map { Array($0) } ?? []
            #expect(problem(secret)?.contains("well-known") == true)
        }
    }

    /// Public and private keys and certificates, made for this test alone.
    private struct NotSecrets: Decodable {
        var base64_of_keys: [String: String]
        var texts: [String]

        static func read() throws -> NotSecrets {
            let tests = URL(filePath: #filePath).deletingLastPathComponent()
                .deletingLastPathComponent()
            let data = try Data(contentsOf: tests.appending(path: "Vectors/not-secrets.json"))
            return try JSONDecoder().decode(NotSecrets.self, from: data)
        }
    }

    @Test func keysThatAreNoSecretsAreRefusedInEveryDress() throws {
        let known = try NotSecrets.read()
        var source = SeededRandom(seed: 6)
        var cases = 0
        func refuse(_ secret: [UInt8], _ what: String) {
            #expect(problem(secret)?.contains("not a secret for HMAC") == true, "\(what)")
            cases += 1
        }
        func dress(_ secret: [UInt8], _ what: String) {
            refuse(secret, what)
            refuse([0x20] + secret, what + " behind a space")
            refuse(Array("\r\n\t".utf8) + secret + [0x0a], what + " between line ends")
        }
        for (name, base64) in known.base64_of_keys {
            let text = Array(base64.utf8)
            dress(text, name + " in base64")
            let url = base64.replacing("+", with: "-").replacing("/", with: "_")
                .replacing("=", with: "")
            dress(Array(url.utf8), name + " in base64url")
            let lines = stride(from: 0, to: text.count, by: 64).map {
                String(decoding: text[$0..<min($0 + 64, text.count)], as: UTF8.self)
            }
            dress(Array(lines.joined(separator: "\n").utf8), name + " in lines")
            let pem = ["-----BEGIN PUBLIC KEY-----"] + lines + ["-----END PUBLIC KEY-----"]
            dress(Array(pem.joined(separator: "\n").utf8), name + " in PEM")
            let bytes = Data(base64Encoded: base64).map { Array($0) } ?? []
            refuse(bytes, name + " in DER")
            refuse(bytes + [0x0a], name + " in DER and a line end")
            if name != "SSH" {
                let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
                dress(Array(digits.joined().utf8), name + " in digits")
                refuse(Array(digits.joined(separator: ":").utf8), name + " in digits")
            }
            refuse(random(40, &source) + bytes + random(9, &source), name + " amidst others")
        }
        for text in known.texts {
            dress(Array(text.utf8), text)
            refuse(random(40, &source) + Array(text.utf8), text + " amidst others")
        }
        #expect(cases > 160)
    }

    /// The other side: no random secret is refused, however it is written.
    @Test func randomSecretsAreAccepted() {
        let seed: UInt64 = 4086
        var source = SeededRandom(seed: seed)
        for length in [32, 33, 48, 64, 65, 128, 256] {
            for _ in 0..<40 {
                let secret = random(length, &source)
                #expect(problem(secret) == nil, "seed \(seed)")
                #expect(problem(Array(Data(secret).base64EncodedString().utf8)) == nil)
                let digits = secret.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
                #expect(problem(Array(digits.utf8)) == nil, "seed \(seed)")
            }
        }
    }
}
