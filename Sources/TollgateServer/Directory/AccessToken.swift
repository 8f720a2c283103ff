import TollgateCore
import TollgateStorage

/// Whom an access token is for, and what it says of them.
struct AccessTokenClaims {
    var organization: OrganizationRecord
    var user: UserID
    var session: SessionID
    var plan: PlanName
    /// `nil`: all that the plan grants.
    var permissions: [String]?
}

/// An access token as it was made.
struct AccessToken {
    var text: String
    var expires: WallTime

    /// Signed with HS256 (RFC 7519, RFC 9068), with the claims `iss aud sub org plan sid jti iat
    /// nbf exp` and, narrowed, `permissions`; a personal organization is not named. `nil` when
    /// there is no randomness or no memory.
    ///
    /// `refusedUntil`: tokens that were issued at this instant or before are revoked. In that very
    /// second `iat` carries a fraction, so that the token is later than what was revoked, if only
    /// by a millisecond; else it is whole, as most readers expect.
    init?(
        _ claims: AccessTokenClaims, terms: TokenTerms, key: OwnKey, now: WallTime,
        refusedUntil: WallTime?
    ) {
        guard let id = Randomness.identifier() else { return nil }
        let seconds = now.seconds
        expires = WallTime(seconds: seconds + terms.accessSeconds)
        var members: [(String, String)] = [("iss", ClaimValue.quoted(terms.issuer))]
        func add(_ name: String, _ value: ClaimValue) { members.append((name, value.json)) }
        if let audience = terms.audience { add("aud", .string(audience)) }
        add("sub", .string(claims.user.text))
        if !claims.organization.isPersonal { add("org", .string(claims.organization.id.text)) }
        add("plan", .string(claims.plan.text))
        add("sid", .string(claims.session.text))
        add("jti", .string(id))
        members.append(("iat", Self.issued(now, refusedUntil)))
        add("nbf", .integer(seconds))
        add("exp", .integer(expires.seconds))
        if let permissions = claims.permissions { add("permissions", .strings(permissions)) }
        let payload = members.map { ClaimValue.quoted($0.0) + ":" + $0.1 }.joined(separator: ",")
        let header =
            "{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"kid\":"
            + ClaimValue.quoted(key.record.id.text) + "}"
        let signed = TokenMinter.sign(
            header: header, payload: "{\(payload)}", algorithm: .hs256, secret: key.secret)
        guard let signed else { return nil }
        text = signed
    }

    /// A JSON number: seconds, with a fraction only where it decides.
    private static func issued(_ now: WallTime, _ refusedUntil: WallTime?) -> String {
        guard let refusedUntil, refusedUntil.seconds >= now.seconds else {
            return String(now.seconds)
        }
        let at = max(now.milliseconds, refusedUntil.milliseconds + 1)
        let fraction = String(1_000 + at % 1_000).dropFirst()
        return "\(at / 1_000).\(fraction)"
    }
}
