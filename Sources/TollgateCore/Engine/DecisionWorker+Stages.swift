import Synchronization
import TollgateWire

extension DecisionWorker {
    /// Looks at, and charges, the limits of an address. What it refuses it does not count.
    func addressStage(
        _ address: AddressKey, _ program: StepRange, dryRun: Bool, explain: Bool,
        _ binding: PolicyBinding, _ decision: inout Decision
    ) {
        let shard = engine.addressShard(address.key.hash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let near = cache.near
        var hint = RowHint.none
        // Of another address the hint may lie in another shard, whose lock is not held.
        if let near, near.pointee.addressHash == address.key.hash { hint = near.pointee.address }
        let view = addressRow(
            address, hint, in: &shard.table.pointee, create: !dryRun, binding)
        if let near, let row = view.row {
            near.pointee.address = RowHint(row)
            near.pointee.addressHash = address.key.hash
        }
        var evaluation = Evaluation(
            binding, units: units, now: now, turn: turn, period: clock.period, user: .none,
            shared: view)
        evaluation.look(program)
        noteStandings(program, &evaluation)
        noteShadow(program, evaluation, &decision)
        if evaluation.isRefused {
            decision.reason = .rateLimited
            decision.retryMilliseconds = evaluation.retryMilliseconds
        } else if !dryRun {
            evaluation.charge(program)
        }
        decision.rate = evaluation.state(evaluation.rateStep, isRefused: evaluation.rateRefused)
        if explain { add(program, &evaluation) }
    }

    /// Looks at every limit of the organization and the user, then charges all of them or none.
    @inline(__always)
    func tenantStage(
        _ principal: UnsafePointer<Principal>, _ program: StepRange, dryRun: Bool, explain: Bool,
        _ binding: PolicyBinding, _ decision: inout Decision
    ) {
        if keep.isActive {
            return keptStage(
                principal, program, dryRun: dryRun, explain: explain, binding, &decision)
        }
        if principal.pointee.keyWindow >= 0 {
            return tenantStageOfKey(
                principal, program, dryRun: dryRun, explain: explain, binding, &decision)
        }
        guard !program.isEmpty else { return }
        let shard = engine.tenantShard(principal.pointee.organizationHash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        endDue(in: shard, binding)
        guard
            let (user, shared) = nearRows(
                principal, in: &shard.table.pointee, create: !dryRun, binding)
        else { return refuseForRoom(&decision) }
        var evaluation = Evaluation(
            binding, units: units, now: now, turn: turn, period: clock.period, user: user,
            shared: shared, overrides: principal.pointee.overrides,
            calendar: principal.pointee.calendar,
            pool: poolContext(principal.pointee, shard, binding), ledger: shard.ledger,
            ledgerState: engine.state)
        evaluation.look(program)
        noteStandings(program, &evaluation)
        noteShadow(program, evaluation, &decision)
        if evaluation.isRefused {
            if decision.reason == .none {
                decision.reason = evaluation.rateRefused ? .rateLimited : .quotaExhausted
            }
            decision.retryMilliseconds = max(
                decision.retryMilliseconds, evaluation.retryMilliseconds)
        } else if !dryRun {
            if evaluation.prepare(program) {
                evaluation.charge(program)
                hasJournaled = hasJournaled || evaluation.isJournaled
            } else {
                decision.reason = .ledgerUnavailable
            }
        }
        decision.rate.merge(
            evaluation.state(evaluation.rateStep, isRefused: evaluation.rateRefused))
        showQuota(program, &evaluation, &decision)
        if explain { add(program, &evaluation) }
    }

    /// Says where the tightest quota stands, and that soft ones admitted what is beyond them.
    @inline(__always)
    func showQuota(
        _ program: StepRange, _ evaluation: inout Evaluation, _ decision: inout Decision
    ) {
        noteShadowQuotas(program, &evaluation)
        decision.quota = evaluation.state(
            evaluation.quotaStep, isRefused: evaluation.quotaRefused)
        note(&decision, evaluation)
    }

    @inline(__always)
    func note(_ decision: inout Decision, _ evaluation: borrowing Evaluation) {
        if evaluation.isOverage, decision.reason == .none {
            decision.flags |= DecisionFlags.overage
        }
    }

    /// What members' shares and credits are counted by, where the principal's plan has them.
    @inline(__always)
    func poolContext(
        _ principal: borrowing Principal, _ shard: Shard, _ binding: PolicyBinding
    ) -> PoolContext? {
        let plan = binding.policy.compiledPlans[principal.plan]
        guard plan.hasPools || plan.hasCredits else { return nil }
        return PoolContext(
            table: shard.table, binding: Unmanaged.passUnretained(binding), hash: engine.hash,
            tenant: principal.tenant, plan: principal.plan, members: principal.members)
    }

    // MARK: invalid credentials

    /// Whether the address has sent so many invalid credentials that this one is not looked at.
    func isInvalidCredentialLimited(
        _ address: AddressKey, _ binding: PolicyBinding, _ decision: inout Decision
    ) -> Bool {
        guard let step = binding.policy.invalidCredentialStep else { return false }
        let shape = binding.turnShapes[Int(step.form)].shape
        let last = engine.lastInvalidCredential.load(ordering: .relaxed)
        // Nobody sent any within the window: no row needs to be looked at.
        let length = shape.bucketNanoseconds &* (UInt64(shape.buckets) &+ 1)
        if last == 0 || now.boot.nanoseconds > last &+ length { return false }
        let shard = engine.addressShard(address.key.hash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let view = addressRow(address, .none, in: &shard.table.pointee, create: false, binding)
        guard let row = view.row, let offsets = view.offsets else { return false }
        let place = offsets[Int(step.slot)]
        let head = row.head(Int(place.head))
        let ring = row.counters + Int(place.ring)
        Window.advance(head, ring, shape, now: now.boot)
        let used = Window.used(head, ring, shape, now: now.boot)
        guard used >= step.limit else { return false }
        decision.reason = .invalidCredentialLimited
        decision.retryMilliseconds = Window.retryMilliseconds(
            head, ring, shape, now: now.boot, units: 1, limit: step.limit)
        decision.rate = LimitState(
            index: Int(step.limitIndex), limit: step.limit, remaining: 0,
            resetMilliseconds: Window.resetMilliseconds(head, ring, shape, now: now.boot),
            fraction: 0, isRefused: true, used: used)
        return true
    }

    /// Counts an invalid credential against its address.
    func recordInvalidCredential(_ address: AddressKey?, _ binding: PolicyBinding) {
        guard let step = binding.policy.invalidCredentialStep, let address else { return }
        engine.lastInvalidCredential.store(now.boot.nanoseconds, ordering: .relaxed)
        let shape = binding.turnShapes[Int(step.form)].shape
        let shard = engine.addressShard(address.key.hash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let view = addressRow(address, .none, in: &shard.table.pointee, create: true, binding)
        guard let row = view.row, let offsets = view.offsets else { return }
        let place = offsets[Int(step.slot)]
        let head = row.head(Int(place.head))
        let ring = row.counters + Int(place.ring)
        Window.advance(head, ring, shape, now: now.boot)
        Window.charge(head, ring, shape, units: 1)
    }

    /// Looks at a slice of one shard after the other and forgets rows with nothing in them.
    /// Allocates nothing per request; call it on idle turns and at least every 100 ms.
    package func sweep() {
        guard let binding else { return }
        sweepShard = (sweepShard &+ 1) % (2 * Engine.shardCount)
        let shard = engine.shard(sweepShard)
        guard shard.lock.pointee.tryLock() else { return }
        defer { shard.lock.pointee.unlock() }
        let state = engine.state
        let period = Moment(boot: now.boot, wall: clock.period)
        _ = shard.table.pointee.sweep(slotsMax: 256) { row in
            binding.isIdle(row, boot: now.boot, wall: clock.period)
                && engine.close(row, in: shard, state, period)
        } willRemove: { row in
            switch RowKind(rawValue: row.kind) {
            case .credential: engine.credentials.wrappingSubtract(1, ordering: .relaxed)
            case .user: engine.users.wrappingSubtract(1, ordering: .relaxed)
            case .organization, .personalOrganization:
                engine.organizations.wrappingSubtract(1, ordering: .relaxed)
            // Never idle: `forgetKept` and `keepResets` have them.
            case .reservation, .idempotency, .reset: break
            case .credits: engine.creditAccounts.wrappingSubtract(1, ordering: .relaxed)
            default: engine.addresses.wrappingSubtract(1, ordering: .relaxed)
            }
        }
    }
}
