import Foundation
import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

@Suite struct AuditQueryTests {
    /// Some sealed segments and an open one, in blocks of a few records.
    private static func made(_ random: inout SeededRandom, isClosed: Bool) throws -> AuditWorld {
        let world = try AuditWorld { $0.segmentBytes = 64 << 10 }
        for _ in 0..<60 {
            for _ in 0..<Int.random(in: 1...60, using: &random) {
                var sample = AuditSample.random(&random, at: world.now)
                sample.head.operation = UInt16(random.next() % 2)
                sample.head.generation = 1
                sample.head.reason = random.next() % 3 == 0 ? 40 : 0
                sample.organization = "o\(random.next() % 300)"
                world.put(&sample)
            }
            world.drain()
        }
        if isClosed { world.close() }
        return world
    }

    @Test(arguments: [true, false])
    func aQueryGivesWhatAFullScanGives(isClosed: Bool) throws {
        var random = SeededRandom.printed("audit queries")
        let world = try Self.made(&random, isClosed: isClosed)
        let all = try auditRecords(world.reader)
        #expect(world.log.status.segments >= 3)
        for number in 0..<300 {
            var query = AuditQuery()
            query.organization = "o\(number)"
            let wanted = all.filter { $0.organization == query.organization }
            var found: [AuditRecord] = []
            let scan = try world.reader.run(query) { record in
                found.append(record)
                return true
            }
            #expect(found == wanted && scan.matched == wanted.count)
            // Only blocks that have it, and those few whose names share its hash.
            if isClosed { #expect(scan.blocks <= Set(wanted.map(\.block)).count + 1) }
            query.isNewestFirst = true
            #expect(try auditRecords(world.reader, query) == wanted.reversed())
            query.limit = 2
            #expect(try auditRecords(world.reader, query) == wanted.suffix(2).reversed())
        }
        for _ in 0..<60 {
            guard let some = all.randomElement(using: &random) else { return }
            var query = AuditQuery()
            if Bool.random(using: &random) { query.user = some.user }
            if Bool.random(using: &random) { query.keyID = some.keyID }
            if Bool.random(using: &random) { query.since = some.wall }
            if Bool.random(using: &random) {
                query.until = WallTime(milliseconds: some.wall.milliseconds + 700)
            }
            if Bool.random(using: &random) { query.operation = some.operation }
            if Bool.random(using: &random) { query.isDenied = !some.isAllowed }
            if Bool.random(using: &random) { query.reasons = [some.reason] }
            if Bool.random(using: &random) { query.kinds = [some.kind] }
            if random.next() % 8 == 0 { query.hold = some.hold }
            let wanted = all.filter { record in
                (query.user.map { $0 == record.user } ?? true)
                    && (query.keyID.map { $0 == record.keyID } ?? true)
                    && (query.since.map { $0 <= record.wall } ?? true)
                    && (query.until.map { $0 > record.wall } ?? true)
                    && (query.operation.map { $0 == record.operation } ?? true)
                    && (query.isDenied.map { $0 == !record.isAllowed } ?? true)
                    && (query.reasons?.contains(record.reason) ?? true)
                    && (query.kinds?.contains(record.kind) ?? true)
                    && (query.hold.map { $0 == record.hold } ?? true)
            }
            #expect(try auditRecords(world.reader, query) == wanted, "\(query)")
            let decision = try #require(try world.reader.decision(some.id))
            #expect(decision.record == some && decision.names == AuditWorld.names)
        }
        #expect(try world.reader.decision(77) == nil)
    }

    /// A block that has a damaged piece answers who does not ask for that piece, and nobody else.
    @Test func aQueryOfOneOrganizationLooksAtItsOwnRecordsAlone() throws {
        let world = try AuditWorld()
        for number in 0..<600 {
            var sample = AuditSample()
            sample.organization = "o\(number / 60)"
            sample.hold = [UInt8](repeating: UInt8(number / 60 + 200), count: 16)
            world.put(&sample)
        }
        world.drain()
        world.close()
        let disk = try #require(world.disk as? MemoryDisk)
        let inode = try #require(disk.files["/audit/" + AuditFiles.segment(1)])
        let bytes = Array(inode.memory.prefix(inode.size))
        // In the middle of its records.
        let wanted = [UInt8](repeating: 205, count: 16)
        let found = bytes.indices.dropLast(16).filter { Array(bytes[$0..<($0 + 16)]) == wanted }
        let damaged = try #require(found.dropFirst(found.count / 2).first)
        inode.memory[damaged] ^= 1
        func count(_ organization: String?) throws -> Int {
            var query = AuditQuery()
            query.organization = organization
            return try world.reader.count(query)
        }
        for own in ["o0", "o1", "o2", "o9"] { #expect(try count(own) == 60) }
        for own in ["o5", nil] {
            #expect {
                _ = try count(own)
            } throws: { ($0 as? AuditFailure)?.kind == .damaged }
        }
        #expect(try world.reader.verify().faults.first?.segment == 1)
    }

    @Test func oldSegmentsAreRemovedAndTheRestIsWhole() throws {
        var random = SeededRandom(seed: 12)
        let world = try AuditWorld {
            $0.segmentSeconds = 3_600
            $0.keepSeconds = 6 * 3_600
        }
        var most = 0
        for _ in 0..<30 {
            for _ in 0..<20 {
                var sample = AuditLogTests.realistic(&random, world)
                world.put(&sample)
            }
            world.drain(after: 1_800_000)
            world.drain(after: 1_000)
            world.drain(after: 1_000)
            most = max(most, world.log.status.segments)
            let check = try world.reader.verify(key: try world.reader.key())
            #expect(check.isWhole, "\(check.faults)")
        }
        #expect(most <= 9)
        world.close()
        let check = try world.reader.verify()
        #expect(check.isWhole && check.firstSegment > 3)
        #expect(check.gaps.allSatisfy { $0.cause == .pruned } && !check.gaps.isEmpty)
        let oldest = try #require(try auditRecords(world.reader).first)
        #expect(oldest.wall.milliseconds > world.now - 8 * 3_600_000)
        // One more than a note speaks of is missed.
        let disk = try #require(world.disk as? MemoryDisk)
        disk.files["/audit/" + AuditFiles.segment(check.firstSegment)] = nil
        #expect(!(try world.reader.verify()).isWhole)
    }

    @Test func theLogKeepsToItsBytes() throws {
        var random = SeededRandom(seed: 13)
        let world = try AuditWorld {
            $0.segmentBytes = 64 << 10
            $0.bytesMax = 300 << 10
        }
        for _ in 0..<60 {
            for _ in 0..<400 {
                var sample = AuditLogTests.realistic(&random, world)
                world.put(&sample)
            }
            world.drain(after: 61_000)
            world.drain(after: 1_000)
            #expect(world.log.status.bytes < 440 << 10)
        }
        world.close()
        let check = try world.reader.verify(key: try world.reader.key())
        #expect(check.isWhole && check.firstSegment > 4)
    }
}
