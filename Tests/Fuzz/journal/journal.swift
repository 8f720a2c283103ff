import TollgateWire

@testable import TollgateCore

/// F6: a region of a journal. Even byte 0: the rest as it is. Odd byte 0: the rest is what slots
/// say, which get a header, sequence numbers and checksums, so that what is inside is looked at:
/// it is put into an engine, which then lives on. Nothing traps, and of a transaction that is not
/// whole nothing comes.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard count > 1, let data else { return 0 }
    let bytes = UnsafeRawBufferPointer(start: data, count: count)
    let rest = UnsafeRawBufferPointer(rebasing: bytes[1...])
    if bytes[0] & 1 == 0 {
        // Ends where its memory ends, so that one byte too far is seen.
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: rest.count, alignment: 16)
        defer { copy.deallocate() }
        copy.copyBytes(from: rest)
        read(UnsafeRawBufferPointer(copy)) { _ in true }
        return 0
    }
    let region = sealed(rest)
    defer { region.deallocate() }
    let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
    let now = Moment(
        boot: BootTime(nanoseconds: 1_000_000_000_000), wall: WallTime(seconds: 1_700_000_000))
    guard
        let restorer = ShardRestorer(
            engine, shard: Int(bytes[0] >> 1) % Engine.shardCount, names: ["q a calls 1", "w b"],
            layoutTable: UnsafeRawBufferPointer(start: nil, count: 0), archivedThrough: 3,
            copiedThrough: 0,
            saved: SavedClocks(boot: now.boot, wall: now.wall, isSameBoot: true), now: now)
    else { preconditionFailure("an empty table of layouts is one") }
    var isWhole = true
    read(UnsafeRawBufferPointer(region)) { item in
        do throws(LedgerFault) {
            try restorer.apply(item.kind, item.payload, sequence: item.sequence)
        } catch { isWhole = false }
        return isWhole
    }
    if isWhole { live(engine, restorer, now) }
    return 0
}

/// Rows are walked, closed and copied, as by a daemon.
private func live(_ engine: Engine, _ restorer: ShardRestorer, _ now: Moment) {
    do throws(LedgerFault) {
        try restorer.finish(nextSequence: 100, at: now.wall)
    } catch { return }
    var cursor = 0
    while cursor >= 0 {
        _ = engine.closePeriods(
            shard: restorer.index, slots: 1_000, cursor: &cursor, now: now)
    }
    _ = engine.shard(restorer.index).table.pointee.checkInvariants()
    precondition(engine.takeClosed(shard: restorer.index).periods.allSatisfy { entry in
        entry.bytes.withUnsafeBytes { ClosedPeriod($0) } != nil
    })
}

private func read(_ region: UnsafeRawBufferPointer, _ body: (JournalItem) -> Bool) {
    guard var reader = try? JournalReader(region) else { return }
    var isOpen = false
    while let item = reader.next() {
        isOpen = !item.endsTransaction
        guard body(item) else { return }
    }
    precondition(!isOpen, "the end of a transaction comes with it")
    guard let stop = reader.stop else { preconditionFailure("the end has a reason") }
    precondition(stop.wholeEnd <= stop.offset && stop.offset <= max(region.count, 64))
    _ = reader.isZero(behind: stop)
    _ = reader.syncedThrough(behind: stop)
}

/// A region whose slots have the bytes' kinds, flags and payloads.
private func sealed(_ content: UnsafeRawBufferPointer) -> UnsafeMutableRawBufferPointer {
    let slots = (content.count + 23) / 24
    let bytes = max(JournalFormat.regionBytesMin, JournalFormat.headerBytes + slots * 32)
    let region = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 16)
    region.initializeMemory(as: UInt8.self, repeating: 0)
    var chain = JournalRegionHeader(
        shard: 1, bytes: UInt32(bytes), firstSequence: 1, ledger: 7, life: 1, file: 1
    ).write(to: region)
    for slot in 0..<slots {
        let at = JournalFormat.headerBytes + slot * 32
        let taken = content[(slot * 24)..<min(slot * 24 + 24, content.count)]
        region.copy(UnsafeRawBufferPointer(rebasing: taken), to: at + 8)
        region.storeLittle(UInt32(slot + 1), at: at + 4)
        guard let base = region.baseAddress else { break }
        chain = JournalFormat.checksum(chain, base + at + 4, 28)
        region.storeLittle(chain, at: at)
    }
    return region
}
