import Foundation
import Synchronization
import Testing
import TollgateCore
import TollgateWire

@testable import TollgateStorage

/// What stands ready is given whatever the disk does meanwhile.
@Suite struct RegionSupplyTests {
    /// A disk that takes as long as somebody else does.
    private final class SlowDisk: Sendable {
        let isWaiting = Atomic<Bool>(false)
        let isReleased = Atomic<Bool>(false)
        let ranOut = Atomic<Bool>(false)

        func wait() {
            isWaiting.store(true, ordering: .releasing)
            let deadline = Date(timeIntervalSinceNow: 20)
            while !isReleased.load(ordering: .acquiring) {
                guard Date() < deadline else {
                    ranOut.store(true, ordering: .releasing)
                    return
                }
                sched_yield()
            }
        }
    }

    /// How many charges of one shard its journal had room for.
    private static func exhaust(_ world: LedgerWorld) -> Int {
        var count = 0
        while world.charge("acme", "ada", tokens: 1) == .none { count += 1 }
        return count
    }

    @Test func itIsGivenWhileAnotherThreadMakesFiles() throws {
        let disk = MemoryDisk()
        nonisolated(unsafe) let world = try LedgerWorld(disk) { $0.segmentBytes = 64 * 1024 }
        try world.ledger.tend()
        // A file has three regions: after these one more is to be made, and some stand ready.
        for _ in 0..<4 {
            #expect(Self.exhaust(world) > 0)
            world.ledger.giveReady()
        }
        #expect(Self.exhaust(world) > 0)
        let slow = SlowDisk()
        disk.failsMaking = { _ in
            slow.wait()
            return false
        }
        let found = try inParallel(2, threads: 2) { (index) throws(LedgerFailure) -> Int in
            if index == 0 {
                defer { slow.isWaiting.store(true, ordering: .releasing) }
                try world.ledger.tend()
                return 0
            }
            // The other waits for the disk, and has given what the shard wanted before.
            while !slow.isWaiting.load(ordering: .acquiring) { sched_yield() }
            defer { slow.isReleased.store(true, ordering: .releasing) }
            let given = Self.exhaust(world)
            world.ledger.giveReady()
            return given > 0 && !slow.isReleased.load(ordering: .acquiring)
                ? Self.exhaust(world) : 0
        }
        let waited = slow.ranOut.load(ordering: .acquiring)
        #expect(!waited, "whoever gives waited for the disk")
        #expect(found[1] > 0)
    }
}
