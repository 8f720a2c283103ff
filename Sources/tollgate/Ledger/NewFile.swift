import Glibc

/// A file that is written whole, or not at all.
struct NewFile {
    private let path: String
    private let descriptor: Int32

    /// Mode 0600; on the disk when it returns. Throws when there is a file of that name already, or
    /// the disk refuses; then none is left.
    static func write(_ text: String, to path: String) throws {
        let file = try NewFile(path)
        do {
            try file.write(text)
            try file.close()
        } catch {
            file.remove()
            throw error
        }
    }

    /// An empty one, of mode 0600, which `close` or `remove` ends. Throws when there is a file of
    /// that name already, or the disk refuses.
    init(_ path: String) throws {
        descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        self.path = path
        guard descriptor >= 0 else {
            let isThere = errno == EEXIST
            throw Failure(
                .output, "cannot make the file \(path): \(systemText(errno))",
                next: isThere
                    ? "name a file that is not there yet"
                    : "name a file in a directory that you may write")
        }
    }

    func write(_ text: String) throws {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                throw lost(errno)
            }
        }
    }

    /// On the disk when it returns. After an error, `remove` is due.
    func close() throws {
        guard fsync(descriptor) == 0 else { throw lost(errno) }
        Glibc.close(descriptor)
    }

    /// Of a file that could not be written to its end.
    func remove() {
        unlink(path)
        Glibc.close(descriptor)
    }

    private func lost(_ code: Int32) -> Failure {
        Failure(
            .output, "cannot write \(path): \(systemText(code))",
            next: "make room, and do it again")
    }
}
