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
    private var firsts: [UInt64: UInt32] = [:]
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
        let next = firsts[connection] ?? 0
        notes[Int(place)] = Note(id: id, connection: connection, next: next, previous: 0)
        if next != 0 { notes[Int(next)].previous = place }
        firsts[connection] = place
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
            firsts[note.connection] = note.next
        } else {
            firsts[note.connection] = nil
        }
        if note.next != 0 { notes[Int(note.next)].previous = note.previous }
        notes[Int(place)].connection = 0
        notes[Int(place)].next = firstFree
        firstFree = place
        count -= 1
    }

    /// The newest note of a connection; 0: none.
    func first(of connection: UInt64) -> UInt32 { firsts[connection] ?? 0 }

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
