import TollgateCore

/// What a look at one file of a ledger found.
package struct LedgerFinding: Sendable {
    package var path: String
    /// What it holds, in a line.
    package var summary: String
    /// The first bad place; `nil`: it is whole.
    package var failure: LedgerFailure?
}

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
    /// By shard: the journal's next sequence number.
    package var next: [UInt64]
    package var cuts: [LedgerCut]
    /// Closed periods that are not in the archive yet.
    package var closedWaiting: Int
    package var usage: [SavedUsage]
}

/// What a repair did.
package struct LedgerRepairReport: Sendable {
    package var read: UInt64
    package var written: UInt64
    /// What is lost, in words; empty: nothing.
    package var losses: [String]
    /// Files that were moved to quarantine.
    package var setAside: [String]
}

/// Looks at a ledger that no daemon has open; locks it meanwhile. Only `repair` changes anything.
package final class LedgerInspection {
    let options: LedgerOptions
    let disk: any Disk
    private var lock: (any DiskLock)?

    package init(_ options: LedgerOptions, _ disk: any Disk) throws(LedgerFailure) {
        self.options = options
        self.disk = disk
        let names = try onDisk { () throws(DiskError) in try disk.list(options.path) }
        guard names.contains(where: { $0.hasPrefix("ledger.") || $0.hasSuffix(".tgs") }) else {
            throw LedgerFailure(.unfit, options.path, "there is no ledger in it")
        }
        lock = try onDisk { () throws(DiskError) in
            try disk.lock(options.file(LedgerFiles.lock))
        }
    }

    private var place: LedgerPlace { LedgerPlace(options: options, disk: disk) }

    private func names() throws(LedgerFailure) -> [String] {
        try onDisk { () throws(DiskError) in try disk.list(options.path) }
    }

    // MARK: verify

    /// Reads every file to its end. Whether the whole can be recovered, `inspect` says.
    package func verify() throws(LedgerFailure) -> [LedgerFinding] {
        let names = try names()
        var findings: [LedgerFinding] = []
        let markerPath = options.file(LedgerFiles.marker)
        var marker: LedgerMarker?
        findings.append(
            try finding(markerPath) { () throws(LedgerFailure) in
                marker = try place.existingMarker()
                return "the marker"
            })
        let ledger = marker?.ledger
        for number in LedgerFiles.numbers(names, .snapshot) {
            findings.append(try snapshot(number))
        }
        for number in LedgerFiles.numbers(names, .journal) {
            let path = options.file(LedgerFiles.name(.journal, number))
            guard let ledger else { continue }
            findings.append(
                try finding(path) { () throws(LedgerFailure) in
                    try Self.check(SegmentScan(options, number: number, ledger: ledger, disk))
                })
        }
        for number in LedgerFiles.numbers(names, .usage) {
            let path = options.file(LedgerFiles.name(.usage, number))
            guard let ledger else { continue }
            findings.append(
                try finding(path) { () throws(LedgerFailure) in
                    try Self.check(UsageFile(path, number: number, ledger: ledger, disk))
                })
        }
        return findings
    }

    /// All generations, or the one of that number.
    package func snapshots() throws(LedgerFailure) -> [LedgerFinding] {
        var findings: [LedgerFinding] = []
        for number in LedgerFiles.numbers(try names(), .snapshot) {
            findings.append(try snapshot(number))
        }
        return findings
    }

    private func snapshot(_ number: UInt64) throws(LedgerFailure) -> LedgerFinding {
        let path = options.file(LedgerFiles.name(.snapshot, number))
        return try finding(path) { () throws(LedgerFailure) in
            let file = try SnapshotFile(path, generation: number, disk)
            let checksums = try inParallel(Engine.shardCount, threads: options.threads) {
                (shard) throws(LedgerFailure) in
                try file.blocks(of: shard) { _, _ in }
            }
            try file.check(checksums)
            return "generation \(number) of life \(file.header.life), "
                + "\(file.totals.rowBytes) bytes of rows, \(file.totals.closed) closed periods"
        }
    }

    /// Damage is what is looked for; that the disk cannot be read is an error.
    private func finding(
        _ path: String, _ body: () throws(LedgerFailure) -> String
    ) throws(LedgerFailure) -> LedgerFinding {
        do { return LedgerFinding(path: path, summary: try body()) } catch {
            guard error.kind != .disk || error.errno == DiskError.absent else { throw error }
            return LedgerFinding(path: path, summary: "not whole", failure: error)
        }
    }

    private static func check(_ segment: SegmentScan) throws(LedgerFailure) -> String {
        var slots: UInt64 = 0
        for region in segment.regions {
            let block = try segment.read(region.offset, Int(region.header.bytes))
            defer { block.keep() }
            let place = region.offset
            var reader: JournalReader
            do { reader = try JournalReader(block.read) } catch {
                throw LedgerFailure(.damaged, segment.path, offset: place, "no region")
            }
            while reader.next() != nil {}
            guard let stop = reader.stop else { continue }
            slots &+= stop.nextSequence &- region.header.firstSequence
            guard reader.isZero(behind: stop) else {
                throw LedgerFailure(
                    .damaged, segment.path, offset: place &+ stop.wholeEnd,
                    "shard \(region.header.shard) ends here, and not with nothing")
            }
        }
        if let stray = segment.strays.first {
            throw LedgerFailure(
                .damaged, segment.path, offset: stray.offset, "something that is no region")
        }
        return "segment \(segment.header.number) of life \(segment.header.life), "
            + "\(segment.regions.count) regions, \(slots) slots"
    }

    private static func check(_ file: UsageFile) throws(LedgerFailure) -> String {
        var count = 0
        for part in file.parts { count &+= try file.entries(part).count }
        guard !file.isTorn else {
            throw LedgerFailure(.damaged, file.path, offset: file.end, "no whole block")
        }
        return "\(count) closed periods"
    }

    // MARK: inspect

    /// The state that the next start would serve. Throws what it would throw.
    package func inspect(now: Moment) throws(LedgerFailure) -> LedgerSummary {
        let marker = try place.existingMarker()
        let reader = LedgerReader(
            options: options, marker: marker, disk: disk, progress: { _ in })
        let reading = try reader.read()
        let engine = Engine(EngineConfiguration(hashKey: (marker.key0, marker.key1)))
        let counts = try reading.restore(into: engine, now: now, options: options)
        return LedgerSummary(
            ledger: marker.ledger, life: reading.life,
            generation: reading.snapshot.header.generation, passedOver: reading.passedOver,
            segments: reading.segments.count, rows: counts.rows, items: counts.items,
            next: reading.chains.map(\.next), cuts: reading.cuts,
            closedWaiting: engine.closedWaiting,
            usage: (0..<Engine.shardCount).flatMap { engine.savedUsage(shard: $0) })
    }

    // MARK: repair

    /// Makes what is left a ledger that starts: the newest generation that is whole and of the
    /// journal behind it what is whole up to the first damage of each shard. Everything that it
    /// takes away stands in quarantine.
    package func repair(now: Moment) throws(LedgerFailure) -> LedgerRepairReport {
        let marker = try repairMarker()
        try place.syncAll()
        let reader = LedgerReader(
            options: options, marker: marker, disk: disk, progress: { _ in })
        let (reading, losses, unreadable) = try reader.readLeniently()
        // The ledger takes the lock for itself.
        lock = nil
        let ledger = try Ledger(options, disk) { marker.ledger }
        let engine = Engine(EngineConfiguration(hashKey: ledger.hashKey))
        let report = try ledger.adopt(reading, into: engine, now: now)
        try ledger.close(now: now)
        let place = place
        try onDisk { () throws(DiskError) in
            for path in unreadable { try place.setAside(path) }
        }
        return LedgerRepairReport(
            read: report.read, written: report.written, losses: losses, setAside: unreadable)
    }

    /// The marker, made again from a generation when it is lost.
    private func repairMarker() throws(LedgerFailure) -> LedgerMarker {
        let lost: LedgerFailure
        do { return try place.existingMarker() } catch {
            guard error.kind == .damaged || error.errno == DiskError.absent else { throw error }
            lost = error
        }
        for number in LedgerFiles.numbers(try names(), .snapshot).reversed() {
            let path = options.file(LedgerFiles.name(.snapshot, number))
            let marker: LedgerMarker
            do { marker = try SnapshotFile(path, generation: number, disk).header.marker } catch {
                continue
            }
            let (place, file) = (place, options.file(LedgerFiles.marker))
            try onDisk { () throws(DiskError) in
                if lost.errno != DiskError.absent { try place.setAside(file) }
                try place.write(marker, to: file)
            }
            return marker
        }
        throw lost
    }
}
