import TollgateCore
import TollgateWire

/// What stands in a file of closed periods behind a block that was read before: found by the
/// block's place and proved by its checksum, without all that stands before it. A page of a large
/// archive costs what the page holds.
struct UsageTail {
    private let path: String
    private let file: any DiskFile
    /// Behind the last block that was read, and its checksum, with which the next begins.
    private var end: Int
    private var checksum: UInt32

    /// `offset`: of the content of a block. `nil` where no block is.
    init?(_ path: String, behind offset: Int, _ disk: any Disk) throws(LedgerFailure) {
        guard offset >= UsageFormat.headerBytes &+ UsageFormat.blockHeaderBytes else { return nil }
        self.path = path
        file = try onDisk { () throws(DiskError) in try disk.open(path, writable: false) }
        end = offset &- UsageFormat.blockHeaderBytes
        checksum = 0
        guard let head = try header() else { return nil }
        checksum = head.checksum
        end = offset &+ head.bytes
    }

    private struct Header {
        var shard: UInt16
        var through: UInt64
        var count: Int
        var bytes: Int
        var checksum: UInt32
    }

    /// The header at `end`; `nil` when there is none that could be one.
    private func header() throws(LedgerFailure) -> Header? {
        let head = Block(UsageFormat.blockHeaderBytes)
        defer { head.keep() }
        let (block, place) = (head.bytes, end)
        head.used = try onDisk { () throws(DiskError) in try file.read(into: block, at: place) }
        guard head.used == UsageFormat.blockHeaderBytes else { return nil }
        let magic = head.read.loadLittle(at: 0, as: UInt32.self)
        guard magic == UsageFormat.blockMagic || magic == UsageFormat.continuedMagic
        else { return nil }
        let bytes = Int(head.read.loadLittle(at: 20, as: UInt32.self))
        guard bytes <= file.bytes &- place &- UsageFormat.blockHeaderBytes else { return nil }
        return Header(
            shard: head.read.loadLittle(at: 4, as: UInt16.self),
            through: head.read.loadLittle(at: 8, as: UInt64.self),
            count: Int(head.read.loadLittle(at: 16, as: UInt32.self)), bytes: bytes,
            checksum: head.read.loadLittle(at: 28, as: UInt32.self))
    }

    /// Whether nothing at all stands behind what was read.
    var isAtEnd: Bool { end >= file.bytes }

    /// The next block and what it holds; `nil` when there is none, or what stands there is none.
    mutating func next() throws(LedgerFailure)
        -> (part: UsageFile.Part, entries: [ArchivedPeriod])?
    {
        guard let head = try header(),
            head.shard == UsageFormat.keptShard || Int(head.shard) < Engine.shardCount
        else { return nil }
        let block = Block(UsageFormat.blockHeaderBytes &+ head.bytes)
        defer { block.keep() }
        let (room, place) = (block.bytes, end)
        block.used = try onDisk { () throws(DiskError) in try file.read(into: room, at: place) }
        guard block.used == room.count, UsageBlock.checksum(block.read, checksum) == head.checksum
        else { return nil }
        let part = UsageFile.Part(
            shard: head.shard, through: head.through, count: head.count,
            offset: end &+ UsageFormat.blockHeaderBytes, bytes: head.bytes)
        let content = block.read.slice(at: UsageFormat.blockHeaderBytes, length: head.bytes)
        let entries = try UsageFile.entries(content, part, path)
        checksum = head.checksum
        end = end &+ block.used
        return (part, entries)
    }
}
