import TollgateCore
import TollgateWire

private let secret = SecretBytes(copying: [UInt8](repeating: 0x5a, count: 64))
/// Nothing is ever signed with this one.
private let unused = SecretBytes(copying: (0..<64).map { UInt8($0) })

private func table(_ secret: SecretBytes) -> IssuerTable {
    var mapping = ClaimsMapping()
    mapping.roles = "roles"
    mapping.permissions = "scope"
    mapping.plansByRole = ["admin": "enterprise_tier"]
    let keys = TokenAlgorithm.allCases.map {
        SigningKeyDefinition(keyID: $0.headerName, algorithm: $0, secret: secret)
    }
    guard
        let table = try? IssuerTable([
            IssuerDefinition(name: "f", issuer: "i", audiences: ["a"], keys: keys, claims: mapping)
        ])
    else { fatalError("the table is fit") }
    return table
}

/// Owns the verifier: a global cannot be a noncopyable value that is changed. One thread.
private final class Bench {
    var verifier = TokenVerifier()
    let signed = table(secret)
    let forged = table(unused)

    func verify(_ token: [UInt8], _ issuers: IssuerTable) -> Reason {
        // Exactly as long as the token, so that one byte too far is seen.
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: token.count, alignment: 1)
        copy.copyBytes(from: token)
        defer { copy.deallocate() }
        let now = WallTime(seconds: 1_800_000_000)
        return verifier.verify(
            UnsafeRawBufferPointer(copy), issuers: issuers, expiryNow: now, notBeforeNow: now)
    }
}

private nonisolated(unsafe) let bench = Bench()

/// F2: byte 0 chooses. Even: what follows is a token as it is, and to be accepted it would have to
/// be forged. Odd: header (length in byte 1) and payload, signed with the right key.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard count >= 2 else { return 0 }
    let bytes = [UInt8](UnsafeRawBufferPointer(start: data, count: count))
    if bytes[0] & 1 == 0 {
        let reason = bench.verify(Array(bytes[1...]), bench.forged)
        precondition(reason != .none, "a forged token was accepted")
        return 0
    }
    let end = min(2 + Int(bytes[1]), count)
    var token = Base64URL.encode(bytes[2..<end]) + [0x2e] + Base64URL.encode(bytes[end...])
    let algorithm = TokenAlgorithm(rawValue: bytes[0] >> 1 & 3) ?? .hs256
    guard let signature = TokenMinter.sign(token, algorithm: algorithm, secret: secret) else {
        return 0
    }
    token += [0x2e] + signature
    let reason = bench.verify(token, bench.signed)
    precondition(bench.verify(token, bench.signed) == reason, "asked twice, answered alike")
    if token.count <= WireLimits.credentialBytesMax, reason == .none {
        check(bench.verifier.claims)
    }
    return 0
}

private func check(_ claims: TokenClaims) {
    precondition((1...128).contains(claims.user.count) && claims.issuerIndex == 0)
    precondition(claims.hasOrganization == !claims.organization.isEmpty)
    precondition(claims.hasPlan == !claims.plan.isEmpty)
    precondition(claims.permissions.count <= TokenVerifier.permissionsMax)
    precondition(claims.expirySeconds > 1_799_999_999 && claims.notBeforeSeconds <= 1_800_000_000)
    for view in [claims.user, claims.organization, claims.plan] + Array(claims.permissions) {
        precondition(view.count <= 128 && view.allSatisfy { $0 >= 0x20 && $0 != 0x7f })
        precondition(String(validating: view, as: UTF8.self) != nil)
    }
}
