import COpenSSL
import TollgateWire

/// What reservations do to a stage's counters. All under the shard's lock; what is journaled, after
/// `prepare(keeping:)`.
extension Evaluation {
    /// Makes room in the journal for `slots` and the names of the stage's rows; false when it
    /// cannot be written. Where nothing is journaled there is room.
    mutating func prepare(keeping slots: Int) -> Bool {
        guard let ledger, ledgerState != .off, ledgerState != .unjournaled else { return true }
        return prepare(slots: slots, ledger)
    }

    /// Rolls every quota whose period is over, which needs transactions of its own.
    mutating func roll(_ range: StepRange) {
        for index in Int(range.start)..<Int(range.end) where steps[index].isQuota {
            _ = used(step(index))
        }
    }

    // MARK: concurrency

    /// The step of a limit that has as many open as it allows; -1: none has.
    mutating func busy(_ range: StepRange) -> Int {
        for index in Int(range.start)..<Int(range.end) {
            let step = step(index)
            guard open(step) >= step.limit else { continue }
            guard step.flags.contains(.shadow) else { return index }
            shadowedBusy |= Self.bit(index)
        }
        return -1
    }

    /// Open reservations that a step counts.
    mutating func open(_ step: ChargeStep) -> UInt64 {
        let view = view(step)
        guard let row = view.row, let offsets = view.offsets else { return 0 }
        return UInt64(row.concurrency(Int(offsets[Int(step.slot)].head)).pointee.open)
    }

    /// Counts one more, with a line for each step; how many lines.
    mutating func begin(
        _ range: StepRange, into lines: UnsafeMutablePointer<ReservationLine>
    ) -> Int {
        var count = 0
        for index in Int(range.start)..<Int(range.end) {
            let step = steps[index]
            let view = view(step)
            guard let row = view.row, let offsets = view.offsets else { continue }
            let place = offsets[Int(step.slot)]
            row.concurrency(Int(place.head)).pointee.open &+= 1
            var line = ReservationLine(
                .concurrency, isUser: step.scope == .user, counter: place.counter, meter: 0)
            line.units = 1
            lines[count] = line
            count &+= 1
        }
        return count
    }

    /// Counts one less.
    mutating func end(_ step: ChargeStep, _ line: UnsafeMutablePointer<ReservationLine>) {
        let view = view(step)
        guard let row = view.row, let offsets = view.offsets else { return }
        Self.end(row.concurrency(Int(offsets[Int(step.slot)].head)), line)
    }

    /// A line that was given up counts nowhere.
    static func end(
        _ cell: UnsafeMutablePointer<ConcurrencyCell>,
        _ line: UnsafeMutablePointer<ReservationLine>
    ) {
        if line.pointee.units > 0, cell.pointee.open > 0 { cell.pointee.open &-= 1 }
        line.pointee.units = 0
    }

    // MARK: holding

    /// Brings near the cells of windows that `hold` charges: `look` reads sums alone.
    func prefetchCharges(_ range: StepRange) {
        for index in Int(range.start)..<Int(range.end) where !steps[index].isQuota {
            let step = steps[index]
            let view = view(step)
            guard let row = view.row, let offsets = view.offsets else { continue }
            let shape = turnShapes + Int(step.form)
            let cell = shape.pointee.cell &* Int(shape.pointee.shape.cellBytes)
            tg_prefetch(row.counters + Int(offsets[Int(step.slot)].ring) + cell)
        }
    }

    /// Holds what `look` admitted: quotas hold it, windows are charged, and a line tells of each.
    /// How many lines.
    mutating func hold(
        _ range: StepRange, into lines: UnsafeMutablePointer<ReservationLine>
    ) -> Int {
        var count = 0
        for index in Int(range.start)..<Int(range.end) {
            let step = steps[index]
            let view = view(step)
            guard let row = view.row, let offsets = view.offsets else { continue }
            let place = offsets[Int(step.slot)]
            lines[count] = ReservationLine(
                step.isQuota ? .quota : .window, isUser: step.scope == .user,
                counter: place.counter, meter: step.charge)
            if isShadowed(index), !step.isQuota {
                Self.leaveOut(units[Int(step.charge)], &lines[count])
            } else {
                hold(units[Int(step.charge)], step, row, place, &lines[count])
            }
            count &+= 1
        }
        return count
    }

    /// A window in shadow does not count what it does not admit, and gives nothing back of it.
    static func leaveOut(_ wanted: UInt64, _ line: inout ReservationLine) {
        line.units = sum(line.units, wanted)
        line.small = 0
    }

    /// Holds more for a line, whose period may be another by now.
    mutating func hold(
        _ wanted: UInt64, _ step: ChargeStep, _ row: Row, _ place: SlotOffsets,
        _ line: inout ReservationLine
    ) {
        guard step.isQuota else { return charge(wanted, step, row, place, &line) }
        let cell = row.quota(Int(place.head))
        if line.periodEnd != cell.pointee.endSeconds {
            line.units = 0
            line.periodEnd = cell.pointee.endSeconds
            line.small = cell.pointee.startDay
        }
        let before = cell.pointee.occupied
        cell.pointee.held = Self.sum(cell.pointee.held, wanted)
        noteShare(step, cell, before: before)
        line.units = Self.sum(line.units, wanted)
        // Of what was carried over nothing else tells before something is charged.
        if isJournaled, cell.pointee.carried > 0, let ledger {
            ledger.pointee.carried(row, place.counter, cell)
        }
    }

    mutating func hold(_ wanted: UInt64, _ step: ChargeStep, _ line: inout ReservationLine) {
        let view = view(step)
        guard let row = view.row, let offsets = view.offsets else { return }
        hold(wanted, step, row, offsets[Int(step.slot)], &line)
    }

    /// Charges a window, and notes what may be given back of it: the last units that it took.
    private mutating func charge(
        _ wanted: UInt64, _ step: ChargeStep, _ row: Row, _ place: SlotOffsets,
        _ line: inout ReservationLine
    ) {
        guard wanted > 0 else { return }
        let (head, ring) = (row.head(Int(place.head)), row.counters + Int(place.ring))
        charge(wanted, head, ring, turnShapes + Int(step.form))
        let at = head.pointee.newest &* turnShapes[Int(step.form)].shape.bucketNanoseconds
        line.small = UInt32(
            clamping: line.at == at ? Self.sum(UInt64(line.small), wanted) : wanted)
        line.at = at
        line.units = Self.sum(line.units, wanted)
    }

    // MARK: ending

    /// Ends what a line holds of a step's counter, and makes what is charged `charged` in all, of
    /// which a cut has charged `before`. With `settles` a window is charged that, too; else it
    /// stays as it is.
    mutating func end(
        _ step: ChargeStep, _ line: UnsafeMutablePointer<ReservationLine>?, charged: UInt64,
        before: UInt64, settles: Bool
    ) {
        let view = view(step)
        guard let row = view.row, let offsets = view.offsets else { return }
        let place = offsets[Int(step.slot)]
        guard step.isQuota else {
            if settles { settle(step, row, place, line, charged) }
            return
        }
        let cell = row.quota(Int(place.head))
        let occupied = cell.pointee.occupied
        // What was burnt of a part that was closed stays burnt.
        let back = line?.pointee.isClosed == true ? 0 : before &- min(before, charged)
        Self.end(cell, line, charged: charged, before: before)
        noteShare(step, cell, before: occupied)
        guard charged != before else { return }
        if isJournaled, let ledger { ledger.pointee.quota(row, place.counter, cell) }
        if step.flags.contains(.credits) { burn(step, cell, givingBack: back) }
    }

    /// Of a quota whose period is not over. What was charged of a part that was closed since is
    /// given back no more.
    static func end(
        _ cell: UnsafeMutablePointer<QuotaCell>, _ line: UnsafeMutablePointer<ReservationLine>?,
        charged: UInt64, before: UInt64
    ) {
        let isSamePeriod = line?.pointee.periodEnd == cell.pointee.endSeconds
        if let line {
            if isSamePeriod {
                cell.pointee.held &-= min(cell.pointee.held, line.pointee.units)
            }
            line.pointee.units = 0
        }
        if charged >= before {
            cell.pointee.used = sum(cell.pointee.used, charged &- before)
        } else if isSamePeriod, line?.pointee.isClosed == false {
            cell.pointee.used &-= min(cell.pointee.used, before &- charged)
        }
        line?.pointee.periodEnd = cell.pointee.endSeconds
        line?.pointee.small = cell.pointee.startDay
    }

    /// Makes what a window counts of the line `charged`, as far as it still can be given back.
    private mutating func settle(
        _ step: ChargeStep, _ row: Row, _ place: SlotOffsets,
        _ line: UnsafeMutablePointer<ReservationLine>?, _ charged: UInt64
    ) {
        let taken = line?.pointee.units ?? 0
        if charged != taken {
            let turnShape = PolicyBinding.at(turn, now.boot, turnShapes + Int(step.form))
            let (head, ring) = (row.head(Int(place.head)), row.counters + Int(place.ring))
            Window.advance(head, ring, turnShape.shape, index: turnShape.index)
            if charged > taken {
                charge(charged &- taken, head, ring, turnShapes + Int(step.form))
            } else if let line {
                Window.refund(
                    head, ring, turnShape.shape,
                    units: min(taken &- charged, UInt64(line.pointee.small)),
                    chargedAt: BootTime(nanoseconds: line.pointee.at))
            }
        }
        line?.pointee.units = charged
        line?.pointee.small = 0
    }

    static func sum(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let (sum, overflow) = a.addingReportingOverflow(b)
        return overflow ? .max : sum
    }
}
