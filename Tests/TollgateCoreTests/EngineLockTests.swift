import Foundation
import Synchronization
import Testing
import TollgateWire

@testable import TollgateCore

/// No two locks are held together: who waits for the directory keeps nobody from the counters.
@Suite struct EngineLockTests {
    private static func subscribe(_ engine: Engine) {
        let zone = ZoneRules(name: "East", transitions: [], offsets: [], firstOffset: 46_800)
        engine.directory.put(
            OrganizationEntry(
                id: "acme",
                subscription: SubscriptionEntry(plan: "pro_tier", isServed: true, zone: zone)))
    }

    @Test func restoredHoldsAreCutWithoutTheDirectorysLock() throws {
        let before = try EngineHarness(.holding())
        Self.subscribe(before.engine)
        let ledger = MemoryLedger()
        ledger.begin(before.engine)
        #expect(before.reserve(tokens: 10).isAllowed)
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        Self.subscribe(engine)
        try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: before.moment)
        let again = try EngineHarness(engine: engine, policy: before.policy, like: before)
        #expect(engine.gauges.openReservations == 1)
        let organization = DirectoryImage.withBytes("acme") {
            TenantHash($0, isPersonal: false, engine.hash)
        }
        let lock = engine.directory.tenantShard(organization.hash).lock
        let isDone = Atomic<Bool>(false)
        nonisolated(unsafe) let (worker, held) = (again.worker, lock)
        // One thread has the directory's lock, as long as it takes; the other ends what is due.
        let ends = onThreads(2) { index -> Bool in
            if index == 0 {
                held.pointee.lock()
                defer { held.pointee.unlock() }
                let deadline = Date(timeIntervalSinceNow: 5)
                while !isDone.load(ordering: .acquiring) {
                    guard Date() < deadline else { return false }
                    sched_yield()
                }
                return true
            }
            // Not before the other has it.
            while held.pointee.tryLock() { held.pointee.unlock() }
            worker.tendHolds()
            isDone.store(true, ordering: .releasing)
            return true
        }
        #expect(ends[0], "the cut waited for the directory")
        #expect(engine.gauges.openReservations == 0)
    }

    #if DEBUG
        /// What follows is proved by every other test that is built like this one: it would trap.
        @Test(arguments: LockRank.wrong)
        func aLockUnderOneOfItsRankOrAboveEndsTheProcess(of ranks: LockRank.Pair) async {
            await #expect(processExitsWith: .failure) { [ranks] in
                let first = Lock(ranks.first)
                let second = Lock(ranks.second)
                first.lock()
                second.lock()
            }
            await #expect(processExitsWith: .success) { [ranks] in
                let first = Lock(ranks.first)
                let second = Lock(ranks.second)
                first.lock()
                first.unlock()
                second.lock()
                second.unlock()
            }
        }
    #endif
}

#if DEBUG
    extension LockRank {
        struct Pair: Codable, Sendable {
            private var raw: [UInt8]

            init(_ first: LockRank, _ second: LockRank) { raw = [first.rawValue, second.rawValue] }
            var first: LockRank { LockRank(rawValue: raw[0]) ?? .outer }
            var second: LockRank { LockRank(rawValue: raw[1]) ?? .outer }
        }

        static let wrong = [
            Pair(.shard, .shard), Pair(.shard, .outer), Pair(.registry, .shard),
            Pair(.leaf, .registry), Pair(.leaf, .leaf),
        ]
    }
#endif
