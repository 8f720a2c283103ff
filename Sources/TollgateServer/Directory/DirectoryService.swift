import CLinux
import Glibc
import Synchronization
import TollgateCore
import TollgateStorage
import TollgateWire

/// Where the directory is, and what goes with it. The daemon reads it from the policy file.
package struct DirectoryPlan: Sendable {
    /// A folder of the daemon's own.
    package var path: String
    /// The folder of signing keys' files.
    package var signingKeysPath: String
    /// The newest last; never empty.
    package var peppers: [APIKeyPepper]
    /// The zone of that IANA name; `nil` when there is none. One that was found is kept.
    package var zone: @Sendable (String) -> ZoneRules?
    /// How long the log of changes is kept, and refresh tokens once they were spent: used again,
    /// they end their session until then.
    package var logRetentionMilliseconds: Int64 = 365 * 86_400_000
    package var spentRetentionMilliseconds: Int64 = 30 * 86_400_000
    /// Who logs in more often ends the session begun first.
    package var sessionsPerUserMax = 100
    /// For tests alone.
    package var fault: FaultPoint?
    /// For tests within the process: called at every step, on the directory's thread.
    package var onStep: (@Sendable (String) -> Void)?

    package init(
        path: String, signingKeysPath: String, peppers: [APIKeyPepper],
        zone: @escaping @Sendable (String) -> ZoneRules?
    ) {
        self.path = path
        self.signingKeysPath = signingKeysPath
        self.peppers = peppers
        let known = Mutex<[String: ZoneRules]>([:])
        self.zone = { name in
            if let rules = known.withLock({ $0[name] }) { return rules }
            let rules = zone(name)
            if let rules { known.withLock { $0[name] = rules } }
            return rules
        }
    }
}

/// What the directory's thread needs of the server that it answers for.
struct DirectoryLinks: Sendable {
    /// By reactor.
    var mailboxes: [Mailbox]
    var policy: @Sendable () -> PolicyImage
    /// Compiles the policy with the signing keys as they are now, and puts it in force.
    var republish: @Sendable () -> Result<UInt64, PolicyCompileError>
    /// Where calls of the ledger wait for its own thread; `nil` without a ledger.
    var ledger: CallQueue?
    /// Where calls wait that are about who is busiest, and, where there are rules, about alerts;
    /// `nil` without a desk.
    var desk: CallQueue?
    var hasAlerts: Bool
    /// Has room brought that a change of the ledger waits for; false where none is to be had.
    var bringRoom: @Sendable () -> Bool
    /// How far the ledger has come; `nil` without one.
    var ledgerMark: @Sendable () -> LedgerMark?
    /// What is told of refresh tokens that were used twice; `nil` without rules of alerts.
    var alerts: AlertService?
    /// No change can be made until the daemon is started again.
    var onStorageFailure: @Sendable () -> Void
}

/// Answers CALLs, on one thread of its own that alone uses the store: what waits is carried out in
/// order, as one transaction; it is on the disk, then in force, then acknowledged.
///
/// Life: made before the sockets open, which loads the image; `start`; `end`, once the reactors
/// have ended.
package final class DirectoryService: Sendable {
    static let tickMilliseconds: Int32 = 1_000

    let calls: CallQueue
    let issuer: OwnIssuer
    let counters = DirectoryCounters()
    // Of the thread that makes the service, then of the directory's own, then `nil`: with it the
    // directory is closed.
    private nonisolated(unsafe) var keeper: DirectoryKeeper?
    private let thread = ServiceThread()

    /// Opens the directory and loads it into the engine's image; throws with the exit code when it
    /// cannot be used.
    package init(
        _ plan: DirectoryPlan, definition: PolicyDefinition, engine: Engine, log: Log
    ) throws(StartError) {
        calls = try CallQueue()
        let steps = StepCounter(plan.fault, onStep: plan.onStep)
        issuer = OwnIssuer(
            definition, files: SigningKeyFiles(folder: plan.signingKeysPath, steps: steps))
        keeper = try DirectoryKeeper(
            plan, issuer: issuer, engine: engine, log: log, steps: steps, counters: counters)
    }

    /// Puts grants of credits into the engine, whose ledger has been put together, and begins anew
    /// what is to.
    func beginServing() throws(StartError) {
        try keeper?.publishGrants()
        try keeper?.resumeResets()
    }

    /// The policy as it is put in force: with the daemon's own issuer.
    package var definition: PolicyDefinition { issuer.definition }

    /// Another policy as it would be put in force; refused when a signing key's file is not there
    /// any more, for then the next start would be, or would refuse that key's tokens.
    func complete(
        _ definition: PolicyDefinition
    ) -> Result<PolicyDefinition, PolicyCompileError> {
        do throws(SigningKeyFault) {
            try issuer.checkFiles()
            return .success(issuer.complete(definition))
        } catch { return .failure(PolicyCompileError(messages: ["signing key \(error.message)"])) }
    }

    /// The policy that was completed is in force.
    func adopt(_ definition: PolicyDefinition) { issuer.adopt(definition) }

    /// Of the thread that makes the service.
    func onKeeper(_ body: (DirectoryKeeper) -> Void) { if let keeper { body(keeper) } }

    func start(_ links: DirectoryLinks) throws(StartError) {
        keeper?.links = links
        keeper?.tellResets()
        try thread.begin { [self] in run() }
    }

    /// Carries out what waits, and lets the thread end.
    func end() {
        calls.end()
        thread.join()
    }

    /// Closes the directory, once the ledger has ended too.
    func close(noting mark: LedgerMark?) {
        if let mark { keeper?.noteLedger(mark) }
        keeper = nil
    }

    private func run() {
        guard let keeper else { return }
        keeper.steps.endStart()
        var lastTick: UInt64 = 0
        while true {
            let requests = calls.take()
            if !requests.isEmpty { keeper.steps.counting { keeper.answer(requests) } }
            for refused in calls.takeForbidden() { keeper.tellForbidden(refused) }
            let now = tg_boottime()
            if now &- lastTick >= UInt64(Self.tickMilliseconds) * 1_000_000 {
                lastTick = now
                keeper.tick(now: BootTime(nanoseconds: now))
            }
            if calls.hasEnded {
                keeper.finish()
                return
            }
            if requests.isEmpty { calls.wait(milliseconds: Self.tickMilliseconds) }
        }
    }
}

/// What the directory's thread counts. Written by it alone, read by any.
final class DirectoryCounters: Sendable {
    let batches = Atomic<UInt64>(0)
    let refreshReuses = Atomic<UInt64>(0)
    /// Sessions that were ended because their user had too many.
    let sessionsDisplaced = Atomic<UInt64>(0)
    let calls = CallCounters()
}
