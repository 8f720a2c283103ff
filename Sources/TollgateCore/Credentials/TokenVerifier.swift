import COpenSSL
import Glibc
import TollgateWire

/// Verifies access tokens: JWS in compact form (RFC 7515 §7.1), signed with HMAC (RFC 7518 §3.2),
/// holding a JWT (RFC 7519), by the advice of RFC 8725. Owned by one `DecisionWorker`, so by one
/// thread; allocates when it is made, and never in `verify`.
///
/// What a token says before its signature was checked is used for one thing: `alg`, `kid` and `iss`
/// choose among the configured keys. All else is read after the signature.
package struct TokenVerifier: ~Copyable {
    package static let permissionsMax = 64
    private static let textBytesMax = WireLimits.credentialBytesMax / 4 * 3
    private static let macBytesMax = 64

    var header: JSONScanner
    var payload: JSONScanner
    private var memo = HeaderMemo()
    private let signature: UnsafeMutableRawBufferPointer
    private let mac: UnsafeMutablePointer<UInt8>
    let permissionList: UnsafeMutablePointer<UnsafeRawBufferPointer>
    /// What the last token said; of use only when `verify` answered `.none`.
    package internal(set) var claims = TokenClaims()

    package init() {
        header = JSONScanner(textBytesMax: Self.textBytesMax)
        payload = JSONScanner(textBytesMax: Self.textBytesMax)
        signature = .allocate(byteCount: Self.textBytesMax, alignment: 16)
        mac = .allocate(capacity: Self.macBytesMax)
        permissionList = .allocate(capacity: Self.permissionsMax)
    }

    deinit {
        signature.deallocate()
        mac.deallocate()
        permissionList.deallocate()
    }

    /// `.none` when the token is good, with `claims` filled in; else why not, the reason with the
    /// lowest number where several hold. A token is good strictly before its `exp` by `expiryNow`,
    /// and from its `nbf` and `iat` on by `notBeforeNow`, with the issuer's leeway either side.
    /// Does not allocate; never traps on what the token is.
    package mutating func verify(
        _ token: UnsafeRawBufferPointer, issuers: IssuerTable, expiryNow: WallTime,
        notBeforeNow: WallTime
    ) -> Reason {
        claims = TokenClaims()
        guard token.count <= WireLimits.credentialBytesMax, let parts = TokenParts(token) else {
            return .credentialMalformed
        }
        memo.use(issuers)
        var known = memo.find(parts.header)
        if known < 0, !readHeader(parts.header) { return .credentialMalformed }
        guard let payloadBytes = Base64URL.decode(parts.payload, into: payload.text),
            let signatureBytes = Base64URL.decode(parts.signature, into: signature),
            payload.scan(textBytes: payloadBytes)
        else { return .credentialMalformed }

        var key = -1
        if known >= 0, isIssued(by: issuers.issuer(memo.issuer(known)), issuers) {
            key = memo.key(known)
        } else {
            // Not remembered, or remembered for another issuer: then it was read once, and is fine.
            if known >= 0, !readHeader(parts.header) { return .credentialMalformed }
            known = -1
            let reason = chooseKey(issuers, &key)
            if reason != .none { return reason }
        }
        let compiled = issuers.key(key)
        guard isSigned(parts.signed, with: compiled, signatureBytes) else {
            return .signatureInvalid
        }
        let typeFits = known >= 0 || isType(of: issuers.issuer(compiled.issuer), issuers)
        if known < 0, typeFits {
            memo.remember(parts.header, issuer: compiled.issuer, key: key)
        }
        let reason = judge(compiled, issuers, expiryNow: expiryNow, notBeforeNow: notBeforeNow)
        return reason == .none && !typeFits ? .claimInvalid : reason
    }

    /// The key that `iss`, `kid` and `alg` choose; never any other.
    private mutating func chooseKey(_ issuers: IssuerTable, _ key: inout Int) -> Reason {
        guard let algorithm = headerAlgorithm() else { return .algorithmNotAllowed }
        guard let member = payload.find(.iss), let value = payload.stringValue(member),
            let issuer = issuers.findIssuer(value)
        else { return .issuerUnknown }
        var keyID: UnsafeRawBufferPointer?
        if let member = header.find(.kid) { keyID = header.stringValue(member) }
        guard let found = issuers.findKey(issuer: issuer, keyID: keyID) else { return .keyUnknown }
        guard issuers.key(found).algorithm == algorithm else { return .algorithmNotAllowed }
        key = found
        return .none
    }

    @inline(__always)
    private mutating func isIssued(by issuer: CompiledIssuer, _ issuers: IssuerTable) -> Bool {
        guard let member = payload.find(.iss), let value = payload.stringValue(member) else {
            return false
        }
        return equalBytes(issuers.view(issuer.issuer), value)
    }

    /// Compares in a time that does not depend on where the signatures differ.
    private func isSigned(
        _ signed: UnsafeRawBufferPointer, with key: CompiledKey, _ signatureBytes: Int
    ) -> Bool {
        guard let base = signed.baseAddress, let given = signature.baseAddress else { return false }
        let bytes = tg_hmac(
            key.handle, base.assumingMemoryBound(to: UInt8.self), signed.count, mac)
        guard bytes == signatureBytes else { return false }
        return tg_constant_time_equal(mac, given.assumingMemoryBound(to: UInt8.self), bytes) == 1
    }
}

/// The three parts of a compact token, as views into it. The third may hold further dots: they are
/// outside base64url's alphabet, so decoding it refuses them.
struct TokenParts: BitwiseCopyable {
    var header: UnsafeRawBufferPointer
    var payload: UnsafeRawBufferPointer
    var signature: UnsafeRawBufferPointer
    /// Header, dot and payload: what is signed.
    var signed: UnsafeRawBufferPointer

    /// `nil` when there are fewer than two dots, or nothing before one of them.
    @inline(__always)
    init?(_ token: UnsafeRawBufferPointer) {
        guard let base = token.baseAddress, let first = memchr(base, 0x2e, token.count) else {
            return nil
        }
        let headerBytes = UnsafeRawPointer(first) - base
        let rest = token.count &- headerBytes &- 1
        guard headerBytes > 0, let second = memchr(first + 1, 0x2e, rest) else { return nil }
        let payloadBytes = second - first - 1
        guard payloadBytes > 0 else { return nil }
        header = UnsafeRawBufferPointer(start: base, count: headerBytes)
        payload = UnsafeRawBufferPointer(start: first + 1, count: payloadBytes)
        signature = UnsafeRawBufferPointer(start: second + 1, count: rest &- payloadBytes &- 1)
        signed = UnsafeRawBufferPointer(start: base, count: UnsafeRawPointer(second) - base)
    }
}
