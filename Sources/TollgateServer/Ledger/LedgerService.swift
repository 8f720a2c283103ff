import CLinux
import Glibc
import Synchronization
import TollgateCore
import TollgateStorage
import TollgateWire

/// Where the ledger is, and how it is kept. The daemon reads it from the policy file.
package struct LedgerPlan: Sendable {
    /// What a loss of power may take: the last second, or nothing that was told.
    package enum Durability: Sendable { case second, always }

    package var options: LedgerOptions
    package var durability = Durability.second
    package var snapshotNanoseconds: UInt64 = 300_000_000_000

    package init(_ options: LedgerOptions) { self.options = options }
}

/// Keeps usage durable, beside the reactors: brings regions of the journal before they are needed,
/// syncs, writes snapshots, archives closed periods, answers calls of the ledger. A thread for
/// each, so that none waits for another's disk.
///
/// Life: made before the sockets open, which recovers; `start`; `end`, once the reactors have
/// ended, which writes a last snapshot.
package final class LedgerService: Sendable {
    static let syncMilliseconds: Int32 = 1_000
    /// How long who meets trouble waits before it tries again.
    static let retryMilliseconds: Int32 = 200
    static let idleMilliseconds: Int32 = 1_000

    let plan: LedgerPlan
    let ledger: Ledger
    let engine: Engine
    let log: Log
    let trouble: LedgerTrouble
    let counters = LedgerCounters()
    /// Calls of the ledger; where there is no directory, all calls.
    let calls: CallQueue
    let bells: LedgerBells
    let snapshots: SnapshotDesk
    /// Of the flusher where replies do not wait: rung at the end.
    let ending: Bell
    private let isEnding = Atomic<Bool>(false)
    // Both written by `init`: how often the ledger was recovered, and where each shard's journal
    // began this time.
    private(set) nonisolated(unsafe) var life: UInt64 = 0
    private(set) nonisolated(unsafe) var base: [UInt64] = []
    // Written by `start`, before the threads that read it are made.
    private(set) nonisolated(unsafe) var links: LedgerLinks?
    // Of the thread that answers calls.
    nonisolated(unsafe) var exported = ExportedUsage()
    /// By what each does: `start`.
    private let threads = (0..<4).map { _ in ServiceThread() }

    /// Puts the engine together as the ledger has it, and begins its journal; throws with the exit
    /// code when the ledger cannot be used. `reactors`: how many will decide.
    package init(
        _ plan: LedgerPlan, ledger: Ledger, engine: Engine, reactors: Int, log: Log,
        behind generation: UInt64 = 0
    ) throws(StartError) {
        self.plan = plan
        self.ledger = ledger
        self.engine = engine
        self.log = log
        trouble = LedgerTrouble(log: log)
        calls = try CallQueue()
        snapshots = try SnapshotDesk()
        ending = try Bell()
        bells = LedgerBells(
            supply: try Bell(),
            rounds: plan.durability == .always ? try SyncRounds(reactors: reactors) : nil,
            give: { ledger.giveReady() })
        do throws(LedgerFailure) { try recover(behind: generation) } catch {
            throw StartError(error)
        }
    }

    /// How far the ledger has come on the disk.
    package var mark: LedgerMark {
        LedgerMark(ledger: ledger.id, generation: ledger.status.generation)
    }

    /// Its generations are numbered behind that one.
    private func recover(behind generation: UInt64) throws(LedgerFailure) {
        let began = tg_boottime()
        let (log, path) = (log, plan.options.path)
        log.info("ledger: opening \(path)")
        let report = try ledger.recover(
            into: engine, now: Self.now, behind: generation, resuming: true
        ) { log.info("ledger: \($0)") }
        for failure in report.passedOver {
            log.warning(
                "ledger: passed over and set aside: \(failure); an older snapshot and the journal"
                    + " behind it held the whole state")
        }
        for cut in report.cuts where cut.bytes > 0 {
            log.warning(
                "ledger: \(cut.path), byte \(cut.offset): \(cut.bytes) bytes that were not written"
                    + " to their end are cut off, and kept in quarantine")
        }
        if engine.gauges.clockHeldForward {
            let ahead = tg_walltime() &- engine.billingTime(Self.now).milliseconds
            log.error(
                "ledger: the wall clock is ahead of what the ledger knows by"
                    + " \(ahead / 86_400_000) days and is not believed: quotas go on where they"
                    + " were; if it is right, say so with tollgate reload")
        }
        life = report.life
        base = (0..<Engine.shardCount).map { engine.journalPosition(shard: $0).next }
        counters.synced.store(0, ordering: .relaxed)
        counters.syncedAt.store(tg_boottime(), ordering: .relaxed)
        let milliseconds = (tg_boottime() &- began) / 1_000_000
        log.info(
            report.isNew
                ? "ledger: made anew in \(milliseconds) ms"
                : "ledger: life \(report.life): \(report.rows) rows of snapshot \(report.read) and"
                    + " \(report.items) items of the journal restored in \(milliseconds) ms")
    }

    /// Slots of the journal that were written in this life.
    var appended: UInt64 {
        base.indices.reduce(0) {
            $0 &+ (engine.journalPosition(shard: $1).next &- base[$1])
        }
    }

    static var now: Moment {
        Moment(
            boot: BootTime(nanoseconds: tg_boottime()),
            wall: WallTime(milliseconds: tg_walltime()))
    }

    func start(_ links: LedgerLinks) throws(StartError) {
        self.links = links
        let works = [supplyRegions, flush, keep, answerCalls]
        for (thread, work) in zip(threads, works) { try thread.begin(work) }
    }

    /// Answers what waits, syncs, writes a last snapshot, archives; whether all of it is on the
    /// disk.
    @discardableResult
    func end() -> Bool {
        calls.end()
        isEnding.store(true, ordering: .releasing)
        for bell in [ending, bells.supply, bells.rounds?.bell, snapshots.bell] { bell?.ring() }
        for thread in threads { thread.join() }
        guard links != nil else { return true }
        var isSound = archive()
        isSound = writeSnapshot(answering: []) && isSound
        do throws(LedgerFailure) { try ledger.close(now: Self.now) } catch {
            log.error("ledger: the last sync failed: \(error)")
            isSound = false
        }
        return isSound
    }

    var hasToEnd: Bool { isEnding.load(ordering: .acquiring) }
}

/// What the ledger's threads need of the server that they work for.
struct LedgerLinks: Sendable {
    /// By reactor.
    var mailboxes: [Mailbox]
    /// The journal cannot be synced, nor the whole state be written anew: what was told to callers
    /// can be kept no longer by going on. Does not return.
    var onLoss: @Sendable () -> Never
}

extension StartError {
    package init(_ failure: LedgerFailure) {
        self.init("ledger \(failure)", exitCode: failure.exitCode)
    }
}

/// What the ledger's threads count; read by any.
final class LedgerCounters: Sendable {
    let syncs = Atomic<UInt64>(0)
    /// Slots of this life that are known to be on the disk.
    let synced = Atomic<UInt64>(0)
    let syncFailures = Atomic<UInt64>(0)
    let logsGivenUp = Atomic<UInt64>(0)
    let snapshots = Atomic<UInt64>(0)
    let snapshotFailures = Atomic<UInt64>(0)
    let archived = Atomic<UInt64>(0)
    /// Boottime at which the last round of syncs that succeeded began.
    let syncedAt = Atomic<UInt64>(0)
    let calls = CallCounters()
}
