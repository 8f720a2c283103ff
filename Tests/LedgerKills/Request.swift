import TollgateClient
import TollgateWire

/// A request whose answer is waited for.
enum Request {
    case check(Tier, Units, IdempotencyID?)
    case consume(Tier, Units, IdempotencyID?)
    /// Only what is tied to its connection may go without an id: what it holds ends with it.
    case reserve(Tier, tokens: UInt64, isDetached: Bool, IdempotencyID?)
    case extend(ReservationID, tokens: UInt64, reported: UInt64)
    case settle(ReservationID, tokens: UInt64)
    case cancel(ReservationID)

    var what: Counts.What {
        switch self {
        case .check: .check
        case .consume: .consume
        case .reserve: .reserve
        case .extend: .extend
        case .settle: .settle
        case .cancel: .cancel
        }
    }

    /// Charged or held once, however often it is sent.
    var isKnownAgain: Bool {
        switch self {
        case .check(_, _, let id), .consume(_, _, let id), .reserve(_, _, _, let id): id != nil
        case .extend, .settle, .cancel: true
        }
    }

    /// What answers for: of the request's own id, not a reservation's.
    var hasID: Bool {
        switch self {
        case .check, .consume, .reserve: isKnownAgain
        case .extend, .settle, .cancel: false
        }
    }

    func send(_ client: BlockingClient, _ books: Books) throws(ClientError) -> CheckDecision {
        switch self {
        case .check(let tier, let units, let id):
            return try client.check(Self.question(books[tier], units, id))
        case .consume(let tier, let units, let id):
            let account = books[tier]
            return try client.consume(
                Consumption(
                    organization: account.organization, user: account.user,
                    plan: tier.rawValue, operation: "chat", meters: Self.meters(units),
                    idempotencyID: id))
        case .reserve(let tier, let tokens, let isDetached, let id):
            let units = Units(tokens: tokens, calls: 1)
            return try client.reserve(
                ReservationRequest(
                    Self.question(books[tier], units, id), isDetached: isDetached))
        case .extend(let id, let tokens, let reported):
            return try client.extend(id, [HeldUnits("tokens", tokens, used: reported)])
        case .settle(let id, let tokens):
            return try client.settle(id, [MeterUnits("tokens", tokens)])
        case .cancel(let id):
            return try client.cancel(id)
        }
    }

    private static func question(
        _ account: Account, _ units: Units, _ id: IdempotencyID?
    ) -> CheckQuestion {
        CheckQuestion(
            token: account.token, operation: .name("chat"), meters: meters(units),
            idempotencyID: id)
    }

    private static func meters(_ units: Units) -> [MeterUnits] {
        [MeterUnits("tokens", units.tokens), MeterUnits("calls", units.calls)]
    }

    /// Notes what an answer says.
    func apply(_ decision: CheckDecision, to books: inout Books) throws {
        switch self {
        case .check(let tier, let units, _):
            try deny(decision, tier, &books)
            if decision.isAllowed {
                books[tier].totals.used = books[tier].totals.used + units
            }
        case .consume(let tier, let units, _):
            guard decision.isAllowed else { throw Mismatch("CONSUME denied: \(decision)") }
            books[tier].totals.used = books[tier].totals.used + units
        case .reserve(let tier, let tokens, let isDetached, _):
            try deny(decision, tier, &books)
            if let made = decision.reservation {
                books.begin(Hold(tier: tier, id: made.id, isDetached: isDetached, estimate: tokens))
            }
        case .extend(let id, let tokens, let reported):
            books.extend(id, to: decision.isAllowed ? tokens : nil, reported: reported)
        case .settle(let id, let tokens):
            guard decision.isAllowed else { throw Mismatch("SETTLE denied: \(decision)") }
            books.settle(id, tokens: tokens)
        case .cancel(let id):
            guard decision.isAllowed else { throw Mismatch("CANCEL denied: \(decision)") }
            books.cancel(id)
        }
    }

    /// Nothing but a quota at its end denies, and that not where it is wide.
    private func deny(_ decision: CheckDecision, _ tier: Tier, _ books: inout Books) throws {
        guard !decision.isAllowed else { return }
        guard decision.reason == .quotaExhausted, tier != .wide else {
            throw Mismatch("denied: \(decision)")
        }
        books[tier].isUsedUp = true
    }
}
