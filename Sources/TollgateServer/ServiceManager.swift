import CLinux
import Glibc

/// What the service manager says and hears: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3),
/// by hand, for their protocol is a few lines.
package struct ServiceManager: Sendable {
    private let notifyPath: String?
    /// How often WATCHDOG=1 is due at the latest; `nil` when nobody waits for it.
    package let watchdogMicroseconds: UInt64?
    /// Sockets handed over, by name.
    package let sockets: (data: Int32?, admin: Int32?)

    package init(_ environment: (String) -> String?) {
        let path = environment("NOTIFY_SOCKET")
        notifyPath = path?.hasPrefix("/") == true || path?.hasPrefix("@") == true ? path : nil
        let isForUs = environment("WATCHDOG_PID").map { $0 == String(getpid()) } ?? true
        watchdogMicroseconds = isForUs ? environment("WATCHDOG_USEC").flatMap { UInt64($0) } : nil
        var handed: (data: Int32?, admin: Int32?) = (nil, nil)
        if environment("LISTEN_PID") == String(getpid()),
            let count = environment("LISTEN_FDS").flatMap({ Int32($0) }), (1...16).contains(count)
        {
            let names = environment("LISTEN_FDNAMES")?.split(
                separator: ":", omittingEmptySubsequences: false) ?? []
            for index in 0..<count {
                let name = Int(index) < names.count ? names[Int(index)] : ""
                if name == "admin" { handed.admin = 3 + index } else if handed.data == nil { handed.data = 3 + index }
            }
        }
        sockets = handed
    }

    /// Sends one state, such as `READY=1`; without a service manager nothing happens.
    package func notify(_ state: String) {
        guard let notifyPath else { return }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(notifyPath.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return }
        withUnsafeMutableBytes(of: &address.sun_path) { path in
            path.copyBytes(from: bytes)
            if bytes.first == UInt8(ascii: "@") { path[0] = 0 }
        }
        let size = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { target in
                Array(state.utf8).withUnsafeBytes {
                    sendto(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL), target, size)
                }
            }
        }
    }
}
