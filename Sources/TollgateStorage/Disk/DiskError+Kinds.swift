import Glibc

extension DiskError {
    static let tooLarge = EFBIG
    static let absent = ENOENT

    /// There is no room, or no right to change anything: it may come back without a restart.
    package var isRefusal: Bool { Self.isRefusal(errno) }

    static func isRefusal(_ errno: Int32) -> Bool {
        switch errno {
        case ENOSPC, EDQUOT, EFBIG, EROFS, EMFILE, ENFILE, ENOMEM: true
        default: false
        }
    }

    package var isPresent: Bool { errno == EEXIST }

    package var isAbsent: Bool { errno == ENOENT }

    /// Something else than a file is there: a link, a directory, a pipe, a socket.
    package var isNoFile: Bool { [ELOOP, EINVAL, EISDIR, ENXIO].contains(errno) }

    package var isLocked: Bool { errno == EWOULDBLOCK }

    package var description: String { "\(path): \(words)" }

    var words: String { "\(verb): \(String(cString: strerror(errno)))" }

    private var verb: String {
        switch call {
        case .list: "cannot list"
        case .makeDirectory: "cannot make the directory"
        case .create: "cannot make the file"
        case .open: "cannot open"
        case .read: "cannot read"
        case .write: "cannot write"
        case .sync: "cannot sync"
        case .map: "cannot map"
        case .rename: "cannot rename"
        case .remove: "cannot remove"
        case .syncDirectory: "cannot sync the directory"
        case .lock: "cannot lock"
        }
    }
}
