import Foundation
import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore
@testable import TollgateStorage

@Suite struct AuditLogTests {
    /// A request as most are: 10,000 users of 1,000 organizations, tokens or keys, IPv4.
    static func realistic(
        _ random: inout SeededRandom, _ world: AuditWorld, nameBytes: Int = 0
    ) -> AuditSample {
        var sample = AuditSample()
        let user = Int.random(in: 0..<10_000, using: &random)
        sample.head.kind = 1
        sample.head.wallMilliseconds = world.now
        sample.head.bootNanoseconds =
            UInt64(world.now) * 1_000_000 + UInt64.random(in: 0..<1_000_000, using: &random)
        sample.head.generation = 1
        sample.head.order = UInt64(world.now - AuditWorld.start) + random.next() % 2_000
        sample.head.plan = UInt16(user % 2)
        sample.head.operation = UInt16(random.next() % 2)
        sample.head.rate = 0
        sample.head.quota = 1
        (sample.head.rateLimit, sample.head.rateUsed) = (600, random.next() % 600)
        (sample.head.quotaLimit, sample.head.quotaUsed) = (2_000_000, random.next() % 2_000_000)
        sample.head.addressFamily = 4
        sample.head.addressHigh = random.next() >> 32
        sample.charges = [AuditCharge(meter: 1, units: 1, weighted: 1)]
        sample.organization = named("org-\(100 + user / 10)", nameBytes)
        sample.user = named("user-\(10_000 + user)", nameBytes)
        if random.next() % 4 == 0 {
            sample.head.credentialKind = 2
            sample.key = Array("key0123456\(100_000 + user)".utf8)
        } else {
            sample.head.credentialKind = 1
            sample.head.issuer = 0
        }
        if random.next() % 20 == 0 {
            sample.head.reason = Reason.rateLimited.rawValue
            sample.head.retryMilliseconds = 1_000
            sample.standings = [
                AuditStanding(limit: 0, scope: 1, flags: 1, used: 600, held: 0, most: 600),
                AuditStanding(limit: 1, scope: 2, flags: 0, used: 7_000, held: 0, most: 2_000_000),
            ]
        }
        return sample
    }

    private static func named(_ name: String, _ bytes: Int) -> String {
        name + String(repeating: "x", count: max(0, bytes - name.utf8.count))
    }

    @Test func everyFieldOfEveryEntryIsReadAsItWasWritten() throws {
        var random = SeededRandom.printed("audit round trip")
        let world = try AuditWorld(rings: 3)
        var other = AuditWorld.names
        other.generation = 2
        other.plans = ["only"]
        try world.log.add(other)
        var samples: [[AuditSample]] = [[], [], []]
        for round in 0..<(40 * testScale) {
            for _ in 0..<Int.random(in: 0...120, using: &random) {
                let ring = Int.random(in: 0...2, using: &random)
                var sample = AuditSample.random(&random, at: world.now)
                #expect(world.put(&sample, ring: ring))
                samples[ring].append(sample)
            }
            world.drain()
            if round == 20 { #expect(world.log.status.waitingBytes == 0) }
        }
        world.close()
        #expect(world.log.status.failure == nil)
        #expect(world.log.status.recorded == UInt64(samples.joined().count))
        let records = try auditRecords(world.reader)
        for (ring, own) in samples.enumerated() {
            let read = records.filter { $0.id >> 56 == UInt64(ring + 1) }
            try #require(read.count == own.count)
            for (record, sample) in zip(read, own) {
                let names = sample.head.generation == 1 ? AuditWorld.names : other
                #expect(auditDifferences(record, sample, names) == [])
            }
        }
        let check = try world.reader.verify(key: try world.reader.key())
        #expect(check.isWhole && check.isSealed && check.sealsSigned == check.seals)
        #expect(check.records == UInt64(records.count))
    }

    /// Names as they are, of as many bytes as a UUID has, and of as many as there may be.
    @Test(arguments: [0, 36, 128])
    func aDecisionTakesAtMost64BytesOfRealisticTraffic(nameBytes: Int) throws {
        var random = SeededRandom(seed: 9)
        let world = try AuditWorld { $0.ringBytes = 4 << 20 }
        let count = 100_000
        for index in 0..<count {
            var sample = Self.realistic(&random, world, nameBytes: nameBytes)
            #expect(world.put(&sample))
            // 20,000 a second.
            if index % 2_000 == 1_999 { world.drain() }
        }
        world.close()
        let bytes = Double(world.log.status.bytes) / Double(count)
        print("audit: \(bytes) bytes a decision, names of \(nameBytes), index and chain included")
        #expect(bytes <= 64)
        #expect(try world.reader.verify().records == UInt64(count))
    }

    /// Not a test of speed: prints what a drain takes, for whoever changes it.
    @Test func aDrainPrintsWhatAnEntryTakes() throws {
        var random = SeededRandom(seed: 10)
        let folder = TestFolder()
        let world = try AuditWorld(SystemDisk(), directory: folder.path + "/audit") {
            $0.ringBytes = 16 << 20
        }
        var nanoseconds: UInt64 = 0
        let count = 60_000
        for _ in 0..<3 {
            for _ in 0..<(count / 3) {
                var sample = Self.realistic(&random, world)
                #expect(world.put(&sample))
            }
            let began = DispatchTime.now().uptimeNanoseconds
            world.drain()
            nanoseconds += DispatchTime.now().uptimeNanoseconds - began
        }
        print("audit: \(nanoseconds / UInt64(count)) ns an entry to drain")
        world.close()
        #expect(world.log.status.recorded == UInt64(count) && world.log.status.failure == nil)
        #expect(try world.reader.verify().records == UInt64(count))
    }

    @Test func whatIsNotDurableIsSyncedEachSecond() throws {
        let world = try AuditWorld()
        var sample = AuditSample()
        world.put(&sample)
        world.drain()
        #expect(world.log.status.lastSyncMilliseconds == 0)
        world.drain(after: 1_000)
        #expect(world.log.status.lastSyncMilliseconds == world.now)
        let head = try #require(try world.reader.verify(key: world.reader.key()).head)
        #expect(head.end.segment == 1 && head.end.block == 1)
    }

    @Test func theDirectoryIsLockedWhileItIsWritten() throws {
        let disk = MemoryDisk()
        let world = try AuditWorld(disk)
        #expect {
            try AuditWorld(disk)
        } throws: { error in
            (error as? AuditFailure)?.exitCode == 75
                && (error as? AuditFailure)?.message.contains("stop it first") == true
        }
        withExtendedLifetime(world) {}
    }

    @Test func filesAreTheirGroupsToReadAndTheKeyIsNobodyElses() throws {
        let folder = TestFolder()
        let before = umask(0)
        defer { umask(before) }
        let log = try AuditLog.open(
            AuditSettings(directory: folder.path + "/audit"), rings: 1, boot: (1, 2), life: nil,
            now: WallTime(milliseconds: 5)) { _ in }
        func mode(_ path: String) -> mode_t {
            var status = stat()
            #expect(stat(folder.path + path, &status) == 0)
            return status.st_mode & 0o777
        }
        #expect(mode("/audit") == 0o750 && mode("/audit/ring.1") == 0o640)
        #expect(mode("/audit/audit.key") == 0o600)
        withExtendedLifetime(log) {}
    }

    @Test func segmentsEndBySizeAndByTime() throws {
        var random = SeededRandom(seed: 4)
        let world = try AuditWorld {
            $0.segmentBytes = 64 << 10
            $0.segmentSeconds = 60
        }
        for _ in 0..<40 {
            for _ in 0..<100 {
                var sample = Self.realistic(&random, world)
                world.put(&sample)
            }
            world.drain()
        }
        #expect(world.log.status.segments >= 3)
        let before = world.log.status.segments
        world.drain(after: 60_000)
        var sample = AuditSample()
        world.put(&sample)
        world.drain()
        #expect(world.log.status.segments == before + 1)
        world.close()
        let infos = try world.reader.segments()
        #expect(infos.allSatisfy { $0.isSealed })
        #expect(infos.map(\.number) == Array(1...UInt64(infos.count)))
        #expect(infos.compactMap { $0.records }.reduce(0, +) == 4_001)
        let check = try world.reader.verify(key: try world.reader.key())
        #expect(check.isWhole && check.sealsSigned == infos.count)
        // Another key signs none.
        let key = try #require([UInt8](repeating: 1, count: 32).withUnsafeBytes { AuditKey($0) })
        #expect(!(try world.reader.verify(key: key)).isWhole)
    }
}
