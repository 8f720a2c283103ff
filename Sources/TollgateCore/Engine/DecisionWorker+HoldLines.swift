import TollgateWire

/// Lines of a reservation whose counters its operation does not charge under the policy that holds
/// now, as a reload took them out.
extension DecisionWorker {
    /// Ends what such a line holds, and makes what its counter was charged `holdUnits` in all.
    func end(
        lineWithoutStep index: Int, _ reservation: Reservation, wasOpen: Bool,
        _ evaluation: inout Evaluation, in shard: Shard
    ) {
        let line = reservation.lines + index
        guard let (row, slot) = engine.place(of: line.pointee, reservation, in: shard) else {
            if line.pointee.kind == .quota {
                end(lineThatIsGone: line, reservation, wasOpen: wasOpen, &evaluation, in: shard)
            }
            return
        }
        switch slot.kind {
        case .quota:
            let meter = Int(line.pointee.meter)
            guard meter < reservation.meterCount else { return }
            let cell = row.quota(slot.offset)
            let before = wasOpen ? 0 : reservation.meters[meter].used
            let (periodEnd, startDay) = (line.pointee.periodEnd, line.pointee.startDay)
            let isOver = line.pointee.isOver(clock.period)
            if !isOver, cell.pointee.isOver(clock.period) {
                // Its row was made anew: whoever had used something of the period would be there.
                guard holdUnits[meter] > before, cell.pointee.used == 0 || cell.pointee.isClosed
                else {
                    end(
                        lineThatIsGone: line, reservation, wasOpen: wasOpen, &evaluation,
                        in: shard)
                    return
                }
                cell.pointee = QuotaCell(
                    used: 0, held: 0, endSeconds: periodEnd, carried: 0, startDay: startDay)
            }
            // Within the period that it was held in, whoever was counted in the next since.
            var charged = isOver ? before : holdUnits[meter]
            // What one of both cannot give back the other does not either: a pool stays the sum
            // of its members' shares.
            if charged < before, lacksOther(of: index, reservation, in: shard) { charged = before }
            Evaluation.end(cell, line, charged: charged, before: before)
            if isOver { (line.pointee.periodEnd, line.pointee.small) = (periodEnd, startDay) }
            if evaluation.isJournaled, charged != before {
                shard.ledger?.pointee.define(row)
                shard.ledger?.pointee.quota(row, line.pointee.counter, cell)
            }
        case .concurrency:
            guard wasOpen else { return }
            let cell = row.concurrency(slot.offset)
            if cell.pointee.open > 0 { cell.pointee.open -= 1 }
            line.pointee.units = 0
        case .window: break
        }
    }

    /// Of a quota whose counter is no more, and in no plan: its row was forgotten, or made room for
    /// Of a quota whose counter is no more, and in no plan: its row was forgotten, or made room
    /// for others. What is charged besides is billed as a part of the period that it was held in,
    /// while that goes on; what was charged before was billed, and is given back no more.
    private func end(
        lineThatIsGone line: UnsafeMutablePointer<ReservationLine>, _ reservation: Reservation,
        wasOpen: Bool, _ evaluation: inout Evaluation, in shard: Shard
    ) {
        line.pointee.units = 0
        let meter = Int(line.pointee.meter)
        guard meter < reservation.meterCount, evaluation.ledgerState != .off,
            let ledger = shard.ledger
        else { return }
        let before = wasOpen ? 0 : reservation.meters[meter].used
        let cell = QuotaCell(
            used: holdUnits[meter] &- min(holdUnits[meter], before), held: 0,
            endSeconds: line.pointee.periodEnd, carried: 0, startDay: line.pointee.startDay)
        guard cell.used > 0, cell.endSeconds > 0, !line.pointee.isOver(clock.period) else { return }
        ledger.pointee.close(
            cell, line.pointee.counter, of: Self.subject(of: line.pointee, reservation),
            isJournaled: evaluation.isJournaled)
    }

    private static func subject(
        of line: ReservationLine, _ reservation: Reservation
    ) -> ClosedPeriod.Subject {
        ClosedPeriod.Subject(
            organization: reservation.organization,
            user: line.isUser ? reservation.user : UnsafeRawBufferPointer(start: nil, count: 0),
            isPersonal: reservation.isPersonal,
            planTag: PolicyCompiler.tag(String(decoding: reservation.plan, as: UTF8.self)))
    }

    /// Slots that lines without a step may take in the journal besides their own: of the parts
    /// that `end(lineThatIsGone:)` bills, and of rows that are not the plan's.
    func slotsWithoutStep(_ reservation: Reservation, in shard: Shard) -> Int {
        var slots = 2 * ShardLedger.rowSlotsMax
        for index in 0..<reservation.lineCount {
            let line = reservation.lines[index]
            guard line.kind == .quota, !counts(line, reservation, in: shard) else { continue }
            slots &+= JournalFormat.slots(itemBytes: Self.subject(of: line, reservation).bytes)
        }
        return slots
    }

    /// Makes room in rows for counters that are to be charged and that the policy has, if not in
    /// this plan: a row with nothing in it was forgotten, or made anew with the counters of a plan.
    /// So what is charged counts wherever the quota does. False when the journal has no room for
    /// what a row is to drop. Where there is no room for a row, what is charged is billed alone.
    func keepCounters(
        of reservation: Reservation, _ scene: HoldScene, _ evaluation: inout Evaluation,
        in shard: Shard
    ) -> Bool {
        guard let binding else { return true }
        let plan = scene.plan < 0 ? nil : binding.policy.compiledPlans[scene.plan]
        lacksJournal = false
        if lacksCounter(reservation, isUser: true, in: shard, binding.policy) {
            let row = widenedRow(scene.principal, isUser: true, in: &shard.table.pointee, binding)
            if let row, let plan, evaluation.user.row != nil {
                let offsets = binding.offsets(of: Int(plan.userLayout), in: row)
                evaluation.user = RowView(row: row, offsets: offsets)
            }
        }
        if !lacksJournal, lacksCounter(reservation, isUser: false, in: shard, binding.policy) {
            let row = widenedRow(scene.principal, isUser: false, in: &shard.table.pointee, binding)
            if let row, let plan, evaluation.shared.row != nil {
                let offsets = binding.offsets(of: Int(plan.organizationLayout), in: row)
                evaluation.shared = RowView(row: row, offsets: offsets)
            }
        }
        defer { lacksJournal = false }
        return !lacksJournal
    }

    /// Whether something is to be charged to a quota of the policy whose counter stands nowhere.
    private func lacksCounter(
        _ reservation: Reservation, isUser: Bool, in shard: Shard, _ policy: PolicyImage
    ) -> Bool {
        let layout = policy.layouts[isUser ? policy.userUnion : policy.organizationUnion]
        for index in 0..<reservation.lineCount {
            let line = reservation.lines[index]
            let meter = Int(line.meter)
            guard line.kind == .quota, line.isUser == isUser, meter < reservation.meterCount,
                !line.isOver(clock.period)
            else { continue }
            let before = reservation.state == .open ? 0 : reservation.meters[meter].used
            guard holdUnits[meter] > before,
                engine.place(of: line, reservation, in: shard) == nil,
                let name = engine.layouts.names.name(Int(line.counter))
            else { continue }
            if layout.slot(name)?.kind == .quota { return true }
        }
        return false
    }

    /// Whether a line's counter is there, and counts in a period that goes on.
    private func counts(
        _ line: ReservationLine, _ reservation: Reservation, in shard: Shard
    ) -> Bool {
        guard let (row, slot) = engine.place(of: line, reservation, in: shard) else { return false }
        return !row.quota(slot.offset).pointee.isOver(clock.period)
    }

    /// Whether each line's counter is that of a step, as it is unless the policy has changed.
    @inline(__always)
    func isAsItWas(
        _ reservation: Reservation, _ scene: HoldScene, _ evaluation: inout Evaluation
    ) -> Bool {
        let (first, second) = (scene.program, scene.concurrency)
        let count = Int(first.end &- first.start) &+ Int(second.end &- second.start)
        guard count == reservation.lineCount else { return false }
        let lines = reservation.lines
        for index in 0..<count {
            let own = index &- Int(first.end &- first.start)
            let place = own < 0 ? Int(first.start) &+ index : Int(second.start) &+ own
            let step = evaluation.step(place)
            guard let offsets = evaluation.view(step).offsets,
                lines[index].counts(
                    offsets[Int(step.slot)].counter, isUser: step.scope == .user)
            else { return false }
        }
        return true
    }

    /// Whether a line is one of two, of a pool and of the member's share in it, and the other's
    /// counter is gone.
    private func lacksOther(
        of index: Int, _ reservation: Reservation, in shard: Shard
    ) -> Bool {
        let line = reservation.lines[index]
        guard let name = engine.layouts.names.name(Int(line.counter)) else { return false }
        for other in 0..<reservation.lineCount where other != index {
            let candidate = reservation.lines[other]
            guard candidate.kind == .quota, candidate.isUser != line.isUser,
                let own = engine.layouts.names.name(Int(candidate.counter)),
                CounterSlot.isOfPool(name, own)
            else { continue }
            return !counts(candidate, reservation, in: shard)
        }
        return false
    }
}

extension ReservationLine {
    /// Of a quota: whether the period is over that it was held in.
    fileprivate func isOver(_ now: WallTime) -> Bool {
        QuotaCell(used: 0, held: 0, endSeconds: periodEnd, carried: 0, startDay: small).isOver(now)
    }
}

extension CounterSlot {
    /// Whether two identities are of one pool, and of its members' shares: they differ in their
    /// first letter.
    static func isOfPool(_ first: String, _ second: String) -> Bool {
        let kinds = [first.utf8.first, second.utf8.first]
        let both = [UInt8(ascii: "q"), UInt8(ascii: "m")]
        return (kinds == both || kinds == both.reversed())
            && first.utf8.dropFirst().elementsEqual(second.utf8.dropFirst())
    }
}
