import TollgateCore
import TollgateWire

/// A segment that is read: its header, and every region that was begun in it. Regions are found
/// where they may begin, so that a damaged header of one hides no other.
final class SegmentScan: Sendable {
    /// Bytes that belong to no region and are not zero: a region whose header is damaged, or never
    /// came to the disk.
    struct Stray: Sendable, Equatable {
        var offset: Int
        var bytes: Int
    }

    private static let pieceBytes = 256 * 1024

    let path: String
    let name: String
    let header: SegmentHeader
    let table: SyncedTable
    /// It says that another file was made behind it.
    let hasFollower: Bool
    let regions: [(offset: Int, header: JournalRegionHeader)]
    let strays: [Stray]
    private let file: any DiskFile

    /// `ledger` `nil`: of whichever it says.
    init(
        _ options: LedgerOptions, number: UInt64, ledger: UInt64?, _ disk: any Disk
    ) throws(LedgerFailure) {
        name = LedgerFiles.name(.journal, number)
        let path = options.file(name)
        self.path = path
        let file = try onDisk { () throws(DiskError) in
            try disk.open(path, writable: false)
        }
        self.file = file
        let head = Block(SegmentHeader.bytes)
        defer { head.keep() }
        head.used = try onDisk { () throws(DiskError) in
            try file.read(into: head.bytes, at: 0)
        }
        header = try SegmentHeader(head.read, path)
        guard header.number == number else {
            throw LedgerFailure(.damaged, path, offset: 16, "holds segment \(header.number)")
        }
        guard ledger == nil || header.ledger == ledger else {
            throw LedgerFailure(.damaged, path, offset: 24, "of another ledger")
        }
        guard header.fileBytes == UInt64(truncatingIfNeeded: file.bytes) else {
            throw LedgerFailure(
                .damaged, path, offset: file.bytes,
                "has \(file.bytes) bytes, not \(header.fileBytes)")
        }
        table = SyncedTable(head.read, file: number, ledger: header.ledger)
        hasFollower = SegmentFollower.isNoted(
            behind: number, ledger: header.ledger, in: head.read)
        var finder = RegionFinder(file, header)
        try finder.run()
        regions = finder.regions
        strays = finder.strays
    }

    /// A region's bytes.
    func read(_ offset: Int, _ bytes: Int) throws(LedgerFailure) -> Block {
        let block = Block(bytes)
        defer { block.keep() }
        block.used = try onDisk { () throws(DiskError) in
            try file.read(
                into: UnsafeMutableRawBufferPointer(rebasing: block.bytes.prefix(bytes)),
                at: offset)
        }
        return block
    }
}

/// Walks a segment page by page.
private struct RegionFinder {
    private static let page = SegmentHeader.alignment

    private let file: any DiskFile
    private let segment: SegmentHeader
    private(set) var regions: [(offset: Int, header: JournalRegionHeader)] = []
    private(set) var strays: [SegmentScan.Stray] = []
    private let piece = Block(64 * 1024)
    /// Where in the file the piece begins.
    private var base = 0

    init(_ file: any DiskFile, _ segment: SegmentHeader) {
        self.file = file
        self.segment = segment
        piece.used = 0
    }

    mutating func run() throws(LedgerFailure) {
        var at = SegmentHeader.bytes
        while at < file.bytes {
            let bytes = try page(at)
            if let header = try region(bytes, at) {
                regions.append((at, header))
                let rounded =
                    (Int(header.bytes) &+ Self.page &- 1) / Self.page &* Self.page
                at &+= rounded
            } else {
                if !bytes.isZero { note(at, bytes.count) }
                at &+= Self.page
            }
        }
    }

    private mutating func page(_ at: Int) throws(LedgerFailure) -> UnsafeRawBufferPointer {
        if at < base || at &+ Self.page > base &+ piece.used {
            let (file, piece) = (file, piece)
            piece.used = try onDisk { () throws(DiskError) in
                try file.read(into: piece.bytes, at: at)
            }
            base = at
        }
        let offset = at &- base
        return piece.read.slice(
            at: offset, length: min(Self.page, piece.used &- offset))
    }

    private func region(
        _ bytes: UnsafeRawBufferPointer, _ at: Int
    ) throws(LedgerFailure) -> JournalRegionHeader? {
        let header: JournalRegionHeader
        do {
            header = try JournalRegionHeader(bytes)
        } catch {
            if case .unknownVersion(let version) = error {
                throw .unknownVersion(file.path, version)
            }
            return nil
        }
        guard header.file == segment.number, header.ledger == segment.ledger,
            header.life == segment.life, Int(header.shard) < Engine.shardCount,
            Int(header.bytes) <= file.bytes &- at, header.firstSequence >= 1
        else { return nil }
        return header
    }

    private mutating func note(_ at: Int, _ bytes: Int) {
        if let last = strays.last, last.offset &+ last.bytes == at {
            strays[strays.count &- 1].bytes &+= bytes
        } else {
            strays.append(SegmentScan.Stray(offset: at, bytes: bytes))
        }
    }
}
