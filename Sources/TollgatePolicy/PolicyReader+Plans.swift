import TollgateCore
import TollgateWire

extension PolicyReader {
    func plan(
        _ key: YAMLNode, _ node: YAMLNode, _ policy: PolicyDefinition
    ) -> PlanDefinition? {
        guard let name = name(key, "plans") else { return nil }
        let values = reader.mapping(node, "plan \(name)", known: PolicySchema.planKeys)
        var plan = PlanDefinition(name: name)
        plan.permissions = reader.list(values["permissions"], "permissions").compactMap {
            self.name($0, "permissions")
        }
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
        ledgerTerms(values, of: &plan, policy)
        return plan
    }

    private static let scopes: [(String, LimitScope)] = [
        ("user", .user), ("organization", .organization),
    ]

    func planScope(_ node: YAMLNode) -> LimitScope? {
        switch node.text {
        case "credential":
            reader.fail(
                node, "limits of scope credential are not counted yet: use user or organization")
            return nil
        case "address":
            reader.fail(node, "limits of scope address stand in address_limits, not in a plan")
            return nil
        default: return reader.choice(node, "scope", Self.scopes)
        }
    }

    /// With `scope`, the limits are of that scope and name none.
    func rateLimits(
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
        guard let name = limitName(key, "limits") else { return nil }
        let known = fixed == nil ? PolicySchema.rateLimitKeys : PolicySchema.addressLimitKeys
        let values = reader.mapping(node, "limit \(name)", known: known)
        let scope =
            fixed
            ?? reader.required(values, "scope", key).flatMap { planScope($0) }
        let limit = reader.required(values, "limit", key).flatMap {
            reader.integer($0, "limit", 0...UInt64(Int64.max))
        }
        let window = window(values, key)
        guard let scope, let limit, let window else { return nil }
        var definition = RateLimitDefinition(
            name: name, scope: scope, limit: limit, windowNanoseconds: window)
        if let most = values["override_max"] {
            definition.overrideMax = reader.integer(
                most, "override_max", limit...UInt64(Int64.max))
        }
        if let meter = values["meter"] {
            definition.meter =
                (fixed == nil ? limitMeter(meter, policy) : self.meter(meter, policy)) ?? "calls"
        }
        let modes: [(String, WindowMode)] = [("strict", .strict), ("smooth", .smooth)]
        definition.mode = reader.choice(values["mode"], "mode", modes) ?? .strict
        definition.isShadow = reader.boolean(values["shadow"], "shadow") ?? false
        let most = UInt64(RateLimitDefinition.subBucketsMax)
        if let buckets = reader.integer(values["sub_buckets"], "sub_buckets", 1...most) {
            definition.subBuckets = Int(buckets)
        }
        let classes = policy.operations.compactMap(\.rateLimitClass)
        let listed = reader.filledList(
            values["classes"], "classes", "leave it out to count all operations")
        for element in listed {
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

    func invalidCredentials(_ node: YAMLNode) -> RateLimitDefinition? {
        let values = reader.mapping(
            node, "invalid_credentials", known: PolicySchema.invalidCredentialKeys)
        let limit = reader.required(values, "limit", node).flatMap {
            reader.integer($0, "limit", 1...1_000_000_000)
        }
        let window = window(values, node)
        guard let limit, let window else { return nil }
        return RateLimitDefinition(
            name: "invalid_credentials", scope: .address, limit: limit, windowNanoseconds: window)
    }
}
