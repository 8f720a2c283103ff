import Glibc

/// A new file for a secret, for its owner alone (mode 0600). It is made before the secret is, so
/// that none is made that cannot be kept; and removed again when none came.
final class SecretFile {
    let path: String
    private let descriptor: Int32
    private var isWritten = false

    init(path: String) throws {
        // Nothing of `self` is set before it throws: `deinit` would take another's file away.
        let made = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard made >= 0 else {
            let isThere = errno == EEXIST
            throw Failure(
                .output, "cannot make the file \(path): \(systemText(errno))",
                next: isThere
                    ? "name a file that is not there yet: a secret never overwrites another"
                    : "name a file in a directory that you may write")
        }
        self.path = path
        descriptor = made
        // Whatever the umask took away.
        fchmod(descriptor, 0o600)
    }

    deinit {
        close(descriptor)
        if !isWritten { unlink(path) }
    }

    /// The secret and a line feed, on the disk when it returns.
    func write(_ secret: String) throws {
        var rest = Array((secret + "\n").utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { throw lost() }
        }
        guard fsync(descriptor) == 0 else { throw lost() }
        isWritten = true
    }

    private func lost() -> Failure {
        Failure(
            .output, "cannot write the secret to \(path): \(systemText(errno)); it is lost",
            next: "make room, then make another secret, and revoke the one that was lost")
    }
}
