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
        credentialLimit = limits.count
        limits.append(
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
        if limits.count < templates.count { invalidCredentialStep = templates.last?.step }
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
            }
        }
        userUnion.index = place(RowLayout(userUnion.slots), ["plans"])
        organizationUnion.index = place(RowLayout(organizationUnion.slots), ["plans"])
    }

    private mutating func compile(_ plan: PlanDefinition) {
        let userWindows = plan.rateLimits.filter { $0.scope == .user }
        let userQuotas = plan.quotas.filter { $0.scope == .user }
        let sharedWindows = plan.rateLimits.filter { $0.scope == .organization }
        let sharedQuotas = plan.quotas.filter { $0.scope == .organization }
        let user = userUnion.layout(
            userWindows.map { CounterSlot($0) } + userQuotas.map { CounterSlot($0) })
        let shared = organizationUnion.layout(
            sharedWindows.map { CounterSlot($0) } + sharedQuotas.map { CounterSlot($0) })
        var templates: [Template] = []
        for (slot, limit) in userWindows.enumerated() {
            templates.append(template(limit, slot: slot))
        }
        for (slot, limit) in sharedWindows.enumerated() {
            templates.append(template(limit, slot: slot))
        }
        for (slot, quota) in userQuotas.enumerated() {
            templates.append(template(quota, slot: userWindows.count + slot))
        }
        for (slot, quota) in sharedQuotas.enumerated() {
            templates.append(template(quota, slot: sharedWindows.count + slot))
        }
        let at: [PolicyFault.Step] = ["plans", .key(plan.name)]
        var permissions = PermissionSet()
        for name in plan.permissions {
            if let permission = permissionNames.firstIndex(of: name) {
                permissions.insert(permission)
            }
        }
        let all = StepRange(start: Int32(steps.count), end: Int32(steps.count + templates.count))
        steps += templates.map(\.step)
        for operation in definition.operations {
            programs.append(program(of: operation, templates))
        }
        compiledPlans.append(
            CompiledPlan(
                permissions: permissions, userLayout: Int32(place(user, at)),
                organizationLayout: Int32(place(shared, at)), all: all, tag: Self.tag(plan.name)))
    }

    private mutating func compileDefaultPlans() {
        defaultPlans = definition.issuers.map { issuer in
            definition.plans.firstIndex { $0.name == issuer.defaultPlan } ?? -1
        }
    }

    private mutating func program(
        of operation: OperationDefinition, _ templates: [Template]
    ) -> StepRange {
        let start = steps.count
        // One fault is enough, and no memory is filled with what is refused.
        guard start <= PolicyLimits.stepsMax else { return StepRange() }
        for template in templates {
            guard let charge = operation.charges.firstIndex(where: { $0.meter == template.meter })
            else { continue }
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

    private mutating func template(_ limit: RateLimitDefinition, slot: Int) -> Template {
        let form = intern(union(limit.scope).counter(CounterSlot(limit)).shape, limit)
        limits.append(
            LimitInfo(
                name: Array(limit.name.utf8), meter: Array(limit.meter.utf8),
                windowMilliseconds: limit.windowNanoseconds / 1_000_000,
                overrideMax: limit.overrideMax))
        let step = self.step(limit.limit, isQuota: false, limit.scope, slot: slot, form: form)
        return Template(step: step, meter: limit.meter, classes: limit.classes)
    }

    private mutating func template(_ quota: QuotaDefinition, slot: Int) -> Template {
        let calendar = QuotaCalendar(
            period: quota.period, zone: quota.timeZone ?? definition.timeZone)
        var form = calendars.firstIndex(of: calendar)
        if form == nil {
            form = calendars.count
            calendars.append(calendar)
        }
        limits.append(
            LimitInfo(
                name: Array(quota.name.utf8), meter: Array(quota.meter.utf8), windowMilliseconds: 0)
        )
        let step = self.step(
            quota.limit, isQuota: true, quota.scope, slot: slot, form: form ?? 0)
        return Template(step: step, meter: quota.meter, classes: [])
    }

    private func step(
        _ limit: UInt64, isQuota: Bool, _ scope: LimitScope, slot: Int, form: Int
    ) -> ChargeStep {
        ChargeStep(
            limit: limit, inverseLimit: limit == 0 ? 0 : 1 / Double(limit), isQuota: isQuota,
            scope: scope, charge: 0, slot: UInt16(slot), limitIndex: UInt16(limits.count - 1),
            form: UInt16(form))
    }

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

    private static func tag(_ name: String) -> UInt32 {
        var hash: UInt32 = 0x811c_9dc5
        for byte in name.utf8 { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
        return hash
    }
}
