import Foundation
import Testing
import TollgateCore
import TollgateWire

@testable import TollgateStorage

/// Tests/Vectors/snapshot-v1.hex and -v2.hex: one generation of a version each, a line for each 32
/// bytes, as it must be read for as long as a version is, and as version 2 must be written.
/// TOLLGATE_WRITE_VECTORS=1 writes it.
@Suite struct LedgerVectorTests {
    private static func file(_ version: Int) -> URL {
        URL(filePath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Vectors/snapshot-v\(version).hex")
    }
    private static let name = "/ledger/" + LedgerFiles.name(.snapshot, 2)

    /// A ledger with two generations and nothing in its journal behind the second.
    private static func written() throws -> MemoryDisk {
        let disk = MemoryDisk()
        let world = try LedgerWorld(disk)
        world.charge("acme", "ada", tokens: 5)
        world.charge("acme", "bob", tokens: 70_000)
        world.charge("globex", "ada", tokens: 1)
        _ = try world.ledger.snapshot(now: world.now)
        try world.ledger.close(now: world.now)
        return disk.copy()
    }

    private static func lines(_ bytes: ArraySlice<UInt8>) -> String {
        stride(from: 0, to: bytes.count, by: 32).map { start in
            bytes[start..<min(start + 32, bytes.count)]
                .map { String(format: "%02x", $0) }.joined() + "\n"
        }.joined()
    }

    @Test func theGenerationIsWrittenByteForByte() throws {
        let inode = try #require(try Self.written().files[Self.name])
        let text = Self.lines(Array(inode.memory.prefix(inode.size))[...])
        let file = Self.file(2)
        if ProcessInfo.processInfo.environment["TOLLGATE_WRITE_VECTORS"] != nil {
            try text.write(to: file, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: file, encoding: .utf8) == text)
    }

    @Test(arguments: [1, 2])
    func theGenerationIsReadRowForRow(version: Int) throws {
        let digits = try String(contentsOf: Self.file(version), encoding: .utf8)
            .filter { !$0.isWhitespace }
        let bytes = stride(from: 0, to: digits.count, by: 2).compactMap { at in
            UInt8(digits.dropFirst(at).prefix(2), radix: 16)
        }
        #expect(bytes.count * 2 == digits.count)
        let disk = try Self.written()
        let inode = MemoryDisk.Inode(bytes.count)
        bytes.withUnsafeBytes { inode.memory.copy($0, to: 0) }
        disk.files[Self.name] = inode
        let world = try LedgerWorld(disk)
        #expect(world.report.read == 2 && world.report.passedOver.isEmpty)
        #expect(world.usage("acme", "ada") == ["daily": 5, "monthly": 70_005])
        #expect(world.usage("acme", "bob") == ["daily": 70_000, "monthly": 70_005])
        #expect(world.usage("globex", "ada") == ["daily": 1, "monthly": 1])
    }

    /// File, bytes that its header's checksum covers.
    @Test(arguments: [
        ("ledger.id", 60), ("journal-000000000001.tgj", 60), ("snapshot-000000000002.tgs", 124),
        ("usage-000000000001.tgu", 572),
    ])
    func anotherVersionIsRefusedByName(_ name: String, _ covered: Int) throws {
        let disk = try Self.written()
        if name.hasPrefix("usage") {
            let world = try LedgerWorld(disk, at: LedgerWorld.start)
            world.advance(milliseconds: 86_400_000)
            for shard in 0..<Engine.shardCount {
                var cursor = 0
                while cursor >= 0 {
                    _ = world.engine.closePeriods(
                        shard: shard, slots: 64, cursor: &cursor, now: world.now)
                }
            }
            #expect(try world.ledger.archive() == 3)
        }
        let inode = try #require(disk.files["/ledger/" + name])
        inode.memory[8] = 9
        let head = UnsafeRawBufferPointer(inode.memory).slice(at: 0, length: covered)
        inode.memory.storeLittle(ledgerChecksum(0, head), at: covered)
        #expect {
            try LedgerWorld(disk.copy())
        } throws: { error in
            let failure = error as? LedgerFailure
            return failure?.kind == .version && failure?.exitCode == 78
                && failure?.path == "/ledger/" + name
                && failure?.words.contains("version 9") == true
        }
    }
}
