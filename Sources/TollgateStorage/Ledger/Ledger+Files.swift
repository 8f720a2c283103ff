import TollgateCore

extension Ledger {
    /// Whether the files that shards write to still have their names; where one has not, what is
    /// written to it is lost with the process. Then the ledger is in trouble, out of which the next
    /// `flush` leads by writing the whole state into new files; and it is thrown which.
    package func checkFiles() throws(LedgerFailure) {
        let live = running
        let hadLog = hasGroupLog
        let before = live.supply.pinned().files
        let names = try onDisk { () throws(DiskError) in try disk.list(options.path) }
        // Written to before and after the look: no file that came or went meanwhile.
        let written = before.intersection(live.supply.pinned().files)
        let missing = written.subtracting(LedgerFiles.numbers(names, .journal)).min()
        let isLogMissing = hadLog && !names.contains(LedgerFiles.groupLog) && hasGroupLog
        guard missing != nil || isLogMissing else { return }
        let name = missing.map { LedgerFiles.name(.journal, $0) } ?? LedgerFiles.groupLog
        let failure = LedgerFailure(
            .disk, options.file(name), "was removed while the daemon writes to it")
        syncing.lock()
        defer { syncing.unlock() }
        if withRecord({ $0.trouble }) == nil { enterTrouble(live, failure) }
        throw failure
    }

    private var hasGroupLog: Bool { withRecord { $0.hasGroupLog } }
}
