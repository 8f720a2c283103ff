import TollgateWire

/// A row as one request sees it: where it is, and where its counters stand. `base` is `nil` for a
/// subject of whom nothing is known: all its counters are zero.
struct RowView: BitwiseCopyable {
    var row: Row?
    var offsets: UnsafeMutablePointer<SlotOffsets>?

    static var none: RowView { RowView(row: nil, offsets: nil) }
}

/// Evaluates the steps of one stage under its shard's lock: looks at every limit, and then, when
/// all admit, charges every limit. Made per request on the stack. All its functions are mutating,
/// also those that change nothing of it: the compiler copies the whole before a call of another.
struct Evaluation {
    // Of the worker's binding and its policy, which outlive any evaluation; no reference is
    // counted.
    let steps: UnsafeMutableBufferPointer<ChargeStep>
    let turnShapes: UnsafeMutablePointer<PolicyBinding.TurnShape>
    let terms: UnsafeMutableBufferPointer<QuotaTerms>
    /// By calendar of the policy: those of whom the quotas count for.
    let intervals: UnsafeMutablePointer<PeriodInterval>
    let units: UnsafeMutablePointer<UInt64>
    let now: Moment
    let turn: UInt64
    let period: WallTime
    /// Other numbers for some limits; `nil`: none.
    private let overrides: UnsafePointer<OverrideSet>?
    /// Of a plan whose organizations share quotas among members; else `nil`.
    let pool: PoolContext?
    /// Rows by scope: users' limits count in `user`, all others in `shared`.
    var user: RowView
    var shared: RowView
    /// Steps whose limit the reply may show; -1 is none.
    private(set) var rateStep = -1
    private(set) var quotaStep = -1
    private var rateFraction = Double.infinity
    private var quotaFraction = Double.infinity
    private(set) var rateRefused = false
    private(set) var quotaRefused = false
    /// Steps in shadow that would have refused, by the lowest six bits of their index (a stage has
    /// at most 64), and the same of limits of open reservations.
    var (shadowed, shadowedBusy): (UInt64, UInt64) = (0, 0)
    /// A soft quota admits what is beyond its limit.
    private(set) var isOverage = false
    /// The shard's ledger; `nil` for addresses, whose windows alone are never journaled.
    let ledger: UnsafeMutablePointer<ShardLedger>?
    let ledgerState: LedgerState
    /// `prepare` has made room: `charge` appends to the journal.
    private(set) var isJournaled = false
    /// A period that is over could not be closed: what its cell counts is not the present one's,
    /// and nothing may be charged to it.
    private var lacksRoom = false
    /// The longest wait of any limit that refuses.
    private(set) var retryMilliseconds: UInt32 = 0
    private(set) var rateRetry: UInt32 = 0
    private var quotaRetry: UInt32 = 0
    /// By index into the policy's limits, whose credits were looked for last; -1: none.
    var creditLimit: Int32 = -1
    var creditRow: Row?

    init(
        _ binding: PolicyBinding, units: UnsafeMutablePointer<UInt64>, now: Moment, turn: UInt64,
        period: WallTime, user: RowView, shared: RowView,
        overrides: UnsafePointer<OverrideSet>? = nil, calendar: UInt16 = 0,
        pool: PoolContext? = nil,
        ledger: UnsafeMutablePointer<ShardLedger>? = nil, ledgerState: LedgerState = .off
    ) {
        self.pool = pool
        self.ledger = ledger
        self.ledgerState = ledgerState
        steps = binding.policy.steps
        turnShapes = binding.turnShapes
        terms = binding.policy.quotaTerms
        intervals = binding.periods.pointee.intervals(of: Int(calendar), at: period)
        self.units = units
        self.now = now
        self.turn = turn
        self.period = period
        self.user = user
        self.shared = shared
        self.overrides = overrides
    }

    /// A step with the number that holds for this principal, but for what was carried over.
    @inline(__always)
    mutating func step(_ index: Int) -> ChargeStep {
        guard let overrides else { return steps[index] }
        return overrides.pointee.applied(to: steps[index])
    }

    /// A limit as it stands, the window advanced or the period rolled.
    @inline(__always)
    mutating func standing(_ index: Int) -> Standing {
        var standing = Standing(step: step(index), used: 0, held: 0)
        standing.used = used(standing.step)
        if standing.step.isQuota, let cell = cell(standing.step) {
            if !lacksRoom || !cell.pointee.isOver(period) { standing.held = cell.pointee.held }
            if !standing.step.flags.isEmpty {
                if standing.step.flags.contains(.rollover) {
                    standing.step.raise(cell.pointee.carried)
                }
                if standing.step.flags.contains(.credits) {
                    addCredits(to: &standing, cell.pointee)
                }
                if standing.step.flags.contains(.pool) { share(of: &standing) }
            }
        } else if standing.step.flags.contains(.credits) {
            addCredits(to: &standing, nil)
        }
        return standing
    }

    /// Where a quota counts.
    @inline(__always)
    private func cell(_ step: ChargeStep) -> UnsafeMutablePointer<QuotaCell>? {
        let view = view(step)
        guard let row = view.row, let offsets = view.offsets else { return nil }
        return row.quota(Int(offsets[Int(step.slot)].head))
    }

    /// Now, as the journal has it.
    private var billing: Moment { Moment(boot: now.boot, wall: period) }

    var isRefused: Bool { rateRefused || quotaRefused }

    @inline(__always)
    func view(_ step: ChargeStep) -> RowView { step.scope == .user ? user : shared }

    /// Units used now, the window advanced or the period rolled.
    @inline(__always)
    mutating func used(_ step: ChargeStep) -> UInt64 {
        let view = view(step)
        guard let row = view.row, let offsets = view.offsets else { return 0 }
        let place = offsets[Int(step.slot)]
        if step.isQuota {
            let cell = row.quota(Int(place.head))
            if cell.pointee.isOver(period) { return open(step, row, cell, place.counter) }
            return cell.pointee.used
        }
        let shape = PolicyBinding.at(
            turn, now.boot, turnShapes + Int(step.form))
        let head = row.head(Int(place.head))
        let ring = row.counters + Int(place.ring)
        Window.advance(head, ring, shape.shape, index: shape.index)
        return Window.used(head, ring, shape.shape, now: now.boot)
    }

    /// Begins the present period, and puts the one that is over among the closed ones; what is used
    /// of the present one, 0. While there is no room for that in the journal nothing changes, and
    /// `prepare` refuses to charge.
    @inline(never)
    private mutating func open(
        _ step: ChargeStep, _ row: Row, _ cell: UnsafeMutablePointer<QuotaCell>, _ counter: UInt16
    ) -> UInt64 {
        // A copy, which has no number, is only looked at.
        if row.number != 0, cell.pointee.used > 0, !cell.pointee.isClosed, let ledger {
            let credits = step.flags.contains(.credits) ? account(of: step) : nil
            guard
                ledger.pointee.close(
                    row, counter, cell, isReset: false, ledgerState, now: billing,
                    credits.map { ($0, terms[Int(step.limitIndex)].creditTag) })
            else {
                lacksRoom = true
                return 0
            }
        }
        let interval = interval(of: step)
        let carried = step.flags.contains(.rollover) ? carried(step, cell.pointee, interval) : 0
        cell.pointee.open(interval)
        cell.pointee.carried = carried
        if step.flags.contains(.pool) { openShares(step, row, cell.pointee) }
        return 0
    }

    /// What the period before `interval` leaves to it: units of its own that were not used, those
    /// carried into it having been used first, and credits last. Of a period in which nothing was
    /// used at all, every one. Whoever was not counted before has nothing.
    private mutating func carried(
        _ step: ChargeStep, _ cell: QuotaCell, _ interval: PeriodInterval
    ) -> UInt64 {
        guard cell.endSeconds > 0 else { return 0 }
        var unused = step.limit
        if cell.endSeconds > interval.start &- Self.zoneStepSeconds {
            let (occupied, overflow) = cell.used.addingReportingOverflow(cell.held)
            let others = cell.carried.addingClamped(burnt(step, cell))
            let own = (overflow ? .max : occupied) &- min(occupied, others)
            unused = step.limit &- min(step.limit, own)
        }
        return min(unused, terms[Int(step.limitIndex)].rolloverMax)
    }

    /// A period may begin so long after the one before ended, where the time zone is another now.
    /// Shorter than any period.
    private static let zoneStepSeconds: Int64 = 20 * 3_600

    /// Makes room in the journal for what `charge` will change, and says there whose the rows are;
    /// false, and nothing may be charged, when it cannot be written.
    @inline(__always)
    mutating func prepare(_ range: StepRange) -> Bool {
        guard ledgerState != .off, let ledger else { return true }
        var slots = 0
        var index = Int(range.start)
        while index < Int(range.end) {
            let step = steps[index]
            if step.isQuota, units[Int(step.charge)] > 0, view(step).row != nil {
                slots &+= step.flags.isEmpty ? 1 : 2
                if step.flags.contains(.credits) {
                    slots &+= creditSlots(self.step(index), adding: units[Int(step.charge)])
                }
            }
            index &+= 1
        }
        guard slots > 0, ledgerState != .unjournaled else { return true }
        return prepare(slots: slots, ledger)
    }

    @inline(__always)
    mutating func prepare(
        slots quotas: Int, _ ledger: UnsafeMutablePointer<ShardLedger>
    ) -> Bool {
        guard ledgerState == .serving else { return false }
        if lacksRoom { return false }
        var slots = quotas
        if let row = user.row, !row.isDefined { slots &+= ShardLedger.rowSlotsMax }
        if let row = shared.row, !row.isDefined { slots &+= ShardLedger.rowSlotsMax }
        guard ledger.pointee.makeRoom(slots, now: billing) else { return false }
        if let row = user.row { ledger.pointee.define(row) }
        if let row = shared.row { ledger.pointee.define(row) }
        isJournaled = true
        return true
    }

    /// Looks at every step. Charges nothing.
    @inline(__always)
    mutating func look(_ range: StepRange) {
        var index = Int(range.start)
        while index < Int(range.end) {
            let standing = standing(index)
            let step = standing.step
            let wanted = units[Int(step.charge)]
            if !standing.admits(wanted) {
                refuse(index, standing, wanted)
            } else {
                if standing.occupied &+ wanted > step.limit { isOverage = true }
                let fraction = Double(standing.left(after: wanted)) * step.inverseLimit
                if step.isQuota {
                    if fraction < quotaFraction, !quotaRefused, !step.flags.contains(.shadow) {
                        (quotaStep, quotaFraction) = (index, fraction)
                    }
                } else if fraction < rateFraction, !rateRefused, !step.flags.contains(.shadow) {
                    (rateStep, rateFraction) = (index, fraction)
                }
            }
            index &+= 1
        }
    }

    @inline(never)
    private mutating func refuse(_ index: Int, _ standing: Standing, _ wanted: UInt64) {
        let step = standing.step
        if step.flags.contains(.shadow) { return shadowed |= Self.bit(index) }
        let retry = retryMilliseconds(standing, wanted)
        retryMilliseconds = max(retryMilliseconds, retry)
        if step.isQuota {
            if !quotaRefused || retry > quotaRetry { (quotaStep, quotaRetry) = (index, retry) }
            quotaRefused = true
        } else {
            if !rateRefused || retry > rateRetry { (rateStep, rateRetry) = (index, retry) }
            rateRefused = true
        }
    }

    private mutating func retryMilliseconds(_ standing: Standing, _ wanted: UInt64) -> UInt32 {
        let step = standing.step
        if step.isQuota {
            let left = periodLeft(step).milliseconds
            if let wait = creditWait(standing, wanted, before: left) {
                return UInt32(clamping: min(wait, UInt64(WireLimits.retryNever - 1)))
            }
            guard wanted <= mostEver(standing, in: left) else { return WireLimits.retryNever }
            guard left != WireLimits.resetNever else { return WireLimits.retryNever }
            return UInt32(clamping: min(left, UInt64(WireLimits.retryNever - 1)))
        }
        guard wanted <= step.limit else { return WireLimits.retryNever }
        let view = view(step)
        guard let row = view.row, let offsets = view.offsets else { return 0 }
        let place = offsets[Int(step.slot)]
        return Window.retryMilliseconds(
            row.head(Int(place.head)), row.counters + Int(place.ring),
            turnShapes[Int(step.form)].shape, now: now.boot, units: wanted,
            limit: step.limit)
    }

    /// The most that a quota admits of one request in any period; the next begins in `left`
    /// milliseconds.
    private mutating func mostEver(_ standing: Standing, in left: UInt64) -> UInt64 {
        let step = stepOfNextPeriod(standing, in: left)
        var most = step.ceiling
        if step.flags.contains(.rollover), let cell = cell(step) {
            var other = step
            other.lower(cell.pointee.carried)
            other.raise(terms[Int(step.limitIndex)].rolloverMax)
            most = max(most, other.ceiling)
        }
        guard standing.guaranteed > 0 else { return most }
        return max(
            min(terms[Int(step.limitIndex)].memberMin, most),
            most &- min(most, standing.guaranteed))
    }

    /// Charges every step, after `look` found that all admit (or, for CONSUME, whatever it
    /// found) and `prepare` that the journal has room. Nothing wraps: windows and quotas saturate.
    @inline(__always)
    mutating func charge(_ range: StepRange) {
        chargeWithoutCommit(range)
        if isJournaled, let ledger { ledger.pointee.journal.commit() }
    }

    /// The same, and something else is to stand in the transaction.
    @inline(__always)
    mutating func chargeWithoutCommit(_ range: StepRange) {
        var index = Int(range.start)
        while index < Int(range.end) {
            let step = steps[index]
            index &+= 1
            let wanted = units[Int(step.charge)]
            let view = view(step)
            guard wanted > 0, let row = view.row, let offsets = view.offsets else { continue }
            let place = offsets[Int(step.slot)]
            if step.isQuota {
                let cell = row.quota(Int(place.head))
                let before = cell.pointee.occupied
                cell.pointee.used = cell.pointee.used.addingClamped(wanted)
                noteShare(step, cell, before: before)
                if isJournaled, let ledger {
                    ledger.pointee.quota(row, place.counter, cell)
                }
                if step.flags.contains(.credits) { burn(self.step(index &- 1), cell) }
                continue
            }
            // A window in shadow counts as one that is enforced: not what it does not admit.
            if shadowed != 0, isShadowed(index &- 1) { continue }
            charge(
                wanted, row.head(Int(place.head)), row.counters + Int(place.ring),
                turnShapes + Int(step.form))
        }
    }

    /// Charges a window that was looked at.
    @inline(__always)
    mutating func charge(
        _ wanted: UInt64, _ head: Window.Head, _ ring: Window.Ring,
        _ shape: UnsafeMutablePointer<PolicyBinding.TurnShape>
    ) {
        if head.pointee.newest == shape.pointee.index {
            Window.charge(
                head, ring, shape.pointee.shape, cell: shape.pointee.cell, units: wanted)
        } else {
            // Another worker's turn began later and has moved the window on.
            Window.charge(head, ring, shape.pointee.shape, units: wanted)
        }
    }

    /// What a reply says of a step's limit, after the charge if there was one.
    @inline(__always)
    mutating func state(_ index: Int, isRefused: Bool) -> LimitState {
        guard index >= 0 else { return LimitState() }
        let standing = standing(index)
        let step = standing.step
        let remaining = standing.remaining
        let left: (milliseconds: UInt64, days: UInt8) =
            step.isQuota ? periodLeft(step) : (reset(step), 0)
        return LimitState(
            index: Int(step.limitIndex), limit: step.limit, remaining: remaining,
            resetMilliseconds: left.milliseconds, fraction: Double(remaining) * step.inverseLimit,
            isRefused: isRefused, periodDays: left.days, used: standing.occupied)
    }

    mutating func reset(_ step: ChargeStep) -> UInt64 {
        if step.isQuota { return periodLeft(step).milliseconds }
        let view = view(step)
        guard let row = view.row, let offsets = view.offsets else { return 0 }
        let place = offsets[Int(step.slot)]
        return Window.resetMilliseconds(
            row.head(Int(place.head)), row.counters + Int(place.ring),
            turnShapes[Int(step.form)].shape, now: now.boot)
    }
}
