import TollgateWire

/// Who is nearest to the end of a quota, by what the shards count anyway: nothing is kept for it
/// while requests are decided.
extension Engine {
    /// Looks at every row of every tenant. The rows are copied a slice at a time, as for a
    /// snapshot, so a request waits for a few microseconds at most; they are read, and their limits
    /// made out, under no lock. Between two slices `rest` is called.
    ///
    /// What is charged meanwhile may show or not. Limits are those that USAGE tells of: by the plan
    /// that the directory has for the organization, else that it was last decided with, with
    /// overrides, carried units and credits. Any thread; linear in all rows.
    package func nearestLimits(
        _ policy: PolicyImage, most: Int, at now: Moment, rest: () -> Void
    ) -> NearestLimits {
        let walk = NearestWalk(self, policy, most: most, billing: read(now).period)
        for shard in 0..<Self.shardCount { walk.look(shard: shard, rest) }
        return walk.found
    }
}

/// One look at all rows. Of the thread that makes it.
private final class NearestWalk {
    /// A quota of a plan, and where rows of one layout count it.
    private struct Counted {
        var offset: Int
        var step: ChargeStep
    }

    private struct Form: Hashable {
        var layout: UInt32
        var plan: Int
        var isUser: Bool
    }

    private let engine: Engine
    private let policy: PolicyImage
    private let billing: WallTime
    private let slice: UnsafeMutableRawBufferPointer
    /// Where rows of a layout count quotas.
    private var cells: [UInt32: [Int]] = [:]
    private var counted: [Form: [Counted]] = [:]
    private(set) var found: NearestLimits

    init(_ engine: Engine, _ policy: PolicyImage, most: Int, billing: WallTime) {
        self.engine = engine
        self.policy = policy
        self.billing = billing
        found = NearestLimits(most: most)
        slice = .allocate(byteCount: 2 * Engine.sliceBytesMin, alignment: RowArena.unitBytes)
    }

    deinit { slice.deallocate() }

    func look(shard: Int, _ rest: () -> Void) {
        var cursor = SliceCursor()
        var isEnd = false
        while !isEnd {
            let copied = engine.copyRows(shard: shard, cursor: &cursor, into: slice)
            isEnd = copied.isEnd
            look(UnsafeMutableRawBufferPointer(rebasing: slice[..<copied.bytes]), shard)
            rest()
        }
    }

    /// Rows as they stand in memory, one after the other.
    private func look(_ rows: UnsafeMutableRawBufferPointer, _ shard: Int) {
        guard let base = rows.baseAddress else { return }
        var at = 0
        while at < rows.count {
            let row = Row(base: base + at)
            at += row.units * RowArena.unitBytes
            switch RowKind(rawValue: row.kind) {
            case .user, .organization, .personalOrganization:
                if isUsed(row) { look(row, shard) }
            default: break
            }
        }
    }

    private func isOpen(_ cell: QuotaCell) -> Bool {
        cell.occupied > 0 && !cell.isClosed && !cell.isOver(billing)
    }

    private func isUsed(_ row: Row) -> Bool {
        let offsets: [Int]
        if let known = cells[row.layout] {
            offsets = known
        } else {
            let slots = engine.layouts.layout(row.layout).slots
            offsets = slots.filter { $0.kind == .quota }.map(\.headOffset)
            cells[row.layout] = offsets
        }
        return offsets.contains { isOpen(row.quota($0).pointee) }
    }

    private func look(_ row: Row, _ shard: Int) {
        let isUser = row.kind == RowKind.user.rawValue
        guard let subject = NearSubject(row, engine) else { return }
        let terms = engine.directory.terms(of: subject, policy, at: billing)
        var plan = terms?.plan ?? -1
        if plan < 0 { plan = policy.compiledPlans.firstIndex { $0.tag == row.planTag } ?? -1 }
        guard plan >= 0 else {
            found.unknownPlans += 1
            return
        }
        var overrides = OverrideSet()
        terms?.add(&overrides, policy, plan: plan, at: billing)
        for place in places(Form(layout: row.layout, plan: plan, isUser: isUser)) {
            let cell = row.quota(place.offset).pointee
            guard isOpen(cell) else { continue }
            var step = overrides.applied(to: place.step)
            guard step.limit != QuotaDefinition.unlimited else { continue }
            if step.flags.contains(.rollover) { step.raise(cell.carried) }
            if step.flags.contains(.credits) {
                step.raise(credits(of: subject, step, cell, shard))
            }
            found.counters += 1
            guard found.mayTake(cell.occupied, of: step.limit) else { continue }
            found.add(limit(step, cell, subject, plan))
        }
    }

    /// The plan's quotas that rows of a form count.
    private func places(_ form: Form) -> [Counted] {
        if let known = counted[form] { return known }
        let compiled = policy.compiledPlans[form.plan]
        let own = policy.layouts[
            Int(form.isUser ? compiled.userLayout : compiled.organizationLayout)]
        let layout = engine.layouts.layout(form.layout)
        var made: [Counted] = []
        for index in Int(compiled.all.start)..<Int(compiled.all.end) {
            let step = policy.steps[index]
            guard step.isQuota, (step.scope == .user) == form.isUser,
                let slot = layout.slot(own.slots[Int(step.slot)].identity)
            else { continue }
            made.append(Counted(offset: slot.headOffset, step: step))
        }
        counted[form] = made
        return made
    }

    /// What credits add to an organization's quota: what burnt in the period, and what is left.
    private func credits(
        of subject: NearSubject, _ step: ChargeStep, _ cell: QuotaCell, _ index: Int
    ) -> UInt64 {
        guard engine.creditAccounts.load(ordering: .relaxed) > 0 else { return 0 }
        let shard = engine.shard(index)
        let terms = policy.quotaTerms[Int(step.limitIndex)]
        return policy.limits[Int(step.limitIndex)].name.withUnsafeBytes { name in
            let key = subject.tenant.creditsKey(name, engine.hash)
            shard.lock.pointee.lock()
            defer { shard.lock.pointee.unlock() }
            let handle = shard.table.pointee.find(key)
            guard handle != .none else { return 0 }
            let account = CreditAccount(shard.table.pointee.row(handle))
            return account.burnt(terms.creditTag, end: cell.endSeconds)
                .addingClamped(account.left(terms.creditMeter, at: billing.milliseconds))
        }
    }

    private func limit(
        _ step: ChargeStep, _ cell: QuotaCell, _ subject: NearSubject, _ plan: Int
    ) -> NearLimit {
        let info = policy.limits[Int(step.limitIndex)]
        let (end, isNever) = cell.endSeconds.multipliedReportingOverflow(by: 1_000)
        return NearLimit(
            organization: String(decoding: subject.organization, as: UTF8.self),
            isPersonal: subject.isPersonal,
            user: subject.user.count > 0 ? String(decoding: subject.user, as: UTF8.self) : nil,
            plan: policy.plans.withName(plan) { String(decoding: $0, as: UTF8.self) },
            quota: String(decoding: info.name, as: UTF8.self),
            meter: String(decoding: info.meter, as: UTF8.self),
            period: policy.calendars[Int(step.form)].period, used: cell.used, held: cell.held,
            limit: step.limit, endsAt: isNever ? nil : WallTime(milliseconds: end),
            isShare: step.flags.contains(.member), isShadow: step.flags.contains(.shadow))
    }
}

/// Whose row it is. Borrows the row's memory.
struct NearSubject {
    let organization: UnsafeRawBufferPointer
    /// Empty: the organization itself.
    let user: UnsafeRawBufferPointer
    let isPersonal: Bool
    let tenant: TenantHash

    /// `nil` where the row names no organization.
    init?(_ row: Row, _ engine: Engine) {
        switch RowKind(rawValue: row.kind) {
        case .user:
            organization = row.ownerName
            user = row.id
            let shared = TenantHash(organization, isPersonal: false, engine.hash)
            isPersonal = shared.fingerprint != row.owner
            tenant =
                isPersonal
                ? TenantHash(organization, isPersonal: true, engine.hash) : shared
        case .organization, .personalOrganization:
            organization = row.id
            user = UnsafeRawBufferPointer(start: nil, count: 0)
            isPersonal = row.kind == RowKind.personalOrganization.rawValue
            tenant = TenantHash(organization, isPersonal: isPersonal, engine.hash)
        default: return nil
        }
        guard organization.count > 0 else { return nil }
    }
}

/// What the directory says of whose row it is.
struct NearTerms {
    /// -1: the organization has no subscription, or to a plan that the policy lacks.
    var plan: Int
    var ofUser: OverrideList?
    var ofOrganization: OverrideList?

    /// Adds the numbers that hold: a user's first, as where requests are decided.
    func add(_ set: inout OverrideSet, _ policy: PolicyImage, plan: Int, at now: WallTime) {
        var until = Int64.max
        if let ofUser {
            policy.add(ofUser, ofUser: true, plan: plan, at: now, to: &set, until: &until)
        }
        if let ofOrganization {
            policy.add(ofOrganization, ofUser: false, plan: plan, at: now, to: &set, until: &until)
        }
    }
}

extension DirectoryImage {
    /// Under the lock of the organization's shard here, so under no other; `nil` where nobody is in
    /// the directory.
    func terms(of subject: NearSubject, _ policy: PolicyImage, at now: WallTime) -> NearTerms? {
        guard !isEmpty else { return nil }
        let userKey = subject.tenant.userKey(subject.user, hash)
        let organizationKey = subject.tenant.organizationKey(subject.organization)
        let shard = tenantShard(subject.tenant.hash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        var terms = NearTerms(plan: -1)
        if subject.user.count > 0 {
            let user = shard.table.pointee.find(userKey)
            if user != .none {
                let record = shard.table.pointee.row(user).payload(UserRow.self).pointee
                terms.ofUser = withObject(record.overrides, OverrideList.self) { $0 }
            }
        }
        let found = shard.table.pointee.find(organizationKey)
        guard found != .none else { return terms }
        let row = shard.table.pointee.row(found)
        let record = row.payload(OrganizationRow.self).pointee
        terms.ofOrganization = withObject(record.overrides, OverrideList.self) { $0 }
        if record.hasSubscription {
            terms.plan = policy.plans.find(OrganizationRow.plan(row, at: now).name) ?? -1
        }
        return terms
    }
}
