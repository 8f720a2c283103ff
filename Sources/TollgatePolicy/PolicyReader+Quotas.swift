import TollgateCore
import TollgateWire

/// What the ledger keeps: quotas, open reservations, and what answers are remembered.
extension PolicyReader {
    private static let periods: [(String, PeriodKind)] = [
        ("day", .day), ("week", .week), ("month", .month), ("billing_month", .billingMonth),
        ("total", .total),
    ]
    private static let unitsMax = UInt64(Int64.max)

    func quota(
        _ key: YAMLNode, _ node: YAMLNode, _ policy: PolicyDefinition
    ) -> QuotaDefinition? {
        guard let name = limitName(key, "quotas") else { return nil }
        let values = reader.mapping(node, "quota \(name)", known: PolicySchema.quotaKeys)
        let scope = reader.required(values, "scope", key).flatMap { planScope($0) }
        let period = reader.required(values, "period", key).flatMap {
            reader.choice($0, "period", Self.periods)
        }
        let limit = reader.required(values, "limit", key).flatMap { quotaLimit($0) }
        guard let scope, let period, let limit else { return nil }
        var quota = QuotaDefinition(name: name, scope: scope, limit: limit, period: period)
        if let meter = values["meter"] { quota.meter = limitMeter(meter, policy) ?? "calls" }
        quota.timeZone = zone(values["time_zone"])
        quota.isSoft = reader.boolean(values["soft"], "soft") ?? false
        func units(_ key: String, from least: UInt64 = 0) -> UInt64? {
            reader.integer(values[key], key, least...Self.unitsMax)
        }
        quota.overageMax = units("overage_max")
        quota.rolloverMax = units("rollover_max", from: 1)
        quota.memberMin = units("member_min", from: 1) ?? 0
        quota.memberMax = units("member_max")
        quota.hasCredits = reader.boolean(values["credits"], "credits") ?? false
        quota.isShadow = reader.boolean(values["shadow"], "shadow") ?? false
        return quota
    }

    private func quotaLimit(_ node: YAMLNode) -> UInt64? {
        if case .scalar("unlimited", isPlain: true) = node.content {
            return QuotaDefinition.unlimited
        }
        if let word = node.text, likelyMeant(word, ["unlimited"]) != nil {
            reader.fail(
                node, "limit is a whole number, or unlimited, not \(node.shown) (did you mean"
                    + " unlimited?)")
            return nil
        }
        return reader.integer(node, "limit", 0...Self.unitsMax)
    }

    /// A meter that limits count: those of the policy, and that of money.
    func limitMeter(_ node: YAMLNode, _ policy: PolicyDefinition) -> String? {
        node.text == PlanDefinition.costMeter ? PlanDefinition.costMeter : meter(node, policy)
    }

    // MARK: reservations and prices

    /// What a plan has beside rate limits and quotas.
    func ledgerTerms(
        _ values: [String: YAMLNode], of plan: inout PlanDefinition, _ policy: PolicyDefinition
    ) {
        if let node = values["concurrency"] {
            let taken = Set(plan.rateLimits.map(\.name)).union(plan.quotas.map(\.name))
            plan.concurrency = reader.entries(node, "concurrency").compactMap { key, value in
                if taken.contains(key.text ?? "") {
                    reader.fail(key, "another limit of the plan has that name already")
                }
                return concurrency(key, value)
            }
        }
        if let node = values["holds"] { plan.holds = holds(node) }
        if let node = values["prices"] {
            for (key, value) in reader.entries(node, "prices") {
                guard let meter = priceMeter(key, policy),
                    let price = reader.integer(
                        value, "a price", 0...PolicyLimits.priceMax)
                else { continue }
                plan.prices[meter] = price
            }
        }
    }

    private func priceMeter(_ key: YAMLNode, _ policy: PolicyDefinition) -> String? {
        if key.text == PlanDefinition.costMeter {
            reader.fail(key, "cost is what prices come to: it has no price of its own")
            return nil
        }
        return meter(key, policy)
    }

    private func concurrency(_ key: YAMLNode, _ node: YAMLNode) -> ConcurrencyDefinition? {
        guard let name = limitName(key, "concurrency") else { return nil }
        let values = reader.mapping(
            node, "concurrency \(name)", known: PolicySchema.concurrencyKeys)
        let scope = reader.required(values, "scope", key).flatMap { planScope($0) }
        let limit = reader.required(values, "limit", key).flatMap {
            reader.integer($0, "limit", 0...ConcurrencyDefinition.limitMax)
        }
        guard let scope, let limit else { return nil }
        var definition = ConcurrencyDefinition(name: name, scope: scope, limit: limit)
        definition.isShadow = reader.boolean(values["shadow"], "shadow") ?? false
        return definition
    }

    private static let cuts: [(String, CutStream)] = [
        ("estimate", .estimate), ("reported", .reported), ("nothing", .nothing),
    ]

    private func holds(_ node: YAMLNode) -> HoldTerms {
        let values = reader.mapping(node, "holds", known: PolicySchema.holdKeys)
        var terms = HoldTerms()
        let range = UInt64(HoldTerms.ttlRange.lowerBound)...UInt64(HoldTerms.ttlRange.upperBound)
        func ttl(_ key: String, _ otherwise: UInt32) -> UInt32 {
            let milliseconds = reader.milliseconds(values[key], key, range, "100ms to 24h")
            return milliseconds.map { UInt32(clamping: $0) } ?? otherwise
        }
        terms.ttlMaxMilliseconds = ttl("ttl_max", terms.ttlMaxMilliseconds)
        // Left out, it is no longer than the other.
        terms.ttlDefaultMilliseconds = ttl(
            "ttl_default", min(terms.ttlDefaultMilliseconds, terms.ttlMaxMilliseconds))
        terms.cutStream =
            reader.choice(values["cut_stream"], "cut_stream", Self.cuts) ?? terms.cutStream
        return terms
    }

    func idempotency(_ node: YAMLNode) -> IdempotencyTerms {
        let values = reader.mapping(node, "idempotency", known: PolicySchema.idempotencyKeys)
        var terms = IdempotencyTerms()
        terms.lifetimeMilliseconds =
            reader.milliseconds(
                values["lifetime"], "lifetime", IdempotencyTerms.lifetimeRange, "1s to 24h")
            ?? terms.lifetimeMilliseconds
        terms.recordsMax =
            reader.integer(
                values["records_max"], "records_max", IdempotencyTerms.recordsRange)
            ?? terms.recordsMax
        return terms
    }
}
