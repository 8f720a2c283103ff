import TollgateCore

/// A group log as it was read: which batches are whole, and what of it is not.
struct GroupLogReading: Sendable {
    let path: String
    private(set) var header: GroupLogHeader?
    /// Of the newest epoch, in order; where it is damaged, also those behind the damage.
    private(set) var batches: [GroupBatch] = []
    /// Why it is not what was written.
    private(set) var failure: LedgerFailure?
    /// Where a batch was being written when a life ended: nobody was told of it.
    private(set) var torn: Int?
    private let block: Bytes

    /// Bytes that nobody changes any more.
    private final class Bytes: @unchecked Sendable {
        // Sendable: written before it is shared, and never after.
        let block: Block
        init(_ block: Block) { self.block = block }
        func withBytes<T>(_ body: (UnsafeRawBufferPointer) -> T) -> T { body(block.read) }
    }

    /// `nil` where there is none. `ledger` `nil`: of whichever it says.
    init?(
        _ options: LedgerOptions, names: [String], ledger: UInt64?, _ disk: any Disk
    ) throws(LedgerFailure) {
        guard names.contains(LedgerFiles.groupLog) else { return nil }
        path = options.file(LedgerFiles.groupLog)
        let path = path
        block = Bytes(
            try onDisk { () throws(DiskError) in
                try disk.read(path, bytesMax: GroupLogHeader.mostBytes)
            })
        do throws(LedgerFailure) { try read(ledger) } catch {
            guard error.kind == .damaged else { throw error }
            failure = error
        }
    }

    private mutating func read(_ ledger: UInt64?) throws(LedgerFailure) {
        let block = block.block
        defer { block.keep() }
        let bytes = block.read
        guard let header = try newestHeader(bytes) else {
            throw LedgerFailure(
                .damaged, path, offset: 0, "not a group log, or none of its heads is whole")
        }
        self.header = header
        guard ledger == nil || header.ledger == ledger else {
            throw LedgerFailure(.damaged, path, offset: 16, "of another ledger")
        }
        if header.fileBytes != UInt64(truncatingIfNeeded: bytes.count) {
            // What is there of it may be whole.
            failure = LedgerFailure(
                .damaged, path, offset: bytes.count,
                "has \(bytes.count) bytes, not \(header.fileBytes)")
        }
        var at = GroupLogHeader.firstBatch
        while let batch = try GroupBatch(bytes, at: at, header, path),
            batch.epoch == header.epoch, batch.number == UInt64(batches.count) &+ 1
        {
            batches.append(batch)
            at = batch.end
        }
        let number = UInt64(batches.count) &+ 1
        if GroupBatch.isTorn(bytes, at: at, number: number, header) { torn = at }
        try lookBehind(at, bytes, header)
    }

    private func newestHeader(
        _ bytes: UnsafeRawBufferPointer
    ) throws(LedgerFailure) -> GroupLogHeader? {
        var newest: GroupLogHeader?
        for offset in [0, GroupLogHeader.page] {
            guard bytes.count >= offset &+ GroupLogHeader.bytes else { continue }
            let place = bytes.slice(at: offset, length: GroupLogHeader.bytes)
            guard let header = try GroupLogHeader(place, path), header.offset == offset,
                header.epoch > newest?.epoch ?? 0
            else { continue }
            newest = header
        }
        return newest
    }

    /// A batch is written when the one before it is synced, and an epoch's head before its first:
    /// so a whole one behind what is not, or of a later epoch, says that something was lost.
    private mutating func lookBehind(
        _ end: Int, _ bytes: UnsafeRawBufferPointer, _ header: GroupLogHeader
    ) throws(LedgerFailure) {
        var at = end
        var isDamaged = false
        while at < bytes.count {
            guard let batch = try GroupBatch(bytes, at: at, header, path),
                batch.epoch >= header.epoch
            else {
                at &+= GroupLogHeader.page
                continue
            }
            isDamaged = true
            batches.append(batch)
            at = batch.end
        }
        guard isDamaged else { return }
        torn = nil
        throw LedgerFailure(
            .damaged, path, offset: end,
            "a batch is not whole, and one that was written after it is")
    }

    // MARK: what it says of segments

    /// What it says of each segment, by number, in the order in which it was written.
    var patches: [UInt64: [GroupBatch.Entry]] {
        var patches: [UInt64: [GroupBatch.Entry]] = [:]
        for batch in batches {
            for entry in batch.entries { patches[entry.segment, default: []].append(entry) }
        }
        return patches
    }

    /// Whether it is about the segment that begins so. One of another life, or one that is damaged,
    /// it says nothing of.
    func fits(_ head: UnsafeRawBufferPointer, number: UInt64, _ path: String) -> Bool {
        guard let header else { return false }
        do {
            let segment = try SegmentHeader(head, path)
            return segment.number == number && segment.ledger == header.ledger
                && segment.life == header.life
        } catch { return false }
    }

    /// Copies what an entry says of the file's bytes from `offset` on; whether any was another.
    @discardableResult
    func copy(
        _ entry: GroupBatch.Entry, into bytes: UnsafeMutableRawBufferPointer, from offset: Int
    ) -> Bool {
        let first = max(entry.offset, offset)
        let end = min(entry.offset &+ entry.bytes, offset &+ bytes.count)
        guard first < end else { return false }
        return block.withBytes { log in
            let source = log.slice(
                at: entry.logOffset &+ (first &- entry.offset), length: end &- first)
            let target = UnsafeRawBufferPointer(bytes).slice(
                at: first &- offset, length: end &- first)
            guard !target.elementsEqual(source) else { return false }
            bytes.copy(source, to: first &- offset)
            return true
        }
    }
}

extension GroupLogReading {
    /// Brings the segments that are there to where it says they were, durably; how many bytes it
    /// says of them. Also what seems to stand there: the kernel gives bytes that it could not
    /// write, and says of them that they are clean.
    func apply(
        _ options: LedgerOptions, names: [String], _ disk: any Disk
    ) throws(LedgerFailure) -> Int {
        var bytes = 0
        for (number, entries) in patches.sorted(by: { $0.key < $1.key }) {
            let name = LedgerFiles.name(.journal, number)
            // Dropped, since every snapshot is younger.
            guard names.contains(name) else { continue }
            let path = options.file(name)
            bytes &+= try onDisk { () throws(DiskError) in
                try apply(entries, number, path, disk)
            }
        }
        return bytes
    }

    private func apply(
        _ entries: [GroupBatch.Entry], _ number: UInt64, _ path: String, _ disk: any Disk
    ) throws(DiskError) -> Int {
        let file = try disk.open(path, writable: false)
        let head = Block(SegmentHeader.bytes)
        defer { head.keep() }
        head.used = try file.read(into: head.bytes, at: 0)
        guard fits(head.read, number: number, path) else { return 0 }
        let target = try disk.open(path, writable: true)
        var bytes = 0
        for entry in entries {
            // Behind its end: it was cut, which reading it tells.
            guard entry.offset &+ entry.bytes <= target.bytes else { continue }
            let block = Block(entry.bytes)
            defer { block.keep() }
            copy(entry, into: block.bytes, from: entry.offset)
            try target.write(block.read, at: entry.offset)
            bytes &+= entry.bytes
        }
        try target.sync()
        return bytes
    }
}

/// A disk whose segments read as a start would find them, which applies the group log: for who
/// looks and changes nothing.
final class GroupLogDisk: Disk {
    private let base: any Disk
    private let log: GroupLogReading
    private let patches: [String: (number: UInt64, entries: [GroupBatch.Entry])]

    init(_ base: any Disk, _ log: GroupLogReading, _ options: LedgerOptions) {
        self.base = base
        self.log = log
        var patches: [String: (UInt64, [GroupBatch.Entry])] = [:]
        for (number, entries) in log.patches {
            patches[options.file(LedgerFiles.name(.journal, number))] = (number, entries)
        }
        self.patches = patches
    }

    func open(_ path: String, writable: Bool) throws(DiskError) -> any DiskFile {
        let file = try base.open(path, writable: writable)
        guard !writable, let patch = patches[path] else { return file }
        let head = Block(SegmentHeader.bytes)
        defer { head.keep() }
        head.used = try file.read(into: head.bytes, at: 0)
        guard log.fits(head.read, number: patch.number, path) else { return file }
        return PatchedFile(file, log, patch.entries)
    }

    func list(_ directory: String) throws(DiskError) -> [String] { try base.list(directory) }

    func makeDirectory(_ path: String) throws(DiskError) { try base.makeDirectory(path) }

    func create(_ path: String, bytes: Int) throws(DiskError) -> any DiskFile {
        try base.create(path, bytes: bytes)
    }

    func rename(_ path: String, to: String) throws(DiskError) { try base.rename(path, to: to) }

    func remove(_ path: String) throws(DiskError) { try base.remove(path) }

    func syncDirectory(_ path: String) throws(DiskError) { try base.syncDirectory(path) }

    func lock(_ path: String) throws(DiskError) -> any DiskLock { try base.lock(path) }

    func lockToLook(_ path: String) throws(DiskError) -> (any DiskLock)? {
        try base.lockToLook(path)
    }

    func lockDirectory(_ path: String, looking: Bool) throws(DiskError) -> (any DiskLock)? {
        try base.lockDirectory(path, looking: looking)
    }
}

/// A segment with what a group log says of it.
private final class PatchedFile: DiskFile {
    private let base: any DiskFile
    private let log: GroupLogReading
    private let entries: [GroupBatch.Entry]

    init(_ base: any DiskFile, _ log: GroupLogReading, _ entries: [GroupBatch.Entry]) {
        self.base = base
        self.log = log
        self.entries = entries
    }

    var path: String { base.path }
    var bytes: Int { base.bytes }

    func read(into: UnsafeMutableRawBufferPointer, at offset: Int) throws(DiskError) -> Int {
        let count = try base.read(into: into, at: offset)
        let got = UnsafeMutableRawBufferPointer(rebasing: into.prefix(count))
        for entry in entries { log.copy(entry, into: got, from: offset) }
        return count
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(DiskError) {
        try base.write(bytes, at: offset)
    }

    func sync() throws(DiskError) { try base.sync() }

    func map() throws(DiskError) -> UnsafeMutableRawBufferPointer { try base.map() }

    func unmap() { base.unmap() }
}
