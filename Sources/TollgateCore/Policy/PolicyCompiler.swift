import TollgateWire

/// Bounds of a policy, so that rows, replies and tables have bounds.
package enum PolicyLimits {
    package static let plansMax = 1_024
    package static let operationsMax = 4_096
    package static let metersMax = 256
    /// Limits of one plan, windows and quotas of both scopes; an explained reply holds them all.
    package static let limitsPerPlanMax = 48
    package static let addressLimitsMax = 16
    package static let chargesPerOperationMax = WireLimits.metersMax
    package static let windowNanosecondsMin: UInt64 = 1_000_000
    package static let windowNanosecondsMax: UInt64 = 31 * 86_400 * 1_000_000_000
    /// Steps of all programs: plans times operations times limits.
    package static let stepsMax = 4_000_000
}

/// Turns a `PolicyDefinition` into the flat tables of a `PolicyImage`. Lives for one `compile`.
struct PolicyCompiler {
    private let definition: PolicyDefinition
    private var faults: [String] = []
    var steps: [ChargeStep] = []
    var charges: [CompiledCharge] = []
    var compiledOperations: [CompiledOperation] = []
    var compiledPlans: [CompiledPlan] = []
    var programs: [StepRange] = []
    var shapes: [WindowShape] = []
    var limits: [LimitInfo] = []
    var calendars: [QuotaCalendar] = []
    var layouts: [RowLayout] = []
    var identities: Set<String> = []
    var addressLayout = 0
    var invalidCredentialStep: ChargeStep?
    var defaultPlans: [Int] = []
    private var permissionNames: [String] = []

    /// What a compile makes beside the flat tables.
    struct Parts {
        var meters: NameTable
        var plans: NameTable
        var operations: NameTable
        var permissions: NameTable
        var routes: RouteTable
        var issuers: IssuerTable
    }

    /// A step without its operation: it becomes one for every operation that charges the meter.
    private struct Template {
        var step: ChargeStep
        var meter: String
        var classes: [String]
    }

    init(_ definition: PolicyDefinition) { self.definition = definition }

    mutating func compile() throws(PolicyCompileError) -> Parts {
        let meters = names(definition.meters, "meter", max: PolicyLimits.metersMax)
        let plans = names(definition.plans.map(\.name), "plan", max: PolicyLimits.plansMax)
        let operations = names(
            definition.operations.map(\.name), "operation", max: PolicyLimits.operationsMax)
        let permissions = collectPermissions()
        checkReferences()
        var routes: RouteTable?
        do { routes = try RouteTable(definition.operations) } catch { faults.append(error.message) }
        var issuers: IssuerTable?
        do { issuers = try IssuerTable(definition.issuers) } catch { faults.append(error.message) }
        guard faults.isEmpty, let meters, let plans, let operations, let permissions, let routes,
            let issuers
        else { throw PolicyCompileError(messages: faults) }
        compileOperations()
        compileAddressLimits()
        for plan in definition.plans { compile(plan) }
        compileDefaultPlans()
        guard faults.isEmpty else { throw PolicyCompileError(messages: faults) }
        return Parts(
            meters: meters, plans: plans, operations: operations, permissions: permissions,
            routes: routes, issuers: issuers)
    }

    // MARK: names

    private mutating func names(_ names: [String], _ what: String, max: Int) -> NameTable? {
        if names.count > max { faults.append("\(names.count) \(what)s: at most \(max)") }
        for name in names { checkName(name, what) }
        guard let table = NameTable(names) else {
            faults.append("two \(what)s have the same name")
            return nil
        }
        return table
    }

    private mutating func checkName(_ name: String, _ what: String) {
        let isPlain = name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f }
        if !(1...WireLimits.identifierBytesMax).contains(name.utf8.count) || !isPlain {
            faults.append(
                "\(what) \"\(name)\": a name is 1 to 128 bytes without spaces or controls")
        }
    }

    private mutating func collectPermissions() -> NameTable? {
        var seen: Set<String> = []
        let granted = definition.plans.flatMap(\.permissions)
        for name in granted + definition.operations.compactMap(\.permission)
        where seen.insert(name).inserted { permissionNames.append(name) }
        return names(permissionNames, "permission", max: PermissionSet.permissionsMax)
    }

    private mutating func checkReferences() {
        let meters = Set(definition.meters)
        let plans = Set(definition.plans.map(\.name))
        let classes = Set(definition.operations.compactMap(\.rateLimitClass))
        for plan in definition.plans {
            check(plan.rateLimits, quotas: plan.quotas, in: "plan \(plan.name)", meters, classes)
        }
        check(definition.addressLimits, quotas: [], in: "address limits", meters, classes)
        if let limit = definition.invalidCredentialLimit {
            checkWindow(limit, "invalid credentials")
            if definition.addressLimits.contains(where: { $0.name == limit.name }) {
                faults.append("address limits: \"\(limit.name)\" is the name of another limit")
            }
        }
        for operation in definition.operations { check(operation, meters) }
        for issuer in definition.issuers {
            let named =
                Array(issuer.claims.plansByRole.values) + [issuer.defaultPlan].compactMap { $0 }
            for name in named.sorted() where !plans.contains(name) {
                faults.append("issuer \(issuer.name): no plan \"\(name)\"")
            }
        }
        let most = WireLimits.credentialBytesMax
        if !(64...most).contains(definition.credentialBytesMax) {
            faults.append("the longest credential is between 64 and \(most) bytes")
        }
    }

    private mutating func check(
        _ rateLimits: [RateLimitDefinition], quotas: [QuotaDefinition], in place: String,
        _ meters: Set<String>, _ classes: Set<String>
    ) {
        let isAddress = place == "address limits"
        let most = isAddress ? PolicyLimits.addressLimitsMax : PolicyLimits.limitsPerPlanMax
        if rateLimits.count + quotas.count > most {
            faults.append("\(place): at most \(most) limits")
        }
        var seen: Set<String> = []
        for name in rateLimits.map(\.name) + quotas.map(\.name) {
            checkName(name, "limit")
            if !seen.insert(name).inserted {
                faults.append("\(place): two limits are named \"\(name)\"")
            }
        }
        for limit in rateLimits {
            let what = "\(place), limit \(limit.name)"
            checkWindow(limit, what)
            checkScope(limit.scope, isAddress ? [.address] : [.user, .organization], what)
            if !meters.contains(limit.meter) {
                faults.append("\(what): no meter \"\(limit.meter)\"")
            }
            for name in limit.classes where !classes.contains(name) {
                faults.append("\(what): no operation has the rate-limit class \"\(name)\"")
            }
        }
        for quota in quotas {
            let what = "\(place), quota \(quota.name)"
            checkScope(quota.scope, [.user, .organization], what)
            if !meters.contains(quota.meter) {
                faults.append("\(what): no meter \"\(quota.meter)\"")
            }
        }
    }

    private mutating func checkScope(_ scope: LimitScope, _ known: [LimitScope], _ what: String) {
        if !known.contains(scope) { faults.append("\(what): the scope \(scope) has no place here") }
    }

    private mutating func checkWindow(_ limit: RateLimitDefinition, _ what: String) {
        let range = PolicyLimits.windowNanosecondsMin...PolicyLimits.windowNanosecondsMax
        if !range.contains(limit.windowNanoseconds) {
            faults.append("\(what): a window lasts 1 ms to 31 days")
        }
        if !(1...RateLimitDefinition.subBucketsMax).contains(limit.subBuckets) {
            faults.append("\(what): 1 to \(RateLimitDefinition.subBucketsMax) sub-buckets")
        }
    }

    private mutating func check(_ operation: OperationDefinition, _ meters: Set<String>) {
        let what = "operation \(operation.name)"
        if operation.charges.count > PolicyLimits.chargesPerOperationMax {
            faults.append("\(what): at most \(PolicyLimits.chargesPerOperationMax) charges")
        }
        if Set(operation.charges.map(\.meter)).count != operation.charges.count {
            faults.append("\(what): charges a meter twice")
        }
        for charge in operation.charges {
            if !meters.contains(charge.meter) {
                faults.append("\(what): no meter \"\(charge.meter)\"")
            }
            let (_, overflow) = charge.defaultUnits.multipliedReportingOverflow(by: charge.weight)
            if overflow || charge.defaultUnits > WireLimits.unitsMax {
                faults.append("\(what): the units of \(charge.meter) are out of range")
            }
        }
    }

    // MARK: tables

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
        let layout = RowLayout(rateLimits: all, quotas: [])
        addressLayout = place(layout)
        let templates = all.enumerated().map { template($1, slot: $0) }
        let limits = templates.prefix(definition.addressLimits.count)
        if limits.count < templates.count { invalidCredentialStep = templates.last?.step }
        for (index, operation) in definition.operations.enumerated() {
            compiledOperations[index].addressSteps = program(of: operation, Array(limits))
        }
    }

    private mutating func compile(_ plan: PlanDefinition) {
        let userWindows = plan.rateLimits.filter { $0.scope == .user }
        let userQuotas = plan.quotas.filter { $0.scope == .user }
        let sharedWindows = plan.rateLimits.filter { $0.scope == .organization }
        let sharedQuotas = plan.quotas.filter { $0.scope == .organization }
        let user = RowLayout(rateLimits: userWindows, quotas: userQuotas)
        let shared = RowLayout(rateLimits: sharedWindows, quotas: sharedQuotas)
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
                permissions: permissions, userLayout: Int32(place(user)),
                organizationLayout: Int32(place(shared)), all: all, tag: Self.tag(plan.name)))
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
        if steps.count > PolicyLimits.stepsMax, faults.isEmpty {
            faults.append("plans × operations × limits are too many")
        }
        return StepRange(start: Int32(start), end: Int32(steps.count))
    }

    private mutating func template(_ limit: RateLimitDefinition, slot: Int) -> Template {
        let form = intern(CounterSlot(limit).shape, limit)
        limits.append(
            LimitInfo(
                name: Array(limit.name.utf8), meter: Array(limit.meter.utf8),
                windowMilliseconds: limit.windowNanoseconds / 1_000_000))
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

    /// Shapes are shared by windows that are cut alike.
    private mutating func intern(_ shape: WindowShape?, _ limit: RateLimitDefinition) -> Int {
        let shape = shape ?? WindowShape.make(
            windowNanoseconds: limit.windowNanoseconds, subBuckets: limit.subBuckets,
            mode: limit.mode, limit: limit.limit)
        if let known = shapes.firstIndex(of: shape) { return known }
        shapes.append(shape)
        return shapes.count - 1
    }

    private mutating func place(_ layout: RowLayout) -> Int {
        identities.formUnion(layout.slots.map(\.identity))
        if layout.bytes > RowArena.rowUnitsMax / 2 * RowArena.unitBytes {
            faults.append(
                "the limits of one scope take \(layout.bytes) bytes a row: use fewer sub-buckets")
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
