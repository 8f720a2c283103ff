import CLinux
import Synchronization
import TollgateCore
import TollgateStorage

/// Feeds the rules with what the audit log records, keeps their state, and tells what fires.
///
/// Entries come on the audit log's thread, before they are given back to the reactors' rings; what
/// fired among them is on the disk before that, and told after it was. The lock guards the engine,
/// and is held while the disk is waited for: no reactor takes it.
///
/// While the disk takes nothing, the newest `untoldMax` alerts wait to be told: as many as the list
/// of alerts has, so that all that wait stand in it, and a start tells them. The oldest gives place
/// to one that comes then, untold; it is counted, and said once, in the log and in health.
package final class AlertService: Sendable {
    /// What is only counted is kept so often.
    private static let keepMilliseconds: Int64 = 60_000
    /// A disk that refused is asked again after so long.
    private static let retryMilliseconds: Int64 = 1_000
    static let untoldMax = AlertState.recentMax

    private let store: AlertStore
    /// Made when the policy first has sinks.
    private let outbox = AtomicLazyReference<AlertOutbox>()
    private let log: Log
    private let lock = Lock()
    // Guarded by the lock.
    private nonisolated(unsafe) var engine: AlertEngine
    private nonisolated(unsafe) var names: [UInt32: AlertNames] = [:]
    /// In the order of their ids; at most `untoldMax`.
    private nonisolated(unsafe) var untold: [Alert] = []
    /// Alerts were lost since the disk took some last.
    private nonisolated(unsafe) var isLosing = false
    private nonisolated(unsafe) var lastKept: Int64 = 0
    private nonisolated(unsafe) var lastTried: Int64 = 0
    private nonisolated(unsafe) var failure: String?
    /// The file may have what the engine has not, or lacks what must not be lost.
    private nonisolated(unsafe) var mustKeep = false
    private let fired = Atomic<UInt64>(0)
    private let silenced = Atomic<UInt64>(0)
    private let tests = Atomic<UInt64>(0)
    private let writeFailures = Atomic<UInt64>(0)
    private let lost = Atomic<UInt64>(0)
    // What the lock guards, as of when it was last let go after a round or a change.
    private let suppressed = Atomic<UInt64>(0)
    private let evicted = Atomic<UInt64>(0)
    private let waiting = Atomic<UInt64>(0)
    private let failing = Atomic<Bool>(false)

    /// Throws with the exit code when the directory cannot be used.
    package init(
        directory: String, rules: AlertRules, sampleOneIn: UInt64,
        spool plan: AlertSpoolPlan? = nil, log: Log
    ) throws(StartError) {
        self.log = log
        do throws(AuditFailure) {
            // Locks the directory, in which the spool lies.
            store = try AlertStore.open(directory)
            engine = AlertEngine(rules, try store.read() ?? AlertState())
            engine.sampleOneIn = sampleOneIn
            if let plan { try open(plan).use(alertsMax: plan.alertsMax) }
        } catch { throw StartError("alerts \(error)", exitCode: error.exitCode) }
        // Noted by a life that ended before it could tell.
        untold = engine.state.recent.filter { $0.id > engine.state.handed }
        publish()
    }

    /// The spool, whose alerts' ids are taken. In `init`, or under the lock.
    @discardableResult
    private func open(_ plan: AlertSpoolPlan) throws(AuditFailure) -> AlertOutbox {
        let spool: AlertOutbox
        if let made = outbox.load() {
            spool = made
        } else {
            spool = outbox.storeIfNil(try AlertOutbox(plan.directory, log))
        }
        engine.state.takeIDs(after: try spool.idMax())
        return spool
    }

    /// Before a reload's policy is in force: whether its alerts can be as it says. Throws why not,
    /// and then nothing has changed.
    func prepare(_ plan: AlertPlan) throws(AuditFailure) {
        guard let spool = plan.spool else { return }
        lock.lock()
        defer { lock.unlock() }
        try open(spool)
    }

    /// Other rules, and another number that may wait, from now on: what has fired fires not anew,
    /// and what waits stays. Behind `prepare` of the same.
    func take(_ plan: AlertPlan) {
        lock.lock()
        defer {
            publish()
            lock.unlock()
        }
        wait(engine.takePending())
        let before = engine.rules.rules
        if before != plan.rules.rules {
            let names = AlertRules.names(thatDifferIn: before, plan.rules.rules)
            log.info("alerts: rules changed: \(names.joined(separator: ", "))")
            engine.replace(plan.rules)
            mustKeep = true
        }
        outbox.load()?.use(alertsMax: plan.spool?.alertsMax)
    }

    /// Before the policy is in force: what the indices in its entries mean.
    func add(_ policy: PolicyImage) {
        let names = policy.alertNames
        lock.lock()
        self.names[names.names.generation] = names
        // Entries of a policy that was replaced long ago have been read.
        while self.names.count > 8, let oldest = self.names.keys.min() { self.names[oldest] = nil }
        lock.unlock()
    }

    func observe(_ entry: AuditEntry) {
        lock.lock()
        if let names = names[entry.head.generation] { engine.observe(entry, names) }
        lock.unlock()
    }

    func observe(_ event: AlertEvent, now: Int64) {
        lock.lock()
        engine.observe(event, now: now)
        if case .quotasReset = event { mustKeep = true }
        lock.unlock()
    }

    /// Keeps what fired, then tells it. On the audit log's thread, each round.
    func settle(now: Int64) {
        lock.lock()
        defer { lock.unlock() }
        engine.tick(now: now)
        wait(engine.takePending())
        publish()
        let isDue = mustKeep || now &- lastKept >= Self.keepMilliseconds || now < lastKept
        guard !untold.isEmpty || isDue else { return }
        guard failure == nil || now &- lastTried >= Self.retryMilliseconds || now < lastTried else {
            return
        }
        keep(now)
    }

    // MARK: operators

    func hasRule(_ name: String) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        return engine.rules.rules.contains { $0.name == name }
    }

    /// Of the newest policy.
    func hasQuota(_ name: String) -> Bool {
        inNewest { names in
            zip(names.names.limits, names.periods).contains { $0.name == name && $1 != nil }
        }
    }

    func hasOperation(_ name: String) -> Bool {
        inNewest { $0.names.operations.contains(name) }
    }

    private func inNewest(_ body: (AlertNames) -> Bool) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        return names.max { $0.key < $1.key }.map { body($0.value) } ?? false
    }

    /// The newest last.
    var recent: [Alert] {
        lock.lock()
        defer { lock.unlock() }
        return engine.state.recent
    }

    func silences(now: Int64) -> [AlertSilence] {
        lock.lock()
        defer { lock.unlock() }
        return engine.silences(now: now)
    }

    /// Has an operator's change made: it is on the disk, and what it fires is told, before it
    /// returns; or nothing has changed. `nil`, where `body` gives that: nothing is to be changed.
    /// `line` goes to the daemon's log.
    func change<Changed>(
        saying line: (Changed) -> String, _ body: (inout AlertEngine) -> Changed?
    ) throws(AlertRefusal) -> Changed? {
        lock.lock()
        defer {
            publish()
            lock.unlock()
        }
        wait(engine.takePending())
        let before = engine
        guard let changed = body(&engine) else {
            engine = before
            return nil
        }
        let fresh = engine.takePending()
        do throws(AuditFailure) { try store.write(engine.snapshot) } catch {
            engine = before
            mustKeep = true
            note(error)
            throw AlertRefusal(.storageFailed, "\(error)")
        }
        log.info(line(changed))
        wait(fresh)
        if !untold.isEmpty { keep(tg_walltime()) }
        return changed
    }

    private func note(_ error: AuditFailure) {
        writeFailures.wrappingAdd(1, ordering: .relaxed)
        let words = "\(error)"
        if failure != words {
            log.error("alerts: \(words); what fires is told once it can be kept")
        }
        failure = words
    }

    // MARK: keeping and telling

    /// More wait to be told; beyond `untoldMax` the oldest are lost. Under the lock.
    private func wait(_ alerts: [Alert]) {
        untold += alerts
        guard untold.count > Self.untoldMax else { return }
        let over = untold.count - Self.untoldMax
        untold.removeFirst(over)
        lost.wrappingAdd(UInt64(over), ordering: .relaxed)
        guard !isLosing else { return }
        isLosing = true
        log.error(
            "alerts: more than \(Self.untoldMax) wait for a disk that takes them: the oldest are"
                + " lost, told to nobody; see to the disk of the alerts' directory")
    }

    /// Under the lock.
    private func keep(_ now: Int64) {
        lastTried = now
        defer { publish() }
        do throws(AuditFailure) {
            var kept = engine.snapshot
            // A life that ends before `handed` is written as well tells it again at the next
            // start, by the same id.
            try store.write(kept)
            lastKept = now
            mustKeep = false
            if failure != nil { log.info("alerts: kept again") }
            failure = nil
            isLosing = false
            guard !untold.isEmpty else { return }
            while let alert = untold.first {
                if !alert.isSilenced { try outbox.load()?.put(alert) }
                tell(alert)
                engine.state.handed = max(engine.state.handed, alert.id)
                untold.removeFirst()
            }
            kept = engine.snapshot
            try store.write(kept)
        } catch { note(error) }
    }

    /// For who reads the status without the lock. Under the lock.
    private func publish() {
        suppressed.store(engine.state.suppressed, ordering: .relaxed)
        evicted.store(engine.state.evicted, ordering: .relaxed)
        waiting.store(UInt64(untold.count), ordering: .relaxed)
        failing.store(failure != nil, ordering: .relaxed)
    }

    private func tell(_ alert: Alert) {
        guard alert.kind != .test else {
            tests.wrappingAdd(1, ordering: .relaxed)
            return log.info("alert \(alert.id): \(alert.rule): test: \(alert.text)")
        }
        fired.wrappingAdd(1, ordering: .relaxed)
        guard !alert.isSilenced else {
            silenced.wrappingAdd(1, ordering: .relaxed)
            return
        }
        let line = "alert \(alert.id): \(alert.rule): \(alert.severity.word): \(alert.text)"
        if alert.severity == .info { log.info(line) } else { log.warning(line) }
    }

    /// Keeps the last of it; the audit log's thread has ended.
    func end(now: Int64) {
        lock.lock()
        defer { lock.unlock() }
        wait(engine.takePending())
        keep(now)
    }

    /// What is wrong with the way to the sinks. Of the audit log's thread, once a second.
    func lookAtSpool() -> String? { outbox.load()?.look() }

    /// Of the spool; nothing where there are no sinks.
    var spoolStatistics: [Statistic] {
        guard let spool = outbox.load(), spool.isInUse else { return [] }
        return spool.statistics
    }

    struct Status: Equatable {
        var fired: UInt64 = 0
        var silenced: UInt64 = 0
        var tests: UInt64 = 0
        var suppressed: UInt64 = 0
        var evicted: UInt64 = 0
        var writeFailures: UInt64 = 0
        var lost: UInt64 = 0
        var waiting: UInt64 = 0
        /// The disk did not take them when it was last asked.
        var isFailing = false
    }

    /// Without the lock: reactors read it (STATS), and they wait for no disk.
    var status: Status {
        Status(
            fired: fired.load(ordering: .relaxed), silenced: silenced.load(ordering: .relaxed),
            tests: tests.load(ordering: .relaxed),
            suppressed: suppressed.load(ordering: .relaxed),
            evicted: evicted.load(ordering: .relaxed),
            writeFailures: writeFailures.load(ordering: .relaxed),
            lost: lost.load(ordering: .relaxed),
            waiting: waiting.load(ordering: .relaxed),
            isFailing: failing.load(ordering: .relaxed))
    }
}

extension Server {
    /// How the alerts go; nothing without them.
    func alertStatistics() -> [Statistic] {
        guard let alerts = audit?.alerts else { return [] }
        let status = alerts.status
        func count(_ name: String, _ value: UInt64) -> Statistic {
            Statistic(name: "tollgate_alerts_\(name)_total", value: value, isGauge: false)
        }
        return [
            count("fired", status.fired), count("silenced", status.silenced),
            count("tests", status.tests), count("suppressed", status.suppressed),
            count("evicted", status.evicted),
            count("write_failures", status.writeFailures), count("lost", status.lost),
            Statistic(name: "tollgate_alerts_waiting", value: status.waiting, isGauge: true),
            Statistic(
                name: "tollgate_alerts_failing", value: status.isFailing ? 1 : 0, isGauge: true),
        ] + alerts.spoolStatistics
    }
}
