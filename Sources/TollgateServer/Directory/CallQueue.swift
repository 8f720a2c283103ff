import CLinux
import Glibc
import TollgateCore

/// Calls that wait for the directory's thread: those of the admin socket apart from those of the
/// data socket, each lane bounded in number and bytes of its own. Filled by reactors, emptied by
/// that thread, which an eventfd wakes.
///
/// Whoever revokes must not stand behind a flood of those that ask for tokens: calls of the admin
/// socket are taken first, and a batch of the others is short, for one that comes meanwhile waits
/// for it. Calls of one connection stay in order, for a connection is of one socket.
final class CallQueue: Sendable {
    /// Of each lane.
    static let waitingMax = 1_024
    static let waitingBytesMax = 8 << 20
    /// Of one user on the data socket, so that there is room for the others.
    static let userWaitingMax = waitingMax / 4
    static let userBytesMax = waitingBytesMax / 4
    /// Of one connection on the data socket.
    static let connectionWaitingMax = 128
    /// Carried out as one transaction.
    static let adminBatchMax = 64
    static let dataBatchMax = 16
    /// Calls outside of their peer's role that are told to the log: more are only counted.
    static let forbiddenMax = 8

    let wakeDescriptor: Int32
    private let lock = Lock()
    // Guarded by the lock.
    private nonisolated(unsafe) var ofAdmins = CallLane()
    private nonisolated(unsafe) var ofData = CallLane()
    private nonisolated(unsafe) var shares = CallShares()
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
        let isTaken = !isEnding && add(request)
        lock.unlock()
        if isTaken { wake() }
        return isTaken
    }

    private func add(_ request: CallRequest) -> Bool {
        guard !request.peer.isAdminSocket else { return ofAdmins.add(request) }
        guard shares.hasRoom(for: request), ofData.add(request) else { return false }
        shares.add(request)
        return true
    }

    /// A call that its reactor refused already, for the log.
    func putForbidden(_ request: CallRequest) {
        lock.lock()
        if forbidden.count < Self.forbiddenMax { forbidden.append(request) }
        lock.unlock()
    }

    /// The first of those that wait, all of one socket.
    func take() -> [CallRequest] {
        lock.lock()
        defer { lock.unlock() }
        guard ofAdmins.isEmpty else { return ofAdmins.take(atMost: Self.adminBatchMax) }
        let taken = ofData.take(atMost: Self.dataBatchMax)
        for request in taken { shares.remove(request) }
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
        return isEnding && ofAdmins.isEmpty && ofData.isEmpty
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

/// Calls of one socket that wait, in order.
private struct CallLane {
    private var waiting: [CallRequest] = []
    private var bytes = 0

    var isEmpty: Bool { waiting.isEmpty }

    mutating func add(_ request: CallRequest) -> Bool {
        guard waiting.count < CallQueue.waitingMax,
            bytes + request.body.count <= CallQueue.waitingBytesMax
        else { return false }
        waiting.append(request)
        bytes += request.body.count
        return true
    }

    mutating func take(atMost count: Int) -> [CallRequest] {
        let taken = Array(waiting.prefix(count))
        waiting.removeFirst(taken.count)
        for request in taken { bytes -= request.body.count }
        return taken
    }
}

/// How much of the data socket's lane each of its peers holds.
private struct CallShares {
    private struct Connection: Hashable {
        var reactor: Int
        var registration: UInt64

        init(_ request: CallRequest) {
            (reactor, registration) = (request.reactor, request.registration)
        }
    }

    private struct Held {
        var calls = 0
        var bytes = 0
    }

    // Only of those that hold something.
    private var users: [UInt32: Held] = [:]
    private var connections: [Connection: Int] = [:]

    func hasRoom(for request: CallRequest) -> Bool {
        let user = users[request.peer.uid] ?? Held()
        return user.calls < CallQueue.userWaitingMax
            && user.bytes + request.body.count <= CallQueue.userBytesMax
            && connections[Connection(request)] ?? 0 < CallQueue.connectionWaitingMax
    }

    mutating func add(_ request: CallRequest) {
        users[request.peer.uid, default: Held()].calls += 1
        users[request.peer.uid, default: Held()].bytes += request.body.count
        connections[Connection(request), default: 0] += 1
    }

    mutating func remove(_ request: CallRequest) {
        var user = users[request.peer.uid] ?? Held()
        user.calls -= 1
        user.bytes -= request.body.count
        users[request.peer.uid] = user.calls > 0 ? user : nil
        let held = (connections[Connection(request)] ?? 0) - 1
        connections[Connection(request)] = held > 0 ? held : nil
    }
}
