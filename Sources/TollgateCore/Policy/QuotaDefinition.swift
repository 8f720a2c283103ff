import TollgateWire

/// The calendar period of a quota.
package enum PeriodKind: UInt8, Sendable, BitwiseCopyable, CaseIterable {
    case day = 1
    case month = 2
    /// From Monday on (ISO 8601).
    case week = 3
    /// From the anchor's day of the month to that of the next.
    case billingMonth = 4
    /// One that never ends.
    case total = 5

    /// As policies, documents and files spell it.
    package var word: String {
        switch self {
        case .day: "day"
        case .month: "month"
        case .week: "week"
        case .billingMonth: "billing_month"
        case .total: "total"
        }
    }
}

/// At most `limit` units of `meter` in a calendar period.
package struct QuotaDefinition: Sendable {
    package var name: String
    /// `.user` or `.organization`.
    package var scope: LimitScope
    package var meter: String
    /// `unlimited`: it counts, and refuses nobody.
    package var limit: UInt64
    package var period: PeriodKind
    /// The zone whose midnight opens the period; `nil` means the subscription's, or where there
    /// is none the policy's.
    package var timeZone: ZoneRules?
    /// Beyond the limit is overage: it is admitted, and told.
    package var isSoft = false
    /// Units beyond the limit that are admitted; `nil` of a soft quota: any.
    package var overageMax: UInt64?
    /// Units that a period may leave, unused, to the one after it; `nil`: none.
    package var rolloverMax: UInt64?
    /// Of an organization's: units that each member can count on, and 0 for none.
    package var memberMin: UInt64 = 0
    /// Of an organization's: the most that one member may use.
    package var memberMax: UInt64?
    /// Of an organization's: what is granted beyond it burns when it is used up.
    package var hasCredits = false
    /// It is evaluated, and counts all that is used, but refuses nobody.
    package var isShadow = false

    package static let unlimited = UInt64.max

    package init(
        name: String, scope: LimitScope, meter: String = "calls", limit: UInt64, period: PeriodKind,
        timeZone: ZoneRules? = nil
    ) {
        self.name = name
        self.scope = scope
        self.meter = meter
        self.limit = limit
        self.period = period
        self.timeZone = timeZone
    }

    package var isUnlimited: Bool { limit == Self.unlimited }

    /// The units that are admitted of a period, but for what was carried over.
    var ceiling: UInt64 {
        guard isSoft else { return limit }
        let (sum, overflow) = limit.addingReportingOverflow(overageMax ?? .max)
        return overflow ? .max : sum
    }
    /// Members' own use is counted as well.
    package var isPool: Bool { memberMin > 0 || memberMax != nil }
}

/// At most `limit` reservations open at a time.
package struct ConcurrencyDefinition: Sendable, Equatable {
    package var name: String
    /// `.user` or `.organization`.
    package var scope: LimitScope
    package var limit: UInt64
    /// It is evaluated, and counts all that are open, but refuses nobody.
    package var isShadow = false

    package static let limitMax: UInt64 = 1_000_000

    package init(name: String, scope: LimitScope, limit: UInt64) {
        self.name = name
        self.scope = scope
        self.limit = limit
    }
}

/// What a hold costs that ends without being settled: its caller died, or its time was over.
package enum CutStream: UInt8, Sendable, BitwiseCopyable {
    /// All that was held.
    case estimate = 1
    /// What the last EXTEND said was used.
    case reported = 2
    case nothing = 3
}

/// How long reservations of a plan live.
package struct HoldTerms: Sendable, Equatable, BitwiseCopyable {
    package var ttlDefaultMilliseconds: UInt32 = 60_000
    /// A longer time that is asked for is lowered to it.
    package var ttlMaxMilliseconds: UInt32 = 600_000
    package var cutStream = CutStream.reported

    package static let ttlRange: ClosedRange<UInt32> = 100...86_400_000

    package init() {}
}

/// How long an answer is remembered by its request's idempotency id, and how many are.
package struct IdempotencyTerms: Sendable, Equatable, BitwiseCopyable {
    package var lifetimeMilliseconds: UInt64 = 600_000
    /// Of all organizations together.
    package var recordsMax: UInt64 = 1_000_000

    package static let lifetimeRange: ClosedRange<UInt64> = 1_000...86_400_000
    package static let recordsRange: ClosedRange<UInt64> = 1...50_000_000

    package init() {}
}

extension QuotaTerms {
    init(_ quota: QuotaDefinition) {
        rolloverMax = quota.rolloverMax ?? 0
        memberMin = quota.memberMin
        guard quota.hasCredits else { return }
        creditTag = CreditAccount.tag(CounterSlot(quota).identity)
        creditMeter = CreditAccount.meterTag(quota.meter)
    }
}
