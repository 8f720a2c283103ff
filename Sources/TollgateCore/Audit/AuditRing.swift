import Synchronization
import TollgateWire

/// A worker's ring of audit entries: memory that outlives the process, because a file is mapped
/// there. One thread writes, one other reads.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | "TGAUDIT1" |
/// | 8 | 4 | number of the ring; not 0 |
/// | 12 | 4 | spare, 0 |
/// | 16 | 8 | bytes of the ring behind this header: a power of two |
/// | 24 | 16 | boot id of the machine when it was made |
/// | 40 | 8 | the life of the daemon that it belongs to |
/// | 64 | 8 | head: bytes that were ever written, and are whole |
/// | 72 | 8 | the id that the next decision gets |
/// | 80 | 8 | entries that found no room |
/// | 128 | 8 | tail: bytes that were ever taken out |
/// | 4096 | | entries, each at a multiple of 8, none around the end |
///
/// Invariant: `tail ≤ head ≤ tail + capacity`. A process that is killed leaves all entries before
/// `head` whole, and a reply leaves only after `head` has moved behind its entry.
package struct AuditRing: @unchecked Sendable {
    // Sendable: the pointer's memory outlives every user, its counters are atomic, and what lies
    // between them belongs to the one side that they say.
    package static let headerBytes = 4_096
    package static let magic: UInt64 = 0x3154_4944_5541_4754
    /// Of the least capacity: any two entries fit.
    package static let bytesLeast = 64 * 1_024
    package static let bytesMost = 1 << 30
    /// The first word of what stands where no entry fitted before the end.
    @inlinable
    static var skip: UInt32 { .max }

    package let base: UnsafeMutableRawPointer
    package let capacity: Int

    /// Of memory whose header is right; `nil` else. `bytes` is all of it.
    package init?(_ base: UnsafeMutableRawPointer, bytes: Int) {
        guard bytes >= Self.headerBytes + Self.bytesLeast else { return nil }
        let header = UnsafeRawBufferPointer(start: base, count: Self.headerBytes)
        let capacity = header.loadLittle(at: 16, as: UInt64.self)
        guard header.loadLittle(at: 0, as: UInt64.self) == Self.magic,
            header.loadLittle(at: 8, as: UInt32.self) != 0,
            capacity == UInt64(bytes - Self.headerBytes), Self.isCapacity(Int(capacity))
        else { return nil }
        self.base = base
        self.capacity = Int(capacity)
        let head = headCount.pointee.load(ordering: .acquiring)
        let tail = tailCount.pointee.load(ordering: .relaxed)
        guard tail <= head, head &- tail <= capacity, tail % 8 == 0, head % 8 == 0 else {
            return nil
        }
    }

    package static func isCapacity(_ bytes: Int) -> Bool {
        bytes >= bytesLeast && bytes <= bytesMost && bytes & (bytes - 1) == 0
    }

    /// Makes an empty ring of zeroed memory.
    package init(
        making base: UnsafeMutableRawPointer, capacity: Int, number: UInt32,
        boot: (UInt64, UInt64), life: UInt64, nextID: UInt64
    ) {
        precondition(Self.isCapacity(capacity) && number != 0)
        let header = UnsafeMutableRawBufferPointer(start: base, count: Self.headerBytes)
        header.storeLittle(number, at: 8)
        header.storeLittle(UInt64(capacity), at: 16)
        header.storeLittle(boot.0, at: 24)
        header.storeLittle(boot.1, at: 32)
        header.storeLittle(life, at: 40)
        header.storeLittle(nextID, at: 72)
        header.storeLittle(Self.magic, at: 0)
        self.base = base
        self.capacity = capacity
    }

    package var number: UInt32 { header.loadLittle(at: 8, as: UInt32.self) }
    package var boot: (UInt64, UInt64) {
        (header.loadLittle(at: 24, as: UInt64.self), header.loadLittle(at: 32, as: UInt64.self))
    }
    package var life: UInt64 { header.loadLittle(at: 40, as: UInt64.self) }
    /// The id that the next decision would have got.
    package var nextID: UInt64 { nextCount.pointee.load(ordering: .acquiring) }
    /// Entries that were left out because there was no room.
    package var dropped: UInt64 { dropCount.pointee.load(ordering: .acquiring) }
    /// Of those, the ones of requests that were refused for it: nothing was decided.
    package var refused: UInt64 { refuseCount.pointee.load(ordering: .acquiring) }
    /// Bytes that wait to be taken out.
    package var waiting: Int {
        let tail = tailCount.pointee.load(ordering: .acquiring)
        return Int(truncatingIfNeeded: headCount.pointee.load(ordering: .acquiring) &- tail)
    }

    private var header: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base, count: Self.headerBytes)
    }

    @inlinable
    func counter(_ offset: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        (base + offset).assumingMemoryBound(to: Atomic<UInt64>.self)
    }
    @inlinable
    var headCount: UnsafeMutablePointer<Atomic<UInt64>> { counter(64) }
    var nextCount: UnsafeMutablePointer<Atomic<UInt64>> { counter(72) }
    var dropCount: UnsafeMutablePointer<Atomic<UInt64>> { counter(80) }
    var refuseCount: UnsafeMutablePointer<Atomic<UInt64>> { counter(88) }
    @inlinable
    var tailCount: UnsafeMutablePointer<Atomic<UInt64>> { counter(128) }

    // MARK: the reading side

    /// Lends the entries that wait, one after the other, until there are none or `body` says so;
    /// what it took is given back to the writer by `release`. Called by the one reading thread.
    ///
    /// False, and nothing after it is readable, when what stands there cannot be an entry: the ring
    /// is damaged.
    @inlinable
    package func read(
        _ position: inout AuditRingPosition, _ body: (AuditEntry) -> Bool
    ) -> Bool {
        let head = headCount.pointee.load(ordering: .acquiring)
        while position.bytes < head {
            let offset = Int(truncatingIfNeeded: position.bytes) & (capacity - 1)
            let place = UnsafeRawBufferPointer(
                start: base + Self.headerBytes + offset, count: capacity - offset)
            if place.loadLittle(at: 0, as: UInt32.self) == Self.skip {
                position.bytes &+= UInt64(capacity - offset)
                continue
            }
            guard let entry = AuditEntry(place), entry.head.bytes > 0,
                position.bytes &+ UInt64(entry.head.bytes) <= head
            else { return false }
            guard body(entry) else { return true }
            position.bytes &+= UInt64(entry.head.bytes)
        }
        return position.bytes == head
    }

    /// Where reading begins.
    package var start: AuditRingPosition {
        AuditRingPosition(bytes: tailCount.pointee.load(ordering: .relaxed))
    }

    /// Gives back to the writer what was read.
    package func release(through position: AuditRingPosition) {
        tailCount.pointee.store(position.bytes, ordering: .releasing)
    }
}

/// How far a ring was read: bytes ever.
package struct AuditRingPosition: Sendable, Equatable {
    package var bytes: UInt64
}

/// The writing side of a ring, owned by one worker. Allocates nothing.
struct AuditPen {
    let ring: AuditRing
    /// Written, and perhaps not published: `head ≤ next`.
    private var next: UInt64
    private var published: UInt64
    /// The reader's position as it was last looked at.
    private var tail: UInt64
    /// The id of the next decision.
    private(set) var nextID: UInt64
    /// Denials aside, only one in so many is written; 1: every one.
    var sampleOneIn: UInt64 = 1

    init(_ ring: AuditRing) {
        self.ring = ring
        next = ring.headCount.pointee.load(ordering: .relaxed)
        published = next
        tail = ring.tailCount.pointee.load(ordering: .acquiring)
        nextID = ring.nextID
    }

    /// The id of the decision that is made now.
    @inline(__always)
    mutating func takeID() -> UInt64 {
        let id = nextID
        nextID &+= 1
        return id
    }

    /// Whether an entry of the largest size finds room.
    @inline(__always)
    mutating func hasRoom(entries: Int = 1) -> Bool {
        // One more: the entry may not fit before the end, and then leaves out as much.
        let wanted = UInt64((entries &+ 1) &* AuditEntry.bytesMax)
        if next &+ wanted <= tail &+ UInt64(ring.capacity) { return true }
        tail = ring.tailCount.pointee.load(ordering: .acquiring)
        return next &+ wanted <= tail &+ UInt64(ring.capacity)
    }

    /// Where an entry of so many bytes, a multiple of 8, is to be written; `nil`, and it is counted
    /// as dropped, when there is no room.
    @inline(__always)
    mutating func place(_ bytes: Int) -> UnsafeMutableRawPointer? {
        precondition(bytes & 7 == 0 && bytes <= AuditEntry.bytesMax)
        let mask = ring.capacity &- 1
        var offset = Int(truncatingIfNeeded: next) & mask
        let left = ring.capacity &- offset
        let total = left < bytes ? left &+ bytes : bytes
        if next &+ UInt64(total) > tail &+ UInt64(ring.capacity) {
            tail = ring.tailCount.pointee.load(ordering: .acquiring)
            guard next &+ UInt64(total) <= tail &+ UInt64(ring.capacity) else {
                ring.dropCount.pointee.wrappingAdd(1, ordering: .relaxed)
                return nil
            }
        }
        if left < bytes {
            (ring.base + AuditRing.headerBytes + offset).storeBytes(
                of: AuditRing.skip.littleEndian, as: UInt32.self)
            next &+= UInt64(left)
            offset = 0
        }
        next &+= UInt64(bytes)
        return ring.base + AuditRing.headerBytes + offset
    }

    @inline(__always)
    var isFilling: Bool {
        mutating get {
            let quarter = UInt64(ring.capacity) / 4
            guard next &- tail > quarter else { return false }
            tail = ring.tailCount.pointee.load(ordering: .acquiring)
            return next &- tail > quarter
        }
    }

    /// An entry was not even tried, for its request is refused.
    func countRefused() {
        ring.dropCount.pointee.wrappingAdd(1, ordering: .relaxed)
        ring.refuseCount.pointee.wrappingAdd(1, ordering: .releasing)
    }

    @inline(__always)
    var hasUnpublished: Bool { next != published }

    /// Makes the entries since the last call the reader's, and gives each its latency. Before the
    /// replies leave.
    mutating func publish(now: BootTime) {
        var at = published
        while at < next {
            let offset = Int(truncatingIfNeeded: at) & (ring.capacity &- 1)
            let entry = ring.base + AuditRing.headerBytes + offset
            let bytes = entry.load(as: UInt32.self)
            if bytes == AuditRing.skip {
                at &+= UInt64(ring.capacity &- offset)
                continue
            }
            let began = entry.load(fromByteOffset: 24, as: UInt64.self)
            let latency = now.nanoseconds &- min(began, now.nanoseconds)
            entry.storeBytes(
                of: UInt32(clamping: latency), toByteOffset: 36, as: UInt32.self)
            at &+= UInt64(bytes)
        }
        ring.nextCount.pointee.store(nextID, ordering: .relaxed)
        ring.headCount.pointee.store(next, ordering: .releasing)
        published = next
    }
}
