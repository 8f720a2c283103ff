import COpenSSL

/// Rows by key: open addressing with linear probing over a power of two of slots, at most three
/// quarters full, doubled when it would be fuller.
///
/// A slot is 64 bits: the upper half of the hash, and the row's handle; 0 is free. The same half
/// says where a row's slot is looked for, so that growing and removing look at slots alone; the
/// shard is chosen by its highest 6 bits, which leaves 26 to tell slots apart. Deletion moves later
/// entries back, so there are no tombstones. Guarded by the shard's lock.
/// Invariant: `count ≤ capacity * 3 / 4`.
struct RowTable: ~Copyable {
    private var slots: UnsafeMutablePointer<UInt64>
    private var mask: Int
    private(set) var count = 0
    private var arena = RowArena()
    /// Where the next sweep goes on.
    private var sweepSlot = 0
    /// Walks over the chunks that have begun and not ended, and units of the arena that the
    /// furthest of them has passed: 0 where there are none.
    private var walks = 0
    private var unitsWalked = 0
    /// What the journal calls the next row with counters that is made. 0: all 2^32 were used up,
    /// and no such row can be made: one that lives may have any of them.
    var nextNumber: UInt32 = 1

    init() {
        slots = .allocate(capacity: 64)
        slots.initialize(repeating: 0, count: 64)
        mask = 63
    }

    deinit { slots.deallocate() }

    var bytesTaken: Int { arena.bytesTaken + (mask + 1) * 8 }

    @inline(__always)
    func row(_ handle: RowHandle) -> Row { Row(base: arena.pointer(handle)) }

    @inline(__always)
    private static func tag(_ hash: UInt64) -> UInt64 { hash & 0xffff_ffff_0000_0000 }

    /// Where the look for a hash, or the entry that has its upper half, begins.
    @inline(__always)
    private func home(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash &>> 32) & mask }

    /// The row of a key, or `none`.
    @inline(__always)
    func find(_ key: RowKey) -> RowHandle {
        var slot = home(key.hash)
        while true {
            let entry = slots[slot]
            if entry == 0 { return .none }
            if Self.tag(entry) == Self.tag(key.hash) {
                let handle = RowHandle(raw: UInt32(truncatingIfNeeded: entry))
                if row(handle).matches(key) { return handle }
            }
            slot = (slot &+ 1) & mask
        }
    }

    /// The row of a hash, or of another that looks like it from here; `none`: there is none.
    @inline(__always)
    func likelyRow(_ hash: UInt64) -> RowHandle {
        var slot = home(hash)
        while true {
            let entry = slots[slot]
            if entry == 0 { return .none }
            if Self.tag(entry) == Self.tag(hash) {
                return RowHandle(raw: UInt32(truncatingIfNeeded: entry))
            }
            slot = (slot &+ 1) & mask
        }
    }

    /// Asks for the line where the look for a hash begins.
    @inline(__always)
    func prefetchPlace(_ hash: UInt64) { tg_prefetch(slots + home(hash)) }

    /// Asks for the first lines of the row of a hash.
    @inline(__always)
    func prefetchRow(_ hash: UInt64, lines: Int) {
        let handle = likelyRow(hash)
        if handle != .none { prefetchRow(handle, lines: lines) }
    }

    /// Asks for the memory of the next row of so many units.
    @inline(__always)
    func prefetchNext(units: Int) { arena.prefetchNext(units: units) }

    /// Asks for the first lines of a row.
    @inline(__always)
    func prefetchRow(_ handle: RowHandle, lines: Int) {
        let base = UnsafeRawPointer(arena.pointer(handle))
        for line in 0..<lines { tg_prefetch(base + line &* 64) }
    }

    /// Adds an empty row; `none` when memory is short. The key must not stand already.
    mutating func insert(
        _ key: RowKey, layout: UInt32, layoutBytes: Int,
        ownerName: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
    ) -> RowHandle {
        let isNumbered = key.kind.isNumbered
        guard nextNumber > 0 || !isNumbered else { return .none }
        if (count + 1) * 4 > (mask + 1) * 3 { grow() }
        let handle = makeRow(key, layout: layout, layoutBytes: layoutBytes, ownerName)
        guard handle != .none else { return .none }
        row(handle).number = isNumbered ? nextNumber : 0
        if isNumbered { nextNumber &+= 1 }
        place(key.hash, handle)
        count += 1
        return handle
    }

    /// Adds a row as a snapshot holds it, its number, too; `none` when memory is short.
    mutating func insert(image: UnsafeRawBufferPointer, hash: UInt64) -> RowHandle {
        if (count + 1) * 4 > (mask + 1) * 3 { grow() }
        let handle = arena.take(units: image.count / RowArena.unitBytes)
        guard handle != .none, let source = image.baseAddress else { return .none }
        row(handle).base.copyMemory(from: source, byteCount: image.count)
        place(hash, handle)
        count += 1
        return handle
    }

    /// Gives a row another layout: `migrate` is handed the old row and the new, empty one. While
    /// the chunks are walked over, it stands nowhere that a walk has passed: one that has not seen
    /// it yet will.
    ///
    /// Returns the row's new handle, or `none`, and nothing changed, when memory is short.
    mutating func replaceLayout(
        _ old: RowHandle, layout: UInt32, layoutBytes: Int, migrate: (Row, Row) -> Void
    ) -> RowHandle {
        let from = row(old)
        let key = RowKey(
            kind: RowKind(rawValue: from.kind) ?? .overflow, owner: from.owner, id: from.id,
            hash: from.hash)
        let new = makeRow(
            key, layout: layout, layoutBytes: layoutBytes, from.ownerName, behind: unitsWalked)
        guard new != .none else { return .none }
        let to = row(new)
        to.planTag = from.planTag
        to.number = from.number
        to.isDefined = from.isDefined
        to.isResetting = from.isResetting
        migrate(from, to)
        slots[slotOf(old)] = Self.tag(key.hash) | UInt64(new.raw)
        arena.give(old, units: from.units)
        return new
    }

    mutating func remove(_ handle: RowHandle) {
        let row = self.row(handle)
        var hole = slotOf(handle)
        arena.give(handle, units: row.units)
        count -= 1
        var slot = (hole &+ 1) & mask
        while slots[slot] != 0 {
            let home = home(slots[slot])
            // The entry may move back when its home is not between the hole and itself.
            if (slot &- home) & mask >= (slot &- hole) & mask {
                slots[hole] = slots[slot]
                hole = slot
            }
            slot = (slot &+ 1) & mask
        }
        slots[hole] = 0
    }

    /// Looks at up to `slotsMax` slots, going round over the calls, and removes the rows that
    /// `isIdle` gives up. Returns how many went.
    mutating func sweep(slotsMax: Int, isIdle: (Row) -> Bool, willRemove: (Row) -> Void) -> Int {
        var removed = 0
        for _ in 0..<min(slotsMax, mask + 1) {
            sweepSlot = (sweepSlot &+ 1) & mask
            let entry = slots[sweepSlot]
            guard entry != 0 else { continue }
            let handle = RowHandle(raw: UInt32(truncatingIfNeeded: entry))
            let row = self.row(handle)
            guard isIdle(row) else { continue }
            willRemove(row)
            remove(handle)
            removed += 1
        }
        return removed
    }

    /// A walk over all chunks begins: until it ends, no row that it has not seen moves to where it
    /// has been. Rows that are made may stand there.
    mutating func beginWalk() { walks += 1 }

    var isWalkedOver: Bool { walks > 0 }

    /// A walk has come to `offset` of a chunk.
    mutating func noteWalked(chunk: Int, offset: Int) {
        let units = chunk * RowArena.unitsPerChunk + offset / RowArena.unitBytes
        unitsWalked = max(unitsWalked, units)
    }

    /// A walk that has begun has seen all, or is given up.
    mutating func endWalk() {
        precondition(walks > 0)
        walks -= 1
        if walks == 0 { unitsWalked = 0 }
    }

    /// Stretches of memory with rows one after the other, rows that were given up among them.
    func chunk(_ index: Int) -> RowArena.Chunk? { arena.chunk(index) }

    /// The row that begins at `offset` of a chunk, also one that was given up; `nil` in the rest of
    /// a chunk, which the next row did not fit in and which may be shorter than a row's header.
    func row(in chunk: RowArena.Chunk, at offset: Int) -> (row: Row, bytes: Int)? {
        let rest = chunk.bytes - offset
        guard rest >= Row.headerBytes else { return nil }
        let row = Row(base: chunk.base + offset)
        let bytes = row.units * RowArena.unitBytes
        precondition(bytes <= rest, "a row that goes on behind its chunk")
        return bytes > 0 ? (row, bytes) : nil
    }

    func forEach(_ body: (Row) -> Void) {
        for slot in 0...mask where slots[slot] != 0 {
            body(row(RowHandle(raw: UInt32(truncatingIfNeeded: slots[slot]))))
        }
    }

    /// Shows `body` the rows of at most `slots` slots from slot `start` on, until it says false;
    /// the slot to go on from (that of the row refused), or -1 at the end.
    func walk(from start: Int, slots most: Int, _ body: (Row) -> Bool) -> Int {
        let end = min(mask + 1, start + most)
        var slot = max(0, start)
        while slot < end {
            let handle = RowHandle(raw: UInt32(truncatingIfNeeded: slots[slot]))
            if slots[slot] != 0, !body(row(handle)) { return slot }
            slot += 1
        }
        return slot > mask ? -1 : slot
    }

    /// Removes every row that `isGone` names, each asked about once at least; how many.
    mutating func removeAll(where isGone: (Row) -> Bool) -> Int {
        var removed = 0
        var slot = 0
        while slot <= mask {
            let entry = slots[slot]
            let handle = RowHandle(raw: UInt32(truncatingIfNeeded: entry))
            if entry != 0, isGone(row(handle)) {
                // A later entry may have moved here: look again. What moves over the end was
                // asked about at the beginning.
                remove(handle)
                removed += 1
            } else {
                slot += 1
            }
        }
        return removed
    }

    /// Traps when the structure contradicts itself. Returns how many slots all look-ups together
    /// pass before they find their row. Linear; for tests.
    @discardableResult
    func checkInvariants() -> Int {
        var seen = 0
        var passed = 0
        for slot in 0...mask where slots[slot] != 0 {
            seen += 1
            let row = self.row(RowHandle(raw: UInt32(truncatingIfNeeded: slots[slot])))
            precondition(Self.tag(row.hash) == Self.tag(slots[slot]))
            var probe = home(row.hash)
            while probe != slot {
                precondition(slots[probe] != 0, "a hole before an entry")
                probe = (probe + 1) & mask
                passed += 1
            }
        }
        precondition(seen == count && count * 4 <= (mask + 1) * 3)
        return passed
    }

    private mutating func makeRow(
        _ key: RowKey, layout: UInt32, layoutBytes: Int, _ ownerName: UnsafeRawBufferPointer,
        behind passed: Int = 0
    ) -> RowHandle {
        let bytes = Row.bytes(
            idBytes: key.id.count, layoutBytes: layoutBytes, ownerBytes: ownerName.count)
        let units = (bytes + RowArena.unitBytes - 1) / RowArena.unitBytes
        let handle = arena.take(units: units, behind: passed)
        guard handle != .none else { return .none }
        row(handle).initialize(key: key, layout: layout, units: units, ownerName: ownerName)
        return handle
    }

    private func place(_ hash: UInt64, _ handle: RowHandle) {
        place(Self.tag(hash) | UInt64(handle.raw))
    }

    private func place(_ entry: UInt64) {
        var slot = home(entry)
        while slots[slot] != 0 { slot = (slot &+ 1) & mask }
        slots[slot] = entry
    }

    private func slotOf(_ handle: RowHandle) -> Int {
        var slot = home(row(handle).hash)
        while UInt32(truncatingIfNeeded: slots[slot]) != handle.raw {
            precondition(slots[slot] != 0, "a row that its table does not hold")
            slot = (slot &+ 1) & mask
        }
        return slot
    }

    private mutating func grow() {
        let old = slots
        let oldMask = mask
        mask = (oldMask + 1) * 2 - 1
        slots = .allocate(capacity: mask + 1)
        slots.initialize(repeating: 0, count: mask + 1)
        for slot in 0...oldMask where old[slot] != 0 { place(old[slot]) }
        old.deallocate()
    }
}
