import TollgateWire

/// SETTLE and CANCEL: the ends of a reservation that are asked for.
extension DecisionWorker {
    /// Ends a reservation with what was used; also one that has ended otherwise, so that the true
    /// amount is recorded. `reply` has room for `replyBytesMax`.
    package func settle(
        _ body: UnsafeRawBufferPointer, into reply: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        withBinding { settle(body, into: reply, $0) }
    }

    @inline(__always)
    private func settle(
        _ body: UnsafeRawBufferPointer, into reply: UnsafeMutableRawBufferPointer,
        _ binding: PolicyBinding
    ) -> Outcome {
        explanationBytes = 0
        guard beginAudit(.settle) else { return refuseUnaudited(reply, binding.policy) }
        do {
            let request = try SettleRequest(decoding: body)
            try readMeters(
                body, at: SettleRequest.metersOffset, count: request.meterCount, binding.policy,
                of: .settle)
            return try withHold(request.id, request.flags, binding, reply) {
                (hold, shard, facts) throws(Refusal) in
                try settle(hold, request.flags, in: shard, facts, binding, reply)
            }
        } catch {
            return Self.refuse(error, into: reply)
        }
    }

    /// Gives back what a reservation holds. `reply` has room for `replyBytesMax`.
    package func cancel(
        _ body: UnsafeRawBufferPointer, into reply: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        guard let binding else { preconditionFailure("cancel before beginTurn") }
        explanationBytes = 0
        guard beginAudit(.cancel) else { return refuseUnaudited(reply, binding.policy) }
        do {
            let request = try CancelRequest(decoding: body)
            var reader = ByteReader(body, at: CancelRequest.metersOffset)
            try Self.skipExtensions(&reader)
            meterCount = 0
            return try withHold(request.id, request.flags, binding, reply) {
                (hold, shard, facts) throws(Refusal) in
                try cancel(hold, request.flags, in: shard, facts, binding, reply)
            }
        } catch {
            return Self.refuse(error, into: reply)
        }
    }

    /// Finds a reservation, ends it first if its time is over, and lends it under its shard's
    /// lock, with the numbers that hold for whom it is of.
    @inline(__always)
    func withHold(
        _ id: ReservationID, _ flags: UInt16, _ binding: PolicyBinding,
        _ reply: UnsafeMutableRawBufferPointer,
        _ body: (Reservation, Shard, HoldFacts) throws(Refusal) -> Outcome
    ) throws(Refusal) -> Outcome {
        guard let index = id.shard(engine.hash) else { throw Self.notFound }
        let shard = engine.shard(index)
        // One lock at a time: the directory's is let go before the counters' is taken.
        let facts =
            engine.directory.isEmpty
            ? HoldFacts(members: PoolMembers())
            : facts(of: id, binding.policy, overrideScratch) { $0.state != .settled }
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        endDue(in: shard, binding)
        let handle = id.withKey { shard.table.pointee.find($0) }
        guard handle != .none else { throw Self.notFound }
        if flags & RequestFlags.explain != 0 { beginExplanation() }
        noteAudit(id)
        return try body(Reservation(shard.table.pointee.row(handle)), shard, facts)
    }

    private static var notFound: Refusal {
        Refusal(.notFound, "there is no such reservation, or no longer")
    }

    /// What the directory says of whom a reservation is of.
    struct HoldFacts {
        var overrides: UnsafePointer<OverrideSet>?
        var calendar: UInt16?
        /// `nil`: it was not asked.
        var members: PoolMembers?
    }

    /// Under no lock; the numbers are put into `overrides`. Of what `isAsked` names alone.
    func facts(
        of id: ReservationID, _ policy: PolicyImage,
        _ overrides: UnsafeMutablePointer<OverrideSet>, where isAsked: (Reservation) -> Bool
    ) -> HoldFacts {
        let found: HoldFacts? = withUnsafeTemporaryAllocation(byteCount: 2 * 255, alignment: 8) {
            let copy = $0
            let found: Principal? = engine.withReservation(id) { reservation, _ in
                isAsked(reservation) ? subject(of: reservation, policy, copiedTo: copy) : nil
            } ?? nil
            return found.map { facts(of: $0, policy, overrides) }
        }
        return found ?? HoldFacts()
    }

    /// Under no lock; the numbers are put into `overrides`.
    func facts(
        of named: Principal, _ policy: PolicyImage,
        _ overrides: UnsafeMutablePointer<OverrideSet>
    ) -> HoldFacts {
        guard named.plan >= 0 else { return HoldFacts() }
        var principal = named
        principal.members = PoolMembers()
        complete(&principal, policy, overrides)
        return HoldFacts(
            overrides: principal.overrides, calendar: principal.calendar,
            members: principal.members)
    }

    /// Lends whom a reservation is of, with names that do not stand in its row: `body` may let the
    /// shard's lock go.
    func withSubject<R>(
        of reservation: Reservation, _ policy: PolicyImage, _ body: (Principal) -> R
    ) -> R {
        withUnsafeTemporaryAllocation(byteCount: 2 * 255, alignment: 8) {
            body(subject(of: reservation, policy, copiedTo: $0))
        }
    }

    /// `copy` has room for two names.
    private func subject(
        of reservation: Reservation, _ policy: PolicyImage,
        copiedTo copy: UnsafeMutableRawBufferPointer
    ) -> Principal {
        var principal = scene(of: reservation, policy).principal
        copy.copy(principal.user, to: 0)
        copy.copy(principal.organization, to: 255)
        let all = UnsafeRawBufferPointer(copy)
        principal.user = all.slice(at: 0, length: principal.user.count)
        principal.organization = all.slice(at: 255, length: principal.organization.count)
        return principal
    }

    /// What is charged of each meter: what was named, else the estimate.
    private func setUnits(of reservation: Reservation, _ policy: PolicyImage) throws(Refusal) {
        for index in 0..<reservation.meterCount {
            holdUnits[index] = reservation.meters[index].held
            plainUnits[index] = reservation.meters[index].plain
        }
        for named in 0..<meterCount {
            let index = try meter(named, of: reservation, policy)
            plainUnits[index] = meters[named].units
            let (weighted, overflow) = meters[named].units.multipliedReportingOverflow(
                by: reservation.meters[index].weight)
            guard !overflow else {
                throw Refusal(.unitsOutOfRange, "units times weight leave 64 bits")
            }
            holdUnits[index] = weighted
        }
        if let money = reservation.money { holdUnits[money] = try cost(of: reservation) }
    }

    /// What `plainUnits`, by meter of the reservation, cost: micro-units of money.
    func cost(of reservation: Reservation) throws(Refusal) -> UInt64 {
        var sum: UInt64 = 0
        for index in 0..<reservation.meterCount where index != reservation.money {
            let (cost, tooMuch) = plainUnits[index].multipliedReportingOverflow(
                by: reservation.meters[index].price)
            let (next, overflow) = sum.addingReportingOverflow(cost)
            guard !tooMuch, !overflow else {
                throw Refusal(.unitsOutOfRange, "units times prices leave 64 bits")
            }
            sum = next
        }
        return sum
    }

    /// Which meter of a reservation a request names.
    func meter(
        _ named: Int, of reservation: Reservation, _ policy: PolicyImage
    ) throws(Refusal) -> Int {
        let tag = policy.meterTags[meters[named].meter]
        for index in 0..<reservation.meterCount where reservation.meters[index].tag == tag {
            return index
        }
        throw Refusal(.unknownMeter, "the reservation holds no meter of that name")
    }

    private func settle(
        _ reservation: Reservation, _ flags: UInt16, in shard: Shard,
        _ facts: HoldFacts, _ binding: PolicyBinding,
        _ reply: UnsafeMutableRawBufferPointer
    ) throws(Refusal) -> Outcome {
        try setUnits(of: reservation, binding.policy)
        if reservation.state == .settled {
            for index in 0..<reservation.meterCount
            where reservation.meters[index].used != holdUnits[index] {
                throw Refusal(.conflict, "the reservation was settled with other units")
            }
            return again(reservation, binding.policy, reply)
        }
        var isSomething = false
        for index in 0..<reservation.meterCount where holdUnits[index] > 0 { isSomething = true }
        return finish(
            reservation, as: .settled, isOverage: isSomething, flags, in: shard, facts, binding,
            reply)
    }

    private func cancel(
        _ reservation: Reservation, _ flags: UInt16, in shard: Shard,
        _ facts: HoldFacts, _ binding: PolicyBinding,
        _ reply: UnsafeMutableRawBufferPointer
    ) throws(Refusal) -> Outcome {
        switch reservation.state {
        case .settled: throw Refusal(.conflict, "the reservation was settled")
        case .cut: throw Refusal(.conflict, "the reservation was over")
        case .canceled: return again(reservation, binding.policy, reply)
        case .open:
            for index in 0..<reservation.meterCount { holdUnits[index] = 0 }
            guard let roomy = withRoom(reservation, in: shard, binding.policy) else {
                var decision = heldDecision(scene(of: reservation, binding.policy))
                refuseForRoom(&decision)
                return write(decision, to: reply, binding.policy)
            }
            return finish(
                roomy, as: .canceled, isOverage: false, flags, in: shard, facts, binding, reply)
        }
    }

    /// An open reservation with room for the answer to CANCEL, which leaves all else where it is:
    /// it moves where it has none. `nil` when memory is short.
    private func withRoom(
        _ reservation: Reservation, in shard: Shard, _ policy: PolicyImage
    ) -> Reservation? {
        let room = answerRoom(reservation.nameBytes, policy)
        let had = reservation.row.content.count
        let more = room - reservation.answerRoom(isSettled: false)
        guard more > 0 else { return reservation }
        let moved = shard.table.pointee.replaceLayout(
            reservation.kept.head.pointee.handle, layout: 0, layoutBytes: had + more
        ) { from, to in
            UnsafeMutableRawBufferPointer(start: to.counters, count: had).copy(from.content, to: 0)
        }
        guard moved != .none else { return nil }
        let roomy = Reservation(shard.table.pointee.row(moved))
        roomy.kept.head.pointee.handle = moved
        shard.ledger?.pointee.kept.open.noteMoved(roomy.kept)
        return roomy
    }

    /// The first answer, once more.
    private func again(
        _ reservation: Reservation, _ policy: PolicyImage, _ reply: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        counters.add(.none)
        if audit != nil {
            noteRepeated()
            writeAudit(answered(reservation.answer, policy), policy)
        }
        // It may not be synced yet, whoever heard it first.
        hasJournaled = true
        reply.copy(reservation.answer, to: 0)
        return Outcome(status: .ok, bytes: reservation.answer.count)
    }

    /// Ends a reservation by request, with an answer that is kept.
    private func finish(
        _ reservation: Reservation, as state: Reservation.State, isOverage: Bool, _ flags: UInt16,
        in shard: Shard, _ facts: HoldFacts, _ binding: PolicyBinding,
        _ reply: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        let policy = binding.policy
        var scene = scene(of: reservation, policy)
        scene.add(facts)
        var decision = heldDecision(scene)
        guard var evaluation = evaluation(of: &scene, in: shard, binding) else {
            refuseForRoom(&decision)
            return write(decision, to: reply, policy)
        }
        let isSettled = state == .settled
        if isSettled, let money = reservation.money { decision.cost = holdUnits[money] }
        switch end(
            reservation, scene, &evaluation, settles: isSettled, in: shard, policy)
        {
        case .noRoom: decision.reason = .capacityExhausted
        case .noJournal: decision.reason = .ledgerUnavailable
        case .done:
            lookAfter(scene, &evaluation, &decision, isOverage: isOverage)
            // Whose names give place to the answer.
            writeAudit(decision, policy)
            keepAnswer(of: reservation, &decision, isSettled: isSettled, policy)
            close(reservation, as: state, &evaluation, in: shard, policy)
        }
        if flags & RequestFlags.explain != 0 {
            add(scene.program, &evaluation, isRecorded: true)
            addConcurrency(scene.concurrency, &evaluation)
        }
        guard decision.reason == .none else { return write(decision, to: reply, policy) }
        counters.add(.none)
        return Outcome(
            status: .ok,
            bytes: writeAnswer(
                to: reply,
                explanation: UnsafeRawBufferPointer(rebasing: explanation[..<explanationBytes])))
    }

    /// Keeps the decision in the reservation, without the limits' names where a policy has longer
    /// ones than there was room for.
    private func keepAnswer(
        of reservation: Reservation, _ decision: inout Decision, isSettled: Bool,
        _ policy: PolicyImage
    ) {
        writeKept(decision, nil, policy)
        if answerBytes > reservation.answerRoom(isSettled: isSettled) {
            decision.rate = LimitState()
            decision.quota = LimitState()
            writeKept(decision, nil, policy)
        }
        let kept = UnsafeRawBufferPointer(rebasing: answer[..<answerBytes])
        // Before the names give place, which it leaves out.
        packedBytes =
            isSettled && reservation.row.isDefined
            ? reservation.packSettled(forgetAt: forgetAt(policy), answer: kept, into: packed) : 0
        reservation.setAnswer(kept, isSettled: isSettled)
    }

    /// What a decision about a reservation says whatever it comes to.
    func heldDecision(_ scene: HoldScene) -> Decision {
        var decision = Decision()
        decision.id = decisionID
        decision.user = scene.principal.user
        decision.organization = scene.principal.organization
        decision.plan = scene.plan
        decision.operation = scene.operation
        if scene.principal.isPersonal { decision.flags |= DecisionFlags.personalOrganization }
        return decision
    }

    /// The limits as they stand after the charge.
    func lookAfter(
        _ scene: HoldScene, _ evaluation: inout Evaluation, _ decision: inout Decision,
        isOverage: Bool
    ) {
        for index in 0..<Reservation.metersMax { holdCharges[index] = 0 }
        evaluation.look(scene.program)
        if isOverage, evaluation.isRefused || evaluation.isOverage || evaluation.shadowed != 0 {
            decision.flags |= DecisionFlags.overage
        }
        decision.rate = evaluation.state(evaluation.rateStep, isRefused: false)
        decision.quota = evaluation.state(evaluation.quotaStep, isRefused: false)
        noteShadowQuotas(scene.program, &evaluation)
    }

    /// Writes a decision that is kept nowhere.
    func write(
        _ decision: Decision, to reply: UnsafeMutableRawBufferPointer, _ policy: PolicyImage
    ) -> Outcome {
        count(decision)
        writeAudit(decision, policy)
        return Outcome(
            status: .ok,
            bytes: decision.write(
                to: reply, policy,
                explanation: UnsafeRawBufferPointer(rebasing: explanation[..<explanationBytes])))
    }
}
