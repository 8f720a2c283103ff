import TollgateCore
import TollgateWire

/// The end of a segment: where its blocks are and what they have, signed. Numbers are varints
/// (LEB128), differences as in `AuditPage`. The content (`AuditPieces`) of version 2:
///
/// | what | how |
/// |---|---|
/// | where the lists begin | u32, from the content's beginning |
/// | blocks | how many; of each u8 kind, its bytes, its records, and wall clocks: |
/// | | earliest (difference from the block's before, at first from 0), latest (from that); |
/// | | of records how many organizations, users and key ids it says for the first time |
/// | rings | how many; of each u8 number, next id, highest id in the log, life, read, dropped |
/// | lists | of organizations, users, key ids each: u8 bits, how many bytes |
/// | organizations | of each value of so many highest bits of a hash: u32 where its hashes end, |
/// | | from where all begin; then of each hash, ascending: less the one before, at first the |
/// | | lowest that there may be, how many blocks, and of each its place less the place before |
/// | users | the same |
/// | key ids | the same |
/// | payload's bytes | u32: whoever reads from the file's end finds the block's beginning |
/// | signature | HMAC-SHA-256, by `audit.key`: of u64 number of the segment, |
/// | | the hash of the block before, and the content up to here |
///
/// In version 1 the payload has no checksums and does not say where the lists begin; the blocks do
/// not say how many names are new; a list is how many hashes, bytes of what follows, and the hashes
/// as in a bucket of all.
struct AuditSeal {
    static let tailBytes = 4 + AuditHash.bytes
    static let bitsMax = 16

    private struct List {
        /// Where it is in the content.
        var bytes: Range<Int>
        var bits = 0
        /// Of version 1: how many hashes.
        var count: Int?
    }

    private(set) var blocks: [AuditIndexBlock] = []
    private(set) var marks: [AuditRingMark] = []
    private var lists: [List] = []
    private let content: UnsafeRawBufferPointer
    /// Of version 2.
    private let pieces: AuditPieces?

    static func block(
        _ index: AuditIndexBuilder, _ marks: [AuditRingMark], segment: UInt64,
        previous: AuditHash, key: AuditKey, now: WallTime
    ) -> AuditBlock {
        var block = AuditBlock(.seal)
        block.count = UInt32(truncatingIfNeeded: index.records)
        block.first = index.blocks.map(\.first).min() ?? now.milliseconds
        block.last = index.blocks.map(\.last).max() ?? now.milliseconds
        var content = index.encoded(marks)
        let bytes = AuditPieces.payloadBytes(content.count &+ tailBytes)
        AuditPieces.put(UInt32(truncatingIfNeeded: bytes), to: &content)
        let signature = content.withUnsafeBytes {
            sign($0, segment: segment, previous: previous, key)
        }
        withUnsafeBytes(of: signature) { content.append(contentsOf: $0) }
        block.payload = AuditPieces.payload(content)
        return block
    }

    private static func sign(
        _ content: UnsafeRawBufferPointer, segment: UInt64, previous: AuditHash, _ key: AuditKey
    ) -> AuditHash {
        let text = Block(8 &+ AuditHash.bytes &+ content.count)
        defer { text.keep() }
        text.bytes.storeLittle(segment, at: 0)
        previous.store(to: text.bytes, at: 8)
        text.bytes.copy(content, to: 8 &+ AuditHash.bytes)
        return key.sign(text.read)
    }

    /// Whether the seal of that segment, behind that block, was made with the key.
    static func isSigned(
        _ block: AuditReadBlock, _ header: AuditSegmentHeader, previous: AuditHash, _ key: AuditKey
    ) -> Bool {
        var content = block.payload
        if header.version > 1 {
            guard let pieces = AuditPieces(block) else { return false }
            content = pieces.content
        }
        guard content.count >= tailBytes else { return false }
        let covered = content.count &- AuditHash.bytes
        return sign(
            content.slice(at: 0, length: covered), segment: header.number, previous: previous, key)
            == AuditHash(content, at: covered)
    }

    /// Of a block that is in memory; `nil` when it is none.
    init?(_ block: AuditReadBlock, version: UInt16) throws(AuditFailure) {
        if version == 1 {
            self.init(first: block.payload)
        } else {
            guard let pieces = AuditPieces(block) else { return nil }
            try self.init(pieces)
        }
    }

    /// Of version 2. Its blocks and rings are read; `nil` when they are none.
    init?(_ pieces: AuditPieces) throws(AuditFailure) {
        content = pieces.content
        self.pieces = pieces
        let covered = content.count &- Self.tailBytes
        guard covered >= 4, try pieces.need(0..<4) else { return nil }
        let start = Int(content.loadLittle(at: 0, as: UInt32.self))
        guard start >= 4, start <= covered, try pieces.need(4..<start),
            try pieces.need(covered..<content.count),
            content.loadLittle(at: covered, as: UInt32.self)
                == UInt32(exactly: pieces.head.payloadBytes)
        else { return nil }
        var reader = ByteReader(content.slice(at: 0, length: start), at: 4)
        guard readBlocks(&reader, hasNames: true), readMarks(&reader) else { return nil }
        var at = start
        for _ in AuditNameKind.allCases {
            guard let bits = reader.read(UInt8.self), bits <= Self.bitsMax,
                let bytes = reader.count(most: covered &- at), bytes >= 4 &<< Int(bits)
            else { return nil }
            lists.append(List(bytes: at..<(at &+ bytes), bits: Int(bits)))
            at = at &+ bytes
        }
        guard reader.remaining == 0, at == covered else { return nil }
    }

    /// Of version 1. Borrows the payload.
    private init?(first payload: UnsafeRawBufferPointer) {
        content = payload
        pieces = nil
        guard payload.count >= Self.tailBytes else { return nil }
        let covered = payload.count &- Self.tailBytes
        guard payload.loadLittle(at: covered, as: UInt32.self) == UInt32(exactly: payload.count)
        else { return nil }
        var reader = ByteReader(payload.slice(at: 0, length: covered))
        guard readBlocks(&reader, hasNames: false), readMarks(&reader) else { return nil }
        for _ in AuditNameKind.allCases {
            guard let count = reader.count(most: covered),
                let bytes = reader.count(most: reader.remaining)
            else { return nil }
            let start = reader.offset
            guard reader.take(bytes) != nil else { return nil }
            lists.append(List(bytes: start..<(start &+ bytes), count: count))
        }
        guard reader.remaining == 0 else { return nil }
    }

    private mutating func readBlocks(_ reader: inout ByteReader, hasNames: Bool) -> Bool {
        guard let count = reader.count(most: reader.remaining) else { return false }
        var offset = AuditSegmentHeader.bytes
        var wall: Int64 = 0
        blocks.reserveCapacity(min(count, reader.remaining / 5))
        for _ in 0..<count {
            guard let raw = reader.read(UInt8.self), let kind = AuditBlockKind(rawValue: raw),
                let bytes = reader.count(most: AuditBlockHead.sealMax),
                let records = reader.small(UInt32.self), let first = reader.varint(),
                let last = reader.varint()
            else { return false }
            wall = wall &+ Int64(bitPattern: AuditBytes.difference(first))
            var block = AuditIndexBlock(
                kind: kind, offset: offset, bytes: bytes, count: records, first: wall,
                last: wall &+ Int64(bitPattern: AuditBytes.difference(last)))
            if hasNames, kind == .records {
                guard let organizations = reader.count(most: bytes),
                    let users = reader.count(most: bytes), let keys = reader.count(most: bytes)
                else { return false }
                block.fresh = AuditNameCounts(
                    organizations: organizations, users: users, keys: keys)
            }
            blocks.append(block)
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
    func places(_ kind: AuditNameKind, hash: UInt32) throws(AuditFailure) -> [Int]? {
        guard kind.rawValue < lists.count else { return nil }
        let list = lists[kind.rawValue]
        if let count = list.count {
            return places(list.bytes, hash, from: 0, count: count)
        }
        guard let pieces else { return nil }
        // Of the ends, its own and the one before.
        let bucket = list.bits == 0 ? 0 : Int(hash >> UInt32(32 &- list.bits))
        let ends = list.bytes.lowerBound &+ bucket &* 4
        let data = list.bytes.lowerBound &+ 4 &<< list.bits
        guard try pieces.need((bucket == 0 ? ends : ends &- 4)..<(ends &+ 4)) else { return nil }
        let from = bucket == 0 ? 0 : Int(content.loadLittle(at: ends &- 4, as: UInt32.self))
        let to = Int(content.loadLittle(at: ends, as: UInt32.self))
        guard from <= to, to <= list.bytes.upperBound &- data,
            try pieces.need((data &+ from)..<(data &+ to))
        else { return nil }
        let lowest = list.bits == 0 ? 0 : UInt64(hash) >> UInt64(32 &- list.bits)
        return places(
            (data &+ from)..<(data &+ to), hash,
            from: list.bits == 0 ? 0 : lowest &<< UInt64(32 &- list.bits), count: nil)
    }

    /// `count`: how many hashes there are; `nil`: as many as there is room for.
    private func places(
        _ bytes: Range<Int>, _ hash: UInt32, from lowest: UInt64, count: Int?
    ) -> [Int]? {
        var reader = ByteReader(content.slice(at: bytes.lowerBound, length: bytes.count))
        var (current, left) = (lowest, count ?? bytes.count)
        while left > 0, count != nil || reader.remaining > 0 {
            left &-= 1
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
