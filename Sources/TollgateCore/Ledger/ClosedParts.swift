import TollgateWire

/// What resets of an organization's quotas make of reservations whose cut was charged before: it
/// was closed as a part of its period, so that a late SETTLE gives nothing back of it. Their lines
/// say so, in memory and in snapshots; the journal does not say it again, as it follows from the
/// order of what it does say.
extension Engine {
    /// The organization's quotas begin anew. Linear in the shard's ended reservations; under its
    /// lock.
    func noteClosed(
        of tenant: TenantHash, in shard: Shard, _ ledger: UnsafeMutablePointer<ShardLedger>
    ) {
        var next = ledger.pointee.kept.ended.first
        while next != .none {
            let kept = KeptRow(shard.table.pointee.row(next))
            next = kept.head.pointee.next
            let reservation = Reservation(kept.row)
            guard reservation.state == .cut, tenant.owns(reservation) else { continue }
            reservation.noteClosed { _ in true }
        }
    }
}

extension Reservation {
    /// Of a cut one: what it charged to the lines that `isClosed` names was closed.
    fileprivate func noteClosed(_ isClosed: (ReservationLine) -> Bool) {
        for index in 0..<lineCount where lines[index].kind == .quota && isClosed(lines[index]) {
            lines[index].isClosed = true
        }
    }
}

/// What a shard's journal closes by resets while it is replayed, by sequence number, and where the
/// journal said last what of a reservation. In memory of a start alone.
struct ClosedParts {
    /// A counter of a row: its keyed hash, and the counter's number in this life.
    private struct Place: Hashable {
        var row: UInt64
        var counter: UInt16
    }

    /// What the item before closed: the counter, as the journal calls it.
    private var closing: UInt16?
    private var counters: [Place: UInt64] = [:]
    /// By the keyed hash of an organization, where a reset of it began.
    private var organizations: [UInt64: UInt64] = [:]
    /// By the handle of its row, of reservations that came behind the first reset.
    private var reservations: [UInt32: UInt64] = [:]

    var isEmpty: Bool { counters.isEmpty && organizations.isEmpty }

    /// With each item, first; what the item before closed.
    mutating func begin(_ kind: JournalKind, _ item: UnsafeRawBufferPointer) -> UInt16? {
        defer {
            closing =
                kind == .closed && item.count >= 2 ? item.loadLittle(at: 0, as: UInt16.self) : nil
        }
        return closing
    }

    mutating func reset(organization hash: UInt64, _ sequence: UInt64) {
        organizations[hash] = sequence
    }

    mutating func reset(row hash: UInt64, _ counter: UInt16, _ sequence: UInt64) {
        counters[Place(row: hash, counter: counter)] = sequence
    }

    /// A reservation as the journal has it replaces what was known of it.
    mutating func note(_ handle: RowHandle, _ sequence: UInt64) {
        if !isEmpty { reservations[handle.raw] = sequence }
    }

    /// Whether a reset came behind the reservation, as it stands now, and closed the line's
    /// counter.
    fileprivate func isClosed(_ line: ReservationLine, of reservation: Reservation) -> Bool {
        let head = reservation.head.pointee
        let hash = line.isUser ? head.userHash : head.organizationHash
        let last = reservations[head.kept.handle.raw] ?? 0
        return organizations[head.organizationHash] ?? 0 > last
            || counters[Place(row: hash, counter: line.counter)] ?? 0 > last
    }
}

extension ShardRestorer {
    /// A reset closes a part of a period in two items, of which this is the second: the counter
    /// goes on at 0, and is not closed as a whole.
    func notePart(of closing: UInt16?, _ item: UnsafeRawBufferPointer, _ sequence: UInt64) {
        let counter = item.loadLittle(at: 0, as: UInt16.self)
        let period = PeriodBytes(word: item.loadLittle(at: 14, as: UInt64.self))
        let handle = handles.find(item.loadLittle(at: 2, as: UInt32.self))
        guard counter == closing, handle != .none,
            item.loadLittle(at: 6, as: UInt64.self) == 0,
            period.startDay & QuotaCell.closedDay == 0,
            let number = meaning[counter].flatMap({ engine.layouts.names.number(of: $0) })
        else { return }
        parts.reset(row: shard.table.pointee.row(handle).hash, number, sequence)
    }

    /// Once all items were taken: what resets closed of reservations that had been cut before.
    func noteParts() {
        guard !parts.isEmpty else { return }
        let parts = parts
        shard.table.pointee.forEach { row in
            guard row.kind == RowKind.reservation.rawValue else { return }
            let reservation = Reservation(row)
            guard reservation.state == .cut else { return }
            reservation.noteClosed { parts.isClosed($0, of: reservation) }
        }
    }
}
