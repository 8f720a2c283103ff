import CLinux
import Glibc

/// Why the service does not start: what is wrong and what to do, and the exit code (sysexits.h).
struct StartFailure: Error, Equatable {
    var message: String
    var exitCode: Int32
}

/// Where to listen: a Unix socket, or a port of the loopback interface.
enum ListenPlace: Equatable {
    case unix(path: String)
    /// Four bytes, or sixteen, and the port; 0 lets the system choose one.
    case loopback(address: [UInt8], port: UInt16)

    private static let pathBytesMax = 107

    /// `/run/tollgate/http.sock`, `127.0.0.1:9464`, `[::1]:9464`, `localhost:9464`.
    init(_ text: String) throws(StartFailure) {
        func refusal(_ what: String) -> StartFailure {
            StartFailure(message: "--listen \(text): \(what)", exitCode: 64)
        }
        if text.hasPrefix("/") {
            guard text.utf8.count <= Self.pathBytesMax, !text.utf8.contains(0) else {
                throw refusal("longer than \(Self.pathBytesMax) bytes; choose a shorter path")
            }
            self = .unix(path: text)
            return
        }
        guard let colon = text.lastIndex(of: ":"),
            let port = UInt16(text[text.index(after: colon)...])
        else { throw refusal("give an absolute path, or 127.0.0.1:PORT") }
        var host = String(text[..<colon])
        if host == "localhost" { host = "127.0.0.1" }
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard let address = Self.address(host) else {
            throw refusal("\"\(host)\" is no address; give an absolute path, or 127.0.0.1:PORT")
        }
        guard Self.isLoopback(address) else {
            throw refusal(
                "\(host) can be reached from other hosts, and nothing here asks who is there;"
                    + " listen on 127.0.0.1 or [::1], with a proxy that does before it")
        }
        self = .loopback(address: address, port: port)
    }

    /// The four bytes of an IPv4 address, or the sixteen of an IPv6 address, as it is written.
    static func address(_ text: String) -> [UInt8]? {
        var four = in_addr()
        if inet_pton(AF_INET, text, &four) == 1 { return withUnsafeBytes(of: four) { Array($0) } }
        var six = in6_addr()
        if inet_pton(AF_INET6, text, &six) == 1 { return withUnsafeBytes(of: six) { Array($0) } }
        return nil
    }

    static func isLoopback(_ address: [UInt8]) -> Bool {
        if address.count == 4 { return address[0] == 127 }
        return address.dropLast().allSatisfy { $0 == 0 } && address.last == 1
    }
}

/// A socket of ours that listens, or is about to. Closed by whoever takes `descriptor`.
struct BoundSocket {
    let descriptor: Int32
    /// As it is told in the log: the path, or address and port.
    let name: String
    private let path: String?
    /// Whoever is on this host reaches it, as far as the network goes.
    var isTCP: Bool { path == nil }
    private let inode: UInt64
    /// What waits to be accepted, at most.
    static let backlog: Int32 = 1_024

    /// `mode` is that of a Unix socket's file, from its first moment on: not for several threads.
    init(_ place: ListenPlace, mode: mode_t) throws(StartFailure) {
        switch place {
        case .unix(let path):
            try Self.removeDeadSocket(path)
            let made = tg_unix_socket()
            guard made >= 0 else { throw Self.failure(path, -made) }
            let before = umask(~mode & 0o777)
            let result = path.withCString { tg_unix_attach(made, $0, path.utf8.count, 0) }
            umask(before)
            guard result == 0, Glibc.listen(made, Self.backlog) == 0 else {
                let code = result == 0 ? errno : -result
                close(made)
                throw Self.failure(path, code)
            }
            var status = stat()
            inode = lstat(path, &status) == 0 ? UInt64(status.st_ino) : 0
            (descriptor, name, self.path) = (made, path, path)
        case .loopback(let address, let port):
            let text = Self.text(address)
            (descriptor, inode, path) = (try Self.bind(address, port, text), 0, nil)
            name = "\(text):\(Self.port(of: descriptor))"
        }
    }

    /// Takes our own socket off the file system, if it is still ours.
    func unlinkOwn() {
        guard let path else { return }
        var status = stat()
        if lstat(path, &status) == 0, UInt64(status.st_ino) == inode { unlink(path) }
    }

    private static func failure(_ name: String, _ code: Int32) -> StartFailure {
        let exit: Int32 = code == EADDRINUSE ? 75 : code == EACCES || code == EPERM ? 77 : 73
        return StartFailure(
            message: "cannot listen on \(name): \(String(cString: strerror(code)))",
            exitCode: exit)
    }

    /// Removes a socket that nobody listens on.
    private static func removeDeadSocket(_ path: String) throws(StartFailure) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        func refusal(_ what: String, _ exitCode: Int32) -> StartFailure {
            StartFailure(message: "cannot listen on \(path): \(what)", exitCode: exitCode)
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw refusal("something that is not a socket is there; move it away", 73)
        }
        let probe = tg_unix_socket()
        guard probe >= 0 else { throw failure(path, -probe) }
        defer { close(probe) }
        let result = path.withCString { tg_unix_attach(probe, $0, path.utf8.count, 1) }
        guard -result == ECONNREFUSED else {
            throw refusal("another process listens there; stop it first", 75)
        }
        guard unlink(path) == 0 else { throw failure(path, errno) }
    }

    private static func bind(
        _ address: [UInt8], _ port: UInt16, _ text: String
    ) throws(StartFailure) -> Int32 {
        let family = address.count == 4 ? AF_INET : AF_INET6
        let made = socket(
            family, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard made >= 0 else { throw failure(text, errno) }
        var one: Int32 = 1
        setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        let result: Int32
        if address.count == 4 {
            var full = sockaddr_in()
            full.sin_family = sa_family_t(AF_INET)
            full.sin_port = port.bigEndian
            withUnsafeMutableBytes(of: &full.sin_addr) { $0.copyBytes(from: address) }
            result = attach(made, &full)
        } else {
            var full = sockaddr_in6()
            full.sin6_family = sa_family_t(AF_INET6)
            full.sin6_port = port.bigEndian
            withUnsafeMutableBytes(of: &full.sin6_addr) { $0.copyBytes(from: address) }
            result = attach(made, &full)
        }
        guard result == 0, Glibc.listen(made, backlog) == 0 else {
            let code = errno
            close(made)
            throw failure("\(text):\(port)", code)
        }
        return made
    }

    private static func attach<Address>(_ descriptor: Int32, _ address: inout Address) -> Int32 {
        withUnsafeMutablePointer(to: &address) { pointer in
            let size = socklen_t(MemoryLayout<Address>.size)
            return pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(descriptor, $0, size)
            }
        }
    }

    private static func text(_ address: [UInt8]) -> String {
        guard address.count == 4 else { return "[::1]" }
        return address.map { String($0) }.joined(separator: ".")
    }

    private static func port(of descriptor: Int32) -> UInt16 {
        var full = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &full) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(descriptor, $0, &size)
            }
        }
        guard result == 0 else { return 0 }
        // The port stands at byte 2 of both kinds of address.
        return withUnsafeBytes(of: full) { UInt16($0[2]) << 8 | UInt16($0[3]) }
    }
}
