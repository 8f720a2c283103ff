import TollgateCore
import TollgateStorage
import TollgateWire

/// Logging in, going on, and out: for peers of the role `issue`.
extension CallHandlers {
    /// What every refused refresh token looks like.
    private static let logInAgain = "log in again"

    static func issueTokens(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let terms = try context.tokenTerms
        let tenant = context.acting(for: try arguments.organization)
        let user = try arguments.user
        let (organization, plan) = try tenant.served(user, at: context.now)
        try makeRoom(for: user, in: tenant, &context)
        guard let name = Randomness.identifier() else { throw context.noRandomness() }
        let refresh: (text: SecretBytes, hash: RefreshTokenHash)
        do throws(APIKeyError) { refresh = try RefreshToken.make { Randomness.fill($0) } } catch {
            throw context.noRandomness()
        }
        let session = try tenant.logIn(
            user, session: SessionID(unchecked: name), token: refresh.hash,
            expires: WallTime(
                milliseconds: context.now.milliseconds + terms.refreshSeconds * 1_000),
            idleMilliseconds: terms.refreshIdleSeconds * 1_000,
            permissions: arguments.names("permissions"), by: context.change)
        return try granted(organization, session, plan, refresh.text, nil, &context)
    }

    /// Of a user who has as many sessions as there may be, those begun first end; so nobody who may
    /// log in is kept out by sessions that were forgotten somewhere.
    private static func makeRoom(
        for user: UserID, in tenant: TenantDirectory, _ context: inout CallContext
    ) throws(DirectoryError) {
        let most = context.plan.sessionsPerUserMax
        for session in try tenant.sessions(of: user, beyond: most - 1, at: context.now) {
            let (_, revocation) = try tenant.revokeSession(
                session.session, tokensExpire: context.tokensExpire, by: context.change)
            context.publish(revocation)
            context.displaced += 1
        }
        try tenant.forgetEnded(sessionsOf: user, beyond: most)
    }

    static func refreshTokens(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let terms = try context.tokenTerms
        let text = Array(try arguments.text("refresh_token").utf8)
        guard let tenant = try context.presenting(text), let pepper = context.pepper else {
            throw context.refuse(.refreshRefused, logInAgain)
        }
        var salt = [UInt8](repeating: 0, count: RefreshToken.saltBytes)
        guard salt.withUnsafeMutableBytes({ Randomness.fill($0) }) else {
            throw context.noRandomness()
        }
        let refresh = RefreshTerms(
            graceMilliseconds: terms.refreshGraceSeconds * 1_000,
            accessTokensExpire: context.tokensExpire)
        let change = context.change
        let outcome = try text.asBytes { (bytes) throws(DirectoryError) in
            try tenant.refresh(bytes, salt: salt, pepper: pepper, terms: refresh, by: change)
        }
        switch outcome {
        case .renewed(let session, let token, let isRetry):
            guard let (organization, plan) = try tenant.servedIfAny(session.user, context.now)
            else { throw context.refuse(.refreshRefused, logInAgain) }
            return try granted(organization, session, plan, token, isRetry, &context)
        case .reused(let session, let revocation):
            // Not thrown: that the family is ended stays.
            context.refusal = (.refreshRefused, logInAgain)
            context.publish(revocation)
            let isPersonal = try tenant.record().isPersonal
            context.reuses.append(
                .refreshReuse(
                    organization: "\(session.organization)", isPersonal: isPersonal,
                    user: "\(session.user)"))
            context.warnings.append(
                "a refresh token was used twice, so somebody has a copy: session"
                    + " \(session.session) of user \(session.user) of organization"
                    + " \(session.organization) is ended")
        case .refused: context.refusal = (.refreshRefused, logInAgain)
        }
        return .null
    }

    static func endSession(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let text = Array(try arguments.text("refresh_token").utf8)
        let hash = text.withUnsafeBytes { RefreshToken.hash($0) }
        guard let hash, let tenant = try context.store.acting(presenting: hash) else {
            throw context.refuse(.refreshRefused, logInAgain)
        }
        let session = try tenant.session(presenting: hash)
        let (ended, revocation) = try tenant.revokeSession(
            session.session, tokensExpire: context.tokensExpire, by: context.change)
        context.publish(revocation)
        return .object(["session": Session(ended).json])
    }

    private static func granted(
        _ organization: OrganizationRecord, _ session: SessionRecord, _ plan: PlanName,
        _ refresh: SecretBytes, _ isRetry: Bool?, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let terms = try context.tokenTerms
        guard let key = context.issuer.active else {
            throw .conflict("no signing key signs: add one, and promote it")
        }
        let refusedUntil = try context.acting(for: organization.id).tokensRefusedUntil(
            of: session.user)
        if let refusedUntil, refusedUntil.milliseconds - context.now.milliseconds > 1_000 {
            throw .conflict(
                "what is issued now is revoked already: the wall clock was set back; set it right")
        }
        let claims = AccessTokenClaims(
            organization: organization, user: session.user, session: session.session, plan: plan,
            permissions: session.permissions)
        let token = AccessToken(
            claims, terms: terms, key: key, now: context.now, refusedUntil: refusedUntil)
        guard let token else { throw context.noRandomness() }
        return IssuedTokens(
            accessToken: SecretText(token.text),
            expiresInSeconds: UInt64(clamping: terms.accessSeconds),
            expiresAt: Timestamp(token.expires),
            refreshToken: SecretText(refresh.withBytes { String(decoding: $0, as: UTF8.self) }),
            session: Session(session), isRetried: isRetry
        ).json
    }
}

extension CallContext {
    var tokenTerms: TokenTerms {
        get throws(DirectoryError) {
            guard let terms = issuer.terms else {
                throw .conflict("the policy has no tokens: add the section, and reload")
            }
            return terms
        }
    }

    /// The tenant whose refresh token it is.
    fileprivate func presenting(_ text: [UInt8]) throws(DirectoryError) -> TenantDirectory? {
        guard let hash = text.withUnsafeBytes({ RefreshToken.hash($0) }) else { return nil }
        return try store.acting(presenting: hash)
    }

    mutating func noRandomness() -> DirectoryError {
        refuse(.internalError, "no random bytes or no memory to be had")
    }
}

extension TenantDirectory {
    /// The organization and the plan that a user is served by; throws what is in the way.
    fileprivate func served(
        _ user: UserID, at now: WallTime
    ) throws(DirectoryError) -> (OrganizationRecord, PlanName) {
        let organization = try record()
        let holder = try self.user(user)
        guard organization.status == .active else {
            throw .conflict("the organization is suspended")
        }
        guard holder.status == .active else { throw .conflict("the user is suspended") }
        guard holder.role != nil else { throw .conflict("the user has no seat") }
        guard let subscription = try subscriptionIfAny() else {
            throw .conflict("the organization has no subscription")
        }
        guard subscription.status.isServed else {
            throw .conflict("the subscription is \(subscription.status.rawValue)")
        }
        if let pending = subscription.pending, pending.at <= now {
            return (organization, pending.plan)
        }
        return (organization, subscription.plan)
    }

    /// `nil` when something is in the way.
    fileprivate func servedIfAny(
        _ user: UserID, _ now: WallTime
    ) throws(DirectoryError) -> (OrganizationRecord, PlanName)? {
        do throws(DirectoryError) { return try served(user, at: now) } catch {
            switch error {
            case .conflict, .notFound: return nil
            default: throw error
            }
        }
    }
}

extension [UInt8] {
    fileprivate func asBytes<R>(
        _ body: (UnsafeRawBufferPointer) throws(DirectoryError) -> R
    ) throws(DirectoryError) -> R {
        let result = withUnsafeBytes { bytes -> Result<R, DirectoryError> in
            do throws(DirectoryError) { return .success(try body(bytes)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}
