import COpenSSL
import TollgateWire

/// What rows without counters begin with behind their id: reservations and idempotency records.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | when it may be forgotten: billing time, milliseconds; `Int64.max` while it is open |
/// | 8 | 4 | in memory: the row's handle |
/// | 12 | 4 | in memory: the next row of the list it stands in; 0 is none |
/// | 16 | 4 | in memory: the row before |
/// | 20 | 4 | in memory: of an open reservation, its ticket of the `HoldQueue`; else 0 |
///
/// What stands in memory alone means nothing in a journal or a snapshot: `reset` clears it.
struct KeptHead: BitwiseCopyable {
    static let bytes = 24

    var forgetAt: Int64
    var handle: RowHandle
    var next: RowHandle
    var previous: RowHandle
    var ticket: UInt32
}

/// A view of a row without counters; valid under its table's lock.
struct KeptRow: BitwiseCopyable {
    let row: Row

    init(_ row: Row) { self.row = row }

    var head: UnsafeMutablePointer<KeptHead> {
        row.counters.assumingMemoryBound(to: KeptHead.self)
    }

    /// Of a row that stands in no list and no queue: a new one, or one that was read from a disk.
    func reset(_ handle: RowHandle) {
        head.pointee.handle = handle
        head.pointee.next = .none
        head.pointee.previous = .none
        head.pointee.ticket = 0
    }
}

/// Rows of one shard in the order in which they may be forgotten, linked through the rows
/// themselves. Guarded by the shard's lock.
///
/// Lifetimes are the policy's, so a later row may seldom be due before an earlier one: then it
/// stays a little longer.
struct KeptList {
    private(set) var first = RowHandle.none
    private var last = RowHandle.none
    private(set) var count = 0
    /// When the first of them may be forgotten; `Int64.max` where there is none. So who asks with
    /// every request reads no row.
    private(set) var firstForgetAt = Int64.max
    /// Of its key, by which it is looked up.
    private var firstHash: UInt64 = 0

    /// The last of them from now on, with its `forgetAt`, which changes no more.
    mutating func append(_ kept: KeptRow, in table: borrowing RowTable) {
        let handle = kept.head.pointee.handle
        kept.head.pointee.previous = last
        kept.head.pointee.next = .none
        if last != .none {
            KeptRow(table.row(last)).head.pointee.next = handle
        } else {
            first = handle
            note(first: kept)
        }
        last = handle
        count += 1
    }

    @inline(__always)
    private mutating func note(first: KeptRow?) {
        firstForgetAt = first?.head.pointee.forgetAt ?? .max
        firstHash = first?.row.hash ?? 0
    }

    /// Asks for the first row, for where it is looked up, and for the head of the next one: what
    /// removing it and making another in its place will touch.
    @inline(__always)
    func prefetchFirst(in table: borrowing RowTable) {
        guard first != .none else { return }
        table.prefetchPlace(firstHash)
        table.prefetchRow(first, lines: 8)
        let next = KeptRow(table.row(first)).head.pointee.next
        if next != .none { table.prefetchRow(next, lines: 2) }
    }

    /// Takes a row out that stands in it.
    mutating func remove(_ kept: KeptRow, in table: borrowing RowTable) {
        let (previous, next) = (kept.head.pointee.previous, kept.head.pointee.next)
        if previous != .none {
            KeptRow(table.row(previous)).head.pointee.next = next
        } else {
            first = next
            note(first: next == .none ? nil : KeptRow(table.row(next)))
        }
        if next != .none {
            KeptRow(table.row(next)).head.pointee.previous = previous
        } else {
            last = previous
        }
        kept.head.pointee.previous = .none
        kept.head.pointee.next = .none
        count -= 1
    }
}

/// Open reservations of one shard by the end of their time to live: a heap of four children each,
/// which lie in one line of memory, whose first ends first. Guarded by the shard's lock; grows as
/// it must, never shrinks.
///
/// Each has a ticket, which its row keeps for as long as it is open, and by which its place is
/// looked up here: whoever moves in the heap, no row is touched. What is taken out leaves its entry
/// behind, without a row, until it comes first or such entries are more than the others: to mend
/// the heap each time took a sixth of a SETTLE.
///
/// Invariants: a parent's end is not after its children's; each entry's ticket has its place, and
/// the row has the ticket; tickets that are taken are as many as entries; `count ≤ used`, and
/// `used - count ≤ count + left`.
struct HoldQueue {
    private static let children = 4

    private struct Entry: BitwiseCopyable {
        var end: UInt64
        var ticket: UInt32
    }

    private struct Ticket: BitwiseCopyable {
        var handle: RowHandle
        /// In the heap; of a ticket that is free, the next one that is, 0: none.
        var place: UInt32
    }

    private var entries: UnsafeMutablePointer<Entry>?
    /// By number; 0 is never used.
    private var tickets: UnsafeMutablePointer<Ticket>?
    /// Entries without a row that are no reason to mend anything.
    private static let left = 64

    private var capacity = 0
    /// Entries, and those of them that have a row.
    private var used = 0
    private(set) var count = 0
    private var ticketsMade: UInt32 = 0
    private var firstFree: UInt32 = 0
    /// Nothing ends before it, boottime in nanoseconds; `UInt64.max` when there are no entries.
    private(set) var firstEnd = UInt64.max

    /// The one that ends first, whose end `firstEnd` is then.
    mutating func findFirst() -> RowHandle? {
        guard let entries, let tickets else { return nil }
        while used > 0 {
            let ticket = entries[0].ticket
            let handle = tickets[Int(ticket)].handle
            if handle != .none { return handle }
            giveBack(ticket, tickets)
            used -= 1
            if used > 0 {
                put(entries[used], at: 0, entries, tickets)
                sink(0, entries, tickets)
            }
            firstEnd = used > 0 ? entries[0].end : .max
        }
        return nil
    }

    private mutating func giveBack(
        _ ticket: UInt32, _ tickets: UnsafeMutablePointer<Ticket>
    ) {
        tickets[Int(ticket)] = Ticket(handle: .none, place: firstFree)
        firstFree = ticket
    }

    private func place(_ kept: KeptRow) -> Int? {
        let ticket = kept.head.pointee.ticket
        guard let tickets, ticket > 0 else { return nil }
        return Int(tickets[Int(ticket)].place)
    }

    func end(of kept: KeptRow) -> UInt64 {
        guard let entries, let place = place(kept) else { return 0 }
        return entries[place].end
    }

    /// Asks for what tells where an open reservation stands.
    @inline(__always)
    func prefetch(_ ticket: UInt32) {
        if let tickets { tg_prefetch(tickets + Int(ticket)) }
    }

    /// Asks for what `insert` will write: a ticket, and the last entry.
    @inline(__always)
    func prefetchInsert() {
        guard let tickets, let entries, used < capacity else { return }
        tg_prefetch(tickets + Int(firstFree))
        tg_prefetch(entries + used)
    }

    mutating func insert(_ kept: KeptRow, end: UInt64) {
        if used == capacity { makeRoom() }
        guard let entries, let tickets else { return }
        var ticket = firstFree
        if ticket != 0 {
            firstFree = tickets[Int(ticket)].place
        } else {
            ticketsMade += 1
            ticket = ticketsMade
        }
        tickets[Int(ticket)] = Ticket(
            handle: kept.head.pointee.handle, place: UInt32(used))
        kept.head.pointee.ticket = ticket
        entries[used] = Entry(end: end, ticket: ticket)
        count += 1
        used += 1
        rise(used - 1, entries, tickets)
        firstEnd = entries[0].end
    }

    mutating func remove(_ kept: KeptRow) {
        let ticket = kept.head.pointee.ticket
        guard let tickets, ticket > 0 else { return }
        kept.head.pointee.ticket = 0
        tickets[Int(ticket)].handle = .none
        count -= 1
        if used - count > count + Self.left { mend() }
    }

    /// Drops all entries without a row. Each was taken out by itself before, so that this is little
    /// for each of them.
    @inline(never)
    private mutating func mend() {
        guard let entries, let tickets else { return }
        var kept = 0
        for place in 0..<used {
            let entry = entries[place]
            if tickets[Int(entry.ticket)].handle == .none {
                giveBack(entry.ticket, tickets)
            } else {
                put(entry, at: kept, entries, tickets)
                kept += 1
            }
        }
        used = kept
        var place = (used + Self.children - 2) / Self.children
        while place > 0 {
            place -= 1
            sink(place, entries, tickets)
        }
        firstEnd = used > 0 ? entries[0].end : .max
    }

    /// An open reservation's row stands elsewhere now, as its head says.
    mutating func noteMoved(_ kept: KeptRow) {
        let ticket = kept.head.pointee.ticket
        guard let tickets, ticket > 0 else { return }
        tickets[Int(ticket)].handle = kept.head.pointee.handle
    }

    /// Gives an open reservation another end.
    mutating func move(_ kept: KeptRow, end: UInt64) {
        guard let entries, let tickets, let place = place(kept) else { return }
        entries[place].end = end
        rise(place, entries, tickets)
        sink(place, entries, tickets)
        firstEnd = entries[0].end
    }

    mutating func free() {
        Self.free(entries)
        tickets?.deallocate()
        self = HoldQueue()
    }

    /// So that children begin with a line: entry 1 does, and each line has four.
    private static func makeEntries(_ count: Int) -> UnsafeMutablePointer<Entry> {
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: (count + children - 1) * MemoryLayout<Entry>.stride, alignment: 64)
        return memory.bindMemory(to: Entry.self, capacity: count + children - 1) + (children - 1)
    }

    private static func free(_ entries: UnsafeMutablePointer<Entry>?) {
        if let entries { UnsafeMutableRawPointer(entries - (children - 1)).deallocate() }
    }

    @inline(__always)
    private func put(
        _ entry: Entry, at place: Int, _ entries: UnsafeMutablePointer<Entry>,
        _ tickets: UnsafeMutablePointer<Ticket>
    ) {
        entries[place] = entry
        tickets[Int(entry.ticket)].place = UInt32(truncatingIfNeeded: place)
    }

    private func rise(
        _ start: Int, _ entries: UnsafeMutablePointer<Entry>,
        _ tickets: UnsafeMutablePointer<Ticket>
    ) {
        var place = start
        let entry = entries[place]
        while place > 0, entries[(place - 1) / Self.children].end > entry.end {
            put(entries[(place - 1) / Self.children], at: place, entries, tickets)
            place = (place - 1) / Self.children
        }
        if place != start { put(entry, at: place, entries, tickets) }
    }

    private func sink(
        _ start: Int, _ entries: UnsafeMutablePointer<Entry>,
        _ tickets: UnsafeMutablePointer<Ticket>
    ) {
        var place = start
        let entry = entries[place]
        while true {
            let first = Self.children * place + 1
            guard first < used else { break }
            var child = first
            for other in first + 1..<min(first + Self.children, used)
            where entries[other].end < entries[child].end {
                child = other
            }
            guard entries[child].end < entry.end else { break }
            put(entries[child], at: place, entries, tickets)
            place = child
        }
        if place != start { put(entry, at: place, entries, tickets) }
    }

    @inline(never)
    private mutating func makeRoom() {
        if used - count >= max(Self.left, capacity / Self.children) { mend() } else { grow() }
    }

    private mutating func grow() {
        let larger = max(64, capacity * 2)
        let made = Self.makeEntries(larger)
        let madeTickets = UnsafeMutablePointer<Ticket>.allocate(capacity: larger + 1)
        if let entries, let tickets {
            made.update(from: entries, count: used)
            // All are taken when it is full.
            madeTickets.update(from: tickets, count: used + 1)
            Self.free(entries)
            tickets.deallocate()
        } else {
            madeTickets.initialize(to: Ticket(handle: .none, place: 0))
        }
        entries = made
        tickets = madeTickets
        capacity = larger
    }

    /// Traps when the structure contradicts itself; for tests.
    func checkInvariants(_ table: borrowing RowTable) {
        guard let entries, let tickets else { return }
        var rows = 0
        for place in 0..<used {
            let ticket = tickets[Int(entries[place].ticket)]
            precondition(ticket.place == UInt32(place))
            let parent = max(0, place - 1) / Self.children
            precondition(entries[parent].end <= entries[place].end)
            guard ticket.handle != .none else { continue }
            let kept = KeptRow(table.row(ticket.handle))
            precondition(kept.head.pointee.ticket == entries[place].ticket)
            rows += 1
        }
        precondition(rows == count && used - count <= count + Self.left)
        precondition(firstEnd == (used > 0 ? entries[0].end : .max))
        var free = 0
        var next = firstFree
        while next != 0 {
            free += 1
            next = tickets[Int(next)].place
        }
        precondition(used + free == Int(ticketsMade) && Int(ticketsMade) <= capacity)
    }
}
