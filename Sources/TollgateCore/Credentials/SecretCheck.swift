/// Whether key material is fit to be an HMAC secret (RFC 7518 §3.2; RFC 8725 §3.5; RELIABILITY S2,
/// S3). Asked when a policy is loaded. The answers hold nothing of the secret.
///
/// What it cannot see: a secret of good length that somebody chose, and is neither a key, nor
/// regular, nor holds a word that is known.
package enum SecretCheck {
    /// Fewer different bytes than this are no random secret: of 32 bytes about 30 differ, of 32
    /// hexadecimal digits about 14.
    private static let distinctBytesMin = 8

    /// What is wrong with a secret, or `nil`.
    package static func problem(
        with secret: UnsafeRawBufferPointer, algorithm: TokenAlgorithm
    ) -> String? {
        let least = algorithm.digestBytes
        guard secret.count >= least else {
            return "the secret has \(secret.count) bytes, \(algorithm.headerName) needs \(least)"
                + " (RFC 7518 section 3.2)"
        }
        if let format = KeyFormats.format(of: secret) {
            return "the secret is \(format), not a secret for HMAC"
        }
        if isPublished(secret) { return "the secret is a well-known example; make a random one" }
        for period in 1...(least / 2) where repeats(secret, every: period) {
            return "the secret repeats \(period) byte\(period == 1 ? "" : "s"); make a random one"
        }
        if isCounting(secret) { return "the secret only counts; make a random one" }
        if Set(secret).count < distinctBytesMin {
            return
                "the secret has fewer than \(distinctBytesMin) different bytes; make a random one"
        }
        return nil
    }

    private static func repeats(_ secret: UnsafeRawBufferPointer, every period: Int) -> Bool {
        (period..<secret.count).allSatisfy { secret[$0] == secret[$0 - period] }
    }

    /// Every byte differs from the one before by the same step.
    private static func isCounting(_ secret: UnsafeRawBufferPointer) -> Bool {
        let step = secret[1] &- secret[0]
        return (1..<secret.count).allSatisfy { secret[$0] &- secret[$0 - 1] == step }
    }

    /// Words of the lists that token crackers try, in small letters. None comes about by chance.
    private static let words = [
        "secret", "s3cret", "s3cr3t", "secr3t", "password", "passw0rd", "p@ssw0rd", "passphrase",
        "changeme", "change-me", "change_me", "change this", "change-this", "change_this",
        "replace-me", "replace_me", "replaceme", "placeholder", "example", "sample", "default",
        "qwerty", "asdfgh", "zxcvbn", "1q2w3e", "1qaz2wsx", "abcdef", "abc123", "123456", "654321",
        "987654", "012345", "letmein", "iloveyou", "admin", "hello", "shhhh", "my-key", "my_key",
        "mykey", "private-key", "private_key", "privatekey", "your-", "your_", "signing", "jwtkey",
        "jwt-key", "jwt_key", "token-key", "token_key", "tokenkey", "hmac-key", "hmac_key",
        "development", "production", "testing", "test-key", "test_key", "testkey", "supersafe",
        "lorem ipsum", "correct horse",
    ]

    /// First bytes of keys printed in standards, as they are when decoded.
    private static let printed: [[UInt8]] = [
        // RFC 7515 A.1, RFC 7517 A.3
        [0x03, 0x23, 0x35, 0x4b, 0x2b, 0x0f, 0xa5, 0xbc, 0x83, 0x7e, 0x06, 0x65],
        // RFC 7520 §3.5
        [0x84, 0x9b, 0x57, 0x21, 0x9d, 0xae, 0x48, 0xde, 0x64, 0x6d, 0x07, 0xdb],
        // RFC 7520 §3.6
        [0x00, 0x19, 0xa8, 0x01, 0x97, 0x2a, 0x49, 0x8b],
    ]

    /// A published key, as bytes or as base64url, or a text with a word of the crackers' lists.
    private static func isPublished(_ secret: UnsafeRawBufferPointer) -> Bool {
        for key in printed where secret.starts(with: key) || secret.starts(with: encoded(key)) {
            return true
        }
        // Random bytes are not text throughout, so no random secret is searched for words.
        guard secret.allSatisfy({ $0 >= 0x20 && $0 < 0x7f || $0 == 0x0a || $0 == 0x0d }) else {
            return false
        }
        let small = secret.map { $0 >= 0x41 && $0 <= 0x5a ? $0 | 0x20 : $0 }
        return words.contains { KeyFormats.contains(small, Array($0.utf8)) }
    }

    /// The base64url characters that such a beginning is sure to have.
    private static func encoded(_ key: [UInt8]) -> ArraySlice<UInt8> {
        Base64URL.encode(key)[..<(key.count * 8 / 6)]
    }
}
