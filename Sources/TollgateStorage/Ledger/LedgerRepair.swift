import TollgateCore

/// What a repair could not save.
struct LedgerLosses {
    /// In words.
    private(set) var words: [String] = []
    /// Files that cannot be read, and are in the way of the next start.
    var unreadable: [String] = []

    mutating func note(_ failure: LedgerFailure, isUnreadable: Bool) {
        words.append("\(failure)")
        if isUnreadable { unreadable.append(failure.path) }
    }
}

extension LedgerReader {
    /// The newest generation that is whole, with what is whole of the journal behind it; what is
    /// lost; and files that are to be set aside. Throws when no generation is whole.
    func readLeniently() throws(LedgerFailure)
        -> (reading: LedgerReading, losses: [String], setAside: [String])
    {
        let names = try onDisk { () throws(DiskError) in try disk.list(options.path) }
        var losses = LedgerLosses()
        let segments = try segments(names, &losses)
        let archive = try UsageArchive(
            options, ledger: marker.ledger, names: names, disk, losses: &losses)
        let generations = LedgerFiles.numbers(names, .snapshot)
        guard let snapshot = try newest(generations, &losses) else {
            throw LedgerFailure(
                .damaged, options.path,
                "no snapshot in it is whole: only a backup can help")
        }
        let chains = try chains(snapshot, segments)
        for (shard, chain) in chains.enumerated() {
            if let fault = chain.fault { losses.note(fault, isUnreadable: false) }
            if archive.archivedThrough[shard] < snapshot.shards[shard].archived {
                losses.note(
                    LedgerFailure(
                        .damaged, options.path, "closed periods of shard \(shard) are missing"),
                    isUnreadable: false)
            }
        }
        if !losses.words.isEmpty {
            losses.unreadable += try archive.rewrite(reached: snapshot.shards.map(\.archived))
        }
        let reading = LedgerReading(
            snapshot: snapshot, chains: chains, segments: segments, archive: archive,
            passedOver: [],
            life: max(snapshot.header.life, segments.map(\.header.life).max() ?? 0),
            generation: generations.last ?? 0,
            segment: LedgerFiles.numbers(names, .journal).last ?? 0)
        return (reading, losses.words, losses.unreadable)
    }

    private func segments(
        _ names: [String], _ losses: inout LedgerLosses
    ) throws(LedgerFailure) -> [SegmentScan] {
        var segments: [SegmentScan] = []
        for number in LedgerFiles.numbers(names, .journal) {
            do throws(LedgerFailure) {
                segments.append(
                    try SegmentScan(options, number: number, ledger: marker.ledger, disk))
            } catch {
                guard error.kind == .damaged else { throw error }
                losses.note(error, isUnreadable: true)
            }
        }
        return segments
    }

    private func newest(
        _ generations: [UInt64], _ losses: inout LedgerLosses
    ) throws(LedgerFailure) -> SnapshotFile? {
        for generation in generations.reversed() {
            do throws(LedgerFailure) { return try check(generation) } catch {
                guard error.kind == .damaged else { throw error }
                losses.note(error, isUnreadable: true)
            }
        }
        return nil
    }
}
