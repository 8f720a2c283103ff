import TollgateClient

/// Units of both meters.
struct Units: Equatable, CustomStringConvertible {
    var tokens: UInt64 = 0
    var calls: UInt64 = 0

    static func + (left: Units, right: Units) -> Units {
        Units(tokens: left.tokens + right.tokens, calls: left.calls + right.calls)
    }

    static func - (left: Units, right: Units) -> Units {
        Units(tokens: left.tokens - right.tokens, calls: left.calls - right.calls)
    }

    var description: String { "\(tokens) tokens, \(calls) calls" }
}

/// What is held for work under way, as its caller knows it.
struct Hold: Equatable {
    let tier: Tier
    let id: ReservationID
    let isDetached: Bool
    /// In tokens; and one call.
    var estimate: UInt64
    /// In tokens: what EXTEND has told to be used.
    var reported: UInt64 = 0
    /// Its connection's end has charged what was reported.
    var isCut = false

    var units: Units { Units(tokens: estimate, calls: 1) }
}

/// Plans, by what is asked under them.
enum Tier: String, CaseIterable {
    /// Everything, with limits that nobody reaches.
    case wide = "wide_tier"
    /// Small quotas of user and organization, and no request that may go beyond them.
    case narrow = "narrow_tier"
    /// One call at a time, until the organization's quota is used up: exactly that many.
    case race = "race_tier"

    static let raceCalls: UInt64 = 400
    static let narrowTokens: UInt64 = 400_000
}

/// Counters of a user, or of an organization, or what they must be.
struct Totals: Equatable, CustomStringConvertible {
    var used = Units()
    var held = Units()
    /// Reservations.
    var open: UInt64 = 0

    static func + (left: Totals, right: Totals) -> Totals {
        Totals(
            used: left.used + right.used, held: left.held + right.held,
            open: left.open + right.open)
    }

    var description: String { "used \(used); held \(held); \(open) open" }

    /// The entries of USAGE whose names are `prefix` and the meter.
    init(_ report: UsageReport, prefix: String) throws {
        func entry(_ name: String) throws -> LimitEntry {
            guard let found = report.limits.first(where: { $0.name == prefix + name }) else {
                throw Mismatch("USAGE without \(prefix)\(name)")
            }
            return found
        }
        let (tokens, calls) = (try entry("tokens"), try entry("calls"))
        used = Units(tokens: tokens.used, calls: calls.used)
        held = Units(tokens: tokens.held, calls: calls.held)
        open = try entry("streams").used
    }

    init(used: Units = Units(), held: Units = Units(), open: UInt64 = 0) {
        (self.used, self.held, self.open) = (used, held, open)
    }
}

/// A user under one plan, and what it was told.
struct Account {
    let tier: Tier
    let organization: String
    let user: String
    let token: String
    var totals = Totals()
    /// Denied because its own quota, or its organization's, is at its end.
    var isUsedUp = false
}

/// All that one payer was told, so that what is not known can be kept as several of them.
struct Books {
    var accounts: [Account]
    var holds: [Hold] = []

    subscript(_ tier: Tier) -> Account {
        get {
            guard let found = accounts.first(where: { $0.tier == tier }) else {
                preconditionFailure("an account for every tier")
            }
            return found
        }
        set {
            guard let index = accounts.firstIndex(where: { $0.tier == tier }) else { return }
            accounts[index] = newValue
        }
    }

    mutating func begin(_ hold: Hold) {
        holds.append(hold)
        self[hold.tier].totals.held = self[hold.tier].totals.held + hold.units
        self[hold.tier].totals.open += 1
    }

    private mutating func release(_ hold: Hold) {
        self[hold.tier].totals.held = self[hold.tier].totals.held - hold.units
        self[hold.tier].totals.open -= 1
    }

    /// A death ends what is tied to a connection, and charges what was reported.
    mutating func cut(_ id: ReservationID) {
        guard let index = holds.firstIndex(where: { $0.id == id }) else { return }
        release(holds[index])
        self[holds[index].tier].totals.used.tokens += holds[index].reported
        holds[index].isCut = true
    }

    mutating func extend(_ id: ReservationID, to estimate: UInt64?, reported: UInt64) {
        guard let index = holds.firstIndex(where: { $0.id == id }) else { return }
        let tier = holds[index].tier
        if holds[index].isCut {
            self[tier].totals.used.tokens += reported - holds[index].reported
        } else if let estimate, estimate > holds[index].estimate {
            self[tier].totals.held.tokens += estimate - holds[index].estimate
            holds[index].estimate = estimate
        }
        holds[index].reported = reported
    }

    mutating func settle(_ id: ReservationID, tokens: UInt64) {
        guard let index = holds.firstIndex(where: { $0.id == id }) else { return }
        let hold = holds.remove(at: index)
        let charged = hold.isCut ? hold.reported : 0
        if !hold.isCut { release(hold) }
        let more = Units(tokens: tokens - charged, calls: 1)
        self[hold.tier].totals.used = self[hold.tier].totals.used + more
    }

    mutating func cancel(_ id: ReservationID) {
        guard let index = holds.firstIndex(where: { $0.id == id }) else { return }
        let hold = holds.remove(at: index)
        if hold.isCut {
            // It had been canceled before the death.
            self[hold.tier].totals.used.tokens -= hold.reported
        } else {
            release(hold)
        }
    }
}
