import Synchronization
import TollgateCore

/// What recovery found and did.
package struct RecoveryReport: Sendable {
    /// The ledger was made: there was none.
    package var isNew = false
    /// The generation that was read, and the one that was written before serving; 0: none was.
    package var read: UInt64 = 0
    package var written: UInt64 = 0
    package var life: UInt64 = 0
    package var rows = 0
    package var items = 0
    /// Newer generations that were damaged; the older one and the journal held the whole state.
    package var passedOver: [LedgerFailure] = []
    /// What was cut off the journal, because it was not whole, and set aside in quarantine.
    package var cuts: [LedgerCut] = []

    mutating func note(_ reading: LedgerReading, _ counts: RestoredCounts) {
        read = reading.snapshot.header.generation
        (rows, items) = (counts.rows, counts.items)
        passedOver = reading.passedOver
        cuts = reading.cuts
    }
}

/// The durable side of an engine: one directory, one owner.
///
/// | state | | ways out |
/// |---|---|---|
/// | opened | locked; nothing was read | `recover`: serving, or it throws and changes nothing |
/// | serving | | a sync failed: troubled |
/// | troubled | charges are refused, or not journaled | a new snapshot is durable: serving |
///
/// The server's threads call `tend` (regions ahead), `flush` (rounds of syncs), and `snapshot`,
/// `archive` and the rest (upkeep); each may be called from any thread, one after the other.
/// Nothing here waits under a shard's lock.
package final class Ledger: Sendable {
    let options: LedgerOptions
    let disk: any Disk
    let marker: LedgerMarker
    /// There is no ledger yet; `recover` makes it.
    let isNew: Bool
    private let held: any DiskLock
    /// Of the directory itself: the file that is locked may be removed.
    private let heldDirectory: (any DiskLock)?
    /// Held for a round of syncs, and for the way out of trouble.
    let syncing = Lock()
    let lock = Lock()
    /// Held while a group log is made; taken before `syncing`.
    let making = Lock()
    /// One more with each journal that was given up: a snapshot that began before cannot end.
    let epoch = Atomic<UInt64>(0)
    // Guarded by `lock`, but for what `Live` guards itself.
    nonisolated(unsafe) var live: Live?
    nonisolated(unsafe) var record = LedgerRecord()
    // Guarded by `syncing`.
    nonisolated(unsafe) var group = GroupState()

    /// What there is from `recover` on. The parts never change.
    struct Live {
        var engine: Engine
        var supply: RegionSupply
        var archive: UsageArchive
        var life: UInt64
        var firstSegment: UInt64
    }

    /// Locks a directory, made if need be, and says whether there is a ledger. `random` is asked
    /// for the id and the key of a new one.
    package init(
        _ options: LedgerOptions, _ disk: any Disk, random: () -> UInt64
    ) throws(LedgerFailure) {
        self.options = options
        self.disk = disk
        try onDisk { () throws(DiskError) in
            try disk.makeDirectory(options.path)
            // What is in a directory whose own name is lost is lost.
            try disk.syncDirectory(options.parent)
        }
        held = try onDisk { () throws(DiskError) in
            try disk.lock(options.file(LedgerFiles.lock))
        }
        heldDirectory = try onDisk { () throws(DiskError) in
            try disk.lockDirectory(options.path, looking: false)
        }
        let place = LedgerPlace(options: options, disk: disk)
        (marker, isNew) = try place.marker(random)
    }

    /// For a repair, which holds the lock and knows the marker.
    init(_ options: LedgerOptions, _ disk: any Disk, _ marker: LedgerMarker, held: any DiskLock) {
        self.options = options
        self.disk = disk
        self.marker = marker
        self.held = held
        heldDirectory = nil
        isNew = false
    }

    /// How far it has come: by the names of its snapshots, whole or not; 0 for one yet to be made.
    package func reached() throws(LedgerFailure) -> LedgerMark {
        let names = try onDisk { () throws(DiskError) in try disk.list(options.path) }
        let newest = isNew ? nil : LedgerFiles.numbers(names, .snapshot).last
        return LedgerMark(ledger: marker.ledger, generation: newest ?? 0)
    }

    package var id: UInt64 { marker.ledger }

    package var path: String { options.path }

    /// The key that the engine is made with.
    package var hashKey: (UInt64, UInt64) { (marker.key0, marker.key1) }

    var running: Live {
        lock.lock()
        defer { lock.unlock() }
        guard let live else { preconditionFailure("the ledger was not recovered") }
        return live
    }

    func withRecord<T>(_ body: (inout LedgerRecord) -> T) -> T {
        lock.lock()
        defer { lock.unlock() }
        return body(&record)
    }

    // MARK: recovery

    /// Puts the ledger's state into an engine that is as it was made, with this ledger's key; then
    /// writes a fresh snapshot and makes fresh segments. From then on the engine may serve. When it
    /// throws, the engine is to be thrown away, and every file is as it was.
    ///
    /// `resuming`: where it can, it leaves the snapshot to whoever looks at `wantsSnapshot`.
    package func recover(
        into engine: Engine, now: Moment, behind generation: UInt64 = 0, resuming: Bool = false,
        progress: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(LedgerFailure) -> RecoveryReport {
        var report = RecoveryReport(isNew: isNew)
        let place = LedgerPlace(options: options, disk: disk)
        var start = LedgerStart()
        var resumed: LedgerReading?
        if isNew {
            try place.beginMaking(marker)
            start.archive = try UsageArchive(options, ledger: marker.ledger, names: [], disk)
        } else {
            try place.syncAll()
            do { try applyGroupLog(progress) } catch { throw error.named(repairing: options.path) }
            let reader = LedgerReader(
                options: options, marker: marker, disk: disk, progress: progress)
            let reading: LedgerReading
            do { reading = try reader.read() } catch {
                throw error.named(repairing: options.path)
            }
            progress("restoring snapshot \(reading.snapshot.header.generation)")
            let counts: RestoredCounts
            do { counts = try reading.restore(into: engine, now: now, options: options) } catch {
                throw error.named(repairing: options.path)
            }
            report.note(reading, counts)
            try place.quarantine(report.cuts, life: reading.life)
            try place.removeParts()
            start = LedgerStart(reading)
            if resuming, canResume(reading, counts, engine, behind: generation) {
                resumed = reading
            }
        }
        start.goOn(behind: generation)
        report.life = start.life &+ 1
        if let resumed {
            try resume(engine, start, resumed, report, now)
        } else {
            report.written = start.generation &+ 1
            try begin(engine, start, report, now, progress)
        }
        try place.settle(isNew: isNew, passedOver: report.passedOver)
        return report
    }

    /// Brings the segments to where the group log of the life before says they were, whatever the
    /// policy says of this one.
    private func applyGroupLog(_ progress: (String) -> Void) throws(LedgerFailure) {
        let names = try onDisk { () throws(DiskError) in try disk.list(options.path) }
        let log = try GroupLogReading(options, names: names, ledger: marker.ledger, disk)
        guard let log else { return }
        if let failure = log.failure { throw failure }
        if let torn = log.torn {
            progress("\(log.path), byte \(torn): a group commit that nobody was told of ends there")
        }
        guard !log.batches.isEmpty else { return }
        let bytes = try log.apply(options, names: names, disk)
        progress("\(log.batches.count) group commits read, \(bytes) bytes of the journal")
    }

    /// A repair has put what is left into the engine: writes it as a generation, and makes no
    /// journal behind it, which the next start does. The generation's number.
    func adopt(
        _ engine: Engine, _ start: LedgerStart, now: Moment
    ) throws(LedgerFailure) -> UInt64 {
        try LedgerPlace(options: options, disk: disk).removeParts()
        var start = start
        start.goOn(behind: start.generation)
        var report = RecoveryReport(life: start.life &+ 1)
        report.written = start.generation &+ 1
        try writeSnapshot(beginLife(engine, start, report), now, lacksJournal: true)
        return report.written
    }

    /// The state is in the engine: makes it durable in new files.
    private func begin(
        _ engine: Engine, _ start: LedgerStart, _ report: RecoveryReport, _ now: Moment,
        _ progress: (String) -> Void
    ) throws(LedgerFailure) {
        progress("writing snapshot \(report.written)")
        let supply = beginLife(engine, start, report)
        // Behind a repair, so that from this snapshot on they cannot all be taken away unseen.
        if !start.hasJournal { try onDisk { () throws(DiskError) in try supply.giveAll() } }
        try writeSnapshot(supply, now)
        // Files ahead are the supplier's to make, while the engine serves.
        try onDisk { () throws(DiskError) in try supply.giveAll() }
        engine.setLedgerState(.serving)
    }

    /// Nothing changes meanwhile.
    private func writeSnapshot(
        _ supply: RegionSupply, _ now: Moment, lacksJournal: Bool = false
    ) throws(LedgerFailure) {
        let writer = snapshotWriter(now, lacksJournal: lacksJournal)
        while try writer.step() {}
        supply.noteDurable(writer.shards.map(\.end))
    }

    /// Nothing is served yet.
    func beginLife(
        _ engine: Engine, _ start: LedgerStart, _ report: RecoveryReport,
        billing: WallTime = WallTime(milliseconds: 0)
    ) -> RegionSupply {
        guard let archive = start.archive else { preconditionFailure("no archive was read") }
        engine.beginJournal(ledgerID: marker.ledger, life: report.life)
        engine.setLedgerState(.refusing)
        let first = start.segment &+ 1
        let supply = RegionSupply(
            options, disk, engine, ledger: marker.ledger, life: report.life, nextNumber: first,
            billing: billing)
        lock.lock()
        live = Live(
            engine: engine, supply: supply, archive: archive, life: report.life,
            firstSegment: first)
        if report.read > 0, let read = start.read { record.generations.append(read) }
        record.lastGeneration = start.generation
        lock.unlock()
        return supply
    }

    // MARK: supply

    /// Gives shards what they journal into, ahead of their need. What it throws is noted: shards
    /// go on while they have room, and it is tried again with the next call.
    package func tend() throws(LedgerFailure) {
        let live = running
        do throws(DiskError) {
            try live.supply.tend()
            try tendGroupLog(live)
            withRecord { $0.supplyFailure = nil }
        } catch {
            let failure = LedgerFailure(error)
            withRecord { $0.supplyFailure = failure }
            if options.allowsUnjournaled, live.engine.currentLedgerState == .serving,
                live.engine.wantsRegions != 0
            {
                syncing.lock()
                defer { syncing.unlock() }
                enterTrouble(live, failure)
            }
            throw failure
        }
    }

    /// Gives shards what stands ready, without any call of the disk: for who sees that a shard
    /// wants a region now. Also while more is being made.
    package func giveReady() { running.supply.giveReady() }

    // MARK: closed periods

    /// Moves closed periods from memory to the archive, durably; how many. When it throws they
    /// stay in memory, and it is tried again with the next call.
    package func archive() throws(LedgerFailure) -> Int {
        let live = running
        // Where trouble ended since, more may have closed under a number of which some were taken.
        let begun = epoch.load(ordering: .acquiring)
        do {
            let count = try live.archive.archive(live.engine) { () throws(LedgerFailure) in
                try syncJournal(live, since: begun)
            }
            withRecord { $0.archiveFailure = nil }
            return count
        } catch {
            withRecord { $0.archiveFailure = error }
            throw error
        }
    }

    /// A page of what was archived behind `cursor`; throws `gone` when that was before a pruning.
    package func closedPeriods(
        after cursor: UsageCursor, count: Int, _ isWanted: (ArchivedPeriod) -> Bool
    ) throws(LedgerFailure) -> UsageArchive.Page {
        try running.archive.page(after: cursor, count: count, isWanted)
    }

    /// Removes for good what `isPruned` among what was read up to `cursor`; how many.
    package func pruneClosed(
        through cursor: UsageCursor, _ isPruned: (ArchivedPeriod) -> Bool
    ) throws(LedgerFailure) -> Int {
        try running.archive.prune(through: cursor, isPruned)
    }

    // MARK: the end

    /// Syncs what was journaled, and what is known of it. Requests have ended.
    package func close(now: Moment) throws(LedgerFailure) {
        let live = running
        switch flush(now: now, inSegments: true) {
        case .refusing(let failure), .mustEnd(let failure): throw failure
        case .synced: break
        }
        try onDisk { () throws(DiskError) in try live.supply.tableFile?.file.sync() }
    }
}

/// Where recovery goes on from.
struct LedgerStart {
    var life: UInt64 = 0
    var generation: UInt64 = 0
    var segment: UInt64 = 0
    var archive: UsageArchive?
    /// The generation that was read.
    var read: LedgerRecord.Generation?
    /// There are files of the journal; or the marker will say that there are.
    var hasJournal = true

    init() {}

    init(_ reading: LedgerReading) {
        life = reading.life
        generation = reading.generation
        segment = reading.segment
        archive = reading.archive
        read = reading.needed
        hasJournal = !reading.segments.isEmpty
    }

    /// Lives that have one generation as their last, at most: the one that wrote it, and those
    /// that resumed behind it.
    static let livesOfGeneration = Ledger.livesMax &+ 2

    /// Goes on behind another future of this ledger, of which its last generation alone is known;
    /// 0: there is none. That bounds how many lives there were, so that what is named by its life,
    /// as reservations are, is named anew by none.
    mutating func goOn(behind last: UInt64) {
        let most = UInt64(Self.livesOfGeneration)
        life = max(life, last.multipliedReportingOverflow(by: most).partialValue)
        generation = max(max(generation, last), (life &+ most &- 1) / most)
    }
}
