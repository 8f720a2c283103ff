import TollgateWire

/// Resets of an organization's quotas: all of them, over crashes too.
///
/// What fits into one transaction of the journal is one. More is several, between two items that
/// say that the reset begins and that it is done; meanwhile the organization's row says so as well,
/// in snapshots too. Whoever finds it begun ends it: the next call, upkeep, or recovery.
extension Engine {
    /// Begins the quotas of the organization and of its users anew: what they used so far is a
    /// closed part of the period. False, and to be asked again, when the journal had no room for
    /// all of it.
    package func resetQuotas(
        of organization: String, isPersonal: Bool, at now: Moment
    ) -> Bool {
        let (state, now) = (self.state, Moment(boot: now.boot, wall: read(now).period))
        return DirectoryImage.withBytes(organization) { id in
            let tenant = TenantHash(id, isPersonal: isPersonal, hash)
            let shard = tenantShard(tenant.hash)
            shard.lock.pointee.lock()
            defer { shard.lock.pointee.unlock() }
            return reset(tenant, id, in: shard, state, now)
        }
    }

    /// Under the shard's lock; the wall clock of `now` is billing time.
    private func reset(
        _ tenant: TenantHash, _ id: UnsafeRawBufferPointer, in shard: Shard, _ state: LedgerState,
        _ now: Moment
    ) -> Bool {
        guard let ledger = shard.ledger, state != .refusing else { return shard.ledger == nil }
        let found = shard.table.pointee.find(tenant.organizationKey(id))
        let isBegun = found != .none && shard.table.pointee.row(found).isResetting
        if state == .serving {
            var slots = 0
            forEachUsed(of: tenant, id, in: shard) { row, _, _, credits in
                slots += ShardLedger.closeSlots(of: row, credits)
            }
            guard slots > 0 || isBegun else { return true }
            guard slots <= ShardJournal.transactionSlotsMax, !isBegun else {
                return resetInParts(tenant, id, found, in: shard, now)
            }
            guard ledger.pointee.makeRoom(slots, now: now) else { return false }
        }
        forEachUsed(of: tenant, id, in: shard) { row, counter, cell, credits in
            if state == .off {
                cell.pointee.used = 0
                ledger.pointee.unburn(credits, cell.pointee, isJournaled: false)
            } else {
                // What is over is closed as a whole: the next period may take over what it left.
                ledger.pointee.close(
                    row, counter, cell, isReset: !cell.pointee.isOver(now.wall),
                    isJournaled: state == .serving, credits)
            }
        }
        if state == .serving { ledger.pointee.journal.commit() }
        if isBegun { shard.table.pointee.row(found).isResetting = false }
        return true
    }

    /// In as many transactions as it takes.
    private func resetInParts(
        _ tenant: TenantHash, _ id: UnsafeRawBufferPointer, _ found: RowHandle, in shard: Shard,
        _ now: Moment
    ) -> Bool {
        guard let ledger = shard.ledger,
            let row = organizationRow(tenant, id, found, in: shard),
            row.isResetting || ledger.pointee.noteReset(of: row, isDone: false, now: now)
        else { return false }
        var isDone = true
        forEachUsed(of: tenant, id, in: shard) { row, counter, cell, credits in
            isDone =
                isDone
                && ledger.pointee.close(
                    row, counter, cell, isReset: !cell.pointee.isOver(now.wall), .serving,
                    now: now, credits)
        }
        return isDone && ledger.pointee.noteReset(of: row, isDone: true, now: now)
    }

    /// The row that says whether a reset has begun, made where the organization has no counters.
    private func organizationRow(
        _ tenant: TenantHash, _ id: UnsafeRawBufferPointer, _ found: RowHandle, in shard: Shard
    ) -> Row? {
        if found != .none { return shard.table.pointee.row(found) }
        guard let layout = layouts.number(of: RowLayout([])) else { return nil }
        let made = shard.table.pointee.insert(
            tenant.organizationKey(id), layout: layout, layoutBytes: 0)
        guard made != .none else { return nil }
        organizations.wrappingAdd(1, ordering: .relaxed)
        return shard.table.pointee.row(made)
    }

    /// Ends a reset that has begun; false when the journal had no room. Under the shard's lock.
    func endReset(
        of row: Row, in shard: Shard, _ state: LedgerState, _ now: Moment
    ) -> Bool {
        let isPersonal = row.kind == RowKind.personalOrganization.rawValue
        return reset(
            TenantHash(row.id, isPersonal: isPersonal, hash), row.id, in: shard, state, now)
    }

    /// The same where nothing is journaled: recovery writes a snapshot of all next.
    func endReset(restoring row: Row, in shard: Shard, at billing: WallTime) {
        let isPersonal = row.kind == RowKind.personalOrganization.rawValue
        let tenant = TenantHash(row.id, isPersonal: isPersonal, hash)
        forEachUsed(of: tenant, row.id, in: shard) { row, counter, cell, credits in
            shard.ledger?.pointee.close(
                row, counter, cell, isReset: !cell.pointee.isOver(billing), isJournaled: false,
                credits)
        }
        row.isResetting = false
    }

    /// Every quota of the organization and its users of which something is used and not closed.
    private func forEachUsed(
        of tenant: TenantHash, _ id: UnsafeRawBufferPointer, in shard: Shard,
        _ body: (
            Row, UInt16, UnsafeMutablePointer<QuotaCell>, (CreditAccount, UInt64)?
        ) -> Void
    ) {
        shard.table.pointee.forEach { row in
            switch RowKind(rawValue: row.kind) {
            case .user: guard tenant.owns(row, hash) else { return }
            case .organization, .personalOrganization:
                guard row.matches(tenant.organizationKey(id)) else { return }
            default: return
            }
            let counters = layouts.counters(row.layout)
            for (index, slot) in layouts.layout(row.layout).slots.enumerated()
            where slot.kind == .quota {
                let cell = row.quota(slot.headOffset)
                guard cell.pointee.used > 0, !cell.pointee.isClosed else { continue }
                body(row, counters[index], cell, credits(of: slot, row, in: shard))
            }
        }
    }
}
