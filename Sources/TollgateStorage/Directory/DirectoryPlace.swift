import CSQLite
import Glibc

/// The folder that holds the directory's files, locked for this process: nobody else may write
/// there, and a second daemon is refused.
///
/// | file | |
/// |---|---|
/// | `directory.sqlite` | mode 0600 |
/// | `directory.sqlite-journal` | SQLite's rollback journal |
/// | `directory.made` | empty; there is a directory here, which must not be missing |
/// | `directory.lock` | locked with flock while the directory is open |
final class DirectoryPlace {
    static let fileName = "directory.sqlite"
    static let lockName = "directory.lock"
    static let markName = "directory.made"

    let folder: String
    var file: String { folder + "/" + Self.fileName }
    private let lock: DirectoryLock

    /// Checks the folder, locks it, brings to the disk what is there, and makes the file if there
    /// is none.
    init(_ folder: String) throws(StorageFault) {
        self.folder = folder
        try Self.checkFolder(folder)
        lock = try DirectoryLock(folder + "/" + Self.lockName)
        // Before it is read: what the kernel has not written yet may never be (DESIGN.md).
        for name in [Self.fileName, Self.fileName + "-journal"] {
            try Self.sync(folder + "/" + name, orAbsent: true)
        }
        try checkPresence()
        try Self.checkFile(folder + "/" + Self.fileName)
        try Self.sync(folder)
    }

    /// A directory that was here once is never taken for one that is yet to be made: an empty one
    /// would forget every suspension and revocation.
    private func checkPresence() throws(StorageFault) {
        guard access(folder + "/" + Self.markName, F_OK) == 0 else { return }
        var status = stat()
        guard stat(file, &status) == 0, status.st_size > 0 else {
            throw Self.unfit(
                file,
                "is gone or empty, though there was a directory here: put a backup in its place,"
                    + " or, to begin with an empty one, remove \(folder)/\(Self.markName)")
        }
    }

    /// From now on the directory must not be missing. After its file is on the disk.
    func markMade() throws(StorageFault) {
        let path = folder + "/" + Self.markName
        if access(path, F_OK) == 0 { return }
        let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw Self.systemFault(path, errno) }
        close(descriptor)
        try Self.sync(folder)
    }

    private static func checkFolder(_ folder: String) throws(StorageFault) {
        var status = stat()
        guard lstat(folder, &status) == 0 else { throw systemFault(folder, errno) }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw unfit(folder, "not a directory, or a symbolic link to one: name the real one")
        }
        guard status.st_uid == geteuid() else {
            throw unfit(
                folder,
                "belongs to user \(status.st_uid), not \(geteuid()); run: chown \(geteuid())"
                    + " \(folder)")
        }
        guard status.st_mode & 0o022 == 0 else {
            throw unfit(folder, "others may write there; run: chmod go-w \(folder)")
        }
    }

    /// Whether what is there can be ours; makes it when nothing is. SQLite has not opened it yet:
    /// closing a descriptor of an open database would drop its locks.
    private static func checkFile(_ path: String) throws(StorageFault) {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o600)
        guard descriptor >= 0 else { throw systemFault(path, errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw systemFault(path, errno) }
        guard status.st_mode & S_IFMT == S_IFREG, status.st_nlink == 1 else {
            throw unfit(path, "not a plain file with one name")
        }
        guard status.st_mode & 0o077 == 0 else {
            throw unfit(path, "others may read or write it; run: chmod go= \(path)")
        }
        guard status.st_size > 0 else { return }
        var header = [UInt8](repeating: 0, count: 100)
        let got = header.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, 0) }
        guard got == 100, header.starts(with: Array("SQLite format 3\0".utf8)) else {
            throw StorageFault(
                kind: .damaged, path: path, code: SQLITE_NOTADB,
                words: "not an SQLite database; put a backup in its place")
        }
        // Bytes 18 and 19: 2 is WAL (sqlite.org/fileformat2.html).
        guard header[18] != 2, header[19] != 2 else {
            throw unfit(
                path,
                "in WAL mode, which SQLite before 3.51.3 can damage; run: sqlite3 \(path)"
                    + " 'PRAGMA journal_mode=TRUNCATE'")
        }
    }

    /// Brings a file or a folder to the disk.
    static func sync(_ path: String, orAbsent: Bool = false) throws(StorageFault) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        if descriptor < 0, orAbsent, errno == ENOENT { return }
        guard descriptor >= 0 else { throw systemFault(path, errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw systemFault(path, errno) }
    }

    static func systemFault(_ path: String, _ number: Int32) -> StorageFault {
        StorageFault(
            kind: .disk, path: path, code: 0, words: String(cString: strerror(number)))
    }

    static func unfit(_ path: String, _ words: String) -> StorageFault {
        StorageFault(kind: .unfit, path: path, code: 0, words: words)
    }
}

/// A file locked for this process, until let go.
private final class DirectoryLock {
    private let descriptor: Int32

    init(_ path: String) throws(StorageFault) { descriptor = try Self.take(path) }

    deinit { close(descriptor) }

    private static func take(_ path: String) throws(StorageFault) -> Int32 {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw DirectoryPlace.systemFault(path, errno) }
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            let number = errno
            if number == EINTR { continue }
            close(descriptor)
            guard number == EWOULDBLOCK else { throw DirectoryPlace.systemFault(path, number) }
            throw StorageFault(
                kind: .locked, path: path, code: 0,
                words: "another process has the directory open; stop it first")
        }
        return descriptor
    }
}
