import CLinux
import Glibc

/// Where a socket of ours is to stand: an absolute path in a directory that nobody but root and
/// ourselves can write, below directories in which nobody else can put another in its place.
///
/// All checks look at names, so they hold for as long as the directories do: whoever could change
/// one of them between the check and the bind is one that the check trusts.
struct SocketPlace {
    static let pathBytesMax = 107
    private static let symbolicLinksMax = 16

    let path: String
    private var own: uid_t { geteuid() }

    /// Throws what is unsafe about it, and what to do.
    func check() throws(StartError) {
        guard path.hasPrefix("/") else {
            throw refusal(
                "give an absolute path (abstract sockets are not used: any container that shares"
                    + " the network could reach them)")
        }
        guard path.utf8.count <= Self.pathBytesMax, !path.utf8.contains(0) else {
            throw refusal("longer than \(Self.pathBytesMax) bytes; choose a shorter path")
        }
        guard !path.hasSuffix("/") else { throw refusal("this names a directory") }
        try checkDirectories()
    }

    /// Removes a socket that nobody listens on. Its lock is held, so no daemon of ours does.
    func removeDeadSocket() throws(StartError) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw refusal("something that is not a socket is there; move it away")
        }
        let probe = tg_unix_socket()
        guard probe >= 0 else { throw StartError("socket: \(errorText(-probe))", exitCode: 71) }
        defer { close(probe) }
        let result = path.withCString { tg_unix_attach(probe, $0, path.utf8.count, 1) }
        switch -result {
        case ECONNREFUSED: break
        case 0, EAGAIN:
            throw StartError(
                "socket \(path): another process listens there; stop it first", exitCode: 75)
        default:
            throw StartError(
                "socket \(path): whether somebody listens there cannot be told:"
                    + " \(errorText(-result)); remove it if nobody does", exitCode: 75)
        }
        guard unlink(path) == 0 else {
            throw StartError("socket \(path): \(errorText(errno))", exitCode: 74)
        }
    }

    /// Follows the path from the root, through symbolic links but for the last directory.
    private func checkDirectories() throws(StartError) {
        var rest = Array(Self.names(in: path).dropLast())
        var done = ""
        var linksLeft = Self.symbolicLinksMax
        var parent = try status(of: "/")
        try check(parent, "/", isLast: rest.isEmpty)
        while !rest.isEmpty {
            let name = rest.removeFirst()
            let next = name == ".." ? Self.parent(of: done) : "\(done)/\(name)"
            let shown = next.isEmpty ? "/" : next
            let found = try status(of: shown)
            // In a directory such as /tmp only an entry's owner can replace it.
            guard isTrusted(found) || parent.st_mode & 0o022 == 0 else {
                throw refusal("\(shown) belongs to another user, in a directory all may write to")
            }
            if found.st_mode & S_IFMT == S_IFLNK {
                guard !rest.isEmpty else {
                    throw refusal("\(shown) is a symbolic link; name the directory itself")
                }
                linksLeft -= 1
                guard linksLeft > 0 else { throw refusal("too many symbolic links") }
                let target = try Self.target(of: shown, in: self)
                rest = Self.names(in: target) + rest
                if target.hasPrefix("/") {
                    done = ""
                    parent = try status(of: "/")
                }
                continue
            }
            try check(found, shown, isLast: rest.isEmpty)
            (done, parent) = (next, found)
        }
    }

    private func check(_ status: stat, _ name: String, isLast: Bool) throws(StartError) {
        guard status.st_mode & S_IFMT == S_IFDIR else { throw refusal("\(name) is no directory") }
        let isWritable = status.st_mode & 0o022 != 0
        if isLast, isWritable || !isTrusted(status) {
            throw refusal(
                "\(name) can be written by others; give it to the daemon's user and take write"
                    + " access from group and others (chmod 0750)")
        }
        if isWritable, status.st_mode & S_ISVTX == 0 {
            throw refusal(
                "\(name) can be written by others, who could put another directory in the place"
                    + " of the socket's; take write access from group and others (chmod go-w)")
        }
    }

    private func isTrusted(_ status: stat) -> Bool {
        status.st_uid == own || status.st_uid == 0
    }

    private func status(of name: String) throws(StartError) -> stat {
        var status = stat()
        guard lstat(name, &status) == 0 else {
            throw refusal(
                "directory \(name): \(errorText(errno)); create it, owned by the daemon's user,"
                    + " mode 0750")
        }
        return status
    }

    private static func target(
        of name: String, in place: SocketPlace
    ) throws(StartError) -> String {
        var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink(name, &bytes, bytes.count)
        guard count > 0 else { throw place.refusal("\(name): \(errorText(errno))") }
        return String(
            decoding: bytes[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func names(in path: String) -> [Substring] {
        path.split(separator: "/").filter { $0 != "." }
    }

    /// Of a path without symbolic links; the root's is "".
    private static func parent(of path: String) -> String {
        path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
    }

    private func refusal(_ what: String) -> StartError {
        StartError("socket \(path): \(what)", exitCode: 78)
    }
}

/// The system's words for an errno.
package func errorText(_ number: Int32) -> String {
    guard let text = strerror(number) else { return "error \(number)" }
    return String(cString: text)
}
