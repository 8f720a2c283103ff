import TollgateWire

/// All requests of an `AsyncClient` that are not done: which are sent next, which are overdue, and
/// whose answer a reply is. No I/O and no clock: every call returns what is to be done with whom.
///
/// Ids grow in the order of arrival, and all requests have the same time, so ids are in the order
/// of deadlines too: two cursors over the ids take the place of queues.
///
/// Invariants: inFlight ≤ `WireLimits.inFlightMax`; queued ≤ `AsyncClient.waitingMax`;
/// queued + inFlight = requests.count; nobody queued has an id below `nextToSend`.
struct PendingRequests {
    private var requests: [UInt64: PendingRequest] = [:]
    private var nextID: UInt64 = 1
    /// Nobody below it is queued.
    private var nextToSend: UInt64 = 1
    /// Nobody below it can still pass its deadline.
    private var nextToExpire: UInt64 = 1
    private(set) var queued = 0
    private(set) var inFlight = 0
    /// Of those in flight: nobody waits for them any longer.
    private var abandoned = 0
    /// Of those abandoned: because their deadline passed.
    private var overdue = 0

    var canSend: Bool { queued > 0 && inFlight < WireLimits.inFlightMax }
    /// The daemon let a deadline pass, and nobody is left who waits on this connection: it is given
    /// up, so that a daemon that hangs is not waited for again.
    var isStuck: Bool { overdue > 0 && abandoned == inFlight }

    // MARK: arrival and departure

    /// Queues a request, or says how it ends at once.
    mutating func submit(_ request: PendingRequest, deadline: UInt64) -> Completion? {
        precondition(request.phase == .new)
        if request.isCancelled || queued >= AsyncClient.waitingMax {
            request.phase = .done
            return request.complete(.failure(request.isCancelled ? .cancelled : .tooManyWaiting))
        }
        request.id = nextID
        request.deadline = deadline
        request.phase = .queued
        nextID += 1
        queued += 1
        requests[request.id] = request
        return nil
    }

    /// Its task was cancelled, before, while or after it waited.
    mutating func cancel(_ request: PendingRequest) -> Completion? {
        request.isCancelled = true
        switch request.phase {
        case .new, .done: return nil
        case .queued: remove(request)
        case .inFlight: if request.continuation != nil { abandoned += 1 }
        }
        return request.complete(.failure(.cancelled))
    }

    /// Ends the wait of everybody whose deadline has passed.
    mutating func expire(now: UInt64) -> [Completion] {
        var completions: [Completion] = []
        while let request = firstToExpire(), request.deadline <= now {
            if request.phase == .queued {
                remove(request)
            } else {
                request.isOverdue = true
                abandoned += 1
                overdue += 1
            }
            if let completion = request.complete(.failure(.timedOut)) {
                completions.append(completion)
            }
        }
        return completions
    }

    /// The next deadline of anybody who waits.
    mutating func nextDeadline() -> UInt64? { firstToExpire()?.deadline }

    private mutating func firstToExpire() -> PendingRequest? {
        while nextToExpire < nextID {
            if let request = requests[nextToExpire], request.continuation != nil { return request }
            nextToExpire += 1
        }
        return nil
    }

    private mutating func remove(_ request: PendingRequest) {
        let removed = requests.removeValue(forKey: request.id)
        precondition(removed === request)
        if request.phase == .queued {
            queued -= 1
        } else {
            inFlight -= 1
            if request.continuation == nil { abandoned -= 1 }
            if request.isOverdue { overdue -= 1 }
        }
        request.phase = .done
    }

    // MARK: the connection

    /// Appends frames, first come first served, while the protocol lets more be in flight and
    /// `bytes` is short. `streamOffset` is where `bytes` begins in the connection's stream.
    mutating func send(into bytes: inout [UInt8], streamOffset: Int, bytesMax: Int) {
        while canSend, bytes.count < bytesMax {
            defer { nextToSend += 1 }
            guard let request = requests[nextToSend], request.phase == .queued else { continue }
            request.phase = .inFlight
            request.streamOffset = streamOffset + bytes.count
            appendFrame(request.opcode, request.id, request.body, to: &bytes)
            queued -= 1
            inFlight += 1
        }
    }

    /// The request that a reply answers ends; `nil` when nobody waits for it any longer. Throws
    /// what everybody on the connection is to be told when it answers none.
    mutating func answer(_ frame: ReplyFrame) throws(ClientError) -> Completion? {
        guard let request = requests[frame.header.requestID], request.phase == .inFlight else {
            throw frame.connectionFailure()
        }
        let outcome = try frame.outcome(for: request.opcode)
        remove(request)
        return request.complete(outcome)
    }

    /// The connection ended after `sentBytes` of its stream. Who was not sent at all is queued
    /// again, and so is, once, whose repetition the daemon knows; for the others it is over.
    mutating func connectionEnded(sentBytes: Int, _ error: ClientError) -> [Completion] {
        var completions: [Completion] = []
        for request in requests.values where request.phase == .inFlight {
            let isUnsent = request.streamOffset >= sentBytes
            let isRepeated = !isUnsent && request.mayRepeat && error == .disconnected
            if isUnsent || isRepeated, request.continuation != nil {
                if isRepeated { request.mayRepeat = false }
                request.phase = .queued
                inFlight -= 1
                queued += 1
                nextToSend = min(nextToSend, request.id)
                continue
            }
            remove(request)
            if let completion = request.complete(.failure(error)) { completions.append(completion) }
        }
        checkInvariants()
        return completions
    }

    /// Ends everybody who is queued.
    mutating func refuseQueued(_ error: ClientError) -> [Completion] {
        var completions: [Completion] = []
        for request in requests.values where request.phase == .queued {
            remove(request)
            if let completion = request.complete(.failure(error)) { completions.append(completion) }
        }
        checkInvariants()
        return completions
    }

    func checkInvariants() {
        precondition(inFlight <= WireLimits.inFlightMax && queued + inFlight == requests.count)
        precondition(overdue <= abandoned && abandoned <= inFlight)
    }
}
