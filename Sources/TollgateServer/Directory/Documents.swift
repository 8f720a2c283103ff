import TollgateCore
import TollgateStorage
import TollgateWire

// Records as replies show them. Never a secret, nor its digest.

extension Timestamp {
    init(_ time: WallTime) { self.init(milliseconds: time.milliseconds) }
    init?(_ time: WallTime?) {
        guard let time else { return nil }
        self.init(time)
    }
}

extension RawRepresentable where RawValue == String, Self: CaseIterable {
    /// The same word in another list of words, which has it: the protocol's and the store's are
    /// compared by a test.
    init(sameAs word: some RawRepresentable<String>) {
        guard let same = Self(rawValue: word.rawValue) else {
            preconditionFailure("\(Self.self) has no \(word.rawValue)")
        }
        self = same
    }
}

extension Organization {
    init(_ record: OrganizationRecord, _ subscription: SubscriptionRecord?) {
        self.init(
            id: record.id.text, name: record.name, isPersonal: record.isPersonal,
            status: Status(sameAs: record.status), createdAt: Timestamp(record.created),
            subscription: subscription.map { Subscription($0) })
    }
}

extension Subscription {
    init(_ record: SubscriptionRecord) {
        self.init(
            plan: record.plan.text, status: Status(sameAs: record.status),
            anchorAt: Timestamp(record.anchor), timeZone: record.zone,
            sinceAt: Timestamp(record.since),
            pending: record.pending.map {
                Pending(
                    plan: $0.plan.text, mode: ChangeMode(sameAs: $0.mode), at: Timestamp($0.at))
            })
    }
}

extension User {
    init(_ record: UserRecord) {
        self.init(
            organization: record.organization.text, id: record.id.text, name: record.name,
            role: record.role.map { Role(sameAs: $0) }, status: Status(sameAs: record.status),
            createdAt: Timestamp(record.created))
    }
}

extension APIKeyInfo {
    /// `lastUsed`: as the image knows it, which is later than the record's.
    init(_ record: APIKeyRecord, lastUsed: WallTime?, now: WallTime) {
        let state = record.state(at: now)
        self.init(
            organization: record.organization.text, id: record.id.description,
            prefix: record.prefix, user: record.user.text, name: record.name,
            environment: record.environment, creator: record.creator,
            createdAt: Timestamp(record.created),
            lastUsedAt: Timestamp(lastUsed ?? record.lastUsed),
            expiresAt: Timestamp(record.expires), revokedAt: Timestamp(record.revoked),
            state: state,
            rotatingUntilAt: state == .rotating ? Timestamp(record.previousUntil) : nil,
            permissions: record.permissions, addresses: record.addresses,
            rate: record.rate.map { Rate(limit: $0.units, windowSeconds: $0.seconds) },
            pepper: record.current.pepper)
    }
}

extension APIKeyRecord {
    func state(at now: WallTime) -> APIKeyInfo.State {
        if revoked != nil { return .revoked }
        if let expires, now >= expires { return .expired }
        if let previousUntil, now < previousUntil { return .rotating }
        return .active
    }
}

extension Session {
    init(_ record: SessionRecord) {
        self.init(
            organization: record.organization.text, id: record.session.text,
            user: record.user.text, createdAt: Timestamp(record.created),
            expiresAt: Timestamp(record.expires),
            idleSeconds: UInt64(clamping: record.idleMilliseconds / 1_000),
            revokedAt: Timestamp(record.revoked),
            reason: record.reason.map { EndReason(sameAs: $0) })
    }
}

extension Revocation {
    init(_ record: RevocationRecord) {
        self.init(
            organization: record.organization.text, isPersonal: record.isPersonal,
            kind: record.kind == .jti ? .token : Kind(sameAs: record.kind),
            subject: record.subject, at: Timestamp(record.at),
            expiresAt: Timestamp(record.expires))
    }
}

extension SigningKey {
    init(_ record: SigningKeyRecord, longestLifeMilliseconds: Int64) {
        var retirable: WallTime?
        if record.state == .retiring, let demoted = record.demoted {
            retirable = WallTime(milliseconds: demoted.milliseconds + longestLifeMilliseconds)
        }
        self.init(
            id: record.id.text, algorithm: "HS256", state: State(sameAs: record.state),
            addedAt: Timestamp(record.added), promotedAt: Timestamp(record.promoted),
            demotedAt: Timestamp(record.demoted), retiredAt: Timestamp(record.retired),
            retirableAt: Timestamp(retirable))
    }
}

extension LimitOverride {
    init(_ record: OverrideRecord) {
        self.init(
            organization: record.organization.text, user: record.user?.text,
            limit: record.limit.text, units: record.units, expiresAt: Timestamp(record.expires))
    }
}
