import TollgateWire

/// Bringing near what requests will read, in three steps: call the first three requests ahead, the
/// second two, the third one. Nothing is judged here: a request that is not what it seems to be
/// brings the wrong lines near.
extension DecisionWorker {
    /// Where the credential, or the reservation, is looked for.
    @inline(__always)
    package func prefetchPlace(_ opcode: UInt8, _ body: UnsafeRawBufferPointer) {
        if Self.namesHold(opcode) { return prefetchHold(body, .place) }
        if let token = Self.token(of: body) { cache.prefetchTags(token) }
    }

    /// The credential's entry, or the reservation's row.
    @inline(__always)
    package func prefetchEntry(_ opcode: UInt8, _ body: UnsafeRawBufferPointer) {
        if Self.namesHold(opcode) { return prefetchHold(body, .row) }
        if let token = Self.token(of: body) { cache.prefetchEntry(token) }
    }

    /// The rows that it will charge.
    @inline(__always)
    package func prefetchRows(_ opcode: UInt8, _ body: UnsafeRawBufferPointer) {
        if Self.namesHold(opcode) { return prefetchHold(body, .counters) }
        if let token = Self.token(of: body) { cache.prefetchRows(token) }
    }

    /// The credential of a CHECK or RESERVE that may or may not be well-formed.
    @inline(__always)
    private static func token(of body: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        guard body.count > BodyBytes.checkRequest, body[0] != CredentialKind.none.rawValue
        else { return nil }
        let bytes = Int(body.loadLittle(at: 6, as: UInt16.self))
        guard body.count &- BodyBytes.checkRequest >= bytes else { return nil }
        return body.slice(at: BodyBytes.checkRequest, length: bytes)
    }

    // MARK: reservations

    private enum HoldStep { case place, row, counters }

    @inline(__always)
    private static func namesHold(_ opcode: UInt8) -> Bool {
        opcode >= Opcode.extend.rawValue && opcode <= Opcode.cancel.rawValue
    }

    /// Who made the id up is found out later: until then it is a number of a shard.
    @inline(never)
    private func prefetchHold(_ body: UnsafeRawBufferPointer, _ step: HoldStep) {
        guard body.count >= BodyBytes.reservationID else { return }
        let id = ReservationID(body)
        guard let index = id.shardNamed else { return }
        let shard = engine.shard(index)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        switch step {
        case .place: shard.table.pointee.prefetchPlace(id.high)
        case .row: shard.table.pointee.prefetchRow(id.high, lines: 7)
        case .counters:
            let handle = shard.table.pointee.likelyRow(id.high)
            guard handle != .none else { return }
            let row = shard.table.pointee.row(handle)
            guard row.kind == RowKind.reservation.rawValue else { return }
            let head = Reservation(row).head
            shard.table.pointee.prefetchRow(head.pointee.userHash, lines: 4)
            shard.table.pointee.prefetchRow(head.pointee.organizationHash, lines: 3)
            shard.ledger?.pointee.kept.open.prefetch(head.pointee.kept.ticket)
        }
    }
}
