import TollgateCore
import TollgateWire

/// Where a chain has come to: behind the last block that is meant.
package struct AuditEnd: Sendable, Equatable {
    /// Of the segment; 0: nothing was ever written.
    package var segment: UInt64 = 0
    /// Bytes of the segment that are meant.
    package var offset = 0
    /// The number that the next block gets.
    package var block: UInt64 = 0
    /// Hash of the last block, or of the header that nothing follows.
    package var head = AuditHash.zero

    package init() {}
}

/// How a segment begins. Little-endian. Blocks follow without gaps.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | "TGAUSEG1" |
/// | 8 | 2 | version, 2; 1 is read |
/// | 10 | 6 | spare, 0 |
/// | 16 | 8 | number of the segment, as in its name; the first is 1 |
/// | 24 | 8 | id of the log: random, the same in all its segments |
/// | 32 | 8 | number of its first block |
/// | 40 | 8 | made, wall clock, milliseconds since 1970 |
/// | 48 | 8 | the life of the daemon that made it |
/// | 56 | 8 | bytes of the segment before that are meant: what stands behind them is void |
/// | 64 | 32 | SHA-256 of that segment's last block of them; zeros in the first segment |
/// | 96 | 32 | SHA-256 of bytes 0 to 95 |
struct AuditSegmentHeader: Sendable, Equatable {
    static let bytes = 128
    /// That is written, and the last that is read.
    static let version: UInt16 = 2
    private static let magic: UInt64 = 0x3147_4553_5541_4754

    var version = Self.version
    var number: UInt64
    var log: UInt64
    var firstBlock: UInt64
    var created: Int64
    var life: UInt64
    var previousBytes: UInt64
    var previous: AuditHash

    init(
        number: UInt64, log: UInt64, firstBlock: UInt64, created: Int64, life: UInt64,
        previousBytes: UInt64, previous: AuditHash
    ) {
        self.number = number
        self.log = log
        self.firstBlock = firstBlock
        self.created = created
        self.life = life
        self.previousBytes = previousBytes
        self.previous = previous
    }

    var encoded: (bytes: Block, hash: AuditHash) {
        let block = Block(Self.bytes)
        defer { block.keep() }
        block.bytes.storeLittle(Self.magic, at: 0)
        block.bytes.storeLittle(version, at: 8)
        block.bytes.storeLittle(number, at: 16)
        block.bytes.storeLittle(log, at: 24)
        block.bytes.storeLittle(firstBlock, at: 32)
        block.bytes.storeLittle(created, at: 40)
        block.bytes.storeLittle(life, at: 48)
        block.bytes.storeLittle(previousBytes, at: 56)
        previous.store(to: block.bytes, at: 64)
        let hash = AuditHash(of: block.read.slice(at: 0, length: 96))
        hash.store(to: block.bytes, at: 96)
        return (block, hash)
    }

    init(_ bytes: UnsafeRawBufferPointer, _ path: String) throws(AuditFailure) {
        guard bytes.count >= Self.bytes, bytes.loadLittle(at: 0, as: UInt64.self) == Self.magic
        else { throw AuditFailure(.damaged, path, offset: 0, "not a segment of an audit log") }
        guard AuditHash(of: bytes.slice(at: 0, length: 96)) == AuditHash(bytes, at: 96) else {
            throw AuditFailure(.damaged, path, offset: 0, "the hash of its header is wrong")
        }
        version = bytes.loadLittle(at: 8, as: UInt16.self)
        guard version > 0, version <= Self.version else {
            throw AuditFailure(
                .version, path, offset: 8,
                "of version \(version), which this build does not know; use the one that wrote it")
        }
        number = bytes.loadLittle(at: 16, as: UInt64.self)
        log = bytes.loadLittle(at: 24, as: UInt64.self)
        firstBlock = bytes.loadLittle(at: 32, as: UInt64.self)
        created = bytes.loadLittle(at: 40, as: Int64.self)
        life = bytes.loadLittle(at: 48, as: UInt64.self)
        previousBytes = bytes.loadLittle(at: 56, as: UInt64.self)
        previous = AuditHash(bytes, at: 64)
    }
}

/// What a block holds.
package enum AuditBlockKind: UInt8, Sendable, CaseIterable {
    /// Decisions (`AuditPage`).
    case records = 1
    /// What the indices of a generation of the policy mean from here on (`AuditNames`).
    case names = 2
    /// What is not in the log (`AuditGap`).
    case gap = 3
    /// The segment's end: its index, signed (`AuditSeal`).
    case seal = 4
}

/// How a block begins. Behind it: the payload, then SHA-256 of all before it.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 4 | "TGAB" |
/// | 4 | 1 | `AuditBlockKind` |
/// | 5 | 3 | spare, 0 |
/// | 8 | 4 | bytes of the payload |
/// | 12 | 4 | number of records |
/// | 16 | 8 | number of the block: over all segments, without gaps |
/// | 24 | 8 | earliest wall clock in it, milliseconds since 1970 |
/// | 32 | 8 | latest |
/// | 40 | 32 | hash of the block before; of a segment's first, of the header |
struct AuditBlockHead: Sendable, Equatable {
    static let bytes = 72
    /// Of records; of version 1 less.
    static let payloadMax = 1 << 20
    static let firstPayloadMax = 64 << 10
    /// Of a seal, which holds an index.
    static let sealMax = 256 << 20
    private static let magic: UInt32 = 0x4241_4754

    var kind: AuditBlockKind
    var payloadBytes: Int
    var count: UInt32
    var number: UInt64
    var first: Int64
    var last: Int64
    var previous: AuditHash

    /// Of the whole block.
    var blockBytes: Int { Self.bytes &+ payloadBytes &+ AuditHash.bytes }

    init(_ block: AuditBlock, number: UInt64, previous: AuditHash) {
        kind = block.kind
        payloadBytes = block.payload.count
        count = block.count
        first = block.first
        last = block.last
        self.number = number
        self.previous = previous
    }

    func write(to bytes: UnsafeMutableRawBufferPointer) {
        bytes.storeLittle(Self.magic, at: 0)
        bytes.storeLittle(UInt32(kind.rawValue), at: 4)
        bytes.storeLittle(UInt32(truncatingIfNeeded: payloadBytes), at: 8)
        bytes.storeLittle(count, at: 12)
        bytes.storeLittle(number, at: 16)
        bytes.storeLittle(first, at: 24)
        bytes.storeLittle(last, at: 32)
        previous.store(to: bytes, at: 40)
    }

    func indexed(at offset: Int) -> AuditIndexBlock {
        AuditIndexBlock(
            kind: kind, offset: offset, bytes: blockBytes, count: count, first: first, last: last)
    }

    /// `nil` when the bytes cannot begin a block.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.bytes, bytes.loadLittle(at: 0, as: UInt32.self) == Self.magic,
            let kind = AuditBlockKind(rawValue: bytes.loadLittle(at: 4, as: UInt8.self))
        else { return nil }
        self.kind = kind
        payloadBytes = Int(truncatingIfNeeded: bytes.loadLittle(at: 8, as: UInt32.self))
        guard payloadBytes <= Self.sealMax else { return nil }
        count = bytes.loadLittle(at: 12, as: UInt32.self)
        number = bytes.loadLittle(at: 16, as: UInt64.self)
        first = bytes.loadLittle(at: 24, as: Int64.self)
        last = bytes.loadLittle(at: 32, as: Int64.self)
        previous = AuditHash(bytes, at: 40)
    }
}

/// A block that is to be written, or was and is not yet synced. Its place in the chain is decided
/// when it is written: after a failed sync it is written again, in another segment.
struct AuditBlock: Sendable {
    let kind: AuditBlockKind
    var count: UInt32 = 0
    var first: Int64 = 0
    var last: Int64 = 0
    /// Of records there is none yet: see `draft`.
    var payload: [UInt8] = []
    /// Of records: what becomes the payload.
    var draft: AuditDraft?
    /// Of records: what it takes while it is held, about.
    var heldBytes = 0
    /// Hashes of the names in it, for the index.
    var keys = AuditIndexKeys()
    /// Generations whose names must stand before it.
    var generations: [UInt32] = []
    /// Of which rings its records are.
    var sources: [AuditSource] = []
    /// What the rings may have back once it is written.
    var releases: [AuditRelease] = []
    /// Of a gap: what the ring's counter of drops says with it.
    var dropped: AuditDrop?

    init(_ kind: AuditBlockKind) { self.kind = kind }

    /// What it takes in memory, about.
    var weight: Int { heldBytes &+ payload.count }

    /// As it stands in a segment.
    func encoded(number: UInt64, previous: AuditHash) -> (bytes: Block, hash: AuditHash) {
        let head = AuditBlockHead(self, number: number, previous: previous)
        let block = Block(unfilled: head.blockBytes)
        defer { block.keep() }
        head.write(to: block.bytes)
        payload.withUnsafeBytes { block.bytes.copy($0, to: AuditBlockHead.bytes) }
        let covered = AuditBlockHead.bytes &+ payload.count
        let hash = AuditHash(of: block.read.slice(at: 0, length: covered))
        hash.store(to: block.bytes, at: covered)
        return (block, hash)
    }
}

/// How far a ring was read.
struct AuditRelease: Sendable {
    var ring: Int
    var position: AuditRingPosition
}
