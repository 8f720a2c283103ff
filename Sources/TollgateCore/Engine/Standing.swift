extension Evaluation {
    /// What counts against a limit now.
    struct Standing {
        /// With all numbers that hold now.
        var step: ChargeStep
        var used: UInt64
        /// Of open reservations.
        var held: UInt64
        /// What is left to other members of a pool, but for what is the caller's own anyway.
        var reserved: UInt64 = 0
        var own: UInt64 = 0
        /// What the others can count on in any period.
        var guaranteed: UInt64 = 0
        /// Of credits: what burnt in the period, and with it what is left of them. `step` has both.
        var burnt: UInt64 = 0
        var credits: UInt64 = 0

        /// What is left is beyond this.
        @inline(__always)
        var occupied: UInt64 { used.addingClamped(held) }

        /// Whether so many units more go.
        @inline(__always)
        func admits(_ wanted: UInt64) -> Bool {
            let (sum, overflow) = occupied.addingReportingOverflow(wanted)
            guard !overflow, sum <= step.ceiling else { return false }
            return reserved == 0 || wanted <= own || reserved <= step.ceiling &- sum
        }

        /// What the caller has left after `wanted` units more.
        @inline(__always)
        func left(after wanted: UInt64) -> UInt64 {
            let taken = occupied.addingClamped(wanted)
            let left = step.limit > taken ? step.limit &- taken : 0
            if reserved == 0 { return left }
            return max(
                min(left, own &- min(own, wanted)), left &- min(left, reserved))
        }

        var remaining: UInt64 {
            step.limit == QuotaDefinition.unlimited ? step.limit : left(after: 0)
        }
    }
}

extension Evaluation {
    /// Milliseconds that the window or the period lasts.
    mutating func lengthMilliseconds(_ step: ChargeStep, _ policy: PolicyImage) -> UInt64 {
        guard step.isQuota else {
            return policy.limits[Int(step.limitIndex)].windowMilliseconds
        }
        let interval = intervals[Int(step.form)]
        let (seconds, overflow) = interval.end.subtractingReportingOverflow(interval.start)
        guard !overflow, seconds >= 0, seconds < Int64.max / 1_000 else { return .max }
        return UInt64(seconds) * 1_000
    }
}

extension ChargeStep {
    /// More units, as from the period before.
    mutating func raise(_ units: UInt64) {
        guard units > 0, limit != QuotaDefinition.unlimited else { return }
        limit = limit.addingClamped(units)
        ceiling = ceiling.addingClamped(units)
        inverseLimit = PolicyCompiler.inverse(limit)
    }

    /// The opposite of `raise`.
    mutating func lower(_ units: UInt64) {
        limit &-= min(units, limit)
        if ceiling != .max { ceiling &-= min(units, ceiling) }
    }
}

extension UInt64 {
    func addingClamped(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
