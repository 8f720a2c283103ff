import CLinux
import Glibc
import Synchronization
import TollgateCore
import TollgateStorage
import TollgateWire

/// Listeners, reactors and what they share: a server in one process. The daemon wraps it in
/// options, signals and the service manager's protocol; tests use it as it is.
package final class Server: Sendable {
    package let shared: SharedState
    private let data: Listener
    private let admin: Listener
    let counters: [ReactorCounters]
    private let mailboxes: [Mailbox]
    let decisions: [DecisionCounters]
    private let reloader: Reloader
    let directory: DirectoryService?
    let ledger: LedgerService?
    let audit: AuditService?
    /// Answers calls about alerts, and who is busiest.
    let desk: WatchDesk
    private let events: ServerEvents
    private let running: Atomic<Int>
    /// By reactor.
    private let threads: [ServiceThread]

    /// Reads the policy again; runs on a thread of its own. The message goes to who asked.
    package typealias Loader = @Sendable () -> Result<ReloadedPolicy, PolicyCompileError>
    private let loader: Loader
    private let reloadLock = Lock()
    private let onShutdown: @Sendable (UInt32) -> Void

    /// Listens and runs. Sockets that the service manager handed over come as descriptors. `policy`
    /// is compiled of the directory's definition where there is a directory.
    package init(
        _ settings: ServerSettings, policy: PolicyImage, engine: Engine, version: String,
        directory: DirectoryService? = nil, ledger: LedgerService? = nil,
        bells: LedgerBells? = nil, audit: AuditService? = nil,
        adopted: (data: Int32?, admin: Int32?) = (nil, nil),
        events: ServerEvents = ServerEvents(),
        loader: @escaping Loader, onShutdown: @escaping @Sendable (UInt32) -> Void
    ) throws(StartError) {
        shared = SharedState(settings, engine: engine, policy: policy, version: version)
        self.loader = loader
        self.onShutdown = onShutdown
        self.events = events
        self.directory = directory
        self.ledger = ledger
        // What was burnt of them the ledger has said.
        try directory?.beginServing()
        self.audit = audit
        desk = try WatchDesk(audit?.alerts, ledger: directory == nil ? ledger?.calls : nil)
        (data, admin) = try Self.listen(settings, adopted)
        let count = max(1, settings.threads)
        shared.ledger = ledger?.bells ?? bells
        counters = (0..<count).map { _ in ReactorCounters() }
        var made: [Mailbox] = []
        for _ in 0..<count { made.append(try Mailbox()) }
        mailboxes = made
        threads = (0..<count).map { _ in ServiceThread() }
        let workers = (0..<count).map { _ in engine.makeWorker() }
        decisions = workers.map(\.counters)
        audit?.open(workers)
        audit?.organizations = OrganizationWatch(engine)
        shared.audit = audit?.bell
        running = Atomic(count)
        let load = Indirect<Server>()
        reloader = try Reloader(load: {
            load.value?.reload() ?? .failure(PolicyCompileError(messages: ["the daemon is ending"]))
        })
        load.value = self
        shared.control = { [weak self] in self?.handle($0) }
        shared.wakeDescriptors = [reloader.wakeDescriptor] + events.wakeDescriptors
        shared.wakeDescriptors += shared.ledger?.descriptors ?? []
        shared.statistics = { [weak self] in self?.statistics() ?? [] }
        try reloader.start()
        if let audit { try start(audit, policy) }
        if let ledger { try start(ledger) }
        try start(desk)
        if let directory { try start(directory) }
        for (index, worker) in workers.enumerated() {
            let reactor = Reactor(
                index: index, shared: shared, data: data, admin: admin, counters: counters[index],
                mailbox: mailboxes[index], decisions: worker)
            // Its thread's own from then on, its worker too, which the list has no more use for.
            nonisolated(unsafe) let own = reactor
            try threads[index].begin { [self] in
                own.run()
                reactorEnded()
            }
        }
    }

    /// Both sockets, or neither.
    private static func listen(
        _ settings: ServerSettings, _ adopted: (data: Int32?, admin: Int32?)
    ) throws(StartError) -> (Listener, Listener) {
        guard settings.data.path != settings.admin.path else {
            throw StartError(
                "data and admin socket have one path, \(settings.data.path); give them two",
                exitCode: 78)
        }
        let data: Listener
        if let descriptor = adopted.data {
            data = try Listener(adopting: descriptor, named: "data")
        } else {
            data = try Listener(settings.data)
        }
        do throws(StartError) {
            if let descriptor = adopted.admin {
                return (data, try Listener(adopting: descriptor, named: "admin"))
            }
            return (data, try Listener(settings.admin))
        } catch {
            data.unlinkOwn()
            throw error
        }
    }

    private func start(_ directory: DirectoryService) throws(StartError) {
        shared.calls = directory.calls
        shared.wakeDescriptors.append(directory.calls.wakeDescriptor)
        let (shared, onStorageFailure) = (shared, events.onStorageFailure)
        try directory.start(
            DirectoryLinks(
                mailboxes: mailboxes, policy: { shared.policy },
                republish: { [weak self] in self?.republish() ?? .success(0) },
                ledger: ledger?.calls, desk: desk.calls, hasAlerts: audit?.alerts != nil,
                bringRoom: { [ledger] in ledger?.bringRoom() ?? false },
                ledgerMark: { [ledger] in ledger?.mark },
                alerts: audit?.alerts,
                onStorageFailure: onStorageFailure))
    }

    private func start(_ audit: AuditService, _ policy: PolicyImage) throws(StartError) {
        shared.wakeDescriptors.append(audit.bell.descriptor)
        let (ledger, engine) = (ledger, shared.engine)
        audit.troubles = {
            let gauges = engine.gauges
            let clock = "the wall clock ran ahead and is not believed"
            return DaemonTroubles(
                states: [
                    (.ledger, ledger?.trouble.worst?.words),
                    (.clock, gauges.clockHeldForward ? clock : nil),
                ],
                counts: [
                    (
                        .capacity, gauges.capacityRefusals,
                        "requests refused: a table of callers is full"
                    ),
                    (
                        .addresses, gauges.addressOverflows,
                        "requests of addresses that share one limit: their table is full"
                    ),
                ])
        }
        try audit.add(policy)
        try audit.start()
    }

    /// Its calls come by the directory's thread, where there is one.
    private func start(_ ledger: LedgerService) throws(StartError) {
        shared.calls = ledger.calls
        shared.wakeDescriptors.append(ledger.calls.wakeDescriptor)
        let onLoss = events.onLedgerLoss
        try ledger.start(LedgerLinks(mailboxes: mailboxes, onLoss: onLoss))
    }

    /// Calls come to it first where there is no directory: those of the ledger it hands on. Where
    /// there are no alerts either, reactors answer all but those that are its own.
    private func start(_ desk: WatchDesk) throws(StartError) {
        let isAsked = audit?.alerts != nil || ledger != nil
        if directory == nil, isAsked { shared.calls = desk.calls }
        shared.watchCalls = desk.calls
        shared.wakeDescriptors.append(desk.calls.wakeDescriptor)
        let shared = shared
        let top = TopCalls(
            shared.engine, policy: { shared.policy }, watch: audit?.organizations,
            sampleOneIn: audit?.plan.sampleOneIn ?? 1)
        try desk.start(
            mailboxes: mailboxes, engine: shared.engine, top: top,
            log: audit?.log ?? ledger?.log)
    }

    private func reactorEnded() {
        if running.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 { events.onEnd() }
    }

    /// Whether every reactor has ended, so that `join` does not wait.
    package var hasEnded: Bool { running.load(ordering: .acquiring) == 0 }

    /// No new connections; what has arrived is answered; then the threads end, after the grace at
    /// the latest. Asked again, the shorter time holds.
    package func drain(graceMilliseconds: UInt32? = nil) {
        let grace = graceMilliseconds.map { UInt64($0) * 1_000_000 }
        shared.beginDrain(
            until: tg_boottime() &+ (grace ?? shared.settings.drainNanoseconds))
        data.unlinkOwn()
        admin.unlinkOwn()
        for mailbox in mailboxes { mailbox.wake() }
    }

    /// Has a reactor look at what became of what it waits for.
    func wake(reactor: Int) { mailboxes[reactor].wake() }

    /// Waits until every thread has ended.
    package func join() {
        for thread in threads { thread.join() }
        reloader.end()
        directory?.end()
        desk.end()
        ledger?.end()
        directory?.close(noting: ledger?.mark)
        audit?.end()
    }

    private func handle(_ request: ControlRequest) {
        switch request {
        case .shutdown(let grace): onShutdown(grace)
        case .reload(let registration, let requestID, let reactor):
            let mailbox = mailboxes[reactor]
            reloader.request { outcome in
                mailbox.post([Self.reloadReply(outcome, registration, requestID: requestID)])
            }
        }
    }

    /// Asks for a reload and does not wait for it.
    package func requestReload() { reloader.request() }

    /// Loads, compiles aside, and puts in force; a policy at fault changes nothing.
    package func reload() -> Result<UInt64, PolicyCompileError> {
        reloadLock.lock()
        defer { reloadLock.unlock() }
        events.willReload()
        let outcome = loadAndPublish()
        shared.countReload(outcome)
        events.didReload(outcome)
        return outcome
    }

    private func loadAndPublish() -> Result<UInt64, PolicyCompileError> {
        switch loader() {
        case .failure(let error): return .failure(error)
        case .success(let loaded):
            let definition = loaded.definition
            if let failure = prepare(loaded.alerts) { return .failure(failure) }
            let outcome = publish(directory?.complete(definition) ?? .success(definition))
            guard case .success = outcome else { return outcome }
            directory?.adopt(definition)
            if let plan = loaded.alerts { audit?.alerts?.take(plan) }
            // Whoever has a policy read says that the clock it begins by is right.
            shared.engine.confirmClock()
            return outcome
        }
    }

    /// Why alerts cannot be as the policy says.
    private func prepare(_ alerts: AlertPlan?) -> PolicyCompileError? {
        guard let alerts, let service = audit?.alerts else { return nil }
        do throws(AuditFailure) { try service.prepare(alerts) } catch {
            return PolicyCompileError(messages: ["alerts \(error)"])
        }
        return nil
    }

    /// Puts the policy that was read last in force with the signing keys as they are now.
    private func republish() -> Result<UInt64, PolicyCompileError> {
        reloadLock.lock()
        defer { reloadLock.unlock() }
        guard let directory else { return .success(shared.generation.load(ordering: .acquiring)) }
        return publish(.success(directory.definition))
    }

    /// Compiles, and puts in force. Within the reload lock.
    private func publish(
        _ definition: Result<PolicyDefinition, PolicyCompileError>
    ) -> Result<UInt64, PolicyCompileError> {
        do {
            let generation = shared.generation.load(ordering: .acquiring) + 1
            let image = try PolicyImage(compiling: definition.get(), generation: generation)
            guard shared.engine.accept(image) else {
                return .failure(
                    PolicyCompileError(messages: [
                        "too many different sets of limits since start; restart the daemon"
                    ]))
            }
            if let failure = record(image) { return .failure(failure) }
            shared.publish(image)
            return .success(generation)
        } catch { return .failure(error) }
    }

    /// Tells the audit log what the policy's names are; why it does not take them.
    private func record(_ policy: PolicyImage) -> PolicyCompileError? {
        guard let audit else { return nil }
        do throws(StartError) { try audit.add(policy) } catch {
            return PolicyCompileError(messages: [error.message])
        }
        return nil
    }

    private static func reloadReply(
        _ result: Result<UInt64, PolicyCompileError>, _ registration: UInt64, requestID: UInt64
    ) -> LateReply {
        var body: [UInt8] = []
        var status = Status.ok
        switch result {
        case .success(let generation):
            body = withUnsafeBytes(of: generation.littleEndian) { Array($0) }
        case .failure(let error):
            status = .policyInvalid
            let detail = error.messages.joined(separator: "\n")
            body = Array(detail.utf8.prefix(WireLimits.detailBytesMax))
        }
        return LateReply(
            .reload, status, body, registration: registration, requestID: requestID)
    }

    /// Turns of every reactor so far, for a watchdog.
    package var turns: [UInt64] { counters.map { $0.turns.load(ordering: .relaxed) } }
}

/// What a reload brings.
package struct ReloadedPolicy: Sendable {
    package var definition: PolicyDefinition
    /// `nil`: alerts stay as they are.
    package var alerts: AlertPlan?

    package init(_ definition: PolicyDefinition, alerts: AlertPlan? = nil) {
        self.definition = definition
        self.alerts = alerts
    }
}

/// What a server tells whoever runs it; called on the server's own threads.
package struct ServerEvents: Sendable {
    package var willReload: @Sendable () -> Void = {}
    package var didReload: @Sendable (Result<UInt64, PolicyCompileError>) -> Void = { _ in }
    /// What `onEnd` and `onShutdown` write to: they run on a reactor's thread, whose table of
    /// descriptors holds no others.
    package var wakeDescriptors: [Int32] = []
    /// A sync of the directory failed: the server is to end once its replies have left. Called on
    /// the directory's thread.
    package var onStorageFailure: @Sendable () -> Void = {}
    /// What callers were told cannot be kept on the ledger's disk any more: the process ends with
    /// exit code 74, at once. Called on a thread of the ledger's.
    package var onLedgerLoss: @Sendable () -> Never = { _exit(74) }
    /// The last reactor has ended.
    package var onEnd: @Sendable () -> Void = {}

    package init() {}
}

/// A weak reference that a closure can hold before its object is whole.
private final class Indirect<Object: AnyObject>: @unchecked Sendable {
    // Sendable: set once, before the thread that reads it starts.
    weak var value: Object?
}
