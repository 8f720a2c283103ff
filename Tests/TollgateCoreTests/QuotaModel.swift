import TollgateWire

@testable import TollgateCore

/// Quotas of one plan in the plainest form: what everybody used, by period, and nothing else.
struct QuotaModel {
    /// Somebody's use of a quota in the period that they used it last.
    struct Cell {
        var period: PeriodInterval?
        var used: UInt64 = 0
        var carried: UInt64 = 0
        /// Of a pool: members when its period began, and who joined since.
        var members = 0
        var membersAtOpen = 0
        /// Of a member's: is none, by the directory.
        var isStranger = false
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
    /// Active users whom the directory knows, by organization.
    var members: [String: Set<String>] = [:]
    /// All that the directory knows.
    var known: [String: Set<String>] = [:]
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
        /// Of a pool: what is left to the others, and what is the caller's in any case.
        var reserved: UInt64 = 0
        var own: UInt64 = 0
    }

    /// Whoever used nothing of a present period, and has nothing to carry over, is forgotten.
    mutating func sweep() {
        var rows: [String: [String]] = [:]
        for key in cells.keys {
            let parts = key.split(separator: "/", omittingEmptySubsequences: false)
            // Organization, user, quota; of a member's share the user stands at the end.
            let user = parts.count == 4 ? parts[3] : parts[1]
            rows["\(parts[0])/\(user)", default: []].append(key)
        }
        for (row, keys) in rows {
            let isUser = !row.hasSuffix("/")
            let carries = plan.quotas.contains {
                $0.rolloverMax != nil && ($0.scope == .user) == isUser
            }
            let isBusy = keys.contains { key in
                guard let cell = cells[key], let period = cell.period else { return false }
                return carries || (cell.used > 0 && now.seconds - 10 < period.end)
            }
            if !isBusy { for key in keys { cells[key] = nil } }
        }
    }

    /// Somebody begins to be a member.
    mutating func join(_ user: String, _ organization: String) {
        known[organization, default: []].insert(user)
        guard members[organization, default: []].insert(user).inserted else { return }
        for quota in plan.quotas where quota.memberMin > 0 {
            cells[Self.key(quota, organization, "")]?.members += 1
        }
    }

    mutating func answer(_ call: Call) -> Answer {
        var answer = Answer()
        answer.cost =
            (plan.prices["calls"] ?? 0) * call.calls + (plan.prices["tokens"] ?? 0) * call.tokens
        var looked: [Looked] = []
        let units = [
            "calls": call.calls, "tokens": call.tokens * Self.tokenWeight, "cost": answer.cost,
        ]
        // Where nothing has a price, nothing counts as cost.
        let counted = plan.quotas.filter { quota in
            quota.meter != "cost" || (plan.prices.values.max() ?? 0) > 0
        }
        for quota in counted where quota.scope == .user {
            looked.append(look(quota, call, units[quota.meter] ?? 0))
        }
        for quota in counted where quota.isPool {
            looked.append(lookAtShare(quota, call, units[quota.meter] ?? 0))
        }
        for quota in counted where quota.scope == .organization {
            looked.append(look(quota, call, units[quota.meter] ?? 0))
        }
        let refused = looked.filter(\.isRefused)
        answer.isAllowed = refused.isEmpty || call.isConsume
        answer.isOverage =
            call.isConsume
            ? looked.contains { $0.isRefused || used($0.key) + $0.wanted > $0.limit }
            : answer.isAllowed && looked.contains { used($0.key) + $0.wanted > $0.limit }
        if answer.isAllowed {
            for step in looked {
                cells[step.key]?.used += step.wanted
                let isKnown = members[call.organization, default: []].contains(call.user)
                if step.wanted > 0, !(members[call.organization] ?? []).isEmpty, !isKnown {
                    cells[step.key]?.isStranger = true
                }
            }
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
        let left = shown.limit > used ? shown.limit - used : 0
        let own = answer.isAllowed ? shown.own - min(shown.own, shown.wanted) : shown.own
        answer.remaining =
            shown.limit == .max
            ? .max : max(min(own, left), left - min(left, shown.reserved))
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
        roll(
            key, quota, own, calendars[call.organization] ?? SubjectCalendar(),
            call.organization)
        let carried = cells[key]?.carried ?? 0
        let limit = own == .max ? own : own + carried
        var ceiling = limit
        if quota.isSoft { ceiling = quota.overageMax.map { limit + $0 } ?? .max }
        let sum = used(key) + wanted
        let share = share(of: quota, call)
        var free = limit >= sum ? limit - sum : 0
        free = max(
            min(free, share.own - min(share.own, wanted)), free - min(free, share.reserved))
        let left = Double(free) * (limit == 0 ? 0 : 1 / Double(limit))
        var retry: UInt32 = 0
        let isRefused =
            sum > ceiling || (wanted > share.own && sum + share.reserved > ceiling)
        if isRefused {
            var most = ceiling - carried + max(carried, quota.rolloverMax ?? 0)
            if share.guaranteed > 0 {
                most = max(min(quota.memberMin, most), most - min(most, share.guaranteed))
            }
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
            isRefused: isRefused, retry: retry, left: left, reserved: share.reserved,
            own: share.own)
    }

    /// A member's own use of an organization's quota.
    private mutating func lookAtShare(
        _ quota: QuotaDefinition, _ call: Call, _ wanted: UInt64
    ) -> Looked {
        let key = Self.key(quota, call.organization, "") + "/" + call.user
        var cell = cells[key] ?? Cell()
        if cell.period.map({ now.seconds >= $0.end }) ?? true {
            // The organization's period, which may have begun in another zone.
            let shared = cells[Self.key(quota, call.organization, "")]?.period
            var period = Calendar.interval(
                of: quota.period, at: now,
                zone: quota.timeZone ?? calendars[call.organization]?.zone ?? policyZone,
                anchorDay: calendars[call.organization]?.anchorDay ?? 1)
            if let shared, now.seconds < shared.end { period = shared }
            cell = Cell(period: period)
            cells[key] = cell
        }
        let limit = quota.memberMax ?? .max
        let sum = cell.used + wanted
        let end = cell.period?.end ?? 0
        var retry: UInt32 = 0
        if sum > limit {
            retry =
                wanted > limit || end == .max
                ? WireLimits.retryNever
                : UInt32(
                    clamping: min(
                        UInt64(end * 1_000 - now.milliseconds), UInt64(WireLimits.retryNever - 1)))
        }
        return Looked(
            quota: quota, key: key, limit: limit, ceiling: limit, wanted: wanted,
            isRefused: sum > limit, retry: retry,
            left: limit >= sum ? Double(limit - sum) * (limit == 0 ? 0 : 1 / Double(limit)) : 0)
    }

    /// What is left to other members, by a plain sum over all of them.
    private func share(
        of quota: QuotaDefinition, _ call: Call
    ) -> (reserved: UInt64, own: UInt64, guaranteed: UInt64) {
        guard quota.memberMin > 0 else { return (0, 0, 0) }
        let key = Self.key(quota, call.organization, "")
        let end = cells[key]?.period?.end
        let shares = cells.filter {
            $0.key.hasPrefix(key + "/") && $0.value.period?.end == end && !$0.value.isStranger
        }
        let mine = key + "/" + call.user
        let isKnown = members[call.organization, default: []].contains(call.user)
        let hasDirectory = !(members[call.organization] ?? []).isEmpty
        let isCounted =
            !(cells[mine]?.isStranger ?? false) && (isKnown || !hasDirectory)
        var others = cells[key]?.members ?? 0
        var isAmong = isCounted && hasDirectory
        if cells[key]?.membersAtOpen == 0 {
            others += shares.filter { $0.value.used > 0 }.count
            isAmong = isAmong || shares[mine].map { $0.used > 0 } ?? false
        }
        if isAmong { others -= 1 }
        let covered = shares.filter { $0.key != mine }.reduce(0) {
            $0 + min(quota.memberMin, $1.value.used)
        }
        let all = UInt64(max(others, 0)) * quota.memberMin
        let used = min(quota.memberMin, cells[mine]?.used ?? 0)
        return (all - min(all, covered), isCounted ? quota.memberMin - used : 0, all)
    }

    /// What the members who are active now are still owed of a pool, but for one.
    func owed(_ quota: QuotaDefinition, _ organization: String, but user: String) -> UInt64 {
        let key = Self.key(quota, organization, "")
        return members[organization, default: []].reduce(0) { sum, member in
            guard member != user, let cell = cells[key + "/" + member],
                cell.period?.end == cells[key]?.period?.end
            else { return sum + (member == user ? 0 : quota.memberMin) }
            return sum + quota.memberMin - min(quota.memberMin, cell.used)
        }
    }

    private mutating func roll(
        _ key: String, _ quota: QuotaDefinition, _ limit: UInt64, _ calendar: SubjectCalendar,
        _ organization: String
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
        cell = Cell(
            period: period, used: 0, carried: carried,
            members: members[organization, default: []].count,
            membersAtOpen: members[organization, default: []].count)
        cells[key] = cell
    }
}
