import TollgateCore
import TollgateWire

/// The head of a group log. Two places take turns, by the epoch's parity, each in a page of its
/// own, so that one of them is always whole; batches begin behind both.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | `TGGROUPL` |
/// | 8 | 2 | version |
/// | 10 | 6 | spare, 0 |
/// | 16 | 8 | ledger id |
/// | 24 | 8 | life |
/// | 32 | 8 | epoch, counted from 1: odd ones stand at byte 0 of the file, even ones at 4096 |
/// | 40 | 8 | bytes of the file |
/// | 48 | 12 | spare, 0 |
/// | 60 | 4 | CRC-32C of bytes 0 to 59 |
struct GroupLogHeader: Sendable, Equatable {
    static let bytes = 64
    static let version: UInt16 = 1
    /// Batches begin at multiples of it, so that writing one rewrites nothing of another.
    static let page = 4_096
    static let firstBatch: Int = 2 &* page
    /// Room for the heads and a small batch.
    static let leastBytes: Int = 4 &* page
    /// Of what a reader takes for a group log.
    static let mostBytes: Int = 64 &* 1_024 &* 1_024
    private static let magic: UInt64 = 0x4c50_554f_5247_4754

    var ledger: UInt64
    var life: UInt64
    var epoch: UInt64
    var fileBytes: UInt64

    init(ledger: UInt64, life: UInt64, epoch: UInt64, fileBytes: UInt64) {
        self.ledger = ledger
        self.life = life
        self.epoch = epoch
        self.fileBytes = fileBytes
    }

    /// Where in the file it stands.
    var offset: Int { epoch & 1 == 1 ? 0 : Self.page }

    /// Into zeroed bytes.
    func write(to bytes: UnsafeMutableRawBufferPointer) {
        bytes.storeLittle(Self.magic, at: 0)
        bytes.storeLittle(Self.version, at: 8)
        bytes.storeLittle(ledger, at: 16)
        bytes.storeLittle(life, at: 24)
        bytes.storeLittle(epoch, at: 32)
        bytes.storeLittle(fileBytes, at: 40)
        let covered = UnsafeRawBufferPointer(bytes).slice(at: 0, length: 60)
        bytes.storeLittle(ledgerChecksum(0, covered), at: 60)
    }

    /// What stands in a place; `nil` where it is not whole.
    init?(_ bytes: UnsafeRawBufferPointer, _ path: String) throws(LedgerFailure) {
        guard bytes.count >= Self.bytes, bytes.loadLittle(at: 0, as: UInt64.self) == Self.magic,
            bytes.loadLittle(at: 60, as: UInt32.self)
                == ledgerChecksum(0, bytes.slice(at: 0, length: 60))
        else { return nil }
        let version = bytes.loadLittle(at: 8, as: UInt16.self)
        guard version == Self.version else { throw .unknownVersion(path, version) }
        ledger = bytes.loadLittle(at: 16, as: UInt64.self)
        life = bytes.loadLittle(at: 24, as: UInt64.self)
        epoch = bytes.loadLittle(at: 32, as: UInt64.self)
        fileBytes = bytes.loadLittle(at: 40, as: UInt64.self)
    }
}

/// What one group commit made durable: bytes of segments, as they stand there and as none of them
/// ever changes. Behind its head come entries, side by side.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | `TGBATCH`, 0 |
/// | 8 | 2 | version, that of the log |
/// | 10 | 2 | spare, 0 |
/// | 12 | 4 | bytes of the batch, this head among them |
/// | 16 | 8 | ledger id |
/// | 24 | 8 | life |
/// | 32 | 8 | epoch |
/// | 40 | 8 | number in the epoch, counted from 1 |
/// | 48 | 4 | entries |
/// | 52 | 8 | spare, 0 |
/// | 60 | 4 | CRC-32C of all else: bytes 0 to 59, then 64 to the end |
///
/// An entry:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | number of the segment |
/// | 8 | 4 | offset in it, a multiple of 32 |
/// | 12 | 4 | how many bytes follow, a multiple of 32 |
/// | 16 | | the bytes |
struct GroupBatch: Sendable, Equatable {
    static let headerBytes = 64
    static let entryBytes = 16
    static let magic: UInt64 = 0x0048_4354_4142_4754

    /// Bytes of a segment, and where in the log they stand.
    struct Entry: Sendable, Equatable {
        var segment: UInt64
        var offset: Int
        var logOffset: Int
        var bytes: Int
    }

    var epoch: UInt64
    var number: UInt64
    /// Where in the log it stands.
    var offset: Int
    var bytes: Int
    var entries: [Entry] = []

    /// Where another may begin behind it.
    var end: Int { offset &+ Self.rounded(bytes) }

    static func rounded(_ bytes: Int) -> Int {
        (bytes &+ GroupLogHeader.page &- 1) & ~(GroupLogHeader.page &- 1)
    }

    /// Ends a batch that has its entries: the head, with the checksum over all of it.
    static func seal(
        _ bytes: UnsafeMutableRawBufferPointer, entries: Int, number: UInt64,
        _ header: GroupLogHeader
    ) {
        bytes.storeLittle(Self.magic, at: 0)
        bytes.storeLittle(GroupLogHeader.version, at: 8)
        bytes.storeLittle(UInt16(0), at: 10)
        bytes.storeLittle(UInt32(truncatingIfNeeded: bytes.count), at: 12)
        bytes.storeLittle(header.ledger, at: 16)
        bytes.storeLittle(header.life, at: 24)
        bytes.storeLittle(header.epoch, at: 32)
        bytes.storeLittle(number, at: 40)
        bytes.storeLittle(UInt32(truncatingIfNeeded: entries), at: 48)
        bytes.storeLittle(UInt64(0), at: 52)
        bytes.storeLittle(checksum(UnsafeRawBufferPointer(bytes)), at: 60)
    }

    private static func checksum(_ batch: UnsafeRawBufferPointer) -> UInt32 {
        let rest = batch.slice(at: headerBytes, length: batch.count &- headerBytes)
        return ledgerChecksum(ledgerChecksum(0, batch.slice(at: 0, length: 60)), rest)
    }

    /// The batch that begins at `offset` of a log, of whatever epoch; `nil` where none is whole.
    /// Throws `damaged` where a whole one says what none does.
    init?(
        _ log: UnsafeRawBufferPointer, at offset: Int, _ header: GroupLogHeader, _ path: String
    ) throws(LedgerFailure) {
        guard offset >= 0, log.count &- offset >= Self.headerBytes else { return nil }
        let room = log.slice(at: offset, length: log.count &- offset)
        let count = Int(room.loadLittle(at: 12, as: UInt32.self))
        guard room.loadLittle(at: 0, as: UInt64.self) == Self.magic,
            count >= Self.headerBytes, count <= room.count
        else { return nil }
        let batch = room.slice(at: 0, length: count)
        guard batch.loadLittle(at: 60, as: UInt32.self) == Self.checksum(batch) else { return nil }
        let version = batch.loadLittle(at: 8, as: UInt16.self)
        guard version == GroupLogHeader.version else { throw .unknownVersion(path, version) }
        guard batch.loadLittle(at: 16, as: UInt64.self) == header.ledger,
            batch.loadLittle(at: 24, as: UInt64.self) == header.life
        else { return nil }
        epoch = batch.loadLittle(at: 32, as: UInt64.self)
        number = batch.loadLittle(at: 40, as: UInt64.self)
        self.offset = offset
        bytes = count
        guard addEntries(of: batch) else {
            throw LedgerFailure(.damaged, path, offset: offset, "a batch that contradicts itself")
        }
    }

    private mutating func addEntries(of batch: UnsafeRawBufferPointer) -> Bool {
        let unit = JournalFormat.slotBytes &- 1
        var at = Self.headerBytes
        while at < batch.count {
            guard batch.count &- at >= Self.entryBytes else { return false }
            let place = Int(batch.loadLittle(at: at &+ 8, as: UInt32.self))
            let count = Int(batch.loadLittle(at: at &+ 12, as: UInt32.self))
            let segment = batch.loadLittle(at: at, as: UInt64.self)
            at &+= Self.entryBytes
            guard count > 0, count <= batch.count &- at, (count | place) & unit == 0,
                place >= SegmentHeader.bytes
            else { return false }
            entries.append(
                Entry(segment: segment, offset: place, logOffset: offset &+ at, bytes: count))
            at &+= count
        }
        return entries.count == Int(batch.loadLittle(at: 48, as: UInt32.self))
    }

    /// Whether what stands there was begun as the batch of that number, and is not whole.
    static func isTorn(
        _ log: UnsafeRawBufferPointer, at offset: Int, number: UInt64, _ header: GroupLogHeader
    ) -> Bool {
        guard offset >= 0, log.count &- offset >= headerBytes else { return false }
        let head = log.slice(at: offset, length: headerBytes)
        return head.loadLittle(at: 0, as: UInt64.self) == magic
            && head.loadLittle(at: 32, as: UInt64.self) == header.epoch
            && head.loadLittle(at: 40, as: UInt64.self) == number
    }
}
