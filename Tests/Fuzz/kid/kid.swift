import TollgateCore
import TollgateWire

private let keyIDs = ["k1", "k2", "0123456789", "../key", "\u{e9}"]
private let secret = SecretBytes(copying: [UInt8](repeating: 0x5a, count: 32))

/// One verifier, used by one thread.
private final class Bench {
    var verifier = TokenVerifier()
    let issuers: IssuerTable

    init() {
        let keys = keyIDs.map {
            SigningKeyDefinition(keyID: $0, algorithm: .hs256, secret: secret)
        }
        guard let table = try? IssuerTable([IssuerDefinition(name: "f", issuer: "i", keys: keys)])
        else { fatalError("the table is fit") }
        issuers = table
    }
}

private nonisolated(unsafe) let bench = Bench()
private let payload = Array(#"{"iss":"i","sub":"u","exp":1800000100}"#.utf8)

/// F5: any bytes as the key id of a token that is good in everything else, as they are (so they
/// may break out of the string) and escaped. Escaped, exactly the configured ones are accepted.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = [UInt8](UnsafeRawBufferPointer(start: data, count: count))
    _ = verify(bytes)
    guard let text = String(validating: bytes, as: UTF8.self) else { return 0 }
    let escaped = text.utf16.map { unit in
        let digits = String(unit, radix: 16)
        return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }
    let reason = verify(Array(escaped.joined().utf8))
    let known = keyIDs.contains { $0.utf8.elementsEqual(bytes) }
    precondition((reason == .none) == known, "key id: \(reason)")
    return 0
}

private func verify(_ keyID: [UInt8]) -> Reason {
    let header = Array(#"{"alg":"HS256","kid":""#.utf8) + keyID + Array(#""}"#.utf8)
    var token = Base64URL.encode(header) + [0x2e] + Base64URL.encode(payload)
    guard let mac = TokenMinter.sign(token, algorithm: .hs256, secret: secret) else {
        fatalError("out of memory")
    }
    token += [0x2e] + mac
    let now = WallTime(seconds: 1_800_000_000)
    return token.withUnsafeBytes {
        bench.verifier.verify($0, issuers: bench.issuers, expiryNow: now, notBeforeNow: now)
    }
}
