import TollgateCore
import TollgateWire

/// What of a journal that was read no sync is known to have covered, written anew as a segment of
/// the life that begins. For each shard with such slots it has one region, which begins where what
/// was synced ends: so the life before ends there, and what stood behind counts no more.
///
/// Why anew: the kernel gives bytes that it could not write, and says of them that they are clean.
/// What a process before this one failed to sync may be in memory alone, and no sync tells.
///
/// The file gets its name when all of it is durable, so that it counts as a whole or not at all.
struct JournalTail {
    private let chains: [ShardChain]
    private let ledger: UInt64
    private let life: UInt64

    init(of reading: LedgerReading, ledger: UInt64, life: UInt64) {
        chains = reading.chains
        self.ledger = ledger
        self.life = life
    }

    /// Bytes of its slots.
    var bytes: Int { chains.reduce(0) { $0 &+ Self.slots(of: $1) &* JournalFormat.slotBytes } }

    private static func slots(of chain: ShardChain) -> Int {
        chain.required < chain.next ? Int(chain.next &- chain.required) : 0
    }

    /// Of a shard's region, its last page filled up.
    private static func pageBytes(of chain: ShardChain) -> Int {
        let (bytes, page) = (regionBytes(of: chain), SegmentHeader.alignment)
        return (bytes &+ page &- 1) / page &* page
    }

    private static func regionBytes(of chain: ShardChain) -> Int {
        max(
            JournalFormat.headerBytes &+ slots(of: chain) &* JournalFormat.slotBytes,
            JournalFormat.regionBytesMin)
    }

    /// Makes the segment, durable in its place.
    func write(
        _ options: LedgerOptions, _ disk: any Disk, number: UInt64
    ) throws(LedgerFailure) {
        let path = options.file(LedgerFiles.name(.journal, number))
        let part = path + LedgerFiles.partSuffix
        do {
            let file = try onDisk { () throws(DiskError) in try disk.create(part, bytes: 0) }
            let head = head(number)
            defer { head.keep() }
            var at = SegmentHeader.bytes
            for (shard, chain) in chains.enumerated() where Self.slots(of: chain) > 0 {
                let region = try region(shard, chain, file: number)
                defer { region.keep() }
                try onDisk { () throws(DiskError) in try file.write(region.read, at: at) }
                at &+= region.used
            }
            try onDisk { () throws(DiskError) in
                try file.write(head.read, at: 0)
                try file.sync()
                try disk.rename(part, to: path)
                try disk.syncDirectory(options.path)
            }
        } catch {
            discard([part, path], disk)
            throw error
        }
        try onDisk { () throws(DiskError) in
            try SegmentFollower.note(behind: number &- 1, ledger: ledger, options, disk)
        }
    }

    /// With all slots among those that were synced.
    private func head(_ number: UInt64) -> Block {
        let block = Block(SegmentHeader.bytes)
        defer { block.keep() }
        let regions = chains.filter { Self.slots(of: $0) > 0 }
        let bytes = regions.reduce(SegmentHeader.bytes) { $0 &+ Self.pageBytes(of: $1) }
        SegmentHeader(
            number: number, ledger: ledger, life: life,
            fileBytes: UInt64(truncatingIfNeeded: bytes)
        ).write(to: block.bytes)
        SyncedTable.write(
            round: 1, through: chains.map(\.next), file: number, ledger: ledger, to: block.bytes)
        return block
    }

    private func region(
        _ shard: Int, _ chain: ShardChain, file: UInt64
    ) throws(LedgerFailure) -> Block {
        let block = Block(Self.pageBytes(of: chain))
        defer { block.keep() }
        var checksum = JournalRegionHeader(
            shard: UInt16(truncatingIfNeeded: shard),
            bytes: UInt32(truncatingIfNeeded: Self.regionBytes(of: chain)),
            firstSequence: chain.required, ledger: ledger, life: life, file: file
        ).write(to: block.bytes)
        var at = JournalFormat.headerBytes
        for piece in chain.pieces where piece.to > chain.required {
            let from = try piece.segment.read(piece.offset, piece.bytes)
            defer { from.keep() }
            let first = max(piece.from, chain.required)
            let slots = try slots(from.read, piece, from: first)
            block.bytes.copy(slots, to: at)
            let end = at &+ slots.count
            while at < end {
                // As it was, but for what it is chained to.
                let slot = UnsafeMutableRawBufferPointer(
                    rebasing: block.bytes[at..<(at &+ JournalFormat.slotBytes)])
                checksum = ledgerChecksum(checksum, UnsafeRawBufferPointer(rebasing: slot[4...]))
                slot.storeLittle(checksum, at: 0)
                at &+= JournalFormat.slotBytes
            }
        }
        return block
    }

    /// Of a piece the slots from `from` on, which it has.
    private func slots(
        _ region: UnsafeRawBufferPointer, _ piece: ShardChain.Piece, from: UInt64
    ) throws(LedgerFailure) -> UnsafeRawBufferPointer {
        let changed = LedgerFailure(
            .damaged, piece.segment.path, offset: piece.offset,
            "the disk gives other bytes than a moment ago")
        let header: JournalRegionHeader
        do { header = try JournalRegionHeader(region) } catch { throw changed }
        guard header.firstSequence <= from, from < piece.to else { throw changed }
        let skipped = Int(truncatingIfNeeded: from &- header.firstSequence)
        let count = Int(truncatingIfNeeded: piece.to &- from) &* JournalFormat.slotBytes
        let at = JournalFormat.headerBytes &+ skipped &* JournalFormat.slotBytes
        guard at <= region.count, count <= region.count &- at else { throw changed }
        return region.slice(at: at, length: count)
    }
}
