import TollgateWire

/// Why a request has no answer. Nothing is known then about whether it was carried out, except
/// with `refused`: then nothing was charged.
public enum ClientError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The daemon cannot be reached: the path and the system's reason.
    case unreachable(path: String, reason: String)
    /// The deadline passed first.
    case timedOut
    /// The connection ended before the answer.
    case disconnected
    /// The daemon did not take the request: its status and its words.
    case refused(Status, detail: String)
    /// The answer breaks the protocol.
    case malformedReply(String)
    /// The request cannot be sent: a field is out of range.
    case invalidRequest(String)

    public var description: String {
        switch self {
        case .unreachable(let path, let reason):
            "cannot reach the daemon at \(path): \(reason); is tollgated running, and is this its"
                + " socket?"
        case .timedOut: "the daemon did not answer in time"
        case .disconnected: "the connection ended before the answer"
        case .refused(let status, let detail): "the daemon refused the request (\(status)): \(detail)"
        case .malformedReply(let what): "the daemon's answer breaks the protocol: \(what)"
        case .invalidRequest(let what): "the request cannot be sent: \(what)"
        }
    }
}
