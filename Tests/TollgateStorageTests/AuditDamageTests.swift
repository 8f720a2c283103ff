import Foundation
import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

@Suite struct AuditDamageTests {
    /// Three segments, the last one open or sealed.
    private static func small(isSealed: Bool) throws -> MemoryDisk {
        let disk = MemoryDisk()
        var log: AuditWorld? = try AuditWorld(disk)
        for round in 0..<3 {
            let start = AuditWorld.start + Int64(round) * 9_000
            if log == nil { log = try AuditWorld(disk, at: start) }
            let world = try #require(log)
            for user in 0..<3 {
                var sample = AuditSample()
                sample.user = "u\(user)"
                world.put(&sample)
                world.drain(after: 1_000)
            }
            if round < 2 || isSealed {
                world.close()
                log = nil
            }
        }
        return disk.copy()
    }

    private static func reader(_ disk: MemoryDisk) -> AuditReader { AuditReader("/audit", disk) }

    private static func segment(_ number: UInt64) -> String {
        "/audit/" + AuditFiles.segment(number)
    }

    private static func bytes(_ disk: MemoryDisk, _ number: UInt64) throws -> [UInt8] {
        let inode = try #require(disk.files[segment(number)])
        return Array(inode.memory.prefix(inode.size))
    }

    private static func replace(_ disk: MemoryDisk, _ number: UInt64, _ bytes: [UInt8]) {
        let inode = MemoryDisk.Inode(bytes.count)
        bytes.withUnsafeBytes { inode.memory.copy($0, to: 0) }
        disk.files[segment(number)] = inode
    }

    @Test(arguments: [true, false])
    func everyFlippedBitIsFoundAndItsPlaceNamed(isSealed: Bool) throws {
        let disk = try Self.small(isSealed: isSealed)
        let whole = try Self.reader(disk).verify()
        #expect(whole.isWhole && whole.segments == 3 && whole.isSealed == isSealed)
        var flips = 0
        for number in UInt64(1)...3 {
            let inode = try #require(disk.files[Self.segment(number)])
            for at in 0..<inode.size {
                for bit in UInt8(0)..<8 {
                    inode.memory[at] ^= 1 << bit
                    let check = try Self.reader(disk).verify()
                    inode.memory[at] ^= 1 << bit
                    flips += 1
                    // The first fault is in the segment, and no further in than the bit.
                    let fault = check.faults.first
                    guard fault?.segment == number, let offset = fault?.offset, offset <= at else {
                        Issue.record("segment \(number), byte \(at), bit \(bit): \(check.faults)")
                        return
                    }
                }
            }
        }
        print("audit: \(flips) flipped bits found")
    }

    @Test(arguments: [true, false])
    func everyTruncationIsFound(isSealed: Bool) throws {
        let disk = try Self.small(isSealed: isSealed)
        for number in UInt64(1)...3 {
            let bytes = try Self.bytes(disk, number)
            for count in 0..<bytes.count {
                Self.replace(disk, number, Array(bytes.prefix(count)))
                let check = try Self.reader(disk).verify()
                #expect(!check.isWhole, "segment \(number) cut to \(count)")
            }
            Self.replace(disk, number, bytes + [0])
            #expect(!(try Self.reader(disk).verify()).isWhole)
            Self.replace(disk, number, bytes)
        }
        #expect(try Self.reader(disk).verify().isWhole)
    }

    @Test func segmentsThatAreMissingReorderedOrDoubledAreNamed() throws {
        let disk = try Self.small(isSealed: true)
        let all = try (UInt64(1)...3).map { try Self.bytes(disk, $0) }
        for number in UInt64(1)...3 {
            disk.files[Self.segment(number)] = nil
            let check = try Self.reader(disk).verify()
            #expect(check.faults.contains { $0.segment == number }, "\(check.faults)")
            Self.replace(disk, number, all[Int(number) - 1])
        }
        Self.replace(disk, 1, all[1])
        Self.replace(disk, 2, all[0])
        #expect(try Self.reader(disk).verify().faults.first?.segment == 1)
        Self.replace(disk, 1, all[0])
        Self.replace(disk, 2, all[0])
        #expect(try Self.reader(disk).verify().faults.first?.segment == 2)
        Self.replace(disk, 2, all[1])
        Self.replace(disk, 4, all[2])
        #expect(try Self.reader(disk).verify().faults.first?.segment == 4)
    }

    @Test func blocksThatAreRemovedReorderedOrDoubledAreNamed() throws {
        let disk = try Self.small(isSealed: true)
        let bytes = try Self.bytes(disk, 2)
        let file = try AuditSegmentFile(disk, "/audit", 2)
        var blocks: [(start: Int, end: Int, number: UInt64)] = []
        var walk = AuditWalk(file)
        while case .block(let block) = try walk.next() {
            blocks.append((block.offset, walk.end.offset, block.head.number))
        }
        try #require(blocks.count >= 4)
        func expect(_ changed: [UInt8], _ fault: UInt64, _ what: String) throws {
            Self.replace(disk, 2, changed)
            let check = try Self.reader(disk).verify()
            let first = check.faults.first
            #expect(first?.segment == 2 && first?.block == fault, "\(what)")
        }
        for (place, block) in blocks.enumerated() {
            let head = Array(bytes[..<block.start])
            let own = Array(bytes[block.start..<block.end])
            let tail = Array(bytes[block.end...])
            if place + 1 < blocks.count {
                try expect(head + tail, block.number, "removed \(place)")
                let end = blocks[place + 1].end - block.end
                let swapped: [UInt8] = head + tail[..<end] + own
                try expect(swapped + tail[end...], block.number, "reordered \(place)")
            }
            let doubled: [UInt8] = head + own + own
            try expect(doubled + tail, block.number + 1, "doubled \(place)")
        }
    }

    /// The newest segments, taken away whole: the hashes of the rest are all right.
    @Test func aLogWhoseEndIsTakenAwayIsFound() throws {
        let disk = try Self.small(isSealed: true)
        disk.files[Self.segment(3)] = nil
        let check = try Self.reader(disk).verify(key: try Self.reader(disk).key())
        #expect(check.faults.count == 1 && check.faults.first?.segment == 3)
        #expect(check.faults.first?.words.contains("durable up to here") == true)
    }

    @Test func bytesThatAreNoLogAreNamedAndNeverTrap() throws {
        var random = SeededRandom.printed("audit noise")
        let disk = try Self.small(isSealed: true)
        let all = try (UInt64(1)...3).map { try Self.bytes(disk, $0) }
        for _ in 0..<(400 * testScale) {
            let number = UInt64.random(in: 1...3, using: &random)
            var bytes = all[Int(number) - 1]
            let start = Int.random(in: 0..<bytes.count, using: &random)
            for at in start..<min(bytes.count, start + Int.random(in: 1...64, using: &random)) {
                bytes[at] = UInt8.random(in: 0...255, using: &random)
            }
            guard bytes != all[Int(number) - 1] else { continue }
            Self.replace(disk, number, bytes)
            #expect(!(try Self.reader(disk).verify()).isWhole)
            do { _ = try auditRecords(Self.reader(disk)) } catch {
                #expect((error as? AuditFailure)?.exitCode == 78, "\(error)")
            }
            Self.replace(disk, number, all[Int(number) - 1])
        }
    }

    /// A block with that content and a right hash.
    private static func block(
        _ kind: AuditBlockKind, _ content: [UInt8], count: UInt32
    ) throws -> AuditReadBlock {
        var block = AuditBlock(kind)
        block.count = count
        block.payload = AuditPieces.payload(content)
        let made = block.encoded(number: 0, previous: .zero).bytes
        return try #require(AuditReadBlock(made, offset: 128))
    }

    private static func content(_ payload: [UInt8]) throws -> [UInt8] {
        let sizes = try #require(AuditPieces.sizes(payload.count))
        return Array(payload.suffix(sizes.content))
    }

    /// Contents that checksums and a hash would cover, and no writer wrote.
    @Test func noContentTrapsAndEachPrefixIsRefused() throws {
        var random = SeededRandom.printed("audit payloads")
        var builder = AuditBlockBuilder()
        var book = AuditNameBook()
        let world = try AuditWorld()
        for _ in 0..<40 {
            var sample = AuditSample.random(&random, at: world.now)
            world.put(&sample)
        }
        var position = world.log.rings[0].start
        #expect(
            world.log.rings[0].read(&position) { entry in
                builder.add(entry, ring: 1, life: 3, &book)
                return true
            })
        let block = builder.finish { _, _ in 0 }
        let written = try #require(block.draft).payload(&book)
        func walk(_ content: [UInt8]) throws -> Bool {
            let read = try Self.block(.records, content, count: block.count)
            guard let pieces = AuditPieces(read), let page = try AuditPage(pieces) else {
                return false
            }
            return try page.isWhole(behind: AuditNameCounts())
        }
        let content = try Self.content(written.bytes)
        #expect(try walk(content))
        for count in 0..<content.count { #expect(!(try walk(Array(content.prefix(count))))) }
        for _ in 0..<(4_000 * testScale) {
            var bytes = content
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] =
                    UInt8.random(in: 0...255, using: &random)
            }
            _ = try walk(bytes)
        }
        var index = AuditIndexBuilder()
        index.add(
            AuditIndexBlock(
                kind: .records, offset: 128, bytes: 900, count: 40, first: 5, last: 9,
                fresh: written.fresh), block.keys)
        let key = try #require([UInt8](repeating: 1, count: 32).withUnsafeBytes { AuditKey($0) })
        let seal = try Self.content(
            AuditSeal.block(
                index, [AuditRingMark(ring: 1)], segment: 1, previous: .zero, key: key,
                now: WallTime(milliseconds: 0)
            ).payload)
        func open(_ content: [UInt8]) throws -> AuditSeal? {
            try AuditSeal(try Self.block(.seal, content, count: 40), version: 2)
        }
        #expect(try open(seal)?.blocks == index.blocks)
        for count in 0..<seal.count { #expect(try open(Array(seal.prefix(count))) == nil) }
        for _ in 0..<(4_000 * testScale) {
            var bytes = seal
            bytes[Int.random(in: 0..<(bytes.count - 36), using: &random)] =
                UInt8.random(in: 0...255, using: &random)
            for hash in [0, UInt32.max, block.keys.organizations[0]] {
                _ = try open(bytes)?.places(.organizations, hash: hash)
            }
        }
    }
}
