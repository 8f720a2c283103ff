import Glibc

/// What systemd hears where it started the process with Type=notify: sd_notify(3), by hand, for
/// its protocol is one datagram.
struct InitSystem {
    private let path: [UInt8]?

    /// `socket` is NOTIFY_SOCKET: a path, or `@` and an abstract name.
    init(socket: String?) {
        let bytes = Array((socket ?? "").utf8)
        let isKnown = bytes.first == UInt8(ascii: "/") || bytes.first == UInt8(ascii: "@")
        let most = MemoryLayout.size(ofValue: sockaddr_un().sun_path)
        path = isKnown && bytes.count < most ? bytes : nil
    }

    /// Sends one state, such as `READY=1`; nothing happens where nobody waits for it.
    func notify(_ state: String) {
        guard let path else { return }
        let made = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard made >= 0 else { return }
        defer { close(made) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            bytes.copyBytes(from: path)
            if path.first == UInt8(ascii: "@") { bytes[0] = 0 }
        }
        let size = socklen_t(MemoryLayout<sa_family_t>.size + path.count)
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { target in
                // A manager that is gone needs to hear nothing.
                _ = Array(state.utf8).withUnsafeBytes {
                    sendto(made, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL), target, size)
                }
            }
        }
    }
}
