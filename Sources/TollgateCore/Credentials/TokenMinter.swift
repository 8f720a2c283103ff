import COpenSSL
import TollgateWire

/// A JSON value to be minted. Built by the CLI and by tests; allocates freely.
package enum ClaimValue: Sendable, Equatable {
    case string(String)
    case integer(Int64)
    /// As it is to be written.
    case number(String)
    case boolean(Bool)
    case strings([String])

    /// The value as JSON.
    package var json: String {
        switch self {
        case .string(let text): Self.quoted(text)
        case .integer(let number): String(number)
        case .number(let text): text
        case .boolean(let truth): truth ? "true" : "false"
        case .strings(let texts): "[" + texts.map(Self.quoted).joined(separator: ",") + "]"
        }
    }

    /// A JSON string; escapes what RFC 8259 §7 says must be.
    package static func quoted(_ text: String) -> String {
        var json = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": json += "\\\""
            case "\\": json += "\\\\"
            case "\u{0}"..<" ":
                let digits = String(scalar.value, radix: 16)
                json += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: json.unicodeScalars.append(scalar)
            }
        }
        return json + "\""
    }
}

/// Makes signed compact JWTs, for trying things (`tollgate token mint`) and for tests. Not on the
/// check path; allocates.
package enum TokenMinter {
    /// The token that says `claims` in that order, signed with `secret`; `nil` when the key cannot
    /// be prepared because memory is short.
    package static func mint(
        claims: [(name: String, value: ClaimValue)], algorithm: TokenAlgorithm,
        keyID: String?, secret: SecretBytes, type: String? = "JWT"
    ) -> String? {
        var members = ["\"alg\":\"\(algorithm.headerName)\""]
        if let type { members.append("\"typ\":" + ClaimValue.quoted(type)) }
        if let keyID { members.append("\"kid\":" + ClaimValue.quoted(keyID)) }
        let payload = claims.map { ClaimValue.quoted($0.name) + ":" + $0.value.json }
        return sign(
            header: "{" + members.joined(separator: ",") + "}",
            payload: "{" + payload.joined(separator: ",") + "}", algorithm: algorithm,
            secret: secret)
    }

    /// Signs the two texts as they are, whatever they are.
    package static func sign(
        header: String, payload: String, algorithm: TokenAlgorithm, secret: SecretBytes
    ) -> String? {
        let parts = Base64URL.encode(header.utf8) + [0x2e] + Base64URL.encode(payload.utf8)
        return sign(parts, algorithm: algorithm, secret: secret).map {
            String(decoding: parts + [0x2e] + $0, as: UTF8.self)
        }
    }

    /// The signature of `bytes` in base64url.
    package static func sign(
        _ bytes: [UInt8], algorithm: TokenAlgorithm, secret: SecretBytes
    ) -> [UInt8]? {
        guard let key = HMACKey(algorithm, secret) else { return nil }
        var mac = [UInt8](repeating: 0, count: 64)
        let length = tg_hmac(key.handle, bytes, bytes.count, &mac)
        return Base64URL.encode(mac.prefix(length))
    }
}

extension TokenAlgorithm {
    /// As it stands in a header.
    package var headerName: String {
        switch self {
        case .hs256: "HS256"
        case .hs384: "HS384"
        case .hs512: "HS512"
        }
    }
}
