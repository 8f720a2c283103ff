import TollgateCore
import TollgateWire

/// A segment, open for reading. Its size is that of when it was opened.
final class AuditSegmentFile {
    let number: UInt64
    let path: String
    let header: AuditSegmentHeader
    let headerHash: AuditHash
    private let file: any DiskFile
    /// Of one that is compressed: all below is of what it was.
    private let pack: AuditPack?
    /// How much of it is meant, and how much there is.
    private(set) var bytes: Int
    let bytesThere: Int
    /// So much was durable, as far as is known: a block that is not whole there is damaged.
    private(set) var durable = 0

    convenience init(
        _ disk: any Disk, _ directory: String, _ number: UInt64
    ) throws(AuditFailure) {
        try self.init(disk, directory + "/" + AuditFiles.segment(number), of: number)
    }

    init(_ disk: any Disk, _ path: String, of number: UInt64) throws(AuditFailure) {
        self.number = number
        self.path = path
        let file = try onAuditDisk { () throws(DiskError) in
            try disk.open(path, writable: false)
        }
        self.file = file
        let block = Block(AuditSegmentHeader.bytes)
        defer { block.keep() }
        block.used = try onAuditDisk { () throws(DiskError) in
            try file.read(into: block.bytes, at: 0)
        }
        pack = AuditPack.isOne(block.read) ? try AuditPack(file) : nil
        bytesThere = pack?.bytes ?? file.bytes
        bytes = bytesThere
        if let pack { block.used = try pack.read(into: block.bytes, at: 0) }
        header = try AuditSegmentHeader(block.read, path)
        headerHash = AuditHash(block.read, at: 96)
        guard header.number == number else {
            throw AuditFailure(.damaged, path, offset: 16, "it is segment \(header.number)")
        }
    }

    /// The segment behind it says that no more of it is meant.
    func limit(to bytes: UInt64) {
        self.bytes = min(self.bytes, Int(truncatingIfNeeded: min(bytes, UInt64(Int.max))))
        durable = self.bytes
    }

    /// `audit.head` says that so much of it was durable.
    func noteDurable(_ bytes: Int) { durable = max(durable, min(bytes, self.bytes)) }

    func damaged(_ offset: Int) -> AuditFailure {
        AuditFailure(
            .damaged, path, offset: offset,
            "not the block that was written there"
                + (isPacked ? ", counted in what was compressed" : "")
                + "; run: tollgate audit verify")
    }

    /// Where its chain begins.
    var start: AuditEnd {
        var end = AuditEnd()
        end.segment = number
        end.offset = AuditSegmentHeader.bytes
        end.block = header.firstBlock
        end.head = headerHash
        return end
    }

    /// The block at an offset, whole and with its own hash right; `nil` when there is none.
    func block(at offset: Int) throws(AuditFailure) -> AuditReadBlock? {
        guard offset >= AuditSegmentHeader.bytes,
            bytes &- offset >= AuditBlockHead.bytes &+ AuditHash.bytes
        else { return nil }
        let start = try read(offset, AuditBlockHead.bytes)
        defer { start.keep() }
        guard let head = AuditBlockHead(start.read), bytes &- offset >= head.blockBytes
        else { return nil }
        let memory = try read(offset, head.blockBytes)
        defer { memory.keep() }
        guard memory.used == head.blockBytes else { return nil }
        return AuditReadBlock(memory, offset: offset)
    }

    /// What stands at an offset like the beginning of a block, whole or not; `nil`: nothing does.
    func head(at offset: Int) throws(AuditFailure) -> AuditBlockHead? {
        guard offset >= AuditSegmentHeader.bytes, bytes &- offset >= AuditBlockHead.bytes else {
            return nil
        }
        let start = try read(offset, AuditBlockHead.bytes)
        defer { start.keep() }
        return start.used == AuditBlockHead.bytes ? AuditBlockHead(start.read) : nil
    }

    private func read(_ offset: Int, _ count: Int) throws(AuditFailure) -> Block {
        let block = Block(unfilled: count)
        block.used = try read(
            into: UnsafeMutableRawBufferPointer(rebasing: block.bytes[..<count]), at: offset)
        return block
    }

    /// Fewer bytes at its end alone.
    func read(
        into bytes: UnsafeMutableRawBufferPointer, at offset: Int
    ) throws(AuditFailure) -> Int {
        if let pack { return try pack.read(into: bytes, at: offset) }
        return try onAuditDisk { () throws(DiskError) in try file.read(into: bytes, at: offset) }
    }

    var isPacked: Bool { pack != nil }
    /// What it takes on the disk.
    var storedBytes: Int { file.bytes }

    /// The seal that ends it, if one does.
    func seal() throws(AuditFailure) -> AuditReadBlock? {
        guard let offset = try sealOffset(), let block = try block(at: offset),
            block.head.kind == .seal, offset &+ block.head.blockBytes == bytes
        else { return nil }
        return block
    }

    /// Where the last bytes say that it begins.
    private func sealOffset() throws(AuditFailure) -> Int? {
        let tail = AuditSeal.tailBytes &+ AuditHash.bytes
        guard bytes >= AuditSegmentHeader.bytes &+ AuditBlockHead.bytes &+ tail else { return nil }
        let end = try read(bytes &- tail, 4)
        defer { end.keep() }
        guard end.used == 4 else { return nil }
        let payload = Int(truncatingIfNeeded: end.read.loadLittle(at: 0, as: UInt32.self))
        return bytes &- payload &- AuditBlockHead.bytes &- AuditHash.bytes
    }

    /// The same of version 2, of which no more is read than is asked for.
    func sealPieces() throws(AuditFailure) -> AuditPieces? {
        guard let offset = try sealOffset(), offset >= AuditSegmentHeader.bytes else { return nil }
        let start = try read(offset, AuditBlockHead.bytes)
        defer { start.keep() }
        guard let head = AuditBlockHead(start.read), head.kind == .seal,
            offset &+ head.blockBytes == bytes
        else { return nil }
        return try AuditPieces(self, head.indexed(at: offset))
    }

    /// The tables of a block of records that is in memory; `nil` when it is none.
    func page(_ block: AuditReadBlock) throws(AuditFailure) -> AuditPage? {
        guard header.version > 1 else { return AuditPage(first: block) }
        guard let pieces = AuditPieces(block) else { return nil }
        return try AuditPage(pieces)
    }

    /// The tables of the block of records that an index says stands there, of which no more is
    /// read, of version 2, than is asked for, those of one organization if need be; `nil` when it
    /// does not.
    func page(
        _ indexed: AuditIndexBlock, organization: Int? = nil
    ) throws(AuditFailure) -> AuditPage? {
        if header.version > 1 {
            guard let pieces = try AuditPieces(self, indexed) else { return nil }
            return try AuditPage(pieces, organization: organization)
        }
        guard let block = try block(at: indexed.offset), block.head.kind == .records else {
            return nil
        }
        return AuditPage(first: block)
    }

    /// Copies bytes of it to the end of another file.
    func copy(_ range: Range<Int>, to other: any DiskFile) throws(AuditFailure) {
        var at = range.lowerBound
        while at < range.upperBound {
            let piece = try read(at, min(1 << 20, range.upperBound &- at))
            defer { piece.keep() }
            guard piece.used > 0 else { return }
            let into = at &- range.lowerBound
            try onAuditDisk { () throws(DiskError) in try other.write(piece.read, at: into) }
            at &+= piece.used
        }
    }
}

/// A block that was read, whole; its memory.
final class AuditReadBlock {
    let head: AuditBlockHead
    let offset: Int
    let hash: AuditHash
    let memory: Block

    /// `nil` when it is none, or not as it was written.
    init?(_ memory: Block, offset: Int) {
        let bytes = memory.read
        guard let head = AuditBlockHead(bytes), bytes.count == head.blockBytes else { return nil }
        let covered = AuditBlockHead.bytes &+ head.payloadBytes
        hash = AuditHash(bytes, at: covered)
        guard hash == AuditHash(of: bytes.slice(at: 0, length: covered)) else { return nil }
        self.head = head
        self.offset = offset
        self.memory = memory
    }

    /// Lives as long as the block (`keep`).
    var payload: UnsafeRawBufferPointer {
        memory.read.slice(at: AuditBlockHead.bytes, length: head.payloadBytes)
    }

    func keep() { withExtendedLifetime(self) {} }

    var indexed: AuditIndexBlock { head.indexed(at: offset) }
}

/// Goes through a segment block by block, along its chain.
struct AuditWalk {
    enum Step {
        case block(AuditReadBlock)
        /// The segment ends here.
        case end
        /// What stands here is not the next block, and why.
        case broken(String)
    }

    let file: AuditSegmentFile
    private(set) var end: AuditEnd
    private(set) var isSealed = false

    init(_ file: AuditSegmentFile) {
        self.file = file
        end = file.start
    }

    /// Goes on from a place where an earlier walk had come to.
    init(_ file: AuditSegmentFile, from end: AuditEnd) {
        self.file = file
        self.end = end
    }

    mutating func next() throws(AuditFailure) -> Step {
        guard end.offset < file.bytes else { return .end }
        if isSealed { return .broken("there are bytes behind the seal") }
        guard let block = try file.block(at: end.offset) else {
            return .broken("not a whole block, or its hash is wrong")
        }
        guard block.head.number == end.block else {
            return .broken("block \(block.head.number) stands where \(end.block) belongs")
        }
        guard block.head.previous == end.head else {
            return .broken("it does not follow the block before: its hash is another")
        }
        end.offset &+= block.head.blockBytes
        end.block &+= 1
        end.head = block.hash
        isSealed = block.head.kind == .seal
        return .block(block)
    }
}
