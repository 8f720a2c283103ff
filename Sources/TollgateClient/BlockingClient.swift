import CLinux
import Glibc
import TollgateWire

/// A connection to the daemon for one thread at a time (it is not `Sendable`: give every thread
/// its own, or use `AsyncClient`). Connects when first used, and again after a failure; one
/// deadline holds for a request with all that it takes, connecting included.
///
/// It throws when there is no answer; what a caller makes of that is the caller's to state:
/// `isAllowed(_:failMode:)`. It never waits to connect again: how often to ask a daemon that is
/// down is for the caller to pace.
///
/// A request that charges is sent again, once, only if not a byte of it was sent, so that a
/// connection that an earlier daemon left behind is replaced; or if the daemon knows it again: it
/// has an idempotency id, or extends, settles or cancels a reservation.
public final class BlockingClient {
    public let path: String
    /// For each request, and for each 256 questions of `checkAll`: 1 to a day.
    public var timeoutMilliseconds: Int
    private var socket: ClientSocket?
    private var nextID: UInt64 = 1

    /// Connects when first used.
    public init(path: String = "/run/tollgate/tollgate.sock", timeoutMilliseconds: Int = 1_000) {
        self.path = path
        self.timeoutMilliseconds = timeoutMilliseconds
    }

    /// Closes the connection; the next request makes a new one.
    public func disconnect() { socket = nil }

    // MARK: requests

    /// Decides, and charges when it allows.
    public func check(_ question: CheckQuestion) throws(ClientError) -> CheckDecision {
        try perform(try Calls.check(question))
    }

    /// Whether the caller may go on, also when the daemon gave no answer.
    public func isAllowed(_ question: CheckQuestion, failMode: FailMode = .deny) -> Bool {
        do throws(ClientError) { return try check(question).isAllowed } catch {
            return failMode.isAllowed(after: error)
        }
    }

    /// Asks all questions, up to 256 at once; the results are in the questions' order. One that
    /// fails takes none of the others with it.
    public func checkAll(
        _ questions: [CheckQuestion]
    ) -> [Result<CheckDecision, ClientError>] {
        var results: [Result<CheckDecision, ClientError>] = []
        for start in stride(from: 0, to: questions.count, by: WireLimits.inFlightMax) {
            let end = min(start + WireLimits.inFlightMax, questions.count)
            var calls: [Result<Call<CheckDecision>, ClientError>] = []
            var bodies: [[UInt8]] = []
            for question in questions[start..<end] {
                do throws(ClientError) {
                    let call = try Calls.check(question)
                    calls.append(.success(call))
                    bodies.append(call.body)
                } catch { calls.append(.failure(error)) }
            }
            var outcomes = exchange(.check, bodies, false)[...]
            for call in calls {
                do throws(ClientError) {
                    let call = try call.get()
                    guard let outcome = outcomes.popFirst() else { throw .disconnected }
                    results.append(.success(try call.answer(try outcome.get())))
                } catch { results.append(.failure(error)) }
            }
        }
        return results
    }

    /// Records what was used; never denies.
    public func consume(_ consumption: Consumption) throws(ClientError) -> CheckDecision {
        try perform(try Calls.consume(consumption))
    }

    /// With an empty user, the organization's limits alone; with an empty plan, the plan that was
    /// last decided with.
    public func usage(
        organization: String, user: String = "", plan: String = "", isPersonal: Bool = false
    ) throws(ClientError) -> UsageReport {
        try perform(
            try Calls.usage(
                organization: organization, user: user, plan: plan, isPersonal: isPersonal))
    }

    /// Whether the daemon answers.
    public func ping() throws(ClientError) { try perform(Calls.ping()) }

    /// The daemon's version and the generation of its policy.
    public func hello() throws(ClientError) -> (version: String, policyGeneration: UInt64) {
        try perform(Calls.hello())
    }

    /// On the admin socket; with the role observe, on the data socket too.
    public func statistics() throws(ClientError) -> [StatisticEntry] {
        try perform(Calls.statistics())
    }

    /// On the admin socket: the generation of the policy now in force.
    public func reload() throws(ClientError) -> UInt64 { try perform(Calls.reload()) }

    /// On the admin socket: ends the daemon.
    public func shutdown(graceMilliseconds: UInt32 = 5_000) throws(ClientError) {
        try perform(Calls.shutdown(graceMilliseconds: graceMilliseconds))
    }

    /// One call of the directory, as `.createOrganization(…)`: on the admin socket, and those of
    /// the role issue on the data socket too.
    public func perform<Answer>(
        _ call: DirectoryCall<Answer>
    ) throws(ClientError) -> Answer {
        try perform(try Calls.directory(call))
    }

    // MARK: exchange

    func perform<Answer>(_ call: Call<Answer>) throws(ClientError) -> Answer {
        let outcomes = exchange(
            call.opcode, [call.body], call.isRepeatable, isKnownAgain: call.isKnownAgain)
        guard let outcome = outcomes.first else { throw .disconnected }
        return try call.answer(try outcome.get())
    }

    /// Sends all, and waits for all; as many outcomes as bodies, in their order.
    private func exchange(
        _ opcode: Opcode, _ bodies: [[UInt8]], _ isRepeatable: Bool, isKnownAgain: Bool = false
    ) -> [Result<[UInt8], ClientError>] {
        guard !bodies.isEmpty else { return [] }
        let deadline = tg_boottime() + Deadline.nanoseconds(milliseconds: timeoutMilliseconds)
        var batch = Batch(opcode, bodies, firstID: nextID)
        nextID += UInt64(bodies.count)
        var mayRepeat = socket != nil || isKnownAgain
        while true {
            do throws(ClientError) {
                try attempt(&batch, deadline)
                return batch.outcomes
            } catch {
                disconnect()
                let isSafe = batch.sent == 0 || (isRepeatable && batch.isUnanswered)
                guard mayRepeat, error == .disconnected, isSafe else {
                    return batch.outcomes(missing: error)
                }
                mayRepeat = false
                batch.sent = 0
            }
        }
    }

    /// Reads while it writes: a daemon whose replies nobody takes stops reading.
    private func attempt(_ batch: inout Batch, _ deadline: UInt64) throws(ClientError) {
        let socket = try connected(deadline)
        while batch.missing > 0 {
            var isBroken = false
            if !batch.isSent {
                switch socket.send(batch.frames, from: batch.sent) {
                case .bytes(let count): batch.sent += count
                case .blocked: break
                case .ended: isBroken = true
                }
            }
            var progress = socket.receive()
            // Before it closes, the daemon may have said why.
            while case .bytes = progress {
                while let frame = try socket.nextFrame() { try batch.accept(frame) }
                progress = isBroken ? socket.receive() : .blocked
            }
            guard batch.missing > 0 else { return }
            if isBroken || progress == .ended { throw .disconnected }
            try wait(socket, writing: !batch.isSent, deadline)
        }
    }

    private func connected(_ deadline: UInt64) throws(ClientError) -> ClientSocket {
        if let socket { return socket }
        while true {
            do throws(ClientError) {
                let made = try ClientSocket(path: path)
                socket = made
                return made
            } catch .unreachable(_, EAGAIN) {
                // The listener's queue is full; the kernel offers nothing to wait on.
                guard tg_boottime() < deadline else { throw .timedOut }
                poll(nil, 0, 2)
            }
        }
    }

    private func wait(
        _ socket: ClientSocket, writing: Bool, _ deadline: UInt64
    ) throws(ClientError) {
        let events = writing ? POLLIN | POLLOUT : POLLIN
        while true {
            let now = tg_boottime()
            guard now < deadline else { throw .timedOut }
            var polled = pollfd(fd: socket.descriptor, events: Int16(events), revents: 0)
            if poll(&polled, 1, Deadline.pollMilliseconds(from: now, to: deadline)) > 0 { return }
        }
    }
}

/// Requests that were sent together, and what came back. Ids are `firstID` and those after it, and
/// are used once in a client's life.
private struct Batch {
    let opcode: Opcode
    let firstID: UInt64
    private(set) var frames: [UInt8] = []
    var sent = 0
    private var answers: [Result<[UInt8], ClientError>?]
    private(set) var missing: Int

    init(_ opcode: Opcode, _ bodies: [[UInt8]], firstID: UInt64) {
        self.opcode = opcode
        self.firstID = firstID
        answers = Array(repeating: nil, count: bodies.count)
        missing = bodies.count
        for (index, body) in bodies.enumerated() {
            appendFrame(opcode, firstID + UInt64(index), body, to: &frames)
        }
    }

    var isSent: Bool { sent == frames.count }
    var isUnanswered: Bool { missing == answers.count }
    var outcomes: [Result<[UInt8], ClientError>] { answers.compactMap { $0 } }

    func outcomes(missing error: ClientError) -> [Result<[UInt8], ClientError>] {
        answers.map { $0 ?? .failure(error) }
    }

    mutating func accept(_ frame: ReplyFrame) throws(ClientError) {
        let id = frame.header.requestID
        guard id >= firstID, id - firstID < UInt64(answers.count) else {
            throw frame.connectionFailure()
        }
        let index = Int(id - firstID)
        guard answers[index] == nil else { throw .malformedReply("two answers to one request") }
        answers[index] = try frame.outcome(for: opcode)
        missing -= 1
    }
}
