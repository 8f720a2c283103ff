import Testing
import TollgateWire

@testable import TollgateCore

/// A ledger without files: regions of plain memory, and a snapshot as arrays.
final class MemoryLedger {
    struct Snapshot {
        var names: [String] = []
        var layouts: [UInt8] = []
        var images = [[UInt8]](repeating: [], count: Engine.shardCount)
        var starts = [UInt64](repeating: 1, count: Engine.shardCount)
        var ends = [UInt64](repeating: 1, count: Engine.shardCount)
        var clocks = SavedClocks(
            boot: BootTime(nanoseconds: 0), wall: WallTime(milliseconds: 0), isSameBoot: true)
    }

    let regionBytes: Int
    /// Regions are as large as shards ask for.
    let isGrowing: Bool
    /// What the last `restore` found of billing time.
    private(set) var billing = WallTime(milliseconds: 0)
    private(set) var regions: [UnsafeMutableRawBufferPointer] = []

    init(regionBytes: Int = ShardJournal.regionBytesLeast, isGrowing: Bool = false) {
        self.regionBytes = regionBytes
        self.isGrowing = isGrowing
    }

    deinit { for region in regions { region.deallocate() } }

    /// Takes a region that another wrote.
    func read(_ bytes: [UInt8]) {
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(regionBytes, bytes.count), alignment: 64)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        memory.copyBytes(from: bytes)
        regions.append(memory)
    }

    func begin(_ engine: Engine, life: UInt64 = 1) {
        engine.beginJournal(ledgerID: 7, life: life)
        tend(engine)
    }

    /// Hands every shard that wants one a region.
    func tend(_ engine: Engine) {
        for shard in 0..<Engine.shardCount where engine.wantsRegions >> UInt64(shard) & 1 == 1 {
            let wanted = isGrowing ? engine.regionBytesWanted(shard: shard) : 0
            let bytes = max(regionBytes, wanted)
            let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 64)
            memory.initializeMemory(as: UInt8.self, repeating: 0)
            guard let base = memory.baseAddress else { return }
            let region = JournalRegion(base: base, bytes: bytes, file: 1)
            if engine.supply(region, shard: shard) {
                regions.append(memory)
            } else {
                memory.deallocate()
            }
        }
    }

    /// `between` runs after each slice.
    func snapshot(
        of engine: Engine, at now: Moment, between: () -> Void = {}
    ) -> Snapshot {
        var made = Snapshot()
        let slice = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Engine.sliceBytesMin, alignment: 64)
        defer { slice.deallocate() }
        made.clocks = SavedClocks(boot: now.boot, wall: now.wall, isSameBoot: true)
        for shard in 0..<Engine.shardCount {
            made.starts[shard] = engine.journalPosition(shard: shard).next
            var cursor = SliceCursor()
            while true {
                let (bytes, isEnd) = engine.copyRows(shard: shard, cursor: &cursor, into: slice)
                made.images[shard] += UnsafeRawBufferPointer(slice)[..<bytes]
                between()
                if isEnd { break }
            }
            made.ends[shard] = engine.journalPosition(shard: shard).next
        }
        made.names = engine.counterNames
        made.layouts = engine.layoutTable
        return made
    }

    /// Puts what the snapshot and the journal hold into an engine that was just made.
    func restore(_ snapshot: Snapshot, into engine: Engine, at now: Moment) throws {
        for shard in 0..<Engine.shardCount {
            let made = snapshot.layouts.withUnsafeBytes {
                ShardRestorer(
                    engine, shard: shard, names: snapshot.names, layoutTable: $0,
                    archivedThrough: 0, copiedThrough: snapshot.ends[shard],
                    saved: snapshot.clocks, now: now)
            }
            guard let restorer = made else { throw LedgerFault.tooManyCounters }
            let images = UnsafeMutableRawBufferPointer.allocate(
                byteCount: snapshot.images[shard].count, alignment: 16)
            defer { images.deallocate() }
            images.copyBytes(from: snapshot.images[shard])
            try restorer.add(images: UnsafeRawBufferPointer(images))
            var next = snapshot.starts[shard]
            for region in regions {
                guard var reader = try? JournalReader(UnsafeRawBufferPointer(region)),
                    Int(reader.header.shard) == shard
                else { continue }
                while let item = reader.next() {
                    guard item.sequence >= snapshot.starts[shard] else { continue }
                    try restorer.apply(item.kind, item.payload, sequence: item.sequence)
                }
                next = max(next, reader.stop?.nextSequence ?? 0)
            }
            try restorer.finish(nextSequence: next, at: max(restorer.billing, now.wall))
            billing = max(billing, restorer.billing)
        }
    }
}

extension MemoryLedger {
    /// Closes every period that is over, of all shards: each with the name of its counter.
    func closeWhatIsOver(
        of engine: Engine, at now: Moment
    ) -> [(name: String, period: ClosedPeriod)] {
        var closed: [(name: String, period: ClosedPeriod)] = []
        for shard in 0..<Engine.shardCount {
            var cursor = 0
            while cursor >= 0 {
                let hasRoom = engine.closePeriods(
                    shard: shard, slots: 64, cursor: &cursor, now: now)
                #expect(hasRoom)
                tend(engine)
            }
            for item in engine.takeClosed(shard: shard).periods {
                guard let period = item.bytes.withUnsafeBytes({ ClosedPeriod($0) }) else {
                    continue
                }
                closed.append((engine.counterNames[Int(period.counter)], period))
            }
        }
        return closed
    }
}
