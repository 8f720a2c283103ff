import TollgateCore

extension Ledger {
    /// Generations that are kept.
    static let generationsKept = 2

    /// Begins a snapshot, to be stepped to its end; `nil` while another one is written.
    package func beginSnapshot(now: Moment) -> SnapshotWriter? {
        let isFree = withRecord { record in
            defer { record.isWriting = true }
            return !record.isWriting
        }
        return isFree ? snapshotWriter(now, ofUpkeep: true) : nil
    }

    /// Writes a snapshot from its beginning to its end; its generation, or `nil` when another one
    /// is written already. Between two steps, each of a slice at most, it calls `rest`.
    package func snapshot(
        now: Moment, _ rest: () -> Void = {}
    ) throws(LedgerFailure) -> UInt64? {
        guard let writer = beginSnapshot(now: now) else { return nil }
        while try writer.step() { rest() }
        return writer.generation
    }

    /// `ofUpkeep`: the one that others wait for the end of; else, of a state that stands still.
    func snapshotWriter(
        _ now: Moment, ofUpkeep: Bool = false, lacksJournal: Bool = false
    ) -> SnapshotWriter {
        let live = running
        let generation = withRecord { record in
            record.lastGeneration &+= 1
            return record.lastGeneration
        }
        let header = SnapshotHeader(
            generation: generation, marker: marker, life: live.life,
            billing: live.engine.billingTime(now), now: now, boot: options.bootID,
            lacksJournal: lacksJournal)
        return SnapshotWriter(
            self, live.engine, header, archive: live.archive,
            epoch: epoch.load(ordering: .acquiring), ofUpkeep: ofUpkeep)
    }

    func pinnedFiles() -> (files: Set<UInt64>, from: UInt64, given: Int) {
        let supply = running.supply
        let pinned = supply.pinned()
        return (pinned.files, pinned.from, supply.bytesGiven)
    }

    /// A snapshot is durable, or was given up.
    func ended(_ writer: SnapshotWriter, _ failure: LedgerFailure?) {
        let number = writer.generation
        withRecord { record in
            if writer.isOfUpkeep { record.isWriting = false }
            record.snapshotFailure = failure
            guard failure == nil else { return }
            record.generations.append(
                LedgerRecord.Generation(
                    number: number, files: writer.pinned.files, from: writer.pinned.from))
            record.isBehind = false
            // One that ended trouble meanwhile is the newer one.
            record.generations.sort { $0.number < $1.number }
            record.bytesAtSnapshot = writer.pinned.given
            record.snapshotAt = writer.now
            record.snapshotBytes = writer.totals.fileBytes
        }
        guard failure == nil else { return }
        do throws(DiskError) {
            try dropOld()
            withRecord { $0.dropFailure = nil }
        } catch {
            // They take room and do no harm; the next snapshot tries again.
            let failure = LedgerFailure(error)
            withRecord { $0.dropFailure = failure }
        }
    }

    /// Removes generations but the last two, and what of the journal neither of them needs.
    private func dropOld() throws(DiskError) {
        let live = running
        let kept = withRecord { record in
            record.generations = record.generations.suffix(Self.generationsKept)
            return record.generations
        }
        guard kept.count == Self.generationsKept, let oldest = kept.first?.number else { return }
        let names = try disk.list(options.path)
        for number in LedgerFiles.numbers(names, .snapshot) where number < oldest {
            try disk.remove(options.file(LedgerFiles.name(.snapshot, number)))
        }
        var files: Set<UInt64> = []
        var from = UInt64.max
        for generation in kept {
            files.formUnion(generation.files)
            from = min(from, generation.from)
        }
        _ = live.supply.release(allBut: files, below: from)
        // The newest stays: until this life has files of its own, none at all would be damage.
        for number in LedgerFiles.numbers(names, .journal).dropLast()
        where number < from && !files.contains(number) && !live.supply.holds(number) {
            try disk.remove(options.file(LedgerFiles.name(.journal, number)))
        }
    }
}
