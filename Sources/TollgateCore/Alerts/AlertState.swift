/// What the rules remember. A value: encoded and decoded it is the same.
///
/// Bounds: `quotasMax`, `firingsMax`, `tableMax` for each rule's counters, `recentMax` alerts. Who
/// goes when one is full: of quotas and firings, first those whose period is over, then those that
/// fired longest ago, half of all at once; of counters, those of an earlier window, then the
/// smallest. Each that went while it still counted is counted in `evicted`.
package struct AlertState: Sendable, Equatable {
    package static let quotasMax = 100_000
    package static let firingsMax = 50_000
    package static let tableMax = 8_192
    package static let recentMax = 1_000
    package static let silencesMax = 100
    static let resetsMax = 1_000

    /// A quota of which something was told in the period that ends at `end`.
    struct Quota: Sendable, Equatable {
        var end: Int64
        var firedAt: Int64
        var marks: [Mark]
    }

    /// `AlertHash.mark` of a rule and a threshold that fired, and the limit that held then.
    struct Mark: Sendable, Equatable {
        var rule: UInt64
        var limit: UInt64
    }

    struct FiringKey: Sendable, Hashable {
        var rule: String
        var subject: AlertSubject
    }

    /// Of rules whose period is the day (UTC), or that fire once for ever.
    struct Firing: Sendable, Equatable {
        var firedAt: Int64
        /// It was well below since.
        var isCleared = false
    }

    /// Counts of the current stretch of a window's length and of the one before it.
    struct Window: Sendable, Equatable {
        var stretch: Int64
        var current: UInt64
        var previous: UInt64
    }

    struct CounterKey: Sendable, Hashable, Comparable {
        var scope: UInt8
        var high: UInt64
        var low: UInt64

        static func < (a: Self, b: Self) -> Bool {
            (a.scope, a.high, a.low) < (b.scope, b.high, b.low)
        }
    }

    /// Networks from which a key was used on a day.
    struct Networks: Sendable, Equatable {
        var day: Int64
        var seen: [UInt64]
    }

    /// How often an organization asked: in the hour at hand, and in the busiest hour of each of the
    /// last eight days, by day modulo 8.
    struct Rise: Sendable, Equatable {
        var since: Int64
        var hour: Int64
        var count: UInt64
        var peaks: [UInt64]
        var lastDay: Int64
    }

    /// Counters of one rule.
    struct Counters: Sendable, Equatable {
        var windows: [CounterKey: Window] = [:]
        var networks: [CounterKey: Networks] = [:]
        var rises: [CounterKey: Rise] = [:]
        /// Alerts of the hour, for what anybody can bring about.
        var hour: Int64 = 0
        var alertsOfHour: UInt64 = 0
    }

    var quotas: [AlertSubject: Quota] = [:]
    var firings: [FiringKey: Firing] = [:]
    /// By rule.
    var counters: [String: Counters] = [:]
    /// Resets after which thresholds may fire again, and did or will: the newest last.
    var resets: [ResetID] = []
    package internal(set) var nextID: UInt64 = 1
    /// The newest last.
    package internal(set) var recent: [Alert] = []
    package internal(set) var silences: [AlertSilence] = []
    package internal(set) var evicted: UInt64 = 0
    /// Alerts that were not made: a rule had made so many within the hour.
    package internal(set) var suppressed: UInt64 = 0
    /// The highest id that was handed to the sinks.
    package var handed: UInt64 = 0

    package init() {}

    /// New alerts get ids behind that one, which somebody still has: after a state that was lost,
    /// or put back from a backup, none is to take another's place. Beyond 2^53 it is nobody's.
    package mutating func takeIDs(after id: UInt64) {
        if id < 1 << 53 { nextID = max(nextID, id &+ 1) }
    }
}

/// FNV-1a of 64 bits: the same in every process, for state that outlives it.
enum AlertHash {
    static func of(
        _ bytes: some Sequence<UInt8>, _ seed: UInt64 = 0xcbf2_9ce4_8422_2325
    ) -> UInt64 {
        var hash = seed
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return hash
    }

    static func mark(_ rule: String, _ threshold: UInt32) -> UInt64 {
        of((0..<4).map { UInt8(truncatingIfNeeded: threshold >> (8 * $0)) }, of(rule.utf8))
    }
}
