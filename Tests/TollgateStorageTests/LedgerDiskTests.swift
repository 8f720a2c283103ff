import Foundation
import Glibc
import Testing

@testable import TollgateStorage

/// A folder of its own for one test, removed with the object.
final class LedgerFolder {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "tollgate-ledger-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700])
    }

    deinit {
        do { try FileManager.default.removeItem(atPath: path) } catch {
            print("\(path) is left behind: \(error)")
        }
    }

    func mode(_ name: String) throws -> Int {
        let all = try FileManager.default.attributesOfItem(atPath: path + "/" + name)
        return try #require(all[.posixPermissions] as? Int)
    }
}

@Suite struct LedgerDiskTests {
    let folder: LedgerFolder
    let disk = SystemDisk()

    init() throws { folder = try LedgerFolder() }

    func path(_ name: String) -> String { folder.path + "/" + name }

    @Test func aFileWithRoomIsZeroedAndPrivate() throws {
        let file = try disk.create(path("a"), bytes: 600_000)
        #expect(file.bytes == 600_000)
        let block = try disk.read(path("a"), bytesMax: 600_000)
        #expect(block.read.count == 600_000 && block.read.allSatisfy { $0 == 0 })
        #expect(try folder.mode("a") == 0o600)
        var status = stat()
        #expect(stat(path("a"), &status) == 0 && status.st_blocks * 512 >= 600_000)
    }

    @Test func whatIsMappedIsInTheFile() throws {
        let file = try disk.create(path("a"), bytes: 8_192)
        let memory = try file.map()
        memory[5_000] = 7
        #expect(try file.map().baseAddress == memory.baseAddress)
        try file.sync()
        file.unmap()
        #expect(try disk.read(path("a"), bytesMax: 8_192).read[5_000] == 7)
    }

    @Test func writesBehindTheEndMakeAFileLarger() throws {
        let file = try disk.create(path("a"), bytes: 0)
        try [1, 2, 3].withUnsafeBytes { try file.write($0, at: 10) }
        #expect(file.bytes == 10 + 3 * MemoryLayout<Int>.size)
        let again = try disk.open(path("a"), writable: false)
        #expect(again.bytes == file.bytes)
    }

    @Test func aFileThatStandsIsNotMadeAgain() throws {
        _ = try disk.create(path("a"), bytes: 0)
        #expect(throws: DiskError(.create, path("a"), EEXIST)) {
            try disk.create(path("a"), bytes: 0)
        }
    }

    @Test func namesAreSortedAndMoved() throws {
        for name in ["b", "a", "c"] { _ = try disk.create(path(name), bytes: 0) }
        try disk.rename(path("c"), to: path("A"))
        try disk.remove(path("b"))
        try disk.makeDirectory(path("d"))
        try disk.makeDirectory(path("d"))
        try disk.syncDirectory(folder.path)
        #expect(try disk.list(folder.path) == ["A", "a", "d"])
        #expect(try folder.mode("d") == 0o700)
    }

    @Test func oneLockAtATime() throws {
        var first: (any DiskLock)? = try disk.lock(path("lock"))
        #expect(throws: DiskError(.lock, path("lock"), EWOULDBLOCK)) {
            try disk.lock(path("lock"))
        }
        _ = first
        first = nil
        _ = try disk.lock(path("lock"))
    }

    @Test func aFileWhoseSyncFailedIsNeverSyncedAgain() throws {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        defer { close(ends[1]) }
        // The file closes this end. A pipe cannot be synced.
        let file = SystemFile(ends[0], path: path("a"), bytes: 0, isWritable: true)
        #expect(throws: DiskError(.sync, path("a"), EINVAL)) { try file.sync() }
        // From now on the kernel would say that all is well.
        let good = open(path("b"), O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        #expect(dup2(good, ends[0]) == ends[0] && fdatasync(ends[0]) == 0)
        close(good)
        #expect(throws: DiskError(.sync, path("a"), EINVAL)) { try file.sync() }
    }

    @Test func whatCannotBeDoneSaysWhy() throws {
        try disk.makeDirectory(path("d"))
        _ = symlink(path("d"), path("link"))
        _ = try disk.create(path("a"), bytes: 10)
        let here = path("")
        func errno(_ body: () throws -> Void) -> Int32? {
            do { try body() } catch { return (error as? DiskError)?.errno }
            return nil
        }
        #expect(errno { _ = try disk.list(here + "none") } == ENOENT)
        #expect(errno { _ = try disk.open(here + "none", writable: true) } == ENOENT)
        #expect(errno { _ = try disk.open(here + "d", writable: false) } == EINVAL)
        #expect(errno { _ = try disk.open(here + "link", writable: false) } == ELOOP)
        #expect(errno { _ = try disk.read(here + "a", bytesMax: 9) } == EFBIG)
        #expect(errno { try disk.makeDirectory(here + "a") } == EEXIST)
        #expect(errno { try disk.remove(here + "none") } == ENOENT)
        #expect(errno { try disk.rename(here + "none", to: here + "x") } == ENOENT)
        #expect(errno { _ = try disk.open(here + "a", writable: false).map() } == EBADF)
        #expect(errno { try disk.syncDirectory(here + "a") } == ENOTDIR)
        #expect(DiskError(.sync, "/x", EIO).description == "/x: cannot sync: Input/output error")
    }

    /// RLIMIT_FSIZE stands in for a full disk: what has not all of its room is not left behind.
    @Test func aFileWithoutRoomIsNotMade() throws {
        let file = try disk.create(path("sparse"), bytes: 0)
        #expect(throws: DiskError(.write, path("sparse"), EFBIG)) {
            try [UInt8(1)].withUnsafeBytes { try file.write($0, at: Int.max - 4_096) }
        }
        #expect(throws: DiskError.self) { try disk.create(path("huge"), bytes: 1 << 60) }
        #expect(try disk.list(folder.path) == ["sparse"])
    }
}
