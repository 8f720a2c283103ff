import TollgateWire

/// RESERVE, and the tenant stage of every request that leaves something in the ledger beside its
/// charge.
extension DecisionWorker {
    /// Decides a RESERVE as a CHECK, and holds what it allows. `connection` tells this worker's
    /// open connections apart, and is not 0: a hold that is not detached ends with it. `reply` has
    /// room for `replyBytesMax`.
    package func reserve(
        _ body: UnsafeRawBufferPointer, connection: UInt64,
        into reply: UnsafeMutableRawBufferPointer
    ) -> Outcome {
        withBinding { reserve(body, connection: connection, into: reply, $0) }
    }

    @inline(__always)
    private func reserve(
        _ body: UnsafeRawBufferPointer, connection: UInt64,
        into reply: UnsafeMutableRawBufferPointer, _ binding: PolicyBinding
    ) -> Outcome {
        explanationBytes = 0
        answerBytes = 0
        guard beginAudit(.reserve) else { return refuseUnaudited(reply, binding.policy) }
        decision.pointee = Decision()
        decision.pointee.id = decisionID
        do {
            let request = try ReserveRequest(decoding: body)
            keep = KeepRequest()
            keep.isActive = true
            keep.isReservation = true
            keep.isDetached = request.isDetached
            keep.timeToLiveMilliseconds = request.timeToLiveMilliseconds
            keep.connection = connection
            try decide(request.check, body, .reserve, binding, &decision.pointee)
        } catch {
            return Self.refuse(error, into: reply)
        }
        return replyKept(to: reply, binding.policy)
    }

    @inline(never)
    func keptStage(
        _ principal: UnsafePointer<Principal>, _ program: StepRange, dryRun: Bool, explain: Bool,
        _ binding: PolicyBinding, _ decision: inout Decision
    ) {
        let shard = engine.tenantShard(principal.pointee.organizationHash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        if keep.isReservation { prefetchReservation(in: shard) }
        endDue(in: shard, binding)
        if !dryRun, answerAgain(principal, in: shard) { return }
        guard
            let (user, shared) = nearRows(
                principal, in: &shard.table.pointee, create: !dryRun, binding)
        else { return refuseForRoom(&decision) }
        var own: KeyLook?
        if principal.pointee.keyWindow >= 0 {
            own = keyLook(principal, cache.near, in: &shard.table.pointee, create: !dryRun)
            guard own != nil else { return refuseForRoom(&decision) }
        }
        var evaluation = Evaluation(
            binding, units: units, now: now, turn: turn, period: clock.period, user: user,
            shared: shared, overrides: principal.pointee.overrides,
            calendar: principal.pointee.calendar,
            pool: poolContext(principal.pointee, shard, binding), ledger: shard.ledger,
            ledgerState: engine.state)
        evaluation.look(program)
        if keep.isReservation { evaluation.prefetchCharges(program) }
        let concurrency =
            keep.isReservation
            ? binding.policy.compiledPlans[principal.pointee.plan].concurrency : StepRange()
        let busy = evaluation.busy(concurrency)
        noteLooks(program, concurrency, busy, &own, &evaluation, &decision)
        let ownRetry = own.map { $0.isRefused ? $0.retryMilliseconds : 0 } ?? 0
        var made: KeptRows?
        if evaluation.isRefused || own?.isRefused == true || busy >= 0 {
            if decision.reason == .none {
                let isRate = evaluation.rateRefused || own?.isRefused == true
                decision.reason =
                    isRate ? .rateLimited : busy >= 0 ? .concurrencyExceeded : .quotaExhausted
            }
            decision.retryMilliseconds = max(
                decision.retryMilliseconds, max(evaluation.retryMilliseconds, ownRetry))
        } else if !dryRun {
            made = chargeAndHold(
                principal, program, concurrency, &evaluation, in: shard, binding.policy, &decision)
            if made != nil { own?.charge() }
        }
        fill(&decision, program, &evaluation, own, ownRetry, binding.policy)
        if let made, let ledger = shard.ledger {
            writeKept(decision, made.reservation, binding.policy)
            finish(made, isJournaled: evaluation.isJournaled, in: shard, ledger)
        }
        guard explain else { return }
        add(program, &evaluation)
        addConcurrency(concurrency, &evaluation)
        if let own { add(own, of: principal, binding.policy) }
    }

    private func add(
        _ own: KeyLook, of principal: UnsafePointer<Principal>, _ policy: PolicyImage
    ) {
        let window = engine.keyWindows.milliseconds(Int(principal.pointee.keyWindow))
        add(own, windowMilliseconds: window, policy)
    }

    /// There is no room for a row, or none in the journal for what a row is to drop.
    func refuseForRoom(_ decision: inout Decision) {
        let reason = lacksJournal ? Reason.ledgerUnavailable : .capacityExhausted
        if decision.reason == .none { decision.reason = reason }
        if !lacksJournal { engine.capacityRefusals.wrappingAdd(1, ordering: .relaxed) }
        lacksJournal = false
    }

    private func fill(
        _ decision: inout Decision, _ program: StepRange, _ evaluation: inout Evaluation,
        _ own: KeyLook?, _ ownRetry: UInt32, _ policy: PolicyImage
    ) {
        noteShadowQuotas(program, &evaluation)
        note(&decision, evaluation)
        let state = evaluation.state(evaluation.rateStep, isRefused: evaluation.rateRefused)
        if let own {
            let ownState = own.state(policy.credentialLimit)
            let isOwnFirst = own.isRefused && ownRetry >= evaluation.rateRetry
            decision.rate.merge(isOwnFirst ? ownState : state)
            decision.rate.merge(isOwnFirst ? state : ownState)
        } else {
            decision.rate.merge(state)
        }
        decision.quota = evaluation.state(
            evaluation.quotaStep, isRefused: evaluation.quotaRefused)
    }

    /// After every limit admitted: charges, or holds, what is wanted, and makes the rows of what is
    /// kept. `nil`, with a reason, and nothing has changed, where there is no room.
    func chargeAndHold(
        _ principal: UnsafePointer<Principal>, _ program: StepRange, _ concurrency: StepRange,
        _ evaluation: inout Evaluation, in shard: Shard, _ policy: PolicyImage,
        _ decision: inout Decision
    ) -> KeptRows? {
        let (charges, holds) = (
            Int(program.end &- program.start), Int(concurrency.end &- concurrency.start)
        )
        guard
            let rows = makeKept(principal, decision, lines: charges + holds, in: shard, policy)
        else {
            refuseForRoom(&decision)
            return nil
        }
        // What is held burns nothing.
        let credits = rows.reservation == nil ? evaluation.creditSlots(program) : 0
        guard evaluation.prepare(keeping: 2 * charges + rows.slots + credits) else {
            drop(rows, in: shard)
            decision.reason = .ledgerUnavailable
            return nil
        }
        guard let reservation = rows.reservation, let ledger = shard.ledger else {
            evaluation.chargeWithoutCommit(program)
            return rows
        }
        var lines = evaluation.hold(program, into: reservation.lines)
        lines += evaluation.begin(concurrency, into: reservation.lines + lines)
        reservation.head.pointee.lineCount = UInt8(lines)
        policy.plans.withName(decision.plan) { plan in
            policy.operations.withName(decision.operation) { operation in
                reservation.setNames(
                    organization: principal.pointee.organization, user: principal.pointee.user,
                    plan: plan, operation: operation)
            }
        }
        let end =
            now.boot.nanoseconds
            &+ UInt64(reservation.head.pointee.timeToLiveMilliseconds) &* 1_000_000
        ledger.pointee.kept.open.insert(reservation.kept, end: end)
        engine.openReservations.wrappingAdd(1, ordering: .relaxed)
        if !keep.isDetached { tie(reservation) }
        return rows
    }

    /// The row of a reservation, with its meters; its lines and names are to come.
    func makeReservation(
        _ principal: UnsafePointer<Principal>, _ decision: Decision, lines: Int, names: Int,
        answerRoom: Int, in shard: Shard, _ policy: PolicyImage
    ) -> Reservation? {
        guard let ledger = shard.ledger else { return nil }
        forgetKept(in: shard, atMost: 2)
        if !engine.reserve(engine.reservations, max: engine.configuration.reservationsMax) {
            guard forgetEndedEarly(in: shard),
                engine.reserve(engine.reservations, max: engine.configuration.reservationsMax)
            else { return nil }
        }
        let operation = policy.compiledOperations[decision.operation]
        let start = Int(policy.compiledPlans[decision.plan].priceStart)
        let charges = Int(operation.chargeCount)
        let meters = charges + (start < 0 ? 0 : 1)
        let bytes = Reservation.bytes(
            meters: meters, lines: lines, names: names, answerRoom: answerRoom)
        let index = Int(truncatingIfNeeded: principal.pointee.organizationHash &>> 58)
        let id = ledger.pointee.kept.nextID(
            shard: index, engine.hash)
        let handle = id.withKey { key in
            shard.table.pointee.find(key) == .none
                ? shard.table.pointee.insert(key, layout: 0, layoutBytes: bytes) : .none
        }
        guard handle != .none else {
            engine.reservations.wrappingSubtract(1, ordering: .relaxed)
            return nil
        }
        let reservation = Reservation(shard.table.pointee.row(handle))
        ledger.pointee.kept.unitsOfLast = reservation.row.units
        reservation.kept.reset(handle)
        setTerms(of: reservation, principal, policy.compiledPlans[decision.plan].holds)
        reservation.head.pointee.meterCount = UInt8(meters)
        for index in 0..<charges {
            reservation.meters[index] = meter(index, operation, policy, prices: start)
        }
        if start >= 0 {
            reservation.meters[charges] = ReservationMeter(
                tag: 0, weight: 0, plain: 0, held: decision.cost)
        }
        return reservation
    }

    private func setTerms(
        of reservation: Reservation, _ principal: UnsafePointer<Principal>, _ terms: HoldTerms
    ) {
        let asked = keep.timeToLiveMilliseconds
        let life =
            asked == 0
            ? terms.ttlDefaultMilliseconds : min(asked, terms.ttlMaxMilliseconds)
        let head = reservation.head
        head.pointee.kept.forgetAt = .max
        head.pointee.endsAt = clock.period.milliseconds &+ Int64(life)
        head.pointee.organizationHash = principal.pointee.organizationHash
        head.pointee.userHash = principal.pointee.userHash
        head.pointee.fingerprint = principal.pointee.fingerprint
        head.pointee.calendar = principal.pointee.calendar
        head.pointee.timeToLiveMilliseconds = life
        head.pointee.state = Reservation.State.open.rawValue
        head.pointee.flags =
            (keep.isDetached ? Reservation.detached : 0)
            | (principal.pointee.isPersonal ? Reservation.personal : 0)
        head.pointee.cut = terms.cutStream.rawValue
    }

    private func meter(
        _ index: Int, _ operation: CompiledOperation, _ policy: PolicyImage, prices: Int
    ) -> ReservationMeter {
        let charge = policy.charges[Int(operation.chargeStart) &+ index]
        return ReservationMeter(
            tag: policy.meterTags[Int(charge.meter)],
            weight: charge.weight,
            price: prices < 0 ? 0 : policy.prices[prices &+ Int(charge.meter)],
            plain: plainUnits[index], held: units[index])
    }

    // MARK: connections

    /// Ties a hold to the connection that the request came by.
    private func tie(_ reservation: Reservation) {
        guard keep.connection != 0 else { return }
        reservation.head.pointee.worker = number
        reservation.head.pointee.note = heldNotes.pointee.add(
            reservation.id, connection: keep.connection)
    }

    /// A RESERVE that was repeated: the hold ends with the connection that it came by last.
    func tieAgain(in shard: Shard) {
        guard answerBytes >= BodyBytes.reservation else { return }
        let id = ReservationID(
            UnsafeRawBufferPointer(answer), at: answerBytes - BodyBytes.reservation)
        let handle = id.withKey { shard.table.pointee.find($0) }
        guard handle != .none else { return }
        let reservation = Reservation(shard.table.pointee.row(handle))
        guard reservation.state == .open, !reservation.isDetached else { return }
        untie(reservation)
        tie(reservation)
    }

    /// Drops the note of a hold, if it is this worker's; another's stays until it finds out.
    func untie(_ reservation: Reservation) {
        if reservation.head.pointee.worker == number {
            heldNotes.pointee.remove(reservation.head.pointee.note, of: reservation.id)
        }
        reservation.head.pointee.worker = 0
    }
}
