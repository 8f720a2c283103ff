/// Recognises keys that are no HMAC secrets: public keys above all, which anybody may have and sign
/// with (RFC 8725 §2.1, RELIABILITY S2). Looked for at any offset, and also behind base64 and
/// hexadecimal digits.
enum KeyFormats {
    /// Parts of texts that stand in keys of that format, in small letters.
    private static let texts: [(String, String)] = [
        ("-----begin", "a PEM key or certificate"), ("---- begin", "an SSH key"),
        ("ssh-rsa", "an SSH key"), ("ssh-dss", "an SSH key"), ("ssh-ed25519", "an SSH key"),
        ("ecdsa-sha2-", "an SSH key"), ("openssh-key-v1", "an SSH key"),
        ("sk-ssh-", "an SSH key"), ("putty-user-key-file", "an SSH key"),
        // base64 of a length and "ssh-", "ecdsa"
        ("aaaab3nzac1", "an SSH key"), ("aaaac3nzac1", "an SSH key"),
        ("aaaae2vjzhnh", "an SSH key"),
        ("\"kty\"", "the text of a JWK"), ("\"keys\"", "the text of a JWK set"),
        ("'kty'", "the text of a JWK"), ("\"x5c\"", "the text of a JWK"),
        ("<rsakeyvalue", "an XML key"), ("<modulus", "an XML key"),
    ]

    /// Object identifiers of public-key algorithms, which every X.509, SPKI and PKCS #8 key holds.
    private static let identifiers: [[UInt8]] = [
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01],  // PKCS: RSA
        [0x2a, 0x86, 0x48, 0xce, 0x3d],  // ANSI X9.62: elliptic curves
        [0x2a, 0x86, 0x48, 0xce, 0x38],  // ANSI X9.57: DSA
        [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00],  // SECG curves
        [0x06, 0x03, 0x2b, 0x65, 0x6e], [0x06, 0x03, 0x2b, 0x65, 0x6f],  // X25519, X448
        [0x06, 0x03, 0x2b, 0x65, 0x70], [0x06, 0x03, 0x2b, 0x65, 0x71],  // Ed25519, Ed448
    ]

    /// What the bytes are, in words that go on "the secret is …", or `nil`.
    static func format(of secret: UnsafeRawBufferPointer) -> String? {
        let bytes = Array(secret)
        let small = bytes.map { $0 >= 0x41 && $0 <= 0x5a ? $0 | 0x20 : $0 }
        for (text, format) in texts where contains(small, Array(text.utf8)) { return format }
        if isDER(bytes) { return "a DER-encoded key or certificate" }
        if let decoded = fromBase64(bytes), isDER(decoded) {
            return "the base64 of a key or certificate"
        }
        if let decoded = fromHexadecimal(bytes), isDER(decoded) {
            return "the hexadecimal digits of a key or certificate"
        }
        return nil
    }

    static func contains(_ bytes: [UInt8], _ part: [UInt8]) -> Bool {
        guard let first = part.first, bytes.count >= part.count else { return false }
        for start in 0...(bytes.count - part.count) where bytes[start] == first {
            if bytes[start...].starts(with: part) { return true }
        }
        return false
    }

    private static func isDER(_ bytes: [UInt8]) -> Bool {
        if identifiers.contains(where: { contains(bytes, $0) }) { return true }
        return bytes.indices.contains { isSequence(bytes, at: $0) }
    }

    /// A SEQUENCE that fits and begins with an INTEGER or a SEQUENCE, as keys do that name no
    /// algorithm (PKCS #1). In the midst of other bytes only one of 128 bytes or more counts: of
    /// shorter ones too many come about by chance.
    private static func isSequence(_ bytes: [UInt8], at start: Int) -> Bool {
        guard bytes[start] == 0x30, start + 4 < bytes.count else { return false }
        let first = Int(bytes[start + 1])
        var header = 2
        var length = first
        if first >= 0x80 {
            let count = first & 0x7f
            guard (1...3).contains(count), start + 2 + count < bytes.count else { return false }
            header = 2 + count
            length = (0..<count).reduce(0) { $0 << 8 | Int(bytes[start + 2 + $1]) }
            guard length >= 0x80 else { return false }
        } else if start > 0 || length + 2 != bytes.count {
            return false
        }
        let inner = start + header
        guard length <= bytes.count - inner, inner < bytes.count else { return false }
        return bytes[inner] == 0x02 || bytes[inner] == 0x30
    }

    /// Either alphabet, with or without padding and line ends; `nil` when it is anything else.
    private static func fromBase64(_ bytes: [UInt8]) -> [UInt8]? {
        var text: [UInt8] = []
        for byte in bytes where byte > 0x20 && byte != UInt8(ascii: "=") {
            switch byte {
            case UInt8(ascii: "+"): text.append(UInt8(ascii: "-"))
            case UInt8(ascii: "/"): text.append(UInt8(ascii: "_"))
            default: text.append(byte)
            }
        }
        // To whole groups, so that bits left over at the end decide nothing.
        if text.count % 4 == 1 { text.removeLast() }
        while text.count % 4 != 0 { text.append(UInt8(ascii: "A")) }
        var decoded = [UInt8](repeating: 0, count: text.count)
        let count = text.withUnsafeBytes { from in
            decoded.withUnsafeMutableBytes { Base64URL.decode(from, into: $0) }
        }
        return count.map { Array(decoded[..<$0]) }
    }

    private static func fromHexadecimal(_ bytes: [UInt8]) -> [UInt8]? {
        var digits: [UInt8] = []
        for byte in bytes where byte > 0x20 && byte != UInt8(ascii: ":") {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digits.append(byte - 0x30)
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digits.append(byte - 0x57)
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digits.append(byte - 0x37)
            default: return nil
            }
        }
        return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}
