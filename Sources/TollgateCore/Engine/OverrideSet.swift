/// The limits of a principal's plan that have other numbers for it, by index into
/// `PolicyImage.limits`: at most as many as a plan has limits.
struct OverrideSet {
    private(set) var count = 0
    private var limits = InlineArray<48, UInt16>(repeating: 0)
    private var units = InlineArray<48, UInt64>(repeating: 0)

    /// The first number for a limit holds. Beyond 48 nothing is added: no plan has more limits.
    mutating func add(_ limit: UInt16, _ number: UInt64) {
        guard find(limit) == nil, count < PolicyLimits.limitsPerPlanMax else { return }
        limits[count] = limit
        units[count] = number
        count += 1
    }

    func find(_ limit: UInt16) -> UInt64? {
        for index in 0..<count where limits[index] == limit { return units[index] }
        return nil
    }

    /// The step with the number that holds.
    func applied(to step: ChargeStep) -> ChargeStep {
        guard let number = find(step.limitIndex) else { return step }
        var changed = step
        changed.limit = number
        // As much overage as the policy has; of an unlimited quota there was none.
        if step.limit == QuotaDefinition.unlimited || step.ceiling == step.limit {
            changed.ceiling = number
        } else if step.ceiling != .max {
            changed.ceiling = number.addingClamped(step.ceiling &- step.limit)
        }
        changed.inverseLimit = PolicyCompiler.inverse(number)
        return changed
    }
}

extension PolicyImage {
    /// Adds what an organization's or a user's overrides say of the plan's limits, at `now`;
    /// `until` becomes the first instant at which one of them ends. A user's are added first, and
    /// speak of limits that count by user alone.
    func add(
        _ list: OverrideList, ofUser isOfUser: Bool, plan: Int, at now: WallTime,
        to set: inout OverrideSet, until: inout Int64
    ) {
        let all = compiledPlans[plan].all
        for entry in list.entries where entry.expires > now.milliseconds {
            until = min(until, entry.expires)
            for index in Int(all.start)..<Int(all.end) {
                let step = steps[index]
                // A pool's number is the organization's, and a user's that of their share.
                guard isOfUser ? step.scope == .user : !step.flags.contains(.member),
                    limits[Int(step.limitIndex)].name == entry.limit
                else { continue }
                set.add(step.limitIndex, min(entry.units, unitsMax(step)))
            }
        }
    }

    /// The largest number that an override may give a step: what the policy says, and what its
    /// counter holds.
    func unitsMax(_ step: ChargeStep) -> UInt64 {
        min(cellsMax(step), limits[Int(step.limitIndex)].overrideMax ?? .max)
    }

    private func cellsMax(_ step: ChargeStep) -> UInt64 {
        if step.isQuota { return .max }
        return switch shapes[Int(step.form)].cellBytes {
        case 2: 32_767
        case 4: 0x7fff_ffff
        default: .max
        }
    }
}
