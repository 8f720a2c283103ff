import TollgateWire

/// The opcodes that name a subject instead of proving it: CONSUME and USAGE.
extension DecisionWorker {
    /// Records what was used, whatever the limits say. `reply` has room for `replyBytesMax`.
    package func consume(
        _ body: UnsafeRawBufferPointer, into reply: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        guard let binding else { preconditionFailure("consume before beginTurn") }
        explanationBytes = 0
        guard beginAudit(.consume) else { return refuseUnaudited(reply, binding.policy) }
        keep.isActive = false
        do {
            let request = try SubjectRequest.consume(body)
            let decision = try record(request, body, binding)
            if keep.isActive {
                self.decision.pointee = decision
                return replyKept(to: reply, binding.policy)
            }
            count(decision, operation: decision.operation)
            writeAudit(decision, binding.policy)
            return Outcome(
                status: .ok,
                bytes: decision.write(
                    to: reply, binding.policy,
                    explanation: UnsafeRawBufferPointer(
                        rebasing: explanation[..<explanationBytes])))
        } catch {
            return Self.refuse(error, into: reply)
        }
    }

    private func record(
        _ request: SubjectRequest, _ body: UnsafeRawBufferPointer, _ binding: PolicyBinding
    ) throws(Refusal) -> Decision {
        let policy = binding.policy
        try readMeters(
            body, at: request.metersOffset, count: request.meterCount, policy, of: .consume)
        guard let plan = policy.plans.find(request.plan) else {
            throw Refusal(.unknownPlan, "CONSUME: the policy defines no plan of that name")
        }
        guard let operation = policy.operations.find(request.operation) else {
            throw Refusal(.unknownOperation, "CONSUME: the policy defines no such operation")
        }
        let compiled = policy.compiledOperations[operation]
        try setUnits(compiled, policy, defaults: false)
        var principal = principal(request, plan: plan)
        complete(&principal, policy, overrideScratch)
        var decision = Decision()
        decision.id = decisionID
        audit?.pointee.request.idempotency = idempotencyID
        decision.user = request.user
        decision.organization = request.organization
        decision.plan = plan
        decision.operation = operation
        if principal.isPersonal { decision.flags |= DecisionFlags.personalOrganization }
        guard !principal.isInactive else {
            // A name that was made up costs no row.
            decision.reason = .subscriptionInactive
            return decision
        }
        let dryRun = request.flags & RequestFlags.dryRun != 0
        if dryRun { decision.flags |= DecisionFlags.dryRun }
        if !idempotencyID.isNone { keepAnswer(.consume, dryRun: dryRun) }
        if keep.isActive {
            let isAnswered = withUnsafePointer(to: principal) {
                isAnsweredAlready($0, policy, operation: operation)
            }
            if isAnswered { return decision }
        }
        let explain = request.flags & RequestFlags.explain != 0
        if explain { beginExplanation() }
        try setCost(plan: plan, compiled, policy, &decision)
        recordStage(
            principal, policy.program(plan: plan, operation: operation), dryRun: dryRun,
            explain: explain, binding, &decision)
        return decision
    }

    func recordStage(
        _ principal: Principal, _ program: StepRange, dryRun: Bool, explain: Bool,
        _ binding: PolicyBinding, _ decision: inout Decision
    ) {
        guard !program.isEmpty else { return }
        let shard = engine.tenantShard(principal.organizationHash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        endDue(in: shard, binding)
        if keep.isActive, withUnsafePointer(to: principal, { answerAgain($0, in: shard) }) {
            return
        }
        guard
            let (user, shared) = withUnsafePointer(to: principal, {
                tenantRows(
                    $0, nil, in: &shard.table.pointee, create: !dryRun, binding)
            })
        else { return refuseForRoom(&decision) }
        var evaluation = Evaluation(
            binding, units: units, now: now, turn: turn, period: clock.period, user: user,
            shared: shared, overrides: principal.overrides, calendar: principal.calendar,
            pool: poolContext(principal, shard, binding), ledger: shard.ledger,
            ledgerState: engine.state)
        evaluation.look(program)
        if evaluation.isRefused || evaluation.isOverage || evaluation.shadowed != 0 {
            decision.flags |= DecisionFlags.overage
        }
        // What is recorded is refused by nothing, and counted by all.
        let shadowed = evaluation.shadowed
        evaluation.shadowed = 0
        var made: KeptRows?
        if !dryRun {
            made = withUnsafePointer(to: principal) {
                charge(program, &evaluation, $0, in: shard, binding.policy, &decision)
            }
            if made == nil { return }
        }
        decision.rate = evaluation.state(evaluation.rateStep, isRefused: false)
        decision.quota = evaluation.state(evaluation.quotaStep, isRefused: false)
        noteShadowQuotas(program, &evaluation)
        if keep.isActive, let made, let ledger = shard.ledger {
            writeKept(decision, nil, binding.policy)
            finish(made, isJournaled: evaluation.isJournaled, in: shard, ledger)
        }
        evaluation.shadowed = shadowed
        if explain { add(program, &evaluation, isRecorded: !dryRun) }
    }

    /// Records what was used, and makes the row of an answer that is kept; `nil`, with a reason,
    /// where there is no room.
    private func charge(
        _ program: StepRange, _ evaluation: inout Evaluation,
        _ principal: UnsafePointer<Principal>, in shard: Shard, _ policy: PolicyImage,
        _ decision: inout Decision
    ) -> KeptRows? {
        guard keep.isActive else {
            guard evaluation.prepare(program) else {
                decision.reason = .ledgerUnavailable
                return nil
            }
            evaluation.charge(program)
            hasJournaled = hasJournaled || evaluation.isJournaled
            return KeptRows()
        }
        return chargeAndHold(
            principal, program, StepRange(), &evaluation, in: shard, policy, &decision)
    }

    private func principal(_ request: SubjectRequest, plan: Int) -> Principal {
        Principal(
            user: request.user, organization: request.organization,
            isPersonal: request.flags & RequestFlags.personalOrganization != 0, plan: plan,
            permissions: PermissionSet(), hash: engine.hash)
    }

    /// Answers USAGE: every limit of the plan, for the organization and, when named, the user.
    package func usage(
        _ body: UnsafeRawBufferPointer, into reply: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        guard let binding else { preconditionFailure("usage before beginTurn") }
        do throws(Refusal) {
            let request = try SubjectRequest.usage(body)
            var reader = ByteReader(body, at: request.metersOffset)
            try Self.skipExtensions(&reader)
            var plan = -1
            if request.plan.count > 0 {
                guard let named = binding.policy.plans.find(request.plan) else {
                    throw Refusal(.unknownPlan, "USAGE: the policy defines no plan of that name")
                }
                plan = named
            }
            beginExplanation()
            for index in 0...WireLimits.metersMax { units[index] = 0 }
            plan = look(principal(request, plan: plan), binding)
            return Outcome(status: .ok, bytes: writeUsage(plan: plan, binding.policy, reply))
        } catch {
            return Self.refuse(error, into: reply)
        }
    }

    /// Fills the explanation, and returns the plan that it was looked up by; -1 when the subject
    /// is not known and no plan was named.
    private func look(_ named: Principal, _ binding: PolicyBinding) -> Int {
        var principal = named
        if principal.plan < 0 { principal.plan = subscribedPlan(named, binding.policy) }
        if principal.plan < 0 { principal.plan = lastPlan(principal, binding.policy) }
        // One lock at a time: the directory's is let go before the counters' is taken.
        complete(&principal, binding.policy, overrideScratch)
        let shard = engine.tenantShard(principal.organizationHash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        endDue(in: shard, binding)
        guard principal.plan >= 0,
            let (user, shared) = withUnsafePointer(to: principal, {
                tenantRows(
                    $0, nil, in: &shard.table.pointee, create: false, binding)
            })
        else { return principal.plan }
        var evaluation = Evaluation(
            binding, units: units, now: now, turn: turn, period: clock.period, user: user,
            shared: shared, overrides: principal.overrides, calendar: principal.calendar,
            pool: poolContext(principal, shard, binding), ledger: shard.ledger,
            ledgerState: engine.state)
        let all = binding.policy.compiledPlans[principal.plan].all
        for index in Int(all.start)..<Int(all.end) {
            let scope = binding.policy.steps[index].scope
            guard scope != .user || principal.user.count > 0 else { continue }
            add(StepRange(start: Int32(index), end: Int32(index + 1)), &evaluation)
        }
        let concurrency = binding.policy.compiledPlans[principal.plan].concurrency
        for index in Int(concurrency.start)..<Int(concurrency.end) {
            let scope = binding.policy.steps[index].scope
            guard scope != .user || principal.user.count > 0 else { continue }
            addConcurrency(
                StepRange(start: Int32(index), end: Int32(index + 1)), &evaluation, isLook: true)
        }
        addCredits(all, &evaluation)
        return principal.plan
    }

    /// The plan that the user's row, else the organization's, was last decided with.
    private func lastPlan(_ principal: Principal, _ policy: PolicyImage) -> Int {
        let shard = engine.tenantShard(principal.organizationHash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        var handle = RowHandle.none
        if principal.user.count > 0 { handle = shard.table.pointee.find(principal.userKey) }
        if handle == .none { handle = shard.table.pointee.find(principal.organizationKey) }
        guard handle != .none else { return -1 }
        let tag = shard.table.pointee.row(handle).planTag
        return policy.compiledPlans.firstIndex { $0.tag == tag } ?? -1
    }

    private func writeUsage(
        plan: Int, _ policy: PolicyImage, _ reply: UnsafeMutableRawBufferPointer
    ) -> Int {
        reply.storeLittle(UInt64(0), at: 0)
        reply[0] = explanation[0]
        reply[1] = explanation[1]
        var end = BodyBytes.usageReply
        if plan >= 0 {
            policy.plans.withName(plan) { name in
                reply[2] = UInt8(name.count)
                reply.copy(name, to: end)
                end += name.count
            }
        }
        let entries = UnsafeRawBufferPointer(rebasing: explanation[2..<explanationBytes])
        reply.copy(entries, to: end)
        return end + entries.count
    }
}
