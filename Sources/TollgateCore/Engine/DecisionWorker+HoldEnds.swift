import TollgateWire

/// How reservations end: what all ways have in common, and the two that nobody asks for.
extension DecisionWorker {
    /// What the end of a reservation came to.
    enum HoldEnd {
        case done
        /// There is no room for the counters' rows.
        case noRoom
        /// The journal cannot be written.
        case noJournal
    }

    /// What a reservation's counters are now: rows, and what the policy says of them.
    struct HoldScene {
        var principal: Principal
        /// Indices into the policy; -1: it has no such plan or operation any more.
        var plan: Int
        var operation: Int
        var program: StepRange
        var concurrency: StepRange

        mutating func add(_ facts: HoldFacts) {
            principal.overrides = facts.overrides
            if let calendar = facts.calendar { principal.calendar = calendar }
            if let members = facts.members { principal.members = members }
        }
    }

    /// Who a reservation is of. Borrows the names in its row.
    func scene(of reservation: Reservation, _ policy: PolicyImage) -> HoldScene {
        let head = reservation.head.pointee
        let plan = policy.plans.find(reservation.plan) ?? -1
        let operation = policy.operations.find(reservation.operation) ?? -1
        var principal = Principal(
            user: reservation.user, organization: reservation.organization,
            isPersonal: reservation.isPersonal, plan: plan, hash: head.organizationHash,
            fingerprint: head.fingerprint, userHash: head.userHash)
        principal.calendar = head.calendar
        principal.members.isUnknown = true
        let isKnown = plan >= 0 && operation >= 0
        return HoldScene(
            principal: principal, plan: plan, operation: operation,
            program: isKnown ? policy.program(plan: plan, operation: operation) : StepRange(),
            concurrency: plan >= 0 ? policy.compiledPlans[plan].concurrency : StepRange())
    }

    /// The stage in which a reservation's counters stand; `nil` when there is no room for rows.
    func evaluation(
        of scene: inout HoldScene, in shard: Shard, _ binding: PolicyBinding
    ) -> Evaluation? {
        var (user, shared) = (RowView.none, RowView.none)
        if scene.plan >= 0 {
            guard
                let rows = withUnsafePointer(to: &scene.principal, {
                    tenantRows($0, nil, in: &shard.table.pointee, create: true, binding)
                })
            else { return nil }
            (user, shared) = rows
        }
        return Evaluation(
            binding, units: holdCharges, now: now, turn: turn, period: clock.period, user: user,
            shared: shared, overrides: scene.principal.overrides,
            calendar: scene.principal.calendar,
            pool: scene.plan < 0 ? nil : poolContext(scene.principal, shard, binding),
            ledger: shard.ledger, ledgerState: engine.state)
    }

    /// Finds out which charge of the operation is which meter of the reservation.
    func matchMeters(_ reservation: Reservation, _ scene: HoldScene, _ policy: PolicyImage) {
        for index in 0..<Reservation.metersMax { holdMeters[index] = -1 }
        guard scene.operation >= 0 else { return }
        let operation = policy.compiledOperations[scene.operation]
        if let money = reservation.money { holdMeters[Int(operation.chargeCount)] = money }
        for charge in 0..<Int(operation.chargeCount) {
            let meter = Int(policy.charges[Int(operation.chargeStart) &+ charge].meter)
            let tag = policy.meterTags[meter]
            for index in 0..<reservation.meterCount where reservation.meters[index].tag == tag {
                holdMeters[charge] = index
            }
        }
    }

    /// The line of a step's counter, looked for from `start` on, where it stands unless the policy
    /// has changed.
    func line(
        of step: ChargeStep, _ evaluation: inout Evaluation, _ reservation: Reservation,
        from start: Int
    ) -> UnsafeMutablePointer<ReservationLine>? {
        guard let offsets = evaluation.view(step).offsets else { return nil }
        let counter = offsets[Int(step.slot)].counter
        let (count, lines) = (reservation.lineCount, reservation.lines)
        let isUser = step.scope == .user
        for offset in 0..<count {
            let index = start &+ offset < count ? start &+ offset : start &+ offset &- count
            if lines[index].counts(counter, isUser: isUser) { return lines + index }
        }
        return nil
    }

    /// Ends a reservation, or settles one that has ended: `holdUnits` is what is charged of each
    /// meter in all. Under the shard's lock; nothing has changed unless it is done. The journal's
    /// transaction is open then: `close` ends it.
    func end(
        _ reservation: Reservation, _ scene: HoldScene, _ evaluation: inout Evaluation,
        settles: Bool, in shard: Shard, _ policy: PolicyImage
    ) -> HoldEnd {
        let isAsItWas = isAsItWas(reservation, scene, &evaluation)
        if !isAsItWas, !keepCounters(of: reservation, scene, &evaluation, in: shard) {
            return .noJournal
        }
        evaluation.roll(scene.program)
        matchMeters(reservation, scene, policy)
        let wasOpen = reservation.state == .open
        if !wasOpen { closeBoth(reservation) }
        let slots =
            2 * Int(scene.program.end &- scene.program.start) + 2 * reservation.lineCount
            + reservation.packedSlots(answer: reservation.row.content.count)
            + creditSlots(reservation, scene, &evaluation)
            + (isAsItWas ? 0 : slotsWithoutStep(reservation, in: shard))
        guard evaluation.prepare(keeping: slots) else { return .noJournal }
        var touched: UInt64 = 0
        // Where they stand is found out once: nothing here changes how many there are.
        let (lines, meters) = (reservation.lines, reservation.meters)
        for index in Int(scene.program.start)..<Int(scene.program.end) {
            let step = evaluation.step(index)
            let meter = holdMeters[Int(step.charge)]
            let line = line(
                of: step, &evaluation, reservation, from: index - Int(scene.program.start))
            if let line { touched |= 1 &<< UInt64(line - lines) }
            guard meter >= 0 else { continue }
            // What an open one had reported was not charged.
            evaluation.end(
                step, line, charged: holdUnits[meter],
                before: wasOpen ? 0 : meters[meter].used, settles: settles)
        }
        if wasOpen {
            for index in Int(scene.concurrency.start)..<Int(scene.concurrency.end) {
                let step = evaluation.step(index)
                let line = line(of: step, &evaluation, reservation, from: 0)
                guard let line else { continue }
                touched |= 1 &<< UInt64(line - lines)
                evaluation.end(step, line)
            }
        }
        for index in 0..<reservation.lineCount where touched & 1 &<< UInt64(index) == 0 {
            end(lineWithoutStep: index, reservation, wasOpen: wasOpen, &evaluation, in: shard)
        }
        for meter in 0..<reservation.meterCount { meters[meter].used = holdUnits[meter] }
        return .done
    }

    /// Gives a reservation its end: its state, and when it is forgotten. `packed` has what the
    /// journal gets of one that is settled, where it knows the rest.
    func close(
        _ reservation: Reservation, as state: Reservation.State, _ evaluation: inout Evaluation,
        in shard: Shard, _ policy: PolicyImage
    ) {
        guard let ledger = shard.ledger else { return }
        if reservation.state == .open {
            untie(reservation)
            ledger.pointee.kept.open.remove(reservation.kept)
            engine.openReservations.wrappingSubtract(1, ordering: .relaxed)
        } else {
            ledger.pointee.kept.ended.remove(reservation.kept, in: shard.table.pointee)
        }
        reservation.head.pointee.state = state.rawValue
        reservation.head.pointee.kept.forgetAt = forgetAt(policy)
        ledger.pointee.kept.ended.append(reservation.kept, in: shard.table.pointee)
        guard evaluation.isJournaled else {
            reservation.row.isDefined = false
            return
        }
        if state != .settled {
            ledger.pointee.put(reservation, packedInto: packed)
        } else if packedBytes > 0 {
            ledger.pointee.journal.append(
                .settled, UnsafeRawBufferPointer(packed).slice(at: 0, length: packedBytes))
        } else {
            ledger.pointee.put(reservation.row, contentBytes: reservation.contentBytes)
            reservation.row.isDefined = true
        }
        ledger.pointee.journal.commit()
        hasJournaled = true
    }

    // MARK: cuts

    /// Ends what is held of the plan's terms; false when the journal has no room now. `facts`: of
    /// whom it is of, where the cut asks for them.
    func cut(
        _ reservation: Reservation, _ facts: HoldFacts, in shard: Shard, _ binding: PolicyBinding
    ) -> Bool {
        let policy = CutStream(rawValue: reservation.head.pointee.cut) ?? .reported
        for index in 0..<reservation.meterCount {
            let meter = reservation.meters[index]
            switch policy {
            case .estimate: holdUnits[index] = meter.held
            case .reported: holdUnits[index] = meter.used
            case .nothing: holdUnits[index] = 0
            }
        }
        var scene = scene(of: reservation, binding.policy)
        scene.add(facts)
        guard var evaluation = evaluation(of: &scene, in: shard, binding),
            case .done = end(
                reservation, scene, &evaluation, settles: false, in: shard, binding.policy)
        else {
            // Nobody is refused for it.
            lacksJournal = false
            return false
        }
        writeCut(reservation, scene, in: shard, binding.policy)
        close(reservation, as: .cut, &evaluation, in: shard, binding.policy)
        return true
    }

    /// Ends the holds whose time is over, so that they refuse nobody who comes after that. Under
    /// the shard's lock, before anything is looked at: it may be let go and taken again.
    @inline(__always)
    func endDue(in shard: Shard, _ binding: PolicyBinding) {
        guard let ledger = shard.ledger else { return }
        if ledger.pointee.kept.hasDue(now.boot) { cutDue(in: shard, ledger, binding) }
        noteOrder(in: shard)
    }

    /// Whether the cut of a reservation asks what the directory says: where its quotas count not
    /// only units but what their limit leaves of them, to credits or to the period after.
    private func asksForFacts(_ reservation: Reservation, _ policy: PolicyImage) -> Bool {
        guard !engine.directory.isEmpty, let plan = policy.plans.find(reservation.plan) else {
            return false
        }
        return policy.compiledPlans[plan].countsByLimit
    }

    /// Each time round one is ended, or it is found out what its end asks for, which nobody keeps:
    /// so it comes to an end, whoever else ends some meanwhile.
    @inline(never)
    private func cutDue(
        in shard: Shard, _ ledger: UnsafeMutablePointer<ShardLedger>, _ binding: PolicyBinding
    ) {
        var known: (id: ReservationID, facts: HoldFacts)?
        while let first = ledger.pointee.kept.open.findFirst(), ledger.pointee.kept.hasDue(now.boot)
        {
            // What cannot be written of it waits, where nothing may be left out.
            guard mayWriteCut else { return }
            let reservation = Reservation(shard.table.pointee.row(first))
            let id = reservation.id
            if known?.id != id, asksForFacts(reservation, binding.policy) {
                // The directory's lock is taken under no other.
                let found = withSubject(of: reservation, binding.policy) { principal in
                    shard.lock.pointee.unlock()
                    defer { shard.lock.pointee.lock() }
                    return facts(of: principal, binding.policy, cutOverrides)
                }
                known = (id, found)
                continue
            }
            let found = known?.id == id ? known?.facts : nil
            guard cut(reservation, found ?? HoldFacts(), in: shard, binding) else { return }
        }
    }

    /// What the cut of a reservation asks for. Under no lock.
    private func factsToCut(_ id: ReservationID, _ policy: PolicyImage) -> HoldFacts {
        guard !engine.directory.isEmpty else { return HoldFacts() }
        return facts(of: id, policy, cutOverrides) { asksForFacts($0, policy) }
    }

    /// Ends holds whose time is over, and forgets what ended long ago. At every tick; takes each
    /// tenant shard's lock for a moment.
    package func tendHolds() {
        guard let binding else { return }
        for index in 0..<Engine.shardCount {
            let shard = engine.shard(index)
            shard.lock.pointee.lock()
            endDue(in: shard, binding)
            forgetKept(in: shard, atMost: 256)
            shard.lock.pointee.unlock()
        }
        let engine = engine
        let number = number
        heldNotes.pointee.removeStale { place, id in
            engine.withReservation(id) { reservation, _ in
                reservation.state == .open && reservation.head.pointee.worker == number
                    && reservation.head.pointee.note == place
            } ?? false
        }
    }

    /// The peer of a connection of this worker is gone: what is tied to it ends as the plan says.
    /// `afterEach` of them, while no lock is held, the journal may be given what it wants: a
    /// thousand take more of it than lies ready, and would leave none for others' requests.
    package func release(connection: UInt64, afterEach: () -> Void = {}) {
        guard let binding else { return }
        while case let place = heldNotes.pointee.first(of: connection), place != 0 {
            let id = heldNotes.pointee.id(place)
            let facts = factsToCut(id, binding.policy)
            _ = engine.withReservation(id) { reservation, shard in
                let head = reservation.head
                guard reservation.state == .open, head.pointee.worker == number,
                    head.pointee.note == place
                else { return }
                if !mayWriteCut || !cut(reservation, facts, in: shard, binding) {
                    // As soon as there is room in the journal and the audit log.
                    shard.ledger?.pointee.kept.open.move(
                        reservation.kept, end: 0)
                    head.pointee.worker = 0
                }
            }
            heldNotes.pointee.remove(place, of: id)
            afterEach()
        }
    }
}

extension Engine {
    /// Shows a reservation under its shard's lock; `nil` when there is none with that id.
    func withReservation<R>(_ id: ReservationID, _ body: (Reservation, Shard) -> R) -> R? {
        guard let index = id.shard(hash) else { return nil }
        let shard = shard(index)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let handle = id.withKey { shard.table.pointee.find($0) }
        guard handle != .none else { return nil }
        return body(Reservation(shard.table.pointee.row(handle)), shard)
    }

    /// A counter that a line names, wherever it stands now.
    struct LinePlace {
        enum Kind { case window, quota, concurrency }
        var kind: Kind
        var offset: Int
    }

    /// The row and the place of a line's counter; `nil` when either is gone.
    func place(
        of line: ReservationLine, _ reservation: Reservation, in shard: Shard
    ) -> (row: Row, place: LinePlace)? {
        let (head, tenant) = (reservation.head.pointee, reservation.tenant)
        let key =
            line.isUser
            ? RowKey(
                kind: .user, owner: head.fingerprint, id: reservation.user, hash: head.userHash)
            : tenant.organizationKey(reservation.organization)
        let handle = shard.table.pointee.find(key)
        guard handle != .none else { return nil }
        let row = shard.table.pointee.row(handle)
        guard let index = layouts.counters(row.layout).firstIndex(of: line.counter) else {
            return nil
        }
        let slot = layouts.layout(row.layout).slots[index]
        switch (slot.kind, line.kind) {
        case (.quota, .quota): return (row, LinePlace(kind: .quota, offset: slot.headOffset))
        case (.concurrency, .concurrency):
            return (row, LinePlace(kind: .concurrency, offset: slot.headOffset))
        case (.window, .window): return (row, LinePlace(kind: .window, offset: slot.headOffset))
        default: return nil
        }
    }
}

extension Principal {
    /// Who an identity's hashes are known of.
    init(
        user: UnsafeRawBufferPointer, organization: UnsafeRawBufferPointer, isPersonal: Bool,
        plan: Int, hash: UInt64, fingerprint: UInt32, userHash: UInt64
    ) {
        self.user = user
        self.organization = organization
        self.isPersonal = isPersonal
        self.plan = plan
        permissions = PermissionSet()
        organizationHash = hash
        self.fingerprint = fingerprint
        self.userHash = userHash
    }
}
