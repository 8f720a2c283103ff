import TollgateCore
import TollgateStorage
import TollgateWire

/// Sessions, and what ends access tokens before their time.
extension CallHandlers {
    static func listSessions(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let user = try arguments.user
        return try arguments.list({ after, limit throws(DirectoryError) in
            try tenant.sessions(of: user, after: after, limit: limit)
        }) { Session($0) }
    }

    static func showSession(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let session = try tenant.session(try arguments.id("session"))
        return .object(["session": Session(session).json])
    }

    static func revokeSession(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let (session, revocation) = try tenant.revokeSession(
            try arguments.id("session"), tokensExpire: context.tokensExpire, by: context.change)
        context.publish(revocation)
        return SessionRevocation(
            session: Session(session), revocation: Revocation(revocation)
        ).json
    }

    static func revokeToken(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let revoked = try tenant.revokeToken(
            jti: try arguments.text("jti"), expires: try context.expiry(arguments),
            personal: arguments.optionalFlag("personal"), by: context.change)
        return outcome(revoked, &context)
    }

    static func revokeUser(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let revoked = try tenant.revokeUser(
            try arguments.user, tokensExpire: context.tokensExpire,
            personal: arguments.optionalFlag("personal"), by: context.change)
        if revoked.isKnown { context.publishKeys(of: revoked.record, user: revoked.record.subject) }
        return outcome(revoked, &context)
    }

    static func revokeOrganization(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let revoked = try tenant.revokeAll(
            tokensExpire: context.tokensExpire, personal: arguments.optionalFlag("personal"),
            by: context.change)
        if revoked.isKnown { context.publishKeys(of: revoked.record, user: nil) }
        return outcome(revoked, &context)
    }

    private static func outcome(_ revoked: Revoked, _ context: inout CallContext) -> JSONValue {
        context.publish(revoked.record)
        return RevocationOutcome(
            revocation: Revocation(revoked.record), isKnown: revoked.isKnown
        ).json
    }

    static func listRevocations(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let isPersonal = arguments.optionalFlag("personal")
        let kind = arguments.word("kind", Revocation.Kind.self)
        return try arguments.list({ after, limit throws(DirectoryError) in
            try tenant.revocations(
                personal: isPersonal, kind: kind.map { RevocationKind($0) }, after: after,
                limit: limit)
        }) { Revocation($0) }
    }
}

extension RevocationKind {
    init(_ kind: Revocation.Kind) {
        switch kind {
        case .token: self = .jti
        case .session: self = .session
        case .user: self = .user
        case .organization: self = .organization
        }
    }
}

extension CallContext {
    fileprivate mutating func publishKeys(of record: RevocationRecord, user: String?) {
        publications.append(
            .keysRevoked(
                organization: record.organization.text, isPersonal: record.isPersonal, user: user))
    }

    /// Until when a revoked token is remembered: as the call says, and the widest leeway of any
    /// issuer longer; never longer than any token lives.
    fileprivate func expiry(_ arguments: CallArguments) throws(DirectoryError) -> WallTime {
        guard let asked = arguments.time("expires_at") else { return tokensExpire }
        guard asked > now else {
            throw .invalid(field: "expires_at", why: "lies ahead: until then the token is refused")
        }
        let leeway = IssuerTable.leewaySecondsMax * 1_000
        return min(tokensExpire, WallTime(milliseconds: asked.milliseconds + leeway))
    }
}
