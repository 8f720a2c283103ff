import Synchronization
import TollgateWire

/// The tenant stage of an API key with a limit of its own: one window more, in the same shard and
/// under the same lock, so that all admit or nothing is charged.
extension DecisionWorker {
    func tenantStageOfKey(
        _ principal: UnsafePointer<Principal>, _ program: StepRange, dryRun: Bool, explain: Bool,
        _ binding: PolicyBinding, _ decision: inout Decision
    ) {
        let shard = engine.tenantShard(principal.pointee.organizationHash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        endDue(in: shard, binding)
        let near = cache.near
        guard
            let (user, shared) = tenantRows(
                principal, near, in: &shard.table.pointee, create: !dryRun, binding),
            var own = keyLook(principal, near, in: &shard.table.pointee, create: !dryRun)
        else { return refuseForRoom(&decision) }
        own.isShadow = binding.policy.isShadow
        if let near {
            if let row = user.row { near.pointee.user = RowHint(row) }
            if let row = shared.row { near.pointee.organization = RowHint(row) }
            if let row = own.row { near.pointee.credential = RowHint(row) }
        }
        let pool = poolContext(principal.pointee, shard, binding)
        var evaluation = Evaluation(
            binding, units: units, now: now, turn: turn, period: clock.period, user: user,
            shared: shared, overrides: principal.pointee.overrides,
            calendar: principal.pointee.calendar, pool: pool, ledger: shard.ledger,
            ledgerState: engine.state)
        evaluation.look(program)
        noteStandings(program, &evaluation)
        noteStanding(own, binding.policy)
        noteShadow(program, of: own, evaluation, &decision)
        let ownRetry = own.isRefused ? own.retryMilliseconds : 0
        if evaluation.isRefused || own.isRefused {
            if decision.reason == .none {
                let isRate = evaluation.rateRefused || own.isRefused
                decision.reason = isRate ? .rateLimited : .quotaExhausted
            }
            decision.retryMilliseconds = max(
                decision.retryMilliseconds, max(evaluation.retryMilliseconds, ownRetry))
        } else if !dryRun {
            if evaluation.prepare(program) {
                evaluation.charge(program)
                own.charge()
                hasJournaled = hasJournaled || evaluation.isJournaled
            } else {
                decision.reason = .ledgerUnavailable
            }
        }
        let state = evaluation.state(evaluation.rateStep, isRefused: evaluation.rateRefused)
        let ownState = own.state(binding.policy.credentialLimit)
        // Of two that refuse, the one with the longer wait.
        let isOwnFirst = own.isRefused && ownRetry >= evaluation.rateRetry
        decision.rate.merge(isOwnFirst ? ownState : state)
        decision.rate.merge(isOwnFirst ? state : ownState)
        showQuota(program, &evaluation, &decision)
        if explain {
            add(program, &evaluation)
            add(own, windowMilliseconds: engine.keyWindows.milliseconds(
                Int(principal.pointee.keyWindow)), binding.policy)
        }
    }

    /// The key's row and what it counts; `nil` at the ceiling. Without `create` nothing is made.
    func keyLook(
        _ principal: UnsafePointer<Principal>, _ near: UnsafeMutablePointer<PrincipalCache.Near>?,
        in table: inout RowTable, create: Bool
    ) -> KeyLook? {
        let window = Int(principal.pointee.keyWindow)
        let key = principal.pointee.credentialKey
        let limit = principal.pointee.keyUnits
        let layout = engine.keyWindows.layout(window)
        let shape = engine.keyWindows.shape(window)
        if let row = near?.pointee.credential.row(key), row.layout == layout.number {
            return KeyLook(row, shape, limit: limit, now: now.boot)
        }
        var handle = table.find(key)
        if handle != .none, table.row(handle).layout != layout.number {
            // The key's limit was edited.
            let old = engine.layouts.layout(table.row(handle).layout)
            guard let held = old.slots[0].shape else { return nil }
            if !create {
                let isSame = held.windowMilliseconds == shape.windowMilliseconds
                return KeyLook(isSame ? table.row(handle) : nil, held, limit: limit, now: now.boot)
            }
            handle = table.replaceLayout(
                handle, layout: layout.number, layoutBytes: layout.bytes
            ) { from, to in
                let ring = MemoryLayout<WindowHead>.stride
                Window.migrate(
                    from.head(0), from.counters + ring, held, to: to.head(0), to.counters + ring,
                    shape, now: now.boot)
            }
            guard handle != .none else { return nil }
        }
        if handle == .none, create {
            guard engine.reserve(engine.credentials, max: engine.configuration.usersMax) else {
                return nil
            }
            handle = table.insert(
                key, layout: layout.number, layoutBytes: layout.bytes,
                ownerName: principal.pointee.organization)
            if handle == .none {
                engine.credentials.wrappingSubtract(1, ordering: .relaxed)
                return nil
            }
        }
        return KeyLook(
            handle == .none ? nil : table.row(handle), shape, limit: limit, now: now.boot)
    }

    /// The entry of an explanation for a key's own limit.
    func add(_ own: KeyLook, windowMilliseconds: UInt64, _ policy: PolicyImage) {
        let info = policy.limits[policy.credentialLimit]
        let bytes = BodyBytes.limitEntry + info.name.count + info.meter.count
        guard explanationBytes + bytes <= explanation.count - 1_024 else { return }
        let at = explanationBytes
        explanation[at] = LimitKind.rateLimit.rawValue
        explanation[at + 1] = LimitScope.credential.rawValue
        explanation[at + 2] =
            (own.isFull ? LimitEntryFlags.refused : 0)
            | (own.isShadow ? LimitEntryFlags.shadow : 0)
        write(
            info, at: at, used: own.used, limit: own.limit,
            remaining: own.limit - min(own.limit, own.used), reset: own.resetMilliseconds,
            length: windowMilliseconds)
    }
}
