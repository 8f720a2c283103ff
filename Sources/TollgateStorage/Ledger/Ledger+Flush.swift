import TollgateCore

/// What a call of `flush` came to.
package enum FlushOutcome: Sendable {
    /// By shard: slots below this sequence number are durable. `isChanged`: more than before.
    case synced(through: [UInt64], isChanged: Bool)
    /// The journal cannot be synced: charges are refused, or not journaled, until a later call
    /// gives `synced` again.
    case refusing(LedgerFailure)
    /// The disk fails for good: the process is to end with 74. Nothing of this round is durable.
    case mustEnd(LedgerFailure)
}

extension Ledger {
    /// Between two tries to get out of trouble.
    private static let retryNanoseconds: UInt64 = 1_000_000_000

    /// One round of syncs: what was journaled before the call is durable when it gives `synced`.
    /// In trouble, it tries to get out of it, once a second. `inSegments`: durable there, and not
    /// in the group log alone.
    package func flush(now: Moment, inSegments: Bool = false) -> FlushOutcome {
        let live = running
        syncing.lock()
        defer { syncing.unlock() }
        if let trouble = withRecord({ $0.trouble }) {
            return leaveTrouble(live, trouble, now)
        }
        do {
            var isChanged: Bool?
            if !inSegments { isChanged = try logRound(live, now) }
            if isChanged == nil { isChanged = try syncRound(live) }
            return .synced(
                through: live.supply.syncedThrough, isChanged: isChanged ?? false)
        } catch {
            enterTrouble(live, error)
            return leaveTrouble(live, error, now)
        }
    }

    /// Syncs the segments with what was journaled; whether there was anything. Under `syncing`.
    private func syncRound(_ live: Live) throws(LedgerFailure) -> Bool {
        let round = live.supply.beginRound()
        guard round.changed != 0 else { return false }
        for segment in round.files {
            try onDisk { () throws(DiskError) in try segment.file.sync() }
        }
        let number = withRecord { record in
            record.round &+= 1
            return record.round
        }
        live.supply.endRound(round, number: number)
        try beginLogAnew()
        return true
    }

    /// Makes durable what was journaled before the call; throws in trouble, and where there was any
    /// since the epoch `begun`.
    func syncJournal(_ live: Live, since begun: UInt64) throws(LedgerFailure) {
        syncing.lock()
        defer { syncing.unlock() }
        if let trouble = withRecord({ $0.trouble }) { throw trouble }
        guard begun == epoch.load(ordering: .acquiring) else {
            throw LedgerFailure(
                .disk, options.path, "the journal was given up while closed periods were taken")
        }
        do { _ = try syncRound(live) } catch {
            enterTrouble(live, error)
            throw error
        }
    }

    /// For a snapshot that is to be renamed: the journal is whole on the disk up to `through`, and
    /// so is what is known of it.
    func syncJournal(through: [UInt64], epoch begun: UInt64) throws(LedgerFailure) {
        let live = running
        syncing.lock()
        defer { syncing.unlock() }
        guard begun == epoch.load(ordering: .acquiring) else {
            throw LedgerFailure(
                .disk, options.path, "the journal was given up while the snapshot was written")
        }
        do {
            _ = try syncRound(live)
            try onDisk { () throws(DiskError) in try live.supply.tableFile?.file.sync() }
        } catch {
            enterTrouble(live, error)
            throw error
        }
        let synced = live.supply.syncedThrough
        precondition(zip(synced, through).allSatisfy { $0 >= $1 })
    }

    // MARK: trouble

    /// No file of the journal is trusted any more: memory is the truth. Under `syncing`.
    func enterTrouble(_ live: Live, _ failure: LedgerFailure) {
        epoch.wrappingAdd(1, ordering: .acquiringAndReleasing)
        live.engine.setLedgerState(options.allowsUnjournaled ? .unjournaled : .refusing)
        live.supply.abandon()
        // What it says was told to callers: its file stays until the whole state stands elsewhere.
        setLog(nil)
        withRecord {
            $0.trouble = failure
            $0.retriedAt = nil
        }
    }

    /// Writes the whole state into new files, and serves again when that is durable. Under
    /// `syncing`.
    private func leaveTrouble(
        _ live: Live, _ trouble: LedgerFailure, _ now: Moment
    ) -> FlushOutcome {
        let isDue = withRecord { record in
            if let last = record.retriedAt, now.boot.nanoseconds >= last.nanoseconds,
                now.boot.nanoseconds &- last.nanoseconds < Self.retryNanoseconds
            {
                return false
            }
            record.retriedAt = now.boot
            return true
        }
        guard isDue else { return .refusing(trouble) }
        do {
            try onDisk { () throws(DiskError) in try live.supply.makeAhead() }
            // From here on until it serves nothing changes: the snapshot needs no journal.
            live.engine.setLedgerState(.refusing)
            live.supply.abandon()
            if options.allowsUnjournaled, live.engine.leaveUnjournaledBehind() {
                // A snapshot that was begun before would ask for numbers that nobody wrote.
                epoch.wrappingAdd(1, ordering: .acquiringAndReleasing)
            }
            let writer = snapshotWriter(now)
            while try writer.step() {}
            live.supply.noteDurable(writer.shards.map(\.end))
            try onDisk { () throws(DiskError) in try live.supply.tend() }
        } catch {
            live.engine.setLedgerState(options.allowsUnjournaled ? .unjournaled : .refusing)
            withRecord { $0.trouble = error }
            return error.isRefusal ? .refusing(error) : .mustEnd(error)
        }
        withRecord { $0.trouble = nil }
        live.engine.setLedgerState(.serving)
        return .synced(through: live.supply.syncedThrough, isChanged: true)
    }
}
