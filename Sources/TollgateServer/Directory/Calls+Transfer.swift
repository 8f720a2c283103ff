import TollgateCore
import TollgateStorage
import TollgateWire

/// Moving in and out: records with all that is kept of them.
extension CallHandlers {
    static func exportDirectory(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let (store, now) = (context.store, context.now)
        return try arguments.list({ after, limit throws(DirectoryError) in
            let page = try store.export(after: after, limit: limit)
            // What a change of plans left ends with its period, and is not the operator's to move.
            return Page(items: page.items.filter { !$0.isProrated }, next: page.next)
        }) { ExportedRecord($0, now: now) }
    }

    /// All of the records, or none.
    static func importDirectory(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let records: [ExportedRecord]
        do throws(DocumentError) { records = try arguments.request.records } catch {
            throw .invalid(field: "records\(error.member)", why: error.what)
        }
        var created: UInt64 = 0
        for (place, record) in records.enumerated() {
            do throws(DirectoryError) {
                if try keep(record, &context) { created += 1 }
            } catch { throw context.place("records[\(place)]", error) }
        }
        return ImportOutcome(created: created, unchanged: UInt64(records.count) - created).json
    }

    /// Whether it was not there before.
    private static func keep(
        _ document: ExportedRecord, _ context: inout CallContext
    ) throws(DirectoryError) -> Bool {
        let record = try context.portable(document)
        if case .organization(let made, _) = record {
            try context.forgetLeftover(of: made.id, isPersonal: made.isPersonal)
        }
        switch try context.store.importRecord(record, by: context.change) {
        case .unchanged: return false
        case .differs: throw .exists
        case .created: break
        }
        let tenant = context.acting(for: record.organization)
        switch record {
        case .organization: try context.publishOrganization(tenant.organization)
        case .user(let user):
            let organization = try tenant.record()
            // Tokens of a personal organization name their user alone.
            guard !organization.isPersonal || user.id.text == organization.id.text else {
                throw .invalid(
                    field: "id", why: "of the user of a personal organization is its own id")
            }
            try context.publishUser(user, of: organization)
        case .override(let override): try context.publishOverrides(of: override.user, in: tenant)
        case .grant(let grant):
            guard grant.burnt == nil else { return true }
            context.publications.append(
                .grant(GrantEntry(grant, isPersonal: try tenant.record().isPersonal)))
        case .key(let key): try context.publishKey(key)
        case .revocation(let revocation): context.publish(revocation)
        }
        return true
    }
}

extension CallContext {
    /// The same refusal, with the place of the record that it is about.
    fileprivate mutating func place(_ place: String, _ error: DirectoryError) -> DirectoryError {
        switch error {
        case .exists: refuse(.alreadyExists, "\(place): another of that id is there")
        case .notFound: refuse(.notFound, "\(place): what it belongs to is not there")
        case .invalid(let field, let why): .invalid(field: "\(place).\(field)", why: why)
        case .conflict(let why): .conflict("\(place): \(why)")
        case .storage: error
        }
    }

    /// The record that a document stands for; checked against the policy as when it is made here.
    fileprivate func portable(_ document: ExportedRecord) throws(DirectoryError) -> PortableRecord {
        switch document {
        case .organization(let organization):
            let id = OrganizationID(unchecked: try Self.name(organization.id, "id"))
            return .organization(
                OrganizationRecord(
                    id: id, name: try Self.name(organization.name, "name"),
                    isPersonal: organization.isPersonal,
                    status: Standing(sameAs: organization.status),
                    created: WallTime(organization.createdAt)),
                try organization.subscription.map { subscription throws(DirectoryError) in
                    try self.subscription(subscription, of: id)
                })
        case .user(let user):
            return .user(
                UserRecord(
                    organization: try Self.organization(user.organization),
                    id: UserID(unchecked: try Self.name(user.id, "id")),
                    name: try Self.name(user.name, "name"),
                    status: Standing(sameAs: user.status), created: WallTime(user.createdAt),
                    role: user.role.map { MemberRole(sameAs: $0) }))
        case .override(let override): return .override(try self.override(override))
        case .grant(let grant): return .grant(try self.grant(grant))
        case .key(let key): return .key(try self.key(key))
        case .revocation(let revocation):
            return .revocation(try self.revocation(revocation))
        }
    }

    private func subscription(
        _ document: Subscription, of id: OrganizationID
    ) throws(DirectoryError) -> SubscriptionRecord {
        guard plan.zone(document.timeZone) != nil else {
            throw .invalid(field: "subscription.time_zone", why: "no time zone of that name")
        }
        for name in [document.plan, document.pending?.plan].compactMap({ $0 })
        where !policy.hasPlan(name) {
            throw .invalid(field: "subscription", why: "the policy has no plan \(name)")
        }
        return SubscriptionRecord(
            organization: id, plan: PlanName(unchecked: document.plan),
            status: SubscriptionStatus(sameAs: document.status),
            anchor: WallTime(document.anchorAt), zone: document.timeZone,
            since: WallTime(document.sinceAt),
            pending: document.pending.map {
                PendingPlan(
                    plan: PlanName(unchecked: $0.plan), mode: PlanChangeMode(sameAs: $0.mode),
                    at: WallTime($0.at))
            })
    }

    private func override(_ document: LimitOverride) throws(DirectoryError) -> OverrideRecord {
        let organization = try Self.organization(document.organization)
        let subscription = try acting(for: organization).subscriptionIfAny()
        try check(
            document.limit, document.units, ofUser: document.user != nil,
            plan: subscription?.plan.text)
        return OverrideRecord(
            organization: organization,
            user: try document.user.map { user throws(DirectoryError) in
                UserID(unchecked: try Self.name(user, "user"))
            }, limit: LimitName(unchecked: document.limit), units: document.units,
            expires: document.expiresAt.map { WallTime($0) })
    }

    private func grant(_ document: CreditGrant) throws(DirectoryError) -> GrantRecord {
        guard let priority = UInt8(exactly: document.priority) else {
            throw .invalid(field: "priority", why: "is 0 to 255")
        }
        guard document.state == nil, document.remaining == nil else {
            throw .invalid(field: "state", why: "is worked out here: leave it null")
        }
        let quota = LimitName(unchecked: try Self.name(document.quota, "quota"))
        guard try creditMeter(of: quota, plan: nil) == document.meter else {
            throw .invalid(field: "meter", why: "is not what the quota counts")
        }
        let organization = try Self.organization(document.organization)
        if document.burnt == nil {
            try acting(for: organization).checkRoom(for: quota, engine, now)
        }
        return GrantRecord(
            organization: organization, id: document.id, quota: quota, meter: document.meter,
            units: document.units, priority: priority, effective: WallTime(document.effectiveAt),
            expires: document.expiresAt.map { WallTime($0) }, note: document.note,
            created: WallTime(document.createdAt),
            voided: document.voidedAt.map { WallTime($0) }, burnt: document.burnt)
    }

    /// One from ahead would refuse tokens that are not made yet, and one without end be kept so.
    private func revocation(
        _ document: Revocation
    ) throws(DirectoryError) -> RevocationRecord {
        guard WallTime(document.at) <= now else {
            throw .invalid(field: "at", why: "lies ahead of now")
        }
        guard WallTime(document.expiresAt) <= tokensExpire else {
            throw .invalid(field: "expires_at", why: "is later than any token can expire")
        }
        return RevocationRecord(
            organization: try Self.organization(document.organization),
            isPersonal: document.isPersonal, kind: RevocationKind(document.kind),
            subject: try Self.name(document.subject, "subject"), at: WallTime(document.at),
            expires: WallTime(document.expiresAt))
    }

    private func key(_ document: ExportedKey) throws(DirectoryError) -> APIKeyRecord {
        let key = document.key
        guard let id = APIKeyID(key.id) else {
            throw .invalid(field: "id", why: "has 16 letters and digits")
        }
        guard let digest = APIKeyDigest(hexadecimal: document.digest.revealed()) else {
            throw .invalid(field: "digest", why: "has 64 hexadecimal digits")
        }
        for block in key.addresses ?? [] where AddressBlock(block) == nil {
            throw .invalid(field: "addresses", why: "one is no address, and no block of them")
        }
        guard isPossible(key) else {
            throw .invalid(field: "state", why: "is not what the key's other members say")
        }
        guard key.prefix == APIKey.shownPrefix(environment: key.environment, id: id) else {
            throw .invalid(field: "prefix", why: "is not that of the environment and the id")
        }
        return APIKeyRecord(
            organization: try Self.organization(key.organization), id: id,
            user: UserID(unchecked: try Self.name(key.user, "user")),
            name: try Self.name(key.name, "name"), environment: key.environment,
            current: KeptDigest(digest: digest, pepper: key.pepper),
            previous: try previous(document),
            previousUntil: key.rotatingUntilAt.map { WallTime($0) },
            permissions: key.permissions, addresses: key.addresses,
            rate: key.rate.map { KeyRate(units: $0.limit, seconds: $0.windowSeconds) },
            created: WallTime(key.createdAt), creator: try Self.name(key.creator, "creator"),
            expires: key.expiresAt.map { WallTime($0) },
            revoked: key.revokedAt.map { WallTime($0) },
            lastUsed: key.lastUsedAt.map { WallTime($0) })
    }

    /// Whether the key's state can have been so when it was exported.
    private func isPossible(_ key: APIKeyInfo) -> Bool {
        guard key.revokedAt == nil else { return key.state == .revoked }
        return switch key.state {
        case .revoked: false
        case .expired: key.expiresAt.map { WallTime($0) <= now } ?? false
        case .rotating: key.rotatingUntilAt != nil
        case .active: key.rotatingUntilAt.map { WallTime($0) <= now } ?? true
        }
    }

    /// The secret before the last rotation, which goes with the instant that ends it.
    private func previous(_ document: ExportedKey) throws(DirectoryError) -> KeptDigest? {
        switch (document.previousDigest, document.previousPepper, document.key.rotatingUntilAt) {
        case (nil, nil, nil): return nil
        case (let text?, let pepper?, _?):
            guard let digest = APIKeyDigest(hexadecimal: text.revealed()) else {
                throw .invalid(field: "previous_digest", why: "has 64 hexadecimal digits")
            }
            return KeptDigest(digest: digest, pepper: pepper)
        default:
            throw .invalid(
                field: "previous_digest", why: "goes with previous_pepper and rotating_until_at")
        }
    }

    private static func organization(_ text: String) throws(DirectoryError) -> OrganizationID {
        OrganizationID(unchecked: try name(text, "organization"))
    }

    private static func name(_ text: String, _ member: String) throws(DirectoryError) -> String {
        do throws(DirectoryError) { return try UserID(text).text } catch {
            guard case .invalid(_, let why) = error else { throw error }
            throw .invalid(field: member, why: why)
        }
    }
}

extension PortableRecord {
    fileprivate var isProrated: Bool {
        if case .override(let override) = self { override.isProrated } else { false }
    }
}

extension WallTime {
    fileprivate init(_ timestamp: Timestamp) { self.init(milliseconds: timestamp.milliseconds) }
}

extension ExportedRecord {
    init(_ record: PortableRecord, now: WallTime) {
        switch record {
        case .organization(let record, let subscription):
            self = .organization(Organization(record, subscription))
        case .user(let record): self = .user(User(record))
        case .override(let record): self = .override(LimitOverride(record))
        case .grant(let record): self = .grant(CreditGrant(exporting: record))
        case .key(let record):
            var info = APIKeyInfo(record, lastUsed: nil, now: now)
            // As it is kept, so that what is imported is the same.
            info.rotatingUntilAt = Timestamp(record.previousUntil)
            self = .key(
                ExportedKey(
                    key: info, digest: SecretText(record.current.digest.hexadecimal),
                    previousDigest: record.previous.map { SecretText($0.digest.hexadecimal) },
                    previousPepper: record.previous?.pepper))
        case .revocation(let record): self = .revocation(Revocation(record))
        }
    }
}

extension APIKeyDigest {
    fileprivate var hexadecimal: String {
        withBytes { bytes in
            bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        }
    }

    /// `nil` unless there are 64 digits.
    fileprivate init?(hexadecimal text: String) {
        let digits = Array(text.utf8)
        guard digits.count == 2 * Self.bytes else { return nil }
        var bytes: [UInt8] = []
        for place in stride(from: 0, to: digits.count, by: 2) {
            let pair = digits[place...(place + 1)]
            guard pair.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }),
                let byte = UInt8(String(decoding: pair, as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(byte)
        }
        guard let digest = bytes.withUnsafeBytes({ Self($0) }) else { return nil }
        self = digest
    }
}
