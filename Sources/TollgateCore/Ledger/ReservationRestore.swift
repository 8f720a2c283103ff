import TollgateWire

extension TenantHash {
    /// Whether a reservation is of this organization.
    func owns(_ reservation: Reservation) -> Bool {
        reservation.head.pointee.organizationHash == hash
            && reservation.head.pointee.fingerprint == fingerprint
    }
}

/// Reservations and idempotency records, when a shard has been put together again: what is held
/// and open is their sum.
extension ShardRestorer {
    /// Room behind a reservation's content for the answer to its end.
    static let answerRoom =
        BodyBytes.decisionReply + 6 * WireLimits.identifierBytesMax

    /// Checks a row that was read from a disk, and brings it into this life: what means something
    /// in memory alone is cleared, and counters have the numbers that they have now.
    func begin(keeping row: Row, _ handle: RowHandle) throws(LedgerFault) {
        guard row.kind == RowKind.reservation.rawValue else {
            guard IdempotencyRecord.isWhole(row.content) else { throw .badItem(.idempotency) }
            return KeptRow(row).reset(handle)
        }
        guard Reservation.isWhole(row.content), row.idBytes == BodyBytes.reservationID,
            ReservationID(row.id).shard(engine.hash) == index
        else { throw .badItem(.reservation) }
        let reservation = Reservation(row)
        reservation.kept.reset(handle)
        for place in 0..<reservation.lineCount {
            let counter = reservation.lines[place].counter
            guard let name = meaning[counter] else { throw .unknownCounter(counter) }
            guard let number = engine.layouts.names.number(of: name) else {
                throw .tooManyCounters
            }
            reservation.lines[place].counter = number
        }
    }

    /// A reservation or an idempotency record: what was known of it gives place.
    func applyContent(
        _ kind: JournalKind, _ item: UnsafeRawBufferPointer, _ sequence: UInt64
    ) throws(LedgerFault) {
        guard item.count >= ContentItem.headerBytes else { throw .badItem(kind) }
        let idBytes = Int(item[12])
        let (start, contentBytes) = (
            ContentItem.headerBytes + idBytes, item.count - ContentItem.headerBytes - idBytes
        )
        guard idBytes > 0, contentBytes >= KeptHead.bytes,
            contentBytes <= RowArena.rowUnitsMax / 2 * RowArena.unitBytes
        else { throw .badItem(kind) }
        let key = RowKey(
            kind: kind == .reservation ? .reservation : .idempotency,
            owner: item.loadLittle(at: 8, as: UInt32.self),
            id: item.slice(at: ContentItem.headerBytes, length: idBytes),
            hash: item.loadLittle(at: 0, as: UInt64.self))
        try replace(
            key, item.slice(at: start, length: contentBytes),
            room: kind == .reservation ? Self.answerRoom : 0, sequence)
    }

    /// Makes the row of a key with this content, and room behind it, in place of the one there is.
    func replace(
        _ key: RowKey, _ content: UnsafeRawBufferPointer, room: Int, _ sequence: UInt64
    ) throws(LedgerFault) {
        let old = shard.table.pointee.find(key)
        if old != .none { remove(old) }
        let handle = shard.table.pointee.insert(
            key, layout: 0, layoutBytes: content.count + room)
        guard handle != .none else { throw .outOfMemory }
        let row = shard.table.pointee.row(handle)
        UnsafeMutableRawBufferPointer(start: row.counters, count: content.count).copy(
            content, to: 0)
        row.isDefined = true
        parts.note(handle, sequence)
        try begin(keeping: row, handle)
    }

    /// A packed reservation: what was known of it gives place.
    func applyHold(
        _ item: UnsafeRawBufferPointer, _ sequence: UInt64
    ) throws(LedgerFault) {
        guard let made = UnpackedReservation(hold: item, engine.hash) else {
            throw .badItem(.hold)
        }
        try replace(made, room: Self.answerRoom, .hold, sequence)
    }

    /// The end of a reservation that is known; of one that is settled already, the snapshot has it.
    func applySettled(
        _ item: UnsafeRawBufferPointer, _ sequence: UInt64
    ) throws(LedgerFault) {
        guard item.count >= 8 else { throw .badItem(.settled) }
        let low = item.loadLittle(at: 0, as: UInt64.self)
        let id = ReservationID(low: low, sealedBy: engine.hash)
        let handle = id.withKey { shard.table.pointee.find($0) }
        guard handle != .none else { throw .unknownRow(UInt32(truncatingIfNeeded: low &>> 32)) }
        let reservation = Reservation(shard.table.pointee.row(handle))
        guard reservation.state != .settled else { return }
        guard let made = UnpackedReservation(settled: item, of: reservation) else {
            throw .badItem(.settled)
        }
        try replace(made, room: 0, .settled, sequence)
    }

    private func replace(
        _ made: UnpackedReservation, room: Int, _ kind: JournalKind, _ sequence: UInt64
    ) throws(LedgerFault) {
        guard made.id.shardNamed == index,
            made.content.count <= RowArena.rowUnitsMax / 2 * RowArena.unitBytes
        else { throw .badItem(kind) }
        var failure: LedgerFault?
        made.content.withUnsafeBytes { content in
            made.id.withKey { key in
                do throws(LedgerFault) {
                    try replace(key, content, room: room, sequence)
                } catch {
                    failure = error
                }
            }
        }
        if let failure { throw failure }
    }

    /// Counts what open reservations hold, and begins to wait for their ends. What was tied to a
    /// connection is due at once: the connection is gone. What was to be forgotten meanwhile, is:
    /// by billing time, as it was to be.
    func restoreKept(at time: WallTime) throws(LedgerFault) {
        var kept: [(forgetAt: Int64, handle: RowHandle)] = []
        shard.table.pointee.forEach { row in
            guard !row.hasCounters else { return }
            let head = KeptRow(row).head.pointee
            kept.append((head.forgetAt, head.handle))
        }
        // The handle settles what came at the same time: the same state from the same bytes.
        kept.sort { ($0.forgetAt, $0.handle.raw) < ($1.forgetAt, $1.handle.raw) }
        for (forgetAt, handle) in kept {
            let row = shard.table.pointee.row(handle)
            guard forgetAt > time.milliseconds else {
                shard.table.pointee.remove(handle)
                continue
            }
            if row.kind == RowKind.idempotency.rawValue {
                engine.idempotencyRecords.wrappingAdd(1, ordering: .relaxed)
                shard.ledger?.pointee.kept.records.append(
                    KeptRow(row), in: shard.table.pointee)
            } else {
                try restore(Reservation(row), at: time)
            }
        }
    }

    private func restore(
        _ reservation: Reservation, at time: WallTime
    ) throws(LedgerFault) {
        engine.reservations.wrappingAdd(1, ordering: .relaxed)
        let head = reservation.head
        head.pointee.worker = 0
        head.pointee.note = 0
        head.pointee.calendar = subscribedCalendar(reservation)
        if !saved.isSameBoot {
            for index in 0..<reservation.lineCount where reservation.lines[index].kind == .window {
                // Boottime began anew: which bucket it was, is not known.
                reservation.lines[index].small = 0
            }
        }
        guard reservation.state == .open else {
            shard.ledger?.pointee.kept.ended.append(reservation.kept, in: shard.table.pointee)
            return
        }
        for index in 0..<reservation.lineCount {
            try restore(reservation.lines[index], of: reservation)
        }
        let (left, _) = head.pointee.endsAt.subtractingReportingOverflow(time.milliseconds)
        let life = UInt64(head.pointee.timeToLiveMilliseconds)
        let wait = reservation.isDetached ? min(UInt64(max(0, left)), life) : 0
        let end = reservation.isDetached ? now.boot.nanoseconds &+ wait &* 1_000_000 : 0
        shard.ledger?.pointee.kept.open.insert(reservation.kept, end: end)
        engine.openReservations.wrappingAdd(1, ordering: .relaxed)
    }

    private func restore(
        _ line: ReservationLine, of reservation: Reservation
    ) throws(LedgerFault) {
        guard let kind = line.kind, kind != .window,
            let name = engine.layouts.names.name(Int(line.counter)),
            let handle = handle(of: line, reservation)
        else { return }
        let slotKind: CounterSlot.Kind = kind == .quota ? .quota : .concurrency
        let (row, offset) = try counter(name, slotKind, of: handle)
        if kind == .concurrency {
            if line.units > 0 { row.concurrency(offset).pointee.open &+= 1 }
            return
        }
        let cell = row.quota(offset)
        if cell.pointee.endSeconds < line.periodEnd, cell.pointee.used == 0 || cell.pointee.isClosed
        {
            // Opened, and nothing charged in it yet.
            cell.pointee = QuotaCell(
                used: 0, endSeconds: line.periodEnd, journaledDay: line.small & 0x7f_ffff)
        }
        if cell.pointee.endSeconds == line.periodEnd {
            cell.pointee.held = Evaluation.sum(cell.pointee.held, line.units)
        }
    }

    /// Where the organization's periods begin, by the directory as it was loaded.
    private func subscribedCalendar(_ reservation: Reservation) -> UInt16 {
        engine.directory.calendar(of: reservation.tenant, reservation.organization)
    }

    private func handle(of line: ReservationLine, _ reservation: Reservation) -> RowHandle? {
        let (head, tenant) = (reservation.head.pointee, reservation.tenant)
        let key =
            line.isUser
            ? RowKey(
                kind: .user, owner: head.fingerprint, id: reservation.user, hash: head.userHash)
            : tenant.organizationKey(reservation.organization)
        let found = shard.table.pointee.find(key)
        return found == .none ? nil : found
    }
}
