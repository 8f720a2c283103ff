import CLinux
import Synchronization
import TollgateCore
import TollgateStorage
import TollgateWire

/// What a reload may change of alerts.
package struct AlertPlan: Sendable {
    package var rules: AlertRules
    /// `nil`: there are no sinks.
    package var spool: AlertSpoolPlan?

    package init(rules: AlertRules, spool: AlertSpoolPlan?) {
        self.rules = rules
        self.spool = spool
    }
}

/// Where alerts wait for who delivers them, and how many may. The daemon reads it from the policy.
package struct AlertSpoolPlan: Sendable {
    package var directory: String
    package var alertsMax: Int

    package init(directory: String, alertsMax: Int) {
        self.directory = directory
        self.alertsMax = alertsMax
    }
}

/// Puts alerts into the spool as long as it has room; what finds none is counted, and told in the
/// log and the list alone.
///
/// How many wait is counted when the directory is listed, once a second at most and for a fiftieth
/// of the time, and with each that is put there in between. So it is never less than what waits,
/// but for what is put in while somebody lists.
final class AlertOutbox: Sendable {
    private let spool: AlertSpool
    private let log: Log
    /// 0: there are no sinks, and nothing is put there.
    private let alertsMax = Atomic<Int>(0)
    private let waiting = Atomic<UInt64>(0)
    /// Boottime from which on the directory may be listed again.
    private let nextLook = Atomic<UInt64>(0)
    private static let lookShare: UInt64 = 50
    private let dropped = Atomic<UInt64>(0)
    private let isFull = Atomic<Bool>(false)

    /// Makes the directory if need be. Nothing is put there before `use`.
    init(_ directory: String, _ log: Log) throws(AuditFailure) {
        spool = try AlertSpool.open(directory)
        self.log = log
    }

    var isInUse: Bool { alertsMax.load(ordering: .relaxed) > 0 }

    /// The highest id that is there, or was set aside; 0: none.
    func idMax() throws(AuditFailure) -> UInt64 { try spool.contents().idMax }

    /// So many may wait from now on; `nil`: there are no sinks any more. What waits stays. Has who
    /// delivers read the sinks again. Under the service's lock.
    func use(alertsMax most: Int?) {
        alertsMax.store(most ?? 0, ordering: .relaxed)
        nextLook.store(0, ordering: .relaxed)
        _ = look()
        do throws(AuditFailure) {
            try spool.noteReload("\(tg_walltime())-\(tg_boottime())\n")
        } catch {
            log.error(
                "alerts: who delivers them is not told of the policy's sinks: \(error); reload"
                    + " again, or start tollgate alerts deliver anew")
        }
    }

    /// Durable when it returns, unless there is no room. Under the service's lock.
    func put(_ alert: Alert) throws(AuditFailure) {
        let alertsMax = alertsMax.load(ordering: .relaxed)
        guard alertsMax > 0 else { return }
        let count = waiting.load(ordering: .relaxed)
        // One that is told again takes no more room.
        guard count < alertsMax || spool.has(alert.id) else {
            dropped.wrappingAdd(1, ordering: .relaxed)
            if !isFull.exchange(true, ordering: .relaxed) {
                log.error(
                    "alerts: \(count) wait to be delivered, and alert \(alert.id) finds no"
                        + " room: it, and those behind it, are in this log and in tollgate alerts"
                        + " list alone; is tollgate alerts deliver running?")
            }
            return
        }
        try spool.put(alert.id, AlertInfo(alert).json.bytes)
        waiting.wrappingAdd(1, ordering: .relaxed)
    }

    /// How many wait, and what is wrong with that, in words that stay the same while it is.
    func look() -> String? {
        let alertsMax = alertsMax.load(ordering: .relaxed)
        guard alertsMax > 0 else { return nil }
        let began = tg_boottime()
        if began >= nextLook.load(ordering: .relaxed) {
            let count: Int
            do throws(AuditFailure) { count = try spool.entries().count } catch {
                return "\(error)"
            }
            waiting.store(UInt64(count), ordering: .relaxed)
            let ended = tg_boottime()
            nextLook.store(ended &+ Self.lookShare &* (ended &- began), ordering: .relaxed)
        }
        let isFull = waiting.load(ordering: .relaxed) >= alertsMax
        if self.isFull.exchange(isFull, ordering: .relaxed), !isFull {
            log.info("alerts: there is room again for alerts to be delivered")
        }
        return isFull ? "alerts wait to be delivered, and no more find room" : nil
    }

    var statistics: [Statistic] {
        [
            Statistic(
                name: "tollgate_alerts_spool_waiting",
                value: waiting.load(ordering: .relaxed), isGauge: true),
            Statistic(
                name: "tollgate_alerts_spool_full",
                value: isFull.load(ordering: .relaxed) ? 1 : 0, isGauge: true),
            Statistic(
                name: "tollgate_alerts_spool_dropped_total",
                value: dropped.load(ordering: .relaxed), isGauge: false),
        ]
    }
}
