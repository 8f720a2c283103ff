import TollgateWire

/// EXTEND: may work under a reservation go on?
extension DecisionWorker {
    /// Holds more, for longer, if every limit admits what is added; else nothing but what was
    /// reported as used changes. `reply` has room for `replyBytesMax`.
    package func extend(
        _ body: UnsafeRawBufferPointer, into reply: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        guard let binding else { preconditionFailure("extend before beginTurn") }
        explanationBytes = 0
        guard beginAudit(.extend) else { return refuseUnaudited(reply, binding.policy) }
        do {
            let request = try ExtendRequest(decoding: body)
            try readMeters(
                body, at: ExtendRequest.metersOffset, count: request.meterCount, binding.policy,
                of: .extend)
            return try withHold(request.id, request.flags, binding, reply) {
                (hold, shard, facts) throws(Refusal) in
                guard hold.state == .open else {
                    throw Refusal(.conflict, "the reservation has ended: stop")
                }
                try setUnits(toAddTo: hold, binding.policy)
                return extend(hold, request, in: shard, facts, binding, reply)
            }
        } catch {
            return Self.refuse(error, into: reply)
        }
    }

    /// What each meter is to hold more.
    private func setUnits(
        toAddTo reservation: Reservation, _ policy: PolicyImage
    ) throws(Refusal) {
        for index in 0..<reservation.meterCount {
            holdUnits[index] = 0
            holdUsed[index] = reservation.meters[index].used
            plainUnits[index] = 0
        }
        for named in 0..<meterCount {
            let index = try meter(named, of: reservation, policy)
            let meter = reservation.meters[index]
            let (wanted, overflow) = meters[named].units.multipliedReportingOverflow(
                by: meter.weight)
            let (used, tooMuch) = meters[named].used.multipliedReportingOverflow(by: meter.weight)
            guard !overflow, !tooMuch else {
                throw Refusal(.unitsOutOfRange, "units times weight leave 64 bits")
            }
            holdUnits[index] = wanted > meter.held ? wanted &- meter.held : 0
            holdUsed[index] = used
            plainUnits[index] = meters[named].used
        }
        guard let money = reservation.money else { return }
        holdUsed[money] = max(holdUsed[money], try cost(of: reservation))
        for index in 0..<reservation.meterCount {
            plainUnits[index] = reservation.meters[index].plain
        }
        for named in 0..<meterCount {
            let index = try meter(named, of: reservation, policy)
            plainUnits[index] = max(plainUnits[index], meters[named].units)
        }
        let wanted = try cost(of: reservation)
        holdUnits[money] = wanted &- min(wanted, reservation.meters[money].held)
    }

    private func extend(
        _ reservation: Reservation, _ request: ExtendRequest, in shard: Shard,
        _ facts: HoldFacts, _ binding: PolicyBinding,
        _ reply: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        let policy = binding.policy
        var scene = scene(of: reservation, policy)
        scene.add(facts)
        var decision = heldDecision(scene)
        guard var evaluation = evaluation(of: &scene, in: shard, binding), let ledger = shard.ledger
        else {
            refuseForRoom(&decision)
            return write(decision, to: reply, policy)
        }
        matchMeters(reservation, scene, policy)
        for charge in 0..<Reservation.metersMax {
            holdCharges[charge] = holdMeters[charge] >= 0 ? holdUnits[holdMeters[charge]] : 0
        }
        evaluation.roll(scene.program)
        lookAtWanted(scene.program, &evaluation)
        noteStandings(scene.program, &evaluation)
        noteShadow(scene.program, evaluation, &decision)
        if evaluation.isRefused {
            decision.reason = evaluation.rateRefused ? .rateLimited : .quotaExhausted
            decision.retryMilliseconds = evaluation.retryMilliseconds
        }
        let carried = 2 * Int(scene.program.end &- scene.program.start)
        if evaluation.prepare(
            keeping: carried + reservation.packedSlots(answer: 0))
        {
            for index in 0..<reservation.meterCount {
                reservation.meters[index].used = holdUsed[index]
            }
            if decision.reason == .none {
                hold(reservation, scene, &evaluation)
                prolong(reservation, request, scene, in: shard, policy)
            }
            if evaluation.isJournaled {
                ledger.pointee.put(reservation, packedInto: packed)
                ledger.pointee.journal.commit()
                hasJournaled = true
            } else {
                reservation.row.isDefined = false
            }
        } else {
            decision.reason = .ledgerUnavailable
        }
        decision.rate = evaluation.state(evaluation.rateStep, isRefused: evaluation.rateRefused)
        decision.quota = evaluation.state(
            evaluation.quotaStep, isRefused: evaluation.quotaRefused)
        noteShadowQuotas(scene.program, &evaluation)
        if request.flags & RequestFlags.explain != 0 {
            add(scene.program, &evaluation, isRecorded: decision.reason == .none)
            addConcurrency(scene.concurrency, &evaluation)
        }
        return write(decision, to: reply, policy)
    }

    /// Only where something is wanted: a limit that others have used up stops nobody who wants
    /// no more of it.
    private func lookAtWanted(_ program: StepRange, _ evaluation: inout Evaluation) {
        for index in program.start..<program.end
        where holdCharges[Int(evaluation.steps[Int(index)].charge)] > 0 {
            evaluation.look(StepRange(start: index, end: index + 1))
        }
    }

    private func hold(
        _ reservation: Reservation, _ scene: HoldScene, _ evaluation: inout Evaluation
    ) {
        let start = Int(scene.program.start)
        for index in start..<Int(scene.program.end) {
            let step = evaluation.step(index)
            let wanted = holdCharges[Int(step.charge)]
            guard wanted > 0,
                let line = line(of: step, &evaluation, reservation, from: index - start)
            else { continue }
            if evaluation.isShadowed(index), !step.isQuota {
                Evaluation.leaveOut(wanted, &line.pointee)
            } else {
                evaluation.hold(wanted, step, &line.pointee)
            }
        }
        for index in 0..<reservation.meterCount {
            reservation.meters[index].held = Evaluation.sum(
                reservation.meters[index].held, holdUnits[index])
            reservation.meters[index].plain = max(
                reservation.meters[index].plain, plainUnits[index])
        }
    }

    private func prolong(
        _ reservation: Reservation, _ request: ExtendRequest, _ scene: HoldScene, in shard: Shard,
        _ policy: PolicyImage
    ) {
        var life = reservation.head.pointee.timeToLiveMilliseconds
        if request.timeToLiveMilliseconds > 0 {
            let most = scene.plan >= 0
                ? policy.compiledPlans[scene.plan].holds.ttlMaxMilliseconds : life
            life = min(request.timeToLiveMilliseconds, most)
        }
        reservation.head.pointee.timeToLiveMilliseconds = life
        reservation.head.pointee.endsAt = clock.period.milliseconds &+ Int64(life)
        shard.ledger?.pointee.kept.open.move(
            reservation.kept, end: now.boot.nanoseconds &+ UInt64(life) &* 1_000_000)
    }
}
