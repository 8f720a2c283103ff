import TollgateCore

/// What a repair will do, or did.
package struct LedgerRepairPlan: Sendable {
    /// False: a start goes on as it is, and no file is damaged.
    package var isNeeded = false
    package var examination = LedgerExamination()
    /// The generation that most is read from; 0: none, it begins empty.
    package var read: UInt64 = 0
    /// Shards that are read from another.
    package var elsewhere: [(shard: Int, generation: UInt64)] = []
    /// The generation that is written; 0 until it is.
    package var written: UInt64 = 0
    package var makesMarker = false
    package var rewritesArchive = false
    package var losses: [LedgerLoss] = []
    /// Counters that may be too low, with what they will stand at.
    package var uncertain: [SavedUsage] = []
    /// Ends of the journal that were not written whole, and that a start would cut too.
    package var cuts: [LedgerCut] = []
    /// Files that go to quarantine, all in one folder of it.
    package var setAside: [String] = []
    package var folder = ""
}

extension LedgerInspection {
    /// What `repair` would do. Throws `damaged` where there is nothing to go on from, unless
    /// `beginningEmpty`; `version` and `disk` where a repair can do nothing.
    package func planRepair(
        now: Moment, beginningEmpty: Bool = false
    ) throws(LedgerFailure) -> LedgerRepairPlan {
        try prepare(now, beginningEmpty).plan
    }

    /// Makes what is left a ledger that starts, and puts everything that was there in quarantine.
    /// Cut short at any point, it can be run again.
    package func repair(
        now: Moment, beginningEmpty: Bool = false
    ) throws(LedgerFailure) -> LedgerRepairPlan {
        guard let held = lock else {
            throw LedgerFailure(.unfit, options.path, "is not locked for a repair")
        }
        try place.syncAll()
        let work = try prepare(now, beginningEmpty)
        var plan = work.plan
        guard plan.isNeeded, let start = work.start, let engine = work.engine else { return plan }
        // Of a life, or a repair, that was cut short: their names are wanted.
        try place.removeParts()
        if plan.makesMarker { try makeMarker(work.marker) }
        if plan.rewritesArchive {
            try start.archive?.rewrite(reached: work.reached)
        }
        let ledger = Ledger(options, disk, work.marker, held: held)
        plan.written = try ledger.adopt(engine, start, now: now)
        let (place, folder) = (place, plan.folder)
        try onDisk { () throws(DiskError) in
            for path in plan.setAside { try place.setAside(path, in: folder) }
        }
        return plan
    }

    // MARK: preparing

    private struct Work {
        var plan: LedgerRepairPlan
        var marker: LedgerMarker
        var engine: Engine?
        var start: LedgerStart?
        /// By shard: how far the archive once reached.
        var reached: [UInt64] = []
    }

    private func prepare(_ now: Moment, _ beginningEmpty: Bool) throws(LedgerFailure) -> Work {
        var plan = LedgerRepairPlan()
        plan.examination = try examine(now: now)
        let failures = plan.examination.failures
        let isStarting =
            if case .failure = plan.examination.start { false } else { true }
        plan.isNeeded = !plan.examination.isUnmade && !(failures.isEmpty && isStarting)
        let none = LedgerMarker(ledger: 0, key0: 0, key1: 0)
        guard plan.isNeeded else { return Work(plan: plan, marker: none) }
        if let failure = failures.first(where: { !$0.isRepairable }) { throw failure }
        let names = try names()
        let (marker, isMade) = try repairMarker(names, beginningEmpty)
        plan.makesMarker = isMade
        let reader = LedgerReader(
            options: options, marker: marker, disk: disk, progress: { _ in })
        let engine = Engine(EngineConfiguration(hashKey: (marker.key0, marker.key1)))
        var work = Work(plan: plan, marker: marker, engine: engine)
        do throws(LedgerFailure) {
            let salvage = try reader.salvage()
            try restore(salvage, now, &work)
        } catch {
            guard error.kind == .damaged, beginningEmpty else { throw error }
            work.engine = Engine(EngineConfiguration(hashKey: (marker.key0, marker.key1)))
            try beginEmpty(names, marker, now, &work)
        }
        work.plan.folder = "repair-\((work.start?.generation ?? 0) &+ 1)"
        work.plan.setAside += pathsToSetAside(names, work)
        return work
    }

    private func restore(
        _ salvage: LedgerSalvage, _ now: Moment, _ work: inout Work
    ) throws(LedgerFailure) {
        guard let engine = work.engine else { return }
        let reading = salvage.reading
        _ = try reading.restore(into: engine, now: now, options: options)
        work.start = salvage.start
        work.reached = (0..<Engine.shardCount).map { reading.source(of: $0).shards[$0].archived }
        work.plan.read = reading.snapshot.header.generation
        work.plan.elsewhere = reading.otherSources.sorted { $0.key < $1.key }.map {
            ($0.key, $0.value.header.generation)
        }
        work.plan.rewritesArchive = salvage.isArchiveDamaged
        work.plan.losses = salvage.losses + groupLogLosses
        work.plan.cuts = reading.cuts
        let losses = work.plan.losses
        let isAny = losses.contains { $0.kind == .segment }
        let shards =
            isAny ? Array(0..<Engine.shardCount) : Set(losses.compactMap(\.shard)).sorted()
        for shard in shards {
            work.plan.uncertain += engine.savedUsage(shard: shard)
        }
    }

    /// What a group log that is damaged may have held, and no segment does.
    private var groupLogLosses: [LedgerLoss] {
        guard case .success(let log?) = groupLog, let failure = log.failure else { return [] }
        return [
            LedgerLoss(
                kind: .segment,
                words: "charges of the last second before the daemon ended: \(failure)")
        ]
    }

    /// Nothing says what was used. What is whole of the closed periods stays.
    private func beginEmpty(
        _ names: [String], _ marker: LedgerMarker, _ now: Moment, _ work: inout Work
    ) throws(LedgerFailure) {
        guard let engine = work.engine else { return }
        var damage = LedgerDamage()
        let archive = try UsageArchive(
            options, ledger: marker.ledger, names: names, disk, damage: &damage)
        var start = LedgerStart()
        start.generation = LedgerFiles.numbers(names, .snapshot).last ?? 0
        start.segment = LedgerFiles.numbers(names, .journal).last ?? 0
        start.archive = archive
        var floor = [UInt64](repeating: 0, count: Engine.shardCount)
        for number in LedgerFiles.numbers(names, .journal) {
            do throws(LedgerFailure) {
                let scan = try SegmentScan(
                    options, number: number, ledger: marker.ledger, disk)
                start.life = max(start.life, scan.header.life)
                for shard in floor.indices {
                    floor[shard] = max(floor[shard], scan.table.through[shard])
                }
            } catch { guard error.kind == .damaged else { throw error } }
        }
        let through = archive.archivedThrough
        for shard in floor.indices {
            let next = max(floor[shard], through[shard] &+ 1)
            try engine.beginEmpty(shard: shard, nextSequence: next, now, options.path)
        }
        work.start = start
        work.reached = through
        work.plan.read = 0
        work.plan.rewritesArchive = !damage.failures.isEmpty
        work.plan.losses = [LedgerLoss(kind: .all, words: "all counters: they begin at 0")]
        for failure in damage.failures {
            work.plan.losses.append(
                LedgerLoss(kind: .closed, words: "closed periods: \(failure)"))
        }
    }

    /// Everything but what stays in use: of the past, the new generation needs nothing.
    private func pathsToSetAside(_ names: [String], _ work: Work) -> [String] {
        var kinds: [LedgerFiles.Kind] = [.journal, .snapshot]
        if work.plan.rewritesArchive { kinds.append(.usage) }
        let paths = kinds.flatMap { kind in
            LedgerFiles.numbers(names, kind).map { options.file(LedgerFiles.name(kind, $0)) }
        }
        // Last: until the segments are there, it says what they held.
        return names.contains(LedgerFiles.groupLog)
            ? paths + [options.file(LedgerFiles.groupLog)] : paths
    }

    // MARK: the marker

    /// The marker, or the one that any generation has; whether it is to be made again.
    private func repairMarker(
        _ names: [String], _ beginningEmpty: Bool
    ) throws(LedgerFailure) -> (LedgerMarker, isMade: Bool) {
        let lost: LedgerFailure
        do { return (try place.existingMarker(), false) } catch {
            guard error.kind == .damaged || error.errno == DiskError.absent else { throw error }
            lost = error
        }
        for number in LedgerFiles.numbers(names, .snapshot).reversed() {
            let path = options.file(LedgerFiles.name(.snapshot, number))
            do { return (try SnapshotHeader.read(path, disk).header.marker, true) } catch {
                continue
            }
        }
        guard beginningEmpty else {
            throw LedgerFailure(
                .damaged, lost.path, "is lost, and no snapshot can be read to make it from")
        }
        // A key that nobody knows, where nothing is sorted by the old one any more.
        var generator = SystemRandomNumberGenerator()
        return (
            LedgerMarker(
                ledger: knownID(names) ?? generator.next(), key0: generator.next(),
                key1: generator.next()), true
        )
    }

    private func makeMarker(_ marker: LedgerMarker) throws(LedgerFailure) {
        let (place, file) = (place, options.file(LedgerFiles.marker))
        let isThere = try names().contains(LedgerFiles.marker)
        try onDisk { () throws(DiskError) in
            if isThere { try place.setAside(file) }
            try place.write(marker, to: file)
        }
    }
}

extension LedgerFailure {
    /// Not what another build wrote, nor what a disk refuses.
    fileprivate var isRepairable: Bool {
        switch kind {
        case .damaged: true
        case .disk: errno == DiskError.absent
        case .version, .locked, .unfit, .gone: false
        }
    }
}

extension Engine {
    /// A shard of which nothing is known.
    fileprivate func beginEmpty(
        shard: Int, nextSequence: UInt64, _ now: Moment, _ path: String
    ) throws(LedgerFailure) {
        let saved = SavedClocks(boot: now.boot, wall: now.wall, isSameBoot: true)
        let restorer = ShardRestorer(
            self, shard: shard, names: [],
            layoutTable: UnsafeRawBufferPointer(start: nil, count: 0), archivedThrough: 0,
            copiedThrough: 0, saved: saved, now: now)
        do throws(LedgerFault) {
            try restorer?.finish(nextSequence: nextSequence, at: now.wall)
        } catch {
            throw LedgerFailure(.damaged, path, "cannot begin empty: \(error)")
        }
    }
}
