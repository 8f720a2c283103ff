import Glibc
import TollgateWire

@testable import TollgateStorage

/// Files in memory, as the kernel of a host without a power cut would keep them: they outlive the
/// ledger that wrote them. Any call can be made to fail. One thread.
final class MemoryDisk: Disk, @unchecked Sendable {
    // Sendable: tests that use it ask for one thread.

    /// Which calls fail.
    enum Fault {
        /// The n-th from now on, once.
        case once(Int, Int32)
        /// That one and all that change anything behind it.
        case from(Int, Int32)
    }

    final class Inode {
        var memory: UnsafeMutableRawBufferPointer
        var size: Int

        init(_ bytes: Int) {
            memory = .allocate(byteCount: max(bytes, 4_096), alignment: 4_096)
            memory.zero()
            size = bytes
        }

        init(copying other: Inode) {
            memory = .allocate(byteCount: other.memory.count, alignment: 4_096)
            memory.copyMemory(from: UnsafeRawBufferPointer(other.memory))
            size = other.size
        }

        deinit { memory.deallocate() }

        func grow(_ bytes: Int) {
            size = max(size, bytes)
            guard bytes > memory.count else { return }
            let larger = UnsafeMutableRawBufferPointer.allocate(
                byteCount: 2 * bytes, alignment: 4_096)
            larger.zero()
            larger.copyMemory(from: UnsafeRawBufferPointer(memory))
            memory.deallocate()
            memory = larger
        }
    }

    var files: [String: Inode] = [:]
    var directories: Set<String> = []
    var locked: Set<String> = []
    var fault: Fault?
    /// Files that cannot be made, by path.
    var failsMaking: ((String) -> Bool)?
    /// Files that cannot be written, by path.
    var failsWriting: ((String) -> Bool)?
    /// Files that are listed, and gone when they are opened.
    var hides: ((String) -> Bool)?
    var calls = 0
    var bytesRead = 0
    /// Calls that failed as they were told to.
    var failures = 0
    /// While it is not `nil`: every call that was made, in order.
    var record: [(call: DiskError.Call, path: String)]?
    /// Paths that were synced once more after a sync had failed.
    var syncedAgain: [String] = []

    init() {}

    /// What another process finds.
    func copy() -> MemoryDisk {
        let other = MemoryDisk()
        other.files = files.mapValues { Inode(copying: $0) }
        other.directories = directories
        return other
    }

    func call(_ call: DiskError.Call, _ path: String) throws(DiskError) {
        calls += 1
        record?.append((call, path))
        switch fault {
        case .once(let left, let errno):
            fault = left > 1 ? .once(left - 1, errno) : nil
            if left <= 1 { throw failed(call, path, errno) }
        case .from(let left, let errno):
            if left > 1 {
                fault = .from(left - 1, errno)
            } else if call != .list, call != .open, call != .read, call != .lock {
                throw failed(call, path, errno)
            }
        case nil: break
        }
    }

    func failed(
        _ call: DiskError.Call, _ path: String, _ errno: Int32
    ) -> DiskError {
        failures += 1
        return DiskError(call, path, errno)
    }

    private func file(_ call: DiskError.Call, _ path: String) throws(DiskError) -> Inode {
        guard let inode = files[path] else { throw DiskError(call, path, ENOENT) }
        return inode
    }

    func list(_ directory: String) throws(DiskError) -> [String] {
        try call(.list, directory)
        guard directories.contains(directory) else { throw DiskError(.list, directory, ENOENT) }
        let prefix = directory + "/"
        return (Array(files.keys) + Array(directories)).filter {
            $0.hasPrefix(prefix) && !$0.dropFirst(prefix.count).contains("/")
        }.map { String($0.dropFirst(prefix.count)) }.sorted()
    }

    func makeDirectory(_ path: String) throws(DiskError) {
        try call(.makeDirectory, path)
        directories.insert(path)
    }

    func create(_ path: String, bytes: Int) throws(DiskError) -> any DiskFile {
        try call(.create, path)
        if failsMaking?(path) == true { throw failed(.create, path, ENOSPC) }
        guard files[path] == nil else { throw DiskError(.create, path, EEXIST) }
        let inode = Inode(bytes)
        files[path] = inode
        return MemoryFile(self, path, inode)
    }

    func open(_ path: String, writable: Bool) throws(DiskError) -> any DiskFile {
        try call(.open, path)
        if hides?(path) == true { throw DiskError(.open, path, ENOENT) }
        return MemoryFile(self, path, try file(.open, path))
    }

    func rename(_ path: String, to: String) throws(DiskError) {
        try call(.rename, path)
        files[to] = try file(.rename, path)
        files[path] = nil
    }

    func remove(_ path: String) throws(DiskError) {
        try call(.remove, path)
        _ = try file(.remove, path)
        files[path] = nil
    }

    func syncDirectory(_ path: String) throws(DiskError) { try call(.syncDirectory, path) }

    func lock(_ path: String) throws(DiskError) -> any DiskLock {
        try call(.lock, path)
        guard locked.insert(path).inserted else { throw DiskError(.lock, path, EWOULDBLOCK) }
        return MemoryLock(self, path)
    }
}

private final class MemoryLock: DiskLock {
    private let disk: MemoryDisk
    private let path: String

    init(_ disk: MemoryDisk, _ path: String) {
        self.disk = disk
        self.path = path
    }

    deinit { disk.locked.remove(path) }
}

private final class MemoryFile: DiskFile, @unchecked Sendable {
    // Sendable: as its disk.
    let path: String
    private let disk: MemoryDisk
    private let inode: MemoryDisk.Inode
    private var failure: Int32 = 0

    init(_ disk: MemoryDisk, _ path: String, _ inode: MemoryDisk.Inode) {
        self.disk = disk
        self.path = path
        self.inode = inode
    }

    var bytes: Int { inode.size }

    func read(into: UnsafeMutableRawBufferPointer, at offset: Int) throws(DiskError) -> Int {
        try disk.call(.read, path)
        let count = max(0, min(into.count, inode.size - offset))
        into.copy(
            UnsafeRawBufferPointer(inode.memory).slice(
                at: min(offset, inode.size), length: count), to: 0)
        disk.bytesRead += count
        return count
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(DiskError) {
        try disk.call(.write, path)
        if disk.failsWriting?(path) == true { throw disk.failed(.write, path, EIO) }
        inode.grow(offset + bytes.count)
        inode.memory.copy(bytes, to: offset)
    }

    func sync() throws(DiskError) {
        if failure != 0 { disk.syncedAgain.append(path) }
        do { try disk.call(.sync, path) } catch {
            failure = error.errno
            throw error
        }
    }

    func map() throws(DiskError) -> UnsafeMutableRawBufferPointer {
        try disk.call(.map, path)
        return UnsafeMutableRawBufferPointer(rebasing: inode.memory.prefix(inode.size))
    }

    func unmap() {}
}
