import TollgateCore
import TollgateWire

/// Copies a ledger, also while a daemon charges in it, into what a kill at one moment would have
/// left: a start reads it as it reads that. Takes no lock, and changes nothing but the copy.
///
/// What makes files that are read one after the other those of one moment is the order:
///
/// 1. All files are opened, anew where one came or went meanwhile: none is taken away while it is
///    read, and none is missing that another says was made.
/// 2. The first page of each segment: what it says was synced stands in what is read later.
/// 3. The newest snapshot, which never changes.
/// 4. Closed periods: what is archived stood in the journal before.
/// 5. The group log, from its end to its beginning: the batches before one that was read are read
///    later.
/// 6. The journal, from the newest file's end to the oldest one's beginning: a shard writes
///    onwards, and all that it wrote before what was read is read later.
/// 7. The marker, written when all else is synced: a copy that was cut short is no ledger.
///
/// So of each shard a beginning is there, and in it everything that had been written when the
/// copying began. Where a shard writes into the very page that is being read, a later slot may
/// come without an earlier one: that is a torn end, which a start cuts off.
package struct LedgerBackup {
    package struct Copied: Sendable, Equatable {
        /// Of the snapshot.
        package var generation: UInt64
        package var files: Int
        /// That were written: pages of zeros are not.
        package var bytes: Int
    }

    /// How often files may come and go while all are opened.
    private static let triesMax = 100

    private let source: String
    private let target: String
    private let disk: any Disk

    /// `target`: a directory that is there, with nothing in it.
    package init(of source: String, into target: String, _ disk: any Disk) {
        self.source = source
        self.target = target
        self.disk = disk
    }

    /// `told`: how many bytes were gone through, and of how many. Throws `gone` when files came and
    /// went too fast, so that it may be tried again; what was copied by then stays.
    package func copy(_ told: (Int, Int) -> Void) throws(LedgerFailure) -> Copied {
        let opened = try openAll()
        var copying = Copying(target: target, disk: disk, all: opened.bytes)
        try onDisk { () throws(DiskError) in
            for name in opened.whole { try copying.copy(opened.files[name], name, told) }
            for name in opened.backwards {
                try copying.copyBackwards(opened.files[name], name, opened.heads[name], told)
            }
            try disk.syncDirectory(target)
            try copying.copy(opened.files[LedgerFiles.marker], LedgerFiles.marker, told)
            try disk.syncDirectory(target)
        }
        return Copied(
            generation: opened.generation, files: copying.files, bytes: copying.written)
    }

    /// Takes away what `copy` has left in the directory; nothing that is no ledger's.
    package func clear() throws(LedgerFailure) {
        try onDisk { () throws(DiskError) in
            for name in try disk.list(target) where LedgerFiles.isOfLedger(name) {
                try disk.remove(target + "/" + name)
            }
        }
    }

    // MARK: opening

    private struct Opened {
        var generation: UInt64
        /// In the order in which they are copied: those that are read from their beginning, and
        /// those that are read from their end.
        var whole: [String]
        var backwards: [String]
        var files: [String: any DiskFile] = [:]
        /// First pages of segments.
        var heads: [String: Block] = [:]

        var bytes: Int { files.values.reduce(0) { $0 &+ $1.bytes } }
    }

    private func openAll() throws(LedgerFailure) -> Opened {
        for _ in 0..<Self.triesMax {
            if let opened = try openOnce() { return opened }
        }
        throw LedgerFailure(
            .gone, source, "its files come and go faster than they can be opened")
    }

    /// `nil` where files came or went meanwhile.
    private func openOnce() throws(LedgerFailure) -> Opened? {
        let names = try onDisk { () throws(DiskError) in try disk.list(source) }
        var opened = try choose(names)
        do throws(DiskError) {
            for name in opened.whole + opened.backwards + [LedgerFiles.marker] {
                opened.files[name] = try disk.open(source + "/" + name, writable: false)
            }
            for name in opened.backwards where LedgerFiles.number(name, .journal) != nil {
                let head = Block(SegmentHeader.bytes)
                defer { head.keep() }
                head.used = try opened.files[name]?.read(into: head.bytes, at: 0) ?? 0
                opened.heads[name] = head
            }
        } catch {
            guard error.isAbsent else { throw LedgerFailure(error) }
            return nil
        }
        let now = try onDisk { () throws(DiskError) in try disk.list(source) }
        let isNew = now.contains { name in
            opened.files[name] == nil
                && (LedgerFiles.number(name, .journal) != nil
                    || LedgerFiles.number(name, .usage) != nil)
        }
        return isNew ? nil : opened
    }

    private func choose(_ names: [String]) throws(LedgerFailure) -> Opened {
        guard names.contains(where: LedgerFiles.isOfLedger) else {
            throw LedgerFailure(.unfit, source, "there is no ledger in it")
        }
        guard names.contains(LedgerFiles.marker) else {
            guard names.contains(LedgerFiles.making) else {
                throw LedgerFailure(.damaged, source + "/" + LedgerFiles.marker, "is missing")
            }
            throw LedgerFailure(
                .unfit, source, "its making has not ended, so nothing was charged there yet")
        }
        guard let generation = LedgerFiles.numbers(names, .snapshot).last else {
            throw LedgerFailure(.damaged, source, "there is no snapshot in it")
        }
        let usage = LedgerFiles.numbers(names, .usage).map { LedgerFiles.name(.usage, $0) }
        let log = names.filter { $0 == LedgerFiles.groupLog }
        let journal = LedgerFiles.numbers(names, .journal).reversed()
        return Opened(
            generation: generation,
            whole: [LedgerFiles.name(.snapshot, generation)] + usage,
            backwards: log + journal.map { LedgerFiles.name(.journal, $0) })
    }
}

/// Writes the files of a copy, each durable when its call returns.
private struct Copying {
    private static let pieceBytes = 256 * 1024
    private static let page = SegmentHeader.alignment

    let target: String
    let disk: any Disk
    /// Bytes of all files.
    let all: Int
    private var gone = 0
    private(set) var written = 0
    private(set) var files = 0
    private let piece = Block(Self.pieceBytes)

    init(target: String, disk: any Disk, all: Int) {
        self.target = target
        self.disk = disk
        self.all = all
    }

    /// As many bytes as there were when it was opened.
    mutating func copy(
        _ file: (any DiskFile)?, _ name: String, _ told: (Int, Int) -> Void
    ) throws(DiskError) {
        guard let file else { return }
        let copy = try disk.create(target + "/" + name, bytes: 0)
        var at = 0
        while at < file.bytes {
            let count = try read(file, at, min(Self.pieceBytes, file.bytes &- at))
            guard count > 0 else { break }
            try write(copy, at)
            at &+= count
            told(gone, all)
        }
        try end(copy)
    }

    /// Page by page, the last first. `head`: what the first page was before.
    mutating func copyBackwards(
        _ file: (any DiskFile)?, _ name: String, _ head: Block?, _ told: (Int, Int) -> Void
    ) throws(DiskError) {
        guard let file else { return }
        let copy = try disk.create(target + "/" + name, bytes: 0)
        let end = file.bytes
        var at = max(0, end &- 1) / Self.page &* Self.page
        while at >= (head == nil ? 0 : Self.page), at < end {
            _ = try read(file, at, min(Self.page, end &- at))
            // The last page gives the file its size, and what is not written reads as zeros.
            if !piece.read.isZero || at &+ Self.page >= end { try write(copy, at) }
            at &-= Self.page
            told(gone, all)
        }
        if let head {
            try copy.write(head.read, at: 0)
            gone &+= head.used
            written &+= head.used
        }
        try self.end(copy)
    }

    private mutating func read(
        _ file: any DiskFile, _ at: Int, _ bytes: Int
    ) throws(DiskError) -> Int {
        let room = UnsafeMutableRawBufferPointer(rebasing: piece.bytes.prefix(bytes))
        piece.used = try file.read(into: room, at: at)
        gone &+= piece.used
        return piece.used
    }

    private mutating func write(_ copy: any DiskFile, _ at: Int) throws(DiskError) {
        try copy.write(piece.read, at: at)
        written &+= piece.used
    }

    private mutating func end(_ copy: any DiskFile) throws(DiskError) {
        try copy.sync()
        files &+= 1
    }
}
