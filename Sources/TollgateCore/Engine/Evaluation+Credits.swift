/// What is granted beyond an organization's quota. While the quota's own allowance lasts nothing of
/// it burns; then each unit used burns one, in the grants' order, and only what is beyond all of
/// them is overage.
///
/// With `own` the allowance and what was carried into the period, `burnt` what burnt in it and
/// `left` what is left of the grants that can be used now: the quota admits what `own + burnt +
/// left` holds, and after every charge `used ≤ own + burnt`, or nothing is left.
extension Evaluation {
    /// The account of a step's quota, if anything was ever granted.
    @inline(never)
    mutating func account(of step: ChargeStep) -> CreditAccount? {
        if creditLimit == Int32(step.limitIndex) { return creditRow.map { CreditAccount($0) } }
        guard let context = pool else { return nil }
        creditLimit = Int32(step.limitIndex)
        creditRow = context.binding._withUnsafeGuaranteedRef { binding in
            binding.policy.limits[Int(step.limitIndex)].name.withUnsafeBytes { name in
                let key = context.tenant.creditsKey(name, context.hash)
                let handle = context.table.pointee.find(key)
                return handle == .none ? nil : context.table.pointee.row(handle)
            }
        }
        return creditRow.map { CreditAccount($0) }
    }

    /// What burnt of a step's quota in the period that `cell` counts.
    mutating func burnt(_ step: ChargeStep, _ cell: QuotaCell) -> UInt64 {
        guard step.flags.contains(.credits), let account = account(of: step) else { return 0 }
        return account.burnt(terms[Int(step.limitIndex)].creditTag, end: cell.endSeconds)
    }

    /// Adds what credits add to a quota. `cell`: where it counts; `nil`, of whom nothing is known.
    @inline(never)
    mutating func addCredits(to standing: inout Standing, _ cell: QuotaCell?) {
        guard let account = account(of: standing.step) else { return }
        let terms = terms[Int(standing.step.limitIndex)]
        if let cell {
            standing.burnt = account.burnt(terms.creditTag, end: cell.endSeconds)
        }
        let left = account.left(terms.creditMeter, at: period.milliseconds)
        standing.credits = standing.burnt.addingClamped(left)
        standing.step.raise(standing.credits)
    }

    /// What a step's limit is at a later instant of the same period, or at the beginning of the
    /// next, when nothing burns meanwhile.
    private mutating func step(
        of standing: Standing, at instant: Int64, isNext: Bool
    ) -> ChargeStep {
        var step = standing.step
        step.lower(standing.credits)
        guard let account = account(of: step) else { return step }
        let left = account.left(terms[Int(step.limitIndex)].creditMeter, at: instant)
        step.raise(isNext ? left : standing.burnt.addingClamped(left))
        return step
    }

    /// The step as it is when the next period begins; what a period in which nothing was used
    /// admits, but for what is carried over.
    @inline(__always)
    mutating func stepOfNextPeriod(_ standing: Standing, in left: UInt64) -> ChargeStep {
        guard standing.step.flags.contains(.credits) else { return standing.step }
        let end = period.milliseconds.addingReportingOverflow(Int64(clamping: left))
        return step(of: standing, at: end.overflow ? .max : end.partialValue, isNext: true)
    }

    /// Milliseconds until a grant begins, before `most`, with which a step admits what it refuses
    /// now; `nil`: none does.
    @inline(never)
    mutating func creditWait(
        _ standing: Standing, _ wanted: UInt64, before most: UInt64
    ) -> UInt64? {
        guard standing.step.flags.contains(.credits), let account = account(of: standing.step)
        else { return nil }
        var soonest: UInt64?
        for index in 0..<account.active {
            let start = account.grants[index].effective
            guard start > period.milliseconds else { continue }
            let wait = UInt64(start &- period.milliseconds)
            var later = standing
            later.step = step(of: standing, at: start, isNext: false)
            guard wait < min(most, soonest ?? .max), later.admits(wanted) else { continue }
            soonest = wait
        }
        return soonest
    }

    // MARK: burning

    /// Slots that burning takes when each step of a range is charged what is wanted of it.
    mutating func creditSlots(_ range: StepRange) -> Int {
        guard pool != nil else { return 0 }
        var slots = 0
        for index in Int(range.start)..<Int(range.end)
        where steps[index].flags.contains(.credits) {
            slots &+= creditSlots(step(index), adding: units[Int(steps[index].charge)])
        }
        return slots
    }

    /// Slots that `burn` takes at most, once so much more is used of a step's quota, or with
    /// `givesBack` less. `step` has the numbers that hold, but for what was carried over.
    @inline(never)
    mutating func creditSlots(
        _ step: ChargeStep, adding wanted: UInt64, givesBack: Bool = false
    ) -> Int {
        let view = view(step)
        guard let account = account(of: step), let row = view.row, let offsets = view.offsets
        else { return 0 }
        let cell = row.quota(Int(offsets[Int(step.slot)].head)).pointee
        let terms = terms[Int(step.limitIndex)]
        let own = step.limit.addingClamped(cell.carried)
        let used = cell.used.addingClamped(wanted)
        let beyond = used &- min(used, own)
        let burnt = account.burnt(terms.creditTag, end: cell.endSeconds)
        var rest = beyond &- min(beyond, burnt)
        var grants = 0
        for index in 0..<account.count where account.grants[index].meter == terms.creditMeter {
            let grant = account.grants[index]
            if givesBack, grant.burnt > 0 { grants &+= 1 }
            guard rest > 0, grant.isUsable(at: period.milliseconds) else { continue }
            rest &-= min(rest, grant.left)
            grants &+= 1
        }
        guard grants > 0 else { return 0 }
        let name = account.row.isDefined ? 0 : RowItem.slots(of: account.row)
        return name &+ grants &* ShardLedger.creditSlots
    }

    /// Makes what is burnt agree with what is used, after that changed: burns what is beyond the
    /// allowance, as far as there is something, or gives back at most `most` units of what is not
    /// beyond it any more. `step` has the numbers that hold, but for what was carried over.
    ///
    /// Within a transaction that has room for `creditSlots`, asked for what is charged here.
    @inline(never)
    mutating func burn(
        _ step: ChargeStep, _ cell: UnsafeMutablePointer<QuotaCell>, givingBack most: UInt64 = 0
    ) {
        guard let account = account(of: step) else { return }
        let terms = terms[Int(step.limitIndex)]
        let own = step.limit.addingClamped(cell.pointee.carried)
        let beyond = cell.pointee.used &- min(cell.pointee.used, own)
        let end = cell.pointee.endSeconds
        var burnt = account.burnt(terms.creditTag, end: end)
        if beyond > burnt {
            var rest = beyond &- burnt
            for index in 0..<account.active where rest > 0 {
                let grant = account.grants + index
                guard grant.pointee.meter == terms.creditMeter,
                    grant.pointee.isUsable(at: period.milliseconds)
                else { continue }
                let taken = min(rest, grant.pointee.left)
                grant.pointee.burnt &+= taken
                rest &-= taken
                burnt &+= taken
                note(account, grant, terms.creditTag, end, burnt)
            }
        } else if most > 0, beyond < burnt {
            giveBack(min(burnt &- beyond, most), account, terms, end, burnt)
        }
    }

    /// What was charged too much and burnt goes back to the grants that can be used, what burns
    /// last first; then to the others.
    private mutating func giveBack(
        _ units: UInt64, _ account: CreditAccount, _ terms: QuotaTerms, _ end: Int64,
        _ before: UInt64
    ) {
        var (rest, burnt) = (units, before)
        for isUsable in [true, false] {
            for place in 0..<account.count where rest > 0 {
                let grant = account.grants + (account.count &- 1 &- place)
                let given = min(rest, grant.pointee.burnt)
                guard given > 0, grant.pointee.meter == terms.creditMeter,
                    isUsable
                        == (grant.pointee.effective <= period.milliseconds
                            && period.milliseconds < grant.pointee.expires
                            && grant.pointee.flags & GrantCell.voided == 0)
                else { continue }
                grant.pointee.burnt &-= given
                rest &-= given
                burnt &-= given
                note(account, grant, terms.creditTag, end, burnt)
            }
        }
        account.sort(at: period.milliseconds)
    }

    private mutating func note(
        _ account: CreditAccount, _ grant: UnsafeMutablePointer<GrantCell>, _ tag: UInt64,
        _ end: Int64, _ burnt: UInt64
    ) {
        account.setBurnt(tag, end: end, burnt)
        guard isJournaled, let ledger else { return }
        ledger.pointee.define(account.row)
        ledger.pointee.credit(
            account, CreditPeriod(tag: tag, end: end, burnt: burnt), grant: grant)
    }
}
