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
            Evaluation.end(row.concurrency(slot.offset), line)
        case .window: break
        }
    }

    /// Of a quota whose counter is no more, and for which there is no room: its row was forgotten,
    /// or made room for others. What is charged besides is billed as a part of the period that it
    /// was held in, while that goes on; what was charged before was billed, and is given back no
    /// more.
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

    /// Makes room in rows for counters that are to be charged, whether this plan has them, another,
    /// or none any more: a row with nothing in it was forgotten, or made anew with the counters of
    /// a plan. So what is charged counts wherever the quota does, also once it is put back. False
    /// when the journal has no room for what a row is to drop. Where there is no room for a row,
    /// what is charged is billed alone.
    func keepCounters(
        of reservation: Reservation, _ scene: HoldScene, _ evaluation: inout Evaluation,
        in shard: Shard
    ) -> Bool {
        guard let binding else { return true }
        let plan = scene.plan < 0 ? nil : binding.policy.compiledPlans[scene.plan]
        lacksJournal = false
        defer { lacksJournal = false }
        for isUser in [true, false]
        where lackedCounter(reservation, isUser: isUser, in: shard) != nil {
            guard let row = row(of: reservation, scene, isUser: isUser, in: shard, binding) else {
                if lacksJournal { return false }
                continue
            }
            guard let plan else { continue }
            if isUser, evaluation.user.row != nil {
                let offsets = binding.offsets(of: Int(plan.userLayout), in: row)
                evaluation.user = RowView(row: row, offsets: offsets)
            } else if !isUser, evaluation.shared.row != nil {
                let offsets = binding.offsets(of: Int(plan.organizationLayout), in: row)
                evaluation.shared = RowView(row: row, offsets: offsets)
            }
        }
        return true
    }

    /// The row of a scope with every counter of it that is to be charged, as far as there is room.
    private func row(
        of reservation: Reservation, _ scene: HoldScene, isUser: Bool, in shard: Shard,
        _ binding: PolicyBinding
    ) -> Row? {
        guard
            let widened = widenedRow(
                scene.principal, isUser: isUser, in: &shard.table.pointee, binding)
        else { return nil }
        let key = isUser ? scene.principal.userKey : scene.principal.organizationKey
        var row = widened
        while let lacked = lackedCounter(reservation, isUser: isUser, in: shard) {
            let handle = shard.table.pointee.find(key)
            guard addQuota(lacked, to: handle, in: &shard.table.pointee, binding) else { break }
            row = shard.table.pointee.row(shard.table.pointee.find(key))
        }
        return row
    }

    /// The identity of a quota that is to be charged and whose counter stands nowhere.
    private func lackedCounter(
        _ reservation: Reservation, isUser: Bool, in shard: Shard
    ) -> String? {
        for index in 0..<reservation.lineCount {
            let line = reservation.lines[index]
            let meter = Int(line.meter)
            guard line.kind == .quota, line.isUser == isUser, meter < reservation.meterCount,
                !line.isOver(clock.period)
            else { continue }
            let before = reservation.state == .open ? 0 : reservation.meters[meter].used
            if holdUnits[meter] > before, engine.place(of: line, reservation, in: shard) == nil {
                return engine.layouts.names.name(Int(line.counter))
            }
        }
        return nil
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
        guard let other = other(of: index, reservation) else { return false }
        return !counts(reservation.lines[other], reservation, in: shard)
    }

    /// What was closed of one of both, of a pool or of the member's share in it, the other does not
    /// give back either: a pool stays the sum of its members' shares.
    func closeBoth(_ reservation: Reservation) {
        let lines = reservation.lines
        for index in 0..<reservation.lineCount where lines[index].isClosed {
            if let other = other(of: index, reservation) { lines[other].isClosed = true }
        }
    }

    private func other(of index: Int, _ reservation: Reservation) -> Int? {
        let line = reservation.lines[index]
        guard let name = engine.layouts.names.name(Int(line.counter)) else { return nil }
        return (0..<reservation.lineCount).first { other in
            let candidate = reservation.lines[other]
            guard candidate.kind == .quota, candidate.isUser != line.isUser,
                let own = engine.layouts.names.name(Int(candidate.counter))
            else { return false }
            return CounterSlot.isOfPool(name, own)
        }
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
