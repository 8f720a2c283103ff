import CLinux
import Synchronization
import TollgateCore
import TollgateWire

/// Counts decisions by organization while somebody watches, from what the audit log's thread reads
/// anyway: nothing is counted where requests are decided, and nothing at all while nobody asks.
final class OrganizationWatch: Sendable {
    /// Counting goes on so long after the last question.
    static let keepNanoseconds: UInt64 = 300_000_000_000
    private static let halvingNanoseconds =
        UInt64(TopOrganizations.halvingSeconds) * 1_000_000_000

    /// What was counted when it was asked for.
    struct Count {
        var since: WallTime
        var missedMax: Double
        var heaviest: [BusiestOrganizations.Entry]
    }

    private let engine: Engine
    private let isWatched = Atomic<Bool>(false)
    private let lock = Lock()
    // All guarded by the lock; times are boottime, but for `since`.
    private nonisolated(unsafe) var counts: BusiestOrganizations?
    private nonisolated(unsafe) var since = WallTime(milliseconds: 0)
    private nonisolated(unsafe) var asked: UInt64 = 0
    private nonisolated(unsafe) var halved: UInt64 = 0

    init(_ engine: Engine) { self.engine = engine }

    /// Looks at an entry of the audit log, on its thread. One relaxed load while nobody watches.
    func observe(_ entry: AuditEntry) {
        guard isWatched.load(ordering: .relaxed) else { return }
        switch entry.kind {
        case .check, .consume, .reserve: break
        case .extend, .settle, .cancel, .cut: return
        }
        let organization = entry.organization
        guard organization.count > 0 else { return }
        lock.lock()
        counts?.add(
            organization, isPersonal: entry.head.flags.contains(.personal),
            isAllowed: entry.head.reason == 0)
        lock.unlock()
    }

    /// Lets what was counted weigh less as time goes by, and ends counting once nobody asks.
    /// `boot`: boottime. Each round of the audit log's thread.
    func settle(boot: UInt64) {
        guard isWatched.load(ordering: .relaxed) else { return }
        lock.lock()
        defer { lock.unlock() }
        if boot > asked, boot &- asked > Self.keepNanoseconds {
            counts = nil
            isWatched.store(false, ordering: .relaxed)
            return
        }
        // A thread that was held up makes up for it: beyond 64 halvings nothing is left.
        var rounds = 0
        while boot > halved, boot &- halved >= Self.halvingNanoseconds {
            if rounds < 64 { counts?.halve() }
            rounds += 1
            halved &+= Self.halvingNanoseconds
        }
    }

    /// The heaviest, at most so many; begins to count where nobody has asked of late.
    func ask(_ most: Int, boot: UInt64, wall: WallTime) -> Count {
        lock.lock()
        defer { lock.unlock() }
        if counts == nil {
            counts = BusiestOrganizations(engine)
            since = wall
            halved = boot
            isWatched.store(true, ordering: .relaxed)
        }
        asked = max(asked, boot)
        return Count(
            since: since, missedMax: counts?.missedMax ?? 0,
            heaviest: counts?.heaviest(most) ?? [])
    }
}
