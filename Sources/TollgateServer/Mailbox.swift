import CLinux
import Glibc
import TollgateCore
import TollgateWire

/// A reply that was made outside its reactor, for the connection that asked.
struct LateReply: Sendable {
    var registration: UInt64
    var status: Status
    var frame: [UInt8]
    /// The connection is closed instead: what became of the request is not known.
    var isWithheld = false

    init(
        _ opcode: Opcode, _ status: Status, _ body: [UInt8], registration: UInt64,
        requestID: UInt64
    ) {
        let header = FrameHeader(
            opcode: opcode.rawValue | Opcode.replyBit, status: status, requestID: requestID,
            bodyBytes: body.count)
        var frame = [UInt8](repeating: 0, count: WireLimits.headerBytes)
        frame.withUnsafeMutableBytes { header.write(to: $0) }
        self.registration = registration
        self.status = status
        self.frame = frame + body
    }
}

/// Replies made by other threads for one reactor, which an eventfd wakes.
final class Mailbox: Sendable {
    let descriptor: Int32
    private let lock = Lock()
    // Guarded by the lock.
    private nonisolated(unsafe) var replies: [LateReply] = []

    init() throws(StartError) {
        let made = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        guard made >= 0 else { throw StartError("eventfd: \(errorText(errno))", exitCode: 71) }
        descriptor = made
    }

    deinit { close(descriptor) }

    func post(_ more: [LateReply]) {
        lock.lock()
        replies += more
        lock.unlock()
        wake()
    }

    func wake() {
        var one: UInt64 = 1
        _ = write(descriptor, &one, 8)
    }

    func take() -> [LateReply] {
        var count: UInt64 = 0
        _ = read(descriptor, &count, 8)
        lock.lock()
        defer { lock.unlock() }
        let taken = replies
        replies = []
        return taken
    }
}
