import TollgateWire

/// Where a walk over a shard's rows goes on. What stood before it when it came there was seen; what
/// was made there since stands in the journal, and what moves meanwhile goes where it still comes.
package struct SliceCursor: Sendable, Equatable {
    var chunk = 0
    var offset = 0
    /// The shard knows that it is walked over, until `endWalk` or the last slice.
    var isWalking = false

    package init() {}
}

/// What a snapshot is made of. Each shard's slices are copied one after the other while requests
/// go on in between: with the journal from where it stood before the first slice on, they are the
/// state at any later point of it.
extension Engine {
    /// Room that a slice's buffer has at least: any row fits.
    package static let sliceBytesMin = RowArena.rowUnitsMax * RowArena.unitBytes
    /// A slice ends behind so much: what is copied while a request may wait.
    private static let sliceBytes = 32 * 1024

    /// Copies rows as they stand in memory, one after the other; how many bytes, and whether these
    /// were the last. Holds the shard's lock for a few microseconds. Whoever began goes on to the
    /// last, or calls `endWalk`.
    package func copyRows(
        shard index: Int, cursor: inout SliceCursor, into slice: UnsafeMutableRawBufferPointer
    ) -> (bytes: Int, isEnd: Bool) {
        precondition(slice.count >= Self.sliceBytesMin)
        let shard = shard(index)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        if !cursor.isWalking { shard.table.pointee.beginWalk() }
        cursor.isWalking = true
        let (copied, isEnd) = copyRows(of: shard.table, &cursor, into: slice)
        if isEnd {
            shard.table.pointee.endWalk()
            cursor.isWalking = false
        } else {
            shard.table.pointee.noteWalked(chunk: cursor.chunk, offset: cursor.offset)
        }
        return (copied, isEnd)
    }

    /// A walk that has begun is not gone on with.
    package func endWalk(shard index: Int, cursor: inout SliceCursor) {
        guard cursor.isWalking else { return }
        let shard = shard(index)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        shard.table.pointee.endWalk()
        cursor.isWalking = false
    }

    private func copyRows(
        of table: UnsafeMutablePointer<RowTable>, _ cursor: inout SliceCursor,
        into slice: UnsafeMutableRawBufferPointer
    ) -> (bytes: Int, isEnd: Bool) {
        guard let chunk = table.pointee.chunk(cursor.chunk) else { return (0, true) }
        var copied = 0
        let start = cursor.offset
        while cursor.offset < chunk.bytes, copied < Self.sliceBytes,
            cursor.offset - start < 2 * Self.sliceBytes
        {
            guard let (row, bytes) = table.pointee.row(in: chunk, at: cursor.offset) else {
                cursor.offset = chunk.bytes
                break
            }
            if row.kind != 0 {
                guard copied + bytes <= slice.count else { return (copied, false) }
                slice.copy(UnsafeRawBufferPointer(start: row.base, count: bytes), to: copied)
                copied += bytes
            }
            cursor.offset += bytes
        }
        if cursor.offset >= chunk.bytes, table.pointee.chunk(cursor.chunk + 1) != nil {
            (cursor.chunk, cursor.offset) = (cursor.chunk + 1, 0)
            return (copied, false)
        }
        return (copied, cursor.offset >= chunk.bytes)
    }

    /// All row layouts, by number, as a snapshot has them: after its last slice, for rows may have
    /// got new ones meanwhile.
    package var layoutTable: [UInt8] {
        LayoutTable.encode((0..<layouts.total).map { layouts.layout(UInt32($0)) }, layouts)
    }
}

/// Row layouts as bytes.
///
/// | bytes | field |
/// |---|---|
/// | 4 | number of layouts, then for each: |
/// | 4 | number of its slots, then for each: |
/// | 2 | number of the counter |
/// | 1 | 1 window, 2 quota, 3 concurrency, 4 pool, 5 grants |
/// | 1 | of a window: 0 strict, 1 smooth; else 0 |
/// | 4 | of a window: sub-buckets; else 0 |
/// | 8 | of a window: nanoseconds; else 0 |
/// | 8 | of a window: the largest limit with cells of its width; else 0 |
enum LayoutTable {
    private static let slotBytes = 24

    static func encode(_ layouts: [RowLayout], _ registry: LayoutRegistry) -> [UInt8] {
        var bytes = little(UInt32(layouts.count))
        for (number, layout) in layouts.enumerated() {
            bytes += little(UInt32(layout.slots.count))
            let counters = registry.counters(UInt32(number))
            for (slot, counter) in zip(layout.slots, counters) {
                bytes += little(counter)
                bytes += encode(slot.kind)
            }
        }
        return bytes
    }

    private static func encode(_ kind: CounterSlot.Kind) -> [UInt8] {
        switch kind {
        case .window(let key):
            [1, key.mode.rawValue] + little(UInt32(key.subBuckets)) + little(key.windowNanoseconds)
                + little(key.limitCeiling)
        case .quota: [2] + [UInt8](repeating: 0, count: slotBytes - 3)
        case .concurrency: [3] + [UInt8](repeating: 0, count: slotBytes - 3)
        case .pool: [4] + [UInt8](repeating: 0, count: slotBytes - 3)
        case .grants: [5] + [UInt8](repeating: 0, count: slotBytes - 3)
        }
    }

    private static func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }

    /// `nil` when the bytes are no table, or name a counter that has no name.
    static func decode(_ bytes: UnsafeRawBufferPointer, names: [String]) -> [RowLayout]? {
        var reader = ByteReader(bytes, at: 0)
        guard let count = reader.read(UInt32.self), count <= LayoutRegistry.layoutsMax else {
            return nil
        }
        var layouts: [RowLayout] = []
        for _ in 0..<count {
            guard let slotCount = reader.read(UInt32.self),
                Int(slotCount) <= reader.remaining / slotBytes
            else { return nil }
            var slots: [CounterSlot] = []
            for _ in 0..<slotCount {
                guard let slot = slot(&reader, names) else { return nil }
                slots.append(slot)
            }
            let layout = RowLayout(slots)
            guard layout.bytes <= RowArena.rowUnitsMax * RowArena.unitBytes else { return nil }
            layouts.append(layout)
        }
        return reader.remaining == 0 ? layouts : nil
    }

    private static func slot(_ reader: inout ByteReader, _ names: [String]) -> CounterSlot? {
        guard let counter = reader.read(UInt16.self), Int(counter) < names.count,
            let kind = reader.read(UInt8.self), let mode = reader.read(UInt8.self),
            let subBuckets = reader.read(UInt32.self), let window = reader.read(UInt64.self),
            let ceiling = reader.read(UInt64.self)
        else { return nil }
        let name = names[Int(counter)]
        switch kind {
        case 1:
            guard let mode = WindowMode(rawValue: mode), window > 0,
                window <= PolicyLimits.windowNanosecondsMax,
                (1...UInt32(RateLimitDefinition.subBucketsMax)).contains(subBuckets)
            else { return nil }
            let key = CounterSlot.WindowKey(
                windowNanoseconds: window, subBuckets: Int(subBuckets), mode: mode,
                limitCeiling: ceiling)
            return CounterSlot(identity: name, kind: .window(key))
        case 2: return CounterSlot(identity: name, kind: .quota)
        case 3: return CounterSlot(identity: name, kind: .concurrency)
        case 4: return CounterSlot(identity: name, kind: .pool)
        case 5: return CounterSlot(identity: name, kind: .grants)
        default: return nil
        }
    }
}
