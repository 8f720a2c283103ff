import TollgateCore
import TollgateWire

/// A tree to a `PolicyDefinition`: the schema of the policy file. Deploy/tollgate.yaml shows every
/// key with what it means.
struct PolicyReader {
    let reader: SchemaReader
    let keyFiles: KeyFiles
    let zones: TimeZones

    private static let keys = [
        "version", "daemon", "time_zone", "meters", "plans", "operations", "address_limits",
        "invalid_credentials", "issuers", "reveal_credential_failures", "credential_bytes_max",
    ]

    func policy(_ root: YAMLNode) -> LoadedPolicy {
        let values = reader.mapping(root, "the policy", known: Self.keys)
        _ = reader.integer(reader.required(values, "version", root), "version", 1...1)
        var policy = PolicyDefinition()
        if let node = values["meters"] { policy.meters = reader.texts(node, "meters") }
        if let zone = zone(values["time_zone"]) { policy.timeZone = zone }
        if let node = values["operations"] {
            policy.operations = reader.entries(node, "operations").compactMap {
                operation($0.key, $0.value, policy)
            }
        }
        if let node = reader.required(values, "plans", root) {
            policy.plans = reader.entries(node, "plans").compactMap {
                plan($0.key, $0.value, policy)
            }
        }
        policy.addressLimits = rateLimits(
            values["address_limits"], "address_limits", scope: .address, policy)
        if let node = values["invalid_credentials"] {
            policy.invalidCredentialLimit = invalidCredentials(node)
        }
        if let node = values["issuers"] {
            let names = policy.plans.map(\.name)
            policy.issuers = reader.entries(node, "issuers").compactMap {
                issuer($0.key, $0.value, plans: names)
            }
        }
        policy.revealsCredentialFailures =
            reader.boolean(values["reveal_credential_failures"], "reveal_credential_failures")
            ?? false
        if let bytes = reader.integer(
            values["credential_bytes_max"], "credential_bytes_max", 64...8_192)
        {
            policy.credentialBytesMax = Int(bytes)
        }
        let daemon = values["daemon"].map { DaemonSettings($0, reader) } ?? DaemonSettings()
        return LoadedPolicy(definition: policy, daemon: daemon)
    }

    private func zone(_ node: YAMLNode?) -> ZoneRules? {
        guard let node, let name = reader.text(node, "time_zone") else { return nil }
        do { return try zones.load(name) } catch {
            reader.fail(node, error.message)
            return nil
        }
    }

    private func name(_ key: YAMLNode, _ what: String) -> String? {
        guard let name = key.text, (1...WireLimits.identifierBytesMax).contains(name.utf8.count),
            name.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f })
        else {
            reader.fail(key, "a name of \(what) is 1 to 128 bytes without spaces or controls")
            return nil
        }
        return name
    }

    // MARK: operations

    private func operation(
        _ key: YAMLNode, _ node: YAMLNode, _ policy: PolicyDefinition
    ) -> OperationDefinition? {
        guard let name = name(key, "operations") else { return nil }
        let known = ["permission", "routes", "class", "charges"]
        let values = reader.mapping(node, "operation \(name)", known: known)
        var operation = OperationDefinition(
            name: name, permission: reader.text(values["permission"], "permission"),
            rateLimitClass: reader.text(values["class"], "class"))
        operation.routes = reader.list(values["routes"], "routes").compactMap { route($0) }
        if let charges = values["charges"] {
            operation.charges = reader.entries(charges, "charges").compactMap {
                charge($0.key, $0.value, policy)
            }
        }
        return operation
    }

    private func route(_ node: YAMLNode) -> RouteDefinition? {
        guard let text = reader.text(node, "a route") else { return nil }
        let parts = text.split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[1].hasPrefix("/") else {
            reader.fail(node, "a route is a method, a space and a path: POST /v1/files/{id}")
            return nil
        }
        let route = RouteDefinition(method: String(parts[0]), path: String(parts[1]))
        do throws(RouteConflict) {
            _ = try RouteTable([OperationDefinition(name: "x", routes: [route])])
        } catch {
            reader.fail(node, error.message)
            return nil
        }
        return route
    }

    private func charge(
        _ key: YAMLNode, _ node: YAMLNode, _ policy: PolicyDefinition
    ) -> ChargeDefinition? {
        let values = reader.mapping(node, "a charge", known: ["units", "weight"])
        guard let meter = meter(key, policy) else { return nil }
        var charge = ChargeDefinition(meter: meter)
        charge.defaultUnits =
            reader.integer(values["units"], "units", 0...WireLimits.unitsMax) ?? 1
        charge.weight = reader.integer(values["weight"], "weight", 0...1_000_000_000) ?? 1
        return charge
    }

    private func meter(_ node: YAMLNode, _ policy: PolicyDefinition) -> String? {
        guard let name = reader.text(node, "a meter") else { return nil }
        guard policy.meters.contains(name) else {
            reader.fail(node, "no meter \"\(name)\"" + reader.meant(name, policy.meters))
            return nil
        }
        return name
    }

    // MARK: plans

    private func plan(
        _ key: YAMLNode, _ node: YAMLNode, _ policy: PolicyDefinition
    ) -> PlanDefinition? {
        guard let name = name(key, "plans") else { return nil }
        let known = ["permissions", "rate_limits", "quotas"]
        let values = reader.mapping(node, "plan \(name)", known: known)
        var plan = PlanDefinition(name: name)
        plan.permissions = reader.texts(values["permissions"], "permissions")
        plan.rateLimits = rateLimits(values["rate_limits"], "rate_limits", scope: nil, policy)
        if let quotas = values["quotas"] {
            plan.quotas = reader.entries(quotas, "quotas").compactMap {
                quota($0.key, $0.value, policy)
            }
            let taken = Set(plan.rateLimits.map(\.name))
            for (key, _) in reader.entries(quotas, "quotas") where taken.contains(key.text ?? "") {
                reader.fail(key, "a rate limit of the plan has that name already")
            }
        }
        return plan
    }

    private static let scopes: [(String, LimitScope)] = [
        ("user", .user), ("organization", .organization),
    ]

    /// With `scope`, the limits are of that scope and name none.
    private func rateLimits(
        _ node: YAMLNode?, _ what: String, scope: LimitScope?, _ policy: PolicyDefinition
    ) -> [RateLimitDefinition] {
        guard let node else { return [] }
        return reader.entries(node, what).compactMap {
            rateLimit($0.key, $0.value, scope: scope, policy)
        }
    }

    private func rateLimit(
        _ key: YAMLNode, _ node: YAMLNode, scope fixed: LimitScope?, _ policy: PolicyDefinition
    ) -> RateLimitDefinition? {
        guard let name = name(key, "limits") else { return nil }
        let known =
            (fixed == nil ? ["scope"] : [])
            + ["meter", "limit", "window", "mode", "sub_buckets", "classes"]
        let values = reader.mapping(node, "limit \(name)", known: known)
        let scope =
            fixed
            ?? reader.required(values, "scope", key).flatMap {
                reader.choice($0, "scope", Self.scopes)
            }
        let limit = reader.required(values, "limit", key).flatMap {
            reader.integer($0, "limit", 0...UInt64(Int64.max))
        }
        guard let scope, let limit, let window = window(values, key) else { return nil }
        var definition = RateLimitDefinition(
            name: name, scope: scope, limit: limit, windowNanoseconds: window)
        if let meter = values["meter"] { definition.meter = self.meter(meter, policy) ?? "calls" }
        let modes: [(String, WindowMode)] = [("strict", .strict), ("smooth", .smooth)]
        definition.mode = reader.choice(values["mode"], "mode", modes) ?? .strict
        let most = UInt64(RateLimitDefinition.subBucketsMax)
        if let buckets = reader.integer(values["sub_buckets"], "sub_buckets", 1...most) {
            definition.subBuckets = Int(buckets)
        }
        let classes = policy.operations.compactMap(\.rateLimitClass)
        for element in reader.list(values["classes"], "classes") {
            guard let named = reader.text(element, "a class") else { continue }
            definition.classes.append(named)
            if !classes.contains(named) {
                reader.fail(
                    element,
                    "no operation has the class \"\(named)\"" + reader.meant(named, classes))
            }
        }
        return definition
    }

    private func window(_ values: [String: YAMLNode], _ parent: YAMLNode) -> UInt64? {
        guard let node = reader.required(values, "window", parent),
            let window = reader.duration(node, "window")
        else { return nil }
        guard window <= PolicyLimits.windowNanosecondsMax else {
            reader.fail(node, "a window lasts 1ms to 31d; for longer periods use a quota")
            return nil
        }
        return window
    }

    private func quota(
        _ key: YAMLNode, _ node: YAMLNode, _ policy: PolicyDefinition
    ) -> QuotaDefinition? {
        guard let name = name(key, "quotas") else { return nil }
        let known = ["scope", "meter", "limit", "period", "time_zone"]
        let values = reader.mapping(node, "quota \(name)", known: known)
        let scope = reader.required(values, "scope", key).flatMap {
            reader.choice($0, "scope", Self.scopes)
        }
        let periods: [(String, PeriodKind)] = [("day", .day), ("month", .month)]
        let period = reader.required(values, "period", key).flatMap {
            reader.choice($0, "period", periods)
        }
        let limit = reader.required(values, "limit", key).flatMap {
            reader.integer($0, "limit", 0...UInt64(Int64.max))
        }
        guard let scope, let period, let limit else { return nil }
        var quota = QuotaDefinition(name: name, scope: scope, limit: limit, period: period)
        if let meter = values["meter"] { quota.meter = self.meter(meter, policy) ?? "calls" }
        quota.timeZone = zone(values["time_zone"])
        return quota
    }

    private func invalidCredentials(_ node: YAMLNode) -> RateLimitDefinition? {
        let values = reader.mapping(node, "invalid_credentials", known: ["limit", "window"])
        let limit = reader.required(values, "limit", node).flatMap {
            reader.integer($0, "limit", 1...1_000_000_000)
        }
        guard let limit, let window = window(values, node) else { return nil }
        return RateLimitDefinition(
            name: "invalid_credentials", scope: .address, limit: limit, windowNanoseconds: window)
    }
}
