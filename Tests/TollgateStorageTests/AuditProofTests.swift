import Foundation
import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

/// A log that was cut or made anew by somebody without its key is never taken for the one that was
/// written, nor signed by the daemon without a note.
@Suite struct AuditProofTests {
    private static let head = "/audit/" + AuditFiles.head

    private static func put(_ world: AuditWorld, _ rounds: Int = 3) {
        for user in 0..<rounds {
            var sample = AuditSample()
            sample.user = "u\(user)"
            world.put(&sample)
            world.drain(after: 1_000)
        }
    }

    /// Two segments, each of a life that has ended in order.
    private static func written() throws -> MemoryDisk {
        let disk = MemoryDisk()
        for life in 0..<2 {
            let world = try AuditWorld(disk, at: AuditWorld.start + Int64(life) * 9_000)
            put(world)
            world.close()
        }
        return disk.copy()
    }

    private static func segment(_ number: UInt64) -> String {
        "/audit/" + AuditFiles.segment(number)
    }

    private static func verify(_ disk: MemoryDisk) throws -> AuditVerification {
        let reader = AuditReader("/audit", disk)
        return try reader.verify(key: reader.key())
    }

    /// The chain anew, without seals, and with another user's name.
    private static func forge(_ disk: MemoryDisk) throws {
        var end = AuditEnd()
        for number in UInt64(1)...2 {
            let file = try AuditSegmentFile(disk, "/audit", number)
            var header = file.header
            header.firstBlock = end.block
            header.previous = end.head
            header.previousBytes = UInt64(end.offset)
            let (start, hash) = header.encoded
            var bytes = Array(start.read)
            start.keep()
            (end.segment, end.head) = (number, hash)
            var walk = AuditWalk(file)
            while case .block(let read) = try walk.next() {
                guard read.head.kind != .seal else { continue }
                var block = AuditBlock(read.head.kind)
                block.count = read.head.count
                (block.first, block.last) = (read.head.first, read.head.last)
                let pieces = read.head.kind == .records ? AuditPieces(read) : nil
                let bytesBefore = Array(pieces?.content ?? read.payload)
                let changed = bytesBefore.map { $0 == UInt8(ascii: "u") ? 0x76 : $0 }
                block.payload = pieces == nil ? changed : AuditPieces.payload(changed)
                read.keep()
                let made = block.encoded(number: end.block, previous: end.head)
                bytes += Array(made.bytes.read)
                made.bytes.keep()
                end.block += 1
                end.head = made.hash
            }
            end.offset = bytes.count
            let inode = MemoryDisk.Inode(bytes.count)
            bytes.withUnsafeBytes { inode.memory.copy($0, to: 0) }
            disk.files[segment(number)] = inode
        }
    }

    enum Change: CaseIterable {
        case cutASegment, cutABlock, forged, forgedBeneathItsHead
        case noHead, zeroHead, rottenHead, rottenNewest, zeroNewest, shortHead, otherHead
        case nothingButRings

        func make(_ disk: MemoryDisk) throws {
            let inode = try #require(disk.files[AuditProofTests.head])
            let rounds = [0, 512].map {
                UnsafeRawBufferPointer(inode.memory).loadLittle(at: $0 + 8, as: UInt64.self)
            }
            let newest = rounds[0] > rounds[1] ? 0 : 512
            switch self {
            case .cutASegment:
                disk.files[AuditProofTests.segment(2)] = nil
                disk.files[AuditProofTests.head] = nil
            case .cutABlock:
                let file = try AuditSegmentFile(disk, "/audit", 2)
                var walk = AuditWalk(file)
                _ = try walk.next()
                try #require(disk.files[AuditProofTests.segment(2)]).size = walk.end.offset
                disk.files[AuditProofTests.head] = nil
            case .forged:
                try AuditProofTests.forge(disk)
                disk.files[AuditProofTests.head] = nil
            case .forgedBeneathItsHead: try AuditProofTests.forge(disk)
            case .noHead: disk.files[AuditProofTests.head] = nil
            case .zeroHead: inode.memory.zero()
            case .rottenHead: for at in [60, 570] { inode.memory[at] ^= 4 }
            case .rottenNewest: inode.memory[newest + 40] ^= 1
            case .zeroNewest: for at in newest..<(newest + 512) { inode.memory[at] = 0 }
            case .shortHead: inode.size = 700
            case .otherHead:
                let other = try AuditProofTests.written()
                let key = try #require(other.files["/audit/audit.key"])
                key.memory[0] ^= 1
                let world = try AuditWorld(other, at: AuditWorld.start + 50_000)
                AuditProofTests.put(world)
                world.close()
                disk.files[AuditProofTests.head] = other.files[AuditProofTests.head]
            case .nothingButRings:
                for name in [
                    AuditProofTests.segment(1), AuditProofTests.segment(2), AuditProofTests.head,
                ] { disk.files[name] = nil }
            }
        }
    }

    @Test(arguments: Change.allCases)
    func noForgedLogPassesOrIsSignedInSilence(_ change: Change) throws {
        let disk = try Self.written()
        let whole = try Self.verify(disk)
        #expect(whole.isWhole && whole.unsigned == 0 && whole.hasKey && whole.doubt == nil)
        try change.make(disk)
        let check = try Self.verify(disk)
        #expect(!check.isWhole)
        let ofHead: [Change] = [
            .noHead, .zeroHead, .rottenHead, .rottenNewest, .zeroNewest, .shortHead,
        ]
        if ofHead.contains(change) {
            #expect(check.faults.allSatisfy { $0.path == Self.head })
        }
        let next = try AuditWorld(disk, at: AuditWorld.start + 90_000)
        #expect(next.log.status.doubt?.contains("/audit") == true)
        Self.put(next)
        next.close()
        let after = try Self.verify(disk)
        #expect(after.gaps.contains { $0.cause == .lost } && after.doubt != nil)
        // It is said once, and stays in the chain.
        let last = try AuditWorld(disk.copy(), at: AuditWorld.start + 99_000)
        #expect(last.log.status.doubt == nil)
        #expect(try Self.verify(disk).doubt != nil)
    }

    /// By every bit of the head: it is named, and the place where it is.
    @Test func everyFlippedBitOfTheHeadIsNamed() throws {
        let disk = try Self.written()
        let inode = try #require(disk.files[Self.head])
        #expect(inode.size == 1_024)
        for at in 0..<inode.size {
            inode.memory[at] ^= 1 << UInt8(at % 8)
            let faults = try Self.verify(disk).faults
            inode.memory[at] ^= 1 << UInt8(at % 8)
            #expect(faults.map(\.offset) == [at & 512], "byte \(at): \(faults)")
            #expect(faults.allSatisfy { $0.path == Self.head })
        }
    }

    /// What is added behind the signed end is told of, and it is no part of what is proven.
    @Test func whatStandsBehindTheSignedEndIsCounted() throws {
        let disk = MemoryDisk()
        let world = try AuditWorld(disk)
        Self.put(world)
        #expect(try Self.verify(disk).unsigned == 0)
        var sample = AuditSample()
        world.put(&sample)
        world.drain()
        let check = try Self.verify(disk)
        #expect(check.isWhole && check.unsigned == 1)
        #expect(check.unsignedSince?.milliseconds == sample.head.wallMilliseconds)
        let next = try AuditWorld(disk.copy(), at: world.now)
        #expect(next.said.count == 1 && next.said.first?.contains("1 blocks were written") == true)
        next.close()
        let after = try next.reader.verify(key: next.reader.key())
        #expect(after.isWhole && after.unsigned == 0 && after.doubt == nil)
    }

    @Test func anotherKeyProvesNothing() throws {
        let disk = try Self.written()
        disk.files["/audit/audit.key"] = nil
        let next = try AuditWorld(disk, at: AuditWorld.start + 90_000)
        #expect(next.said.contains { $0.contains("is missing, and another is made") })
        #expect(next.log.status.doubt?.contains("neither of its places is signed") == true)
        next.close()
        #expect(!(try Self.verify(disk).isWhole))
    }

    /// Stopped before every call on the disk, from the first start on: what is there then is no
    /// fault and no doubt, and neither is it after the next start.
    @Test func whereverItIsStoppedNothingIsDoubted() throws {
        var call = 0
        var stops = 0
        while true {
            call += 1
            let disk = MemoryDisk()
            disk.fault = .from(call, EIO)
            var start = AuditWorld.start
            for _ in 0..<3 where disk.failures == 0 {
                guard let world = try? AuditWorld(disk, at: start, { $0.segmentBytes = 64 << 10 })
                else { break }
                for _ in 0..<4 where disk.failures == 0 {
                    for _ in 0..<400 {
                        var sample = AuditSample()
                        world.put(&sample)
                    }
                    world.drain(after: 600)
                }
                if disk.failures == 0 { world.close() }
                start = world.now + 1_000
            }
            guard disk.failures > 0 else { break }
            stops += 1
            let stopped = disk.copy()
            guard stopped.directories.contains("/audit") else { continue }
            if stopped.files["/audit/audit.key"] != nil {
                let check = try Self.verify(stopped)
                #expect(check.isWhole && check.doubt == nil, "call \(call): \(check.faults)")
            }
            let next = try AuditWorld(stopped, at: start + 100_000) {
                $0.segmentBytes = 64 << 10
            }
            #expect(next.log.status.doubt == nil, "call \(call): \(next.said)")
            Self.put(next)
            next.close()
            let after = try Self.verify(stopped)
            #expect(after.isWhole && after.doubt == nil, "call \(call): \(after.faults)")
            #expect(after.unsigned == 0)
        }
        #expect(stops > 100)
    }
}
