import TollgateCore

/// Gives shards memory to journal into, ahead of their need, and knows which files hold what was
/// not synced yet.
///
/// Segments are made by one thread at a time (`making`), which waits for the disk; regions are
/// given by one at a time (`giving`), which waits for no disk, so that what stands ready is given
/// also while more is made. `lock` guards the lists and is held for a few stores: a shard's lock is
/// never asked for while it is held. They are taken in this order.
/// Invariant: a file stands in `segments` from before a shard gets a region of it until no shard
/// can write to it.
final class RegionSupply: @unchecked Sendable {
    // Sendable: everything that changes is guarded by `lock`, or by `making` where it says so.

    /// Segments that stand ready beyond the one that is given out.
    static let preparedFiles = 2

    private let options: LedgerOptions
    private let disk: any Disk
    let engine: Engine
    private let ledger: UInt64
    private let life: UInt64
    /// Of a life that goes on behind one before: each file says it, the first before anything is
    /// served.
    private let billing: WallTime
    private let making = Lock()
    private let giving = Lock()
    private let lock = Lock()
    // Guarded by `lock`.
    private var segments: [UInt64: SegmentFile] = [:]
    /// The one that regions come from.
    private var open: SegmentFile?
    private var prepared: [SegmentFile] = []
    /// By shard: files of its regions, in order, from the one that it wrote to when they were last
    /// synced.
    private var files: [[UInt64]]
    /// By shard: slots below are durable; and those below which are so in the segments. What lies
    /// between stands in the group log.
    private var synced = [UInt64](repeating: 0, count: Engine.shardCount)
    private var inFiles = [UInt64](repeating: 0, count: Engine.shardCount)
    private var bytesSupplied = 0
    /// The file that was made last, or would have been.
    private var newest: UInt64
    // Guarded by `making`.
    private var nextNumber: UInt64

    init(
        _ options: LedgerOptions, _ disk: any Disk, _ engine: Engine, ledger: UInt64,
        life: UInt64, nextNumber: UInt64, billing: WallTime = WallTime(milliseconds: 0)
    ) {
        self.options = options
        self.disk = disk
        self.engine = engine
        self.ledger = ledger
        self.life = life
        self.billing = billing
        self.nextNumber = nextNumber
        newest = nextNumber &- 1
        files = Array(repeating: [], count: Engine.shardCount)
    }

    /// The largest region: regions that are written lie in few files, so that a round of syncs
    /// has few calls.
    private var regionBytesMax: Int {
        max(ShardJournal.regionBytesLeast, options.segmentBytes / Engine.shardCount)
    }

    // MARK: supply

    /// Gives every shard that wants one a region, then makes files ahead. Throws when a file could
    /// not be made; shards have what there was.
    func tend() throws(DiskError) {
        try giveAll()
        try makeAhead()
    }

    /// Gives every shard that wants one a region, and makes what files that takes.
    func giveAll() throws(DiskError) {
        making.lock()
        defer { making.unlock() }
        while !giveWhatStandsReady() { try prepare() }
    }

    /// Gives what stands ready, as far as it goes. Waits for another who gives, and for no disk:
    /// who went on without would find no room, and refuse for nothing.
    func giveReady() {
        if engine.wantsRegions != 0 { _ = giveWhatStandsReady() }
    }

    /// False when some shard is left without, since no file has room.
    private func giveWhatStandsReady() -> Bool {
        giving.lock()
        defer { giving.unlock() }
        var wants = engine.wantsRegions
        while wants != 0 {
            let shard = wants.trailingZeroBitCount
            wants &= wants &- 1
            guard give(shard) else { return false }
        }
        return true
    }

    /// Makes files ahead without giving anything to anybody.
    func makeAhead() throws(DiskError) {
        making.lock()
        defer { making.unlock() }
        while held({ prepared.count }) < Self.preparedFiles { try prepare() }
    }

    /// While `giving` is held. False when there is no room in any file. A shard that wants none
    /// after all has enough.
    private func give(_ shard: Int) -> Bool {
        let room = (options.segmentBytes &- SegmentHeader.bytes) & ~(SegmentHeader.alignment &- 1)
        let needed = min(engine.regionBytesNeeded(shard: shard), room)
        let wanted = max(needed, min(engine.regionBytesWanted(shard: shard), regionBytesMax))
        let region = held { () -> JournalRegion? in
            if let region = takeRegion(wanted, needed) {
                files[shard].append(region.file)
                bytesSupplied &+= region.bytes
                return region
            }
            return nil
        }
        guard let region else { return false }
        if !engine.supply(region, shard: shard) {
            // The memory is lost until its file is: it happens at a race with a failed sync.
            held { _ = files[shard].popLast() }
        }
        return true
    }

    private func takeRegion(_ wanted: Int, _ needed: Int) -> JournalRegion? {
        while true {
            if let region = open?.take(bytes: wanted, atLeast: needed) { return region }
            guard !prepared.isEmpty else { return nil }
            open = prepared.removeFirst()
        }
    }

    private func prepare() throws(DiskError) {
        let number = nextNumber
        // Numbers have no gap, by which recovery sees that a file is missing. So when it fails
        // the number is used again.
        let made = try SegmentFile(
            options, disk, number: number, ledger: ledger, life: life, billing: billing)
        nextNumber &+= 1
        held {
            segments[number] = made
            prepared.append(made)
            newest = number
        }
        try noteFollower(of: number &- 1)
    }

    private func noteFollower(of number: UInt64) throws(DiskError) {
        let isMapped = held { () -> Bool in
            segments[number]?.noteFollower()
            return segments[number] != nil
        }
        guard !isMapped else { return }
        try SegmentFollower.note(behind: number, ledger: ledger, options, disk)
    }

    // MARK: rounds of syncs

    /// What one round has to sync, and what is durable when it has.
    struct Round {
        var through: [UInt64]
        var current: [UInt64]
        var files: [SegmentFile]
        var changed: UInt64 = 0
    }

    /// Where all shards stand now, and the files with what was not synced up to there.
    func beginRound() -> Round {
        let positions = (0..<Engine.shardCount).map { engine.journalPosition(shard: $0) }
        var round = Round(
            through: positions.map(\.next), current: positions.map(\.file), files: [])
        held {
            var numbers: Set<UInt64> = []
            for shard in positions.indices where round.through[shard] > inFiles[shard] {
                round.changed |= 1 << UInt64(shard)
                for file in files[shard] {
                    numbers.insert(file)
                    if file == round.current[shard] { break }
                }
            }
            round.files = numbers.sorted().compactMap { segments[$0] }
        }
        return round
    }

    /// All files of the round were synced.
    func endRound(_ round: Round, number: UInt64) {
        let table: (SegmentFile?, [UInt64]) = held {
            for shard in synced.indices where round.changed & (1 << UInt64(shard)) != 0 {
                synced[shard] = max(synced[shard], round.through[shard])
                inFiles[shard] = round.through[shard]
                if let at = files[shard].firstIndex(of: round.current[shard]) {
                    files[shard].removeFirst(at)
                }
            }
            return (open, synced)
        }
        for shard in 0..<Engine.shardCount where round.changed & (1 << UInt64(shard)) != 0 {
            engine.noteSynced(shard: shard, through: round.through[shard] &- 1)
        }
        table.0?.note(round: number, synced: table.1)
    }

    /// Where every shard is durable, and the segments that are mapped.
    var positionsAndSegments: ([UInt64], [UInt64: SegmentFile]) { held { (synced, segments) } }

    /// The group log holds everything up to here, synced; whether that is more than before.
    func noteLogged(_ through: [UInt64]) -> Bool {
        let changed = held {
            let changed = synced.indices.filter { through[$0] > synced[$0] }
            for shard in changed { synced[shard] = through[shard] }
            return changed
        }
        for shard in changed { engine.noteSynced(shard: shard, through: through[shard] &- 1) }
        return !changed.isEmpty
    }

    /// Everything up to here is durable by a snapshot, whatever became of the journal.
    func noteDurable(_ through: [UInt64]) {
        held {
            synced = through
            inFiles = through
        }
    }

    var syncedThrough: [UInt64] { held { synced } }

    /// The file that the table of what was synced stands in.
    var tableFile: SegmentFile? { held { open } }

    /// Bytes that shards were given to write to.
    var bytesGiven: Int { held { bytesSupplied } }

    var filesHeld: Int { held { segments.count } }

    func holds(_ number: UInt64) -> Bool { held { segments[number] != nil } }

    // MARK: files that are needed no more

    /// Files that hold anything at or behind where the shards stand now, besides all that are made
    /// later, which are numbered from the second on.
    func pinned() -> (files: Set<UInt64>, from: UInt64) {
        var pinned: Set<UInt64> = []
        for shard in 0..<Engine.shardCount {
            let regions = engine.regions(shard: shard)
            if let current = regions.current { pinned.insert(current.file) }
            if let spare = regions.spare { pinned.insert(spare.file) }
        }
        return held {
            // A region that was taken and not yet handed over lies in a file of these lists.
            for list in files { pinned.formUnion(list) }
            return (pinned, open?.number ?? prepared.first?.number ?? newest &+ 1)
        }
    }

    /// Ends the mappings of files that are not among `kept` and that no shard writes to, and gives
    /// their numbers.
    func release(allBut kept: Set<UInt64>, below: UInt64) -> [UInt64] {
        let used = pinned()
        return held {
            let gone = segments.keys.filter {
                $0 < below && $0 < used.from && !kept.contains($0) && !used.files.contains($0)
            }.sorted()
            for number in gone { segments[number]?.file.unmap() }
            for number in gone { segments[number] = nil }
            return gone
        }
    }

    /// Takes every region away from the shards: no file that they wrote to is trusted any more.
    /// The files stay where they are, and mapped, until a snapshot has made them needless.
    func abandon() {
        making.lock()
        defer { making.unlock() }
        // Nothing is on its way from these files to a shard when they are taken away.
        giving.lock()
        defer { giving.unlock() }
        for shard in 0..<Engine.shardCount { engine.dropRegions(shard: shard) }
        held {
            for shard in files.indices { files[shard] = [] }
            open = nil
        }
    }

    private func held<T>(_ body: () -> T) -> T {
        lock.lock()
        defer { lock.unlock() }
        return body()
    }
}
