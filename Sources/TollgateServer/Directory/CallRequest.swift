import CLinux
import Glibc
import TollgateCore
import TollgateWire

/// Who asks, as the kernel said when they connected.
struct CallPeer: Sendable {
    var uid: UInt32
    var pid: Int32
    var roles: Roles
    /// On the admin socket.
    var isAdminSocket: Bool

    /// Whether a call that needs this role is for this peer: on the data socket only what the role
    /// `issue` may.
    func may(_ role: Roles) -> Bool {
        roles.contains(role) && (isAdminSocket || role == .issue)
    }
}

/// A CALL on its way from its reactor to the directory's thread. The body is not looked at yet.
struct CallRequest: Sendable {
    var peer: CallPeer
    var body: [UInt8]
    var registration: UInt64
    var requestID: UInt64
    var reactor: Int
}

/// What became of a call.
struct CallReply: Sendable {
    var status: Status
    var body: [UInt8]
    /// Not sent, and the connection closed: a status would say that nothing has changed.
    var isWithheld = false

    /// Of a change whose sync failed: it may be on the disk, or not.
    static let withheld = CallReply(status: .storageFailed, body: [], isWithheld: true)

    static func refused(_ status: Status, _ detail: String) -> CallReply {
        CallReply(status: status, body: Array(detail.utf8.prefix(WireLimits.detailBytesMax)))
    }
}

/// Calls that wait for the directory's thread. Bounded in number and bytes; filled by reactors,
/// emptied by that thread, which an eventfd wakes.
final class CallQueue: Sendable {
    static let waitingMax = 1_024
    static let waitingBytesMax = 8 << 20
    /// Calls outside of their peer's role that are told to the log: more are only counted.
    static let forbiddenMax = 8

    let wakeDescriptor: Int32
    private let lock = Lock()
    // Guarded by the lock.
    private nonisolated(unsafe) var waiting: [CallRequest] = []
    private nonisolated(unsafe) var waitingBytes = 0
    private nonisolated(unsafe) var forbidden: [CallRequest] = []
    private nonisolated(unsafe) var isEnding = false

    init() throws(StartError) {
        wakeDescriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        guard wakeDescriptor >= 0 else {
            throw StartError("eventfd: \(errorText(errno))", exitCode: 71)
        }
    }

    deinit { close(wakeDescriptor) }

    /// False when too many wait already.
    func put(_ request: CallRequest) -> Bool {
        lock.lock()
        let fits =
            !isEnding && waiting.count < Self.waitingMax
            && waitingBytes + request.body.count <= Self.waitingBytesMax
        if fits {
            waiting.append(request)
            waitingBytes += request.body.count
        }
        lock.unlock()
        if fits { wake() }
        return fits
    }

    /// A call that its reactor refused already, for the log.
    func putForbidden(_ request: CallRequest) {
        lock.lock()
        if forbidden.count < Self.forbiddenMax { forbidden.append(request) }
        lock.unlock()
    }

    /// The first of those that wait.
    func take(atMost count: Int) -> [CallRequest] {
        lock.lock()
        defer { lock.unlock() }
        let taken = Array(waiting.prefix(count))
        waiting.removeFirst(taken.count)
        for request in taken { waitingBytes -= request.body.count }
        return taken
    }

    func takeForbidden() -> [CallRequest] {
        lock.lock()
        defer { lock.unlock() }
        let taken = forbidden
        forbidden = []
        return taken
    }

    /// Takes no more; what waits is still taken out.
    func end() {
        lock.lock()
        isEnding = true
        lock.unlock()
        wake()
    }

    var hasEnded: Bool {
        lock.lock()
        defer { lock.unlock() }
        return isEnding && waiting.isEmpty
    }

    /// Waits until something may have come, at most so long.
    func wait(milliseconds: Int32) {
        var polled = pollfd(fd: wakeDescriptor, events: Int16(POLLIN), revents: 0)
        _ = poll(&polled, 1, milliseconds)
        var count: UInt64 = 0
        _ = read(wakeDescriptor, &count, 8)
    }

    private func wake() {
        var one: UInt64 = 1
        _ = write(wakeDescriptor, &one, 8)
    }
}
