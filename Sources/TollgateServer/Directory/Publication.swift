import CLinux
import Glibc
import TollgateCore
import TollgateStorage

/// What a call changes in memory: made from the records within the call's transaction, and put in
/// force once that is on the disk. Nothing of it can fail.
enum Publication {
    case organization(OrganizationEntry)
    case user(UserEntry)
    case key(APIKeyEntry)
    case revocation(RevocationEntry)
    case grant(GrantEntry)
    /// One that is over: what burnt of it stands in the directory.
    case grantSettled(GrantRecord, isPersonal: Bool)
    /// All keys of the organization, or of one user of it.
    case keysRevoked(organization: String, isPersonal: Bool, user: String?)
    case organizationGone(OrganizationRecord)
    case userGone(UserID, of: OrganizationRecord)
    /// Quotas are to begin anew: the directory says whose.
    case quotasReset
    /// The daemon's own issuer verifies by other keys, or signs with another.
    case signingKeys(SigningKeyChange)
}

extension Publication {
    var signingKeys: SigningKeyChange? {
        if case .signingKeys(let change) = self { change } else { nil }
    }
}

extension DirectoryImage {
    /// Puts a change in force for every decision that begins from now on.
    func publish(_ change: Publication, engine: Engine) {
        switch change {
        case .organization(let entry): put(entry)
        case .user(let entry): put(entry)
        case .key(let entry): put(entry)
        case .revocation(let entry): put(entry)
        case .grant(let entry): engine.putGrant(entry)
        case .grantSettled(let record, let isPersonal):
            engine.forgetSettled(record, isPersonal: isPersonal)
        case .keysRevoked(let organization, let isPersonal, let user):
            revokeKeys(organization: organization, isPersonal: isPersonal, user: user)
        case .organizationGone(let gone):
            removeOrganization(gone.id.text, isPersonal: gone.isPersonal)
            // What is left, the directory's thread forgets later: it has the leftover on the disk.
            _ = engine.forgetForGood(Leftover(gone))
        case .userGone(let id, let organization):
            removeUser(
                id.text, organization: organization.id.text, isPersonal: organization.isPersonal)
        case .quotasReset, .signingKeys: break
        }
    }
}

extension Engine {
    /// How long a change of counters waits for room in the journal, while that is written.
    private static let journalWaitNanoseconds: UInt64 = 2_000_000_000

    /// Does what may have to wait for the journal again until it is done; gives up after a while,
    /// when the journal cannot be written at all. Whether it is done. `bringing` is to have room
    /// brought, and is false when there is none to be had.
    @discardableResult
    func journaled(
        waiting nanoseconds: UInt64? = nil, bringing: () -> Bool = { true }, _ change: () -> Bool
    ) -> Bool {
        let end = tg_boottime() &+ (nanoseconds ?? Self.journalWaitNanoseconds)
        while !change() {
            guard currentLedgerState == .serving, tg_boottime() < end, bringing() else {
                return false
            }
            usleep(500)
        }
        return true
    }
}

extension Moment {
    /// Now, by both clocks.
    static var present: Moment {
        Moment(
            boot: BootTime(nanoseconds: tg_boottime()), wall: WallTime(milliseconds: tg_walltime()))
    }
}

// What stands in the image of a record.

extension OrganizationEntry {
    init(
        _ record: OrganizationRecord, _ subscription: SubscriptionRecord?,
        _ overrides: [OverrideRecord], zone: (String) -> ZoneRules?
    ) {
        self.init(
            id: record.id.text, isPersonal: record.isPersonal, isActive: record.status == .active,
            subscription: subscription.map { SubscriptionEntry($0, zone: zone) },
            overrides: overrides.map { OverrideEntry($0) })
    }
}

extension SubscriptionEntry {
    /// A zone that is not on this host is the policy's.
    init(_ record: SubscriptionRecord, zone: (String) -> ZoneRules?) {
        self.init(
            plan: record.plan.text, isServed: record.status.isServed,
            pendingPlan: record.pending?.plan.text, pendingAt: record.pending?.at,
            zone: zone(record.zone), anchor: record.anchor)
    }
}

extension SubscriptionStatus {
    var isServed: Bool {
        switch self {
        case .trialing, .active, .pastDue: true
        case .suspended, .canceled: false
        }
    }
}

extension OverrideEntry {
    init(_ record: OverrideRecord) {
        self.init(limit: record.limit.text, units: record.units, expires: record.expires)
    }
}

extension UserEntry {
    init(_ record: UserRecord, isPersonal: Bool, _ overrides: [OverrideRecord]) {
        self.init(
            organization: record.organization.text, isPersonal: isPersonal, id: record.id.text,
            isActive: record.isServed, overrides: overrides.map { OverrideEntry($0) })
    }
}

extension UserRecord {
    /// Active, and has a seat.
    var isServed: Bool { status == .active && role != nil }
}

extension APIKeyEntry {
    /// Blocks that cannot be read match nothing: the key is refused from everywhere, rather than
    /// served from everywhere.
    ///
    /// `lastUsed`: as the image knew it, when that is later than the record's.
    init(_ record: APIKeyRecord, isPersonal: Bool, lastUsed: WallTime? = nil) {
        self.init(
            id: record.id, organization: record.organization.text, isPersonal: isPersonal,
            user: record.user.text, digest: record.current.digest, pepper: record.current.pepper,
            previous: record.previous?.digest, previousPepper: record.previous?.pepper ?? 0,
            previousUntil: record.previousUntil, permissions: record.permissions,
            addresses: record.addresses?.compactMap { AddressBlock($0) },
            limit: record.rate.map { KeyLimit(units: $0.units, seconds: $0.seconds) },
            expires: record.expires, isRevoked: record.revoked != nil,
            lastUsed: lastUsed ?? record.lastUsed)
    }
}

extension RevocationEntry {
    init(_ record: RevocationRecord) {
        self.init(
            kind: RevokedKind(record.kind), organization: record.organization.text,
            isPersonal: record.isPersonal, subject: record.subject, at: record.at,
            expires: record.expires)
    }
}

extension RevokedKind {
    init(_ kind: RevocationKind) {
        switch kind {
        case .jti: self = .token
        case .session: self = .session
        case .user: self = .user
        case .organization: self = .organization
        }
    }
}
