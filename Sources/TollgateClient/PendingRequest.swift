import TollgateWire

/// A request of an `AsyncClient` on its way. Guarded by the lock of its `RequestLoop`.
///
///     new ──▶ queued ──▶ in flight ──▶ done
///
/// From *new* straight to done: cancelled, or refused a place. From *queued*: its deadline or its
/// task's cancellation, also done. *In flight* lasts until the answer comes or the connection ends,
/// even when nobody waits any longer (`continuation` is nil then): the daemon still has it, and it
/// keeps its place among the 256. From there back to *queued* when the connection ends before a
/// byte of it was sent, or once if the daemon knows it again.
final class PendingRequest: @unchecked Sendable {
    enum Phase { case new, queued, inFlight, done }

    let opcode: Opcode
    let body: [UInt8]
    var phase = Phase.new
    /// 0 until queued; never given twice.
    var id: UInt64 = 0
    var deadline: UInt64 = 0
    /// Where its frame begins in the bytes of the connection.
    var streamOffset = 0
    /// Who waits; taken by whoever completes the request, so it is resumed exactly once.
    var continuation: CheckedContinuation<Outcome, Never>?
    /// Its task was cancelled, perhaps before it was queued.
    var isCancelled = false
    /// It was in flight when its deadline passed.
    var isOverdue = false
    /// May be sent on another connection although it was sent on one that ended.
    var mayRepeat: Bool

    typealias Outcome = Result<[UInt8], ClientError>

    init(_ opcode: Opcode, _ body: [UInt8], mayRepeat: Bool = false) {
        self.opcode = opcode
        self.body = body
        self.mayRepeat = mayRepeat
    }

    /// The end of the wait, to be carried out outside the lock; `nil` when nobody waits.
    func complete(_ outcome: Outcome) -> Completion? {
        guard let continuation else { return nil }
        self.continuation = nil
        return Completion(continuation: continuation, outcome: outcome)
    }
}

/// A task to be resumed, with what it asked for.
struct Completion {
    let continuation: CheckedContinuation<PendingRequest.Outcome, Never>
    let outcome: PendingRequest.Outcome

    func resume() { continuation.resume(returning: outcome) }
}
