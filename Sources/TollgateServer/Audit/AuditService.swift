import CLinux
import Glibc
import Synchronization
import TollgateCore
import TollgateStorage

/// What the policy says of the audit log beside where and how it is kept.
package struct AuditPlan: Sendable {
    package var settings: AuditSettings
    /// Nothing is decided unrecorded; else what finds no room is left out and counted.
    package var isBlocking = true
    /// Of allowed CHECKs one in so many is recorded.
    package var sampleOneIn: UInt64 = 1

    package init(_ settings: AuditSettings) { self.settings = settings }
}

/// Takes the entries of all reactors' rings into the audit log, on one thread of its own.
///
/// Life: made before the sockets open, which takes over what the last life left in its rings;
/// `start`; `end`, once the reactors have ended, which takes the last entries and seals.
package final class AuditService: Sendable {
    /// How long an entry waits at most, so that who follows the log sees it.
    private static let roundMilliseconds: Int32 = 100
    /// How often it is looked whether there is a segment to compress, and after a failure.
    private static let packMilliseconds: Int32 = 1_000
    private static let packAgainMilliseconds: Int32 = 60_000

    let plan: AuditPlan
    let audit: AuditLog
    let log: Log
    let bell: Bell
    /// What watches what is recorded; `nil`: nobody is told of anything.
    package let alerts: AlertService?
    /// Counts by organization while somebody watches. Set before `start`.
    nonisolated(unsafe) var organizations: OrganizationWatch?
    /// What is wrong with the daemon, beside the log. Set before `start`.
    nonisolated(unsafe) var troubles: @Sendable () -> DaemonTroubles = { DaemonTroubles() }
    private let isEnding = Atomic<Bool>(false)
    private let thread = ServiceThread()
    /// Compresses segments that are sealed, and what wakes it.
    private let packer = ServiceThread()
    private let packBell: Bell

    /// Throws with the exit code when the log cannot be used. `reactors`: how many will decide.
    package init(
        _ plan: AuditPlan, reactors: Int, boot: (UInt64, UInt64), log: Log,
        alerts: AlertService? = nil
    ) throws(StartError) {
        self.plan = plan
        self.alerts = alerts
        self.log = log
        bell = try Bell()
        packBell = try Bell()
        do throws(AuditFailure) {
            audit = try AuditLog.open(
                plan.settings, rings: reactors, boot: boot, life: nil, now: Self.now
            ) { log.info("audit: \($0)") }
        } catch { throw StartError("audit \(error)", exitCode: error.exitCode) }
        if let doubt = audit.status.doubt { log.error("audit: \(doubt)") }
    }

    /// Whoever looks at what is recorded. Before the first is.
    private func watch() {
        let (alerts, organizations) = (alerts, organizations)
        audit.watcher = AuditWatcher(
            look: {
                alerts?.observe($0)
                organizations?.observe($0)
            },
            keep: {
                alerts?.settle(now: $0.milliseconds)
                organizations?.settle(boot: tg_boottime())
            })
    }

    static var now: WallTime { WallTime(milliseconds: tg_walltime()) }

    /// Has the workers write to the rings, one each. Before the reactors run.
    func open(_ workers: [DecisionWorker]) {
        for (worker, ring) in zip(workers, audit.rings) {
            worker.openAudit(ring, isBlocking: plan.isBlocking, sampleOneIn: plan.sampleOneIn)
        }
    }

    /// Before the policy is in force: what the indices in its entries mean.
    func add(_ policy: PolicyImage) throws(StartError) {
        alerts?.add(policy)
        do throws(AuditFailure) { try audit.add(policy.auditNames) } catch {
            throw StartError("audit \(error)", exitCode: error.exitCode)
        }
    }

    func start() throws(StartError) {
        watch()
        try thread.begin { [self] in run() }
        if plan.settings.compresses { try packer.begin { [self] in pack() } }
    }

    /// Compresses segments as they are sealed.
    private func pack() {
        // On Linux of this thread alone: whatever else there is to do comes first.
        _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 19)
        var told: String?
        while !isEnding.load(ordering: .acquiring) {
            var wait = Self.packMilliseconds
            do throws(AuditFailure) {
                let had = try audit.packNext { !isEnding.load(ordering: .acquiring) }
                if had { wait = 0 }
                told = nil
            } catch {
                wait = Self.packAgainMilliseconds
                if told != "\(error)" { log.error("audit: a file was not compressed: \(error)") }
                told = "\(error)"
            }
            if wait > 0 { packBell.wait(milliseconds: wait) }
        }
    }

    private func run() {
        var trouble: String?
        var watched = TroubleWatch()
        while !isEnding.load(ordering: .acquiring) {
            bell.wait(milliseconds: Self.roundMilliseconds)
            audit.drain(now: Self.now)
            let status = audit.status
            tell(status.failure, &trouble)
            guard let alerts else { continue }
            watched.look(now: Self.now.milliseconds, alerts) {
                var all = troubles()
                all.states.append((.audit, status.failure))
                all.states.append((.auditUnproven, status.doubt))
                all.states.append((.alertsSpool, alerts.lookAtSpool()))
                all.counts.append(
                    (.auditDropped, status.dropped, "decisions left out of the audit log"))
                all.counts.append(
                    (
                        .auditRefused, status.refused,
                        "requests refused and not recorded: the audit log took nothing"
                    ))
                return all
            }
        }
    }

    /// Trouble is told once, and its end.
    private func tell(_ failure: String?, _ told: inout String?) {
        guard failure != told else { return }
        if let failure {
            log.error(
                "audit: \(failure); "
                    + (plan.isBlocking
                        ? "once the rings are full requests are refused"
                        : "once the rings are full decisions are left out of the log"))
        } else {
            log.info("audit: recording again")
        }
        told = failure
    }

    /// Takes what is left, and seals; whether all of it is on the disk.
    @discardableResult
    func end() -> Bool {
        isEnding.store(true, ordering: .releasing)
        bell.ring()
        packBell.ring()
        thread.join()
        packer.join()
        audit.close(now: Self.now)
        alerts?.end(now: Self.now.milliseconds)
        guard let failure = audit.status.failure else { return true }
        log.error("audit: \(failure); what is left stands in its rings, for the next start")
        return false
    }
}

extension Server {
    /// What the audit log has, and how it goes; nothing without one.
    func auditStatistics() -> [Statistic] {
        guard let audit else { return [] }
        let status = audit.audit.status
        func count(_ name: String, _ value: UInt64) -> Statistic {
            Statistic(name: "tollgate_audit_\(name)_total", value: value, isGauge: false)
        }
        func gauge(_ name: String, _ value: UInt64) -> Statistic {
            Statistic(name: "tollgate_audit_\(name)", value: value, isGauge: true)
        }
        let path = OperationNames.label(audit.plan.settings.directory.utf8)
        let overload = audit.plan.isBlocking ? "block" : "drop"
        return [
            gauge("info{path=\"\(path)\",overload=\"\(overload)\"}", 1),
            count("recorded", status.recorded), count("dropped", status.dropped),
            count("refused", status.refused),
            gauge("waiting_bytes", UInt64(max(0, status.waitingBytes))),
            gauge("ring_bytes", UInt64(max(0, audit.plan.settings.ringBytes))),
            gauge("segments", UInt64(max(0, status.segments))),
            gauge("bytes", UInt64(max(0, status.bytes))),
            gauge("trouble", status.failure == nil ? 0 : 1),
            gauge("unproven", status.doubt == nil ? 0 : 1),
        ]
    }
}
