import TollgateWire

/// A note in a segment's first page: that another file was made behind it, so that the last files
/// of a journal cannot be taken away unseen. It is written when that file stands durable in its
/// place, and is durable itself with the next sync of its own: so it may be missing, and is never
/// wrong. The newest file is never removed while its ledger goes on, so the one that is the last
/// has none. Files of before have zeros there.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | number of the file that was made |
/// | 8 | 8 | ledger id |
/// | 16 | 12 | spare, 0 |
/// | 28 | 4 | CRC-32C of bytes 0 to 27, begun with the number of the file it stands in |
enum SegmentFollower {
    private static let bytes = 32
    /// In the segment.
    private static let offset = 3_840

    /// Into a segment's first page.
    static func note(behind file: UInt64, ledger: UInt64, in page: UnsafeMutableRawBufferPointer) {
        let place = UnsafeMutableRawBufferPointer(rebasing: page[offset..<(offset &+ bytes)])
        write(behind: file, ledger, to: place)
    }

    /// Into a file of a life before, if it is still there.
    static func note(
        behind file: UInt64, ledger: UInt64, _ options: LedgerOptions, _ disk: any Disk
    ) throws(DiskError) {
        let name = LedgerFiles.name(.journal, file)
        guard try disk.list(options.path).contains(name) else { return }
        let block = Block(bytes)
        defer { block.keep() }
        write(behind: file, ledger, to: block.bytes)
        let target = try disk.open(options.file(name), writable: true)
        // One that was cut short is damaged, and stays as it is.
        guard target.bytes >= SegmentHeader.bytes else { return }
        try target.write(block.read, at: offset)
    }

    private static func write(
        behind file: UInt64, _ ledger: UInt64, to place: UnsafeMutableRawBufferPointer
    ) {
        place.storeLittle(file &+ 1, at: 0)
        place.storeLittle(ledger, at: 8)
        place.storeLittle(checksum(UnsafeRawBufferPointer(place), file), at: bytes &- 4)
    }

    private static func checksum(_ place: UnsafeRawBufferPointer, _ file: UInt64) -> UInt32 {
        ledgerChecksum(
            UInt32(truncatingIfNeeded: file), place.slice(at: 0, length: bytes &- 4))
    }

    /// Whether the first page of that segment says it.
    static func isNoted(
        behind file: UInt64, ledger: UInt64, in page: UnsafeRawBufferPointer
    ) -> Bool {
        guard page.count >= offset &+ bytes else { return false }
        let place = page.slice(at: offset, length: bytes)
        return place.loadLittle(at: 0, as: UInt64.self) == file &+ 1
            && place.loadLittle(at: 8, as: UInt64.self) == ledger
            && place.loadLittle(at: bytes &- 4, as: UInt32.self) == checksum(place, file)
    }
}

extension [SegmentScan] {
    /// The file behind the last of a journal, of which that says that it was made: one of those
    /// that are needed from `first` on.
    func missingBehindLast(from first: UInt64) -> UInt64? {
        guard let last, last.hasFollower else { return nil }
        return Swift.max(last.header.number &+ 1, first)
    }
}
