import TollgateCore

/// The closed periods of a ledger: files that are appended to, read in pages, and pruned.
///
/// All of it under `lock`; calls of the disk and rounds of syncs too, for nobody in a hurry waits
/// for it. Only what is archived can be asked for at any time: it has a lock of its own.
/// Invariant: `through` is durable.
package final class UsageArchive: @unchecked Sendable {
    // Sendable: everything that changes is guarded by `lock`, `published` by its own.

    private let options: LedgerOptions
    private let disk: any Disk
    private let ledger: UInt64
    private let lock = Lock()
    /// By shard: what stands here, up to this sequence number.
    private var through: [UInt64] { didSet { publish() } }
    private let publishing = Lock()
    /// The same. Guarded by `publishing`.
    private var published: [UInt64] = []
    /// Files that count, ascending.
    private var numbers: [UInt64]
    private var nextNumber: UInt64 = 1
    /// The file that is appended to, of this life.
    /// Some of it is known to be lost, and not asked for.
    private var isPatched = false
    private var open: (file: any DiskFile, end: Int, checksum: UInt32)?

    /// Reads every file's blocks. Throws when what a later file says to stand before it does not;
    /// with `damage`, these are told instead, and what is left is gone on with.
    init(
        _ options: LedgerOptions, ledger: UInt64, names: [String], _ disk: any Disk,
        damage: UnsafeMutablePointer<LedgerDamage>? = nil
    ) throws(LedgerFailure) {
        self.options = options
        self.disk = disk
        self.ledger = ledger
        var files: [UsageFile] = []
        for number in LedgerFiles.numbers(names, .usage) {
            let path = options.file(LedgerFiles.name(.usage, number))
            nextNumber = max(nextNumber, number &+ 1)
            do throws(LedgerFailure) {
                files.append(try UsageFile(path, number: number, ledger: ledger, disk))
            } catch {
                guard let damage, error.kind == .damaged else { throw error }
                damage.pointee.note(error)
            }
        }
        let replaced = files.map(\.header.replaces).max() ?? 0
        let counted = files.filter { $0.header.number > replaced }
        for (file, next) in zip(counted, counted.dropFirst()) {
            do throws(LedgerFailure) { try file.check(before: next.header.through) } catch {
                guard let damage else { throw error }
                damage.pointee.note(error)
            }
        }
        numbers = counted.map(\.header.number)
        let all = counted.last?.through ?? [UInt64](repeating: 0, count: Engine.shardCount)
        (through, published) = (all, all)
    }

    var archivedThrough: [UInt64] {
        publishing.lock()
        defer { publishing.unlock() }
        return published
    }

    private func publish() {
        publishing.lock()
        published = through
        publishing.unlock()
    }

    // MARK: appending

    /// Appends what waits in the engine, syncs it, and only then takes it out of there; how many.
    ///
    /// First `syncJournal`, behind which everything that waits is durable in the journal as well:
    /// a period that stood here alone would close again after a power cut.
    func archive(
        _ engine: Engine, syncJournal: () throws(LedgerFailure) -> Void
    ) throws(LedgerFailure) -> Int {
        lock.lock()
        defer { lock.unlock() }
        let names = engine.counterNames
        var batches: [(shard: Int, batch: ClosedBatch)] = []
        var blocks: [UsageBlock] = []
        for shard in 0..<Engine.shardCount {
            let batch = engine.takeClosed(shard: shard)
            guard batch.count > 0 else { continue }
            batches.append((shard, batch))
            blocks += try Self.blocks(
                batch, behind: through[shard], shard, names, options.path)
        }
        guard !batches.isEmpty else { return 0 }
        try syncJournal()
        do throws(DiskError) {
            try append(blocks)
        } catch {
            // Where it ends, and whether it may be synced, is not known: another file goes on.
            open = nil
            throw LedgerFailure(error)
        }
        for (shard, batch) in batches { engine.confirmClosed(shard: shard, batch) }
        return batches.reduce(0) { $0 &+ $1.batch.count }
    }

    private static func blocks(
        _ batch: ClosedBatch, behind archived: UInt64, _ shard: Int, _ names: [String],
        _ path: String
    ) throws(LedgerFailure) -> [UsageBlock] {
        var made: [UsageBlock] = []
        var block = UsageBlock(shard: UInt16(truncatingIfNeeded: shard))
        // What a call that failed later had archived already is not archived again.
        for entry in batch.periods where entry.sequence > archived {
            let period = entry.bytes.withUnsafeBytes { ClosedPeriod($0) }
            guard let period, Int(period.counter) < names.count else {
                throw LedgerFailure(.unfit, path, "a closed period of no counter")
            }
            if block.isFull {
                // Those that closed without a journal have one number, and count together.
                block.isContinued = entry.sequence == block.through
                made.append(block)
                block = UsageBlock(shard: UInt16(truncatingIfNeeded: shard))
            }
            block.add(names[Int(period.counter)], entry.bytes)
            block.through = max(block.through, entry.sequence)
        }
        if block.count > 0 { made.append(block) }
        return made
    }

    private func append(_ blocks: [UsageBlock]) throws(DiskError) {
        var place: (file: any DiskFile, end: Int, checksum: UInt32)
        if let open { place = open } else { place = try begin() }
        var reached = through
        // Blocks of one number stay in one file.
        var isInside = false
        for block in blocks {
            if place.end > options.archiveFileBytesMax, !isInside {
                try place.file.sync()
                through = reached
                place = try begin()
            }
            let (encoded, checksum) = block.encoded(after: place.checksum)
            defer { encoded.keep() }
            try place.file.write(encoded.read, at: place.end)
            place.end &+= encoded.used
            place.checksum = checksum
            let shard = Int(block.shard)
            isInside = block.isContinued
            if !isInside { reached[shard] = max(reached[shard], block.through) }
        }
        try place.file.sync()
        through = reached
        open = place
    }

    /// Begins a file, durable in its place.
    private func begin() throws(DiskError)
        -> (file: any DiskFile, end: Int, checksum: UInt32)
    {
        let number = nextNumber
        nextNumber &+= 1
        let path = options.file(LedgerFiles.name(.usage, number))
        let part = path + LedgerFiles.partSuffix
        do throws(DiskError) {
            let begun = try writeHeader(part, number, replaces: 0)
            try begun.file.sync()
            try disk.rename(part, to: path)
            try disk.syncDirectory(options.path)
            numbers.append(number)
            return begun
        } catch {
            discard([part, path], disk)
            throw error
        }
    }

    private func writeHeader(
        _ path: String, _ number: UInt64, replaces: UInt64
    ) throws(DiskError) -> (file: any DiskFile, end: Int, checksum: UInt32) {
        let file = try disk.create(path, bytes: 0)
        let header = UsageHeader(
            number: number, ledger: ledger, replaces: replaces, through: through)
        let head = Block(UsageFormat.headerBytes)
        defer { head.keep() }
        let checksum = header.write(to: head.bytes)
        try file.write(head.read, at: 0)
        return (file, UsageFormat.headerBytes, checksum)
    }

    // MARK: reading

    /// Calls `body` with each block that counts behind `cursor`, until it gives false. A file is
    /// read and checked as a whole where a reader comes to its beginning; who goes on inside it
    /// reads what comes next.
    private func walk(
        from cursor: UsageCursor,
        _ body: (UsageCursor, [ArchivedPeriod]) throws(LedgerFailure) -> Bool
    ) throws(LedgerFailure) {
        for (index, number) in numbers.enumerated() where number >= cursor.file {
            let path = options.file(LedgerFiles.name(.usage, number))
            let next =
                index &+ 1 < numbers.count ? try header(numbers[index &+ 1]).through : through
            var cursor = cursor
            if number == cursor.file,
                var tail = try UsageTail(path, behind: cursor.offset, disk)
            {
                while let (part, entries) = try tail.next() {
                    cursor.offset = part.offset
                    guard Self.counts(part, next) else { continue }
                    guard try body(cursor, entries) else { return }
                }
                if tail.isAtEnd { continue }
                // Torn, or damaged: the whole of it tells.
            }
            let file = try UsageFile(path, number: number, ledger: ledger, disk)
            if !isPatched { try file.check(before: next) }
            for part in file.parts {
                if number == cursor.file, part.offset <= cursor.offset { continue }
                guard Self.counts(part, next) else { continue }
                let place = UsageCursor(file: number, offset: part.offset)
                guard try body(place, try file.entries(part)) else { return }
            }
        }
    }

    /// Whether a block is no beginning of what stands once more in the next file.
    private static func counts(_ part: UsageFile.Part, _ next: [UInt64]) -> Bool {
        part.shard == UsageFormat.keptShard || part.through <= next[Int(part.shard)]
    }

    private func header(_ number: UInt64) throws(LedgerFailure) -> UsageHeader {
        let path = options.file(LedgerFiles.name(.usage, number))
        let head = Block(UsageFormat.headerBytes)
        defer { head.keep() }
        head.used = try onDisk { () throws(DiskError) in
            try disk.open(path, writable: false).read(into: head.bytes, at: 0)
        }
        return try UsageHeader(head.read, path)
    }

    /// Some closed periods; `from` names the file that the page began in, `next` where to go on.
    package typealias Page = (
        periods: [ArchivedPeriod], from: UsageCursor, next: UsageCursor, isEnd: Bool
    )

    /// Closed periods behind `cursor` that `isWanted`, at least `count` if there are as many.
    /// A pruning moves what it keeps to another file: places from before it are `gone`.
    func page(
        after cursor: UsageCursor, count: Int, _ isWanted: (ArchivedPeriod) -> Bool
    ) throws(LedgerFailure) -> Page {
        lock.lock()
        defer { lock.unlock() }
        var from = cursor
        if cursor == UsageCursor() {
            from.file = numbers.first ?? 0
        } else if !numbers.contains(cursor.file) {
            throw LedgerFailure(
                .gone, options.path,
                "closed periods were pruned since the last part; ask for the first part again")
        }
        var found: [ArchivedPeriod] = []
        var last = from
        var isEnd = true
        try walk(from: from) { (place, entries) throws(LedgerFailure) in
            if found.count >= count {
                isEnd = false
                return false
            }
            found += entries.filter(isWanted)
            last = place
            return true
        }
        return (found, from, last, isEnd)
    }

    // MARK: pruning

    /// In a repair: what is left goes to a new file, which follows on `reached`, so that what is
    /// lost is not missed again. The old files are not removed here.
    func rewrite(reached: [UInt64]) throws(LedgerFailure) {
        lock.lock()
        defer { lock.unlock() }
        isPatched = true
        defer { isPatched = false }
        let (kept, _) = try keep { (_, _) in true }
        for shard in through.indices { through[shard] = max(through[shard], reached[shard]) }
        try onDisk { () throws(DiskError) in try replaceAll(kept, removing: false) }
    }

    /// Removes what `isPruned` among what stands up to `cursor`, which was read: everything else
    /// goes to a new file, which then takes the place of all. How many were removed.
    func prune(
        through cursor: UsageCursor, _ isPruned: (ArchivedPeriod) -> Bool
    ) throws(LedgerFailure) -> Int {
        lock.lock()
        defer { lock.unlock() }
        let (kept, removed) = try keep { place, entry in place > cursor || !isPruned(entry) }
        guard removed > 0 else { return 0 }
        try onDisk { () throws(DiskError) in try replaceAll(kept, removing: true) }
        return removed
    }

    /// All that `isKept`, in new blocks, and how many are not.
    private func keep(
        _ isKept: (UsageCursor, ArchivedPeriod) -> Bool
    ) throws(LedgerFailure) -> (kept: [UsageBlock], removed: Int) {
        var kept: [UsageBlock] = []
        var block = UsageBlock(shard: UsageFormat.keptShard)
        var removed = 0
        try walk(from: UsageCursor()) { (place, entries) throws(LedgerFailure) in
            for entry in entries {
                guard isKept(place, entry) else {
                    removed &+= 1
                    continue
                }
                block.add(entry.counter, entry.period.encoded)
                if block.isFull {
                    kept.append(block)
                    block = UsageBlock(shard: UsageFormat.keptShard)
                }
            }
            return true
        }
        kept.append(block)
        return (kept, removed)
    }

    private func replaceAll(
        _ blocks: [UsageBlock], removing: Bool
    ) throws(DiskError) {
        let old = numbers
        let number = nextNumber
        nextNumber &+= 1
        let path = options.file(LedgerFiles.name(.usage, number))
        let part = path + LedgerFiles.partSuffix
        do throws(DiskError) {
            var place = try writeHeader(part, number, replaces: number &- 1)
            for block in blocks where block.count > 0 {
                let (encoded, checksum) = block.encoded(after: place.checksum)
                defer { encoded.keep() }
                try place.file.write(encoded.read, at: place.end)
                place.end &+= encoded.used
                place.checksum = checksum
            }
            try place.file.sync()
            try disk.rename(part, to: path)
            numbers = [number]
            open = nil
            try disk.syncDirectory(options.path)
        } catch {
            discard([part], disk)
            throw error
        }
        guard removing else { return }
        // They count no more, also where removing fails: the next start tries again.
        discard(old.map { options.file(LedgerFiles.name(.usage, $0)) }, disk)
    }
}

/// A place among the closed periods: what was read up to here.
package struct UsageCursor: Sendable, Equatable, Comparable {
    package var file: UInt64
    package var offset: Int

    package init(file: UInt64 = 0, offset: Int = 0) {
        self.file = file
        self.offset = offset
    }

    package static func < (a: UsageCursor, b: UsageCursor) -> Bool {
        (a.file, a.offset) < (b.file, b.offset)
    }
}

extension ClosedPeriod {
    /// As it was read.
    var encoded: [UInt8] {
        let (organizationBytes, userBytes) = (Array(organization.utf8), Array((user ?? "").utf8))
        let names = Self.headerBytes &+ organizationBytes.count &+ userBytes.count
        let block = Block(credits > 0 ? names &+ 8 : names)
        defer { block.keep() }
        block.bytes.storeLittle(counter, at: 0)
        block.bytes[2] = user == nil ? 2 : 1
        block.bytes[3] = (isPersonal ? 1 : 0) | (credits > 0 ? 2 : 0)
        block.bytes[4] = UInt8(clamping: organizationBytes.count)
        block.bytes[5] = UInt8(clamping: userBytes.count)
        block.bytes.storeLittle(used, at: 8)
        block.bytes.storeLittle(UInt64(bitPattern: endSeconds), at: 16)
        block.bytes.storeLittle(startDay, at: 24)
        block.bytes.storeLittle(planTag, at: 28)
        organizationBytes.withUnsafeBytes { block.bytes.copy($0, to: Self.headerBytes) }
        userBytes.withUnsafeBytes {
            block.bytes.copy($0, to: Self.headerBytes &+ organizationBytes.count)
        }
        if credits > 0 { block.bytes.storeLittle(credits, at: names) }
        return Array(block.read)
    }
}
