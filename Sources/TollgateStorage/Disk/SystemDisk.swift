import CLinux
import Glibc

/// The kernel's files.
package final class SystemDisk: Disk {
    private let fileMode: mode_t
    private let directoryMode: mode_t

    /// Nobody else's files; or, beside the owner's, those that a group may read.
    package init(fileMode: mode_t = 0o600, directoryMode: mode_t = 0o700) {
        self.fileMode = fileMode
        self.directoryMode = directoryMode
    }

    package func list(_ directory: String) throws(DiskError) -> [String] {
        var opened = opendir(directory)
        while opened == nil, errno == EINTR { opened = opendir(directory) }
        guard let stream = opened else { throw DiskError(.list, directory, errno) }
        defer { closedir(stream) }
        var names: [String] = []
        var failure: Int32 = 0
        while let name = tg_next_name(UnsafeMutableRawPointer(stream), &failure) {
            let text = String(cString: name)
            if text != "." && text != ".." { names.append(text) }
        }
        guard failure == 0 else { throw DiskError(.list, directory, failure) }
        return names.sorted()
    }

    package func makeDirectory(_ path: String) throws(DiskError) {
        if mkdir(path, directoryMode) == 0 { return }
        let failure = errno
        var status = stat()
        guard failure == EEXIST, lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR
        else { throw DiskError(.makeDirectory, path, failure) }
    }

    package func create(_ path: String, bytes: Int) throws(DiskError) -> any DiskFile {
        let flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW
        let descriptor = try opened(path, flags, .create)
        let file = SystemFile(descriptor, path: path, bytes: bytes, isWritable: true)
        guard bytes > 0 else { return file }
        do throws(DiskError) {
            try file.fill()
            try file.sync()
        } catch {
            // It failed already: what removing says does not matter.
            _ = unlink(path)
            throw error
        }
        return file
    }

    package func open(_ path: String, writable: Bool) throws(DiskError) -> any DiskFile {
        let flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
        let descriptor = try opened(path, flags, .open)
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            let failure = errno
            close(descriptor)
            throw DiskError(.open, path, failure)
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw DiskError(.open, path, EINVAL)
        }
        return SystemFile(
            descriptor, path: path, bytes: Int(status.st_size), isWritable: writable)
    }

    package func rename(_ path: String, to: String) throws(DiskError) {
        guard Glibc.rename(path, to) == 0 else { throw DiskError(.rename, path, errno) }
    }

    package func remove(_ path: String) throws(DiskError) {
        guard unlink(path) == 0 else { throw DiskError(.remove, path, errno) }
    }

    package func syncDirectory(_ path: String) throws(DiskError) {
        let descriptor = try opened(
            path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, .syncDirectory)
        defer { close(descriptor) }
        let failure = SystemFile.retried { fsync(descriptor) == 0 ? 0 : -Int(errno) }
        guard failure == 0 else {
            throw DiskError(.syncDirectory, path, Int32(truncatingIfNeeded: -failure))
        }
    }

    package func lock(_ path: String) throws(DiskError) -> any DiskLock {
        try lock(path, O_RDWR | O_CREAT, LOCK_EX)
    }

    package func lockToLook(_ path: String) throws(DiskError) -> (any DiskLock)? {
        do throws(DiskError) { return try lock(path, O_RDONLY, LOCK_SH) } catch {
            guard error.isAbsent else { throw error }
            return nil
        }
    }

    package func lockDirectory(
        _ path: String, looking: Bool
    ) throws(DiskError) -> (any DiskLock)? {
        try lock(path, O_RDONLY | O_DIRECTORY, looking ? LOCK_SH : LOCK_EX)
    }

    private func lock(
        _ path: String, _ flags: Int32, _ operation: Int32
    ) throws(DiskError) -> any DiskLock {
        for _ in 0..<Self.lockTries {
            let lock = SystemLock(try opened(path, flags | O_CLOEXEC | O_NOFOLLOW, .lock))
            let failure = SystemFile.retried {
                flock(lock.descriptor, operation | LOCK_NB) == 0 ? 0 : -Int(errno)
            }
            guard failure == 0 else {
                throw DiskError(.lock, path, Int32(truncatingIfNeeded: -failure))
            }
            if lock.isOf(path) { return lock }
            // Somebody removed it, or put another in its place, before it was locked.
        }
        throw DiskError(.lock, path, EAGAIN)
    }

    private static let lockTries = 100

    private func opened(
        _ path: String, _ flags: Int32, _ call: DiskError.Call
    ) throws(DiskError) -> Int32 {
        let result = SystemFile.retried {
            let made = Glibc.open(path, flags, fileMode)
            return made >= 0 ? Int(made) : -Int(errno)
        }
        guard result >= 0 else { throw DiskError(call, path, Int32(truncatingIfNeeded: -result)) }
        return Int32(truncatingIfNeeded: result)
    }
}

private final class SystemLock: DiskLock {
    let descriptor: Int32

    init(_ descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// Whether it is what stands at that path.
    func isOf(_ path: String) -> Bool {
        var (own, named) = (stat(), stat())
        return fstat(descriptor, &own) == 0 && lstat(path, &named) == 0
            && own.st_ino == named.st_ino && own.st_dev == named.st_dev
    }
}
