import TollgateWire

@testable import TollgateCore

/// F7: what a snapshot holds behind its checksums: two bytes of length, a table of layouts, then
/// rows as they stand in memory. Each row's hash is made right first, so that what is behind it is
/// looked at. Nothing traps; what is taken lives on in an engine.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard count > 2, let data else { return 0 }
    let bytes = UnsafeRawBufferPointer(start: data, count: count)
    let tableBytes = min(Int(bytes.loadLittle(at: 0, as: UInt16.self)), count - 2)
    let table = bytes.slice(at: 2, length: tableBytes)
    let rows = bytes.slice(at: 2 + tableBytes, length: count - 2 - tableBytes)
    let names = [
        "k 1", "k 60", "k 3600", "k 86400", "w per_address calls", "w invalid_credentials calls",
        "w per_second calls", "q daily_calls calls 1", "w per_minute calls",
        "w org_per_second calls", "q monthly_tokens tokens 2",
    ]
    for isSameBoot in [true, false] {
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        let now = Moment(
            boot: BootTime(nanoseconds: 1_000_000_000_000), wall: WallTime(seconds: 1_700_000_000))
        let saved = SavedClocks(
            boot: BootTime(nanoseconds: 999_000_000_000), wall: WallTime(seconds: 1_699_999_990),
            isSameBoot: isSameBoot)
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: rows.count, alignment: 16)
        defer { copy.deallocate() }
        copy.copyBytes(from: rows)
        let shard = hashed(copy, engine)
        guard
            let restorer = ShardRestorer(
                engine, shard: shard, names: names, layoutTable: table, archivedThrough: 0,
                copiedThrough: 0,
                saved: saved, now: now)
        else { return 0 }
        do throws(LedgerFault) {
            try restorer.add(images: UnsafeRawBufferPointer(copy))
            try restorer.finish(nextSequence: 1, at: now.wall)
        } catch { continue }
        live(engine, shard, now)
    }
    return 0
}

private func live(_ engine: Engine, _ shard: Int, _ now: Moment) {
    var cursor = 0
    while cursor >= 0 {
        _ = engine.closePeriods(shard: shard, slots: 1_000, cursor: &cursor, now: now)
    }
    _ = engine.shard(shard).table.pointee.checkInvariants()
    let slice = UnsafeMutableRawBufferPointer.allocate(
        byteCount: Engine.sliceBytesMin, alignment: 16)
    defer { slice.deallocate() }
    var place = SliceCursor()
    while !engine.copyRows(shard: shard, cursor: &place, into: slice).isEnd {}
}

/// Gives organizations and users the hashes of their names; the shard of the last.
private func hashed(_ rows: UnsafeMutableRawBufferPointer, _ engine: Engine) -> Int {
    var (at, shard) = (0, 0)
    while rows.count - at >= Row.headerBytes {
        let row = UnsafeMutableRawBufferPointer(rebasing: rows[at...])
        let bytes = Int(UnsafeRawBufferPointer(row).loadLittle(at: 22, as: UInt16.self)) * 16
        let (id, owner) = (Int(row[20]), Int(row[28]))
        guard bytes >= Row.headerBytes + id + owner, bytes <= row.count else { break }
        let image = UnsafeRawBufferPointer(row)
        let name = image.slice(at: Row.headerBytes, length: id)
        switch RowKind(rawValue: row[21]) {
        case .organization, .personalOrganization:
            let tenant = TenantHash(name, isPersonal: row[21] == 3, engine.hash)
            row.storeLittle(tenant.hash, at: 0)
            row.storeLittle(UInt32(0), at: 12)
            shard = Int(tenant.hash >> 58)
        case .user, .credential:
            let ownerName = image.slice(at: bytes - owner, length: owner)
            let tenant = TenantHash(ownerName, isPersonal: false, engine.hash)
            row.storeLittle(engine.hash.hash(name, tweak: tenant.hash), at: 0)
            row.storeLittle(tenant.fingerprint, at: 12)
            shard = Int(tenant.hash >> 58)
        default: break
        }
        at += bytes
    }
    return shard
}
