import TollgateCore
import TollgateWire

/// A snapshot, version 2: the whole state of one generation. Little-endian throughout.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 128 | `SnapshotHeader` |
/// | 128 | | blocks, one behind the other |
/// | end - 96 | 96 | the last block: `SnapshotTotals` |
///
/// A block:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 2 | `SnapshotBlock.Kind` |
/// | 2 | 2 | shard, 0 for what is of all |
/// | 4 | 4 | bytes of its content |
/// | 8 | 8 | where in the file it begins |
/// | 16 | 8 | generation |
/// | 24 | 4 | spare, 0 |
/// | 28 | 4 | CRC-32C of bytes 0 to 27 and the content, begun with the header's CRC |
/// | 32 | | content |
///
/// Contents: `rows`, images of rows as `Row` has them, whole ones (a shard's blocks are
/// neighbours, and shards ascend); `closed`, closed periods of a shard that were not archived when
/// it began: u64 the sequence number of its item, u32 bytes, `ClosedPeriod`; `names`, those of
/// counters by number: u16 bytes, UTF-8; `layouts`, as `LayoutTable` has them; `shards`,
/// `SnapshotShard` of each; `totals`.
enum SnapshotFormat {
    static let version: UInt16 = 2
    /// Rows of reservations of version 1 have room for any answer behind all else, which a build
    /// that knows no other relies on.
    static let versionsRead: ClosedRange<UInt16> = 1...2
    static let blockHeaderBytes = 32
    /// Content of a block at most: a slice of rows, or a table.
    static let contentBytesMax = 64 * 1024 * 1024
    static let totalsBytes = 64
}

/// One block's header.
struct SnapshotBlock: Equatable {
    enum Kind: UInt16 {
        case rows = 1
        case closed = 2
        case names = 3
        case layouts = 4
        case shards = 5
        case totals = 6
    }

    var kind: Kind
    var shard: UInt16
    var bytes: UInt32
    var offset: UInt64
    var generation: UInt64

    /// Writes the header before its content, which stands in `block` from 32 on already; its CRC.
    @discardableResult
    func seal(_ block: UnsafeMutableRawBufferPointer, seed: UInt32) -> UInt32 {
        block.storeLittle(kind.rawValue, at: 0)
        block.storeLittle(shard, at: 2)
        block.storeLittle(bytes, at: 4)
        block.storeLittle(offset, at: 8)
        block.storeLittle(generation, at: 16)
        block.storeLittle(UInt32(0), at: 24)
        let checksum = Self.checksum(UnsafeRawBufferPointer(block), Int(bytes), seed: seed)
        block.storeLittle(checksum, at: 28)
        return checksum
    }

    private static func checksum(
        _ block: UnsafeRawBufferPointer, _ bytes: Int, seed: UInt32
    ) -> UInt32 {
        let head = ledgerChecksum(seed, block.slice(at: 0, length: 28))
        return ledgerChecksum(
            head, block.slice(at: SnapshotFormat.blockHeaderBytes, length: bytes))
    }

    /// `nil` when what stands there is no header of a block at `offset`.
    init?(_ head: UnsafeRawBufferPointer, at offset: UInt64, generation: UInt64) {
        guard head.count >= SnapshotFormat.blockHeaderBytes,
            let kind = Kind(rawValue: head.loadLittle(at: 0, as: UInt16.self)),
            head.loadLittle(at: 8, as: UInt64.self) == offset,
            head.loadLittle(at: 16, as: UInt64.self) == generation,
            head.loadLittle(at: 24, as: UInt32.self) == 0
        else { return nil }
        self.kind = kind
        shard = head.loadLittle(at: 2, as: UInt16.self)
        bytes = head.loadLittle(at: 4, as: UInt32.self)
        self.offset = offset
        self.generation = generation
        guard Int(shard) < Engine.shardCount, Int(bytes) <= SnapshotFormat.contentBytesMax else {
            return nil
        }
    }

    init(kind: Kind, shard: Int, bytes: Int, offset: Int, generation: UInt64) {
        self.kind = kind
        self.shard = UInt16(truncatingIfNeeded: shard)
        self.bytes = UInt32(truncatingIfNeeded: bytes)
        self.offset = UInt64(truncatingIfNeeded: offset)
        self.generation = generation
    }

    /// The checksum of a whole block, if it is the one that stands in it.
    func checked(_ block: UnsafeRawBufferPointer, seed: UInt32) -> UInt32? {
        let checksum = Self.checksum(block, Int(bytes), seed: seed)
        return block.loadLittle(at: 28, as: UInt32.self) == checksum ? checksum : nil
    }
}

/// The first 128 bytes.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | `TGSNAPSH` |
/// | 8 | 2 | version |
/// | 10 | 2 | number of shards: 64 |
/// | 12 | 4 | spare, 0 |
/// | 16 | 8 | generation, as in the file's name |
/// | 24 | 8 | ledger id |
/// | 32 | 16 | hash key: with it a lost marker can be made again |
/// | 48 | 8 | life |
/// | 56 | 8 | billing time, milliseconds since 1970 |
/// | 64 | 8 | boottime, nanoseconds |
/// | 72 | 16 | the host's boot id |
/// | 88 | 8 | wall clock, milliseconds since 1970, at that boottime |
/// | 96 | 8 | segments from this number on belong to it, without a gap |
/// | 104 | 1 | 1: there was no file of the journal, as behind a repair; 0: there was, and is |
/// | 105 | 19 | spare, 0 |
/// | 124 | 4 | CRC-32C of bytes 0 to 123 |
struct SnapshotHeader: Sendable, Equatable {
    static let bytes = 128
    private static let magic: UInt64 = 0x4853_5041_4e53_4754

    var generation: UInt64
    var marker: LedgerMarker
    var life: UInt64
    var billing: WallTime
    var now: Moment
    var boot0: UInt64
    var boot1: UInt64
    var segmentsFrom: UInt64
    var lacksJournal: Bool

    /// Into zeroed bytes; the CRC.
    func write(to bytes: UnsafeMutableRawBufferPointer) -> UInt32 {
        bytes.storeLittle(Self.magic, at: 0)
        bytes.storeLittle(SnapshotFormat.version, at: 8)
        bytes.storeLittle(UInt16(truncatingIfNeeded: Engine.shardCount), at: 10)
        bytes.storeLittle(generation, at: 16)
        bytes.storeLittle(marker.ledger, at: 24)
        bytes.storeLittle(marker.key0, at: 32)
        bytes.storeLittle(marker.key1, at: 40)
        bytes.storeLittle(life, at: 48)
        bytes.storeLittle(billing.milliseconds, at: 56)
        bytes.storeLittle(now.boot.nanoseconds, at: 64)
        bytes.storeLittle(boot0, at: 72)
        bytes.storeLittle(boot1, at: 80)
        bytes.storeLittle(now.wall.milliseconds, at: 88)
        bytes.storeLittle(segmentsFrom, at: 96)
        bytes.storeLittle(lacksJournal ? 1 as UInt8 : 0, at: 104)
        let checksum = ledgerChecksum(
            0, UnsafeRawBufferPointer(bytes).slice(at: 0, length: 124))
        bytes.storeLittle(checksum, at: 124)
        return checksum
    }

    init(
        generation: UInt64, marker: LedgerMarker, life: UInt64, billing: WallTime, now: Moment,
        boot: (UInt64, UInt64), lacksJournal: Bool = false
    ) {
        self.generation = generation
        self.marker = marker
        self.life = life
        self.billing = billing
        self.now = now
        (boot0, boot1) = boot
        segmentsFrom = 0
        self.lacksJournal = lacksJournal
    }

    /// The host has not been started since it was written.
    func isOf(_ boot: (UInt64, UInt64)) -> Bool { boot0 == boot.0 && boot1 == boot.1 }

    init(_ bytes: UnsafeRawBufferPointer, _ path: String) throws(LedgerFailure) {
        guard bytes.count >= Self.bytes, bytes.loadLittle(at: 0, as: UInt64.self) == Self.magic
        else { throw LedgerFailure(.damaged, path, offset: 0, "not a snapshot") }
        guard
            bytes.loadLittle(at: 124, as: UInt32.self)
                == ledgerChecksum(0, bytes.slice(at: 0, length: 124))
        else {
            throw LedgerFailure(.damaged, path, offset: 0, "the checksum of its header is wrong")
        }
        let version = bytes.loadLittle(at: 8, as: UInt16.self)
        guard SnapshotFormat.versionsRead.contains(version),
            Int(bytes.loadLittle(at: 10, as: UInt16.self)) == Engine.shardCount
        else { throw .unknownVersion(path, version) }
        generation = bytes.loadLittle(at: 16, as: UInt64.self)
        marker = LedgerMarker(
            ledger: bytes.loadLittle(at: 24, as: UInt64.self),
            key0: bytes.loadLittle(at: 32, as: UInt64.self),
            key1: bytes.loadLittle(at: 40, as: UInt64.self))
        life = bytes.loadLittle(at: 48, as: UInt64.self)
        billing = WallTime(milliseconds: bytes.loadLittle(at: 56, as: Int64.self))
        now = Moment(
            boot: BootTime(nanoseconds: bytes.loadLittle(at: 64, as: UInt64.self)),
            wall: WallTime(milliseconds: bytes.loadLittle(at: 88, as: Int64.self)))
        boot0 = bytes.loadLittle(at: 72, as: UInt64.self)
        boot1 = bytes.loadLittle(at: 80, as: UInt64.self)
        segmentsFrom = bytes.loadLittle(at: 96, as: UInt64.self)
        lacksJournal = bytes.loadLittle(at: 104, as: UInt8.self) == 1
    }
}

/// Where one shard stood while it was copied.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | the journal's next sequence number before its first row was copied |
/// | 8 | 8 | and after its last |
/// | 16 | 8 | closed periods up to this sequence number stood in the archive |
/// | 24 | 8 | where its blocks begin |
/// | 32 | 8 | and end |
struct SnapshotShard: Sendable, Equatable {
    static let bytes = 40

    var start: UInt64 = 0
    var end: UInt64 = 0
    var archived: UInt64 = 0
    var from = 0
    var to = 0

    init() {}

    func write(to bytes: UnsafeMutableRawBufferPointer, at offset: Int) {
        bytes.storeLittle(start, at: offset)
        bytes.storeLittle(end, at: offset &+ 8)
        bytes.storeLittle(archived, at: offset &+ 16)
        bytes.storeLittle(UInt64(truncatingIfNeeded: from), at: offset &+ 24)
        bytes.storeLittle(UInt64(truncatingIfNeeded: to), at: offset &+ 32)
    }

    init(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        start = bytes.loadLittle(at: offset, as: UInt64.self)
        end = bytes.loadLittle(at: offset &+ 8, as: UInt64.self)
        archived = bytes.loadLittle(at: offset &+ 16, as: UInt64.self)
        from = Int(truncatingIfNeeded: bytes.loadLittle(at: offset &+ 24, as: UInt64.self))
        to = Int(truncatingIfNeeded: bytes.loadLittle(at: offset &+ 32, as: UInt64.self))
    }
}

/// What stands at the end: without it the file was not written to its end.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | bytes of the file |
/// | 8 | 8 | blocks before this one |
/// | 16 | 8 | bytes of rows |
/// | 24 | 8 | where the blocks `names`, `layouts`, `shards` begin, which are neighbours |
/// | 32 | 8 | closed periods |
/// | 40 | 4 | CRC-32C of the CRCs of all blocks before this one |
/// | 44 | 4 | spare, 0 |
/// | 48 | 8 | billing time in milliseconds when the last row had been copied; 0: the header's |
/// | 56 | 8 | spare, 0 |
struct SnapshotTotals: Sendable, Equatable {
    var fileBytes = 0
    var blocks = 0
    var rowBytes = 0
    var tables = 0
    var closed = 0
    var checksum: UInt32 = 0
    var billing = WallTime(milliseconds: 0)

    init() {}

    func write(to bytes: UnsafeMutableRawBufferPointer, at offset: Int) {
        for (index, value) in [fileBytes, blocks, rowBytes, tables, closed].enumerated() {
            bytes.storeLittle(
                UInt64(truncatingIfNeeded: value), at: offset &+ 8 &* index)
        }
        bytes.storeLittle(checksum, at: offset &+ 40)
        bytes.storeLittle(billing.milliseconds, at: offset &+ 48)
    }

    init(_ bytes: UnsafeRawBufferPointer) {
        func value(_ index: Int) -> Int {
            Int(truncatingIfNeeded: bytes.loadLittle(at: 8 &* index, as: UInt64.self))
        }
        (fileBytes, blocks, rowBytes) = (value(0), value(1), value(2))
        (tables, closed) = (value(3), value(4))
        checksum = bytes.loadLittle(at: 40, as: UInt32.self)
        billing = WallTime(milliseconds: bytes.loadLittle(at: 48, as: Int64.self))
    }
}
