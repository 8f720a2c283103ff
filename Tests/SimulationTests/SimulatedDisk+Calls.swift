import Glibc
import TollgateStorage

/// The calls themselves. Paths are absolute.
extension SimulatedDisk: Disk {
    func list(_ directory: String) throws(DiskError) -> [String] {
        try perform(.list, directory) { () throws(DiskError) in
            guard names.directories.contains(directory) else {
                throw DiskError(.list, directory, ENOENT)
            }
            let all = Array(names.files.keys) + Array(names.directories)
            return all.filter { $0 != "/" && Self.parent($0) == directory }
                .map { String($0.dropFirst(directory == "/" ? 1 : directory.utf8.count + 1)) }
                .sorted()
        }
    }

    func makeDirectory(_ path: String) throws(DiskError) {
        try perform(.makeDirectory, path, changes: true) { () throws(DiskError) in
            guard names.directories.contains(Self.parent(path)) else {
                throw DiskError(.makeDirectory, path, ENOENT)
            }
            if !names.directories.contains(path) { change(.makeDirectory(path)) }
        }
    }

    func create(_ path: String, bytes: Int) throws(DiskError) -> any DiskFile {
        let file = try perform(.create, path, changes: true) { () throws(DiskError) in
            guard names.directories.contains(Self.parent(path)) else {
                throw DiskError(.create, path, ENOENT)
            }
            guard names.files[path] == nil else { throw DiskError(.create, path, EEXIST) }
            return SimulatedFile(self, make(path), path, isWritable: true)
        }
        guard bytes > 0 else { return file }
        do throws(DiskError) {
            try fill(file.number, path, bytes: bytes)
            try file.sync()
        } catch {
            if !hasCrashed, names.files[path] == file.number { change(.unlink(path)) }
            throw error
        }
        return file
    }

    /// Room is set aside, and zeros are written to all of it.
    private func fill(_ number: Int, _ path: String, bytes: Int) throws(DiskError) {
        let inode = try inode(number, .create, path)
        try perform(.write, path, changes: true) { () throws(DiskError) in
            guard hasRoom(bytes) else { throw DiskError(.create, path, ENOSPC) }
            inode.allocate(bytes)
        }
    }

    func open(_ path: String, writable: Bool) throws(DiskError) -> any DiskFile {
        try perform(.open, path, changes: writable) { () throws(DiskError) in
            guard let number = names.files[path] else { throw DiskError(.open, path, ENOENT) }
            return SimulatedFile(self, number, path, isWritable: writable)
        }
    }

    func rename(_ path: String, to: String) throws(DiskError) {
        try perform(.rename, to, changes: true) { () throws(DiskError) in
            guard let number = names.files[path] else { throw DiskError(.rename, path, ENOENT) }
            if let wrong = order.renaming(path, to: to, self) { report(wrong) }
            change(.move(from: path, to: to, number))
        }
    }

    func remove(_ path: String) throws(DiskError) {
        try perform(.remove, path, changes: true) { () throws(DiskError) in
            guard names.files[path] != nil else { throw DiskError(.remove, path, ENOENT) }
            if let wrong = order.removing(path, self) { report(wrong) }
            change(.unlink(path))
            forgetUnreachable()
        }
    }

    private func change(_ change: NameChange) {
        names.apply(change)
        pendingNames.append(change)
    }

    func syncDirectory(_ directory: String) throws(DiskError) {
        try perform(.syncDirectory, directory) {
            if lies() { return cacheNames(directory) }
            settleNames(directory)
        }
    }

    func settleNames(_ directory: String) {
        for change in pendingNames where change.directories.contains(directory) {
            durableNames.apply(change)
        }
        pendingNames.removeAll { $0.directories.contains(directory) }
        forgetUnreachable()
    }

    func lock(_ path: String) throws(DiskError) -> any DiskLock {
        try perform(.lock, path) { () throws(DiskError) in
            if names.files[path] == nil {
                if faults.isReadOnly { throw DiskError(.lock, path, EROFS) }
                _ = make(path)
            }
            guard locked.insert(path).inserted else { throw DiskError(.lock, path, EWOULDBLOCK) }
            return SimulatedLock(self, path)
        }
    }

    func inode(
        _ number: Int, _ call: DiskError.Call, _ path: String
    ) throws(DiskError) -> SimulatedInode {
        guard !hasCrashed else { throw DiskError(call, path, Self.crashed) }
        guard let inode = inodes[number] else { throw DiskError(call, path, EBADF) }
        return inode
    }

    /// Drops files that no name leads to, now or after a crash, and that nobody has open.
    func forgetUnreachable() {
        var reachable = Set(names.files.values).union(durableNames.files.values)
        for change in pendingNames {
            switch change {
            case .link(_, let number), .move(_, _, let number): reachable.insert(number)
            case .unlink, .makeDirectory: continue
            }
        }
        for (number, inode) in inodes where !reachable.contains(number) {
            guard opened[number, default: 0] == 0 else { continue }
            if inode.wasWrittenUnmapped { report("memory that was unmapped was written to") }
            inodes[number] = nil
        }
    }
}

/// An open file of a `SimulatedDisk`, closed with its last reference.
final class SimulatedFile: DiskFile, @unchecked Sendable {
    // Sendable: a simulation is one thread.
    let path: String
    let number: Int
    private let disk: SimulatedDisk
    private let isWritable: Bool
    private var failure: Int32 = 0
    private var mapped: UnsafeMutableRawBufferPointer?

    init(_ disk: SimulatedDisk, _ number: Int, _ path: String, isWritable: Bool) {
        self.disk = disk
        self.number = number
        self.path = path
        self.isWritable = isWritable
        disk.opened[number, default: 0] += 1
    }

    deinit {
        unmap()
        disk.opened[number, default: 1] -= 1
        if !disk.hasCrashed { disk.forgetUnreachable() }
    }

    var bytes: Int { disk.inodes[number]?.size ?? 0 }

    func read(into: UnsafeMutableRawBufferPointer, at offset: Int) throws(DiskError) -> Int {
        let inode = try disk.inode(number, .read, path)
        return try disk.perform(.read, path) {
            let count = max(0, min(into.count, inode.size - offset))
            guard count > 0 else { return 0 }
            into.baseAddress?.copyMemory(from: inode.memory + offset, byteCount: count)
            return count
        }
    }

    /// Out of space it writes as much as there is room for.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(DiskError) {
        guard isWritable else { throw DiskError(.write, path, EBADF) }
        let inode = try disk.inode(number, .write, path)
        try disk.perform(.write, path, changes: true) { () throws(DiskError) in
            let more = offset + bytes.count - inode.allocated
            if more <= 0 || disk.hasRoom(more) {
                inode.write(bytes, at: offset)
                return
            }
            let room = max(0, (disk.faults.spaceBytes ?? 0) - disk.bytesTaken)
            let some = max(0, min(bytes.count, inode.allocated + room - offset))
            inode.write(UnsafeRawBufferPointer(rebasing: bytes[..<some]), at: offset)
            throw DiskError(.write, path, ENOSPC)
        }
    }

    func sync() throws(DiskError) {
        guard failure == 0 else { throw DiskError(.sync, path, failure) }
        let inode = try disk.inode(number, .sync, path)
        if disk.failedSyncs.contains(number) {
            disk.report("\(path) is synced again after a sync that failed")
        }
        do throws(DiskError) {
            try disk.perform(.sync, path) {
                if disk.lies() { return disk.cache(inode, number) }
                inode.sync()
                disk.order.noteSynced(number, path, disk)
            }
        } catch {
            guard !disk.hasCrashed else { throw error }
            // From now on its pages count as clean, though not all of them arrived.
            inode.failSync(&disk.random)
            disk.failedSyncs.insert(number)
            failure = error.errno
            throw error
        }
    }

    /// Memory that is not set aside could not be written to on a full disk.
    func map() throws(DiskError) -> UnsafeMutableRawBufferPointer {
        if let mapped { return mapped }
        guard isWritable else { throw DiskError(.map, path, EBADF) }
        let inode = try disk.inode(number, .map, path)
        return try disk.perform(.map, path) { () throws(DiskError) in
            guard inode.size > 0 else { throw DiskError(.map, path, EINVAL) }
            if inode.size > inode.allocated {
                disk.report("\(path) is mapped where the disk has set no room aside")
            }
            let made = UnsafeMutableRawBufferPointer(start: inode.map(), count: inode.size)
            mapped = made
            return made
        }
    }

    func unmap() {
        guard mapped != nil else { return }
        mapped = nil
        guard !disk.hasCrashed else { return }
        disk.inodes[number]?.unmap()
    }
}

final class SimulatedLock: DiskLock, @unchecked Sendable {
    // Sendable: a simulation is one thread.
    private let disk: SimulatedDisk
    private let path: String

    init(_ disk: SimulatedDisk, _ path: String) {
        self.disk = disk
        self.path = path
    }

    deinit { disk.locked.remove(path) }
}
