import TollgateWire

/// Items of the journal that mean more than one row: periods that are over, and all of an
/// organization.
extension ShardRestorer {
    func applyForget(_ item: UnsafeRawBufferPointer) throws(LedgerFault) {
        guard item.count > 1, item[0] <= 1 else { throw .badItem(.forget) }
        let id = item.slice(at: 1, length: item.count - 1)
        let tenant = TenantHash(id, isPersonal: item[0] == 1, engine.hash)
        engine.removeRows(of: tenant, id, in: shard)
        let table = shard.table
        handles.keep { number, handle in table.pointee.row(handle).number == number }
    }

    func applyReset(
        _ item: UnsafeRawBufferPointer, _ sequence: UInt64
    ) throws(LedgerFault) {
        guard item.count > 1, item[0] <= 3 else { throw .badItem(.reset) }
        let id = item.slice(at: 1, length: item.count - 1)
        let tenant = TenantHash(id, isPersonal: item[0] & 1 == 1, engine.hash)
        let found = shard.table.pointee.find(tenant.organizationKey(id))
        // Its row is named before, unless it was gone before the snapshot came to it.
        guard found != .none else { return }
        let row = shard.table.pointee.row(found)
        row.isResetting = item[0] & 2 == 0
        if row.isResetting { parts.reset(organization: row.hash, sequence) }
    }

    func applyClosed(
        _ item: UnsafeRawBufferPointer, sequence: UInt64
    ) throws(LedgerFault) {
        guard ClosedPeriod(item) != nil else { throw .badItem(.closed) }
        guard sequence > archivedThrough else { return }
        let counter = item.loadLittle(at: 0, as: UInt16.self)
        guard let name = meaning[counter] else { throw .unknownCounter(counter) }
        guard let number = engine.layouts.names.number(of: name) else { throw .tooManyCounters }
        var period = Array(item)
        period[0] = UInt8(number & 0xff)
        period[1] = UInt8(number >> 8)
        period.withUnsafeBytes { shard.ledger?.pointee.closed.append($0, sequence: sequence) }
    }

    /// What a snapshot holds of closed periods that were not archived yet, named by the snapshot.
    package func add(
        closed item: UnsafeRawBufferPointer, sequence: UInt64
    ) throws(LedgerFault) { try applyClosed(item, sequence: sequence) }
}
