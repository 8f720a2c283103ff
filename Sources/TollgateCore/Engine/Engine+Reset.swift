import TollgateWire

/// Resets of an organization's quotas: all of them, over crashes too.
///
/// What fits into one transaction of the journal is one. More is several, between two items that
/// say that the reset begins and that it is done; meanwhile the organization's row says so as well,
/// in snapshots too. Whoever finds it begun ends it: the next call, upkeep, or recovery.
///
/// A reset with an id is done once, however often it is asked for, also over crashes: a row of its
/// own, which is journaled where the reset begins, says so until it is forgotten.
extension Engine {
    /// Begins the quotas of the organization and of its users anew: what they used so far is a
    /// closed part of the period. False, and to be asked again, when the journal had no room for
    /// all of it. `id`: of a reset that is done once.
    package func resetQuotas(
        of organization: String, isPersonal: Bool, once id: ResetID? = nil, at now: Moment
    ) -> Bool {
        let (once, now) = (id, Moment(boot: now.boot, wall: read(now).period))
        return DirectoryImage.withBytes(organization) { id in
            let tenant = TenantHash(id, isPersonal: isPersonal, hash)
            let shard = tenantShard(tenant.hash)
            shard.lock.pointee.lock()
            defer { shard.lock.pointee.unlock() }
            let state = self.state
            guard let once, state != .off else { return reset(tenant, id, in: shard, state, now) }
            return reset(once, tenant, id, in: shard, state, now)
        }
    }

    /// A reset that is done once, under the shard's lock.
    private func reset(
        _ once: ResetID, _ tenant: TenantHash, _ id: UnsafeRawBufferPointer, in shard: Shard,
        _ state: LedgerState, _ now: Moment
    ) -> Bool {
        withUnsafeBytes(of: once) { bytes in
            let key = tenant.resetKey(bytes, hash)
            let found = shard.table.pointee.find(tenant.organizationKey(id))
            if shard.table.pointee.find(key) != .none {
                guard found != .none, shard.table.pointee.row(found).isResetting else {
                    return true
                }
                return reset(tenant, id, in: shard, state, now)
            }
            guard let layout = layouts.number(of: RowLayout([])) else { return false }
            let mark = shard.table.pointee.insert(
                key, layout: layout, layoutBytes: 0, ownerName: id)
            guard mark != .none else { return false }
            let row = shard.table.pointee.row(mark)
            let isDone = reset(tenant, id, in: shard, state, now, mark: row)
            // One that has begun and has no room for its end is ended by whoever comes next.
            if !isDone, !row.isDefined { shard.table.pointee.remove(mark) }
            return isDone
        }
    }

    /// Under the shard's lock; the wall clock of `now` is billing time. `mark`: a row that the
    /// journal is to name where it begins.
    func reset(
        _ tenant: TenantHash, _ id: UnsafeRawBufferPointer, in shard: Shard, _ state: LedgerState,
        _ now: Moment, mark: Row? = nil
    ) -> Bool {
        guard let ledger = shard.ledger, state != .refusing else { return shard.ledger == nil }
        let found = shard.table.pointee.find(tenant.organizationKey(id))
        let isBegun = found != .none && shard.table.pointee.row(found).isResetting
        if state == .serving {
            var slots = mark == nil ? 0 : ShardLedger.rowSlotsMax
            forEachUsed(of: tenant, id, in: shard) { row, _, _, credits in
                slots += ShardLedger.closeSlots(of: row, credits)
            }
            guard slots > 0 || isBegun else { return true }
            guard slots <= ShardJournal.transactionSlotsMax, !isBegun else {
                return resetInParts(tenant, id, found, in: shard, now, mark: mark)
            }
            guard ledger.pointee.makeRoom(slots, now: now) else { return false }
            if let mark { ledger.pointee.define(mark) }
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
        noteClosed(of: tenant, in: shard, ledger)
        if isBegun { shard.table.pointee.row(found).isResetting = false }
        return true
    }

    /// In as many transactions as it takes.
    private func resetInParts(
        _ tenant: TenantHash, _ id: UnsafeRawBufferPointer, _ found: RowHandle, in shard: Shard,
        _ now: Moment, mark: Row?
    ) -> Bool {
        guard let ledger = shard.ledger,
            let row = organizationRow(tenant, id, found, in: shard),
            (row.isResetting && mark == nil)
                || ledger.pointee.noteReset(of: row, isDone: false, now: now, mark: mark)
        else { return false }
        noteClosed(of: tenant, in: shard, ledger)
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

    /// Nobody will ask for the reset any more.
    package func forgetReset(_ id: ResetID, of organization: String, isPersonal: Bool) {
        DirectoryImage.withBytes(organization) { name in
            let tenant = TenantHash(name, isPersonal: isPersonal, hash)
            let shard = tenantShard(tenant.hash)
            shard.lock.pointee.lock()
            defer { shard.lock.pointee.unlock() }
            let mark = withUnsafeBytes(of: id) {
                shard.table.pointee.find(tenant.resetKey($0, hash))
            }
            if mark != .none { shard.table.pointee.remove(mark) }
        }
    }

    /// A start has found the resets that are to be done, or were done lately: nobody will ask for
    /// others any more. Looks at every row.
    package func keepResets(_ kept: Set<ResetID>) {
        for index in 0..<Self.shardCount {
            let shard = shard(index)
            shard.lock.pointee.lock()
            _ = shard.table.pointee.removeAll { row in
                row.kind == RowKind.reset.rawValue
                    && (row.idBytes != 16 || !kept.contains(ResetID(row.id)))
            }
            shard.lock.pointee.unlock()
        }
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

extension TenantHash {
    /// The row that says that a reset has begun.
    func resetKey(_ id: UnsafeRawBufferPointer, _ keyed: KeyedHash) -> RowKey {
        RowKey(kind: .reset, owner: fingerprint, id: id, hash: keyed.hash(id, tweak: hash))
    }
}
