import CLinux
import Glibc
import Synchronization
import TollgateCore
import TollgateStorage
import TollgateWire

/// The keeper's thread: snapshots by the clock and on demand, and the archive.
extension LedgerService {
    func keep() {
        // Recovery ended with one, or `wantsSnapshot` says that it did not.
        var turns = SnapshotTurns(every: plan.snapshotNanoseconds, at: tg_boottime())
        while !hasToEnd {
            let asked = snapshots.take()
            let isDue = turns.isDue(at: tg_boottime(), isWanted: ledger.wantsSnapshot)
            if !asked.isEmpty || isDue {
                let began = tg_boottime()
                turns.note(isWritten: writeSnapshot(answering: asked), at: began)
            }
            archive()
            checkFiles()
            snapshots.bell.wait(milliseconds: Self.idleMilliseconds)
        }
        for request in snapshots.take() {
            reply(.refused(.unavailable, "the daemon is ending"), to: request)
        }
    }

    /// Writes one, step by step; tells who asked.
    @discardableResult
    func writeSnapshot(answering asked: [CallRequest]) -> Bool {
        let outcome: CallReply
        var isWritten = true
        do throws(LedgerFailure) {
            var pace = SnapshotPace(at: tg_boottime())
            let generation = try ledger.snapshot(now: Self.now) {
                guard !hasToEnd else { return }
                usleep(pace.restMicroseconds(at: tg_boottime()))
                pace.goOn(at: tg_boottime())
            }
            let info = try ledger.snapshots().last { $0.generation == generation }
            counters.snapshots.wrappingAdd(1, ordering: .relaxed)
            trouble.end(.snapshot)
            if let failure = ledger.removalFailure {
                trouble.meet(failure, at: .removal)
            } else {
                trouble.end(.removal)
            }
            outcome =
                info.map { LedgerCalls.reply(.object(["snapshot": SnapshotInfo($0).json])) }
                ?? .refused(.conflict, "another snapshot is written already; ask again")
        } catch {
            isWritten = false
            counters.snapshotFailures.wrappingAdd(1, ordering: .relaxed)
            trouble.meet(error, at: .snapshot)
            outcome = .refused(.storageFailed, "\(error)")
        }
        for request in asked { reply(outcome, to: request) }
        return isWritten
    }

    /// Somebody may remove a file of the journal that is written to: the state is written anew.
    private func checkFiles() {
        do throws(LedgerFailure) { try ledger.checkFiles() } catch {
            // Over with the next sync that succeeds, in files that have names.
            trouble.meet(error, at: .sync)
        }
    }

    /// Closed periods go to their files, and then leave memory.
    @discardableResult
    func archive() -> Bool {
        do throws(LedgerFailure) {
            let count = try ledger.archive()
            counters.archived.wrappingAdd(UInt64(count), ordering: .relaxed)
            trouble.end(.archive)
            return true
        } catch {
            trouble.meet(error, at: .archive)
            return false
        }
    }

    func reply(_ reply: CallReply, to request: CallRequest) {
        counters.calls.add(reply.status)
        links?.mailboxes[request.reactor].post([reply.late(for: request)])
    }
}

/// When the keeper writes a snapshot that nobody asked for: by the clock, when one is wanted, and
/// in a while where the disk did not take the last, whoever wants it.
struct SnapshotTurns {
    static let retryNanoseconds: UInt64 = 5_000_000_000

    private let every: UInt64
    private var last: UInt64
    private var isFailing = false

    /// As if one had been written at that boottime. `every`, in nanoseconds.
    init(every: UInt64, at boot: UInt64) {
        self.every = every
        last = boot
    }

    func isDue(at boot: UInt64, isWanted: Bool) -> Bool {
        let since = boot &- last
        return isFailing
            ? since >= min(every, Self.retryNanoseconds) : isWanted || since >= every
    }

    /// One was begun at that boottime.
    mutating func note(isWritten: Bool, at boot: UInt64) {
        last = boot
        isFailing = !isWritten
    }
}

/// How long a snapshot rests between its steps: as long as the last one took, so that it takes half
/// of a processor at most, and a reactor that shares it waits for one step and not for all that a
/// scheduler gives at once.
struct SnapshotPace {
    /// A step that takes longer waited for the disk, which keeps no reactor from anything.
    static let restMicrosecondsMost: UInt64 = 500

    private var last: UInt64

    init(at boot: UInt64) { last = boot }

    /// A step has ended at that boottime.
    func restMicroseconds(at boot: UInt64) -> UInt32 {
        let took = boot < last ? 0 : (boot &- last) / 1_000
        return UInt32(truncatingIfNeeded: min(took, Self.restMicrosecondsMost))
    }

    /// The next begins.
    mutating func goOn(at boot: UInt64) { last = boot }
}

/// Calls that wait for a snapshot. Any thread puts, the keeper takes.
final class SnapshotDesk: Sendable {
    static let waitingMax = 64

    let bell: Bell
    private let lock = Lock()
    // Guarded by the lock.
    private nonisolated(unsafe) var waiting: [CallRequest] = []

    init() throws(StartError) { bell = try Bell() }

    /// False when too many wait already.
    func put(_ request: CallRequest) -> Bool {
        lock.lock()
        let isTaken = waiting.count < Self.waitingMax
        if isTaken { waiting.append(request) }
        lock.unlock()
        bell.ring()
        return isTaken
    }

    func take() -> [CallRequest] {
        lock.lock()
        defer { lock.unlock() }
        let taken = waiting
        waiting = []
        return taken
    }
}
