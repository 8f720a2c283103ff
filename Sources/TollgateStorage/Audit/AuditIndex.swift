import TollgateCore
import TollgateWire

/// Hashes of the names in a block: what its segment's index finds it by.
struct AuditIndexKeys: Sendable {
    var organizations: [UInt32] = []
    var users: [UInt32] = []
    var keys: [UInt32] = []

    /// CRC-32C. Names that share one cost a query a block more, no more.
    static func hash(_ name: UnsafeRawBufferPointer) -> UInt32 { ledgerChecksum(0, name) }
}

/// A block, as its segment's index has it.
struct AuditIndexBlock: Sendable, Equatable {
    var kind: AuditBlockKind
    var offset: Int
    var bytes: Int
    var count: UInt32
    var first: Int64
    var last: Int64
    /// Names that it says for the first time.
    var fresh = AuditNameCounts()
}

/// What is known of a ring, over all lives.
package struct AuditRingMark: Sendable, Equatable {
    package var ring: UInt8
    /// Above every id that was given to a decision, as far as is known.
    package var nextID: UInt64
    /// The highest that is in the log; 0: none.
    package var highest: UInt64
    /// Of which life the two below are.
    package var life: UInt64
    /// How far the ring was read, bytes ever: all before is in the log.
    package var position: UInt64
    /// What the ring's counter of drops said when the last gap was written.
    package var dropped: UInt64

    init(ring: UInt8) {
        self.ring = ring
        nextID = 0
        highest = 0
        life = 0
        position = 0
        dropped = 0
    }

    /// Something of the ring, of that life, is in the log.
    mutating func enter(life: UInt64) {
        guard life != self.life else { return }
        self.life = life
        position = 0
        dropped = 0
    }
}

/// The index of the open segment, as it grows.
struct AuditIndexBuilder {
    private(set) var blocks: [AuditIndexBlock] = []
    /// Hash in the upper half, place of the block in the lower.
    private var organizations: [UInt64] = []
    private var users: [UInt64] = []
    private var keys: [UInt64] = []
    private(set) var records: UInt64 = 0
    /// Pairs in a bucket, about.
    private static let pairsAim = 256

    mutating func add(_ block: AuditIndexBlock, _ hashes: AuditIndexKeys) {
        let place = UInt64(truncatingIfNeeded: blocks.count)
        blocks.append(block)
        if block.kind == .records { records &+= UInt64(block.count) }
        for hash in hashes.organizations { organizations.append(UInt64(hash) &<< 32 | place) }
        for hash in hashes.users { users.append(UInt64(hash) &<< 32 | place) }
        for hash in hashes.keys { keys.append(UInt64(hash) &<< 32 | place) }
    }

    /// The content of a seal but for its signature (`AuditSeal`).
    func encoded(_ marks: [AuditRingMark]) -> [UInt8] {
        var front: [UInt8] = []
        AuditBytes.put(UInt64(truncatingIfNeeded: blocks.count), to: &front)
        var wall: Int64 = 0
        for block in blocks {
            front.append(block.kind.rawValue)
            AuditBytes.put(UInt64(truncatingIfNeeded: block.bytes), to: &front)
            AuditBytes.put(UInt64(block.count), to: &front)
            Self.putDifference(block.first, wall, to: &front)
            Self.putDifference(block.last, block.first, to: &front)
            wall = block.first
            guard block.kind == .records else { continue }
            for kind in AuditNameKind.allCases {
                AuditBytes.put(UInt64(truncatingIfNeeded: block.fresh[kind]), to: &front)
            }
        }
        AuditBytes.put(UInt64(truncatingIfNeeded: marks.count), to: &front)
        for mark in marks {
            front.append(mark.ring)
            for value in [mark.nextID, mark.highest, mark.life, mark.position, mark.dropped] {
                AuditBytes.put(value, to: &front)
            }
        }
        var lists: [UInt8] = []
        for pairs in [organizations, users, keys] {
            let (bits, list) = Self.list(pairs)
            front.append(bits)
            AuditBytes.put(UInt64(truncatingIfNeeded: list.count), to: &front)
            lists.append(contentsOf: list)
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(4 &+ front.count &+ lists.count &+ AuditSeal.tailBytes)
        AuditPieces.put(UInt32(truncatingIfNeeded: 4 &+ front.count), to: &bytes)
        bytes.append(contentsOf: front)
        bytes.append(contentsOf: lists)
        return bytes
    }

    private static func putDifference(_ value: Int64, _ base: Int64, to bytes: inout [UInt8]) {
        AuditBytes.put(AuditBytes.zigzag(UInt64(bitPattern: value &- base)), to: &bytes)
    }

    /// Hashes in buckets by their highest bits, and where each bucket ends.
    private static func list(_ pairs: [UInt64]) -> (bits: UInt8, bytes: [UInt8]) {
        let pairs = AuditSort.byUpperHalf(pairs)
        var bits = 0
        while bits < AuditSeal.bitsMax, pairs.count >> bits > pairsAim { bits &+= 1 }
        var ends: [UInt8] = []
        var data = AuditScratch(pairs.count &* 5)
        var start = 0
        for bucket in 0..<(1 &<< bits) {
            let highest = UInt64(truncatingIfNeeded: bucket)
            var hash = highest &<< UInt64(32 &- bits)
            while start < pairs.count, pairs[start] >> UInt64(64 &- bits) == highest {
                let own = pairs[start] >> 32
                var end = start
                while end < pairs.count, pairs[end] >> 32 == own { end &+= 1 }
                var at = data.begin((end &- start &+ 2) &* AuditBytes.numberMost)
                AuditBytes.put(own &- hash, at: &at)
                AuditBytes.put(end &- start, at: &at)
                var place: UInt64 = 0
                for index in start..<end {
                    AuditBytes.put((pairs[index] & 0xffff_ffff) &- place, at: &at)
                    place = pairs[index] & 0xffff_ffff
                }
                data.end(at)
                (hash, start) = (own, end)
            }
            AuditPieces.put(UInt32(truncatingIfNeeded: data.used), to: &ends)
        }
        return (UInt8(truncatingIfNeeded: bits), ends + data.read)
    }
}
