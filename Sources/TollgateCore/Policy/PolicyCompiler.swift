import TollgateWire

/// Bounds of a policy, so that rows, replies and tables have bounds.
package enum PolicyLimits {
    package static let plansMax = 1_024
    package static let operationsMax = 4_096
    package static let metersMax = 256
    /// Limits of one plan, windows and quotas of both scopes; an explained reply holds them all.
    package static let limitsPerPlanMax = 48
    package static let addressLimitsMax = 16
    /// Of all operations; each is compared with every other.
    package static let routesMax = 4_096
    package static let chargesPerOperationMax = WireLimits.metersMax
    package static let windowNanosecondsMin: UInt64 = 1_000_000
    package static let windowNanosecondsMax: UInt64 = 31 * 86_400 * 1_000_000_000
    /// Steps of all programs: plans times operations times limits.
    package static let stepsMax = 4_000_000
    /// Micro-units of money for one unit of a meter.
    package static let priceMax: UInt64 = 1_000_000_000_000
}

/// Turns a `PolicyDefinition` into the flat tables of a `PolicyImage`. Lives for one `compile`.
struct PolicyCompiler {
    let definition: PolicyDefinition
    var faults: [PolicyFault] = []
    var steps: [ChargeStep] = []
    var charges: [CompiledCharge] = []
    var compiledOperations: [CompiledOperation] = []
    var compiledPlans: [CompiledPlan] = []
    var programs: [StepRange] = []
    var shapes: [WindowShape] = []
    var limits: [LimitInfo] = []
    /// By index into `limits`.
    var quotaTerms: [QuotaTerms] = []
    var prices: [UInt64] = []
    var calendars: [QuotaCalendar] = []
    var layouts: [RowLayout] = []
    var userUnion = CounterUnion()
    var organizationUnion = CounterUnion()
    var addressUnion = CounterUnion()
    var addressLayout = 0
    var invalidCredentialStep: ChargeStep?
    var defaultPlans: [Int] = []
    var credentialLimit = 0
    var permissionNames: [String] = []

    /// What a compile makes beside the flat tables.
    struct Parts {
        var meters: NameTable
        var plans: NameTable
        var operations: NameTable
        var permissions: NameTable
        var routes: RouteTable
        var issuers: IssuerTable
    }

    /// Every counter of a scope, whatever the plan, once.
    struct CounterUnion {
        private(set) var slots: [CounterSlot] = []
        private var positions: [String: Int] = [:]
        /// Its place among `layouts`, when it is placed.
        var index = 0

        mutating func add(_ slot: CounterSlot) {
            guard let position = positions[slot.identity] else {
                positions[slot.identity] = slots.count
                slots.append(slot)
                return
            }
            slots[position].widen(to: slot)
        }

        /// The counter as every plan has it: in the same cells.
        func counter(_ slot: CounterSlot) -> CounterSlot {
            positions[slot.identity].map { slots[$0] } ?? slot
        }

        func layout(_ slots: [CounterSlot]) -> RowLayout { RowLayout(slots.map(counter)) }
    }

    /// A step without its operation: it becomes one for every operation that charges the meter.
    private struct Template {
        var step: ChargeStep
        var meter: String
        var classes: [String]
    }

    /// A key's own limit in replies.
    static let credentialLimitName = "credential_rate"

    init(_ definition: PolicyDefinition) { self.definition = definition }

    mutating func compile() throws(PolicyCompileError) -> Parts {
        let parts = check()
        guard faults.isEmpty, let parts else { throw PolicyCompileError(faults: faults) }
        compileOperations()
        compileAddressLimits()
        uniteCounters()
        for plan in definition.plans { compile(plan) }
        compileDefaultPlans()
        credentialLimit = addLimit(
            LimitInfo(
                name: Array(Self.credentialLimitName.utf8), meter: Array("calls".utf8),
                windowMilliseconds: 0))
        guard faults.isEmpty else { throw PolicyCompileError(faults: faults) }
        return parts
    }

    private mutating func compileOperations() {
        for operation in definition.operations {
            let start = charges.count
            for charge in operation.charges {
                let meter = definition.meters.firstIndex(of: charge.meter) ?? 0
                charges.append(
                    CompiledCharge(
                        meter: Int16(meter), weight: charge.weight,
                        defaultUnits: charge.defaultUnits,
                        defaultWeighted: charge.defaultUnits * charge.weight))
            }
            let permission =
                operation.permission.flatMap { permissionNames.firstIndex(of: $0) } ?? -1
            compiledOperations.append(
                CompiledOperation(
                    permission: Int16(permission), chargeStart: Int32(start),
                    chargeCount: Int32(charges.count - start), addressSteps: StepRange()))
        }
    }

    private mutating func compileAddressLimits() {
        var all = definition.addressLimits
        if let invalid = definition.invalidCredentialLimit { all.append(invalid) }
        for limit in all { addressUnion.add(CounterSlot(limit)) }
        addressLayout = place(addressUnion.layout(all.map { CounterSlot($0) }), ["address_limits"])
        let templates = all.enumerated().map { template($1, slot: $0) }
        let limits = templates.prefix(definition.addressLimits.count)
        if limits.count < templates.count {
            invalidCredentialStep = templates.last?.step
            invalidCredentialStep?.flags = []  // Guessing is slowed whatever is in shadow.
        }
        for (index, operation) in definition.operations.enumerated() {
            compiledOperations[index].addressSteps = program(of: operation, Array(limits))
        }
    }

    /// All plans' counters together, so that a row can hold them all: someone who goes back and
    /// forth between plans finds each plan's counters as they were.
    private mutating func uniteCounters() {
        for plan in definition.plans {
            for limit in plan.rateLimits {
                if limit.scope == .user { userUnion.add(CounterSlot(limit)) }
                if limit.scope == .organization { organizationUnion.add(CounterSlot(limit)) }
            }
            for quota in plan.quotas {
                if quota.scope == .user { userUnion.add(CounterSlot(quota)) }
                if quota.scope == .organization { organizationUnion.add(CounterSlot(quota)) }
                if quota.isPool { userUnion.add(CounterSlot(memberOf: quota)) }
                if quota.memberMin > 0 { organizationUnion.add(CounterSlot(poolOf: quota)) }
            }
            for limit in plan.concurrency {
                if limit.scope == .user { userUnion.add(CounterSlot(limit)) }
                if limit.scope == .organization { organizationUnion.add(CounterSlot(limit)) }
            }
        }
        userUnion.index = place(RowLayout(userUnion.slots), ["plans"])
        organizationUnion.index = place(RowLayout(organizationUnion.slots), ["plans"])
    }

    private mutating func compile(_ plan: PlanDefinition) {
        var (user, shared) = (ScopeSlots(), ScopeSlots())
        var templates: [Template] = []
        for limit in plan.rateLimits where limit.scope == .user {
            templates.append(template(limit, slot: user.add(CounterSlot(limit))))
        }
        for limit in plan.rateLimits where limit.scope == .organization {
            templates.append(template(limit, slot: shared.add(CounterSlot(limit))))
        }
        for quota in plan.quotas where quota.scope == .user {
            templates.append(template(quota, slot: user.add(CounterSlot(quota))))
        }
        var pools: [Template] = []
        for quota in plan.quotas where quota.scope == .organization {
            var terms = QuotaTerms(quota)
            let slot = shared.add(CounterSlot(quota))
            terms.sharedSlot = UInt16(slot)
            if quota.isPool {
                terms.memberSlot = UInt16(user.add(CounterSlot(memberOf: quota)))
                if quota.memberMin > 0 {
                    terms.poolSlot = UInt16(shared.add(CounterSlot(poolOf: quota)))
                }
                // Before any of the organization's.
                templates.append(memberTemplate(quota, terms))
            }
            pools.append(template(quota, slot: slot, terms))
        }
        templates += pools
        let at: [PolicyFault.Step] = ["plans", .key(plan.name)]
        let all = append(templates)
        var concurrency: [Template] = []
        for limit in plan.concurrency {
            let counter = CounterSlot(limit)
            let slot = limit.scope == .user ? user.add(counter) : shared.add(counter)
            concurrency.append(template(limit, slot: slot))
        }
        let priceStart = compilePrices(of: plan)
        for operation in definition.operations {
            programs.append(program(of: operation, templates, plan))
        }
        let userLayout = place(userUnion.layout(user.slots), at)
        let sharedLayout = place(organizationUnion.layout(shared.slots), at)
        compiledPlans.append(
            CompiledPlan(
                permissions: permissions(of: plan), userLayout: Int32(userLayout),
                organizationLayout: Int32(sharedLayout), all: all,
                concurrency: append(concurrency), hasPools: plan.quotas.contains(where: \.isPool),
                hasCredits: plan.quotas.contains(where: \.hasCredits),
                countsByLimit: plan.quotas.contains { $0.hasCredits || $0.rolloverMax != nil },
                holds: plan.holds, priceStart: priceStart, tag: Self.tag(plan.name)))
    }

    /// The counters of a plan in one scope, in their order.
    private struct ScopeSlots {
        private(set) var slots: [CounterSlot] = []

        /// Where it stands.
        mutating func add(_ slot: CounterSlot) -> Int {
            slots.append(slot)
            return slots.count - 1
        }
    }

    private mutating func append(_ templates: [Template]) -> StepRange {
        let start = steps.count
        steps += templates.map(\.step)
        return StepRange(start: Int32(start), end: Int32(steps.count))
    }

    private func permissions(of plan: PlanDefinition) -> PermissionSet {
        var permissions = PermissionSet()
        for name in plan.permissions {
            if let permission = permissionNames.firstIndex(of: name) {
                permissions.insert(permission)
            }
        }
        return permissions
    }

    /// Where the plan's prices begin; -1 when it has none.
    private mutating func compilePrices(of plan: PlanDefinition) -> Int32 {
        guard !plan.prices.isEmpty else { return -1 }
        let start = prices.count
        prices += definition.meters.map { plan.prices[$0] ?? 0 }
        return Int32(start)
    }

    private mutating func compileDefaultPlans() {
        defaultPlans = definition.issuers.map { issuer in
            definition.plans.firstIndex { $0.name == issuer.defaultPlan } ?? -1
        }
    }

    /// `plan`: whose limits they are; of addresses' limits none.
    private mutating func program(
        of operation: OperationDefinition, _ templates: [Template], _ plan: PlanDefinition? = nil
    ) -> StepRange {
        let start = steps.count
        // One fault is enough, and no memory is filled with what is refused.
        guard start <= PolicyLimits.stepsMax else { return StepRange() }
        for template in templates {
            guard let charge = charge(of: operation, on: template.meter, plan) else { continue }
            if !template.classes.isEmpty {
                guard let named = operation.rateLimitClass, template.classes.contains(named) else {
                    continue
                }
            }
            var step = template.step
            step.charge = UInt8(charge)
            steps.append(step)
        }
        if steps.count > PolicyLimits.stepsMax {
            fault(["plans"], "plans × operations × limits are too many")
        }
        return StepRange(start: Int32(start), end: Int32(steps.count))
    }

    /// Which of the operation's charges a limit on that meter counts: behind the last, what all of
    /// them cost.
    private func charge(
        of operation: OperationDefinition, on meter: String, _ plan: PlanDefinition?
    ) -> Int? {
        guard meter == PlanDefinition.costMeter, let plan else {
            return operation.charges.firstIndex { $0.meter == meter }
        }
        let hasPrice = operation.charges.contains { plan.prices[$0.meter, default: 0] > 0 }
        return hasPrice ? operation.charges.count : nil
    }

    private mutating func template(_ limit: RateLimitDefinition, slot: Int) -> Template {
        let form = intern(union(limit.scope).counter(CounterSlot(limit)).shape, limit)
        let index = addLimit(
            LimitInfo(
                name: Array(limit.name.utf8), meter: Array(limit.meter.utf8),
                windowMilliseconds: limit.windowNanoseconds / 1_000_000,
                overrideMax: limit.overrideMax))
        let step = ChargeStep(
            limit: limit.limit, ceiling: limit.limit, inverseLimit: Self.inverse(limit.limit),
            isQuota: false, scope: limit.scope, charge: 0, flags: shadow(limit.isShadow),
            slot: UInt16(slot), limitIndex: UInt16(index), form: UInt16(form))
        return Template(step: step, meter: limit.meter, classes: limit.classes)
    }

    /// What a member may use of an organization's quota.
    private mutating func memberTemplate(
        _ quota: QuotaDefinition, _ terms: QuotaTerms
    ) -> Template {
        var own = quota
        own.scope = .user
        own.limit = quota.memberMax ?? QuotaDefinition.unlimited
        (own.isSoft, own.rolloverMax, own.hasCredits) = (false, nil, false)
        var template = template(own, slot: Int(terms.memberSlot), terms)
        template.step.flags = shadow(quota.isShadow).union(.member)
        return template
    }

    private mutating func template(
        _ quota: QuotaDefinition, slot: Int, _ terms: QuotaTerms? = nil
    ) -> Template {
        let calendar = QuotaCalendar(period: quota.period, zone: quota.timeZone)
        var form = calendars.firstIndex(of: calendar)
        if form == nil {
            form = calendars.count
            calendars.append(calendar)
        }
        let index = addLimit(
            LimitInfo(
                name: Array(quota.name.utf8), meter: Array(quota.meter.utf8),
                windowMilliseconds: 0),
            terms ?? QuotaTerms(quota))
        var flags: StepFlags = quota.memberMin > 0 ? .pool : []
        if quota.rolloverMax != nil { flags.insert(.rollover) }
        if quota.hasCredits { flags.insert(.credits) }
        flags.formUnion(shadow(quota.isShadow))
        let step = ChargeStep(
            limit: quota.limit, ceiling: quota.ceiling, inverseLimit: Self.inverse(quota.limit),
            isQuota: true, scope: quota.scope, charge: 0, flags: flags, slot: UInt16(slot),
            limitIndex: UInt16(index), form: UInt16(form ?? 0))
        return Template(step: step, meter: quota.meter, classes: [])
    }

    private mutating func template(_ limit: ConcurrencyDefinition, slot: Int) -> Template {
        let index = addLimit(
            LimitInfo(name: Array(limit.name.utf8), meter: [], windowMilliseconds: 0))
        let step = ChargeStep(
            limit: limit.limit, ceiling: limit.limit, inverseLimit: Self.inverse(limit.limit),
            isQuota: false, scope: limit.scope, charge: 0, flags: shadow(limit.isShadow),
            slot: UInt16(slot), limitIndex: UInt16(index), form: 0)
        return Template(step: step, meter: "", classes: [])
    }

    private mutating func addLimit(_ info: LimitInfo, _ terms: QuotaTerms = QuotaTerms()) -> Int {
        limits.append(info)
        quotaTerms.append(terms)
        return limits.count - 1
    }

    /// 1 / limit; 0 for a limit of 0.
    static func inverse(_ limit: UInt64) -> Double { limit == 0 ? 0 : 1 / Double(limit) }

    private func union(_ scope: LimitScope) -> CounterUnion {
        switch scope {
        case .user: userUnion
        case .organization: organizationUnion
        case .address, .credential: addressUnion
        }
    }

    /// Shapes are shared by windows that are cut alike.
    private mutating func intern(_ shape: WindowShape?, _ limit: RateLimitDefinition) -> Int {
        let shape =
            shape
            ?? WindowShape.make(
                windowNanoseconds: limit.windowNanoseconds, subBuckets: limit.subBuckets,
                mode: limit.mode, limit: limit.mostUnits)
        if let known = shapes.firstIndex(of: shape) { return known }
        shapes.append(shape)
        return shapes.count - 1
    }

    private mutating func place(_ layout: RowLayout, _ path: [PolicyFault.Step]) -> Int {
        if layout.bytes > RowArena.rowUnitsMax / 2 * RowArena.unitBytes {
            fault(
                path,
                "the limits of one scope take \(layout.bytes) bytes a row, all plans together, and"
                    + " at most \(RowArena.rowUnitsMax / 2 * RowArena.unitBytes) fit: use fewer"
                    + " sub-buckets, or the same limits' names in several plans")
        }
        if let known = layouts.firstIndex(of: layout) { return known }
        layouts.append(layout)
        return layouts.count - 1
    }
}
