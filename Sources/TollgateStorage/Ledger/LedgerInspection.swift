import TollgateCore

/// What a ledger holds, as the next start would find it.
package struct LedgerSummary: Sendable {
    package var ledger: UInt64
    package var life: UInt64
    package var generation: UInt64
    /// Newer generations that cannot be used.
    package var passedOver: [LedgerFailure]
    package var segments: Int
    package var rows: Int
    package var items: Int
    package var organizations: Int
    package var users: Int
    package var reservations: Int
    package var idempotencyRecords: Int
    package var shards: [ShardSummary]
    package var cuts: [LedgerCut]
    /// Closed periods that are not in the archive yet.
    package var closedWaiting: Int

    /// By shard: the journal's next sequence number.
    package var next: [UInt64] { shards.map(\.next) }
    package var usage: [SavedUsage] { shards.flatMap(\.usage) }
}

/// Looks at a ledger that no daemon has open, and keeps daemons from opening it meanwhile. Only
/// `repair` changes anything.
package final class LedgerInspection {
    let options: LedgerOptions
    /// Reads as a start would, which applies the group log.
    let disk: any Disk
    let groupLog: Result<GroupLogReading?, LedgerFailure>
    /// `nil` where no daemon was ever: there is no file to lock.
    let lock: (any DiskLock)?
    private let directoryLock: (any DiskLock)?

    /// Throws `unfit` when there is no ledger in the directory. `repairing`: nobody else may look
    /// meanwhile, and the file to lock is made if need be.
    package init(
        _ options: LedgerOptions, _ disk: any Disk, repairing: Bool = false
    ) throws(LedgerFailure) {
        self.options = options
        let names = try onDisk { () throws(DiskError) in try disk.list(options.path) }
        guard names.contains(where: LedgerFiles.isOfLedger) else {
            throw LedgerFailure(.unfit, options.path, "there is no ledger in it")
        }
        let file = options.file(LedgerFiles.lock)
        lock = try onDisk { () throws(DiskError) in
            repairing ? try disk.lock(file) : try disk.lockToLook(file)
        }
        directoryLock = try onDisk { () throws(DiskError) in
            try disk.lockDirectory(options.path, looking: !repairing)
        }
        do throws(LedgerFailure) {
            let log = try GroupLogReading(options, names: names, ledger: nil, disk)
            groupLog = .success(log)
            self.disk = log.map { GroupLogDisk(disk, $0, options) } ?? disk
        } catch {
            groupLog = .failure(error)
            self.disk = disk
        }
    }

    var place: LedgerPlace { LedgerPlace(options: options, disk: disk) }

    func names() throws(LedgerFailure) -> [String] {
        try onDisk { () throws(DiskError) in try disk.list(options.path) }
    }

    // MARK: everything

    /// Reads every file to its end, goes on where one is damaged, and says what a start would make
    /// of them all.
    package func examine(now: Moment) throws(LedgerFailure) -> LedgerExamination {
        let names = try names()
        var result = LedgerExamination()
        result.isUnmade =
            names.contains(LedgerFiles.making) && !names.contains(LedgerFiles.marker)
        guard !result.isUnmade else { return result }
        let (marker, finding) = lookAtMarker()
        result.findings.append(finding)
        let ledger = marker?.ledger ?? knownID(names)
        let looks = LedgerFiles.numbers(names, .snapshot).map { look(at: $0, marker) }
        let newest = looks.last { $0.whole != nil }?.summary.number ?? 0
        let generations = looks.map { look in
            // Another build wrote it, and no start reads it: no damage, and worth a word.
            var look = look
            if look.summary.number < newest, look.finding.failure?.kind == .version {
                look.finding.passOver()
                look.summary.failure = nil
            }
            return look
        }
        result.generations = generations.map(\.summary)
        result.findings += generations.map(\.finding)
        lookAtJournal(names, ledger, generations.compactMap(\.whole), &result)
        if let finding = lookAtGroupLog(ledger) { result.findings.append(finding) }
        lookAtArchive(names, ledger, generations.compactMap(\.whole).last, &result)
        do throws(LedgerFailure) { result.start = .success(try inspect(now: now)) } catch {
            result.start = .failure(error)
            // What no file shows by itself: that they do not go together.
            if result.failures.isEmpty {
                var finding = LedgerFinding(error.path, "not whole")
                finding.note(error)
                result.findings.append(finding)
            }
        }
        return result
    }

    private func lookAtMarker() -> (LedgerMarker?, LedgerFinding) {
        let path = options.file(LedgerFiles.marker)
        var finding = LedgerFinding(path, "the marker")
        do throws(LedgerFailure) { return (try place.existingMarker(), finding) } catch {
            var failure = error
            if failure.errno == DiskError.absent {
                failure = LedgerFailure(.damaged, path, offset: 0, "is missing")
            }
            finding.note(failure)
            return (nil, finding)
        }
    }

    /// Of a ledger whose marker is lost: as any other file says.
    func knownID(_ names: [String]) -> UInt64? {
        for number in LedgerFiles.numbers(names, .snapshot).reversed() {
            let path = options.file(LedgerFiles.name(.snapshot, number))
            do {
                return try SnapshotHeader.read(path, disk).header.marker.ledger
            } catch { continue }
        }
        for number in LedgerFiles.numbers(names, .journal).reversed() {
            do {
                return try SegmentScan(options, number: number, ledger: nil, disk).header.ledger
            } catch { continue }
        }
        return nil
    }

    // MARK: snapshots

    /// All generations.
    package func snapshots() throws(LedgerFailure) -> [LedgerFinding] {
        let marker = lookAtMarker().0
        return LedgerFiles.numbers(try names(), .snapshot).map { look(at: $0, marker).finding }
    }

    private func look(
        at number: UInt64, _ marker: LedgerMarker?
    ) -> (finding: LedgerFinding, summary: GenerationSummary, whole: SnapshotFile?) {
        let path = options.file(LedgerFiles.name(.snapshot, number))
        let look = SnapshotLook(path, number, marker, disk, threads: options.threads)
        return (look.finding, look.summary, look.whole)
    }

    // MARK: the journal

    private func lookAtJournal(
        _ names: [String], _ ledger: UInt64?, _ generations: [SnapshotFile],
        _ result: inout LedgerExamination
    ) {
        var scans: [SegmentScan] = []
        var findings: [LedgerFinding] = []
        for number in LedgerFiles.numbers(names, .journal) {
            let path = options.file(LedgerFiles.name(.journal, number))
            var summary = SegmentSummary(number: number, path: path)
            var finding = LedgerFinding(path, "")
            do throws(LedgerFailure) {
                let scan = try SegmentScan(options, number: number, ledger: ledger, disk)
                summary.life = scan.header.life
                summary.bytes = Int(truncatingIfNeeded: scan.header.fileBytes)
                summary.regions = scan.regions.count
                scans.append(scan)
            } catch { finding.note(error) }
            result.segments.append(summary)
            findings.append(finding)
        }
        let floors = generations.isEmpty
            ? nil
            : (0..<Engine.shardCount).map { shard in
                generations.map { $0.shards[shard].start }.min() ?? 0
            }
        do throws(LedgerFailure) {
            let survey = try JournalSurvey(scans, floors: floors, threads: options.threads)
            tell(survey, &findings, &result)
        } catch { findings.append(damaged(error)) }
        let first = generations.last?.header.segmentsFrom ?? 0
        // Where the last file cannot be read, that is damage enough.
        let isLastRead = scans.last?.header.number == LedgerFiles.numbers(names, .journal).last
        if isLastRead, let missing = scans.missingBehindLast(from: first) {
            let path = options.file(LedgerFiles.name(.journal, missing))
            findings.append(damaged(.missingFile(path, offset: 0)))
        }
        for generation in generations {
            for failure in missing(generation, names) where !findings.contains(where: {
                $0.path == failure.path
            }) {
                findings.append(damaged(failure))
            }
        }
        result.findings += findings
    }

    private func tell(
        _ survey: JournalSurvey, _ findings: inout [LedgerFinding],
        _ result: inout LedgerExamination
    ) {
        for index in findings.indices {
            let path = findings[index].path
            guard let at = result.segments.firstIndex(where: { $0.path == path }) else { continue }
            result.segments[at].slots = survey.slots[result.segments[at].number] ?? 0
            let segment = result.segments[at]
            findings[index].summary =
                findings[index].failures.isEmpty
                ? "segment \(segment.number) of life \(segment.life), \(segment.regions) regions,"
                    + " \(segment.slots) slots" : "not whole"
            for failure in survey.failures where failure.path == path {
                findings[index].note(failure)
            }
            findings[index].notes += survey.notes.filter { $0.path == path }
            result.segments[at].failure = findings[index].failure
        }
        // Slots that no file has, of a life that has none.
        for failure in survey.failures where !findings.contains(where: {
            $0.path == failure.path
        }) {
            findings.append(damaged(failure))
        }
    }

    private func damaged(_ failure: LedgerFailure) -> LedgerFinding {
        var finding = LedgerFinding(failure.path, "not whole")
        finding.note(failure)
        return finding
    }

    /// Segments that a generation needs, and that are not there.
    private func missing(_ generation: SnapshotFile, _ names: [String]) -> [LedgerFailure] {
        let there = LedgerFiles.numbers(names, .journal)
        guard let last = there.last, generation.header.segmentsFrom <= last else { return [] }
        var failures: [LedgerFailure] = []
        var expected = generation.header.segmentsFrom
        for number in there where number >= expected {
            // Of many in a row the first few tell enough.
            while expected < number, failures.count < 16 {
                let path = options.file(LedgerFiles.name(.journal, expected))
                failures.append(.missingFile(path, offset: 0))
                expected &+= 1
            }
            expected = number &+ 1
        }
        return failures
    }

    // MARK: the group log

    private func lookAtGroupLog(_ ledger: UInt64?) -> LedgerFinding? {
        let path = options.file(LedgerFiles.groupLog)
        do throws(LedgerFailure) {
            guard let log = try groupLog.get() else { return nil }
            let count = log.batches.count
            var finding = LedgerFinding(
                path, "\(count) group commits since the segments were synced")
            if let failure = groupLogFailure(log, ledger) { finding.note(failure) }
            if let torn = log.torn {
                finding.notes.append(
                    LedgerNote(
                        path: path, offset: torn,
                        words: "a group commit that was being written when the daemon ended; nobody"
                            + " was told of it"))
            }
            return finding
        } catch { return damaged(error) }
    }

    private func groupLogFailure(_ log: GroupLogReading, _ ledger: UInt64?) -> LedgerFailure? {
        if let failure = log.failure { return failure }
        guard let ledger, let header = log.header, header.ledger != ledger else { return nil }
        return LedgerFailure(.damaged, log.path, offset: 16, "of another ledger")
    }

    // MARK: closed periods

    private func lookAtArchive(
        _ names: [String], _ ledger: UInt64?, _ newest: SnapshotFile?,
        _ result: inout LedgerExamination
    ) {
        var files: [UsageFile] = []
        var findings: [LedgerFinding] = []
        for number in LedgerFiles.numbers(names, .usage) {
            let path = options.file(LedgerFiles.name(.usage, number))
            var summary = ArchiveSummary(number: number, path: path)
            var finding = LedgerFinding(path, "")
            do throws(LedgerFailure) {
                let file = try UsageFile(path, number: number, ledger: ledger, disk)
                files.append(file)
                for part in file.parts { summary.periods &+= try file.entries(part).count }
                finding.summary = "\(summary.periods) closed periods"
            } catch { finding.note(error) }
            result.archives.append(summary)
            findings.append(finding)
        }
        let replaced = files.map(\.header.replaces).max() ?? 0
        let counted = files.filter { $0.header.number > replaced }
        for (index, file) in counted.enumerated() {
            let later = counted.dropFirst(index &+ 1).first?.header.through
            let wanted = later ?? newest?.shards.map(\.archived) ?? []
            guard let at = findings.firstIndex(where: { $0.path == file.path }) else { continue }
            do throws(LedgerFailure) { try file.check(before: wanted) } catch {
                findings[at].note(error)
                continue
            }
            if file.isTorn {
                findings[at].notes.append(
                    LedgerNote(
                        path: file.path, offset: file.end,
                        words: "closed periods that were being written when the daemon ended; they"
                            + " stand in the journal as well"))
            }
        }
        for index in findings.indices {
            guard let at = result.archives.firstIndex(where: {
                $0.path == findings[index].path
            }) else { continue }
            result.archives[at].failure = findings[index].failure
        }
        result.findings += findings
    }

    // MARK: inspect

    /// The state that the next start would serve. Throws what it would throw.
    package func inspect(now: Moment) throws(LedgerFailure) -> LedgerSummary {
        let look = lookAtMarker()
        guard let marker = look.0 else {
            throw look.1.failure ?? LedgerFailure(.damaged, look.1.path, "cannot be read")
        }
        if let log = try groupLog.get(), let failure = groupLogFailure(log, marker.ledger) {
            throw failure
        }
        let reader = LedgerReader(
            options: options, marker: marker, disk: disk, progress: { _ in })
        return try summary(of: try reader.read(), marker, now)
    }

    func summary(
        of reading: LedgerReading, _ marker: LedgerMarker, _ now: Moment
    ) throws(LedgerFailure) -> LedgerSummary {
        let engine = Engine(EngineConfiguration(hashKey: (marker.key0, marker.key1)))
        let counts = try reading.restore(into: engine, now: now, options: options)
        let gauges = engine.gauges
        return LedgerSummary(
            ledger: marker.ledger, life: reading.life,
            generation: reading.snapshot.header.generation, passedOver: reading.passedOver,
            segments: reading.segments.count, rows: counts.rows, items: counts.items,
            organizations: gauges.organizations, users: gauges.users,
            reservations: gauges.reservations,
            idempotencyRecords: gauges.idempotencyRecords,
            shards: reading.chains.enumerated().map { shard, chain in
                ShardSummary(next: chain.next, usage: engine.savedUsage(shard: shard))
            },
            cuts: reading.cuts, closedWaiting: engine.closedWaiting)
    }
}
