import COpenSSL
import TollgateCore
import TollgateStorage
import TollgateWire

/// Units granted beyond quotas.
extension CallHandlers {
    private static let priorityDefault: Int64 = 100

    static func grantCredits(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let organization = try tenant.record()
        let quota: LimitName = try arguments.id("quota")
        let meter = try context.creditMeter(
            of: quota, plan: try tenant.subscriptionIfAny()?.plan.text)
        let id: String
        if let given = arguments.optionalText("id") { id = given } else { id = try randomID() }
        let asked = GrantRecord(
            organization: tenant.organization, id: id, quota: quota,
            meter: meter, units: UInt64(clamping: arguments.integer("units") ?? 0),
            priority: UInt8(clamping: arguments.integer("priority") ?? priorityDefault),
            effective: arguments.time("effective_at") ?? context.now,
            expires: arguments.time("expires_at"), note: arguments.optionalText("note") ?? "",
            created: context.now)
        let (record, isNew) = try tenant.makeGrant(
            asked, isEffectiveAsked: arguments.has("effective_at"), by: context.change)
        if isNew {
            if let expires = record.expires, expires <= context.now {
                throw .invalid(field: "expires_at", why: "is in the past")
            }
            try tenant.checkRoom(for: quota, context.engine, context.now, besides: record.id)
            try context.settleOld(quota, of: organization, in: tenant)
            context.publications.append(
                .grant(GrantEntry(record, isPersonal: organization.isPersonal)))
        }
        return .object([
            "credit": CreditGrant(record, of: organization, context.engine, .present).json
        ])
    }

    static func voidCredits(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let organization = try tenant.record()
        let record = try tenant.voidGrant(try arguments.text("id"), by: context.change)
        if record.burnt == nil {
            context.publications.append(
                .grant(GrantEntry(record, isPersonal: organization.isPersonal)))
        }
        return .object([
            "credit": CreditGrant(record, of: organization, context.engine, .present).json
        ])
    }

    static func listCredits(
        _ arguments: CallArguments, _ context: inout CallContext
    ) throws(DirectoryError) -> JSONValue {
        let tenant = context.acting(for: try arguments.organization)
        let (organization, engine) = (try tenant.record(), context.engine)
        return try arguments.list({ after, limit throws(DirectoryError) in
            try tenant.grants(after: after, limit: limit)
        }) { CreditGrant($0, of: organization, engine, .present) }
    }

    /// 16 random bytes in hexadecimal.
    private static func randomID() throws(DirectoryError) -> String {
        var bytes = [UInt8](repeating: 0, count: 16)
        guard tg_random(&bytes, bytes.count) == 1 else {
            throw .conflict("no random bytes to be had; ask again, or give it an id")
        }
        return bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

extension CallContext {
    /// What a quota with credits counts: of the organization's plan, where that has a quota of
    /// the name, else of any.
    func creditMeter(of quota: LimitName, plan: String?) throws(DirectoryError) -> String {
        func facts(_ plan: String) -> [LimitFact] {
            (policy.limitFacts(of: plan, at: now) ?? []).filter {
                $0.name == quota.text && $0.isQuota && $0.scope == .organization
            }
        }
        var found = plan.map(facts) ?? []
        if found.isEmpty { found = policy.planNames.flatMap(facts) }
        guard let fact = found.first(where: \.hasCredits) else {
            throw .invalid(
                field: "quota",
                why: found.isEmpty
                    ? "no plan of the policy has a quota of organizations of that name"
                    : "takes no credits; credits: true in the policy lets it")
        }
        return fact.meter
    }

    /// Where the ledger remembers many, those that have been over for a while give place: what
    /// burnt of them is kept in the directory.
    fileprivate mutating func settleOld(
        _ quota: LimitName, of organization: OrganizationRecord, in tenant: TenantDirectory
    ) throws(DirectoryError) {
        let records = try tenant.liveGrants(of: quota)
        // That which is made now is among them.
        var excess = records.count - (Engine.grantsMax - 2)
        guard excess > 0 else { return }
        let burnt = engine.burnt(of: organization, quota)
        let longAgo = WallTime(milliseconds: now.milliseconds - 60_000)
        for record in records where excess > 0 {
            // One that nobody has used yet, the ledger may not know of.
            let used = burnt[record.id] ?? 0
            let isOver =
                record.voided.map { $0 < longAgo } ?? record.expires.map { $0 < longAgo } ?? false
            guard isOver || used >= record.units else { continue }
            try tenant.settleGrant(record.id, burnt: used)
            publications.append(.grantSettled(record, isPersonal: organization.isPersonal))
            excess -= 1
        }
        guard excess <= 2 else {
            throw .conflict("many grants ended within the last minute: ask again in a minute")
        }
    }
}

extension TenantDirectory {
    /// There is room for one more beyond a quota that can be used, now or later. `besides`: the
    /// one that it is for, if it stands there already.
    func checkRoom(
        for quota: LimitName, _ engine: Engine, _ now: WallTime, besides id: String? = nil
    ) throws(DirectoryError) {
        let organization = try record()
        let burnt = engine.burnt(of: organization, quota)
        let active = try liveGrants(of: quota).filter { record in
            record.id != id && record.voided == nil && record.expires.map { $0 > now } ?? true
                && (burnt[record.id] ?? 0) < record.units
        }
        guard active.count < Engine.activeGrantsMax else {
            throw .conflict(
                "there are \(Engine.activeGrantsMax) grants beyond this quota that can be used, now"
                    + " or later, and that is the most: void one, or wait until one is used up")
        }
    }
}

extension Engine {
    /// What is burnt of each grant that the ledger knows, by id.
    func burnt(of organization: OrganizationRecord, _ quota: LimitName) -> [String: UInt64] {
        let uses = grantUses(
            of: organization.id.text, isPersonal: organization.isPersonal, quota: quota.text,
            at: .present)
        return Dictionary(uses.map { ($0.id, $0.burnt) }) { first, _ in first }
    }

    /// Where there is no room, because the journal took nothing when others were to be forgotten,
    /// it can be used from the next start on.
    func putGrant(_ entry: GrantEntry) { _ = put(entry, at: .present) }

    /// Where the journal takes nothing it is forgotten at a later start.
    func forgetSettled(_ record: GrantRecord, isPersonal: Bool) {
        journaled {
            forgetGrant(
                record.id, quota: record.quota.text, organization: record.organization.text,
                isPersonal: isPersonal, at: .present)
        }
    }
}

extension GrantEntry {
    init(_ record: GrantRecord, isPersonal: Bool) {
        self.init(
            organization: record.organization.text, isPersonal: isPersonal, id: record.id,
            quota: record.quota.text, meter: record.meter, units: record.units,
            priority: record.priority, effective: record.effective, expires: record.expires,
            created: record.created, isVoided: record.voided != nil)
    }
}

extension CreditGrant {
    /// Without what the ledger says.
    init(exporting record: GrantRecord) {
        self.init(
            organization: record.organization.text, id: record.id, quota: record.quota.text,
            meter: record.meter, units: record.units, burnt: record.burnt, remaining: nil,
            priority: UInt32(record.priority), state: nil,
            effectiveAt: Timestamp(record.effective), expiresAt: Timestamp(record.expires),
            note: record.note, createdAt: Timestamp(record.created),
            voidedAt: Timestamp(record.voided))
    }

    /// With what is burnt of it now, and what it is by billing time.
    init(
        _ record: GrantRecord, of organization: OrganizationRecord, _ engine: Engine, _ now: Moment
    ) {
        self.init(exporting: record)
        let known = engine.burnt(of: organization, record.quota)
        let burnt = record.burnt ?? known[record.id] ?? 0
        let time = engine.billingTime(at: now)
        let state: State
        if burnt >= record.units {
            state = .exhausted
        } else if record.voided != nil {
            state = .voided
        } else if let expires = record.expires, expires <= time {
            state = .expired
        } else {
            state = record.effective > time ? .pending : .active
        }
        self.burnt = burnt
        self.state = state
        remaining = state == .active || state == .pending ? record.units - burnt : 0
    }
}
