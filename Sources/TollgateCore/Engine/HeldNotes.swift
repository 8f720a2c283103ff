/// What a worker's connections hold: which reservations end with which connection. Owned by one
/// worker and used by its thread alone.
///
/// A note is a hint: a reservation may have been ended by another worker meanwhile, and its row
/// says so. Grows as it must; in steady state it does not allocate.
struct HeldNotes: ~Copyable {
    struct Note: BitwiseCopyable {
        var id: ReservationID
        /// 0: a free note.
        var connection: UInt64
        var next: UInt32
        var previous: UInt32
    }

    private static let notesLeast = 256

    // Note 0 is never used.
    private var notes: UnsafeMutablePointer<Note>
    private var capacity: Int
    private var used = 1
    private var firstFree: UInt32 = 0
    private(set) var count = 0
    /// The newest note of each connection that has any.
    private var firsts = ConnectionTable()
    /// Looking for notes that stand for nothing any more is worth it from so many on.
    private var staleFrom = HeldNotes.notesLeast

    init() {
        capacity = Self.notesLeast
        notes = .allocate(capacity: capacity)
    }

    deinit { notes.deallocate() }

    /// Notes that `connection`, which is not 0, holds a reservation; where.
    mutating func add(_ id: ReservationID, connection: UInt64) -> UInt32 {
        let place: UInt32
        if firstFree != 0 {
            place = firstFree
            firstFree = notes[Int(place)].next
        } else {
            if used == capacity { grow() }
            place = UInt32(used)
            used += 1
        }
        let next = firsts.replace(connection, by: place)
        notes[Int(place)] = Note(id: id, connection: connection, next: next, previous: 0)
        if next != 0 { notes[Int(next)].previous = place }
        count += 1
        return place
    }

    /// Drops a note, if it is still that of this reservation.
    mutating func remove(_ place: UInt32, of id: ReservationID) {
        guard place > 0, Int(place) < used else { return }
        let note = notes[Int(place)]
        guard note.connection != 0, note.id == id else { return }
        if note.previous != 0 {
            notes[Int(note.previous)].next = note.next
        } else if note.next != 0 {
            _ = firsts.replace(note.connection, by: note.next)
        } else {
            firsts.remove(note.connection)
        }
        if note.next != 0 { notes[Int(note.next)].previous = note.previous }
        notes[Int(place)].connection = 0
        notes[Int(place)].next = firstFree
        firstFree = place
        count -= 1
    }

    /// The newest note of a connection; 0: none.
    func first(of connection: UInt64) -> UInt32 { firsts.find(connection) }

    func id(_ place: UInt32) -> ReservationID { notes[Int(place)].id }

    /// Drops notes that stand for nothing, once there are many: `isHeld` says which do.
    mutating func removeStale(_ isHeld: (UInt32, ReservationID) -> Bool) {
        guard count >= staleFrom else { return }
        for place in 1..<used where notes[place].connection != 0 {
            let id = notes[place].id
            if !isHeld(UInt32(place), id) { remove(UInt32(place), of: id) }
        }
        staleFrom = max(Self.notesLeast, 2 * count)
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<Note>.allocate(capacity: 2 * capacity)
        larger.update(from: notes, count: used)
        notes.deallocate()
        notes = larger
        capacity *= 2
    }
}

/// The newest note of each connection that has any: open addressing with linear probing over a
/// power of two of slots, at most half full. The numbers are the daemon's own, so nobody chooses
/// where they fall.
private struct ConnectionTable: ~Copyable {
    private struct Slot: BitwiseCopyable {
        /// 0: free.
        var connection: UInt64
        var note: UInt32
    }

    private var slots: UnsafeMutablePointer<Slot>
    private var mask = 63
    private var count = 0

    init() { slots = Self.empty(64) }

    deinit { slots.deallocate() }

    private static func empty(_ capacity: Int) -> UnsafeMutablePointer<Slot> {
        let slots = UnsafeMutablePointer<Slot>.allocate(capacity: capacity)
        slots.initialize(repeating: Slot(connection: 0, note: 0), count: capacity)
        return slots
    }

    @inline(__always)
    private func home(_ connection: UInt64) -> Int {
        Int(truncatingIfNeeded: (connection &* 0x9e37_79b9_7f4a_7c15) &>> 32) & mask
    }

    /// Where a connection stands, or would.
    @inline(__always)
    private func place(_ connection: UInt64) -> Int {
        var slot = home(connection)
        while slots[slot].connection != 0, slots[slot].connection != connection {
            slot = (slot &+ 1) & mask
        }
        return slot
    }

    /// 0: it has none.
    func find(_ connection: UInt64) -> UInt32 { slots[place(connection)].note }

    /// What was there before; 0: nothing.
    mutating func replace(_ connection: UInt64, by note: UInt32) -> UInt32 {
        let slot = place(connection)
        let before = slots[slot].note
        slots[slot] = Slot(connection: connection, note: note)
        if before == 0 {
            count += 1
            if 2 * count > mask { grow() }
        }
        return before
    }

    mutating func remove(_ connection: UInt64) {
        var hole = place(connection)
        guard slots[hole].connection != 0 else { return }
        count -= 1
        var slot = (hole &+ 1) & mask
        while slots[slot].connection != 0 {
            let home = home(slots[slot].connection)
            // It may move back when its home is not between the hole and itself.
            if (slot &- home) & mask >= (slot &- hole) & mask {
                slots[hole] = slots[slot]
                hole = slot
            }
            slot = (slot &+ 1) & mask
        }
        slots[hole] = Slot(connection: 0, note: 0)
    }

    private mutating func grow() {
        let old = slots
        let oldMask = mask
        mask = 2 * oldMask + 1
        slots = Self.empty(mask + 1)
        for slot in 0...oldMask where old[slot].connection != 0 {
            slots[place(old[slot].connection)] = old[slot]
        }
        old.deallocate()
    }
}
