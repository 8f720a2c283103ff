/// Whether key material is fit to be an HMAC secret (RFC 7518 §3.2; RFC 8725 §3.5; RELIABILITY
/// J2, J6).
package enum SecretCheck {
    private static let markers = [
        "-----BEGIN", "ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-", "\"kty\"",
    ]
    private static let wellKnown = [
        "your-256-bit-secret", "your-384-bit-secret", "your-512-bit-secret",
        "a-string-secret-at-least-256-bits-long", "a-valid-string-secret-that-is-at-least-512",
        "changeme", "secretsecret", "passwordpassword", "0123456789abcdef0123456789abcdef",
        "AyM1SysPpbyDfgZld3umj1qzKObwVMko",
    ]

    /// What is wrong with a secret, or `nil`. The answer holds nothing of the secret.
    package static func problem(
        with secret: UnsafeRawBufferPointer, algorithm: TokenAlgorithm
    ) -> String? {
        let least = algorithm.digestBytes
        guard secret.count >= least else {
            return "the secret has \(secret.count) bytes, \(algorithm.headerName) needs \(least)"
                + " (RFC 7518 section 3.2)"
        }
        for marker in markers where contains(secret, Array(marker.utf8)) {
            return "the secret is the text of a public or private key, not a secret for HMAC"
        }
        // DER: a SEQUENCE whose length is that of the rest.
        if secret[0] == 0x30, isWholeSequence(secret) {
            return "the secret is a DER-encoded key or certificate, not a secret for HMAC"
        }
        for known in wellKnown where contains(secret, Array(known.utf8)) {
            return "the secret is a well-known example; make a random one"
        }
        for period in 1...8 where (period..<secret.count).allSatisfy({ secret[$0] == secret[$0 - period] }) {
            return "the secret repeats \(period) byte\(period == 1 ? "" : "s"); make a random one"
        }
        return nil
    }

    private static func contains(_ secret: UnsafeRawBufferPointer, _ text: [UInt8]) -> Bool {
        guard secret.count >= text.count else { return false }
        return (0...(secret.count - text.count)).contains { start in
            text.indices.allSatisfy { secret[start + $0] == text[$0] }
        }
    }

    private static func isWholeSequence(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let first = Int(bytes[1])
        if first < 0x80 { return bytes.count == 2 + first }
        let count = first & 0x7f
        guard (1...3).contains(count), bytes.count > 2 + count else { return false }
        let length = (0..<count).reduce(0) { $0 << 8 | Int(bytes[2 + $1]) }
        return bytes.count == 2 + count + length
    }
}
