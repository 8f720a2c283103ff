import TollgateCore

/// The directory of a log that is written, and what stays as it is while it is open.
struct AuditPlace {
    let settings: AuditSettings
    let disk: any Disk
    /// Id of the log.
    let log: UInt64
    let key: AuditKey
    let life: UInt64

    func path(_ name: String) -> String { settings.directory + "/" + name }
}

/// A segment that is there: what retention goes by.
struct AuditSegmentSummary: Sendable, Equatable {
    var number: UInt64
    var created: Int64
    var bytes: Int
}

/// Writes the chain. Owned by the one thread that drains.
///
/// A block is `held` from when it was made until it is durable: those before `heldWritten` are in
/// the file. When a sync fails, what the kernel has of the file is not known any more: the file is
/// given up, and all that is held is written again, into the next segment, which says how much of
/// the one before is meant.
///
/// Invariant: `durable.block ≤ end.block`, and `heldWritten ≤ held.count`.
struct AuditWriter: ~Copyable {
    /// What is held, and not synced, at most; then nothing more is taken.
    static let heldBytesMax = 64 << 20

    let place: AuditPlace
    /// What of the chain is written, and what of it outlives a loss of power.
    private(set) var end: AuditEnd
    private(set) var durable: AuditEnd
    private(set) var marks: AuditMarks
    private(set) var segments: [AuditSegmentSummary]
    private(set) var held: [AuditBlock] = []
    private(set) var heldWritten = 0
    private(set) var heldBytes = 0
    /// Names of generations, as they are written.
    var names: [UInt32: [UInt8]] = [:]
    private var namesWritten: Set<UInt32> = []
    /// Names of organizations, users and key ids.
    var book = AuditNameBook()
    private var index = AuditIndexBuilder()
    private var file: (any DiskFile)?
    private var headFile: (any DiskFile)?
    private var headRound: UInt64
    /// What `audit.head` says; `nil`: not known, or nothing.
    private var signed: AuditEnd?
    /// What was found is not proven, and the note of it not yet durable: until then no head signs
    /// it.
    private var isInDoubt: Bool
    /// The open segment's last block is its seal.
    private var isSealed = false
    /// Segments below it may be removed, once the note that says so is durable.
    private var pruning: UInt64?

    init(_ place: AuditPlace, _ tail: AuditTail) {
        self.place = place
        end = tail.end
        durable = tail.end
        marks = tail.marks
        segments = tail.segments
        headRound = tail.headRound
        signed = tail.signed
        isInDoubt = tail.doubt != nil
        index = tail.index
        file = tail.file
    }

    var bytes: Int64 {
        segments.reduce(Int64(0)) { $0 &+ Int64(truncatingIfNeeded: $1.bytes) }
    }
    var isPruning: Bool { pruning != nil }
    var hasOpen: Bool { file != nil }
    var isBehind: Bool { heldWritten < held.count }
    var hasUnsynced: Bool { durable != end || !held.isEmpty }

    /// The block is to be written.
    mutating func push(_ block: AuditBlock) {
        heldBytes &+= block.weight
        held.append(block)
    }

    /// Writes what is held and not written; `release` is told what rings may have back.
    mutating func write(
        now: WallTime, _ release: (AuditRelease) -> Void
    ) throws(AuditFailure) {
        while heldWritten < held.count {
            if file == nil { try begin(now: now) }
            let wanted = held[heldWritten].generations.first {
                !namesWritten.contains($0) && names[$0] != nil
            }
            if let generation = wanted, let bytes = names[generation] {
                var block = AuditBlock(.names)
                (block.first, block.last) = (now.milliseconds, now.milliseconds)
                block.payload = bytes
                try put(block)
                held.insert(block, at: heldWritten)
                heldBytes &+= bytes.count
                namesWritten.insert(generation)
            } else {
                let block = held[heldWritten]
                try put(block)
                for source in block.sources { marks.add(source) }
                if let dropped = block.dropped { marks.add(dropped) }
                for position in block.releases { release(position) }
                held[heldWritten].releases = []
            }
            heldWritten &+= 1
        }
    }

    /// Appends it to the open segment.
    private mutating func put(_ block: AuditBlock) throws(AuditFailure) {
        guard let file else { return }
        let before = book.counts
        var (written, fresh) = (block, AuditNameCounts())
        if let draft = block.draft {
            (written.payload, fresh) = draft.payload(&book)
            precondition(written.payload.count <= AuditBlockHead.payloadMax)
        }
        let (bytes, hash) = written.encoded(number: end.block, previous: end.head)
        defer { bytes.keep() }
        let offset = end.offset
        do { try file.write(bytes.read, at: offset) } catch {
            book.unsay(to: before)
            // What is refused may be granted later; anything else is the file's fault.
            if !error.isRefusal { giveUp() }
            throw AuditFailure(error)
        }
        index.add(
            AuditIndexBlock(
                kind: block.kind, offset: offset, bytes: bytes.used, count: block.count,
                first: block.first, last: block.last, fresh: fresh), block.keys)
        end.offset &+= bytes.used
        end.block &+= 1
        end.head = hash
        segments[segments.count &- 1].bytes = end.offset
    }

    /// Begins the next segment behind what is durable, which is signed by then: a segment with one
    /// behind it is covered by a signature, whatever comes.
    private mutating func begin(now: WallTime) throws(AuditFailure) {
        try sign()
        let number = durable.segment &+ 1
        let header = AuditSegmentHeader(
            number: number, log: place.log, firstBlock: durable.block,
            created: now.milliseconds, life: place.life,
            previousBytes: UInt64(truncatingIfNeeded: durable.offset), previous: durable.head)
        let (bytes, hash) = header.encoded
        defer { bytes.keep() }
        let path = place.path(AuditFiles.segment(number))
        let (disk, directory) = (place.disk, place.settings.directory)
        let made = try onAuditDisk { () throws(DiskError) in
            let part = path + AuditFiles.partSuffix
            let file = try auditPart(part, bytes: 0, disk)
            try file.write(bytes.read, at: 0)
            try file.sync()
            try disk.rename(part, to: path)
            try disk.syncDirectory(directory)
            return try disk.open(path, writable: true)
        }
        file = made
        end.segment = number
        end.offset = AuditSegmentHeader.bytes
        end.block = durable.block
        end.head = hash
        durable = end
        index = AuditIndexBuilder()
        namesWritten = []
        book.unsay()
        segments.append(
            AuditSegmentSummary(number: number, created: now.milliseconds, bytes: end.offset))
    }

    // MARK: syncing

    /// Makes durable what was written.
    mutating func sync() throws(AuditFailure) {
        // Also where only the head is behind: it could not be written before.
        guard let file, durable != end else { return try sign() }
        do { try file.sync() } catch {
            giveUp()
            throw AuditFailure(error)
        }
        durable = end
        isInDoubt = false
        for block in held[..<heldWritten] { heldBytes &-= block.weight }
        held.removeFirst(heldWritten)
        heldWritten = 0
        if isSealed {
            self.file = nil
            isSealed = false
        }
        try sign()
    }

    /// The file is not to be trusted any more.
    private mutating func giveUp() {
        file = nil
        isSealed = false
        end = durable
        held.removeAll { $0.kind == .names }
        heldBytes = held.reduce(0) { $0 &+ $1.weight }
        heldWritten = 0
        if !segments.isEmpty { segments[segments.count &- 1].bytes = durable.offset }
    }

    // MARK: the head

    /// Has `audit.head` say what is durable.
    mutating func sign() throws(AuditFailure) {
        guard signed != durable, !isInDoubt else { return }
        if let headFile {
            // What the kernel has of it after a failure is not known: then it is made anew.
            self.headFile = nil
            let (bytes, offset) = head(headRound &+ 1)
            defer { bytes.keep() }
            try onAuditDisk { () throws(DiskError) in
                try headFile.write(bytes.read, at: offset)
                try headFile.sync()
            }
            headRound &+= 1
            self.headFile = headFile
        } else {
            headFile = try makeHead()
            headRound &+= 2
        }
        signed = durable
    }

    private func head(_ round: UInt64) -> (bytes: Block, offset: Int) {
        AuditHeadFile(round: round, log: place.log, end: durable).encoded(place.key)
    }

    /// Both places are written, so that none is ever empty.
    private func makeHead() throws(AuditFailure) -> any DiskFile {
        let (disk, directory) = (place.disk, place.settings.directory)
        let path = place.path(AuditFiles.head)
        let part = place.path("\(AuditFiles.head)\(AuditFiles.partSuffix)")
        let places = [head(headRound &+ 1), head(headRound &+ 2)]
        return try onAuditDisk { () throws(DiskError) in
            let file = try auditPart(part, bytes: 0, disk)
            for (bytes, offset) in places {
                defer { bytes.keep() }
                try file.write(bytes.read, at: offset)
            }
            try file.sync()
            try disk.rename(part, to: path)
            try disk.syncDirectory(directory)
            return try disk.open(path, writable: true)
        }
    }

    // MARK: sealing

    /// Whether the open segment is large or old enough.
    func isDue(now: WallTime) -> Bool {
        guard file != nil, let open = segments.last, end.offset > AuditSegmentHeader.bytes else {
            return false
        }
        return end.offset >= place.settings.segmentBytes
            || book.weight > place.settings.namesBytesMax
            || now.milliseconds &- open.created >= place.settings.segmentSeconds &* 1_000
    }

    /// Ends the open segment, when there is one and all is written, also what was made of entries.
    mutating func seal(now: WallTime) throws(AuditFailure) {
        guard file != nil, !isBehind else { return }
        let seal = AuditSeal.block(
            index, marks.all, segment: end.segment, previous: end.head, key: place.key, now: now)
        try put(seal)
        isSealed = true
        try sync()
        // All is durable: nothing will be written again that knows a name.
        book.removeAll()
    }

    /// Leaves the open segment as it is, without a seal: it is of an earlier version.
    mutating func leave() throws(AuditFailure) {
        try sync()
        file = nil
    }

    /// A life ends: what its rings will have given out.
    mutating func note(_ ring: UInt8, nextID: UInt64) {
        marks.change(ring) { $0.nextID = max($0.nextID, nextID) }
    }

    /// Names change their meaning: another life's.
    mutating func forgetNames() {
        names = [:]
        namesWritten = []
    }
}

/// A file of that name which is being written; an earlier one is removed.
func auditPart(_ path: String, bytes: Int, _ disk: any Disk) throws(DiskError) -> any DiskFile {
    do { return try disk.create(path, bytes: bytes) } catch {
        guard error.isPresent else { throw error }
        try disk.remove(path)
        return try disk.create(path, bytes: bytes)
    }
}

// MARK: retention

extension AuditWriter {
    /// Removes the oldest segments that the settings do not keep: notes it in the chain first, and
    /// removes them once the note is durable.
    mutating func prune(now: WallTime) throws(AuditFailure) {
        if let pruning {
            guard !hasUnsynced else { return }
            try remove(below: pruning)
            self.pruning = nil
            return
        }
        let count = prunable(now: now)
        guard count > 0, count < segments.count else { return }
        let below = segments[count].number
        let gone = segments[..<count]
        push(
            AuditGap(
                .pruned, count: UInt64(truncatingIfNeeded: count), mark: below, life: place.life,
                first: gone.first?.created ?? 0, last: segments[count].created
            ).block)
        pruning = below
    }

    private func prunable(now: WallTime) -> Int {
        var (count, left) = (0, bytes)
        // The open one stays, and, when there is none, the last.
        while count &+ 1 < segments.count {
            let isOld = place.settings.keepSeconds.map {
                segments[count &+ 1].created <= now.milliseconds &- $0 &* 1_000
            }
            let isMuch = place.settings.bytesMax.map { left > $0 }
            guard isOld == true || isMuch == true else { break }
            left &-= Int64(truncatingIfNeeded: segments[count].bytes)
            count &+= 1
        }
        return count
    }

    private mutating func remove(below: UInt64) throws(AuditFailure) {
        let (disk, directory) = (place.disk, place.settings.directory)
        while let oldest = segments.first, oldest.number < below {
            let path = place.path(AuditFiles.segment(oldest.number))
            try onAuditDisk { () throws(DiskError) in
                do throws(DiskError) { try disk.remove(path) } catch {
                    guard error.isAbsent else { throw error }
                }
            }
            segments.removeFirst()
        }
        try onAuditDisk { () throws(DiskError) in try disk.syncDirectory(directory) }
    }
}

// MARK: compression

extension AuditWriter {
    /// Segments that are not written to any more.
    var ended: [UInt64] { (hasOpen ? segments.dropLast() : segments[...]).map(\.number) }

    /// Puts the compressed form of a segment, which is durable beside it, into its place.
    mutating func adopt(_ number: UInt64, bytes: Int) throws(AuditFailure) {
        let (disk, directory) = (place.disk, place.settings.directory)
        let part = place.path(AuditPacking.partName(number))
        let path = place.path(AuditFiles.segment(number))
        guard let index = segments.firstIndex(where: { $0.number == number }) else {
            return try onAuditDisk { () throws(DiskError) in try disk.remove(part) }
        }
        try onAuditDisk { () throws(DiskError) in
            try disk.rename(part, to: path)
            try disk.syncDirectory(directory)
        }
        segments[index].bytes = bytes
    }
}
