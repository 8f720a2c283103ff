import TollgateWire

/// Items of the journal that mean all of an organization.
extension ShardRestorer {
    func applyForget(_ item: UnsafeRawBufferPointer) throws(LedgerFault) {
        guard item.count > 1, item[0] <= 1 else { throw .badItem(.forget) }
        let id = item.slice(at: 1, length: item.count - 1)
        let tenant = TenantHash(id, isPersonal: item[0] == 1, engine.hash)
        engine.removeRows(of: tenant, id, in: shard)
        let table = shard.table
        handles.keep { number, handle in table.pointee.row(handle).number == number }
    }

    func applyReset(_ item: UnsafeRawBufferPointer) throws(LedgerFault) {
        guard item.count > 1, item[0] <= 3 else { throw .badItem(.reset) }
        let id = item.slice(at: 1, length: item.count - 1)
        let tenant = TenantHash(id, isPersonal: item[0] & 1 == 1, engine.hash)
        let found = shard.table.pointee.find(tenant.organizationKey(id))
        // Its row is named before, unless it was gone before the snapshot came to it.
        guard found != .none else { return }
        let row = shard.table.pointee.row(found)
        row.isResetting = item[0] & 2 == 0
    }
}
