import Synchronization
import TollgateWire

/// Where a shard's journal stands.
package struct JournalPosition: Sendable, Equatable {
    /// Sequence number of the slot that is written next.
    package var next: UInt64
    /// Number of the file that it is written to; 0: none was handed over.
    package var file: UInt64
}

/// The slots that a shard wrote last, and where they lie: between two transactions, so that none of
/// them changes any more.
package struct JournalStretch: Sendable {
    /// Sequence number of the slot that is written next.
    package var next: UInt64
    /// The region that slots below lie in, and the one before it, whose last is followed by the
    /// first of `current`.
    package var current: JournalRegion?
    package var previous: JournalRegion?
}

/// Closed periods of one shard that wait to be archived. They stay until they are confirmed.
package struct ClosedBatch: Sendable, Equatable {
    /// Entries as `ClosedQueue` has them.
    package var bytes: [UInt8]
    package var count: Int

    /// Each period with the sequence number of its item in the journal, in order.
    package var periods: [(sequence: UInt64, bytes: [UInt8])] {
        var found: [(sequence: UInt64, bytes: [UInt8])] = []
        bytes.withUnsafeBytes { all in
            var at = 0
            while at + ClosedQueue.entryBytes <= all.count {
                let sequence = all.loadLittle(at: at, as: UInt64.self)
                let count = Int(all.loadLittle(at: at + 8, as: UInt32.self))
                let start = at + ClosedQueue.entryBytes
                found.append((sequence, Array(all[start..<(start + count)])))
                at = start + count
            }
        }
        return found
    }
}

/// What the durable side does with an engine. Any thread; each takes one shard's lock for a moment.
extension Engine {
    /// To be read under the lock of the shard that is changed: who sets it takes every shard's lock
    /// before what hangs on it, so that nobody goes by the one before.
    @inline(__always)
    var state: LedgerState {
        LedgerState(rawValue: ledgerState.load(ordering: .relaxed)) ?? .refusing
    }

    package var currentLedgerState: LedgerState { state }

    package func setLedgerState(_ state: LedgerState) {
        ledgerState.store(state.rawValue, ordering: .relaxed)
    }

    /// From now on charges are journaled, and refused while a shard has no region. After every
    /// shard's restorer has ended; a shard's journal goes on behind what it replayed.
    package func beginJournal(ledgerID: UInt64, life: UInt64) {
        for index in 0..<Self.shardCount {
            withLedger(index) {
                $0.begin(nextSequence: $0.journal.nextSequence, ledger: ledgerID, life: life)
            }
        }
        setLedgerState(.serving)
    }

    /// Hands a shard a region of zeroed memory, to be written to next; false when it wants none.
    /// The memory must stay mapped while the engine lives, or until the shard has gone on to a
    /// later region and `regions` no longer names it.
    package func supply(_ region: JournalRegion, shard: Int) -> Bool {
        let isTaken = withLedger(shard) { $0.journal.supply(region) }
        if isTaken { wants.remove(shard) }
        return isTaken
    }

    /// Shards that have used up a region and have no other ahead, by bit.
    package var wantsRegions: UInt64 { wants.bits.load(ordering: .relaxed) }

    /// Grows while regions go fast.
    package func regionBytesWanted(shard: Int) -> Int {
        withLedger(shard) { $0.journal.regionBytesWanted }
    }

    /// In fewer some transaction had no room.
    package func regionBytesNeeded(shard: Int) -> Int {
        withLedger(shard) { $0.journal.bytesNeeded }
    }

    package func journalPosition(shard: Int) -> JournalPosition {
        withLedger(shard) { $0.position }
    }

    package func journalStretch(shard: Int) -> JournalStretch {
        withLedger(shard) {
            JournalStretch(
                next: $0.journal.nextSequence, current: $0.journal.current,
                previous: $0.journal.previous)
        }
    }

    /// Every slot up to `through` is durable: the shard's next transaction says so.
    package func noteSynced(shard: Int, through: UInt64) {
        withLedger(shard) { $0.journal.noteSynced(through: through) }
    }

    /// Takes the regions away that a shard has: their file cannot be synced any more, and what is
    /// charged next goes to files that can.
    package func dropRegions(shard: Int) {
        withLedger(shard) { $0.journal.dropRegions() }
        wants.add(shard)
    }

    /// After shards have been without a journal, and before a snapshot of what they did meanwhile:
    /// periods that were closed so share the number of the slot that comes next. It is left out, so
    /// that nothing that is closed later is taken for what was archived of them. Whether there were
    /// any.
    package func leaveUnjournaledBehind() -> Bool {
        (0..<Self.shardCount).reduce(false) { isAny, index in
            withLedger(index) {
                guard $0.closed.count > 0, $0.closed.newest == $0.journal.nextSequence else {
                    return isAny
                }
                $0.journal.skip()
                return true
            }
        }
    }

    /// What the shard writes to now, and next.
    package func regions(shard: Int) -> (current: JournalRegion?, spare: JournalRegion?) {
        withLedger(shard) { ($0.journal.current, $0.journal.spare) }
    }

    package func takeClosed(shard: Int) -> ClosedBatch { withLedger(shard) { $0.batch } }

    /// Where a shard stands, and what had closed by then: numbered before, or, without a journal,
    /// with that very number.
    package func positionAndClosed(
        shard: Int
    ) -> (position: JournalPosition, closed: ClosedBatch) {
        withLedger(shard) { ($0.position, $0.batch) }
    }

    /// Drops what `takeClosed` gave: it stands in the archive, synced.
    package func confirmClosed(shard: Int, _ batch: ClosedBatch) {
        withLedger(shard) { $0.closed.drop(bytes: batch.bytes.count, count: batch.count) }
    }

    /// Closed periods that wait, of all shards.
    package var closedWaiting: Int {
        (0..<Self.shardCount).reduce(0) { $0 + withLedger($1) { $0.closed.count } }
    }

    /// Names of all counters, by what journals call them.
    package var counterNames: [String] {
        let names = layouts.names
        return (0..<names.total).compactMap { names.name($0) }
    }

    /// Puts every quota among the closed periods whose period is over, looking at `slots` slots of
    /// a shard's table from `cursor` on; `cursor` is -1 when all were looked at. False, to be asked
    /// again, when the journal had no room.
    package func closePeriods(
        shard index: Int, slots: Int, cursor: inout Int, now: Moment
    ) -> Bool {
        let now = Moment(boot: now.boot, wall: read(now).period)
        let shard = shard(index)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let state = self.state
        var hasRoom = true
        cursor = shard.table.pointee.walk(from: cursor, slots: slots) { row in
            hasRoom = hasRoom && (!row.isResetting || endReset(of: row, in: shard, state, now))
                && close(row, in: shard, state, now)
            return hasRoom
        }
        return hasRoom
    }

    /// Closes the row's quotas whose period is over; false when the journal had no room. Under the
    /// shard's lock; the wall clock of `now` is billing time.
    func close(
        _ row: Row, in shard: Shard, _ state: LedgerState, _ now: Moment
    ) -> Bool {
        guard let ledger = shard.ledger, row.hasCounters else { return true }
        let slots = layouts.layout(row.layout).slots
        for (index, slot) in slots.enumerated() where slot.kind == .quota {
            let cell = row.quota(slot.headOffset)
            guard cell.pointee.used > 0, !cell.pointee.isClosed, cell.pointee.isOver(now.wall)
            else { continue }
            let counter = layouts.counters(row.layout)[index]
            let credits = credits(of: slot, row, in: shard)
            guard ledger.pointee.close(
                row, counter, cell, isReset: false, state, now: now, credits)
            else { return false }
        }
        return true
    }

    func withLedger<Result>(_ index: Int, _ body: (inout ShardLedger) -> Result) -> Result {
        let shard = shard(index)
        guard let ledger = shard.ledger else { preconditionFailure("no tenant shard \(index)") }
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        return body(&ledger.pointee)
    }
}

extension ShardLedger {
    fileprivate var position: JournalPosition {
        JournalPosition(next: journal.nextSequence, file: journal.current?.file ?? 0)
    }

    fileprivate var batch: ClosedBatch { ClosedBatch(bytes: closed.entries, count: closed.count) }
}
