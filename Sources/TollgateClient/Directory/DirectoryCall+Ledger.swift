import TollgateWire

extension DirectoryCall where Answer == LedgerHealth {
    /// How the ledger does; without a ledger its state is `off`.
    public static func ledgerStatus() -> DirectoryCall {
        DirectoryCall(.showLedger, answering: "ledger")
    }
}

extension DirectoryCall where Answer == SnapshotInfo {
    /// Writes a snapshot of all usage now, and answers when it is on the disk.
    public static func createSnapshot() -> DirectoryCall {
        DirectoryCall(.createSnapshot, answering: "snapshot")
    }
}

extension DirectoryCall where Answer == DirectoryPage<SnapshotInfo> {
    /// Those that are kept, the newest first.
    public static func snapshots(after: String? = nil, limit: Int64? = nil) -> DirectoryCall {
        DirectoryCall(.listSnapshots, ["after": .member(after), "limit": .member(limit)])
    }
}

extension DirectoryCall where Answer == DirectoryPage<PeriodUsage> {
    /// What was used in periods that began in a month, `2026-10`, or on a day, `2026-10-31`, of one
    /// organization or of all, part by part. Refused as `conflict` while one of them goes on,
    /// unless those that do are asked for as well.
    public static func usage(
        period: String, organization: String? = nil, includingOpen: Bool = false,
        after: String? = nil, limit: Int64? = nil
    ) -> DirectoryCall {
        DirectoryCall(
            .listUsage,
            [
                "period": .string(period), "organization": .member(organization),
                "open": .flag(includingOpen), "after": .member(after), "limit": .member(limit),
            ])
    }
}

extension DirectoryCall where Answer == PruneOutcome {
    /// Takes what was used in periods that began in a month or on a day out of the archive, for
    /// good. Refused as a conflict where not all of it was listed since the daemon started, unless
    /// `notExported`.
    public static func pruneUsage(period: String, notExported: Bool = false) -> DirectoryCall {
        DirectoryCall(
            .pruneUsage, ["period": .string(period), "not_exported": .flag(notExported)])
    }
}
