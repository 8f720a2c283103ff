import TollgateWire

/// A connection to the daemon for any number of tasks: their requests are pipelined over one
/// socket, and answers find their request by its id, in whatever order they come.
///
/// - At most 256 requests are in flight, as the protocol has it; others wait, first come first
///   served, up to `waitingMax`.
/// - One deadline holds for a request with all that it takes: waiting, connecting, the answer.
/// - When its task is cancelled, a request ends with `ClientError.cancelled`: unsent if it still
///   waited, else perhaps carried out. An answer that comes after all is dropped.
/// - A connection that ends takes with it what was sent on it (`disconnected`), and is made again
///   for what was not. Only what the daemon knows again is sent twice, once more within its
///   deadline: what has an idempotency id, and what extends, settles or cancels a reservation.
/// - While the daemon cannot be reached, each attempt to connect ends all requests that wait for
///   it, and the attempts grow rarer, to about two a second.
///
/// It throws when there is no answer; what a caller makes of that is the caller's to state:
/// `isAllowed(_:failMode:)`. Letting go of the client ends its connection and its thread.
public final class AsyncClient: Sendable {
    /// Requests that may wait to be sent; more are refused with `tooManyWaiting`.
    public static let waitingMax = 65_536

    /// Of the socket.
    public let path: String
    /// For each request: 1 to a day.
    public let timeoutMilliseconds: Int
    private let loop: RequestLoop

    /// Connects when first used.
    public init(path: String = "/run/tollgate/tollgate.sock", timeoutMilliseconds: Int = 1_000) {
        self.path = path
        self.timeoutMilliseconds = timeoutMilliseconds
        loop = RequestLoop(
            path: path,
            timeoutNanoseconds: Deadline.nanoseconds(milliseconds: timeoutMilliseconds))
    }

    deinit { loop.stop() }

    /// Decides, and charges when it allows.
    public func check(_ question: CheckQuestion) async throws(ClientError) -> CheckDecision {
        try await perform(try Calls.check(question))
    }

    /// Whether the caller may go on, also when the daemon gave no answer. A cancelled task's may
    /// not.
    public func isAllowed(_ question: CheckQuestion, failMode: FailMode = .deny) async -> Bool {
        do throws(ClientError) { return try await check(question).isAllowed } catch {
            return failMode.isAllowed(after: error)
        }
    }

    /// Records what was used; never denies.
    public func consume(_ consumption: Consumption) async throws(ClientError) -> CheckDecision {
        try await perform(try Calls.consume(consumption))
    }

    /// With an empty user, the organization's limits alone; with an empty plan, the plan that was
    /// last decided with.
    public func usage(
        organization: String, user: String = "", plan: String = "", isPersonal: Bool = false
    ) async throws(ClientError) -> UsageReport {
        try await perform(
            try Calls.usage(
                organization: organization, user: user, plan: plan, isPersonal: isPersonal))
    }

    /// Whether the daemon answers.
    public func ping() async throws(ClientError) { try await perform(Calls.ping()) }

    /// The daemon's version and the generation of its policy.
    public func hello() async throws(ClientError) -> (version: String, policyGeneration: UInt64) {
        try await perform(Calls.hello())
    }

    /// On the admin socket; with the role observe, on the data socket too.
    public func statistics() async throws(ClientError) -> [StatisticEntry] {
        try await perform(Calls.statistics())
    }

    /// On the admin socket: the generation of the policy now in force.
    public func reload() async throws(ClientError) -> UInt64 { try await perform(Calls.reload()) }

    /// On the admin socket: ends the daemon.
    public func shutdown(graceMilliseconds: UInt32 = 5_000) async throws(ClientError) {
        try await perform(Calls.shutdown(graceMilliseconds: graceMilliseconds))
    }

    /// One call of the directory, as `.createOrganization(…)`: on the admin socket, and those of
    /// the role issue on the data socket too.
    public func perform<Answer>(
        _ call: DirectoryCall<Answer>
    ) async throws(ClientError) -> Answer {
        try await perform(try Calls.directory(call))
    }

    func perform<Answer>(_ call: Call<Answer>) async throws(ClientError) -> Answer {
        let request = PendingRequest(call.opcode, call.body, mayRepeat: call.isKnownAgain)
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { loop.submit(request, $0) }
        } onCancel: {
            loop.cancel(request)
        }
        return try call.answer(try outcome.get())
    }
}
