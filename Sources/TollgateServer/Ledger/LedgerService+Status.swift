import CLinux
import Synchronization
import TollgateCore
import TollgateStorage
import TollgateWire

extension LedgerService {
    /// How it does, now.
    var status: LedgerHealth {
        let state: [LedgerState: LedgerHealth.State] = [
            .serving: .serving, .refusing: .refusing, .unjournaled: .unjournaled, .off: .off,
        ]
        var status = LedgerHealth(state: state[engine.currentLedgerState] ?? .refusing)
        status.durability = plan.durability == .always ? .always : .second
        status.path = plan.options.path
        status.life = life
        let worst = trouble.worst
        status.trouble = worst?.words
        status.troubleAt = worst.map { Timestamp(milliseconds: $0.since.milliseconds) }
        status.advice = worst?.advice
        let files = ledger.status
        if trouble.has(.supply), status.state == .serving, engine.wantsRegions != 0 {
            status.state = .refusing
        }
        // First what is synced: never more than was appended.
        status.synced = counters.synced.load(ordering: .relaxed)
        status.appended = appended
        if status.synced < status.appended {
            let at = counters.syncedAt.load(ordering: .relaxed)
            let now = tg_boottime()
            status.lagMilliseconds = now > at ? (now &- at) / 1_000_000 : 0
        }
        status.syncs = counters.syncs.load(ordering: .relaxed)
        status.syncFailures = counters.syncFailures.load(ordering: .relaxed)
        status.segments = UInt64(files.segments)
        status.journalBytes = UInt64(files.segments) * UInt64(plan.options.segmentBytes)
        status.snapshots = counters.snapshots.load(ordering: .relaxed)
        status.snapshotFailures = counters.snapshotFailures.load(ordering: .relaxed)
        status.snapshot = files.snapshotAt.map {
            SnapshotInfo(
                generation: files.generation, at: Timestamp(milliseconds: $0.wall.milliseconds),
                bytes: UInt64(files.snapshotBytes))
        }
        status.closedWaiting = UInt64(files.closedWaiting)
        let gauges = engine.gauges
        status.isClockHeld = gauges.clockHeldForward
        status.reservations = UInt64(max(0, gauges.reservations))
        status.idempotencyRecords = UInt64(max(0, gauges.idempotencyRecords))
        return status
    }
}

extension Server {
    /// What the ledger did and holds; nothing without one.
    func ledgerStatistics() -> [Statistic] {
        guard let ledger else { return [] }
        let status = ledger.status
        var entries: [Statistic] = []
        func add(_ name: String, _ value: UInt64, gauge: Bool = false) {
            entries.append(Statistic(name: "tollgate_\(name)", value: value, isGauge: gauge))
        }
        for state in LedgerHealth.State.allCases where state != .off {
            add(
                "ledger_state{state=\"\(state.rawValue)\"}", status.state == state ? 1 : 0,
                gauge: true)
        }
        add("ledger_trouble", status.trouble == nil ? 0 : 1, gauge: true)
        add("journal_slots_total", status.appended)
        add("journal_synced_slots_total", status.synced)
        add("journal_lag_seconds", (status.lagMilliseconds + 999) / 1_000, gauge: true)
        add("journal_bytes", status.journalBytes, gauge: true)
        add("journal_files", status.segments, gauge: true)
        add("journal_syncs_total", status.syncs)
        add("journal_sync_failures_total", status.syncFailures)
        add("snapshots_total", status.snapshots)
        add("snapshot_failures_total", status.snapshotFailures)
        if let snapshot = status.snapshot {
            let age = max(0, tg_walltime() - snapshot.at.milliseconds)
            add("snapshot_age_seconds", UInt64(age) / 1_000, gauge: true)
            add("snapshot_bytes", snapshot.bytes, gauge: true)
        }
        add("closed_periods_waiting", status.closedWaiting, gauge: true)
        add(
            "closed_periods_archived_total",
            ledger.counters.archived.load(ordering: .relaxed))
        add("reservations", status.reservations, gauge: true)
        add("idempotency_records", status.idempotencyRecords, gauge: true)
        return entries
    }
}
