import TollgateCore

/// What a ledger knows of its own upkeep. Guarded by the ledger's lock.
struct LedgerRecord {
    /// A snapshot that is durable.
    struct Generation: Equatable {
        var number: UInt64
        /// Files of the journal that it needs, besides all from `from` on.
        var files: Set<UInt64>
        var from: UInt64
    }

    /// The last two, the older first.
    var generations: [Generation] = []
    /// The highest number that was ever begun.
    var lastGeneration: UInt64 = 0
    var isWriting = false
    /// No generation of this life stands yet.
    var isBehind = false
    var bytesAtSnapshot = 0
    var snapshotAt: Moment?
    var snapshotBytes = 0
    var round: UInt64 = 0
    /// There is a group log that is written to.
    var hasGroupLog = false
    /// Rounds that went to the group log.
    var loggedRounds: UInt64 = 0
    /// Why charges are refused, or not journaled.
    var trouble: LedgerFailure?
    /// How often in a row the way out of trouble failed, and when it was last tried.
    var retriedAt: BootTime?
    /// How often a group log could not be written; why there is none since.
    var logsGivenUp: UInt64 = 0
    var logFailure: LedgerFailure?
    var supplyFailure: LedgerFailure?
    var snapshotFailure: LedgerFailure?
    var archiveFailure: LedgerFailure?
    var dropFailure: LedgerFailure?
}

/// How a ledger does: for `tollgate health`, metrics and alerts.
package struct LedgerStatus: Sendable {
    package var state: LedgerState
    package var life: UInt64
    /// The newest durable generation.
    package var generation: UInt64
    package var snapshotAt: Moment?
    package var snapshotBytes: Int
    /// Bytes of journal that shards were given since.
    package var journalBytes: Int
    package var segments: Int
    /// Closed periods that wait in memory.
    package var closedWaiting: Int
    /// What failed and was not done since, the gravest first; empty: all is well.
    package var failures: [LedgerFailure]
}

extension Ledger {
    package var status: LedgerStatus {
        let live = running
        let given = live.supply.bytesGiven
        let record = withRecord { $0 }
        return LedgerStatus(
            state: live.engine.currentLedgerState, life: live.life,
            generation: record.generations.last?.number ?? 0, snapshotAt: record.snapshotAt,
            snapshotBytes: record.snapshotBytes, journalBytes: given &- record.bytesAtSnapshot,
            segments: live.supply.filesHeld, closedWaiting: live.engine.closedWaiting,
            failures: [
                record.trouble, record.supplyFailure, record.logFailure, record.snapshotFailure,
                record.archiveFailure, record.dropFailure,
            ].compactMap { $0 })
    }

    /// Why what the last snapshot made needless is still there; the next tries again.
    package var removalFailure: LedgerFailure? { withRecord { $0.dropFailure } }

    /// The journal has grown so much since the last snapshot that another one is due, or the last
    /// is of a life before.
    package var wantsSnapshot: Bool {
        let live = running
        let given = live.supply.bytesGiven
        return withRecord {
            $0.isBehind || given &- $0.bytesAtSnapshot >= options.journalBytesMax
        }
    }
}
