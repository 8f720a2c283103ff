import COpenSSL
import TollgateCore
import TollgateWire

/// Distinct names, found by their hash. A name has an index from when it was first added to when
/// all are forgotten; and a number from when a block of the open segment first says it to when
/// another segment is begun.
///
/// A decision asks for two names, which mostly lie in no cache: so a name is one line of memory,
/// and its slot tells before that is looked at whether it can be the one. A slot is 0, or the
/// hash in its upper half and the name's index plus 1 in its lower. A name's line:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4 | what an index finds it by (`AuditIndexKeys.hash`) |
/// | 4 | 4 | number plus 1; 0: no block of the segment has said it |
/// | 8 | 4 | the block that was last asked about it |
/// | 12 | 4 | its place among those that are new there |
/// | 16 | 1 | bytes of the name |
/// | 17 | 47 | the name; at 24, of a longer one, where it begins in `long` |
///
/// Invariant: `count ≤ room`, and at most half of the slots are taken.
struct AuditNameTable: ~Copyable {
    private static let lineBytes = 64
    private static let nameOffset = 17
    private static let longOffset = 24
    private static let shortMost = lineBytes - nameOffset
    private static let slotsLeast = 256

    /// Seeded, so that nobody can choose names that all fall on one slot.
    private let keyed = KeyedHash(
        (UInt64.random(in: 0...UInt64.max), UInt64.random(in: 0...UInt64.max)))
    /// A power of two of them.
    private var slots: UnsafeMutablePointer<UInt64>
    private var slotCount: Int
    private var lines: UnsafeMutableRawPointer
    private var room: Int
    private var count = 0
    private var long: [UInt8] = []
    /// By number: the index.
    private(set) var said: [UInt32] = []

    init() {
        slotCount = Self.slotsLeast
        room = slotCount / 2
        slots = .allocate(capacity: slotCount)
        slots.initialize(repeating: 0, count: slotCount)
        lines = Self.lines(room)
    }

    deinit {
        slots.deallocate()
        lines.deallocate()
    }

    private static func lines(_ count: Int) -> UnsafeMutableRawPointer {
        .allocate(byteCount: count &* lineBytes, alignment: lineBytes)
    }

    /// What it takes in memory, about: a name has a line, two slots at least, and its number.
    var weight: Int { long.count &+ count &* (Self.lineBytes &+ 20) }

    @inline(__always)
    func hash(_ name: UnsafeRawBufferPointer) -> UInt32 {
        UInt32(truncatingIfNeeded: keyed.hash(name, tweak: 0) &>> 32)
    }

    // MARK: finding

    /// Has the name's slot brought nearer, and then, of one that is there, its line.
    @inline(__always)
    func prefetchSlot(_ hash: UInt32) { tg_prefetch(slots + home(hash)) }

    @inline(__always)
    func prefetchLine(_ hash: UInt32) {
        var slot = home(hash)
        while slots[slot] != 0 {
            if slots[slot] &>> 32 == UInt64(hash) {
                return tg_prefetch(line(Self.index(slots[slot])))
            }
            slot = (slot &+ 1) & (slotCount &- 1)
        }
    }

    @inline(__always)
    private func home(_ hash: UInt32) -> Int { Int(hash) & (slotCount &- 1) }

    @inline(__always)
    private static func index(_ slot: UInt64) -> Int { Int(slot & 0xffff_ffff) &- 1 }

    /// Of an index that was given out.
    @inline(__always)
    private func line(_ index: Int) -> UnsafeMutableRawPointer {
        precondition(index >= 0 && index < count)
        return lines + index &* Self.lineBytes
    }

    /// Of the name, which is added when it is new. `hash` is its own.
    @inline(__always)
    mutating func index(
        of name: UnsafeRawBufferPointer, _ hash: UInt32
    ) -> (index: Int, isNew: Bool) {
        var slot = home(hash)
        while slots[slot] != 0 {
            let index = Self.index(slots[slot])
            if slots[slot] &>> 32 == UInt64(hash), isEqual(index, name) { return (index, false) }
            slot = (slot &+ 1) & (slotCount &- 1)
        }
        return (add(name, hash, slot), true)
    }

    mutating func index(of name: UnsafeRawBufferPointer) -> (index: Int, isNew: Bool) {
        index(of: name, hash(name))
    }

    @inline(never)
    private mutating func add(_ name: UnsafeRawBufferPointer, _ hash: UInt32, _ slot: Int) -> Int {
        precondition(name.count <= Int(UInt8.max))
        var slot = slot
        if count == room {
            grow()
            slot = free(from: home(hash))
        }
        slots[slot] = UInt64(hash) &<< 32 | UInt64(truncatingIfNeeded: count &+ 1)
        count &+= 1
        let line = line(count &- 1)
        line.storeBytes(of: AuditIndexKeys.hash(name), as: UInt32.self)
        for offset in [4, 8, 12] { line.storeBytes(of: 0, toByteOffset: offset, as: UInt32.self) }
        line.storeBytes(
            of: UInt8(truncatingIfNeeded: name.count), toByteOffset: 16, as: UInt8.self)
        guard let from = name.baseAddress else { return count &- 1 }
        if name.count <= Self.shortMost {
            (line + Self.nameOffset).copyMemory(from: from, byteCount: name.count)
        } else {
            line.storeBytes(of: long.count, toByteOffset: Self.longOffset, as: Int.self)
            long.append(contentsOf: name)
        }
        return count &- 1
    }

    private func free(from slot: Int) -> Int {
        var slot = slot
        while slots[slot] != 0 { slot = (slot &+ 1) & (slotCount &- 1) }
        return slot
    }

    private mutating func grow() {
        let (slots, slotCount, lines) = (self.slots, self.slotCount, self.lines)
        self.slotCount = slotCount &* 2
        self.slots = .allocate(capacity: self.slotCount)
        self.slots.initialize(repeating: 0, count: self.slotCount)
        for slot in 0..<slotCount where slots[slot] != 0 {
            let hash = UInt32(truncatingIfNeeded: slots[slot] &>> 32)
            self.slots[free(from: home(hash))] = slots[slot]
        }
        room = self.slotCount / 2
        self.lines = Self.lines(room)
        self.lines.copyMemory(from: lines, byteCount: count &* Self.lineBytes)
        slots.deallocate()
        lines.deallocate()
    }

    // MARK: names

    @inline(__always)
    private func isEqual(_ index: Int, _ name: UnsafeRawBufferPointer) -> Bool {
        let line = line(index)
        let count = name.count
        guard Int(line.load(fromByteOffset: 16, as: UInt8.self)) == count,
            let other = name.baseAddress
        else { return count == 0 && line.load(fromByteOffset: 16, as: UInt8.self) == 0 }
        guard count <= Self.shortMost else {
            return withName(index) { $0.elementsEqual(name) }
        }
        return auditIsEqual(line + Self.nameOffset, other, count)
    }

    func withName<T>(_ index: Int, _ body: (UnsafeRawBufferPointer) -> T) -> T {
        let line = line(index)
        let count = Int(line.load(fromByteOffset: 16, as: UInt8.self))
        guard count > Self.shortMost else {
            return body(UnsafeRawBufferPointer(start: line + Self.nameOffset, count: count))
        }
        let start = line.load(fromByteOffset: Self.longOffset, as: Int.self)
        return long.withUnsafeBytes { body($0.slice(at: start, length: count)) }
    }

    func checksum(_ index: Int) -> UInt32 { line(index).load(as: UInt32.self) }

    // MARK: blocks

    /// The name's place in a block, of which `place` is the next; whether it was not in it yet.
    @inline(__always)
    mutating func enter(_ index: Int, block: UInt32, place: Int) -> (place: Int, isFirst: Bool) {
        let line = line(index)
        if line.load(fromByteOffset: 8, as: UInt32.self) == block {
            return (Int(line.load(fromByteOffset: 12, as: UInt32.self)), false)
        }
        line.storeBytes(of: block, toByteOffset: 8, as: UInt32.self)
        line.storeBytes(of: UInt32(truncatingIfNeeded: place), toByteOffset: 12, as: UInt32.self)
        return (place, true)
    }

    /// In the open segment; given when it has none.
    @inline(__always)
    mutating func number(_ index: Int) -> Int {
        let line = line(index)
        if line.load(fromByteOffset: 4, as: UInt32.self) == 0 {
            said.append(UInt32(truncatingIfNeeded: index))
            line.storeBytes(
                of: UInt32(truncatingIfNeeded: said.count), toByteOffset: 4, as: UInt32.self)
        }
        return Int(line.load(fromByteOffset: 4, as: UInt32.self)) &- 1
    }

    /// Only the first so many names have been said in the open segment.
    mutating func unsay(to count: Int) {
        while said.count > count, let index = said.popLast() {
            line(Int(index)).storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
        }
    }

    mutating func removeAll() {
        slots.update(repeating: 0, count: slotCount)
        count = 0
        long.removeAll(keepingCapacity: true)
        said.removeAll(keepingCapacity: true)
    }
}

/// Of so many bytes each: in steps of eight, of which the last may look at some again.
@inline(__always)
func auditIsEqual(_ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ count: Int) -> Bool {
    guard count >= 8 else {
        for at in 0..<count where a.load(fromByteOffset: at, as: UInt8.self)
            != b.load(fromByteOffset: at, as: UInt8.self)
        {
            return false
        }
        return true
    }
    func differs(_ at: Int) -> Bool {
        a.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            != b.loadUnaligned(fromByteOffset: at, as: UInt64.self)
    }
    var at = 0
    while at < count &- 8 {
        if differs(at) { return false }
        at &+= 8
    }
    return !differs(count &- 8)
}
