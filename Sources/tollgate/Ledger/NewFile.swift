import Glibc

/// A file that is written whole, or not at all.
enum NewFile {
    /// Mode 0600; on the disk when it returns. Throws when there is a file of that name already, or
    /// the disk refuses; then none is left.
    static func write(_ text: String, to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            let isThere = errno == EEXIST
            throw Failure(
                .output, "cannot make the file \(path): \(systemText(errno))",
                next: isThere
                    ? "name a file that is not there yet"
                    : "name a file in a directory that you may write")
        }
        defer { close(descriptor) }
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                throw lost(path)
            }
        }
        guard fsync(descriptor) == 0 else { throw lost(path) }
    }

    private static func lost(_ path: String) -> Failure {
        let code = errno
        unlink(path)
        return Failure(
            .output, "cannot write \(path): \(systemText(code))",
            next: "make room, and do it again")
    }
}
