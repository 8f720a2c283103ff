import TollgateWire

@testable import TollgateCore

/// Quotas of one plan in the plainest form: what everybody used, by period, and nothing else.
struct QuotaModel {
    /// Somebody's use of a quota in the period that they used it last.
    struct Cell {
        var period: PeriodInterval?
        var used: UInt64 = 0
        var carried: UInt64 = 0
    }

    struct Call {
        var organization: String
        var user: String
        var calls: UInt64
        var tokens: UInt64
        var isConsume = false
    }

    struct Answer: Equatable {
        var isAllowed = true
        var isOverage = false
        var cost: UInt64 = 0
        var retry: UInt32 = 0
        var name = ""
        var limit: UInt64 = 0
        var remaining: UInt64 = 0
        var reset: UInt64 = 0
    }

    static let tokenWeight: UInt64 = 3

    var plan: PlanDefinition
    var policyZone: ZoneRules
    /// By organization.
    var calendars: [String: SubjectCalendar] = [:]
    /// By organization, then quota.
    var overrides: [String: [String: UInt64]] = [:]
    var now = WallTime(milliseconds: 0)
    private var cells: [String: Cell] = [:]

    init(_ plan: PlanDefinition, _ zone: ZoneRules) {
        self.plan = plan
        policyZone = zone
    }

    /// What a quota comes to for a call, before it is charged.
    private struct Looked {
        var quota: QuotaDefinition
        var key: String
        var limit: UInt64
        var ceiling: UInt64
        var wanted: UInt64
        var isRefused: Bool
        var retry: UInt32
        var left: Double
    }

    mutating func answer(_ call: Call) -> Answer {
        var answer = Answer()
        answer.cost =
            (plan.prices["calls"] ?? 0) * call.calls + (plan.prices["tokens"] ?? 0) * call.tokens
        var looked: [Looked] = []
        for quota in plan.quotas.filter({ $0.scope == .user })
            + plan.quotas.filter({ $0.scope == .organization })
        {
            let units = [
                "calls": call.calls, "tokens": call.tokens * Self.tokenWeight, "cost": answer.cost,
            ]
            // Where nothing has a price, nothing counts as cost.
            if quota.meter == "cost", (plan.prices.values.max() ?? 0) == 0 { continue }
            looked.append(look(quota, call, units[quota.meter] ?? 0))
        }
        let refused = looked.filter(\.isRefused)
        answer.isAllowed = refused.isEmpty || call.isConsume
        answer.isOverage =
            call.isConsume
            ? looked.contains { used($0.key) + $0.wanted > $0.limit }
            : answer.isAllowed && looked.contains { used($0.key) + $0.wanted > $0.limit }
        if answer.isAllowed {
            for step in looked { cells[step.key]?.used += step.wanted }
        } else {
            answer.cost = 0
            answer.retry = refused.map(\.retry).max() ?? 0
        }
        // The tightest, or of those that refuse the one with the longest wait; of equals the first.
        var shown = refused.isEmpty ? looked.first : refused.first
        for step in refused.isEmpty ? looked : refused {
            guard let best = shown else { break }
            let isTighter = refused.isEmpty ? step.left < best.left : step.retry > best.retry
            if isTighter { shown = step }
        }
        if let shown { show(shown, in: &answer) }
        return answer
    }

    private func show(_ shown: Looked, in answer: inout Answer) {
        answer.name = shown.quota.name
        answer.limit = shown.limit
        let used = used(shown.key)
        answer.remaining =
            shown.limit == .max ? .max : shown.limit > used ? shown.limit - used : 0
        let end = cells[shown.key]?.period?.end ?? 0
        answer.reset =
            end == .max ? WireLimits.resetNever : UInt64(end * 1_000 - now.milliseconds)
    }

    func used(_ key: String) -> UInt64 { cells[key]?.used ?? 0 }

    static func key(_ quota: QuotaDefinition, _ organization: String, _ user: String) -> String {
        "\(organization)/\(quota.scope == .user ? user : "")/\(quota.name)"
    }

    private mutating func look(
        _ quota: QuotaDefinition, _ call: Call, _ wanted: UInt64
    ) -> Looked {
        let key = Self.key(quota, call.organization, call.user)
        let own = overrides[call.organization]?[quota.name] ?? quota.limit
        roll(key, quota, own, calendars[call.organization] ?? SubjectCalendar())
        let carried = cells[key]?.carried ?? 0
        let limit = own == .max ? own : own + carried
        var ceiling = limit
        if quota.isSoft { ceiling = quota.overageMax.map { limit + $0 } ?? .max }
        let sum = used(key) + wanted
        let left = limit >= sum ? Double(limit - sum) * (limit == 0 ? 0 : 1 / Double(limit)) : 0
        var retry: UInt32 = 0
        if sum > ceiling {
            let most = ceiling - carried + max(carried, quota.rolloverMax ?? 0)
            let end = cells[key]?.period?.end ?? 0
            retry =
                wanted > most || end == .max
                ? WireLimits.retryNever
                : UInt32(
                    clamping: min(
                        UInt64(end * 1_000 - now.milliseconds), UInt64(WireLimits.retryNever - 1)))
        }
        return Looked(
            quota: quota, key: key, limit: limit, ceiling: ceiling, wanted: wanted,
            isRefused: sum > ceiling, retry: retry, left: left)
    }

    private mutating func roll(
        _ key: String, _ quota: QuotaDefinition, _ limit: UInt64, _ calendar: SubjectCalendar
    ) {
        var cell = cells[key] ?? Cell()
        if let period = cell.period, now.seconds < period.end { return }
        let period = Calendar.interval(
            of: quota.period, at: now, zone: quota.timeZone ?? calendar.zone ?? policyZone,
            anchorDay: calendar.anchorDay)
        var carried: UInt64 = 0
        if let most = quota.rolloverMax, let before = cell.period {
            // Of the period right before, what is left of its own units; else of one unused.
            let own = cell.used > cell.carried ? cell.used - cell.carried : 0
            let isRightBefore = before.end > period.start - 20 * 3_600
            carried = min(most, isRightBefore ? (limit > own ? limit - own : 0) : limit)
        }
        cell = Cell(period: period, used: 0, carried: carried)
        cells[key] = cell
    }
}
