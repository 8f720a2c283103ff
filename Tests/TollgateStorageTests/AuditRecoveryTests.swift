import Foundation
import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

@Suite struct AuditRecoveryTests {
    private static func put(_ world: AuditWorld, _ count: Int, ring: Int = 0) -> [UInt64] {
        (0..<count).map { index in
            var sample = AuditSample()
            sample.user = "u\(index % 50)"
            sample.head.generation = 1
            sample.head.operation = 0
            #expect(world.put(&sample, ring: ring))
            return sample.head.id
        }
    }

    @Test func whatAKilledDaemonLeftInItsRingsIsTaken() throws {
        let disk = MemoryDisk()
        let world = try AuditWorld(disk, rings: 2)
        var ids = Self.put(world, 30)
        world.drain()
        ids += Self.put(world, 40) + Self.put(world, 20, ring: 1)
        // Fewer rings than before.
        let next = try AuditWorld(disk.copy(), rings: 1, at: world.now)
        #expect(next.said.count == 1 && next.said.first?.contains("not yet signed") == true)
        ids += Self.put(next, 5)
        next.close()
        let records = try auditRecords(next.reader)
        #expect(records.map(\.id).sorted() == ids.sorted())
        #expect(records.allSatisfy { $0.operation == "chat" })
        #expect(try next.reader.verify(key: next.reader.key()).isWhole)
        let before = ids.filter { $0 >> 56 == 1 }.dropLast(5).max() ?? 0
        #expect(ids.suffix(5).allSatisfy { $0 > before })
    }

    /// The kernel keeps what was written, in whatever order: killed before every call on the disk
    /// no decision is lost, and none is there twice.
    @Test func killedBetweenAnyTwoCallsNothingIsLostOrDoubled() throws {
        var calls = 0
        var kills = 0
        while true {
            let disk = MemoryDisk()
            let world = try AuditWorld(disk) { $0.segmentBytes = 64 << 10 }
            var killed: MemoryDisk?
            var ids: [UInt64] = []
            for round in 0..<6 where killed == nil {
                ids += Self.put(world, 700)
                // As many calls as may be, then none.
                if round == 2 { disk.fault = .from(calls + 1, EIO) }
                world.drain(after: 1_000)
                if disk.failures > 0 { killed = disk.copy() }
            }
            guard let killed else { break }
            kills += 1
            let next = try AuditWorld(killed, at: world.now)
            next.close()
            let read = try auditRecords(next.reader).map(\.id)
            try #require(read == ids, "\(calls) calls: \(read.count) of \(ids.count)")
            #expect(try next.reader.verify(key: next.reader.key()).isWhole)
            calls += 1
        }
        #expect(kills > 5)
    }

    @Test func killedBetweenWritingAndGivingBackNothingIsTwice() throws {
        let disk = MemoryDisk()
        let world = try AuditWorld(disk)
        let ids = Self.put(world, 100)
        let before = try #require(disk.files["/audit/ring.1"])
        let ring = MemoryDisk.Inode(copying: before)
        world.drain()
        // The ring as it was before the log was written.
        let killed = disk.copy()
        killed.files["/audit/ring.1"] = ring
        let next = try AuditWorld(killed, at: world.now)
        next.close()
        #expect(try auditRecords(next.reader).map(\.id) == ids)
    }

    /// Ids are not in the order of the ring where a hold ended in the middle of a request.
    @Test func idsOutOfOrderAreNotTakenForWritten() throws {
        let disk = MemoryDisk()
        let world = try AuditWorld(disk)
        var late = AuditSample()
        var early = AuditSample()
        let ring = world.log.rings[0]
        // The id is taken first and written last.
        _ = world.pens[0].takeID()
        world.put(&late)
        world.drain()
        let id = late.head.id - 1
        // Over the id that a pen gives.
        let isWritten = early.write(&world.pens[0])
        #expect(isWritten)
        let bytes = Int(early.head.bytes)
        let head = Int(truncatingIfNeeded: ring.start.bytes) + AuditRing.headerBytes
        (ring.base + head).storeBytes(of: id, toByteOffset: 8, as: UInt64.self)
        (ring.base + head).storeBytes(of: world.now, toByteOffset: 16, as: Int64.self)
        (ring.base + head).storeBytes(of: 1, toByteOffset: 4, as: UInt8.self)
        world.pens[0].publish(now: BootTime(nanoseconds: 0))
        #expect(ring.waiting == bytes)
        let next = try AuditWorld(disk.copy(), at: world.now)
        next.close()
        #expect(try auditRecords(next.reader).map(\.id) == [late.head.id, id])
    }

    @Test func ringsOfAnotherBootAreDroppedAndItIsSaid() throws {
        let disk = MemoryDisk()
        let world = try AuditWorld(disk)
        let ids = Self.put(world, 10)
        world.drain()
        let lost = Self.put(world, 10)
        let next = try AuditWorld(disk.copy(), boot: (3, 4), at: world.now)
        #expect(next.said.count == 2 && next.said.last?.contains("are lost") == true)
        let later = Self.put(next, 1)
        next.close()
        #expect(try auditRecords(next.reader).map(\.id) == ids + later)
        // Beyond every id that may have gone out.
        #expect(later[0] > (lost.max() ?? 0) + 1 << 19)
        let check = try next.reader.verify(key: next.reader.key())
        #expect(check.isWhole && check.gaps.map(\.cause) == [.powerLoss])
    }

    @Test func idsNeverGoBack() throws {
        let disk = MemoryDisk()
        var last: UInt64 = 0
        for life in 0..<6 {
            let world = try AuditWorld(
                disk, boot: (UInt64(life / 2), 0), at: AuditWorld.start + Int64(life) * 10_000,
                seed: UInt64(life))
            let ids = Self.put(world, 3)
            #expect(ids[0] > last)
            last = ids[2]
            if life == 3 { disk.files["/audit/ring.1"] = nil }
            world.close()
        }
    }

    @Test func everyTornTailIsCutKeptAndNoted() throws {
        let disk = MemoryDisk()
        let world = try AuditWorld(disk)
        let first = Self.put(world, 5)
        world.drain(after: 1_000)
        let name = "/audit/" + AuditFiles.segment(1)
        let before = try #require(disk.files[name]).size
        _ = Self.put(world, 5)
        world.drain()
        let after = try #require(disk.files[name]).size
        for size in (before + 1)..<after {
            let torn = disk.copy()
            try #require(torn.files[name]).size = size
            // Of a loss of power: what the rings had is gone.
            let next = try AuditWorld(torn, boot: (5, 6), at: world.now)
            #expect(next.said.contains { $0.contains("no whole block") })
            let later = Self.put(next, 1)
            next.close()
            #expect(try auditRecords(next.reader).map(\.id) == first + later)
            let check = try next.reader.verify(key: next.reader.key())
            #expect(check.isWhole && check.gaps.first?.cause == .torn)
            #expect(check.gaps.first?.count == UInt64(size - before))
            let kept = torn.files.filter { $0.key.hasPrefix("/audit/quarantine/") }
            #expect(kept.count == 1 && kept.first?.value.size == size - before)
        }
    }

    @Test func aLogWhoseDurableEndIsGoneSaysSoAndGoesOn() throws {
        let disk = MemoryDisk()
        let world = try AuditWorld(disk)
        _ = Self.put(world, 5)
        world.close()
        let next = try AuditWorld(disk.copy(), at: world.now)
        _ = Self.put(next, 5)
        next.close()
        let cut = try #require(next.disk as? MemoryDisk).copy()
        cut.files["/audit/" + AuditFiles.segment(2)] = nil
        let last = try AuditWorld(cut, at: next.now)
        #expect(last.said.contains { $0.contains("gone from its end") })
        last.close()
        let check = try last.reader.verify(key: last.reader.key())
        #expect(check.gaps.map(\.cause) == [.lost])
    }

    @Test func damageThatKeepsALogFromGoingOnIsNamed() throws {
        let disk = MemoryDisk()
        let world = try AuditWorld(disk)
        _ = Self.put(world, 5)
        world.close()
        let path = "/audit/" + AuditFiles.segment(1)
        for (file, at) in [(path, 3), (path, 100), ("/audit/audit.key", -1)] {
            let broken = disk.copy()
            let inode = try #require(broken.files[file])
            if at < 0 { inode.size = 7 } else { inode.memory[at] ^= 1 }
            #expect {
                try AuditWorld(broken)
            } throws: { error in
                let failure = error as? AuditFailure
                return failure?.exitCode == 78 && failure?.path == file
            }
        }
        let other = disk.copy()
        let inode = try #require(other.files[path])
        inode.memory[8] = UInt8(AuditSegmentHeader.version) + 1
        AuditHash(of: UnsafeRawBufferPointer(inode.memory).slice(at: 0, length: 96))
            .store(to: inode.memory, at: 96)
        #expect {
            try AuditWorld(other)
        } throws: { error in
            let failure = error as? AuditFailure
            return failure?.kind == .version && failure?.message.contains("version 3") == true
        }
    }
}
