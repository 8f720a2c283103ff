/// How the ledger does: whether charges are taken, what is on the disk, and what to do where
/// something is wrong.
public struct LedgerHealth: DirectoryDocument {
    /// What becomes of charges.
    public enum State: String, DirectoryChoice {
        /// There is no ledger: usage is counted in memory alone, and forgotten at the next start.
        case off
        case serving
        /// The journal cannot be written, and what would charge a quota is refused.
        case refusing
        /// The journal cannot be written, and the policy says to go on: charges are in memory
        /// alone.
        case unjournaled
    }

    /// What a loss of power may take.
    public enum Durability: String, DirectoryChoice {
        case second
        case always
    }

    /// What it says of itself.
    public var state: State
    /// `nil` without a ledger.
    public var durability: Durability?
    /// Where it lies on the daemon's host.
    public var path: String?
    /// One more at each start.
    public var life: UInt64
    /// What is wrong, since when, and what to do about it.
    public var trouble: String?
    public var troubleAt: Timestamp?
    public var advice: String?
    /// Slots of the journal, of this life: written, and known to be on the disk.
    public var appended: UInt64
    public var synced: UInt64
    /// How long ago the oldest slot was written that may not be on the disk; 0: there is none.
    public var lagMilliseconds: UInt64
    public var syncs: UInt64
    public var syncFailures: UInt64
    /// Files of the journal, and their size together.
    public var segments: UInt64
    public var journalBytes: UInt64
    public var snapshots: UInt64
    public var snapshotFailures: UInt64
    /// The newest that is whole.
    public var snapshot: SnapshotInfo?
    /// Closed periods that are not in the archive yet.
    public var closedWaiting: UInt64
    public var reservations: UInt64
    public var idempotencyRecords: UInt64
    /// The wall clock jumped ahead and is not believed (`tollgate reload`).
    public var isClockHeld: Bool

    /// The status of a daemon without a ledger; whoever has one fills in the rest.
    public init(state: State = .off) {
        self.state = state
        life = 0
        appended = 0
        synced = 0
        lagMilliseconds = 0
        syncs = 0
        syncFailures = 0
        segments = 0
        journalBytes = 0
        snapshots = 0
        snapshotFailures = 0
        closedWaiting = 0
        reservations = 0
        idempotencyRecords = 0
        isClockHeld = false
    }

    /// Reads a status.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        state = try members.choice("state")
        durability = try members.optionalChoice("durability")
        path = try members.optionalText("path")
        life = try members.count("life")
        trouble = try members.optionalText("trouble")
        troubleAt = try members.optionalInstant("trouble_at")
        advice = try members.optionalText("advice")
        appended = try members.count("appended")
        synced = try members.count("synced")
        lagMilliseconds = try members.count("lag_milliseconds")
        syncs = try members.count("syncs")
        syncFailures = try members.count("sync_failures")
        segments = try members.count("segments")
        journalBytes = try members.count("journal_bytes")
        snapshots = try members.count("snapshots")
        snapshotFailures = try members.count("snapshot_failures")
        snapshot = try members.optionalDocument("snapshot")
        closedWaiting = try members.count("closed_waiting")
        reservations = try members.count("reservations")
        idempotencyRecords = try members.count("idempotency_records")
        isClockHeld = try members.flag("clock_held")
    }

    /// The status with all of its members.
    public var json: JSONValue {
        .object([
            "state": .choice(state), "durability": .optional(durability),
            "path": .optional(path), "life": .count(life), "trouble": .optional(trouble),
            "trouble_at": .optional(troubleAt), "advice": .optional(advice),
            "appended": .count(appended), "synced": .count(synced),
            "lag_milliseconds": .count(lagMilliseconds), "syncs": .count(syncs),
            "sync_failures": .count(syncFailures), "segments": .count(segments),
            "journal_bytes": .count(journalBytes), "snapshots": .count(snapshots),
            "snapshot_failures": .count(snapshotFailures), "snapshot": .optional(snapshot),
            "closed_waiting": .count(closedWaiting), "reservations": .count(reservations),
            "idempotency_records": .count(idempotencyRecords), "clock_held": .bool(isClockHeld),
        ])
    }
}

/// A snapshot of the ledger in its directory.
public struct SnapshotInfo: DirectoryDocument {
    /// One more for each.
    public var generation: UInt64
    public var at: Timestamp
    public var bytes: UInt64

    /// A generation, when it was begun, and its size.
    public init(generation: UInt64, at: Timestamp, bytes: UInt64) {
        self.generation = generation
        self.at = at
        self.bytes = bytes
    }

    /// Reads all three.
    public init(json: JSONValue) throws(DocumentError) {
        let members = try MemberReader(json)
        generation = try members.count("generation")
        at = try members.instant("at")
        bytes = try members.count("bytes")
    }

    /// All three.
    public var json: JSONValue {
        .object(["generation": .count(generation), "at": at.json, "bytes": .count(bytes)])
    }
}
