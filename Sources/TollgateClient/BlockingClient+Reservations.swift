import TollgateWire

extension BlockingClient {
    /// Decides, and when it allows holds the estimate: `reservation` of the decision.
    public func reserve(_ request: ReservationRequest) throws(ClientError) -> CheckDecision {
        try perform(try Calls.reserve(request))
    }

    /// Whether work under a reservation may go on: allowed, or to be stopped. The time to live
    /// begins anew; 0 is as long as before.
    public func extend(
        _ id: ReservationID, _ meters: [HeldUnits] = [], timeToLiveMilliseconds: UInt32 = 0,
        explains: Bool = false
    ) throws(ClientError) -> CheckDecision {
        try perform(
            try Calls.extend(
                id, meters, timeToLiveMilliseconds: timeToLiveMilliseconds, explains: explains))
    }

    /// Ends a reservation with what was used. A meter that is not named settles at its estimate.
    public func settle(
        _ id: ReservationID, _ meters: [MeterUnits] = [], explains: Bool = false
    ) throws(ClientError) -> CheckDecision {
        try perform(try Calls.settle(id, meters, explains: explains))
    }

    /// Ends a reservation, and charges nothing.
    public func cancel(
        _ id: ReservationID, explains: Bool = false
    ) throws(ClientError) -> CheckDecision {
        try perform(Calls.cancel(id, explains: explains))
    }

    /// Reserves, does the work, and settles at the estimate; cancels where the work throws. What
    /// the work has settled or canceled itself is left as it is. Where the reservation is denied
    /// the work is not begun: throws `ReservationDenied`.
    public func withReservation<R>(
        _ request: ReservationRequest, _ work: (OpenReservation) throws -> R
    ) throws -> R {
        let decision = try reserve(request)
        guard decision.isAllowed else { throw ReservationDenied(decision: decision) }
        let open = OpenReservation(decision: decision, client: self)
        let result: R
        do { result = try work(open) } catch {
            if open.isOpen {
                // Its time to live ends it where this fails; what the work threw is what matters.
                do throws(ClientError) { try open.cancel() } catch {}
            }
            throw error
        }
        if open.isOpen { try open.settle() }
        return result
    }
}

/// Nothing is held: why not.
public struct ReservationDenied: Error, Sendable, Equatable {
    public var decision: CheckDecision
}

/// The reservation that `BlockingClient.withReservation` lends its work.
public final class OpenReservation {
    /// RESERVE's.
    public let decision: CheckDecision
    private let client: BlockingClient
    /// Neither settled nor canceled here. The daemon may have ended it all the same.
    public private(set) var isOpen: Bool

    init(decision: CheckDecision, client: BlockingClient) {
        self.decision = decision
        self.client = client
        isOpen = decision.reservation != nil
    }

    /// Throws where nothing is held, as in a dry run.
    private func id() throws(ClientError) -> ReservationID {
        guard let id = decision.reservation?.id else {
            throw .invalidRequest("nothing is held: it was a dry run")
        }
        return id
    }

    /// Whether to go on. False also where the reservation has ended: stop, and settle.
    public func extend(
        _ meters: [HeldUnits] = [], timeToLiveMilliseconds: UInt32 = 0
    ) throws(ClientError) -> Bool {
        let id = try id()
        do throws(ClientError) {
            return try client.extend(
                id, meters, timeToLiveMilliseconds: timeToLiveMilliseconds
            ).isAllowed
        } catch {
            if error.isEndOfReservation { return false }
            throw error
        }
    }

    /// Ends it with what was used. A meter that is not named settles at its estimate.
    @discardableResult
    public func settle(_ meters: [MeterUnits] = []) throws(ClientError) -> CheckDecision {
        let answer = try client.settle(try id(), meters)
        if answer.isAllowed { isOpen = false }
        return answer
    }

    /// Ends it, and charges nothing.
    @discardableResult
    public func cancel() throws(ClientError) -> CheckDecision {
        let answer = try client.cancel(try id())
        if answer.isAllowed { isOpen = false }
        return answer
    }
}

extension ClientError {
    /// EXTEND was answered that there is nothing to go on with.
    var isEndOfReservation: Bool {
        guard case .refused(let status, _) = self else { return false }
        return status == .notFound || status == .conflict
    }
}
