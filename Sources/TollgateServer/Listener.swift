import CLinux
import Glibc

/// A listening socket of ours, or one that the service manager handed over. Owns the descriptor
/// and, for its own, the lock file beside it: whoever holds the lock may replace a dead socket,
/// and nobody replaces a live one.
package final class Listener: Sendable {
    static let backlog: Int32 = 4_096
    private static let pathBytesMax = 107

    let descriptor: Int32
    private let path: String?
    private let lockDescriptor: Int32
    private let inode: UInt64

    /// Takes over a socket that is listening already (socket activation).
    init(adopting descriptor: Int32) {
        self.descriptor = descriptor
        path = nil
        lockDescriptor = -1
        inode = 0
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    }

    /// Binds and listens. Throws, and changes nothing, when the place is not safe or is taken.
    init(_ settings: ServerSettings.Socket) throws(StartError) {
        let path = settings.path
        try Self.checkPath(path)
        try Self.checkDirectory(of: path)
        lockDescriptor = try Self.lock(path)
        do throws(StartError) {
            try Self.removeDeadSocket(path)
            descriptor = try Self.bindAndListen(settings)
        } catch {
            close(lockDescriptor)
            throw error
        }
        var status = stat()
        inode = stat(path, &status) == 0 ? UInt64(status.st_ino) : 0
        self.path = path
    }

    deinit {
        close(descriptor)
        if lockDescriptor >= 0 { close(lockDescriptor) }
    }

    /// Takes our own socket off the file system, if it is still ours.
    func unlinkOwn() {
        guard let path else { return }
        var status = stat()
        if lstat(path, &status) == 0, UInt64(status.st_ino) == inode { unlink(path) }
    }

    private static func checkPath(_ path: String) throws(StartError) {
        guard path.hasPrefix("/") else {
            throw StartError(
                "socket \(path): give an absolute path (abstract sockets are not used: any"
                    + " container that shares the network could reach them)", exitCode: 78)
        }
        guard path.utf8.count <= pathBytesMax, !path.utf8.contains(0) else {
            throw StartError(
                "socket \(path): longer than \(pathBytesMax) bytes; choose a shorter path",
                exitCode: 78)
        }
    }

    /// Nobody but root and ourselves may put another socket in our place.
    private static func checkDirectory(of path: String) throws(StartError) {
        let directory = parent(of: path)
        var status = stat()
        guard lstat(directory, &status) == 0 else {
            throw StartError(
                "socket \(path): directory \(directory): \(errorText(errno)); create it, owned by"
                    + " the daemon's user, mode 0750", exitCode: 78)
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw StartError("socket \(path): \(directory) is not a directory (symbolic links are"
                + " not followed)", exitCode: 78)
        }
        let isOwn = status.st_uid == geteuid() || status.st_uid == 0
        guard isOwn, status.st_mode & 0o022 == 0 else {
            throw StartError(
                "socket \(path): \(directory) can be written by others; give it to the daemon's"
                    + " user and take write access from group and others (chmod 0750)",
                exitCode: 78)
        }
    }

    private static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
        return String(path[..<slash])
    }

    private static func lock(_ path: String) throws(StartError) -> Int32 {
        let name = path + ".lock"
        let descriptor = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw StartError("lock file \(name): \(errorText(errno))", exitCode: 73)
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw StartError(
                "another daemon holds \(name); stop it first, or give this one other sockets",
                exitCode: 75)
        }
        return descriptor
    }

    private static func removeDeadSocket(_ path: String) throws(StartError) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw StartError(
                "socket \(path): something that is not a socket is there; move it away",
                exitCode: 78)
        }
        let probe = tg_unix_socket()
        guard probe >= 0 else {
            throw StartError("socket: \(errorText(-probe))", exitCode: 71)
        }
        defer { close(probe) }
        let result = path.withCString { tg_unix_attach(probe, $0, path.utf8.count, 1) }
        guard result == -ECONNREFUSED else {
            throw StartError(
                "socket \(path): another process listens there; stop it first", exitCode: 75)
        }
        unlink(path)
    }

    private static func bindAndListen(
        _ settings: ServerSettings.Socket
    ) throws(StartError) -> Int32 {
        let path = settings.path
        let descriptor = tg_unix_socket()
        guard descriptor >= 0 else {
            throw StartError("socket: \(errorText(-descriptor))", exitCode: 71)
        }
        // Reachable by nobody until mode and group are set.
        let mask = umask(0o177)
        let bound = path.withCString { tg_unix_attach(descriptor, $0, path.utf8.count, 0) }
        umask(mask)
        var failure = bound == 0 ? 0 : -bound
        if failure == 0, let group = settings.group, chown(path, uid_t.max, group) != 0 {
            failure = errno
        }
        if failure == 0, chmod(path, settings.mode) != 0 { failure = errno }
        if failure == 0, listen(descriptor, backlog) != 0 { failure = errno }
        guard failure == 0 else {
            close(descriptor)
            if bound == 0 { unlink(path) }
            throw StartError("socket \(path): \(errorText(failure))", exitCode: 74)
        }
        return descriptor
    }
}

/// The system's words for an errno.
package func errorText(_ number: Int32) -> String {
    guard let text = strerror(number) else { return "error \(number)" }
    return String(cString: text)
}
