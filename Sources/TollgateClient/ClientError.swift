import Glibc
import TollgateWire

/// Why a request has no answer. Whether it was carried out is then not known, except where it says
/// so.
public enum ClientError: Error, Sendable, Equatable, CustomStringConvertible {
    /// No connection: the path and the system's errno. Nothing was sent.
    case unreachable(path: String, code: Int32)
    /// The deadline passed first.
    case timedOut
    /// The connection ended before the answer.
    case disconnected
    /// The task that asked was cancelled.
    case cancelled
    /// `AsyncClient.waitingMax` requests wait to be sent already. Nothing was sent.
    case tooManyWaiting
    /// The daemon did not take the request: its status and its words. Nothing was charged.
    case refused(Status, detail: String)
    /// The answer breaks the protocol.
    case malformedReply(String)
    /// The request cannot be sent: a field is out of range. Nothing was sent.
    case invalidRequest(String)

    /// What happened, in words for a log.
    public var description: String {
        switch self {
        case .unreachable(let path, let code):
            "cannot reach the daemon at \(path): \(String(cString: strerror(code)))"
        case .timedOut: "the daemon did not answer in time"
        case .disconnected: "the connection ended before the answer"
        case .cancelled: "the task was cancelled before the answer"
        case .tooManyWaiting: "too many requests wait to be sent already"
        case .refused(let status, let detail):
            "the daemon refused the request (\(status)): \(detail)"
        case .malformedReply(let what): "the daemon's answer breaks the protocol: \(what)"
        case .invalidRequest(let what): "the request cannot be sent: \(what)"
        }
    }

    /// Whether the daemon is what failed: it is down, silent, overwhelmed or at its ceiling. Only
    /// then does a fail mode decide. What a caller can bring about by what it sends (a token that
    /// is too long, a meter that is none) never does: it would let that caller in.
    public var isDaemonFailure: Bool {
        switch self {
        case .unreachable, .timedOut, .disconnected, .tooManyWaiting: true
        case .refused(let status, _):
            status == .tooManyConnections || status == .unavailable || status == .internalError
        case .cancelled, .malformedReply, .invalidRequest: false
        }
    }
}

/// What to make of a question that the daemon did not answer (`ClientError.isDaemonFailure`).
public enum FailMode: Sendable {
    /// Nobody passes.
    case deny
    /// Everybody passes, unmetered: for operations that must go on whatever happens.
    case allow

    func isAllowed(after error: ClientError) -> Bool { self == .allow && error.isDaemonFailure }
}

/// Instants of CLOCK_BOOTTIME, in nanoseconds.
enum Deadline {
    private static let millisecondsMax = 86_400_000

    /// Between a millisecond and a day.
    static func nanoseconds(milliseconds: Int) -> UInt64 {
        UInt64(min(max(1, milliseconds), millisecondsMax)) * 1_000_000
    }

    /// For poll(2): rounded up, so that a wait does not end just before what it waits for.
    static func pollMilliseconds(from now: UInt64, to then: UInt64) -> Int32 {
        now >= then ? 0 : Int32(clamping: (then - now + 999_999) / 1_000_000)
    }
}
