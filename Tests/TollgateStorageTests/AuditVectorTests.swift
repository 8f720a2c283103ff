import Foundation
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

/// Tests/Vectors/audit-v2.hex: a segment of version 2, a line for each 32 bytes, as it must be
/// written and read for as long as there is a version 2. TOLLGATE_WRITE_VECTORS=1 writes it.
/// audit-v1-names-2.hex is the same of version 1, and audit-v1.hex that with names as they were
/// before: both are read.
@Suite struct AuditVectorTests {
    private static let vectors = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Vectors")
    private static let file = vectors.appending(path: "audit-v2.hex")
    private static let name = "/audit/" + AuditFiles.segment(1)

    private static func written() throws -> (AuditWorld, [AuditSample]) {
        let world = try AuditWorld()
        var samples: [AuditSample] = []
        for index in 0..<6 {
            var sample = AuditSample()
            sample.head.kind = UInt8(index + 1)
            sample.head.bootNanoseconds = 77_000_000_000 + UInt64(index)
            sample.head.generation = 1
            sample.head.order = UInt64(40 + index)
            (sample.head.plan, sample.head.operation) = (1, UInt16(index % 2))
            (sample.head.rate, sample.head.rateLimit, sample.head.rateUsed) = (0, 600, 5)
            (sample.head.quota, sample.head.quotaLimit, sample.head.quotaUsed) = (1, 900, 80)
            sample.head.cost = index == 3 ? 1_250 : 0
            sample.head.addressFamily = index % 2 == 0 ? 4 : 6
            sample.head.addressHigh = 0x0101_a8c0
            sample.charges = [AuditCharge(meter: 0, units: 3, weighted: 6)]
            sample.user = index < 3 ? "ada" : "bob"
            if index == 4 {
                sample.head.reason = Reason.rateLimited.rawValue
                sample.head.retryMilliseconds = 900
                sample.standings = [
                    AuditStanding(limit: 0, scope: 1, flags: 1, used: 600, held: 2, most: 600)
                ]
            }
            if index > 1 { sample.hold = (0..<16).map { UInt8($0) } }
            if index == 2 { sample.idempotency = (0..<16).map { UInt8(100 + $0) } }
            if index == 5 {
                sample.key = Array("0123456789abcdef".utf8)
                sample.organization = "globex"
            }
            world.put(&sample)
            samples.append(sample)
        }
        world.drain()
        world.close()
        return (world, samples)
    }

    @Test func theSegmentIsWrittenByteForByte() throws {
        let (world, _) = try Self.written()
        let inode = try #require((world.disk as? MemoryDisk)?.files[Self.name])
        let bytes = Array(inode.memory.prefix(inode.size))
        let text = stride(from: 0, to: bytes.count, by: 32).map { start in
            bytes[start..<min(start + 32, bytes.count)]
                .map { String(format: "%02x", $0) }.joined() + "\n"
        }.joined()
        if ProcessInfo.processInfo.environment["TOLLGATE_WRITE_VECTORS"] != nil {
            try text.write(to: Self.file, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: Self.file, encoding: .utf8) == text)
    }

    static func bytes(_ name: String) throws -> [UInt8] {
        let file = vectors.appending(path: name)
        let digits = try String(contentsOf: file, encoding: .utf8).filter { !$0.isWhitespace }
        let bytes = stride(from: 0, to: digits.count, by: 2).compactMap { at in
            UInt8(digits.dropFirst(at).prefix(2), radix: 16)
        }
        try #require(bytes.count * 2 == digits.count)
        return bytes
    }

    @Test(arguments: ["audit-v1.hex", "audit-v1-names-2.hex", "audit-v2.hex"])
    func theSegmentIsReadFieldForField(_ name: String) throws {
        let file = Self.vectors.appending(path: name)
        let bytes = try Self.bytes(name)
        let (world, samples) = try Self.written()
        let inode = MemoryDisk.Inode(bytes.count)
        bytes.withUnsafeBytes { inode.memory.copy($0, to: 0) }
        let disk = try #require(world.disk as? MemoryDisk)
        disk.files[Self.name] = inode
        // What it has signed is what is written now.
        if file != Self.file { disk.files["/audit/" + AuditFiles.head] = nil }
        let records = try auditRecords(world.reader)
        try #require(records.count == samples.count)
        for (record, sample) in zip(records, samples) {
            #expect(auditDifferences(record, sample, AuditWorld.names) == [])
        }
        #expect(records[0].address == "192.168.1.1")
        #expect(records[5].organization == "globex")
        for (organization, count) in [("acme", 5), ("globex", 1), ("none", 0)] {
            var query = AuditQuery()
            query.organization = organization
            #expect(try world.reader.count(query) == count)
        }
        #expect(records[4].standings[0].limit == "per-minute")
        let faults = try world.reader.verify(key: world.reader.key()).faults
        #expect(faults.allSatisfy { file != Self.file && $0.path.hasSuffix(AuditFiles.head) })
    }
}
