import TollgateCore

/// A start that serves before it has written a generation of its own: the one that was read, and
/// the journal behind it, hold the whole state, and the new life's journal goes on behind them. The
/// next generation is upkeep's to write at once (`wantsSnapshot`).
///
/// What was synced once stays where it is; the rest is written anew first (`JournalTail`). Until a
/// generation of this life stands, the next start replays the journals of both.
extension Ledger {
    /// Lives behind a generation, besides its own, with which a start still goes on: so that who is
    /// killed again and again neither replays nor keeps ever more.
    static let livesMax = 1

    /// Whether what was read can be gone on behind. Not from a generation that stands in for a
    /// damaged one, nor where recovery changed what no journal says.
    func canResume(
        _ reading: LedgerReading, _ counts: RestoredCounts, _ engine: Engine,
        behind generation: UInt64
    ) -> Bool {
        let header = reading.snapshot.header
        let lives = Set(reading.segments.map(\.header.life).filter { $0 > header.life })
        let positions = (0..<Engine.shardCount).map { engine.journalPosition(shard: $0).next }
        let tail = JournalTail(of: reading, ledger: marker.ledger, life: reading.life &+ 1)
        return reading.passedOver.isEmpty && reading.generation == header.generation
            && !reading.segments.isEmpty
            && generation <= header.generation && lives.count <= Self.livesMax
            && counts.resets == 0 && positions == reading.chains.map(\.next)
            && reading.replayBytes <= 2 &* options.journalBytesMax
            && tail.bytes <= options.journalBytesMax
    }

    /// The state is in the engine, and on the disk but for what no sync had covered.
    func resume(
        _ engine: Engine, _ start: LedgerStart, _ reading: LedgerReading, _ report: RecoveryReport,
        _ now: Moment
    ) throws(LedgerFailure) {
        let tail = JournalTail(of: reading, ledger: marker.ledger, life: report.life)
        var start = start
        if tail.bytes > 0 {
            start.segment &+= 1
            try tail.write(options, disk, number: start.segment)
        }
        // What a snapshot would say: no period that was seen to have begun is yet to begin.
        let supply = beginLife(engine, start, report, billing: engine.billingTime(now))
        withRecord { record in
            record.isBehind = true
            record.snapshotAt = reading.snapshot.header.now
            record.snapshotBytes = reading.snapshot.totals.fileBytes
        }
        supply.noteDurable(reading.chains.map(\.next))
        try onDisk { () throws(DiskError) in try supply.giveAll() }
        engine.setLedgerState(.serving)
    }
}

extension LedgerReading {
    /// Slots that a start replays.
    fileprivate var replayBytes: Int {
        chains.reduce(0) { sum, chain in
            chain.pieces.reduce(sum) {
                $0 &+ Int(truncatingIfNeeded: $1.to &- $1.from) &* JournalFormat.slotBytes
            }
        }
    }
}
