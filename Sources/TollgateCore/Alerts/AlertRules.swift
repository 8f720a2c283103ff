/// What an alert is about. The number is the state file's: it never changes its meaning.
package enum AlertKind: UInt8, Sendable, CaseIterable {
    /// Some percentage of a quota is used.
    case quotaThreshold = 1
    /// A quota is gone when little of its period has passed.
    case quotaExhaustedEarly = 2
    /// Used on at the period's rate so far, a quota is gone before its period ends.
    case quotaForecast = 3
    /// Many credentials that are no good.
    case invalidCredentials = 4
    /// A refresh token was used after its successor was.
    case refreshReuse = 5
    /// An API key is used from many networks.
    case keyNetworks = 6
    /// An organization asks far more often than it ever did within the week before.
    case suddenRise = 7
    /// An organization's first use of an operation that costs much.
    case costlyOperation = 8
    /// The daemon itself cannot do as it should.
    case daemonTrouble = 9
    /// Asked for by an operator.
    case test = 10

    /// As policies, documents and payloads spell it.
    package var word: String {
        switch self {
        case .quotaThreshold: "quota_threshold"
        case .quotaExhaustedEarly: "quota_exhausted_early"
        case .quotaForecast: "quota_forecast"
        case .invalidCredentials: "invalid_credentials"
        case .refreshReuse: "refresh_reuse"
        case .keyNetworks: "key_networks"
        case .suddenRise: "sudden_rise"
        case .costlyOperation: "costly_operation"
        case .daemonTrouble: "daemon_trouble"
        case .test: "test"
        }
    }

    package init?(word: String) {
        guard let kind = Self.allCases.first(where: { $0.word == word }) else { return nil }
        self = kind
    }

    package var isOfQuota: Bool { rawValue <= Self.quotaForecast.rawValue }
}

/// Whose invalid credentials are counted together.
package enum FloodScope: UInt8, Sendable, CaseIterable {
    /// An IPv4 address, or the /64 of an IPv6 address.
    case source = 1
    /// What an API key shows of itself: its id.
    case key = 2
    /// Everybody's.
    case overall = 3

    package var word: String {
        switch self {
        case .source: "source"
        case .key: "key"
        case .overall: "overall"
        }
    }
}

/// One rule: what it looks for, and from where on it fires. Fields of other kinds are not looked
/// at.
package struct AlertRule: Sendable, Equatable {
    package static let percentRange: ClosedRange<UInt64> = 1...10_000
    package static let percentsMax = 16

    package var name: String
    package var kind: AlertKind
    package var isEnabled = true
    /// `quotaThreshold`: used of the limit, each an alert of its own; above 100 where overage is
    /// allowed.
    package var percents: [UInt32] = [80, 95, 100]
    /// Of quotas: what was told may be told again in a period once the limit is higher by so much
    /// than it was.
    package var hysteresisPercent: UInt32 = 5
    /// `quotaExhaustedEarly`: of the period, before which the quota is gone. `quotaForecast`: of
    /// the period, before which nothing is foretold.
    package var periodPercent: UInt32 = 10
    /// Of quotas: names; empty: all.
    package var quotas: [String] = []
    /// Of quotas: names of plans; empty: all.
    package var plans: [String] = []
    package var scope = FloodScope.overall
    /// `invalidCredentials`: within the window. `keyNetworks`: within a day (UTC). `suddenRise`:
    /// within an hour, fewer are no rise.
    package var count: UInt64 = 1_000
    package var windowMilliseconds: UInt64 = 300_000
    /// `suddenRise`: times the busiest hour of the seven days before.
    package var factor: UInt64 = 3
    /// `costlyOperation`: micro-units of money that one request costs.
    package var costMin: UInt64 = 1_000_000
    /// `costlyOperation`: those that cost much whatever their price; names.
    package var operations: [String] = []

    package init(_ name: String, _ kind: AlertKind) {
        self.name = name
        self.kind = kind
        switch kind {
        case .quotaForecast: periodPercent = 20
        case .keyNetworks: count = 8
        default: break
        }
    }

    /// What one has counted is what the other would have.
    func countsAs(_ other: AlertRule) -> Bool {
        kind == other.kind && scope == other.scope
            && windowMilliseconds == other.windowMilliseconds
    }

    fileprivate init(flood name: String, _ scope: FloodScope, count: UInt64) {
        self.init(name, .invalidCredentials)
        self.scope = scope
        self.count = count
    }
}

/// The rules of a policy, in the order in which they are looked at.
package struct AlertRules: Sendable, Equatable {
    package static let rulesMax = 64

    package var rules: [AlertRule]

    package init(_ rules: [AlertRule] = AlertRules.standard) { self.rules = rules }

    /// Of rules that only one of the two has, or has otherwise; sorted.
    package static func names(thatDifferIn a: [AlertRule], _ b: [AlertRule]) -> [String] {
        let differing = a.filter { !b.contains($0) } + b.filter { !a.contains($0) }
        let names = Set(differing.map(\.name)).sorted()
        return names.isEmpty ? ["their order"] : names
    }

    /// What holds without any configuration.
    package static let standard: [AlertRule] = [
        AlertRule("quota_threshold", .quotaThreshold),
        AlertRule("quota_exhausted_early", .quotaExhaustedEarly),
        AlertRule("quota_forecast", .quotaForecast),
        AlertRule(flood: "invalid_credentials_source", .source, count: 100),
        AlertRule(flood: "invalid_credentials_key", .key, count: 20),
        AlertRule(flood: "invalid_credentials", .overall, count: 1_000),
        AlertRule("refresh_reuse", .refreshReuse),
        AlertRule("key_networks", .keyNetworks),
        AlertRule("sudden_rise", .suddenRise),
        AlertRule("costly_operation", .costlyOperation),
        AlertRule("daemon_trouble", .daemonTrouble),
    ]
}
