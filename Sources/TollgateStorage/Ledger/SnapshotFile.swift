import TollgateCore
import TollgateWire

/// A generation that is read. Making one checks everything but the rows, which `verify` does, a
/// shard at a time; shards may be read side by side. Nothing of what it reads is trusted.
///
/// Invariant: shards' blocks follow one another from the header to the tables.
final class SnapshotFile: Sendable {
    /// Read at once; no block of rows or closed periods is longer.
    private static let pieceBytes = 512 * 1024
    /// Of the tables.
    private static let tableBytesMax = 256 * 1024 * 1024

    let path: String
    let header: SnapshotHeader
    let totals: SnapshotTotals
    let shards: [SnapshotShard]
    let names: [String]
    let layouts: [UInt8]
    private let file: any DiskFile
    private let seed: UInt32
    private let tableChecksums: [UInt32]

    init(_ path: String, generation: UInt64, _ disk: any Disk) throws(LedgerFailure) {
        self.path = path
        file = try onDisk { () throws(DiskError) in
            try disk.open(path, writable: false)
        }
        let head = try Self.read(file, at: 0, SnapshotHeader.bytes)
        defer { head.keep() }
        header = try SnapshotHeader(head.read, path)
        seed = head.read.loadLittle(at: SnapshotHeader.bytes &- 4, as: UInt32.self)
        guard header.generation == generation else {
            throw LedgerFailure(
                .damaged, path, offset: 16, "holds generation \(header.generation)")
        }
        let lastBytes = SnapshotFormat.blockHeaderBytes &+ SnapshotFormat.totalsBytes
        guard file.bytes >= SnapshotHeader.bytes &+ lastBytes else {
            throw LedgerFailure(.damaged, path, offset: file.bytes, "ends too early")
        }
        let end = file.bytes &- lastBytes
        let last = try Self.read(file, at: end, lastBytes)
        defer { last.keep() }
        var parser = BlockParser(last.read, at: end, path: path, seed: seed, generation)
        let content = try parser.next(.totals)
        guard content.count == SnapshotFormat.totalsBytes else {
            throw LedgerFailure(.damaged, path, offset: end, "has no totals")
        }
        totals = SnapshotTotals(content)
        guard totals.fileBytes == file.bytes, totals.tables >= SnapshotHeader.bytes,
            totals.tables <= end, end &- totals.tables <= Self.tableBytesMax
        else { throw LedgerFailure(.damaged, path, offset: end, "its totals are wrong") }
        let tables = try Self.read(file, at: totals.tables, end &- totals.tables)
        defer { tables.keep() }
        parser = BlockParser(
            tables.read, at: totals.tables, path: path, seed: seed, header.generation)
        guard let names = Self.names(try parser.next(.names)) else {
            throw LedgerFailure(.damaged, path, offset: totals.tables, "names are wrong")
        }
        self.names = names
        layouts = Array(try parser.next(.layouts))
        shards = try Self.shards(try parser.next(.shards), totals, path)
        guard parser.isAtEnd else {
            throw LedgerFailure(.damaged, path, offset: totals.tables, "more than its tables")
        }
        tableChecksums = parser.checksums
    }

    /// The latest billing time that anything in it was charged by. A mark that its journal had
    /// before a shard was copied is replayed no more, so this stands in for it.
    var billing: WallTime { max(header.billing, totals.billing) }

    private static func read(
        _ file: any DiskFile, at offset: Int, _ count: Int
    ) throws(LedgerFailure) -> Block {
        let block = Block(count)
        defer { block.keep() }
        let got = try onDisk { () throws(DiskError) in
            try file.read(
                into: UnsafeMutableRawBufferPointer(rebasing: block.bytes.prefix(count)),
                at: offset)
        }
        guard got == count else {
            throw LedgerFailure(.damaged, file.path, offset: offset &+ got, "ends too early")
        }
        return block
    }

    private static func names(_ content: UnsafeRawBufferPointer) -> [String]? {
        var reader = ByteReader(content, at: 0)
        var names: [String] = []
        while let count = reader.read(UInt16.self) {
            guard let bytes = reader.take(Int(count)),
                let name = String(validating: bytes, as: UTF8.self)
            else { return nil }
            names.append(name)
        }
        return reader.remaining == 0 ? names : nil
    }

    private static func shards(
        _ content: UnsafeRawBufferPointer, _ totals: SnapshotTotals, _ path: String
    ) throws(LedgerFailure) -> [SnapshotShard] {
        guard content.count == SnapshotShard.bytes &* Engine.shardCount else {
            throw LedgerFailure(.damaged, path, offset: totals.tables, "no table of shards")
        }
        var shards: [SnapshotShard] = []
        var end = SnapshotHeader.bytes
        for index in 0..<Engine.shardCount {
            let shard = SnapshotShard(content, at: SnapshotShard.bytes &* index)
            guard shard.from == end, shard.to >= shard.from, shard.start >= 1,
                shard.end >= shard.start
            else {
                throw LedgerFailure(
                    .damaged, path, offset: totals.tables, "the table of shards is wrong")
            }
            end = shard.to
            shards.append(shard)
        }
        guard end == totals.tables else {
            throw LedgerFailure(
                .damaged, path, offset: totals.tables, "shards and tables do not meet")
        }
        return shards
    }

    // MARK: rows

    /// Calls `body` with each block of a shard, whose checksum is right; their checksums.
    /// `passingOver`: what is damaged is left out, for a repair.
    @discardableResult
    func blocks(
        of shard: Int, passingOver: Bool = false,
        _ body: (SnapshotBlock.Kind, UnsafeRawBufferPointer) throws(LedgerFailure) -> Void
    ) throws(LedgerFailure) -> [UInt32] {
        var checksums: [UInt32] = []
        var at = shards[shard].from
        let end = shards[shard].to
        let piece = Block(min(Self.pieceBytes, end &- at))
        defer { piece.keep() }
        while at < end {
            let count = min(Self.pieceBytes, end &- at)
            let into = UnsafeMutableRawBufferPointer(rebasing: piece.bytes.prefix(count))
            piece.used = try onDisk { () throws(DiskError) in
                try file.read(into: into, at: at)
            }
            var parser = BlockParser(
                piece.read, at: at, path: path, seed: seed, header.generation)
            parser.passesOver = passingOver
            while let (block, content) = try parser.nextWhole() {
                guard Int(block.shard) == shard, block.kind == .rows || block.kind == .closed
                else {
                    throw LedgerFailure(
                        .damaged, path, offset: Int(block.offset), "a block of another place")
                }
                try body(block.kind, content)
            }
            if passingOver, parser.taken == 0 { break }
            guard parser.taken > 0 else {
                throw LedgerFailure(.damaged, path, offset: at, "a block that does not end")
            }
            checksums += parser.checksums
            at &+= parser.taken
        }
        return checksums
    }

    /// Whether what the shards' checksums come to is what stands at the end.
    func check(_ checksums: [[UInt32]]) throws(LedgerFailure) {
        var all: UInt32 = 0
        var count = 0
        for checksum in checksums.joined() + tableChecksums {
            all = withUnsafeBytes(of: checksum.littleEndian) { ledgerChecksum(all, $0) }
            count &+= 1
        }
        guard all == totals.checksum, count == totals.blocks else {
            throw LedgerFailure(
                .damaged, path, offset: totals.tables, "some of its blocks are missing")
        }
    }
}

/// Blocks one behind the other in bytes that begin at `base` of their file.
private struct BlockParser {
    private let bytes: UnsafeRawBufferPointer
    private let base: Int
    private let path: String
    private let seed: UInt32
    private let generation: UInt64
    /// Bytes of the blocks that came.
    private(set) var taken = 0
    private(set) var checksums: [UInt32] = []
    /// Damaged blocks are left out; where none begins that can be told, so is the rest.
    var passesOver = false

    init(
        _ bytes: UnsafeRawBufferPointer, at base: Int, path: String, seed: UInt32,
        _ generation: UInt64
    ) {
        self.bytes = bytes
        self.base = base
        self.path = path
        self.seed = seed
        self.generation = generation
    }

    var isAtEnd: Bool { taken == bytes.count }

    /// The next block, if all of it stands in the bytes.
    mutating func nextWhole() throws(LedgerFailure)
        -> (SnapshotBlock, UnsafeRawBufferPointer)?
    {
        while true {
            let left = bytes.slice(at: taken, length: bytes.count &- taken)
            guard left.count >= SnapshotFormat.blockHeaderBytes else { return nil }
            let offset = base &+ taken
            guard
                let block = SnapshotBlock(
                    left, at: UInt64(truncatingIfNeeded: offset), generation: generation)
            else {
                if passesOver { return nil }
                throw LedgerFailure(.damaged, path, offset: offset, "no block begins there")
            }
            let whole = SnapshotFormat.blockHeaderBytes &+ Int(block.bytes)
            guard left.count >= whole else { return nil }
            taken &+= whole
            if let checksum = block.checked(left, seed: seed) {
                checksums.append(checksum)
                let content = left.slice(
                    at: SnapshotFormat.blockHeaderBytes, length: Int(block.bytes))
                return (block, content)
            }
            guard passesOver else {
                throw LedgerFailure(
                    .damaged, path, offset: offset, "the checksum of the block is wrong")
            }
        }
    }

    /// The content of the next block, which must be there and of that kind.
    mutating func next(
        _ kind: SnapshotBlock.Kind
    ) throws(LedgerFailure) -> UnsafeRawBufferPointer {
        let offset = base &+ taken
        guard let (block, content) = try nextWhole(), block.kind == kind else {
            throw LedgerFailure(.damaged, path, offset: offset, "\(kind) should stand there")
        }
        return content
    }
}

extension String {
    /// `nil` when the bytes are no text.
    init?(validating bytes: UnsafeRawBufferPointer, as encoding: UTF8.Type) {
        self.init(validating: bytes.bindMemory(to: UInt8.self), as: encoding)
    }
}
