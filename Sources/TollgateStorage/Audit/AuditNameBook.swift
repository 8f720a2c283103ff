import TollgateCore

/// How many organizations, users and key ids: of a segment up to a place, or of one block.
struct AuditNameCounts: Sendable, Equatable {
    var organizations = 0
    var users = 0
    var keys = 0

    static func + (a: AuditNameCounts, b: AuditNameCounts) -> AuditNameCounts {
        AuditNameCounts(
            organizations: a.organizations &+ b.organizations, users: a.users &+ b.users,
            keys: a.keys &+ b.keys)
    }

    static func - (a: AuditNameCounts, b: AuditNameCounts) -> AuditNameCounts {
        AuditNameCounts(
            organizations: a.organizations &- b.organizations, users: a.users &- b.users,
            keys: a.keys &- b.keys)
    }

    subscript(_ list: AuditNameKind) -> Int {
        switch list {
        case .organizations: organizations
        case .users: users
        case .keys: keys
        }
    }

    var isEmpty: Bool { self == AuditNameCounts() }
}

/// Whose names.
enum AuditNameKind: Int, CaseIterable { case organizations, users, keys }

/// Distinct names, found by their hash. A name has an index from when it was first added to when
/// all are forgotten; and a number from when a block of the open segment first says it to when
/// another segment is begun.
struct AuditNameTable {
    struct Entry {
        /// Where it begins in `bytes`.
        var start: Int
        var count: UInt16
        var hash: UInt32
        /// What an index finds it by (`AuditIndexKeys.hash`).
        var checksum: UInt32
        /// Plus 1; 0: no block of the segment has said it.
        var number: UInt32 = 0
        /// The block that was last asked about it, and its place among those that are new there.
        var block: UInt32 = 0
        var place: UInt32 = 0
    }

    /// A name's index plus 1; 0: free. A power of two, at most half of them taken.
    private var slots = [UInt32](repeating: 0, count: 256)
    private var entries: [Entry] = []
    private(set) var bytes: [UInt8] = []
    /// By number: the index.
    private(set) var said: [UInt32] = []

    /// What it takes in memory, about: a name has an entry, two slots at least, and its number.
    var weight: Int { bytes.count &+ entries.count &* (MemoryLayout<Entry>.stride &+ 12) }

    /// Of the name, which is added when it is new.
    mutating func index(of name: UnsafeRawBufferPointer) -> (index: Int, isNew: Bool) {
        // Seeded, so that nobody can choose names that all fall on one slot.
        var hasher = Hasher()
        hasher.combine(bytes: name)
        let hash = UInt32(truncatingIfNeeded: hasher.finalize())
        var slot = Int(hash) & (slots.count &- 1)
        while slots[slot] != 0 {
            let index = Int(slots[slot]) &- 1
            if entries[index].hash == hash, isEqual(index, name) { return (index, false) }
            slot = (slot &+ 1) & (slots.count &- 1)
        }
        slots[slot] = UInt32(truncatingIfNeeded: entries.count &+ 1)
        entries.append(
            Entry(
                start: bytes.count, count: UInt16(truncatingIfNeeded: name.count), hash: hash,
                checksum: AuditIndexKeys.hash(name)))
        bytes.append(contentsOf: name)
        if entries.count &* 2 > slots.count { grow() }
        return (entries.count &- 1, true)
    }

    private mutating func grow() {
        slots = [UInt32](repeating: 0, count: slots.count &* 2)
        for (index, entry) in entries.enumerated() {
            var slot = Int(entry.hash) & (slots.count &- 1)
            while slots[slot] != 0 { slot = (slot &+ 1) & (slots.count &- 1) }
            slots[slot] = UInt32(truncatingIfNeeded: index &+ 1)
        }
    }

    private func isEqual(_ index: Int, _ name: UnsafeRawBufferPointer) -> Bool {
        Int(entries[index].count) == name.count
            && withName(index) { $0.elementsEqual(name) }
    }

    func withName<T>(_ index: Int, _ body: (UnsafeRawBufferPointer) -> T) -> T {
        let (start, count) = (entries[index].start, Int(entries[index].count))
        return bytes.withUnsafeBytes {
            body(UnsafeRawBufferPointer(rebasing: $0[start..<(start &+ count)]))
        }
    }

    func checksum(_ index: Int) -> UInt32 { entries[index].checksum }

    /// The name's place in a block, of which `place` is the next; whether it was not in it yet.
    mutating func enter(_ index: Int, block: UInt32, place: Int) -> (place: Int, isFirst: Bool) {
        if entries[index].block == block { return (Int(entries[index].place), false) }
        entries[index].block = block
        entries[index].place = UInt32(truncatingIfNeeded: place)
        return (place, true)
    }

    /// In the open segment; given when it has none.
    mutating func number(_ index: Int) -> Int {
        if entries[index].number == 0 {
            said.append(UInt32(truncatingIfNeeded: index))
            entries[index].number = UInt32(truncatingIfNeeded: said.count)
        }
        return Int(entries[index].number) &- 1
    }

    /// Only the first so many names have been said in the open segment.
    mutating func unsay(to count: Int) {
        while said.count > count, let index = said.popLast() { entries[Int(index)].number = 0 }
    }

    mutating func removeAll() {
        for slot in slots.indices { slots[slot] = 0 }
        entries.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
        said.removeAll(keepingCapacity: true)
    }
}

/// The names that the open segment may refer to. A name is said once in a segment, in the first
/// block that has it. Blocks that are not written yet know names by their indices, and get numbers
/// when they are: after a failed sync they are written again, into another segment.
struct AuditNameBook {
    var organizations = AuditNameTable()
    var users = AuditNameTable()
    var keys = AuditNameTable()
    private var blocks: UInt32 = 0

    /// A number for a block that is begun.
    mutating func begin() -> UInt32 {
        // A name that was in none has 0.
        blocks = max(1, blocks &+ 1)
        return blocks
    }

    /// Names that the open segment has said.
    var counts: AuditNameCounts {
        AuditNameCounts(
            organizations: organizations.said.count, users: users.said.count,
            keys: keys.said.count)
    }

    /// What it takes in memory, about.
    var weight: Int { organizations.weight &+ users.weight &+ keys.weight }

    /// Takes back what was said since there were so many; of another segment: 0.
    mutating func unsay(to counts: AuditNameCounts = AuditNameCounts()) {
        organizations.unsay(to: counts.organizations)
        users.unsay(to: counts.users)
        keys.unsay(to: counts.keys)
    }

    /// No block that is still to be written knows any.
    mutating func removeAll() {
        organizations.removeAll()
        users.removeAll()
        keys.removeAll()
    }
}
