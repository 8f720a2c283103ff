import CLinux
import Glibc

/// What systemd, where it started the daemon, says and hears: sd_notify(3), sd_listen_fds(3),
/// sd_watchdog_enabled(3), by hand, for their protocol is a few lines.
package struct InitSystem: Sendable {
    /// The variables that speak to this process alone; not for what it might start.
    package static let variables = [
        "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS",
        "LISTEN_FDNAMES",
    ]
    private static let firstDescriptor: Int32 = 3

    private let notifyPath: String?
    /// How often WATCHDOG=1 is due at the latest; `nil` when nobody waits for it.
    package let watchdogMicroseconds: UInt64?
    /// Sockets handed over, by name.
    package let sockets: (data: Int32?, admin: Int32?)

    package init(_ environment: (String) -> String?) throws(StartError) {
        let path = environment("NOTIFY_SOCKET")
        notifyPath = path?.hasPrefix("/") == true || path?.hasPrefix("@") == true ? path : nil
        let isForUs = environment("WATCHDOG_PID").map { $0 == String(getpid()) } ?? true
        let interval = isForUs ? environment("WATCHDOG_USEC").flatMap { UInt64($0) } : nil
        watchdogMicroseconds = interval == 0 ? nil : interval
        guard environment("LISTEN_PID") == String(getpid()) else {
            sockets = (nil, nil)
            return
        }
        sockets = try Self.handedOver(
            count: environment("LISTEN_FDS") ?? "", names: environment("LISTEN_FDNAMES") ?? "")
    }

    /// The sockets are told apart by FileDescriptorName=: "admin", and any other for the data
    /// socket. One that is not understood is refused: it would be kept open and never answered.
    private static func handedOver(
        count text: String, names: String
    ) throws(StartError) -> (data: Int32?, admin: Int32?) {
        guard let count = Int32(text), (0...2).contains(count) else {
            throw StartError(
                "LISTEN_FDS is \(text): hand over a data socket, an admin socket, or both",
                exitCode: 78)
        }
        let given = names.split(separator: ":", omittingEmptySubsequences: false)
        var handed: (data: Int32?, admin: Int32?) = (nil, nil)
        for index in 0..<count {
            let name = Int(index) < given.count ? given[Int(index)] : ""
            let descriptor = firstDescriptor + index
            if name == "admin", handed.admin == nil {
                handed.admin = descriptor
            } else if name != "admin", handed.data == nil {
                handed.data = descriptor
            } else {
                throw StartError(
                    "LISTEN_FDNAMES is \(names): name one socket admin and the other data"
                        + " (FileDescriptorName=)", exitCode: 78)
            }
        }
        return handed
    }

    /// Sends one state, such as `READY=1`; without a service manager nothing happens. False when
    /// it could not be told.
    @discardableResult
    package func notify(_ state: String) -> Bool {
        guard let notifyPath else { return true }
        let kind = Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(AF_UNIX, kind, 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(notifyPath.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return false }
        withUnsafeMutableBytes(of: &address.sun_path) { path in
            path.copyBytes(from: bytes)
            if bytes.first == UInt8(ascii: "@") { path[0] = 0 }
        }
        let size = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
        let sent = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { target in
                Array(state.utf8).withUnsafeBytes {
                    sendto(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL), target, size)
                }
            }
        }
        return sent == state.utf8.count
    }
}
