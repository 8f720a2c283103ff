import TollgateWire

/// Who a saved row is of, taken apart and checked: of an image in a snapshot, or of an item that
/// defines a row.
struct RowHead {
    var kind: RowKind
    var number: UInt32
    var owner: UInt32
    var hash: UInt64
    var planTag: UInt32
    /// In the engine's registry.
    var layout: UInt32 = 0
    var id: UnsafeRawBufferPointer
    var ownerName: UnsafeRawBufferPointer

    var hasCounters: Bool { kind != .reservation && kind != .idempotency }

    /// An image of exactly its row's size. `layouts`: by number of the file.
    init(
        _ image: UnsafeRawBufferPointer, _ layouts: [UInt32], _ registry: LayoutRegistry
    ) throws(LedgerFault) {
        guard image.count >= Row.headerBytes, let kind = Self.kind(image[21]) else {
            throw .badRow(at: 0)
        }
        self.kind = kind
        hash = image.loadLittle(at: 0, as: UInt64.self)
        planTag = image.loadLittle(at: 8, as: UInt32.self)
        owner = image.loadLittle(at: 12, as: UInt32.self)
        number = image.loadLittle(at: 24, as: UInt32.self)
        let (idBytes, ownerBytes) = (Int(image[20]), Int(image[28]))
        var needed = Row.bytes(idBytes: idBytes, layoutBytes: 8, ownerBytes: ownerBytes)
        if kind != .reservation, kind != .idempotency {
            let saved = Int(image.loadLittle(at: 16, as: UInt32.self))
            guard saved < layouts.count else { throw .badRow(at: 0) }
            layout = layouts[saved]
            needed = Row.bytes(
                idBytes: idBytes, layoutBytes: registry.layout(layout).bytes,
                ownerBytes: ownerBytes)
            guard image.count < needed + RowArena.unitBytes else { throw .badRow(at: 0) }
        }
        guard needed <= image.count else { throw .badRow(at: 0) }
        id = image.slice(at: Row.headerBytes, length: idBytes)
        ownerName = image.slice(at: image.count - ownerBytes, length: ownerBytes)
    }

    /// A journal's item: `RowItem`.
    init(item: UnsafeRawBufferPointer) throws(LedgerFault) {
        guard item.count >= RowItem.headerBytes, let kind = Self.kind(item[20]) else {
            throw .badItem(.row)
        }
        self.kind = kind
        number = item.loadLittle(at: 0, as: UInt32.self)
        owner = item.loadLittle(at: 4, as: UInt32.self)
        hash = item.loadLittle(at: 8, as: UInt64.self)
        planTag = item.loadLittle(at: 16, as: UInt32.self)
        let (idBytes, ownerBytes) = (Int(item[21]), Int(item[22]))
        guard item.count == RowItem.headerBytes + idBytes + ownerBytes else {
            throw .badItem(.row)
        }
        id = item.slice(at: RowItem.headerBytes, length: idBytes)
        ownerName = item.slice(at: RowItem.headerBytes + idBytes, length: ownerBytes)
    }

    private static func kind(_ raw: UInt8) -> RowKind? {
        switch RowKind(rawValue: raw) {
        case .user: .user
        case .organization: .organization
        case .personalOrganization: .personalOrganization
        case .credential: .credential
        case .reservation: .reservation
        case .idempotency: .idempotency
        case .credits: .credits
        case .reset: .reset
        default: nil
        }
    }

    /// What the row is looked up by; `nil` when its hash is not that of its names under the
    /// engine's key, or it belongs to another shard.
    func key(in shard: Int, _ engine: Engine) -> RowKey? {
        let key = RowKey(kind: kind, owner: owner, id: id, hash: hash)
        switch kind {
        case .organization, .personalOrganization:
            let tenant = TenantHash(id, isPersonal: kind == .personalOrganization, engine.hash)
            guard tenant.hash == hash, owner == 0, id.count > 0,
                engine.shardIndex(tenant) == shard
            else { return nil }
        case .user, .credential, .credits, .reset:
            for isPersonal in [false, true] {
                let tenant = TenantHash(ownerName, isPersonal: isPersonal, engine.hash)
                if tenant.fingerprint == owner, engine.hash.hash(id, tweak: tenant.hash) == hash {
                    return engine.shardIndex(tenant) == shard ? key : nil
                }
            }
            return nil
        default: break
        }
        return key
    }
}

extension Engine {
    /// Of the tenant shards, the one that an organization lies in.
    func shardIndex(_ tenant: TenantHash) -> Int { Int(truncatingIfNeeded: tenant.hash &>> 58) }
}
