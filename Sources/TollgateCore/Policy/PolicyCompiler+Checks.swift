import TollgateWire

// Everything that must hold before a policy can be compiled. All faults are found, not the first
// alone, each with the place in a policy file where it stands.

extension PolicyCompiler {
    typealias Path = [PolicyFault.Step]

    mutating func fault(_ path: Path, _ message: String) {
        faults.append(PolicyFault(path, message))
    }

    /// The parts that can be made without tables; `nil` when anything is wrong.
    mutating func check() -> Parts? {
        let meters = names(
            definition.meters, "meter", max: PolicyLimits.metersMax,
            definition.meters.indices.map { ["meters", .position($0)] })
        checkMeterNames()
        checkIdempotency()
        let planNames = definition.plans.map(\.name)
        let plans = names(
            planNames, "plan", max: PolicyLimits.plansMax,
            planNames.map { ["plans", .key($0)] })
        let operationNames = definition.operations.map(\.name)
        let operations = names(
            operationNames, "operation", max: PolicyLimits.operationsMax,
            operationNames.map { ["operations", .key($0)] })
        let permissions = collectPermissions()
        checkReferences()
        let routes = compileRoutes()
        var issuers: IssuerTable?
        do { issuers = try IssuerTable(definition.issuers) } catch {
            fault(error.path(in: definition.issuers), error.message)
        }
        guard let meters, let plans, let operations, let permissions, let routes, let issuers
        else { return nil }
        return Parts(
            meters: meters, plans: plans, operations: operations, permissions: permissions,
            routes: routes, issuers: issuers)
    }

    // MARK: names

    /// `paths`: where each name stands.
    private mutating func names(
        _ names: [String], _ what: String, max: Int, _ paths: [Path]
    ) -> NameTable? {
        if names.count > max {
            fault(paths[max], "\(names.count) \(what)s: at most \(max)")
            return nil
        }
        var seen: Set<[UInt8]> = []
        for (name, path) in zip(names, paths) {
            checkName(name, what, path)
            if !seen.insert(Array(name.utf8)).inserted {
                fault(path, "two \(what)s have the name \"\(name)\"")
            }
        }
        return NameTable(names)
    }

    private mutating func checkName(_ name: String, _ what: String, _ path: Path) {
        let isPlain = name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f }
        if !(1...WireLimits.identifierBytesMax).contains(name.utf8.count) || !isPlain {
            fault(
                path, "\(what) \"\(name)\": a name is 1 to 128 bytes without spaces or controls")
        }
    }

    private mutating func collectPermissions() -> NameTable? {
        var seen: Set<String> = []
        var paths: [Path] = []
        func add(_ name: String, _ path: Path) {
            guard seen.insert(name).inserted else { return }
            permissionNames.append(name)
            paths.append(path)
        }
        for plan in definition.plans {
            for (position, name) in plan.permissions.enumerated() {
                add(name, ["plans", .key(plan.name), "permissions", .position(position)])
            }
        }
        for operation in definition.operations {
            guard let name = operation.permission else { continue }
            add(name, ["operations", .key(operation.name), "permission"])
        }
        return names(permissionNames, "permission", max: PermissionSet.permissionsMax, paths)
    }

    private mutating func compileRoutes() -> RouteTable? {
        let count = definition.operations.reduce(0) { $0 + $1.routes.count }
        guard count <= PolicyLimits.routesMax else {
            fault(["operations"], "\(count) routes: at most \(PolicyLimits.routesMax)")
            return nil
        }
        let conflicts = RouteTable.conflicts(among: definition.operations)
        for conflict in conflicts {
            let operation = definition.operations[conflict.operation].name
            fault(
                ["operations", .key(operation), "routes", .position(conflict.route)],
                conflict.message)
        }
        guard conflicts.isEmpty else { return nil }
        do { return try RouteTable(definition.operations) } catch {
            fault(["operations"], error.message)
            return nil
        }
    }

    // MARK: names across plans

    /// What a counter counts by, beside its limit: the same wherever its name stands.
    private struct Counting: Equatable {
        var words: String
        var window: UInt64 = 0
        var subBuckets = 0
        var mode: WindowMode?
        var zone: ZoneRules?
    }

    /// A name is one counter: were it cut another way in another plan, a caller with two plans
    /// could have more of it than either grants.
    private mutating func checkNamesAcrossPlans() {
        var first: [String: (plan: String, counting: Counting)] = [:]
        for plan in definition.plans {
            for limit in plan.rateLimits {
                let milliseconds = limit.windowNanoseconds / 1_000_000
                let counting = Counting(
                    words: "a rate limit of \(limit.meter) in \(milliseconds) ms, \(limit.mode),"
                        + " \(limit.subBuckets) sub-buckets",
                    window: limit.windowNanoseconds, subBuckets: limit.subBuckets, mode: limit.mode)
                check(counting, limit.scope, limit.name, plan.name, "rate_limits", &first)
            }
            for quota in plan.quotas {
                let counting = Counting(
                    words: "a quota of \(quota.meter) by \(quota.period.word)",
                    zone: quota.timeZone)
                check(counting, quota.scope, quota.name, plan.name, "quotas", &first)
            }
            for limit in plan.concurrency {
                let counting = Counting(words: "a limit of open reservations")
                check(counting, limit.scope, limit.name, plan.name, "concurrency", &first)
            }
        }
    }

    private mutating func check(
        _ counting: Counting, _ scope: LimitScope, _ name: String, _ plan: String,
        _ section: PolicyFault.Step, _ first: inout [String: (plan: String, counting: Counting)]
    ) {
        let key = "\(scope) \(name)"
        guard let known = first[key] else {
            first[key] = (plan, counting)
            return
        }
        guard known.counting != counting else { return }
        let inZone = known.counting.words == counting.words ? " in another time zone" : ""
        fault(
            ["plans", .key(plan), section, .key(name)],
            "plan \(plan), limit \(name): it is \(counting.words) here, but"
                + " \(known.counting.words)\(inZone) in plan \(known.plan): a name is one counter"
                + " in all plans, so give one of them another name")
    }

    // MARK: references

    private mutating func checkReferences() {
        let meters = Set(definition.meters)
        let classes = Set(definition.operations.compactMap(\.rateLimitClass))
        for plan in definition.plans {
            check(plan, meters, classes)
        }
        checkNamesAcrossPlans()
        checkAddressLimits(meters, classes)
        if let limit = definition.invalidCredentialLimit {
            checkWindow(limit, "invalid credentials", ["invalid_credentials"])
            if definition.addressLimits.contains(where: { $0.name == limit.name }) {
                fault(
                    ["address_limits", .key(limit.name)],
                    "address limits: \"\(limit.name)\" is the name of another limit")
            }
        }
        for operation in definition.operations { check(operation, meters) }
        for issuer in definition.issuers { checkPlans(of: issuer) }
        let most = WireLimits.credentialBytesMax
        if !(64...most).contains(definition.credentialBytesMax) {
            fault(
                ["credential_bytes_max"], "the longest credential is between 64 and \(most) bytes")
        }
    }

    private mutating func checkPlans(of issuer: IssuerDefinition) {
        let plans = Set(definition.plans.map(\.name))
        let path: Path = ["issuers", .key(issuer.name)]
        if let name = issuer.defaultPlan, !plans.contains(name) {
            fault(path + ["default_plan"], "issuer \(issuer.name): no plan \"\(name)\"")
        }
        for (role, name) in issuer.claims.plansByRole.sorted(by: { $0.key < $1.key })
        where !plans.contains(name) {
            fault(
                path + ["claims", "plans_by_role", .key(role)],
                "issuer \(issuer.name): no plan \"\(name)\"")
        }
    }

    private mutating func check(
        _ plan: PlanDefinition, _ meters: Set<String>, _ classes: Set<String>
    ) {
        let path: Path = ["plans", .key(plan.name)]
        let place = "plan \(plan.name)"
        // A pool counts for its organization and for each of its members.
        let count =
            plan.rateLimits.count + plan.quotas.count + plan.quotas.count(where: \.isPool)
            + plan.concurrency.count
        if count > PolicyLimits.limitsPerPlanMax {
            fault(path, "\(place): \(count) limits: at most \(PolicyLimits.limitsPerPlanMax)")
        }
        var meters = meters
        if !plan.prices.isEmpty { meters.insert(PlanDefinition.costMeter) }
        var seen: Set<String> = []
        for limit in plan.rateLimits {
            let at = path + ["rate_limits", .key(limit.name)]
            check(limit, [.user, .organization], place, at, &seen, meters, classes)
        }
        for quota in plan.quotas {
            let at = path + ["quotas", .key(quota.name)]
            let what = "\(place), quota \(quota.name)"
            checkLimit(quota.name, &seen, place, at)
            checkScope(quota.scope, [.user, .organization], what, at)
            checkMeter(quota.meter, meters, what, at + ["meter"])
            check(quota, what, at)
        }
        for limit in plan.concurrency {
            let at = path + ["concurrency", .key(limit.name)]
            checkLimit(limit.name, &seen, place, at)
            check(limit, "\(place), concurrency \(limit.name)", at)
        }
        check(plan.holds, place, path + ["holds"])
        check(plan.prices, definition.meters, place, path + ["prices"])
    }

    private mutating func checkAddressLimits(_ meters: Set<String>, _ classes: Set<String>) {
        let all = definition.addressLimits
        if all.count > PolicyLimits.addressLimitsMax {
            fault(
                ["address_limits"],
                "address limits: \(all.count) limits: at most \(PolicyLimits.addressLimitsMax)")
        }
        var seen: Set<String> = []
        for limit in all {
            let at: Path = ["address_limits", .key(limit.name)]
            check(limit, [.address], "address limits", at, &seen, meters, classes)
        }
    }

    private mutating func check(
        _ limit: RateLimitDefinition, _ scopes: [LimitScope], _ place: String, _ at: Path,
        _ seen: inout Set<String>, _ meters: Set<String>, _ classes: Set<String>
    ) {
        let what = "\(place), limit \(limit.name)"
        checkLimit(limit.name, &seen, place, at)
        checkWindow(limit, what, at)
        checkScope(limit.scope, scopes, what, at)
        checkMeter(limit.meter, meters, what, at + ["meter"])
        for (position, name) in limit.classes.enumerated() where !classes.contains(name) {
            fault(
                at + ["classes", .position(position)],
                "\(what): no operation has the rate-limit class \"\(name)\"")
        }
    }

    private mutating func checkMeter(
        _ name: String, _ meters: Set<String>, _ what: String, _ at: Path
    ) {
        guard !meters.contains(name) else { return }
        let remedy =
            name == PlanDefinition.costMeter
            ? "\(name) counts what a plan's prices come to, and here are none: add prices to it"
            : Self.noMeter(name)
        fault(at, "\(what): \(remedy)")
    }

    /// Limits and operations that name no meter count calls.
    private static func noMeter(_ name: String) -> String {
        "no meter \"\(name)\"" + (name == "calls" ? ": add it to meters, or name another here" : "")
    }

    private mutating func checkLimit(
        _ name: String, _ seen: inout Set<String>, _ place: String, _ path: Path
    ) {
        checkName(name, "limit", path)
        if name == Self.credentialLimitName {
            fault(path, "\(place): \(name) is the name of keys' own limits: give it another")
        }
        if !seen.insert(name).inserted {
            fault(path, "\(place): two limits are named \"\(name)\"")
        }
    }

    mutating func checkScope(
        _ scope: LimitScope, _ known: [LimitScope], _ what: String, _ path: Path
    ) {
        if !known.contains(scope) {
            fault(path + ["scope"], "\(what): the scope \(scope) has no place here")
        }
    }

    private mutating func checkWindow(
        _ limit: RateLimitDefinition, _ what: String, _ path: Path
    ) {
        let range = PolicyLimits.windowNanosecondsMin...PolicyLimits.windowNanosecondsMax
        if !range.contains(limit.windowNanoseconds) {
            fault(path + ["window"], "\(what): a window lasts 1 ms to 31 days")
        }
        if !(1...RateLimitDefinition.subBucketsMax).contains(limit.subBuckets) {
            fault(
                path + ["sub_buckets"],
                "\(what): 1 to \(RateLimitDefinition.subBucketsMax) sub-buckets")
        }
    }

    private mutating func check(_ operation: OperationDefinition, _ meters: Set<String>) {
        let what = "operation \(operation.name)"
        let path: Path = ["operations", .key(operation.name)]
        let charges = path + ["charges"]
        if operation.charges.count > PolicyLimits.chargesPerOperationMax {
            fault(
                charges,
                "\(what): \(operation.charges.count) charges: at most"
                    + " \(PolicyLimits.chargesPerOperationMax)")
        }
        if Set(operation.charges.map(\.meter)).count != operation.charges.count {
            fault(charges, "\(what): charges a meter twice")
        }
        for charge in operation.charges {
            let at = charges + [.key(charge.meter)]
            if !meters.contains(charge.meter) {
                let isCost = charge.meter == PlanDefinition.costMeter
                fault(
                    at,
                    "\(what): "
                        + (isCost
                            ? "cost is charged by prices of plans, and by nothing else"
                            : Self.noMeter(charge.meter)))
            }
            let (_, overflow) = charge.defaultUnits.multipliedReportingOverflow(by: charge.weight)
            if overflow || charge.defaultUnits > WireLimits.unitsMax {
                fault(at, "\(what): units times weight of \(charge.meter) are out of range")
            }
        }
    }
}
