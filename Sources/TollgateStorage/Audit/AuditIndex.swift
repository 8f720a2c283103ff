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

    mutating func add(_ block: AuditIndexBlock, _ hashes: AuditIndexKeys) {
        let place = UInt64(truncatingIfNeeded: blocks.count)
        blocks.append(block)
        if block.kind == .records { records &+= UInt64(block.count) }
        for hash in hashes.organizations { organizations.append(UInt64(hash) &<< 32 | place) }
        for hash in hashes.users { users.append(UInt64(hash) &<< 32 | place) }
        for hash in hashes.keys { keys.append(UInt64(hash) &<< 32 | place) }
    }

    /// The payload of a seal but for its signature (`AuditSeal`).
    func encoded(_ marks: [AuditRingMark]) -> [UInt8] {
        var bytes: [UInt8] = []
        AuditBytes.put(UInt64(truncatingIfNeeded: blocks.count), to: &bytes)
        var wall: Int64 = 0
        for block in blocks {
            bytes.append(block.kind.rawValue)
            AuditBytes.put(UInt64(truncatingIfNeeded: block.bytes), to: &bytes)
            AuditBytes.put(UInt64(block.count), to: &bytes)
            Self.putDifference(block.first, wall, to: &bytes)
            Self.putDifference(block.last, block.first, to: &bytes)
            wall = block.first
        }
        AuditBytes.put(UInt64(truncatingIfNeeded: marks.count), to: &bytes)
        for mark in marks {
            bytes.append(mark.ring)
            for value in [mark.nextID, mark.highest, mark.life, mark.position, mark.dropped] {
                AuditBytes.put(value, to: &bytes)
            }
        }
        for pairs in [organizations, users, keys] { Self.put(pairs, to: &bytes) }
        return bytes
    }

    private static func putDifference(_ value: Int64, _ base: Int64, to bytes: inout [UInt8]) {
        AuditBytes.put(AuditBytes.zigzag(UInt64(bitPattern: value &- base)), to: &bytes)
    }

    private static func put(_ pairs: [UInt64], to bytes: inout [UInt8]) {
        let pairs = sorted(pairs)
        var lists: [UInt8] = []
        var (count, start, lastHash) = (0, 0, UInt64(0))
        while start < pairs.count {
            let hash = pairs[start] >> 32
            var end = start
            while end < pairs.count, pairs[end] >> 32 == hash { end &+= 1 }
            AuditBytes.put(hash &- lastHash, to: &lists)
            AuditBytes.put(UInt64(truncatingIfNeeded: end &- start), to: &lists)
            var place: UInt64 = 0
            for index in start..<end {
                AuditBytes.put((pairs[index] & 0xffff_ffff) &- place, to: &lists)
                place = pairs[index] & 0xffff_ffff
            }
            (count, start, lastHash) = (count &+ 1, end, hash)
        }
        AuditBytes.put(UInt64(truncatingIfNeeded: count), to: &bytes)
        AuditBytes.put(UInt64(truncatingIfNeeded: lists.count), to: &bytes)
        bytes.append(contentsOf: lists)
    }

    /// By hash; of one hash, as they were: three passes of eleven bits each, the lowest first. A
    /// segment ends while decisions wait for its end: comparing a million pairs takes too long.
    static func sorted(_ pairs: [UInt64]) -> [UInt64] {
        var (from, to) = (pairs, pairs)
        for shift in [UInt64(32), 43, 54] {
            var starts = [Int](repeating: 0, count: 2_049)
            for pair in from { starts[Int((pair >> shift) & 2_047) &+ 1] &+= 1 }
            for digit in 0..<2_048 { starts[digit &+ 1] &+= starts[digit] }
            for pair in from {
                let digit = Int((pair >> shift) & 2_047)
                to[starts[digit]] = pair
                starts[digit] &+= 1
            }
            swap(&from, &to)
        }
        return from
    }
}

/// The end of a segment: where its blocks are and what they have, signed. Numbers are varints
/// (LEB128), differences as in `AuditPage`.
///
/// | what | how |
/// |---|---|
/// | blocks | how many; of each u8 kind, its bytes, its records, and wall clocks: |
/// | | earliest (difference from the block's before, at first from 0), latest (from the earliest) |
/// | rings | how many; of each u8 number, next id, highest id in the log, life, read, dropped |
/// | organizations | how many hashes, bytes of what follows; of each, ascending: |
/// | | less the hash before, how many blocks, and of each its place less the place before |
/// | users | the same |
/// | key ids | the same |
/// | payload's bytes | u32: whoever reads from the file's end finds the block's beginning |
/// | signature | HMAC-SHA-256, by `audit.key`: of u64 number of the segment, |
/// | | the hash of the block before, and the payload up to here |
struct AuditSeal {
    static let tailBytes = 4 + AuditHash.bytes

    enum List: Int { case organizations, users, keys }

    private(set) var blocks: [AuditIndexBlock] = []
    private(set) var marks: [AuditRingMark] = []
    private var lists: [UnsafeRawBufferPointer] = []
    private var counts: [Int] = []
    let signature: AuditHash

    static func block(
        _ index: AuditIndexBuilder, _ marks: [AuditRingMark], segment: UInt64,
        previous: AuditHash, key: AuditKey, now: WallTime
    ) -> AuditBlock {
        var block = AuditBlock(.seal)
        block.count = UInt32(truncatingIfNeeded: index.records)
        block.first = index.blocks.map(\.first).min() ?? now.milliseconds
        block.last = index.blocks.map(\.last).max() ?? now.milliseconds
        block.payload = index.encoded(marks)
        let bytes = block.payload.count &+ tailBytes
        for shift in [0, 8, 16, 24] {
            block.payload.append(UInt8(truncatingIfNeeded: bytes &>> shift))
        }
        let signature = block.payload.withUnsafeBytes {
            sign($0, segment: segment, previous: previous, key)
        }
        withUnsafeBytes(of: signature) { block.payload.append(contentsOf: $0) }
        return block
    }

    private static func sign(
        _ payload: UnsafeRawBufferPointer, segment: UInt64, previous: AuditHash, _ key: AuditKey
    ) -> AuditHash {
        let text = Block(8 &+ AuditHash.bytes &+ payload.count)
        defer { text.keep() }
        text.bytes.storeLittle(segment, at: 0)
        previous.store(to: text.bytes, at: 8)
        text.bytes.copy(payload, to: 8 &+ AuditHash.bytes)
        return key.sign(text.read)
    }

    /// Whether the seal of that segment, behind that block, was made with the key.
    static func isSigned(
        _ payload: UnsafeRawBufferPointer, segment: UInt64, previous: AuditHash, _ key: AuditKey
    ) -> Bool {
        guard payload.count >= tailBytes else { return false }
        let covered = payload.count &- AuditHash.bytes
        return sign(
            payload.slice(at: 0, length: covered), segment: segment, previous: previous, key)
            == AuditHash(payload, at: covered)
    }

    /// `nil` when it is none. Borrows the payload.
    init?(_ payload: UnsafeRawBufferPointer) {
        guard payload.count >= Self.tailBytes else { return nil }
        let covered = payload.count &- Self.tailBytes
        guard payload.loadLittle(at: covered, as: UInt32.self) == UInt32(exactly: payload.count)
        else { return nil }
        signature = AuditHash(payload, at: covered &+ 4)
        var reader = ByteReader(payload.slice(at: 0, length: covered))
        guard readBlocks(&reader), readMarks(&reader) else { return nil }
        for _ in 0..<3 {
            guard let count = reader.count(most: covered),
                let bytes = reader.count(most: reader.remaining), let list = reader.take(bytes)
            else { return nil }
            counts.append(count)
            lists.append(list)
        }
        guard reader.remaining == 0 else { return nil }
    }

    private mutating func readBlocks(_ reader: inout ByteReader) -> Bool {
        guard let count = reader.count(most: reader.remaining) else { return false }
        var offset = AuditSegmentHeader.bytes
        var wall: Int64 = 0
        for _ in 0..<count {
            guard let raw = reader.read(UInt8.self), let kind = AuditBlockKind(rawValue: raw),
                let bytes = reader.count(most: AuditBlockHead.sealMax),
                let records = reader.small(UInt32.self), let first = reader.varint(),
                let last = reader.varint()
            else { return false }
            wall = wall &+ Int64(bitPattern: AuditBytes.difference(first))
            blocks.append(
                AuditIndexBlock(
                    kind: kind, offset: offset, bytes: bytes, count: records, first: wall,
                    last: wall &+ Int64(bitPattern: AuditBytes.difference(last))))
            offset &+= bytes
        }
        return true
    }

    private mutating func readMarks(_ reader: inout ByteReader) -> Bool {
        guard let count = reader.count(most: 256) else { return false }
        for _ in 0..<count {
            guard let ring = reader.read(UInt8.self), let next = reader.varint(),
                let highest = reader.varint(), let life = reader.varint(),
                let position = reader.varint(), let dropped = reader.varint()
            else { return false }
            var mark = AuditRingMark(ring: ring)
            mark.nextID = next
            mark.highest = highest
            mark.life = life
            mark.position = position
            mark.dropped = dropped
            marks.append(mark)
        }
        return true
    }

    /// Places of the blocks that may have a name; `nil` when the list is none.
    func places(_ list: List, hash: UInt32) -> [Int]? {
        guard lists.count == 3, counts.count == 3 else { return nil }
        var reader = ByteReader(lists[list.rawValue])
        var current: UInt64 = 0
        for _ in 0..<counts[list.rawValue] {
            guard let difference = reader.varint(), let count = reader.count(most: blocks.count)
            else { return nil }
            current = current &+ difference
            var places: [Int] = []
            var place: UInt64 = 0
            for _ in 0..<count {
                guard let step = reader.varint() else { return nil }
                place = place &+ step
                guard place < UInt64(truncatingIfNeeded: blocks.count) else { return nil }
                if current == UInt64(hash) { places.append(Int(truncatingIfNeeded: place)) }
            }
            if current == UInt64(hash) { return places }
            if current > UInt64(hash) { return [] }
        }
        return []
    }
}
