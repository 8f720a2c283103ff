import TollgateCore
import TollgateWire

/// Writes one generation, a step at a time: between any two the process may end, and what stood
/// before is still there whole. One thread at a time.
///
/// | state | what the next step does | ways out |
/// |---|---|---|
/// | `beginning` | makes the temporary file with its header | `rows(0)` |
/// | `rows(n)` | copies 32 KiB of shard n, under its lock | itself, `rows(n + 1)`, `tables` |
/// | `tables` | writes names, layouts, shards and totals | `syncing` |
/// | `syncing` | syncs the file | `journal` |
/// | `journal` | syncs the journal through each shard's end | `renaming` |
/// | `renaming` | gives the file its name | `naming` |
/// | `naming` | syncs the directory | `done` |
/// | `done` | nothing: the generation stands | |
/// | `failed` | nothing: the temporary file was removed | |
///
/// Each step but those of `done` and `failed` may end in `failed`.
package final class SnapshotWriter {
    package enum State: Sendable, Equatable {
        case beginning
        case rows(Int)
        case tables, syncing, journal, renaming, naming, done, failed
    }

    /// Blocks are written in pieces of about this size.
    private static let pieceBytes = 256 * 1024

    package let generation: UInt64
    package private(set) var state = State.beginning
    private(set) var shards = [SnapshotShard](
        repeating: SnapshotShard(), count: Engine.shardCount)
    /// Files of the journal that this generation needs: these, and all from the second on.
    /// And how many bytes shards had been given by then.
    private(set) var pinned: (files: Set<UInt64>, from: UInt64, given: Int) = ([], 0, 0)
    private(set) var totals = SnapshotTotals()
    private unowned let ledger: Ledger
    private var header: SnapshotHeader
    private let path: String
    private let part: String
    private let engine: Engine
    private var file: (any DiskFile)?
    /// Blocks that wait to be written: those of the next bytes at `written`.
    private let piece: Block
    private var filled = 0
    private var written = 0
    private var seed: UInt32 = 0
    private var cursor = SliceCursor()
    private let archive: UsageArchive
    private let epoch: UInt64
    /// Else the journal stands still while it is written, and whoever writes it may hold
    /// `Ledger.syncing`.
    let isOfUpkeep: Bool

    init(
        _ ledger: Ledger, _ engine: Engine, _ header: SnapshotHeader, archive: UsageArchive,
        epoch: UInt64, ofUpkeep: Bool
    ) {
        self.ledger = ledger
        self.engine = engine
        self.header = header
        self.archive = archive
        self.epoch = epoch
        isOfUpkeep = ofUpkeep
        generation = header.generation
        path = ledger.options.file(LedgerFiles.name(.snapshot, header.generation))
        part = path + LedgerFiles.partSuffix
        piece = Block(
            Self.pieceBytes &+ Engine.sliceBytesMin &+ SnapshotFormat.blockHeaderBytes)
    }

    deinit { endWalk() }

    /// Of the shard whose rows are being copied, if any.
    private func endWalk() {
        if case .rows(let shard) = state { engine.endWalk(shard: shard, cursor: &cursor) }
    }

    var now: Moment { header.now }

    package var isEnded: Bool { state == .done || state == .failed }

    /// Does the next piece of work; true while there is more. When it throws, the generation has
    /// failed, and those before are as they were.
    @discardableResult
    package func step() throws(LedgerFailure) -> Bool {
        do {
            state = try next()
        } catch {
            let wasNamed = state == .naming
            endWalk()
            state = .failed
            file = nil
            // With its name it is whole, and whether the name is durable is not known: it stays.
            if !wasNamed { discard([part], ledger.disk) }
            ledger.ended(self, error)
            throw error
        }
        if state == .done { ledger.ended(self, nil) }
        return state != .done && state != .failed
    }

    private func next() throws(LedgerFailure) -> State {
        switch state {
        case .beginning:
            try onDisk { () throws(DiskError) in try begin() }
            return .rows(0)
        case .rows(let shard):
            return try onDisk { () throws(DiskError) in try copy(shard) }
        case .tables:
            try onDisk { () throws(DiskError) in try writeTables() }
            return .syncing
        case .syncing:
            try onDisk { () throws(DiskError) in try file?.sync() }
            return .journal
        case .journal:
            // One of a state that stood still needs none of the journal.
            if shards.contains(where: { $0.start != $0.end }) {
                guard isOfUpkeep else {
                    throw LedgerFailure(
                        .disk, path, "the journal went on while it was to stand still")
                }
                try ledger.syncJournal(through: shards.map(\.end), epoch: epoch)
            }
            return .renaming
        case .renaming:
            try onDisk { () throws(DiskError) in try ledger.disk.rename(part, to: path) }
            return .naming
        case .naming:
            try onDisk { () throws(DiskError) in
                try ledger.disk.syncDirectory(ledger.options.path)
            }
            file = nil
            return .done
        case .done, .failed:
            return state
        }
    }

    private func begin() throws(DiskError) {
        // First the files, then where each shard stands: these are then in those, or in later ones.
        pinned = ledger.pinnedFiles()
        header.segmentsFrom = pinned.from
        file = try ledger.disk.create(part, bytes: 0)
        filled = SnapshotHeader.bytes
        seed = header.write(to: piece.bytes)
    }

    // MARK: rows

    private func copy(_ shard: Int) throws(DiskError) -> State {
        if cursor == SliceCursor() && shards[shard].start == 0 { try beginShard(shard) }
        let room = UnsafeMutableRawBufferPointer(
            rebasing: piece.bytes[(filled &+ SnapshotFormat.blockHeaderBytes)...])
        let slice = engine.copyRows(shard: shard, cursor: &cursor, into: room)
        if slice.bytes > 0 {
            totals.rowBytes &+= slice.bytes
            try seal(.rows, shard, bytes: slice.bytes)
        }
        guard slice.isEnd else { return .rows(shard) }
        shards[shard].end = engine.journalPosition(shard: shard).next
        shards[shard].to = position
        cursor = SliceCursor()
        return shard &+ 1 < Engine.shardCount ? .rows(shard &+ 1) : .tables
    }

    private func beginShard(_ shard: Int) throws(DiskError) {
        shards[shard].from = position
        // At one moment: what closes from then on stands in the journal that is replayed, or, in
        // trouble, in the snapshot that ends it.
        let (position, waiting) = engine.positionAndClosed(shard: shard)
        shards[shard].start = position.next
        // What waits no more by now: recovery must find it there, for no file has it besides.
        shards[shard].archived = archive.archivedThrough[shard]
        for closed in waiting.periods {
            let bytes = 12 &+ closed.bytes.count
            if filled &+ SnapshotFormat.blockHeaderBytes &+ bytes > piece.bytes.count {
                try write()
            }
            let at = filled &+ SnapshotFormat.blockHeaderBytes
            piece.bytes.storeLittle(closed.sequence, at: at)
            piece.bytes.storeLittle(
                UInt32(truncatingIfNeeded: closed.bytes.count), at: at &+ 8)
            closed.bytes.withUnsafeBytes { piece.bytes.copy($0, to: at &+ 12) }
            totals.closed &+= 1
            try seal(.closed, shard, bytes: bytes)
        }
    }

    // MARK: tables

    private func writeTables() throws(DiskError) {
        totals.tables = position
        // After all rows: these have no later names and layouts.
        let layouts = engine.layoutTable
        var names: [UInt8] = []
        for name in engine.counterNames {
            let count = UInt16(truncatingIfNeeded: name.utf8.count)
            names += [UInt8(truncatingIfNeeded: count), UInt8(truncatingIfNeeded: count >> 8)]
            names += Array(name.utf8)
        }
        try writeTable(.names, names)
        try writeTable(.layouts, layouts)
        let table = Block(SnapshotShard.bytes &* Engine.shardCount)
        defer { table.keep() }
        for (index, shard) in shards.enumerated() {
            shard.write(to: table.bytes, at: SnapshotShard.bytes &* index)
        }
        try writeTable(.shards, Array(table.read))
        let billing = engine.billingReached
        if billing > header.billing { totals.billing = billing }
        totals.fileBytes =
            position &+ SnapshotFormat.blockHeaderBytes &+ SnapshotFormat.totalsBytes
        let last = Block(SnapshotFormat.totalsBytes)
        defer { last.keep() }
        totals.write(to: last.bytes, at: 0)
        try writeTable(.totals, Array(last.read))
        try write()
    }

    private func writeTable(
        _ kind: SnapshotBlock.Kind, _ content: [UInt8]
    ) throws(DiskError) {
        try write()
        let all = Block(SnapshotFormat.blockHeaderBytes &+ content.count)
        defer { all.keep() }
        content.withUnsafeBytes {
            all.bytes.copy($0, to: SnapshotFormat.blockHeaderBytes)
        }
        let block = SnapshotBlock(
            kind: kind, shard: 0, bytes: content.count, offset: position,
            generation: generation)
        note(block.seal(all.bytes, seed: seed))
        try file?.write(all.read, at: written)
        written &+= all.used
    }

    // MARK: blocks

    /// Where the next block begins.
    private var position: Int { written &+ filled }

    /// Ends the block whose content stands in the piece already.
    private func seal(
        _ kind: SnapshotBlock.Kind, _ shard: Int, bytes: Int
    ) throws(DiskError) {
        let block = SnapshotBlock(
            kind: kind, shard: shard, bytes: bytes, offset: position, generation: generation)
        let place = UnsafeMutableRawBufferPointer(rebasing: piece.bytes[filled...])
        note(block.seal(place, seed: seed))
        filled &+= SnapshotFormat.blockHeaderBytes &+ bytes
        if filled >= Self.pieceBytes { try write() }
    }

    private func note(_ checksum: UInt32) {
        totals.blocks &+= 1
        totals.checksum = withUnsafeBytes(of: checksum.littleEndian) {
            ledgerChecksum(totals.checksum, $0)
        }
    }

    private func write() throws(DiskError) {
        guard filled > 0 else { return }
        try file?.write(
            UnsafeRawBufferPointer(rebasing: piece.bytes.prefix(filled)), at: written)
        written &+= filled
        filled = 0
    }
}
