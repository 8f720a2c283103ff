import TollgateWire

/// Rules of quotas: of the one that a decision shows, the tightest of those that are enforced; and
/// of each that is in shadow, as if it were enforced.
extension AlertEngine {
    /// Ends of periods that are nearer to each other are one: no period is shorter than a day but
    /// for a clock that is set.
    private static let sameEndMilliseconds: Int64 = 6 * 3_600_000

    /// A quota as a decision left it.
    struct QuotaView {
        var subject: AlertSubject
        var plan: String
        var used: UInt64
        var limit: UInt64
        var now: Int64
        var start: Int64?
        var end: Int64
        var isRefused: Bool

        /// Whether that much of the limit is used: any percentage.
        func hasUsed(percent: UInt32) -> Bool {
            Self.isAtLeast(used, 100, limit, UInt64(percent))
        }

        /// a × b ≥ c × d
        static func isAtLeast(_ a: UInt64, _ b: UInt64, _ c: UInt64, _ d: UInt64) -> Bool {
            let (left, right) = (a.multipliedFullWidth(by: b), c.multipliedFullWidth(by: d))
            return left.high != right.high
                ? left.high > right.high : left.low >= right.low
        }

        /// Nothing is left, or less than a hundredth, and that is refused.
        var isGone: Bool { used >= limit || (isRefused && hasUsed(percent: 99)) }

        /// (elapsed, whole), seconds; `nil` of a quota whose period never ends.
        var progress: (elapsed: UInt64, whole: UInt64)? {
            guard let start, end != .max, end > start else { return nil }
            let elapsed = max(1, min(now, end) &- start) / 1_000
            return (UInt64(max(1, elapsed)), UInt64(max(1, (end &- start) / 1_000)))
        }

        func hasPassed(percent: UInt32) -> Bool {
            guard let progress else { return false }
            return Self.isAtLeast(progress.elapsed, 100, progress.whole, UInt64(percent))
        }

        /// When the limit is reached at the rate so far; `nil`: not within the period.
        var exhaustion: Int64? {
            guard let progress, let start, used > 0, !isGone,
                Self.isAtLeast(used, progress.whole, limit, progress.elapsed)
            else { return nil }
            let (high, low) = limit.multipliedFullWidth(by: progress.elapsed)
            guard high < used else { return nil }
            let seconds = used.dividingFullWidth((high, low)).quotient
            let at = Int64(clamping: seconds).multipliedReportingOverflow(by: 1_000)
            return at.overflow ? nil : min(end, max(now, start &+ at.partialValue))
        }
    }

    /// Where a quota stood after a decision, as its entry has it.
    struct QuotaLook {
        /// Index of the limit.
        var limit: UInt16
        var used: UInt64
        var most: UInt64
        var resetSeconds: UInt32
        var periodDays: UInt8
        /// It refused, or in shadow would have.
        var isRefused: Bool
        var isShadow = false

        /// The quota that a decision shows.
        init(shownIn head: AuditHead) {
            (limit, used, most) = (head.quota, head.quotaUsed, head.quotaLimit)
            (resetSeconds, periodDays) = (head.quotaResetSeconds, head.quotaPeriodDays)
            isRefused = head.reason == Reason.quotaExhausted.rawValue
        }

        init(inShadow standing: AuditStanding) {
            (limit, used) = (standing.limit, standing.used.addingClamped(standing.held))
            most = standing.most
            (resetSeconds, periodDays) = (standing.resetSeconds, standing.periodDays)
            isRefused = standing.flags & AuditStanding.refuses != 0
            isShadow = true
        }
    }

    mutating func observeQuotas(_ entry: AuditEntry, _ names: AlertNames) {
        observe(QuotaLook(shownIn: entry.head), entry, names)
        for index in 0..<entry.shadowQuotaCount {
            observe(QuotaLook(inShadow: entry.shadowQuota(index)), entry, names)
        }
    }

    private mutating func observe(_ look: QuotaLook, _ entry: AuditEntry, _ names: AlertNames) {
        let index = Int(look.limit)
        guard look.limit != AuditHead.none, look.most > 0,
            look.most != QuotaDefinition.unlimited, index < names.periods.count,
            index < names.names.limits.count
        else { return }
        var view: QuotaView?
        for rule in rules.rules where rule.isEnabled && rule.kind.isOfQuota {
            guard isNear(rule, look) else { continue }
            let looked = view ?? self.view(look, entry, names)
            view = looked
            guard !isBeforeReset(looked.subject, entry.head) else { return }
            guard rule.quotas.isEmpty || rule.quotas.contains(looked.subject.quota),
                rule.plans.isEmpty || rule.plans.contains(looked.plan)
            else { continue }
            evaluate(rule, looked)
        }
    }

    /// Cheaply: whether the rule could fire.
    private func isNear(_ rule: AlertRule, _ look: QuotaLook) -> Bool {
        switch rule.kind {
        case .quotaThreshold:
            let lowest = rule.percents.min() ?? 100
            return QuotaView.isAtLeast(look.used, 100, look.most, UInt64(lowest))
        case .quotaExhaustedEarly:
            return QuotaView.isAtLeast(look.used, 100, look.most, 99)
        default: return true
        }
    }

    private func view(
        _ look: QuotaLook, _ entry: AuditEntry, _ names: AlertNames
    ) -> QuotaView {
        let head = entry.head
        let limit = names.names.limits[Int(look.limit)]
        var subject = AlertSubject()
        subject.organization = String(decoding: entry.organization, as: UTF8.self)
        subject.isPersonal = head.flags.contains(.personal)
        subject.quota = limit.name
        subject.isShadow = look.isShadow
        if limit.scope == LimitScope.user.rawValue {
            subject.user = String(decoding: entry.user, as: UTF8.self)
        }
        let now = head.wallMilliseconds
        let interval = Self.interval(names.periods[Int(look.limit)], look, now)
        let plans = names.names.plans
        return QuotaView(
            subject: subject, plan: Int(head.plan) < plans.count ? plans[Int(head.plan)] : "",
            used: look.used, limit: look.most, now: now, start: interval.start,
            end: interval.end, isRefused: look.isRefused)
    }

    /// Milliseconds since 1970. The end is as the decision had it, and the start so many days
    /// before: the clock changes of a zone aside. Where a decision says not how many days, as
    /// those of an earlier version in a ring do, they follow from the date of the end.
    static func interval(
        _ kind: PeriodKind?, _ look: QuotaLook, _ now: Int64
    ) -> (start: Int64?, end: Int64) {
        guard let kind, kind != .total else { return (nil, .max) }
        guard look.resetSeconds != 0 else {
            let calendar = Calendar.interval(
                of: kind, at: WallTime(milliseconds: now), zone: .utc)
            return (calendar.start &* 1_000, calendar.end &* 1_000)
        }
        let end = (now &+ Int64(look.resetSeconds) &* 1_000) / 1_000
        if look.periodDays != 0 {
            return ((end &- Int64(look.periodDays) &* 86_400) &* 1_000, end &* 1_000)
        }
        switch kind {
        case .day: return ((end &- 86_400) &* 1_000, end &* 1_000)
        case .week: return ((end &- 7 &* 86_400) &* 1_000, end &* 1_000)
        case .month, .billingMonth, .total:
            // The midnight of a zone is within half a day of that of its date in UTC.
            let day = (end &+ 43_200) / 86_400
            let date = Calendar.civil(fromDays: day)
            let (year, month) = date.month == 1 ? (date.year - 1, 12) : (date.year, date.month - 1)
            let first = Calendar.days(year: year, month: month, day: 1)
            let next = Calendar.days(year: date.year, month: date.month, day: 1)
            let before = min(first + date.day - 1, next - 1)
            return ((end &- (day &- before) &* 86_400) &* 1_000, end &* 1_000)
        }
    }

    // MARK: one rule

    private mutating func evaluate(_ rule: AlertRule, _ view: QuotaView) {
        switch rule.kind {
        case .quotaThreshold:
            for percent in rule.percents where view.hasUsed(percent: percent) {
                tell(rule, percent, view) { _ in }
            }
        case .quotaExhaustedEarly:
            guard view.isGone, view.progress != nil,
                !view.hasPassed(percent: rule.periodPercent)
            else { return }
            tell(rule, rule.periodPercent, view) { _ in }
        case .quotaForecast:
            guard view.hasPassed(percent: rule.periodPercent), let at = view.exhaustion else {
                return
            }
            tell(rule, 100, view) { $0.exhaustedAt = at }
        default: return
        }
    }

    /// Once in a period; again when the limit is higher than it was then, by the hysteresis.
    private mutating func tell(
        _ rule: AlertRule, _ percent: UInt32, _ view: QuotaView, _ fill: (inout Alert) -> Void
    ) {
        let mark = AlertState.Mark(rule: AlertHash.mark(rule.name, percent), limit: view.limit)
        var known = state.quotas[view.subject]
        if let end = known?.end, view.end != .max,
            end == .max || view.end &- end > Self.sameEndMilliseconds
        {
            known = nil
        }
        var marks = known?.marks ?? []
        if let index = marks.firstIndex(where: { $0.rule == mark.rule }) {
            guard QuotaView.isAtLeast(
                view.limit, 100, marks[index].limit, 100 &+ UInt64(rule.hysteresisPercent)),
                view.limit > marks[index].limit
            else { return }
            marks[index] = mark
        } else {
            marks.append(mark)
        }
        if known == nil, state.quotas.count >= AlertState.quotasMax { forgetQuotas(view.now) }
        state.quotas[view.subject] = AlertState.Quota(
            end: known?.end ?? view.end, firedAt: view.now, marks: marks)
        raise(rule, view.subject, view.now) {
            $0.threshold = UInt64(percent)
            ($0.value, $0.limit, $0.periodEnd) = (view.used, view.limit, view.end)
            fill(&$0)
        }
    }

    private mutating func forgetQuotas(_ now: Int64) {
        let order = state.quotas.sorted {
            let over = ($0.value.end <= now ? 0 : 1, $1.value.end <= now ? 0 : 1)
            if over.0 != over.1 { return over.0 < over.1 }
            if $0.value.firedAt != $1.value.firedAt { return $0.value.firedAt < $1.value.firedAt }
            return $0.key < $1.key
        }
        for (key, quota) in order.prefix(order.count / 2) {
            if quota.end > now { state.evicted &+= 1 }
            state.quotas[key] = nil
        }
    }
}
