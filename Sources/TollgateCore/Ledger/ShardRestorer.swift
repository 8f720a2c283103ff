import TollgateWire

/// Puts one shard together again: rows of a snapshot, then items of its journal in their order,
/// then `finish`. After the directory was loaded, before the engine serves; shards side by side,
/// each in one thread.
///
/// What it is given was read from a disk: nothing of it traps, and what contradicts itself is a
/// fault, after which the engine is to be thrown away.
package final class ShardRestorer {
    let engine: Engine
    let index: Int
    let shard: Shard
    let saved: SavedClocks
    let now: Moment
    /// By number of the file: layouts in the engine's registry.
    private let layouts: [UInt32]
    /// What journals call counters, by number; it changes as names are replayed.
    var meaning: [UInt16: String] = [:]
    var handles = NumberTable()
    /// Offsets of quotas, by layout and counter; and the last one that was looked for.
    private var offsets: [UInt64: Int] = [:]
    private var lastPlace = UInt64.max
    private var lastOffset = 0
    /// Where the counters stand that a row of a layout begins anew, by the layout's number: made
    /// when the first of its rows comes.
    private var restorations: [UInt32: [Restoration]] = [:]
    private var numberMost: UInt32 = 0
    /// Closed periods up to this sequence number stand in the archive already.
    let archivedThrough: UInt64
    /// Rows were copied until the journal stood here: what it says before of a row that is unknown
    /// is of one that was given up before the snapshot came to it.
    private let copiedThrough: UInt64
    /// The latest billing time that the journal knows.
    package private(set) var billing = WallTime(milliseconds: 0)
    /// How many rows and items were taken.
    package private(set) var rows = 0
    package private(set) var items = 0
    /// Resets that were cut off in the middle, and that `finish` ended, unjournaled.
    package private(set) var resets = 0
    /// Some of the snapshot's rows are lost, so items that name them are passed over: for a repair
    /// alone. How many were, is `passedOver`.
    package var lacksRows = false
    package private(set) var passedOver = 0
    var parts = ClosedParts()

    /// `names` and `layouts` are those of the snapshot; `nil` when its table of layouts is none.
    package init?(
        _ engine: Engine, shard index: Int, names: [String], layoutTable: UnsafeRawBufferPointer,
        archivedThrough: UInt64, copiedThrough: UInt64, saved: SavedClocks, now: Moment
    ) {
        precondition((0..<Engine.shardCount).contains(index))
        self.engine = engine
        self.index = index
        self.archivedThrough = archivedThrough
        self.copiedThrough = copiedThrough
        self.saved = saved
        self.now = now
        shard = engine.shard(index)
        var numbers: [UInt32] = []
        if !layoutTable.isEmpty {
            guard let decoded = LayoutTable.decode(layoutTable, names: names) else { return nil }
            for layout in decoded {
                guard let number = engine.layouts.number(of: layout) else { return nil }
                numbers.append(number)
            }
        }
        layouts = numbers
        for (number, name) in names.enumerated() {
            meaning[UInt16(truncatingIfNeeded: number)] = name
        }
    }

    // MARK: rows of a snapshot

    /// Takes images of rows, one behind the other. A row that came before gives place.
    package func add(images: UnsafeRawBufferPointer) throws(LedgerFault) {
        var at = 0
        while at < images.count {
            let left = images.slice(at: at, length: images.count - at)
            guard left.count >= Row.headerBytes else { throw .badRow(at: at) }
            let bytes = Int(left.loadLittle(at: 22, as: UInt16.self)) * RowArena.unitBytes
            guard bytes >= Row.headerBytes, bytes <= left.count else { throw .badRow(at: at) }
            do { try add(image: left.slice(at: 0, length: bytes)) } catch {
                guard error == .badRow(at: 0) else { throw error }
                throw .badRow(at: at)
            }
            at += bytes
        }
    }

    private func add(image: UnsafeRawBufferPointer) throws(LedgerFault) {
        let head = try RowHead(image, layouts, engine.layouts)
        guard let key = head.key(in: index, engine) else { throw .foreignRow }
        let old = shard.table.pointee.find(key)
        if old != .none { remove(old) }
        let handle = shard.table.pointee.insert(image: image, hash: key.hash)
        guard handle != .none else { throw .outOfMemory }
        let row = shard.table.pointee.row(handle)
        row.isDefined = true
        if head.hasCounters {
            row.layout = head.layout
            try restoreCounters(of: row)
        } else {
            try begin(keeping: row, handle)
        }
        count(row, 1)
        // Items name rows with counters alone: the numbers of others may be the same.
        if head.hasCounters { note(head.number, handle) }
        rows += 1
    }

    /// What becomes of one counter of a row.
    private enum Restoration: BitwiseCopyable {
        case window(WindowShape, head: Int, ring: Int)
        case quota(Int)
        case concurrency(Int)
        case pool(Int)
        case grants

        init?(_ slot: CounterSlot) {
            switch slot.kind {
            case .window:
                guard let shape = slot.shape else { return nil }
                self = .window(shape, head: slot.headOffset, ring: slot.ringOffset)
            case .quota: self = .quota(slot.headOffset)
            case .concurrency: self = .concurrency(slot.headOffset)
            case .pool: self = .pool(slot.headOffset)
            case .grants: self = .grants
            }
        }
    }

    private func restorations(_ layout: UInt32) -> [Restoration] {
        if let known = restorations[layout] { return known }
        let made = engine.layouts.layout(layout).slots.compactMap { Restoration($0) }
        restorations[layout] = made
        return made
    }

    /// Windows as they are by now; nothing is held before the holds are looked at.
    private func restoreCounters(of row: Row) throws(LedgerFault) {
        for restoration in restorations(row.layout) {
            switch restoration {
            case .window(let shape, let head, let ring):
                Window.restore(
                    row.head(head), row.counters + ring, shape, saved: saved, now: now)
            case .quota(let offset): row.quota(offset).pointee.held = 0
            case .concurrency(let offset): row.concurrency(offset).pointee.open = 0
            // Counted anew when it is asked for.
            case .pool(let offset): row.pool(offset).pointee.endSeconds = 0
            case .grants:
                guard row.kind == RowKind.credits.rawValue, CreditAccount(row).restore() else {
                    throw .badItem(.credit)
                }
            }
        }
    }

    // MARK: items of the journal

    /// Takes an item of a whole transaction. `sequence`: of its first slot.
    package func apply(
        _ kind: JournalKind, _ item: UnsafeRawBufferPointer, sequence: UInt64
    ) throws(LedgerFault) {
        items += 1
        let closing = parts.begin(kind, item)
        switch kind {
        case .quota, .carried:
            try ofKnownRow(sequence) { () throws(LedgerFault) in
                try applyCounter(kind, item)
                if closing != nil, kind == .quota { notePart(of: closing, item, sequence) }
            }
        case .row: try applyRow(item)
        case .counter:
            guard item.count > 2 else { throw .badItem(kind) }
            let name = item.slice(at: 2, length: item.count - 2)
            meaning[item.loadLittle(at: 0, as: UInt16.self)] = String(decoding: name, as: UTF8.self)
            offsets.removeAll(keepingCapacity: true)
            lastPlace = .max
        case .mark:
            guard item.count >= 16 else { throw .badItem(kind) }
            let time = Int64(bitPattern: item.loadLittle(at: 8, as: UInt64.self))
            billing = max(billing, WallTime(milliseconds: time))
        case .closed: try applyClosed(item, sequence: sequence)
        case .forget: try applyForget(item)
        case .reset: try applyReset(item, sequence)
        case .reservation, .idempotency: try applyContent(kind, item, sequence)
        case .hold: try applyHold(item, sequence)
        case .settled:
            try ofKnownRow(sequence) { () throws(LedgerFault) in
                try applySettled(item, sequence)
            }
        case .credit: try ofKnownRow(sequence) { () throws(LedgerFault) in try applyCredit(item) }
        }
    }

    private func ofKnownRow(
        _ sequence: UInt64, _ body: () throws(LedgerFault) -> Void
    ) throws(LedgerFault) {
        do { try body() } catch {
            guard case .unknownRow = error, lacksRows || sequence < copiedThrough else {
                throw error
            }
            if lacksRows { passedOver += 1 }
        }
    }

    private func applyCounter(
        _ kind: JournalKind, _ item: UnsafeRawBufferPointer
    ) throws(LedgerFault) {
        if kind == .quota { try applyQuota(item) } else { try applyCarried(item) }
    }

    private func applyQuota(_ item: UnsafeRawBufferPointer) throws(LedgerFault) {
        guard item.count >= 22 else { throw .badItem(.quota) }
        let cell = try cell(item)
        let period = PeriodBytes(word: item.loadLittle(at: 14, as: UInt64.self))
        if period.startDay & QuotaCell.closedDay != 0 { noteOver(period.endSeconds) }
        let carried = cell.pointee.endSeconds == period.endSeconds ? cell.pointee.carried : 0
        cell.pointee = QuotaCell(
            used: item.loadLittle(at: 6, as: UInt64.self), endSeconds: period.endSeconds,
            journaledDay: period.startDay)
        cell.pointee.carried = carried
    }

    /// A period was closed: its end had come, by the billing time that must not run back.
    private func noteOver(_ endSeconds: Int64) {
        let (end, overflow) = endSeconds.multipliedReportingOverflow(by: 1_000)
        if !overflow { billing = max(billing, WallTime(milliseconds: end)) }
    }

    private func applyCarried(_ item: UnsafeRawBufferPointer) throws(LedgerFault) {
        guard item.count >= 14 else { throw .badItem(.carried) }
        try cell(item).pointee.carried = item.loadLittle(at: 6, as: UInt64.self)
    }

    /// The cell that an item of a counter and a row means; the row gets it if it has none.
    private func cell(
        _ item: UnsafeRawBufferPointer
    ) throws(LedgerFault) -> UnsafeMutablePointer<QuotaCell> {
        let counter = item.loadLittle(at: 0, as: UInt16.self)
        let number = item.loadLittle(at: 2, as: UInt32.self)
        let handle = handles.find(number)
        guard handle != .none else { throw .unknownRow(number) }
        let row = shard.table.pointee.row(handle)
        guard row.hasCounters else { throw .unknownRow(number) }
        let place = UInt64(row.layout) << 16 | UInt64(counter)
        if place == lastPlace { return row.quota(lastOffset) }
        if let offset = offsets[place] {
            (lastPlace, lastOffset) = (place, offset)
            return row.quota(offset)
        }
        guard let name = meaning[counter] else { throw .unknownCounter(counter) }
        if let slot = engine.layouts.layout(row.layout).slot(name) {
            guard slot.kind == .quota else { throw .unknownCounter(counter) }
            offsets[place] = slot.headOffset
            return row.quota(slot.headOffset)
        }
        let (extended, offset) = try extend(handle, name, .quota)
        return extended.quota(offset)
    }

    /// Where a row's counter stands; the row gets it if it has none.
    func counter(
        _ name: String, _ kind: CounterSlot.Kind, of handle: RowHandle
    ) throws(LedgerFault) -> (row: Row, offset: Int) {
        let row = shard.table.pointee.row(handle)
        guard let slot = engine.layouts.layout(row.layout).slot(name) else {
            return try extend(handle, name, kind)
        }
        guard slot.kind == kind else { throw .tooManyCounters }
        return (row, slot.headOffset)
    }

    /// Gives a row one counter more than it had when it was saved.
    private func extend(
        _ handle: RowHandle, _ name: String, _ kind: CounterSlot.Kind
    ) throws(LedgerFault) -> (row: Row, offset: Int) {
        let old = engine.layouts.layout(shard.table.pointee.row(handle).layout)
        let layout = RowLayout(old.slots + [CounterSlot(identity: name, kind: kind)])
        guard layout.bytes <= RowArena.rowUnitsMax / 2 * RowArena.unitBytes,
            let layoutNumber = engine.layouts.number(of: layout), let slot = layout.slot(name)
        else { throw .tooManyCounters }
        let moved = shard.table.pointee.replaceLayout(
            handle, layout: layoutNumber, layoutBytes: layout.bytes
        ) { from, to in
            for new in layout.slots {
                guard let held = old.slot(new.identity) else { continue }
                CounterSlot.migrate(held, of: from, to: new, of: to, now: now.boot)
            }
        }
        guard moved != .none else { throw .outOfMemory }
        let row = shard.table.pointee.row(moved)
        handles.set(row.number, moved)
        return (row, slot.headOffset)
    }

    private func applyRow(_ item: UnsafeRawBufferPointer) throws(LedgerFault) {
        let head = try RowHead(item: item)
        guard let key = head.key(in: index, engine), head.hasCounters else { throw .foreignRow }
        var handle = shard.table.pointee.find(key)
        if handle != .none {
            let row = shard.table.pointee.row(handle)
            // One of that number is the row itself: the snapshot may know what no journal tells,
            // as of a time when nothing was journaled. Another was given up before this was made.
            if row.number != head.number { begin(anew: row, handle) }
        } else {
            let layout = head.kind == .credits ? CreditAccount.layout : RowLayout([])
            guard let number = engine.layouts.number(of: layout) else { throw .tooManyCounters }
            handle = shard.table.pointee.insert(
                key, layout: number, layoutBytes: layout.bytes, ownerName: head.ownerName)
            guard handle != .none else { throw .outOfMemory }
            count(shard.table.pointee.row(handle), 1)
        }
        let row = shard.table.pointee.row(handle)
        row.number = head.number
        row.planTag = head.planTag
        row.isDefined = true
        note(head.number, handle)
    }

    /// Nothing of it was counted.
    private func begin(anew row: Row, _ handle: RowHandle) {
        forgetNumber(of: row, handle)
        if row.kind == RowKind.credits.rawValue { CreditAccount(row).clear() }
        for slot in engine.layouts.layout(row.layout).slots where slot.kind == .quota {
            row.quota(slot.headOffset).pointee = QuotaCell(
                used: 0, endSeconds: 0, journaledDay: 0)
        }
    }

    // MARK: the end

    /// The shard's journal goes on at `nextSequence`; it is `time`, by billing time.
    package func finish(nextSequence: UInt64, at time: WallTime) throws(LedgerFault) {
        shard.table.pointee.nextNumber =
            numberMost == .max ? 0 : max(shard.table.pointee.nextNumber, numberMost &+ 1)
        shard.ledger?.pointee.begin(nextSequence: nextSequence, ledger: 0, life: 0)
        // Resets that were cut off in the middle.
        var resetting: [Row] = []
        shard.table.pointee.forEach { if $0.isResetting { resetting.append($0) } }
        resets = resetting.count
        for row in resetting {
            parts.reset(organization: row.hash, .max)
            engine.endReset(restoring: row, in: shard, at: time)
        }
        noteParts()
        // Behind what was closed without a journal, too.
        let closed = shard.ledger?.pointee.closed.newest ?? 0
        shard.ledger?.pointee.begin(
            nextSequence: max(nextSequence, closed &+ 1), ledger: 0, life: 0)
        try restoreKept(at: time)
        handles.clear()
    }

    private func note(_ number: UInt32, _ handle: RowHandle) {
        handles.set(number, handle)
        numberMost = max(numberMost, number)
    }

    /// A row of content, and one whose number went round, may have a number that is another's.
    private func forgetNumber(of row: Row, _ handle: RowHandle) {
        if handles.find(row.number) == handle { handles.remove(row.number) }
    }

    func remove(_ handle: RowHandle) {
        let row = shard.table.pointee.row(handle)
        forgetNumber(of: row, handle)
        count(row, -1)
        shard.table.pointee.remove(handle)
    }

    private func count(_ row: Row, _ by: Int) {
        switch RowKind(rawValue: row.kind) {
        case .user: engine.users.wrappingAdd(by, ordering: .relaxed)
        case .organization, .personalOrganization:
            engine.organizations.wrappingAdd(by, ordering: .relaxed)
        case .credential: engine.credentials.wrappingAdd(by, ordering: .relaxed)
        case .credits: engine.creditAccounts.wrappingAdd(by, ordering: .relaxed)
        default: break
        }
    }
}
