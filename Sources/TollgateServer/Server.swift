import CLinux
import Glibc
import Synchronization
import TollgateCore
import TollgateWire

/// Listeners, reactors and what they share: a server in one process. The daemon wraps it in
/// options, signals and the service manager's protocol; tests use it as it is.
package final class Server: Sendable {
    package let shared: SharedState
    private let data: Listener
    private let admin: Listener
    private let counters: [ReactorCounters]
    private let mailboxes: [Mailbox]
    private let decisions: [DecisionCounters]
    // Written by `init`, read by `join`.
    private nonisolated(unsafe) var threads: [pthread_t] = []

    /// Reads the policy again; runs on a thread of its own. The message goes to who asked.
    package typealias Loader = @Sendable () -> Result<PolicyDefinition, PolicyCompileError>
    private let loader: Loader
    private let reloadLock = Lock()
    private let onShutdown: @Sendable (UInt32) -> Void

    /// Listens and runs. Sockets that the service manager handed over come as descriptors.
    package init(
        _ settings: ServerSettings, policy: PolicyImage, engine: Engine, version: String,
        adopted: (data: Int32?, admin: Int32?) = (nil, nil), loader: @escaping Loader,
        onShutdown: @escaping @Sendable (UInt32) -> Void
    ) throws(StartError) {
        shared = SharedState(settings, engine: engine, policy: policy, version: version)
        self.loader = loader
        self.onShutdown = onShutdown
        if let descriptor = adopted.data {
            data = Listener(adopting: descriptor)
        } else {
            data = try Listener(settings.data)
        }
        if let descriptor = adopted.admin {
            admin = Listener(adopting: descriptor)
        } else {
            admin = try Listener(settings.admin)
        }
        let count = max(1, settings.threads)
        counters = (0..<count).map { _ in ReactorCounters() }
        mailboxes = (0..<count).map { _ in Mailbox() }
        let workers = (0..<count).map { _ in engine.makeWorker() }
        decisions = workers.map(\.counters)
        shared.control = { [weak self] in self?.handle($0) }
        shared.statistics = { [weak self] in self?.statistics() ?? [] }
        for (index, worker) in workers.enumerated() {
            let reactor = Reactor(
                index: index, shared: shared, data: data, admin: admin, counters: counters[index],
                mailbox: mailboxes[index], decisions: worker)
            threads.append(try Self.start(reactor))
        }
    }

    /// Hands the reactor to a thread of its own, which owns it from then on.
    private static func start(_ reactor: Reactor) throws(StartError) -> pthread_t {
        let box = Unmanaged.passRetained(reactor)
        var thread = pthread_t()
        let result = pthread_create(&thread, nil, { argument in
            guard let argument else { return nil }
            Unmanaged<Reactor>.fromOpaque(argument).takeRetainedValue().run()
            return nil
        }, box.toOpaque())
        guard result == 0 else {
            box.release()
            throw StartError("thread: \(errorText(result))", exitCode: 71)
        }
        return thread
    }

    /// No new connections; what has arrived is answered; then the threads end.
    package func drain() {
        shared.isDraining.store(true, ordering: .relaxed)
        for mailbox in mailboxes { mailbox.wake() }
    }

    /// Waits until every reactor has ended, and takes the sockets off the file system.
    package func join() {
        for thread in threads { pthread_join(thread, nil) }
        threads = []
        data.unlinkOwn()
        admin.unlinkOwn()
    }

    private func handle(_ request: ControlRequest) {
        switch request {
        case .shutdown(let grace): onShutdown(grace)
        case .reload(let registration, let requestID, let reactor):
            let mailbox = mailboxes[reactor]
            Self.detach { [self] in
                let result = reload()
                mailbox.post(
                    LateReply(
                        registration: registration,
                        frame: Self.reloadReply(result, requestID: requestID)))
            }
        }
    }

    /// Runs on a thread of its own: reading a policy must not hold up decisions.
    private static func detach(_ work: @escaping @Sendable () -> Void) {
        final class Box {
            let work: @Sendable () -> Void
            init(_ work: @escaping @Sendable () -> Void) { self.work = work }
        }
        let box = Unmanaged.passRetained(Box(work))
        var thread = pthread_t()
        let result = pthread_create(&thread, nil, { argument in
            guard let argument else { return nil }
            Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().work()
            return nil
        }, box.toOpaque())
        if result == 0 { pthread_detach(thread) } else { box.takeRetainedValue().work() }
    }

    /// Loads, compiles aside, and puts in force; a policy at fault changes nothing.
    package func reload() -> Result<UInt64, PolicyCompileError> {
        reloadLock.lock()
        defer { reloadLock.unlock() }
        switch loader() {
        case .failure(let error): return .failure(error)
        case .success(let definition):
            do {
                let generation = shared.generation.load(ordering: .acquiring) + 1
                let image = try PolicyImage(compiling: definition, generation: generation)
                shared.publish(image)
                return .success(generation)
            } catch { return .failure(error) }
        }
    }

    private static func reloadReply(
        _ result: Result<UInt64, PolicyCompileError>, requestID: UInt64
    ) -> [UInt8] {
        var body: [UInt8] = []
        var status = Status.ok
        switch result {
        case .success(let generation):
            for shift in 0..<8 { body.append(UInt8(truncatingIfNeeded: generation >> (8 * UInt64(shift)))) }
        case .failure(let error):
            status = .policyInvalid
            body = Array(error.messages.joined(separator: "\n").utf8.prefix(WireLimits.detailBytesMax))
        }
        let header = FrameHeader(
            opcode: Opcode.reload.rawValue | Opcode.replyBit, status: status,
            requestID: requestID, bodyBytes: body.count)
        var frame = [UInt8](repeating: 0, count: WireLimits.headerBytes)
        frame.withUnsafeMutableBytes { header.write(to: $0) }
        return frame + body
    }

    /// Turns of every reactor so far, for a watchdog.
    package var turns: [UInt64] { counters.map { $0.turns.load(ordering: .relaxed) } }

    /// What STATS answers.
    package func statistics() -> [Statistic] {
        var entries: [Statistic] = []
        func add(_ name: String, _ value: UInt64, gauge: Bool = false) {
            entries.append(Statistic(name: name, value: value, isGauge: gauge))
        }
        for reason in Reason.allCases {
            let count = decisions.reduce(0) { $0 &+ $1.count(reason: reason) }
            let verdict = reason == .none ? "allow" : "deny"
            add("tollgate_decisions_total{verdict=\"\(verdict)\",reason=\"\(reason)\"}", count)
        }
        func sum(_ value: (ReactorCounters) -> UInt64) -> UInt64 {
            counters.reduce(0) { $0 &+ value($1) }
        }
        for status in Status.allCases where status != .ok {
            add(
                "tollgate_refused_frames_total{status=\"\(status)\"}",
                sum { $0.statuses[Int(status.rawValue)].load(ordering: .relaxed) })
        }
        add("tollgate_frames_total", sum { $0.frames.load(ordering: .relaxed) })
        add("tollgate_received_bytes_total", sum { $0.bytesIn.load(ordering: .relaxed) })
        add("tollgate_sent_bytes_total", sum { $0.bytesOut.load(ordering: .relaxed) })
        add("tollgate_connections_accepted_total", sum { $0.accepted.load(ordering: .relaxed) })
        add("tollgate_connections_refused_total", sum { $0.refused.load(ordering: .relaxed) })
        add("tollgate_deadline_closes_total", sum { $0.deadlineCloses.load(ordering: .relaxed) })
        let open = counters.reduce(0) { $0 + $1.open.load(ordering: .relaxed) }
        add("tollgate_connections", UInt64(max(0, open)), gauge: true)
        let gauges = shared.engine.gauges
        add("tollgate_organizations", UInt64(max(0, gauges.organizations)), gauge: true)
        add("tollgate_users", UInt64(max(0, gauges.users)), gauge: true)
        add("tollgate_addresses", UInt64(max(0, gauges.addresses)), gauge: true)
        add("tollgate_counter_bytes", UInt64(gauges.counterBytes), gauge: true)
        add("tollgate_capacity_refusals_total", gauges.capacityRefusals)
        add("tollgate_address_overflows_total", gauges.addressOverflows)
        add("tollgate_clock_held_forward", gauges.clockHeldForward ? 1 : 0, gauge: true)
        add(
            "tollgate_policy_generation", shared.generation.load(ordering: .relaxed), gauge: true)
        add(
            "tollgate_uptime_seconds", (tg_boottime() &- shared.startedAt) / 1_000_000_000,
            gauge: true)
        add("tollgate_build_info{version=\"\(shared.version)\"}", 1, gauge: true)
        return entries
    }
}
