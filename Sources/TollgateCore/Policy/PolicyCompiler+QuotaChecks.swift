import TollgateWire

// What must hold of quotas, concurrency limits, holds and prices.

extension PolicyCompiler {
    /// Every setting of a quota must mean something beside the others.
    mutating func check(_ quota: QuotaDefinition, _ what: String, _ at: Path) {
        if quota.period == .total {
            if quota.timeZone != nil {
                fault(at + ["time_zone"], "\(what): a total has no days, and so no time_zone")
            }
            if quota.rolloverMax != nil {
                fault(
                    at + ["rollover_max"],
                    "\(what): a total never ends, so nothing of it is carried over: choose another"
                        + " period, or leave rollover_max out")
            }
        }
        if quota.overageMax != nil, !quota.isSoft {
            fault(
                at + ["overage_max"],
                "\(what): overage_max bounds a soft quota: add soft: true, or leave it out")
        }
        if quota.isUnlimited { checkUnlimited(quota, what, at) }
        if quota.isPool { checkPool(quota, what, at) }
        if quota.hasCredits, quota.scope != .organization {
            fault(
                at + ["credits"],
                "\(what): credits are granted to organizations: scope organization")
        }
        let (most, overflow) = quota.limit.addingReportingOverflow(
            max(quota.overageMax ?? 0, quota.rolloverMax ?? 0))
        if !quota.isUnlimited, overflow || most == .max {
            fault(at + ["limit"], "\(what): limit, overage and rollover together leave 64 bits")
        }
    }

    private mutating func checkUnlimited(
        _ quota: QuotaDefinition, _ what: String, _ at: Path
    ) {
        let settings: [(PolicyFault.Step, Bool)] = [
            ("soft", quota.isSoft), ("overage_max", quota.overageMax != nil),
            ("rollover_max", quota.rolloverMax != nil), ("member_min", quota.memberMin > 0),
            ("credits", quota.hasCredits),
        ]
        for (key, isSet) in settings where isSet {
            fault(at + [key], "\(what): of what is unlimited, nothing is left over or runs out")
        }
    }

    private mutating func checkPool(_ quota: QuotaDefinition, _ what: String, _ at: Path) {
        let key: PolicyFault.Step = quota.memberMin > 0 ? "member_min" : "member_max"
        if quota.scope != .organization {
            fault(at + [key], "\(what): members share an organization's quotas: scope organization")
        }
        if let most = quota.memberMax, quota.memberMin > most {
            fault(
                at + ["member_min"], "\(what): member_min is at most member_max, which is \(most)")
        }
        if !quota.isUnlimited, quota.memberMin > quota.limit {
            fault(
                at + ["member_min"], "\(what): member_min is at most the limit, which is"
                    + " \(quota.limit)")
        }
    }

    mutating func check(_ limit: ConcurrencyDefinition, _ what: String, _ at: Path) {
        checkScope(limit.scope, [.user, .organization], what, at)
        if limit.limit > ConcurrencyDefinition.limitMax {
            fault(
                at + ["limit"], "\(what): limit is at most \(ConcurrencyDefinition.limitMax)")
        }
    }

    mutating func check(_ holds: HoldTerms, _ place: String, _ at: Path) {
        let range = HoldTerms.ttlRange
        if !range.contains(holds.ttlDefaultMilliseconds)
            || !range.contains(holds.ttlMaxMilliseconds)
        {
            fault(at, "\(place): a hold lives for 100ms to 24h")
        } else if holds.ttlDefaultMilliseconds > holds.ttlMaxMilliseconds {
            fault(
                at + ["ttl_default"],
                "\(place): ttl_default is at most ttl_max, which is"
                    + " \(holds.ttlMaxMilliseconds) ms")
        }
    }

    mutating func check(
        _ prices: [String: UInt64], _ meters: [String], _ place: String, _ at: Path
    ) {
        for (meter, price) in prices.sorted(by: { $0.key < $1.key }) {
            if !meters.contains(meter) {
                fault(at + [.key(meter)], "\(place), prices: no meter \"\(meter)\"")
            }
            if price > PolicyLimits.priceMax {
                fault(
                    at + [.key(meter)],
                    "\(place), prices: a unit costs at most \(PolicyLimits.priceMax) micro-units")
            }
        }
    }

    mutating func checkMeterNames() {
        guard let position = definition.meters.firstIndex(of: PlanDefinition.costMeter) else {
            return
        }
        fault(
            ["meters", .position(position)],
            "cost is built in, and counts what prices come to: give the meter another name, or"
                + " leave it out")
    }

    mutating func checkIdempotency() {
        let terms = definition.idempotency
        if !IdempotencyTerms.lifetimeRange.contains(terms.lifetimeMilliseconds) {
            fault(["idempotency", "lifetime"], "an answer is remembered for 1s to 24h")
        }
        if !IdempotencyTerms.recordsRange.contains(terms.recordsMax) {
            let most = IdempotencyTerms.recordsRange.upperBound
            fault(["idempotency", "records_max"], "records_max is between 1 and \(most)")
        }
    }

    /// What names a plan in rows: FNV-1a.
    static func tag(_ name: String) -> UInt32 {
        var hash: UInt32 = 0x811c_9dc5
        for byte in name.utf8 { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
        return hash
    }
}
