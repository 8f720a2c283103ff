import CLinux
import Glibc

/// A listening socket of ours, or one that the service manager handed over. Owns the descriptor
/// and, for its own, the lock file beside it: whoever holds the lock may replace a dead socket,
/// and nobody replaces a live one. The lock file stays behind; its lock ends with the process.
package final class Listener: Sendable {
    static let backlog: Int32 = 4_096

    let descriptor: Int32
    private let path: String?
    private let lockDescriptor: Int32
    private let inode: UInt64

    /// Takes over a socket that is listening already (socket activation).
    init(adopting descriptor: Int32, named name: String) throws(StartError) {
        guard tg_is_unix_listener(descriptor) == 1 else {
            throw StartError(
                "descriptor \(descriptor), handed over as the \(name) socket, is not a listening"
                    + " stream socket of the Unix domain (ListenStream=/path)", exitCode: 78)
        }
        guard tg_set_nonblocking(descriptor) == 0 else {
            throw StartError("the \(name) socket: \(errorText(errno))", exitCode: 71)
        }
        self.descriptor = descriptor
        path = nil
        lockDescriptor = -1
        inode = 0
    }

    /// Binds and listens. Throws, and changes nothing, when the place is not safe or is taken.
    init(_ settings: ServerSettings.Socket) throws(StartError) {
        let place = SocketPlace(path: settings.path)
        try place.check()
        lockDescriptor = try Self.lock(settings.path)
        do throws(StartError) {
            try place.removeDeadSocket()
            descriptor = try Self.bindAndListen(settings)
        } catch {
            close(lockDescriptor)
            throw error
        }
        var status = stat()
        inode = lstat(settings.path, &status) == 0 ? UInt64(status.st_ino) : 0
        path = settings.path
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

    private static func lock(_ path: String) throws(StartError) -> Int32 {
        let name = path + ".lock"
        // O_NONBLOCK: whatever stands there, opening it must not wait.
        let flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
        let descriptor = open(name, flags, 0o600)
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

    private static func bindAndListen(
        _ settings: ServerSettings.Socket
    ) throws(StartError) -> Int32 {
        let path = settings.path
        let descriptor = tg_unix_socket()
        guard descriptor >= 0 else {
            throw StartError("socket: \(errorText(-descriptor))", exitCode: 71)
        }
        // On Linux the file takes its mode from the descriptor: reachable by nobody until mode and
        // group are set, and no umask is changed, which all threads would see.
        var failure = fchmod(descriptor, 0) == 0 ? 0 : errno
        var isBound = false
        if failure == 0 {
            failure = -path.withCString { tg_unix_attach(descriptor, $0, path.utf8.count, 0) }
            isBound = failure == 0
        }
        if failure == 0, let group = settings.group, chown(path, uid_t.max, group) != 0 {
            failure = errno
        }
        if failure == 0, listen(descriptor, backlog) != 0 { failure = errno }
        if failure == 0, chmod(path, settings.mode) != 0 { failure = errno }
        guard failure == 0 else {
            close(descriptor)
            if isBound { unlink(path) }
            throw StartError("socket \(path): \(errorText(failure))", exitCode: 74)
        }
        return descriptor
    }
}
