import Foundation
import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

@Suite struct AuditFaultTests {
    private static func put(_ world: AuditWorld, _ ids: inout [UInt64], _ count: Int) {
        for index in 0..<count {
            var sample = AuditSample()
            sample.user = "user-\(index)"
            sample.head.generation = 1
            if world.put(&sample) { ids.append(sample.head.id) }
        }
    }

    private static func work(_ world: AuditWorld, rounds: Int = 12) -> [UInt64] {
        var ids: [UInt64] = []
        for _ in 0..<rounds {
            put(world, &ids, 250)
            world.drain(after: 400)
        }
        return ids
    }

    private static func expectWhole(_ world: AuditWorld, _ ids: [UInt64], _ what: String) throws {
        world.close()
        #expect(world.log.status.failure == nil, "\(what)")
        let read = try auditRecords(world.reader).map(\.id)
        try #require(read == ids, "\(what): \(read.count) of \(ids.count)")
        let check = try world.reader.verify(key: try world.reader.key())
        #expect(check.isWhole, "\(what): \(check.faults)")
        #expect(check.gaps.reduce(0) { $0 + $1.count } == world.log.status.dropped, "\(what)")
        let disk = try #require(world.disk as? MemoryDisk)
        #expect(disk.syncedAgain.isEmpty, "\(what)")
    }

    @Test(arguments: [ENOSPC, EIO])
    func oneCallThatFailsLosesNothing(errno: Int32) throws {
        let probe = MemoryDisk()
        let world = try AuditWorld(probe) { $0.segmentBytes = 64 << 10 }
        let before = probe.calls
        _ = Self.work(world)
        let calls = probe.calls - before
        #expect(calls > 20)
        for call in 1...calls {
            let disk = MemoryDisk()
            let world = try AuditWorld(disk) { $0.segmentBytes = 64 << 10 }
            disk.fault = .once(call, errno)
            let ids = Self.work(world)
            #expect(disk.failures == 1)
            try Self.expectWhole(world, ids, "call \(call)")
        }
    }

    /// The disk takes nothing for some seconds, and the ring fills: what found no room is counted,
    /// and the log has exactly the rest.
    @Test(arguments: [ENOSPC, EIO])
    func aDiskThatTakesNothingForAWhileLosesWhatItCounts(errno: Int32) throws {
        var drops = 0
        for call in 1...40 {
            let disk = MemoryDisk()
            let world = try AuditWorld(disk) {
                $0.ringBytes = 128 << 10
                $0.segmentBytes = 64 << 10
            }
            var ids = Self.work(world, rounds: 3)
            disk.fault = .from(call, errno)
            ids += Self.work(world, rounds: 10)
            if call < 15 {
                #expect(world.log.status.failure?.contains("/audit/") == true)
                #expect(world.log.status.waitingBytes > 0)
            }
            disk.fault = nil
            ids += Self.work(world, rounds: 3)
            drops += Int(world.log.status.dropped)
            try Self.expectWhole(world, ids, "from call \(call)")
        }
        #expect(drops > 0)
    }

    /// What was written and not synced is written again, behind what was.
    @Test func afterAFailedSyncTheNextSegmentGoesOnFromWhatIsDurable() throws {
        let disk = MemoryDisk()
        let world = try AuditWorld(disk)
        var ids: [UInt64] = []
        Self.put(world, &ids, 10)
        world.drain(after: 1_000)
        Self.put(world, &ids, 10)
        // A write, then the sync.
        disk.fault = .once(2, EIO)
        world.drain(after: 1_000)
        #expect(world.log.status.failure?.contains("cannot sync") == true)
        Self.put(world, &ids, 10)
        world.drain()
        #expect(world.log.status.failure == nil && world.log.status.segments == 2)
        // Killed now: the first segment has a void end, and the second no seal.
        let next = try AuditWorld(disk.copy(), at: world.now)
        next.close()
        #expect(try auditRecords(next.reader).map(\.id) == ids)
        #expect(try next.reader.verify(key: next.reader.key()).isWhole)
        try Self.expectWhole(world, ids, "")
    }

    /// A daemon that cannot write at all holds no more than its rings and what was not synced.
    @Test func nothingIsHeldWithoutBounds() throws {
        let disk = MemoryDisk()
        let world = try AuditWorld(disk) { $0.ringBytes = 64 << 10 }
        var ids: [UInt64] = []
        disk.fault = .from(1, ENOSPC)
        for _ in 0..<200 {
            Self.put(world, &ids, 100)
            world.drain()
        }
        #expect(world.log.status.waitingBytes <= 64 << 10)
        #expect(world.log.status.dropped > 10_000)
        disk.fault = nil
        try Self.expectWhole(world, ids, "")
    }
}
