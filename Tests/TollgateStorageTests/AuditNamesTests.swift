import Foundation
import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

/// Names stand once in a segment, and records say their numbers.
@Suite struct AuditNamesTests {
    private struct Said: Equatable {
        var id: UInt64
        var organization: String
        var user: String
        var key: String?
    }

    private static func put(
        _ world: AuditWorld, _ random: inout SeededRandom, _ count: Int, _ said: inout [Said]
    ) {
        for _ in 0..<count {
            var sample = AuditSample()
            sample.head.generation = 1
            sample.organization = "organization-\(random.next() % 20)"
            sample.user = "8f14e45f-ceea-467f-a0d6-\(100_000_000_000 + random.next() % 300)"
            let key = "0123456789ab\(1_000 + random.next() % 50)"
            if random.next() % 3 == 0 { sample.key = Array(key.utf8) }
            guard world.put(&sample) else { continue }
            said.append(
                Said(
                    id: sample.head.id, organization: sample.organization, user: sample.user,
                    key: sample.key.map { String(decoding: $0, as: UTF8.self) }))
        }
    }

    private static func said(
        _ reader: AuditReader, _ query: AuditQuery = AuditQuery()
    ) throws -> [Said] {
        try auditRecords(reader, query).map {
            Said(id: $0.id, organization: $0.organization, user: $0.user, key: $0.keyID)
        }
    }

    /// A query by each name gives what was put in, whatever finds it.
    private static func expect(_ world: AuditWorld, _ said: [Said], _ what: String) throws {
        try #require(try Self.said(world.reader) == said, "\(what)")
        let check = try world.reader.verify(key: try world.reader.key())
        #expect(check.isWhole, "\(what): \(check.faults)")
        for one in said.prefix(3) + said.suffix(3) {
            var query = AuditQuery()
            query.user = one.user
            let own = said.filter { $0.user == one.user }
            #expect(try Self.said(world.reader, query) == own, "\(what)")
            query.organization = one.organization
            query.keyID = one.key
            let all = own.filter {
                $0.organization == one.organization && (one.key == nil || $0.key == one.key)
            }
            #expect(try Self.said(world.reader, query) == all, "\(what)")
        }
    }

    @Test func aNameStandsOnceInASegmentAndInTheNextAgain() throws {
        let world = try AuditWorld { $0.segmentSeconds = 60 }
        for _ in 0..<2 {
            for _ in 0..<5 {
                for user in 0..<40 {
                    var sample = AuditSample()
                    (sample.organization, sample.user) = ("the-one", "user-\(user)!")
                    world.put(&sample)
                }
                world.drain()
            }
            world.drain(after: 60_000)
        }
        world.close()
        let disk = try #require(world.disk as? MemoryDisk)
        for number in UInt64(1)...2 {
            let inode = try #require(disk.files["/audit/" + AuditFiles.segment(number)])
            let text = String(decoding: inode.memory.prefix(inode.size), as: UTF8.self)
            for name in ["the-one", "user-0!", "user-39!"] {
                #expect(text.components(separatedBy: name).count == 2, "\(name) in \(number)")
            }
        }
        #expect(try auditRecords(world.reader).count == 400)
    }

    /// Where a call fails, blocks are written again, into another segment: with other numbers.
    @Test(arguments: [ENOSPC, EIO])
    func aFailedCallMixesUpNoNames(errno: Int32) throws {
        var call = 1
        while true {
            var random = SeededRandom(seed: 31)
            let disk = MemoryDisk()
            let world = try AuditWorld(disk) { $0.segmentBytes = 64 << 10 }
            var said: [Said] = []
            disk.fault = .once(call, errno)
            for _ in 0..<8 {
                Self.put(world, &random, 250, &said)
                world.drain(after: 400)
            }
            guard disk.failures == 1 else { break }
            world.close()
            try Self.expect(world, said, "call \(call)")
            call += 1
        }
        #expect(call > 20)
    }

    /// The index of what a killed daemon left open is made anew from its blocks.
    @Test func killedBetweenAnyTwoCallsEveryNameIsFound() throws {
        var calls = 0
        while true {
            var random = SeededRandom(seed: 32)
            let disk = MemoryDisk()
            let world = try AuditWorld(disk) { $0.segmentBytes = 64 << 10 }
            var killed: MemoryDisk?
            var said: [Said] = []
            for round in 0..<6 where killed == nil {
                Self.put(world, &random, 700, &said)
                if round == 2 { disk.fault = .from(calls + 1, EIO) }
                world.drain(after: 1_000)
                if disk.failures > 0 { killed = disk.copy() }
            }
            guard let killed else { break }
            let next = try AuditWorld(killed, at: world.now)
            Self.put(next, &random, 20, &said)
            next.close()
            try Self.expect(next, said, "\(calls) calls")
            calls += 1
        }
        #expect(calls > 5)
    }

    /// What names take in memory is bounded: by then the segment ends.
    @Test func aSegmentEndsWhenItsNamesTakeTooMuch() throws {
        let world = try AuditWorld {
            $0.ringBytes = 4 << 20
            $0.namesBytesMax = 100 << 10
        }
        for round in 0..<10 {
            for number in 0..<1_000 {
                var sample = AuditSample()
                sample.user = "\(round) \(number) " + String(repeating: "u", count: 100)
                world.put(&sample)
            }
            world.drain()
        }
        world.close()
        #expect(world.log.status.segments == 10)
        #expect(try world.reader.verify(key: world.reader.key()).isWhole)
        #expect(Set(try auditRecords(world.reader).map(\.user)).count == 10_000)
    }

    /// A daemon of the version before was killed: its open segment is not gone on with, and read.
    @Test func theOpenSegmentOfTheVersionBeforeIsLeftAsItIs() throws {
        let bytes = try AuditVectorTests.bytes("audit-v1-names-2.hex")
        let disk = MemoryDisk()
        var before: AuditWorld? = try AuditWorld(disk)
        before?.close()
        before = nil
        let inode = MemoryDisk.Inode(bytes.count)
        bytes.withUnsafeBytes { inode.memory.copy($0, to: 0) }
        disk.files["/audit/" + AuditFiles.segment(1)] = inode
        disk.files["/audit/" + AuditFiles.head] = nil
        let whole = try AuditSegmentFile(disk, "/audit", 1)
        var walk = AuditWalk(whole)
        var end = 0
        while case .block(let block) = try walk.next() { end = block.offset }
        inode.size = end
        let world = try AuditWorld(disk, at: AuditWorld.start + 60_000)
        var sample = AuditSample()
        sample.organization = "globex"
        world.put(&sample)
        world.close()
        let versions = try (UInt64(1)...2).map {
            try AuditSegmentFile(disk, "/audit", $0).header.version
        }
        #expect(versions == [1, 2])
        #expect(try auditRecords(world.reader).count == 7)
        var query = AuditQuery()
        query.organization = "globex"
        #expect(try auditRecords(world.reader, query).count == 2)
        let check = try world.reader.verify(key: world.reader.key())
        #expect(check.isWhole && check.records == 7, "\(check.faults)")
        #expect(check.gaps.map(\.cause) == [.lost])
        // And so it is at the next start.
        let next = try AuditWorld(disk.copy(), at: AuditWorld.start + 120_000)
        next.close()
        #expect(next.said.isEmpty)
        #expect(try next.reader.verify(key: next.reader.key()).isWhole)
    }

    /// Of a block no more is read and compared than is asked for.
    @Test func aPieceThatIsNotAskedForIsNotLookedAt() throws {
        let content = (0..<9_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        var block = AuditBlock(.records)
        block.payload = AuditPieces.payload(content)
        let made = block.encoded(number: 0, previous: .zero).bytes
        let list = block.payload.count - content.count
        #expect(list == 9 * 4)
        made.bytes[AuditBlockHead.bytes + list + 5_000] ^= 1
        AuditHash(of: made.read.slice(at: 0, length: made.used - 32))
            .store(to: made.bytes, at: made.used - 32)
        let read = try #require(AuditReadBlock(made, offset: 128))
        let pieces = try #require(AuditPieces(read))
        #expect(pieces.content.count == 9_000)
        for range in [0..<4_096, 5_120..<9_000, 7..<7] { #expect(try pieces.need(range)) }
        for range in [4_000..<4_200, 0..<9_000, 8_000..<9_001] {
            #expect(try !pieces.need(range))
        }
        for bytes in [0, 1, 4, 1_028 + 4, 1_028 * 3 + 1] {
            #expect(AuditPieces.sizes(bytes) == nil, "\(bytes)")
        }
        for bytes in [5, 1_028, 1_028 + 5] { #expect(AuditPieces.sizes(bytes) != nil) }
    }
}
