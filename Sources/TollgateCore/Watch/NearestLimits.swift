import TollgateWire

/// How near an organization, or one of its users, is to the end of a quota.
package struct NearLimit: Sendable, Equatable {
    package var organization: String
    package var isPersonal: Bool
    /// `nil`: of the organization as a whole.
    package var user: String?
    package var plan: String
    /// The quota's name.
    package var quota: String
    package var meter: String
    package var period: PeriodKind
    package var used: UInt64
    /// Of open reservations, and no part of `used`.
    package var held: UInt64
    /// With what holds for whom it counts: overrides, carried units, credits.
    package var limit: UInt64
    /// `nil`: it never ends.
    package var endsAt: WallTime?
    /// The user's cap within an organization's quota.
    package var isShare: Bool
    /// It refuses nobody.
    package var isShadow: Bool

    var occupied: UInt64 { used.addingClamped(held) }

    /// Whether it counts the same as another.
    func isSameCounter(as other: NearLimit) -> Bool {
        quota == other.quota && organization == other.organization && user == other.user
            && isPersonal == other.isPersonal && meter == other.meter && period == other.period
            && isShare == other.isShare
    }

    /// The order of names, where two are as near.
    fileprivate func precedes(_ other: NearLimit) -> Bool {
        if organization != other.organization { return organization < other.organization }
        if isPersonal != other.isPersonal { return other.isPersonal }
        if user != other.user { return (user ?? "") < (other.user ?? "") }
        if quota != other.quota { return quota < other.quota }
        if meter != other.meter { return meter < other.meter }
        return period.rawValue < other.period.rawValue
    }
}

/// The nearest of all that it is shown, at most `most`.
package struct NearestLimits: Sendable {
    package let most: Int
    /// The nearest first.
    package private(set) var limits: [NearLimit] = []
    /// Counters looked at that have a limit and something used of it.
    package internal(set) var counters = 0
    /// Rows whose plan the policy lacks.
    package internal(set) var unknownPlans = 0

    package init(most: Int) { self.most = max(0, most) }

    /// Whether one that has `occupied` of `limit` could come in, before its names are read.
    func mayTake(_ occupied: UInt64, of limit: UInt64) -> Bool {
        guard limits.count >= most else { return true }
        guard let last = limits.last else { return false }
        return Self.compare(occupied, limit, last.occupied, last.limit) >= 0
    }

    /// One that was seen before, for its row moved meanwhile, is put in its place.
    mutating func add(_ limit: NearLimit) {
        if let known = limits.firstIndex(where: { $0.isSameCounter(as: limit) }) {
            limits.remove(at: known)
        }
        let place = limits.firstIndex { Self.isNearer(limit, $0) } ?? limits.count
        limits.insert(limit, at: place)
        if limits.count > most { limits.removeLast() }
    }

    /// By the part of the limit that is taken; then who has less left, then by name.
    static func isNearer(_ a: NearLimit, _ b: NearLimit) -> Bool {
        let order = compare(a.occupied, a.limit, b.occupied, b.limit)
        if order != 0 { return order > 0 }
        if a.limit != b.limit { return a.limit < b.limit }
        return a.precedes(b)
    }

    /// The sign of a / b - c / d, exactly. What has no limit at all is beyond everything.
    private static func compare(_ a: UInt64, _ b: UInt64, _ c: UInt64, _ d: UInt64) -> Int {
        guard b > 0, d > 0 else { return b == d ? 0 : b == 0 ? 1 : -1 }
        let (left, right) = (a.multipliedFullWidth(by: d), c.multipliedFullWidth(by: b))
        if left.high != right.high { return left.high > right.high ? 1 : -1 }
        return left.low == right.low ? 0 : left.low > right.low ? 1 : -1
    }
}
