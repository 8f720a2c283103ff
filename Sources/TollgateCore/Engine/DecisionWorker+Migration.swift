import TollgateWire

/// Rows of a policy that has other counters by now. All of it under the shard's lock.
extension DecisionWorker {
    /// Gives the row every counter that the policy has in its scope: no further plan will need
    /// another layout, and no counter of any plan is lost. What it counts besides, as a reload took
    /// it out, it keeps while that goes on: put back, it goes on from there, for all whom it holds
    /// something for. What is over is closed.
    ///
    /// Where a row has no room for so much, it is closed as far as it is used, and what is held of
    /// it is given up; what ends later takes nothing off those who come after.
    @inline(never)
    func migrate(
        _ handle: RowHandle, to need: RowNeed, in table: inout RowTable, _ binding: PolicyBinding
    ) -> RowView? {
        let row = table.row(handle)
        var (number, bytes) = (binding.number(need.union), binding.layoutBytes[need.union])
        let isCounting = binding.isCounting(row, beyond: need.union, at: clock.period)
        if isCounting, let wider = binding.layout(need.union, with: row.layout) {
            (number, bytes) = wider
        } else if let hash = need.organizationHash, let ledger = engine.tenantShard(hash).ledger {
            let kept = binding.policy.layouts[need.union]
            lacksJournal = !close(quotasOf: row, without: kept, in: table, ledger)
            if lacksJournal { return nil }
            if isCounting { giveUpHolds(of: row, without: kept, in: table) }
        }
        let moved = table.replaceLayout(handle, layout: number, layoutBytes: bytes) {
            binding.migrate(from: $0, to: $1, now: now.boot)
        }
        guard moved != .none else { return nil }
        let new = table.row(moved)
        return RowView(row: new, offsets: binding.offsets(of: need.layout, in: new))
    }

    /// Puts among the closed periods what a row counts of quotas that `kept` has not: what is not
    /// over yet as the part before a reset. False when the journal had no room.
    private func close(
        quotasOf row: Row, without kept: RowLayout, in table: borrowing RowTable,
        _ ledger: UnsafeMutablePointer<ShardLedger>
    ) -> Bool {
        let (state, billing) = (engine.state, Moment(boot: now.boot, wall: clock.period))
        let counters = engine.layouts.counters(row.layout)
        for (index, slot) in engine.layouts.layout(row.layout).slots.enumerated()
        where slot.kind == .quota && kept.slot(slot.identity)?.kind != .quota {
            let cell = row.quota(slot.headOffset)
            guard cell.pointee.used > 0, !cell.pointee.isClosed else { continue }
            let credits = engine.credits(of: slot, row, in: table)
            guard
                ledger.pointee.close(
                    row, counters[index], cell, isReset: !cell.pointee.isOver(billing.wall),
                    state, now: billing, credits)
            else { return false }
            if state == .serving { hasJournaled = true }
        }
        return true
    }

    /// Of counters that `kept` has not: open reservations hold nothing of them any more, and what
    /// a cut has charged was closed. Linear in the shard's rows; for a row that is full alone.
    private func giveUpHolds(
        of row: Row, without kept: RowLayout, in table: borrowing RowTable
    ) {
        let slots = engine.layouts.layout(row.layout).slots
        let counters = engine.layouts.counters(row.layout)
        table.forEach { other in
            guard other.kind == RowKind.reservation.rawValue else { return }
            let reservation = Reservation(other)
            guard reservation.state == .open || reservation.state == .cut else { return }
            for index in 0..<reservation.lineCount {
                let line = reservation.lines + index
                guard reservation.isOf(row, line.pointee),
                    let place = counters.firstIndex(of: line.pointee.counter),
                    kept.slot(slots[place].identity) == nil
                else { continue }
                giveUp(line, of: reservation, slots[place], in: row)
            }
        }
    }

    private func giveUp(
        _ line: UnsafeMutablePointer<ReservationLine>, of reservation: Reservation,
        _ slot: CounterSlot, in row: Row
    ) {
        switch (slot.kind, reservation.state) {
        case (.quota, .cut): line.pointee.isClosed = true
        case (.quota, _):
            let cell = row.quota(slot.headOffset)
            if line.pointee.periodEnd == cell.pointee.endSeconds {
                cell.pointee.held &-= min(cell.pointee.held, line.pointee.units)
            }
            line.pointee.units = 0
        case (.concurrency, .open):
            Evaluation.end(row.concurrency(slot.headOffset), line)
        default: break
        }
    }

    /// Gives a row a counter of a quota that no plan has: what is charged to it late goes on where
    /// the quota was, if it is put back. False, and nothing changed, where there is no room.
    func addQuota(
        _ identity: String, to handle: RowHandle, in table: inout RowTable,
        _ binding: PolicyBinding
    ) -> Bool {
        let layout = engine.layouts.layout(table.row(handle).layout)
        let slot = CounterSlot(identity: identity, kind: .quota)
        guard let wider = engine.layouts.wider(layout, [slot]) else { return false }
        let moved = table.replaceLayout(
            handle, layout: wider.number, layoutBytes: wider.bytes
        ) { binding.migrate(from: $0, to: $1, now: now.boot) }
        return moved != .none
    }
}
