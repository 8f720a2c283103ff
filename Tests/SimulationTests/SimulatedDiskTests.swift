import Glibc
import TestSupport
import Testing
import TollgateStorage

/// The disk that everything else here is judged on.
@Suite struct SimulatedDiskTests {
    private let page = SimulatedInode.pageBytes

    private func bytes(_ value: UInt8, _ count: Int) -> [UInt8] {
        [UInt8](repeating: value, count: count)
    }

    private func write(
        _ file: any DiskFile, at offset: Int = 0, _ bytes: [UInt8]
    ) throws {
        try bytes.withUnsafeBytes { try file.write($0, at: offset) }
    }

    private func content(_ disk: SimulatedDisk, _ path: String) throws -> [UInt8] {
        let file = try disk.open(path, writable: false)
        var bytes = [UInt8](repeating: 0, count: file.bytes)
        let got = try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        #expect(got == bytes.count)
        return bytes
    }

    /// A file of two pages that is durable, with its name.
    private func settled(_ disk: SimulatedDisk, _ path: String = "/a") throws -> any DiskFile {
        let file = try disk.create(path, bytes: 2 * page)
        try write(file, bytes(1, 2 * page))
        try file.sync()
        try disk.syncDirectory("/")
        return file
    }

    private func after(_ disk: SimulatedDisk, _ kind: CrashKind) throws -> SimulatedDisk {
        disk.crash(kind)
        return try #require(disk.afterCrash)
    }

    @Test func aProcessThatIsKilledLosesNothing() throws {
        let disk = SimulatedDisk(seed: 1)
        let file = try disk.create("/a", bytes: page)
        try file.map().storeBytes(of: 7, as: UInt8.self)
        let left = try after(disk, .kill)
        #expect(try content(left, "/a") == [7] + bytes(0, page - 1))
        #expect(throws: DiskError(.sync, "/a", SimulatedDisk.crashed)) { try file.sync() }
    }

    @Test func whatWasSyncedSurvivesAPowerCut() throws {
        for seed in 0..<200 {
            let disk = SimulatedDisk(seed: UInt64(seed))
            let file = try settled(disk)
            try write(file, at: page, bytes(2, page))
            let left = try after(disk, .power)
            let found = try content(left, "/a")
            #expect(found.count == 2 * page)
            #expect(found[..<page] == bytes(1, page)[...])
            // Sector by sector, old or new.
            for at in stride(from: page, to: 2 * page, by: 512) {
                let sector = Array(found[at..<(at + 512)])
                #expect(sector == bytes(1, 512) || sector == bytes(2, 512))
            }
        }
    }

    /// Every outcome that a program has to live with comes, and none that it need not.
    @Test func aPowerCutTearsPagesAndLosesThemInAnyOrder() throws {
        var seen: Set<String> = []
        for seed in 0..<600 {
            let disk = SimulatedDisk(seed: UInt64(seed))
            let file = try settled(disk)
            try write(file, bytes(2, 2 * page))
            let found = try content(try after(disk, .power), "/a")
            let news = [0, 1].map { half in
                (0..<8).filter { found[half * page + $0 * 512] == 2 }.count
            }
            seen.insert(news[0] == 8 && news[1] == 0 ? "first only" : "")
            seen.insert(news[0] == 0 && news[1] == 8 ? "second only" : "")
            seen.insert(news == [0, 0] ? "none" : news == [8, 8] ? "all" : "")
            seen.insert((1...7).contains(news[0]) ? "torn" : "")
        }
        #expect(seen.subtracting([""]).count == 5)
    }

    @Test func aNameIsDurableOnceItsDirectoryWasSynced() throws {
        var lost = 0
        for seed in 0..<100 {
            let disk = SimulatedDisk(seed: UInt64(seed))
            _ = try settled(disk)
            let file = try disk.create("/b", bytes: 0)
            try write(file, bytes(3, 10))
            try file.sync()
            let left = try after(disk, .power)
            #expect(left.names.files["/a"] != nil)
            if left.names.files["/b"] == nil { lost += 1 }
        }
        #expect((20...80).contains(lost))
    }

    @Test func aRenameHappensOrDoesNot() throws {
        var seen: Set<[UInt8]> = []
        for seed in 0..<100 {
            let disk = SimulatedDisk(seed: UInt64(seed))
            _ = try settled(disk)
            let new = try disk.create("/tmp", bytes: 0)
            try write(new, bytes(9, 4))
            try new.sync()
            try disk.rename("/tmp", to: "/a")
            seen.insert(try content(try after(disk, .power), "/a"))
        }
        #expect(seen == [bytes(1, 2 * page), bytes(9, 4)])
    }

    @Test func aFailedSyncIsNotMendedByAnother() throws {
        var lost = 0
        for seed in 0..<100 {
            let disk = SimulatedDisk(seed: UInt64(seed))
            let file = try settled(disk)
            try write(file, bytes(2, page))
            disk.faults.failing[.sync] = EIO
            #expect(throws: DiskError(.sync, "/a", EIO)) { try file.sync() }
            disk.heal()
            #expect(throws: DiskError(.sync, "/a", EIO)) { try file.sync() }
            try disk.open("/a", writable: true).sync()
            #expect(disk.violations.count == 1)
            let found = try content(try after(disk, .power), "/a")
            if found[0] == 1 { lost += 1 }
        }
        #expect((20...80).contains(lost))
    }

    @Test func aLyingSyncSaysYesAndDoesNothing() throws {
        var lost = 0
        for seed in 0..<100 {
            let disk = SimulatedDisk(seed: UInt64(seed))
            let file = try settled(disk)
            disk.faults.liesAboutSync = true
            try write(file, bytes(2, 2 * page))
            try file.sync()
            if try content(try after(disk, .power), "/a") != bytes(2, 2 * page) { lost += 1 }
        }
        #expect((15...60).contains(lost))
    }

    @Test func spaceRunsOutAndComesBack() throws {
        let disk = SimulatedDisk(seed: 1)
        let file = try settled(disk)
        disk.faults.spaceBytes = 3 * page
        #expect(throws: DiskError(.create, "/b", ENOSPC)) {
            try disk.create("/b", bytes: 2 * page)
        }
        #expect(try disk.list("/") == ["a"])
        #expect(throws: DiskError(.write, "/a", ENOSPC)) {
            try write(file, at: 2 * page, bytes(5, 2 * page))
        }
        #expect(try content(disk, "/a") == bytes(1, 2 * page) + bytes(5, page))
        disk.heal()
        _ = try disk.create("/b", bytes: 2 * page)
        #expect(try disk.list("/") == ["a", "b"])
    }

    @Test func everyCallCanFailAndNoneChangesAnythingThen() throws {
        let disk = SimulatedDisk(seed: 1)
        let file = try settled(disk)
        let calls: [(DiskError.Call, () throws -> Void)] = [
            (.write, { try write(file, bytes(4, 8)) }),
            (.map, { _ = try file.map() }),
            (.read, { _ = try content(disk, "/a") }),
            (.open, { _ = try disk.open("/a", writable: false) }),
            (.create, { _ = try disk.create("/b", bytes: 0) }),
            (.rename, { try disk.rename("/a", to: "/b") }),
            (.remove, { try disk.remove("/a") }),
            (.makeDirectory, { try disk.makeDirectory("/d") }),
            (.list, { _ = try disk.list("/") }),
            (.syncDirectory, { try disk.syncDirectory("/") }),
            (.lock, { _ = try disk.lock("/lock") }),
            (.sync, { try file.sync() }),
        ]
        #expect(calls.count == DiskError.Call.allCases.count)
        for (call, body) in calls {
            disk.faults.failing = [call: EIO]
            let error = #expect(throws: DiskError.self) { try body() }
            #expect(error?.call == call && error?.errno == EIO)
        }
        disk.heal()
        disk.faults.isReadOnly = true
        for call in [4, 5, 6, 7] {
            let error = #expect(throws: DiskError.self) { try calls[call].1() }
            #expect(error?.errno == EROFS)
        }
        disk.heal()
        #expect(try content(disk, "/a") == bytes(1, 2 * page))
        #expect(try disk.list("/") == ["a"])
    }

    @Test func aFileIsLockedOnceAtATime() throws {
        let disk = SimulatedDisk(seed: 1)
        let held = try disk.lock("/lock")
        #expect(throws: DiskError(.lock, "/lock", EWOULDBLOCK)) { try disk.lock("/lock") }
        withExtendedLifetime(held) {}
        let left = try after(disk, .kill)
        _ = try left.lock("/lock")
    }

    @Test func theMachineStopsAtTheCallThatWasChosen() throws {
        for calls in 1...6 {
            let disk = SimulatedDisk(seed: UInt64(calls))
            disk.faults.crashAfterCalls = calls
            var made = 0
            do {
                let file = try disk.create("/a", bytes: 0)
                made += 1
                for value in 0..<8 {
                    try write(file, bytes(UInt8(value), 16))
                    made += 1
                }
            } catch { #expect((error as? DiskError)?.errno == SimulatedDisk.crashed) }
            #expect(made == calls - 1)
            #expect(disk.hasCrashed)
        }
    }

    @Test func memoryThatIsWrittenAfterItsUnmappingIsReported() throws {
        let disk = SimulatedDisk(seed: 1)
        let file = try settled(disk)
        let memory = try file.map()
        file.unmap()
        memory.storeBytes(of: 99, as: UInt8.self)
        #expect(try content(disk, "/a") == bytes(1, 2 * page))
        #expect(try after(disk, .kill).violations.count == 1)
    }

    @Test func theSameSeedLeavesTheSameBytes() throws {
        func run(_ seed: UInt64) throws -> [String: [UInt8]] {
            let disk = SimulatedDisk(seed: seed)
            for name in 0..<6 {
                let file = try disk.create("/\(name)", bytes: 0)
                try write(file, bytes(UInt8(name), 9_000))
                if name % 2 == 0 { try file.sync() }
                disk.writeBack()
                if name % 3 == 0 { try disk.syncDirectory("/") }
            }
            let left = try after(disk, .power)
            var found: [String: [UInt8]] = [:]
            for name in try left.list("/") { found[name] = try content(left, "/" + name) }
            return found
        }
        for seed in 0..<20 { #expect(try run(UInt64(seed)) == run(UInt64(seed))) }
        #expect(try (0..<20).contains { try run($0) != run($0 + 1) })
    }
}
