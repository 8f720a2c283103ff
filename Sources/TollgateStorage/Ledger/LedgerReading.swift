import TollgateCore

/// A directory of a ledger as it was read: the newest state that is whole, checked to the last
/// slot, and not yet put into any engine.
struct LedgerReading: Sendable {
    var snapshot: SnapshotFile
    var chains: [ShardChain]
    var segments: [SegmentScan]
    var archive: UsageArchive
    /// Generations that are newer and damaged: what they hold is read from an older one and the
    /// journal behind it.
    var passedOver: [LedgerFailure]
    /// The highest of each that was seen, whole or not.
    var life: UInt64
    var generation: UInt64
    var segment: UInt64
    /// For a repair alone: shards that stand in another generation, and shards of which no
    /// generation is whole: what is whole of them counts.
    var otherSources: [Int: SnapshotFile] = [:]
    var partial: Set<Int> = []

    func source(of shard: Int) -> SnapshotFile { otherSources[shard] ?? snapshot }

    /// What of the journal the generation that was read needs, to be read again: files before its
    /// own in which some shard's way from it on begins.
    var needed: LedgerRecord.Generation {
        let from = snapshot.header.segmentsFrom
        let files = chains.flatMap { $0.pieces.map(\.segment.header.number) }
        return LedgerRecord.Generation(
            number: snapshot.header.generation, files: Set(files.filter { $0 < from }), from: from)
    }

    /// What recovery cuts off.
    var cuts: [LedgerCut] {
        let newest = segments.map(\.header.life).max() ?? 0
        var cuts = chains.flatMap(\.cuts)
        for segment in segments where segment.header.life == newest {
            for stray in segment.strays {
                cuts.append(
                    LedgerCut(
                        path: segment.path, shard: nil, offset: stray.offset,
                        bytes: stray.bytes, sequence: nil, isLoss: false))
            }
        }
        return cuts
    }
}

/// Reads a directory. Changes nothing in it.
struct LedgerReader: Sendable {
    let options: LedgerOptions
    let marker: LedgerMarker
    let disk: any Disk
    /// Told of each thing that begins, for the log.
    let progress: @Sendable (String) -> Void

    /// Throws when no generation with the journal behind it is whole.
    func read() throws(LedgerFailure) -> LedgerReading {
        let names = try onDisk { () throws(DiskError) in try disk.list(options.path) }
        let segments = try scan(names)
        let archive = try UsageArchive(options, ledger: marker.ledger, names: names, disk)
        var passedOver: [LedgerFailure] = []
        let generations = LedgerFiles.numbers(names, .snapshot)
        for generation in generations.reversed() {
            let snapshot: SnapshotFile
            do throws(LedgerFailure) {
                snapshot = try check(generation)
            } catch {
                // Another version, or a disk that cannot be read, is no reason to pass over it.
                guard error.kind == .damaged else { throw error }
                progress("\(error)")
                passedOver.append(error)
                continue
            }
            return try read(snapshot, segments, archive, passedOver, generations)
        }
        if let first = passedOver.first { throw first }
        throw LedgerFailure(.damaged, options.path, "there is no snapshot in it")
    }

    private func scan(_ names: [String]) throws(LedgerFailure) -> [SegmentScan] {
        let numbers = LedgerFiles.numbers(names, .journal)
        progress("reading \(numbers.count) segments of the journal")
        let (options, disk, ledger) = (options, disk, marker.ledger)
        return try inParallel(numbers.count, threads: options.threads) {
            (index) throws(LedgerFailure) in
            try SegmentScan(options, number: numbers[index], ledger: ledger, disk)
        }
    }

    /// A generation all of whose blocks are whole.
    func check(_ generation: UInt64) throws(LedgerFailure) -> SnapshotFile {
        let path = options.file(LedgerFiles.name(.snapshot, generation))
        let snapshot = try SnapshotFile(path, generation: generation, disk)
        guard snapshot.header.marker == marker else {
            throw LedgerFailure(.damaged, path, offset: 24, "of another ledger")
        }
        progress("checking snapshot \(generation), \(snapshot.totals.fileBytes) bytes")
        let checksums = try inParallel(Engine.shardCount, threads: options.threads) {
            (shard) throws(LedgerFailure) in
            try snapshot.blocks(of: shard) { _, _ in }
        }
        try snapshot.check(checksums)
        return snapshot
    }

    private func read(
        _ snapshot: SnapshotFile, _ segments: [SegmentScan], _ archive: UsageArchive,
        _ passedOver: [LedgerFailure], _ generations: [UInt64]
    ) throws(LedgerFailure) -> LedgerReading {
        try checkJournal(segments, snapshot.header, passedOver)
        try checkGaps(segments, from: snapshot.header.segmentsFrom)
        try checkArchive(archive, snapshot)
        let chains = try chains(snapshot, segments)
        for chain in chains { if let fault = chain.fault { throw fault } }
        try checkEnds(of: chains, archive)
        return LedgerReading(
            snapshot: snapshot, chains: chains, segments: segments, archive: archive,
            passedOver: passedOver,
            life: max(snapshot.header.life, segments.map(\.header.life).max() ?? 0),
            generation: generations.last ?? 0,
            // Its own files may not have been made, nor any before be left.
            segment: max(
                segments.map(\.header.number).max() ?? 0,
                max(snapshot.header.segmentsFrom, 1) &- 1))
    }

    /// The way of each shard from the snapshot on; with a fault where it ends too early.
    func chains(
        _ snapshot: SnapshotFile, _ segments: [SegmentScan]
    ) throws(LedgerFailure) -> [ShardChain] {
        progress("checking the journal behind snapshot \(snapshot.header.generation)")
        let directory = options.path
        return try inParallel(Engine.shardCount, threads: options.threads) {
            (shard) throws(LedgerFailure) in
            let place = snapshot.shards[shard]
            return try JournalChain.find(
                shard: shard, start: place.start, end: place.end, life: snapshot.header.life,
                in: segments, directory: directory)
        }
    }

    /// A ledger that has served has files of the journal: without any, nothing says what was
    /// charged behind the snapshot. Not even that of a repair, which has none, where a newer one
    /// is damaged: from that on there were some.
    private func checkJournal(
        _ segments: [SegmentScan], _ header: SnapshotHeader, _ passedOver: [LedgerFailure]
    ) throws(LedgerFailure) {
        guard segments.isEmpty, !(header.lacksJournal && passedOver.isEmpty) else { return }
        throw LedgerFailure(
            .damaged, options.path,
            "all files of the journal (journal-*) are missing, and with them what was charged"
                + " since snapshot \(header.generation)")
    }

    private func checkGaps(
        _ segments: [SegmentScan], from first: UInt64
    ) throws(LedgerFailure) {
        var expected = first
        for segment in segments where segment.header.number >= first {
            guard segment.header.number == expected else {
                throw .missingFile(options.file(LedgerFiles.name(.journal, expected)))
            }
            expected &+= 1
        }
        if let missing = segments.missingBehindLast(from: first) {
            throw .missingFile(options.file(LedgerFiles.name(.journal, missing)))
        }
    }

    /// What is archived was in the journal before, synced: also where every file of it is gone.
    private func checkEnds(
        of chains: [ShardChain], _ archive: UsageArchive
    ) throws(LedgerFailure) {
        let places = zip(chains, archive.archivedThrough).enumerated()
        for (shard, (chain, through)) in places where through >= chain.next {
            throw LedgerFailure(
                .damaged, options.path,
                "the journal of shard \(shard) lacks numbers \(chain.next) to \(through), of which"
                    + " closed periods were archived")
        }
    }

    private func checkArchive(
        _ archive: UsageArchive, _ snapshot: SnapshotFile
    ) throws(LedgerFailure) {
        let through = archive.archivedThrough
        for (shard, place) in snapshot.shards.enumerated()
        where through[shard] < place.archived {
            throw LedgerFailure(
                .damaged, options.path,
                "closed periods of shard \(shard) are missing that were archived once")
        }
    }
}

/// How much of a ledger was put into an engine.
struct RestoredCounts: Sendable {
    var rows = 0
    var items = 0
    /// Resets that were cut off, and ended by recovery, which no journal says.
    var resets = 0
    /// The latest billing time that is known.
    var billing = WallTime(milliseconds: 0)
}

extension LedgerReading {
    /// Puts the state into an engine that is as it was made.
    func restore(
        into engine: Engine, now: Moment, options: LedgerOptions
    ) throws(LedgerFailure) -> RestoredCounts {
        let archived = archive.archivedThrough
        let reading = self
        // A clock that is far ahead says nothing of how old what was saved is.
        var known = BillingClock(start(options.bootID, floor: snapshot.header.billing))
        let isAhead = known.observe(now).heldForward
        let parts = try inParallel(Engine.shardCount, threads: options.threads) {
            (shard) throws(LedgerFailure) in
            let header = reading.source(of: shard).header
            let saved = SavedClocks(
                boot: header.now.boot, wall: header.now.wall,
                isSameBoot: header.isOf(options.bootID))
            let clocks = isAhead ? Moment(boot: now.boot, wall: header.now.wall) : now
            return RestoringShard(
                try reading.restore(
                    shard, into: engine, archivedThrough: archived[shard], saved, clocks))
        }
        var all = RestoredCounts(billing: snapshot.billing)
        for other in otherSources.values { all.billing = max(all.billing, other.billing) }
        for segment in segments { all.billing = max(all.billing, segment.header.billing) }
        for part in parts { all.billing = max(all.billing, part.restorer.billing) }
        engine.restoreClock(start(options.bootID, floor: all.billing))
        // From here on what is over is so by billing time, of which every shard has told.
        let billing = engine.billingTime(now)
        let counts = try inParallel(parts.count, threads: options.threads) {
            (shard) throws(LedgerFailure) in
            try reading.finish(shard, parts[shard].restorer, at: billing)
        }
        for count in counts {
            all.rows &+= count.rows
            all.items &+= count.items
            all.resets &+= count.resets
        }
        return all
    }

    /// What is known of billing time: with the newest snapshot's clocks, and no less than `floor`.
    private func start(_ boot: (UInt64, UInt64), floor: WallTime) -> BillingStart {
        let header = snapshot.header
        return BillingStart(
            boot: header.now.boot, billing: header.billing, floor: floor,
            isSameBoot: header.isOf(boot))
    }

    private func restore(
        _ shard: Int, into engine: Engine, archivedThrough: UInt64, _ saved: SavedClocks,
        _ now: Moment
    ) throws(LedgerFailure) -> ShardRestorer {
        let snapshot = source(of: shard)
        let isPartial = partial.contains(shard)
        let made = snapshot.layouts.withUnsafeBytes {
            ShardRestorer(
                engine, shard: shard, names: snapshot.names, layoutTable: $0,
                archivedThrough: archivedThrough, copiedThrough: snapshot.shards[shard].end,
                saved: saved, now: now)
        }
        guard let restorer = made else {
            throw LedgerFailure(
                .damaged, snapshot.path, offset: snapshot.totals.tables,
                "its layouts of rows are wrong")
        }
        restorer.lacksRows = isPartial
        try snapshot.blocks(of: shard, passingOver: isPartial) {
            (kind, content) throws(LedgerFailure) in
            try fault(snapshot.path, shard) { () throws(LedgerFault) in
                if kind == .rows {
                    try restorer.add(images: content)
                } else {
                    try Self.addClosed(content, to: restorer)
                }
            }
        }
        for piece in chains[shard].pieces { try replay(piece, shard, into: restorer) }
        return restorer
    }

    private func finish(
        _ shard: Int, _ restorer: ShardRestorer, at billing: WallTime
    ) throws(LedgerFailure) -> RestoredCounts {
        try fault(source(of: shard).path, shard) { () throws(LedgerFault) in
            try restorer.finish(nextSequence: chains[shard].next, at: billing)
        }
        return RestoredCounts(
            rows: restorer.rows, items: restorer.items, resets: restorer.resets)
    }

    private static func addClosed(
        _ content: UnsafeRawBufferPointer, to restorer: ShardRestorer
    ) throws(LedgerFault) {
        guard content.count >= 12 else { throw .badItem(.closed) }
        let count = Int(content.loadLittle(at: 8, as: UInt32.self))
        guard content.count == 12 &+ count else { throw .badItem(.closed) }
        try restorer.add(
            closed: content.slice(at: 12, length: count),
            sequence: content.loadLittle(at: 0, as: UInt64.self))
    }

    private func replay(
        _ piece: ShardChain.Piece, _ shard: Int, into restorer: ShardRestorer
    ) throws(LedgerFailure) {
        let block = try piece.segment.read(piece.offset, piece.bytes)
        defer { block.keep() }
        try fault(piece.segment.path, shard) { () throws(LedgerFault) in
            try TransactionReader.replay(
                block.read, from: piece.from, to: piece.to, into: restorer)
        }
    }

    /// A fault of what was whole by its checksums: no state of this ledger.
    private func fault(
        _ path: String, _ shard: Int, _ body: () throws(LedgerFault) -> Void
    ) throws(LedgerFailure) {
        do { try body() } catch {
            throw LedgerFailure(
                .damaged, path, "what it says of shard \(shard) contradicts itself: \(error)")
        }
    }
}

/// A shard that was put together but for its end.
private struct RestoringShard: @unchecked Sendable {
    // Sendable: one thread made it, and after that was joined one thread ends it.
    let restorer: ShardRestorer

    init(_ restorer: ShardRestorer) { self.restorer = restorer }
}

/// Replays a region that was checked.
enum TransactionReader {
    static func replay(
        _ region: UnsafeRawBufferPointer, from: UInt64, to: UInt64,
        into restorer: ShardRestorer
    ) throws(LedgerFault) {
        var reader: JournalReader
        do { reader = try JournalReader(region) } catch {
            // It was read before: the disk gave other bytes now.
            throw .badItem(.mark)
        }
        while let item = reader.next() {
            // A snapshot begins, and a life ends, between two transactions.
            if item.sequence < from { continue }
            if item.sequence >= to { return }
            try restorer.apply(item.kind, item.payload, sequence: item.sequence)
        }
    }
}
