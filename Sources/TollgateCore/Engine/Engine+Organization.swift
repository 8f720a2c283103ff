import TollgateWire

/// What somebody of an organization has used of one limit.
package struct UsedLimit: Sendable, Equatable {
    /// `nil`: the organization itself.
    package var user: String?
    package var fact: LimitFact
    package var used: UInt64
    /// When the count begins anew: of a quota its period's end, of a window when it is empty.
    package var resetAt: WallTime
}

/// What an operator does with all counters of an organization. Looks at every row of its shard,
/// under one lock: some milliseconds with a million users, for one in 64 of the tenants.
extension Engine {
    /// Forgets the counters of an organization and of its users, and what else its ledger holds:
    /// its id may be given to somebody else. What they used stands among the closed periods then.
    /// False, and to be asked again, when the journal had no room for all of it.
    package func forget(organization: String, isPersonal: Bool, at now: Moment) -> Bool {
        let now = Moment(boot: now.boot, wall: read(now).period)
        return DirectoryImage.withBytes(organization) { id in
            let tenant = TenantHash(id, isPersonal: isPersonal, hash)
            let shard = tenantShard(tenant.hash)
            shard.lock.pointee.lock()
            defer { shard.lock.pointee.unlock() }
            let state = self.state
            // The end of trouble begins: what a snapshot has by now would be in no journal.
            if state == .refusing { return false }
            // Under the same lock: what is charged next is charged to rows of its own.
            guard reset(tenant, id, in: shard, state, now) else { return false }
            if state == .serving, let ledger = shard.ledger {
                guard ledger.pointee.forget(id, isPersonal: isPersonal, now: now) else {
                    return false
                }
            }
            removeRows(of: tenant, id, in: shard)
            return true
        }
    }

    /// Under the shard's lock.
    func removeRows(of tenant: TenantHash, _ id: UnsafeRawBufferPointer, in shard: Shard) {
        _ = shard.table.pointee.removeAll { row in
            switch RowKind(rawValue: row.kind) {
            case .idempotency where tenant.owns(row, hash): detach(row, in: shard)
            case .reservation where tenant.owns(Reservation(row)): detach(row, in: shard)
            case .user where tenant.owns(row, hash):
                users.wrappingSubtract(1, ordering: .relaxed)
            case .reset where tenant.owns(row, hash): break
            case .credential where tenant.owns(row, hash):
                credentials.wrappingSubtract(1, ordering: .relaxed)
            case .credits where tenant.owns(row, hash):
                creditAccounts.wrappingSubtract(1, ordering: .relaxed)
            case .organization, .personalOrganization:
                guard row.matches(tenant.organizationKey(id)) else { return false }
                organizations.wrappingSubtract(1, ordering: .relaxed)
            default: return false
            }
            return true
        }
    }

    /// What was used of each limit that a plan has: by the organization, and by each of its users
    /// that is counted. In no order.
    package func used(
        by organization: String, isPersonal: Bool, plan: String, _ policy: PolicyImage,
        at now: Moment
    ) -> [UsedLimit] {
        guard let index = policy.planIndex(plan) else { return [] }
        let reading = read(now)
        let all = policy.compiledPlans[index].all
        var found: [UsedLimit] = []
        forEachRow(of: organization, isPersonal: isPersonal) { row, _ in
            let isUser = row.kind == RowKind.user.rawValue
            for place in Int(all.start)..<Int(all.end) {
                let step = policy.steps[place]
                guard (step.scope == .user) == isUser, !step.flags.contains(.member)
                else { continue }
                let fact = policy.fact(step, at: reading.period)
                let layout = policy.layouts[
                    Int(
                        isUser
                            ? policy.compiledPlans[index].userLayout
                            : policy.compiledPlans[index].organizationLayout)]
                guard let slot = layouts.layout(row.layout).slot(
                    layout.slots[Int(step.slot)].identity)
                else { continue }
                guard let (used, reset) = Self.used(row, slot, reading, now) else { continue }
                found.append(
                    UsedLimit(
                        user: isUser ? String(decoding: row.id, as: UTF8.self) : nil, fact: fact,
                        used: used, resetAt: reset))
            }
        }
        return found
    }

    /// `nil` when nothing is counted now.
    private static func used(
        _ row: Row, _ slot: CounterSlot, _ reading: BillingClock.Reading, _ now: Moment
    ) -> (used: UInt64, reset: WallTime)? {
        guard let shape = slot.shape else {
            let cell = row.quota(slot.headOffset).pointee
            guard cell.used > 0, !cell.isOver(reading.period) else { return nil }
            let (end, never) = cell.endSeconds.multipliedReportingOverflow(by: 1_000)
            return (cell.used, WallTime(milliseconds: never ? .max : end))
        }
        let (head, ring) = (row.head(slot.headOffset), row.counters + slot.ringOffset)
        Window.advance(head, ring, shape, now: now.boot)
        let used = Window.used(head, ring, shape, now: now.boot)
        guard used > 0 else { return nil }
        let left = Window.resetMilliseconds(head, ring, shape, now: now.boot)
        return (used, WallTime(milliseconds: now.wall.milliseconds + Int64(clamping: left)))
    }

    private func forEachRow(
        of organization: String, isPersonal: Bool, _ body: (Row, Shard) -> Void
    ) {
        DirectoryImage.withBytes(organization) { id in
            let tenant = TenantHash(id, isPersonal: isPersonal, hash)
            let shard = tenantShard(tenant.hash)
            shard.lock.pointee.lock()
            defer { shard.lock.pointee.unlock() }
            shard.table.pointee.forEach { row in
                switch RowKind(rawValue: row.kind) {
                case .user: if tenant.owns(row, hash) { body(row, shard) }
                case .organization, .personalOrganization:
                    if row.matches(tenant.organizationKey(id)) { body(row, shard) }
                default: break
                }
            }
        }
    }
}
