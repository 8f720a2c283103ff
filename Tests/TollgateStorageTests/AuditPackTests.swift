import Foundation
import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

/// Sealed segments that are compressed say what they said before.
@Suite struct AuditPackTests {
    private static func written(
        _ disk: MemoryDisk = MemoryDisk(), rounds: Int = 12, seed: UInt64 = 41
    ) throws -> AuditWorld {
        var random = SeededRandom(seed: seed)
        let world = try AuditWorld(disk) {
            $0.segmentBytes = 64 << 10
            $0.compresses = true
        }
        for _ in 0..<rounds {
            for _ in 0..<400 {
                var sample = AuditLogTests.realistic(&random, world)
                world.put(&sample)
            }
            world.drain(after: 400)
        }
        return world
    }

    /// All that can be; how many there were.
    @discardableResult
    private static func packAll(_ world: AuditWorld) throws -> Int {
        var count = 0
        while try world.log.packNext(while: { true }) { count += 1 }
        world.drain()
        return count
    }

    private static func reads(_ reader: AuditReader) throws -> [[AuditRecord]] {
        var all = [try auditRecords(reader)]
        let some = try #require(all[0].randomElement())
        for change: (inout AuditQuery) -> Void in [
            { $0.organization = some.organization }, { $0.user = some.user },
            { ($0.since, $0.until) = (some.wall, all[0].last?.wall) },
            { ($0.limit, $0.isNewestFirst) = (10, true) },
        ] {
            var query = AuditQuery()
            change(&query)
            all.append(try auditRecords(reader, query))
        }
        all.append(try #require(try reader.decision(some.id)).record == some ? [some] : [])
        return all
    }

    /// The fuzz target's seeds, which libzstd made once: what its later versions make may differ.
    @Test(arguments: ["packed", "packed-taken-up"])
    func aSeedOfTheFuzzTargetIsTheSegmentOfTheVector(name: String) throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Fuzz/corpus/audit/\(name)")
        let bytes = Array(try Data(contentsOf: file).dropFirst())
        let disk = MemoryDisk()
        disk.directories = ["/audit"]
        let inode = MemoryDisk.Inode(bytes.count)
        bytes.withUnsafeBytes { inode.memory.copy($0, to: 0) }
        disk.files["/audit/" + AuditFiles.segment(1)] = inode
        let segment = try AuditSegmentFile(disk, "/audit", 1)
        #expect(segment.isPacked && segment.storedBytes < segment.bytes)
        let wanted = try AuditVectorTests.bytes("audit-v2.hex")
        try #require(segment.bytes == wanted.count)
        let read = Block(segment.bytes)
        defer { read.keep() }
        #expect(try segment.read(into: read.bytes, at: 0) == wanted.count)
        #expect(Array(read.read) == wanted)
    }

    @Test func whatIsCompressedIsSmallerAndReadAsItWas() throws {
        let world = try Self.written()
        let disk = try #require(world.disk as? MemoryDisk)
        let before = disk.copy()
        let (sealed, bytes) = (world.log.status.segments - 1, world.log.status.bytes)
        let records = try auditRecords(world.reader)
        #expect(try Self.packAll(world) >= sealed)
        #expect(world.log.status.bytes < bytes * 9 / 10)
        print("audit: compressed from \(bytes) to \(world.log.status.bytes)")
        #expect(try auditRecords(world.reader) == records)
        for one in try world.reader.segments().prefix(sealed) {
            let before = try #require(one.bytesBefore)
            #expect(one.isSealed && one.bytes < before)
            #expect(disk.files[one.path]?.size == one.bytes)
        }
        let check = try world.reader.verify(key: world.reader.key())
        #expect(check.isWhole && check.sealsSigned >= sealed, "\(check.faults)")
        #expect(!disk.files.keys.contains { $0.contains(".packed") })
        // The next life goes on with it, and every question gets the same answer.
        let all = AuditReader("/audit", before)
        for (number, one) in try all.segments().enumerated() where number % 3 == 0 {
            var query = AuditQuery()
            query.since = one.first
            query.until = one.last
            let (old, new) = try (auditRecords(all, query), auditRecords(world.reader, query))
            #expect(old == new && !old.isEmpty)
        }
        world.close()
        while try world.log.packNext(while: { true }) {}
        let next = try AuditWorld(disk.copy(), at: world.now)
        #expect(next.said.isEmpty)
        next.close()
        #expect(try auditRecords(next.reader) == records)
        #expect(try next.reader.verify(key: next.reader.key()).isWhole)
        _ = try Self.reads(next.reader)
    }

    /// Before every call on the disk that compressing makes, and before every one that puts it
    /// into its place.
    @Test func killedAtAnyMomentThereIsOneOrTheOther() throws {
        let records = try auditRecords(try Self.written(rounds: 6).reader)
        var calls = 0
        var packed: Set<Int> = []
        while true {
            let disk = MemoryDisk()
            let world = try Self.written(disk, rounds: 6)
            disk.fault = .from(calls + 1, EIO)
            do {
                _ = try world.log.packNext(while: { true })
                world.drain(after: 1)
            } catch { #expect(error.kind == .disk) }
            let isOver = disk.failures == 0
            let killed = disk.copy()
            let next = try AuditWorld(killed, at: world.now)
            next.close()
            #expect(try auditRecords(next.reader) == records, "\(calls) calls")
            #expect(try next.reader.verify(key: next.reader.key()).isWhole, "\(calls) calls")
            #expect(!killed.files.keys.contains { $0.hasSuffix(".part") })
            packed.insert(try next.reader.segments().count { $0.bytesBefore != nil })
            // It goes on where it was, with what is tried again.
            disk.fault = nil
            try Self.packAll(world)
            world.close()
            #expect(try auditRecords(world.reader) == records, "\(calls) calls")
            if isOver { break }
            calls += 1
        }
        #expect(calls > 10 && packed == [0, 1])
    }

    @Test func everyFlippedByteOfACompressedSegmentIsFound() throws {
        let disk = MemoryDisk()
        var log: AuditWorld? = try AuditWorld(disk) { $0.compresses = true }
        let world = try #require(log)
        for user in 0..<60 {
            var sample = AuditSample()
            sample.user = "user-\(user % 7)"
            world.put(&sample)
        }
        world.drain()
        world.drain(after: 86_400_000)
        #expect(try Self.packAll(world) == 1)
        world.close()
        log = nil
        #expect(try world.reader.segments()[0].bytesBefore != nil)
        let reader = AuditReader("/audit", disk.copy())
        let inode = try #require(
            (reader.disk as? MemoryDisk)?.files["/audit/" + AuditFiles.segment(1)])
        for at in 0..<inode.size {
            for bit in [UInt8(1), 16, 128] {
                inode.memory[at] ^= bit
                let check = try reader.verify()
                _ = try? auditRecords(reader)
                inode.memory[at] ^= bit
                #expect(check.faults.first?.segment == 1, "byte \(at)")
            }
        }
        let whole = inode.size
        for size in 0..<whole {
            inode.size = size
            #expect(!(try reader.verify()).isWhole, "cut to \(size)")
        }
        inode.size = whole
        #expect(try reader.verify().isWhole)
    }

    /// What says that it becomes more than a block may have takes no memory.
    @Test func aPartThatGrowsTooMuchIsRefused() throws {
        let disk = MemoryDisk()
        let file = try disk.create("/one", bytes: 0)
        let packed = try #require(
            [UInt8](repeating: 0, count: AuditPack.partMax).withUnsafeBytes {
                AuditSqueezer()?.pack($0)
            })
        for (bytes, isFine) in [(AuditPack.partMax, true), (AuditPack.partMax + 1, false)] {
            var table: [UInt8] = []
            for value in [UInt32(bytes), UInt32(packed.used), ledgerChecksum(0, packed.read)] {
                AuditPieces.put(value, to: &table)
            }
            let head = Block(AuditPack.headBytes)
            head.bytes.storeLittle(AuditPack.magic, at: 0)
            head.bytes.storeLittle(AuditPack.version, at: 8)
            head.bytes.storeLittle(UInt32(1), at: 12)
            head.bytes.storeLittle(UInt64(bytes), at: 16)
            head.bytes.storeLittle(UInt64(64 + packed.used), at: 24)
            let list = table.withUnsafeBytes { ledgerChecksum(0, $0) }
            head.bytes.storeLittle(list, at: 32)
            head.bytes.storeLittle(
                ledgerChecksum(0, head.read.slice(at: 0, length: 60)), at: 60)
            try file.write(head.read, at: 0)
            try file.write(packed.read, at: 64)
            try table.withUnsafeBytes { bytes in try file.write(bytes, at: 64 + packed.used) }
            let made = try? AuditPack(try disk.open("/one", writable: false))
            #expect((made != nil) == isFine)
            guard let made else { continue }
            let into = Block(100)
            #expect(try made.read(into: into.bytes, at: 1_000) == 100)
            #expect(into.read.isZero)
        }
    }

    /// One that retention removes meanwhile does not come back.
    @Test func whatWasRemovedMeanwhileStaysAway() throws {
        var random = SeededRandom(seed: 42)
        let disk = MemoryDisk()
        let world = try AuditWorld(disk) {
            ($0.segmentBytes, $0.keepSeconds, $0.compresses) = (64 << 10, 3_600, true)
        }
        for _ in 0..<20 {
            for _ in 0..<400 {
                var sample = AuditLogTests.realistic(&random, world)
                world.put(&sample)
            }
            world.drain(after: 400)
        }
        #expect(world.log.status.segments > 2)
        // Not wanted any more: nothing is left of it.
        #expect(try world.log.packNext(while: { false }))
        #expect(!disk.files.keys.contains { $0.contains(".packed") })
        // The note that they go is made, then one is compressed, then they go.
        world.drain(after: 7_200_000)
        #expect(try world.log.packNext(while: { true }))
        #expect(disk.files.keys.contains { $0.contains(".packed") })
        world.drain(after: 1_000)
        world.drain(after: 1_000)
        // The first was left out above: the second was compressed.
        for number in UInt64(1)...2 {
            #expect(disk.files["/audit/" + AuditFiles.segment(number)] == nil)
        }
        #expect(!disk.files.keys.contains { $0.contains(".packed") })
    }
}
