import TollgateWire

@testable import TollgateCore

/// What an engine has to say, in the plainest form: every charge is kept, and every answer is
/// counted anew from all of them. Windows by the definition in `Window`, quotas exactly.
struct EngineModel {
    /// A request, with the units it names by meter.
    struct Call {
        var organization: String
        var user: String
        var plan: String
        var operation: String
        var meters: [String: UInt64] = [:]
        var address: UInt8?
        var dryRun = false
        /// CONSUME: charges what is named, whatever the limits say.
        var isConsume = false
    }

    /// A limit as a reply shows it.
    struct Shown: Equatable {
        var name = ""
        var limit: UInt64 = 0
        var remaining: UInt64 = 0
        var reset: UInt64 = 0
    }

    struct Answer: Equatable {
        var reason = Reason.none
        var retry: UInt32 = 0
        var rate = Shown()
        var quota = Shown()
        var overage = false
    }

    /// One limit of a plan or of the addresses.
    struct Limit {
        var name: String
        var meter: String
        var limit: UInt64
        var scope: LimitScope
        var classes: [String] = []
        var window: RateLimitDefinition?
        var quota: QuotaDefinition?

        /// Under one identity a limit keeps its counter over plans and policies.
        var identity: String {
            quota.map { "q/\(name)/\(meter)/\($0.period)" } ?? "w/\(name)/\(meter)"
        }
    }

    struct Counter {
        var window: RateLimitDefinition?
        /// Charges of a window.
        var charges: [(instant: UInt64, units: UInt64)] = []
        /// Of a quota: what is used of the period that ends then.
        var used: UInt64 = 0
        var end: Int64 = 0
    }

    var policy: PolicyDefinition
    var now = Moment(boot: BootTime(nanoseconds: 0), wall: WallTime(milliseconds: 0))
    /// By subject, then identity.
    private var rows: [String: [String: Counter]] = [:]
    /// What stood before a look gave a subject another plan's counters.
    private var looked: [(row: String, held: [String: Counter])] = []

    init(_ policy: PolicyDefinition) { self.policy = policy }

    // MARK: decisions

    mutating func answer(_ call: Call) -> Answer {
        defer { forgetLooks() }
        return decided(call)
    }

    private mutating func decided(_ call: Call) -> Answer {
        var answer = Answer()
        let operation = policy.operations.first { $0.name == call.operation }
        guard let operation else { return answer }
        if let address = call.address, !call.isConsume {
            let limits = policy.addressLimits.map { Self.limit($0) }
            let steps = self.steps(limits, operation, call)
            if !steps.isEmpty {
                prepare("a/\(address)", limits, create: !call.dryRun)
                let stage = decide(steps, call, { _ in "a/\(address)" }, dryRun: call.dryRun)
                (answer.rate, answer.retry) = (stage.rate, stage.retry)
                if stage.isRefused { answer.reason = .rateLimited }
            }
        }
        let steps = self.steps(limits(of: call.plan), operation, call)
        guard !steps.isEmpty else { return answer }
        let dryRun = call.dryRun || answer.reason != .none
        prepareTenant(call, create: !dryRun)
        let stage = decide(steps, call, { Self.row($0, call) }, dryRun: dryRun)
        if call.isConsume {
            answer.overage = stage.isRefused
            (answer.rate, answer.quota) = (stage.rate, stage.quota)
            return answer
        }
        answer.merge(stage)
        if stage.isRefused, answer.reason == .none {
            answer.reason = stage.rateRefused ? .rateLimited : .quotaExhausted
            if let address = call.address, !call.dryRun {
                // The attempt counts for the address, so the next one has to wait for that too.
                let limits = policy.addressLimits.map { Self.limit($0) }
                let steps = self.steps(limits, operation, call)
                let again = decide(steps, call, { _ in "a/\(address)" }, dryRun: true)
                answer.retry = max(answer.retry, again.retry)
            }
        }
        return answer
    }

    /// Used units by limit of the plan.
    mutating func usage(_ call: Call) -> [String: UInt64] {
        defer { forgetLooks() }
        prepareTenant(call, create: false)
        var used: [String: UInt64] = [:]
        for limit in limits(of: call.plan) {
            used[limit.name] = self.used(limit, Self.row(limit, call))
        }
        return used
    }

    private struct Step {
        var limit: Limit
        var units: UInt64
    }

    /// What one stage, all of it under one lock, came to.
    struct Stage {
        var rateRefused = false
        var quotaRefused = false
        var retry: UInt32 = 0
        var rate = Shown()
        var rateFraction = Double.infinity
        var quota = Shown()
        var isRefused: Bool { rateRefused || quotaRefused }
    }

    private mutating func decide(
        _ steps: [Step], _ call: Call, _ row: (Limit) -> String, dryRun: Bool
    ) -> Stage {
        var stage = Stage()
        var shown: [Bool: (step: Step, retry: UInt32, left: Double)] = [:]
        for step in steps {
            let isQuota = step.limit.quota != nil
            let total = UInt128(used(step.limit, row(step.limit))) + UInt128(step.units)
            let isRefused = total > UInt128(step.limit.limit)
            let known = shown[isQuota]
            let wasRefused = isQuota ? stage.quotaRefused : stage.rateRefused
            if isRefused {
                let retry = self.retry(step, row(step.limit))
                stage.retry = max(stage.retry, retry)
                if !wasRefused || retry > (known?.retry ?? 0) { shown[isQuota] = (step, retry, 0) }
                if isQuota { stage.quotaRefused = true } else { stage.rateRefused = true }
            } else if !wasRefused {
                let left = Self.part(step.limit.limit - UInt64(total), step.limit.limit)
                if left < known?.left ?? .infinity { shown[isQuota] = (step, 0, left) }
            }
        }
        if !dryRun, !stage.isRefused || call.isConsume {
            for step in steps where step.units > 0 { charge(step, row(step.limit)) }
        }
        if let rate = shown[false] {
            stage.rate = show(rate.step.limit, row(rate.step.limit))
            stage.rateFraction = Self.part(stage.rate.remaining, stage.rate.limit)
        }
        if let quota = shown[true] { stage.quota = show(quota.step.limit, row(quota.step.limit)) }
        return stage
    }

    fileprivate static func part(_ remaining: UInt64, _ limit: UInt64) -> Double {
        Double(remaining) * (limit == 0 ? 0 : 1 / Double(limit))
    }

    private mutating func show(_ limit: Limit, _ row: String) -> Shown {
        let used = used(limit, row)
        let counter = rows[row]?[limit.identity]
        return Shown(
            name: limit.name, limit: limit.limit,
            remaining: limit.limit > used ? limit.limit - used : 0,
            reset: limit.quota == nil ? windowReset(counter) : periodLeft(limit, counter))
    }

    // MARK: limits and rows

    static func limit(_ window: RateLimitDefinition) -> Limit {
        Limit(
            name: window.name, meter: window.meter, limit: window.limit, scope: window.scope,
            classes: window.classes, window: window)
    }

    /// User windows, organization windows, user quotas, organization quotas.
    private func limits(of plan: String) -> [Limit] {
        guard let plan = policy.plans.first(where: { $0.name == plan }) else { return [] }
        let windows = plan.rateLimits.map { Self.limit($0) }
        let quotas = plan.quotas.map {
            Limit(name: $0.name, meter: $0.meter, limit: $0.limit, scope: $0.scope, quota: $0)
        }
        return windows.filter { $0.scope == .user } + windows.filter { $0.scope != .user }
            + quotas.filter { $0.scope == .user } + quotas.filter { $0.scope != .user }
    }

    private func steps(
        _ limits: [Limit], _ operation: OperationDefinition, _ call: Call
    ) -> [Step] {
        limits.compactMap { limit in
            let named = operation.rateLimitClass.map { limit.classes.contains($0) } ?? false
            guard limit.classes.isEmpty || named,
                let charge = operation.charges.first(where: { $0.meter == limit.meter })
            else { return nil }
            let given = call.meters[limit.meter] ?? (call.isConsume ? 0 : charge.defaultUnits)
            return Step(limit: limit, units: given * charge.weight)
        }
    }

    private static func row(_ limit: Limit, _ call: Call) -> String {
        limit.scope == .user ? "u/\(call.organization)/\(call.user)" : "o/\(call.organization)"
    }

    private mutating func prepareTenant(_ call: Call, create: Bool) {
        let all = limits(of: call.plan)
        let scopes: [(String, [Limit])] = [
            ("u/\(call.organization)/\(call.user)", all.filter { $0.scope == .user }),
            ("o/\(call.organization)", all.filter { $0.scope != .user }),
        ]
        for (row, limits) in scopes where !limits.isEmpty {
            prepare(row, limits, create: create)
        }
    }

    /// Gives a subject the counters that are needed. When it lacks one, or has it in another
    /// shape, it gets every counter of its scope, and all that have a name still are carried over.
    /// A look does so for as long as it lasts.
    private mutating func prepare(_ row: String, _ needed: [Limit], create: Bool) {
        let all = union(of: row)
        let wanted = needed.map { all[$0.identity] ?? $0 }
        guard let held = rows[row] else {
            if create {
                rows[row] = Dictionary(
                    uniqueKeysWithValues: wanted.map { ($0.identity, Counter(window: $0.window)) })
            }
            return
        }
        let isSame = wanted.allSatisfy { limit in
            held[limit.identity].map { Self.isSameShape($0.window, limit.window) } ?? false
        }
        if isSame { return }
        if !create { looked.append((row, held)) }
        var carried: [String: Counter] = [:]
        for limit in create ? Array(all.values) : wanted {
            var counter = held[limit.identity] ?? Counter()
            counter.charges = counter.window.map { recorded(counter.charges, $0) } ?? []
            counter.window = limit.window
            carried[limit.identity] = counter
        }
        // What a reload took out goes on where it was if it is put back within its period.
        for (identity, counter) in held
        where create && all[identity] == nil && counter.window == nil
            && now.wall.seconds < counter.end
        { carried[identity] = counter }
        rows[row] = carried
    }

    private mutating func forgetLooks() {
        for (row, held) in looked.reversed() { rows[row] = held }
        looked = []
    }

    /// Every counter of a row's scope, in cells as wide as the widest limit of its name needs.
    private func union(of row: String) -> [String: Limit] {
        let scope: LimitScope =
            row.hasPrefix("u/") ? .user : row.hasPrefix("o/") ? .organization : .address
        let limits =
            scope == .address
            ? policy.addressLimits.map { Self.limit($0) }
            : policy.plans.flatMap { self.limits(of: $0.name) }.filter { $0.scope == scope }
        return Dictionary(limits.map { ($0.identity, $0) }) { $0.limit >= $1.limit ? $0 : $1 }
    }

    private static func isSameShape(_ a: RateLimitDefinition?, _ b: RateLimitDefinition?) -> Bool {
        func width(_ limit: UInt64) -> Int { limit <= 32_767 ? 2 : limit <= 0x7fff_ffff ? 4 : 8 }
        guard let a, let b else { return a == nil && b == nil }
        return a.windowNanoseconds == b.windowNanoseconds && a.subBuckets == b.subBuckets
            && a.mode == b.mode && width(a.limit) == width(b.limit)
    }

    // MARK: counters

    private func width(_ window: RateLimitDefinition) -> UInt64 {
        let count = UInt64(window.subBuckets)
        return (window.windowNanoseconds + count - 1) / count
    }

    /// Charges as a window of another shape takes them over: each from the end of its sub-bucket.
    private func recorded(
        _ charges: [(instant: UInt64, units: UInt64)], _ window: RateLimitDefinition
    ) -> [(instant: UInt64, units: UInt64)] {
        let width = width(window)
        let newest = now.boot.nanoseconds / width
        return charges.filter { $0.instant / width + UInt64(window.subBuckets) >= newest }.map {
            (min(($0.instant / width + 1) * width - 1, now.boot.nanoseconds), $0.units)
        }
    }

    private mutating func used(_ limit: Limit, _ row: String) -> UInt64 {
        guard limit.quota != nil else {
            guard let counter = rows[row]?[limit.identity] else { return 0 }
            return Self.used(counter, width, at: now.boot.nanoseconds)
        }
        guard var counter = rows[row]?[limit.identity] else { return 0 }
        if now.wall.seconds >= counter.end {
            counter.used = 0
            counter.end = interval(limit).end
            rows[row]?[limit.identity] = counter
        }
        return counter.used
    }

    private static func used(
        _ counter: Counter, _ width: (RateLimitDefinition) -> UInt64, at now: UInt64
    ) -> UInt64 {
        guard let window = counter.window else { return 0 }
        let width = width(window)
        let newest = now / width
        var full: UInt64 = 0
        var oldest: UInt64 = 0
        for charge in counter.charges {
            let age = newest - charge.instant / width
            if age < window.subBuckets || (age == window.subBuckets && window.mode == .strict) {
                full += charge.units
            } else if age == window.subBuckets {
                oldest += charge.units
            }
        }
        let left = UInt128(width - now % width)
        return full + UInt64((UInt128(oldest) * left + UInt128(width) - 1) / UInt128(width))
    }

    private mutating func charge(_ step: Step, _ row: String) {
        if step.limit.quota == nil {
            rows[row]?[step.limit.identity]?.charges.append((now.boot.nanoseconds, step.units))
        } else {
            rows[row]?[step.limit.identity]?.used += step.units
        }
    }

    private func interval(_ limit: Limit) -> PeriodInterval {
        Calendar.interval(
            of: limit.quota?.period ?? .day, at: now.wall,
            zone: limit.quota?.timeZone ?? policy.timeZone)
    }

    private func periodLeft(_ limit: Limit, _ counter: Counter?) -> UInt64 {
        let end = counter?.end ?? interval(limit).end
        return UInt64(end * 1_000 - now.wall.milliseconds)
    }

    /// When the window is empty: tried, millisecond after millisecond, by halves.
    private func windowReset(_ counter: Counter?) -> UInt64 {
        guard let counter else { return 0 }
        return firstMillisecond(counter) { $0 == 0 }
    }

    private mutating func retry(_ step: Step, _ row: String) -> UInt32 {
        if step.units > step.limit.limit { return WireLimits.retryNever }
        let counter = rows[row]?[step.limit.identity]
        if step.limit.quota != nil { return UInt32(periodLeft(step.limit, counter)) }
        guard let counter else { return 0 }
        return UInt32(firstMillisecond(counter) { $0 + step.units <= step.limit.limit })
    }

    /// The first whole millisecond from now at which what is used satisfies `isGood`; use falls.
    private func firstMillisecond(_ counter: Counter, _ isGood: (UInt64) -> Bool) -> UInt64 {
        var low: UInt64 = 0
        var high: UInt64 = 40 * 86_400_000
        while low < high {
            let middle = (low + high) / 2
            let at = now.boot.nanoseconds + middle * 1_000_000
            if isGood(Self.used(counter, width, at: at)) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

extension EngineModel.Answer {
    /// Adds the tenant's stage to the address': the limit that refuses is shown, the address'
    /// before the tenant's, else the one with less left.
    fileprivate mutating func merge(_ stage: EngineModel.Stage) {
        retry = max(retry, stage.retry)
        quota = stage.quota
        if reason == .rateLimited { return }
        let left =
            rate.name.isEmpty ? Double.infinity : EngineModel.part(rate.remaining, rate.limit)
        if stage.rateRefused || stage.rateFraction < left { rate = stage.rate }
    }
}
