import CLinux
import Glibc
import Synchronization
import TollgateCore

/// What all threads of a server share: the policy in force, the engine, ceilings, and whether it
/// is draining.
package final class SharedState: Sendable {
    /// On the admin socket beyond `connectionsMax`, so that a flood does not lock operators out.
    static let adminConnectionsMax = 32
    let settings: ServerSettings
    package let engine: Engine
    let startedAt: UInt64
    /// Wall clock, milliseconds.
    let startedWall: Int64
    let version: String
    /// Of the policy in force; changes when `policy` does.
    let generation: Atomic<UInt64>
    /// Reloads that were asked for, by what came of them.
    let reloads = Atomic<UInt64>(0)
    let reloadFailures = Atomic<UInt64>(0)
    /// Of the policy that was read last; wall clock, milliseconds.
    let policyReadAt: Atomic<Int64>
    let isDraining = Atomic<Bool>(false)
    /// Boottime at which a drain ends whatever is still open.
    let drainEnd = Atomic<UInt64>(UInt64.max)
    let connections = Atomic<Int>(0)
    private let lock = Lock()
    // Both guarded by the lock.
    private nonisolated(unsafe) var current: PolicyImage
    private nonisolated(unsafe) var byUser: [UInt32: Int] = [:]
    /// Set once, before the first reactor runs.
    nonisolated(unsafe) var control: (@Sendable (ControlRequest) -> Void)?
    /// Where CALLs wait for the directory's thread; `nil` when the policy has no directory. Set
    /// once, before the first reactor runs.
    nonisolated(unsafe) var calls: CallQueue?
    /// Where calls wait of those who may watch, and make no other. Set once, before the first
    /// reactor runs.
    nonisolated(unsafe) var watchCalls: CallQueue?
    /// Descriptors that `control` and whoever hears of the end write to, from a reactor's thread:
    /// they must stay in its table. Set once, before the first reactor runs.
    nonisolated(unsafe) var wakeDescriptors: [Int32] = []
    /// Of the ledger, what reactors ring and wait for; `nil` without one. Set once, before the
    /// first reactor is made.
    nonisolated(unsafe) var ledger: LedgerBells?
    /// Of the audit log, what has its entries taken out of the rings; `nil` without one. Set once,
    /// before the first reactor is made.
    nonisolated(unsafe) var audit: Bell?
    /// What STATS answers; set once, before the first reactor runs.
    nonisolated(unsafe) var statistics: (@Sendable () -> [Statistic])?

    init(_ settings: ServerSettings, engine: Engine, policy: PolicyImage, version: String) {
        self.settings = settings
        self.engine = engine
        self.version = version
        startedAt = tg_boottime()
        startedWall = tg_walltime()
        current = policy
        generation = Atomic(policy.generation)
        policyReadAt = Atomic(startedWall)
    }

    package var policy: PolicyImage {
        lock.lock()
        defer { lock.unlock() }
        return current
    }

    /// Puts a policy in force: every turn that begins from now on decides by it.
    package func publish(_ policy: PolicyImage) {
        lock.lock()
        current = policy
        lock.unlock()
        generation.store(policy.generation, ordering: .releasing)
    }

    /// Within the reload lock.
    func countReload(_ outcome: Result<UInt64, PolicyCompileError>) {
        guard case .success = outcome else {
            reloadFailures.wrappingAdd(1, ordering: .relaxed)
            return
        }
        reloads.wrappingAdd(1, ordering: .relaxed)
        policyReadAt.store(tg_walltime(), ordering: .relaxed)
    }

    /// The earliest end that was asked for holds.
    func beginDrain(until end: UInt64) {
        lock.lock()
        drainEnd.store(min(end, drainEnd.load(ordering: .relaxed)), ordering: .relaxed)
        lock.unlock()
        isDraining.store(true, ordering: .releasing)
    }

    /// What the peer at that descriptor may do.
    func roles(_ descriptor: Int32, _ peer: tg_peer) -> Roles {
        settings.roles.roles(
            uid: peer.uid, gid: peer.gid, ownUser: geteuid(), adminGroup: settings.admin.group,
            isInGroup: { tg_peer_in_group(descriptor, $0) == 1 })
    }

    /// Takes a place for a connection; false at a ceiling.
    func admit(uid: UInt32, isAdmin: Bool) -> Bool {
        let most = settings.connectionsMax &+ (isAdmin ? Self.adminConnectionsMax : 0)
        if connections.wrappingAdd(1, ordering: .relaxed).newValue > most {
            connections.wrappingSubtract(1, ordering: .relaxed)
            return false
        }
        if isAdmin { return true }
        guard let most = settings.connectionsPerUserMax else { return true }
        lock.lock()
        let count = byUser[uid, default: 0]
        if count < most { byUser[uid] = count + 1 }
        lock.unlock()
        if count >= most { connections.wrappingSubtract(1, ordering: .relaxed) }
        return count < most
    }

    func leave(uid: UInt32, isAdmin: Bool) {
        connections.wrappingSubtract(1, ordering: .relaxed)
        guard settings.connectionsPerUserMax != nil, !isAdmin else { return }
        lock.lock()
        let count = byUser[uid, default: 1] - 1
        byUser[uid] = count > 0 ? count : nil
        lock.unlock()
    }
}

/// What a peer on the admin socket asks of the thread that runs the daemon.
package enum ControlRequest: Sendable {
    case reload(registration: UInt64, requestID: UInt64, reactor: Int)
    case shutdown(graceMilliseconds: UInt32)
}

/// One number of STATS. Names follow Prometheus' conventions, labels included.
package struct Statistic: Sendable, Equatable {
    package var name: String
    package var value: UInt64
    package var isGauge: Bool
}
