import TollgateWire

extension MemberName {
    static var alg: MemberName { MemberName("a", "l", "g") }
    static var kid: MemberName { MemberName("k", "i", "d") }
    static var typ: MemberName { MemberName("t", "y", "p") }
    static var iss: MemberName { MemberName("i", "s", "s") }
    static var aud: MemberName { MemberName("a", "u", "d") }
    static var exp: MemberName { MemberName("e", "x", "p") }
    static var nbf: MemberName { MemberName("n", "b", "f") }
    static var iat: MemberName { MemberName("i", "a", "t") }
    static var jti: MemberName { MemberName("j", "t", "i") }
    static var sid: MemberName { MemberName("s", "i", "d") }
}

/// The JOSE header: read in full when `HeaderMemo` does not know it.
extension TokenVerifier {
    /// Whether the header is one that any issuer could accept. Refused, whatever they hold: members
    /// that change how the rest is to be read (`crit`, `b64`, `zip`, `cty`) and members that bring
    /// a key along (`jwk`, `jku`, `x5u`, `x5c`). `alg`, `kid` and `typ` are strings, and `alg` is
    /// there.
    mutating func readHeader(_ text: UnsafeRawBufferPointer) -> Bool {
        guard let bytes = Base64URL.decode(text, into: header.text),
            header.scan(textBytes: bytes)
        else { return false }
        for index in 0..<header.memberCount where header.members[index].container == 0 {
            if Self.isForbidden(header.members[index]) { return false }
        }
        guard let algorithm = header.find(.alg), algorithm.kind == .string else { return false }
        if let type = header.find(.typ), type.kind != .string { return false }
        if let member = header.find(.kid) {
            guard let keyID = header.stringValue(member),
                keyID.count <= IssuerTable.keyIDBytesMax
            else { return false }
        }
        return true
    }

    private static func isForbidden(_ member: JSONMember) -> Bool {
        switch (member.key, member.name.length) {
        case (MemberName("c", "r", "i", "t").key, 4): true
        case (MemberName("b", "6", "4").key, 3), (MemberName("z", "i", "p").key, 3): true
        case (MemberName("c", "t", "y").key, 3), (MemberName("j", "w", "k").key, 3): true
        case (MemberName("j", "k", "u").key, 3), (MemberName("x", "5", "u").key, 3): true
        case (MemberName("x", "5", "c").key, 3): true
        default: false
        }
    }

    /// The algorithm that `alg` names, byte for byte and without escapes.
    func headerAlgorithm() -> TokenAlgorithm? {
        guard let member = header.find(.alg), member.kind == .string, !member.escaped,
            member.value.length == 5
        else { return nil }
        switch MemberName.key(header.memory + Int(member.value.offset), length: 5) {
        case 0x36_3532_5348: return .hs256
        case 0x34_3833_5348: return .hs384
        case 0x32_3135_5348: return .hs512
        default: return nil
        }
    }

    /// Whether `typ` is absent, or one of the issuer's types, letters of either case. A type
    /// without a slash is one of `application/` (RFC 7515 §4.1.9; RFC 9068 §4 wants both spellings
    /// taken).
    mutating func isType(of issuer: CompiledIssuer, _ issuers: IssuerTable) -> Bool {
        guard let member = header.find(.typ) else { return true }
        guard let type = header.stringValue(member) else { return false }
        let given = Self.withoutApplication(type)
        for index in issuer.types {
            if Self.equalWithoutCase(Self.withoutApplication(issuers.name(index)), given) {
                return true
            }
        }
        return false
    }

    /// `application/x` is `x` where `x` holds no slash.
    private static func withoutApplication(
        _ type: UnsafeRawBufferPointer
    ) -> UnsafeRawBufferPointer {
        let prefix: StaticString = "application/"
        let bytes = prefix.utf8CodeUnitCount
        guard type.count > bytes else { return type }
        let start = UnsafeRawBufferPointer(start: prefix.utf8Start, count: bytes)
        let rest = type.slice(at: bytes, length: type.count &- bytes)
        guard equalWithoutCase(type.slice(at: 0, length: bytes), start),
            !rest.contains(UInt8(ascii: "/"))
        else { return type }
        return rest
    }

    /// ASCII letters only, as media types are (RFC 2045 §5.1).
    private static func equalWithoutCase(
        _ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer
    ) -> Bool {
        guard a.count == b.count else { return false }
        for index in 0..<a.count {
            let x = a[index]
            let y = b[index]
            guard x != y else { continue }
            let lower = x | 0x20
            guard lower == y | 0x20, lower >= UInt8(ascii: "a"), lower <= UInt8(ascii: "z") else {
                return false
            }
        }
        return true
    }
}
