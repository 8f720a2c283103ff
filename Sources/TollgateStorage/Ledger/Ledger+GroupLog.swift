import TollgateCore

/// `durability: always`: most rounds of syncs write to the group log alone (`GroupLog`). Once a
/// second, and where that does not do, the segments are synced, and the log is begun anew.
///
/// There may be none at any time: before it was made, or as long as there is no room for it. Then
/// every round syncs the segments, which is slower and no less durable.
extension Ledger {
    /// How long what was journaled may stand in the group log alone.
    private static let logNanoseconds: UInt64 = 1_000_000_000

    /// A round that went to the group log; whether there was anything. `nil`: the segments are to
    /// be synced. Under `syncing`.
    func logRound(_ live: Live, _ now: Moment) throws(LedgerFailure) -> Bool? {
        guard let log = group.log, !isDue(now), let through = live.supply.gather(into: log) else {
            group.syncedAt = now.boot
            return nil
        }
        do throws(DiskError) { try log.commit() } catch {
            try letGoOfLog(after: error)
            return nil
        }
        let isChanged = live.supply.noteLogged(through)
        if isChanged { withRecord { $0.loggedRounds &+= 1 } }
        return isChanged
    }

    private func isDue(_ now: Moment) -> Bool {
        guard let last = group.syncedAt, last.nanoseconds <= now.boot.nanoseconds else {
            return true
        }
        return now.boot.nanoseconds &- last.nanoseconds >= Self.logNanoseconds
    }

    /// The segments are synced. Under `syncing`.
    func beginLogAnew() throws(LedgerFailure) {
        guard let log = group.log else { return }
        do throws(DiskError) { try log.beginAnew() } catch { try letGoOfLog(after: error) }
    }

    /// The segments say all that it says, and this round's are synced in its stead: a log that
    /// cannot be written costs speed alone, and its file stays until another takes its name. After
    /// a sync that failed what the device has of other files is in doubt, too: that is trouble.
    private func letGoOfLog(after error: DiskError) throws(LedgerFailure) {
        setLog(nil)
        guard error.call == .write else { throw LedgerFailure(error) }
        withRecord {
            $0.logsGivenUp &+= 1
            $0.logFailure = LedgerFailure(error)
        }
    }

    /// Makes a group log where one is wanted and there is none; called by `tend`. What it throws
    /// costs speed alone.
    func tendGroupLog(_ live: Live) throws(DiskError) {
        guard options.keepsGroupLog, wantsGroupLog else { return }
        making.lock()
        defer { making.unlock() }
        let begun = epoch.load(ordering: .acquiring)
        let path = options.file(LedgerFiles.groupLog)
        let part = path + LedgerFiles.partSuffix
        if try disk.list(options.path).contains(LedgerFiles.groupLog + LedgerFiles.partSuffix) {
            // Of an attempt that could not be undone.
            try disk.remove(part)
        }
        let log = try GroupLog(
            part, bytes: options.groupLogBytes, ledger: marker.ledger, life: live.life, disk)
        syncing.lock()
        defer { syncing.unlock() }
        // In trouble one that was given up may be all that holds what callers were told; else
        // what stands under that name is of use no more.
        guard group.log == nil, withRecord({ $0.trouble == nil }),
            begun == epoch.load(ordering: .acquiring)
        else { return discard([part], disk) }
        do throws(DiskError) {
            try disk.rename(part, to: path)
            try disk.syncDirectory(options.path)
        } catch {
            discard([part], disk)
            throw error
        }
        setLog(log)
        withRecord { $0.logFailure = nil }
    }

    /// Who brings regions asks with each of them, and waits for no sync.
    private var wantsGroupLog: Bool {
        withRecord { !$0.hasGroupLog && $0.trouble == nil }
    }

    /// Under `syncing`.
    func setLog(_ log: GroupLog?) {
        group.log = log
        withRecord { $0.hasGroupLog = log != nil }
    }

    /// How many rounds went to the group log.
    package var loggedRounds: UInt64 { withRecord { $0.loggedRounds } }
}

/// The group log that is written, and when the segments were last synced. Guarded by `syncing`.
struct GroupState {
    var log: GroupLog?
    var syncedAt: BootTime?
}
