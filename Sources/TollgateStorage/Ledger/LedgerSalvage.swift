import TollgateCore

/// What lenient reading met.
struct LedgerDamage {
    private(set) var failures: [LedgerFailure] = []

    mutating func note(_ failure: LedgerFailure) { failures.append(failure) }
}

/// Something that a repair cannot save.
package struct LedgerLoss: Sendable, Equatable {
    package enum Kind: String, Sendable {
        /// Slots of one shard's journal that were on the disk once.
        case slots
        /// What a file of the journal held, of any shard.
        case segment
        /// What no sync had covered yet when the daemon ended.
        case tail
        /// Rows of one shard's counters.
        case counters
        /// Periods that are over.
        case closed
        /// All counters.
        case all
    }

    package var kind: Kind
    /// Whose counters may be too low; `nil`: of all, or of none.
    package var shard: Int?
    /// Slots of the journal that were on the disk once, and are not there.
    package var slots: UInt64 = 0
    package var words: String
}

/// What is left of a ledger: of each shard, the generation from which whole blocks and a whole
/// journal lead furthest.
struct LedgerSalvage {
    var reading: LedgerReading
    var losses: [LedgerLoss]
    /// The archive is to be written anew from what is whole of it.
    var isArchiveDamaged: Bool

    /// Where the repaired ledger goes on from.
    var start: LedgerStart { LedgerStart(reading) }
}

extension LedgerReader {
    /// A generation that opens, and which of its shards are whole.
    private struct Candidate {
        var file: SnapshotFile
        var isWhole: [Bool]
    }

    /// Throws `damaged` when no generation opens, so that there is nothing to go on from.
    func salvage() throws(LedgerFailure) -> LedgerSalvage {
        let names = try onDisk { () throws(DiskError) in try disk.list(options.path) }
        let segments = try readableSegments(names)
        var damage = LedgerDamage()
        let archive = try UsageArchive(
            options, ledger: marker.ledger, names: names, disk, damage: &damage)
        let generations = LedgerFiles.numbers(names, .snapshot)
        let candidates = try candidates(generations)
        guard let base = candidates.first?.file else {
            throw LedgerFailure(
                .damaged, options.path, "no snapshot in it can be read, so nothing says what was"
                    + " used")
        }
        var reading = LedgerReading(
            snapshot: base, chains: try chains(base, segments), segments: segments,
            archive: archive, passedOver: [],
            life: max(
                candidates.map(\.file.header.life).max() ?? 0,
                segments.map(\.header.life).max() ?? 0),
            generation: generations.last ?? 0,
            segment: max(
                LedgerFiles.numbers(names, .journal).last ?? 0,
                max(candidates.map(\.file.header.segmentsFrom).max() ?? 0, 1) &- 1))
        var losses: [LedgerLoss] = []
        for shard in 0..<Engine.shardCount {
            try choose(shard, candidates, &reading)
            losses += settle(shard, &reading)
        }
        let isMissed = losses.contains { $0.kind == .closed }
        losses += unreadLosses(LedgerFiles.numbers(names, .journal), reading)
        for failure in damage.failures {
            losses.append(LedgerLoss(kind: .closed, words: "closed periods: \(failure)"))
        }
        return LedgerSalvage(
            reading: reading, losses: losses,
            isArchiveDamaged: isMissed || !damage.failures.isEmpty)
    }

    /// What files that cannot be read may have held, which no other file tells for sure.
    private func unreadLosses(_ numbers: [UInt64], _ reading: LedgerReading) -> [LedgerLoss] {
        let read = Set(reading.segments.map(\.header.number))
        var lost = numbers.filter { !read.contains($0) }
        var expected = reading.snapshot.header.segmentsFrom
        for number in numbers where number >= expected {
            // Of many in a row the first few tell enough.
            while expected < number, lost.count < 16 {
                lost.append(expected)
                expected &+= 1
            }
            expected = number &+ 1
        }
        if read.contains(numbers.last ?? 0),
            let missing = reading.segments.missingBehindLast(
                from: reading.snapshot.header.segmentsFrom)
        {
            lost.append(missing)
        }
        // Behind a generation that cannot be read there were some, whatever one before it says.
        let header = reading.snapshot.header
        let lacked = header.lacksJournal && header.generation == reading.generation
        if numbers.isEmpty, !lacked {
            return [
                LedgerLoss(
                    kind: .segment,
                    words: "what the files of the journal held, which are all missing: any counter"
                        + " may stand too low")
            ]
        }
        if !lost.isEmpty {
            let files = lost.map { LedgerFiles.name(.journal, $0) }.joined(separator: ", ")
            return [
                LedgerLoss(
                    kind: .segment,
                    words: "what \(files) held and nothing else does: any counter may stand too"
                        + " low")
            ]
        }
        guard reading.cuts.contains(where: { $0.bytes > 0 }) else { return [] }
        return [
            LedgerLoss(
                kind: .tail,
                words: "charges of the last second before the daemon ended: of what no sync had"
                    + " covered yet, nothing says whether it is all there")
        ]
    }

    private func readableSegments(_ names: [String]) throws(LedgerFailure) -> [SegmentScan] {
        var segments: [SegmentScan] = []
        for number in LedgerFiles.numbers(names, .journal) {
            do throws(LedgerFailure) {
                segments.append(
                    try SegmentScan(options, number: number, ledger: marker.ledger, disk))
            } catch { guard error.kind == .damaged else { throw error } }
        }
        return segments
    }

    /// The newest first.
    private func candidates(_ generations: [UInt64]) throws(LedgerFailure) -> [Candidate] {
        var candidates: [Candidate] = []
        for number in generations.reversed() {
            do throws(LedgerFailure) {
                let path = options.file(LedgerFiles.name(.snapshot, number))
                let file = try SnapshotFile(path, generation: number, disk)
                guard file.header.marker == marker else { continue }
                let isWhole = try inParallel(Engine.shardCount, threads: options.threads) {
                    (shard) throws(LedgerFailure) in
                    do throws(LedgerFailure) {
                        try file.blocks(of: shard) { _, _ in }
                        return true
                    } catch {
                        guard error.kind == .damaged else { throw error }
                        return false
                    }
                }
                candidates.append(Candidate(file: file, isWhole: isWhole))
            } catch { guard error.kind == .damaged else { throw error } }
        }
        return candidates
    }

    /// Takes the shard from where it leads furthest; of the newest that opens, what is whole, when
    /// none is.
    private func choose(
        _ shard: Int, _ candidates: [Candidate], _ reading: inout LedgerReading
    ) throws(LedgerFailure) {
        let whole = candidates.filter { $0.isWhole.dropFirst(shard).first ?? false }
        let base = reading.snapshot.header.generation
        if whole.first?.file.header.generation == base, reading.chains[shard].fault == nil {
            return
        }
        guard !whole.isEmpty else {
            reading.partial.insert(shard)
            return
        }
        var best: (file: SnapshotFile, chain: ShardChain)?
        for candidate in whole {
            let chain = try chain(shard, from: candidate.file, reading.segments)
            if let best, best.chain.next >= chain.next { continue }
            best = (candidate.file, chain)
        }
        guard let best else { return }
        reading.chains[shard] = best.chain
        let isBase = best.file.header.generation == base
        reading.otherSources[shard] = isBase ? nil : best.file
    }

    private func chain(
        _ shard: Int, from file: SnapshotFile, _ segments: [SegmentScan]
    ) throws(LedgerFailure) -> ShardChain {
        let place = file.shards[shard]
        return try JournalChain.find(
            shard: shard, start: place.start, end: place.end, life: file.header.life,
            in: segments, directory: options.path)
    }

    /// Notes what is lost of a shard, and has its journal go on behind everything that was ever
    /// numbered.
    private func settle(_ shard: Int, _ reading: inout LedgerReading) -> [LedgerLoss] {
        var losses: [LedgerLoss] = []
        let chain = reading.chains[shard]
        if reading.partial.contains(shard) {
            losses.append(
                LedgerLoss(
                    kind: .counters, shard: shard,
                    words: "shard \(shard): some of its counters, which no snapshot has whole"))
        }
        let through = reading.archive.archivedThrough[shard]
        // Marks tell it, and what was archived of it.
        let required = max(chain.required, through &+ 1)
        if chain.fault != nil || required > chain.next {
            let slots = required > chain.next ? required &- chain.next : 0
            losses.append(
                LedgerLoss(
                    kind: .slots, shard: shard, slots: slots,
                    words: "shard \(shard): what slots \(chain.next) to"
                        + " \(max(required, chain.next &+ 1) &- 1) of its journal changed"))
        }
        if through < reading.source(of: shard).shards[shard].archived {
            losses.append(
                LedgerLoss(
                    kind: .closed,
                    words: "closed periods of shard \(shard) that were archived once"))
        }
        // A period that is closed later must not have the number of one that was archived.
        reading.chains[shard].next = max(chain.next, required)
        return losses
    }
}
