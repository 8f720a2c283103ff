import TollgateCore
import TollgateWire

/// What of every shard was known to be synced: written after each round of syncs, and durable with
/// the next. Recovery tells by it what the disk lost from what never came to the disk. Odd rounds
/// and even ones take turns, so that one of them is whole; each stands twice, a sector or more
/// apart, and of one in which a bit is wrong it is found out which: so that no damage of it hides
/// another, of what it tells of. Files of before have each once, and zeros in the other place.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | round, counted from 1 |
/// | 8 | 8 | ledger id |
/// | 16 | 512 | by shard: slots below this sequence number were synced |
/// | 528 | 12 | spare, 0 |
/// | 540 | 4 | CRC-32C of bytes 0 to 539, begun with the file's number |
struct SyncedTable: Equatable {
    static let bytes = 544
    private static let checksumOffset = bytes - 4
    /// In the segment's first page.
    private static let odd = [1_024, 3_072]
    private static let even = [2_048, 128]

    var round: UInt64 = 0
    var through = [UInt64](repeating: 0, count: Engine.shardCount)

    static func write(
        round: UInt64, through: [UInt64], file: UInt64, ledger: UInt64,
        to header: UnsafeMutableRawBufferPointer
    ) {
        for offset in round & 1 == 1 ? odd : even {
            let place = UnsafeMutableRawBufferPointer(
                rebasing: header[offset..<(offset &+ bytes)])
            place.storeLittle(round, at: 0)
            place.storeLittle(ledger, at: 8)
            for (shard, sequence) in through.enumerated() {
                place.storeLittle(sequence, at: 16 &+ 8 &* shard)
            }
            place.storeLittle(
                checksum(UnsafeRawBufferPointer(place), file), at: checksumOffset)
        }
    }

    private static func checksum(_ place: UnsafeRawBufferPointer, _ file: UInt64) -> UInt32 {
        ledgerChecksum(
            UInt32(truncatingIfNeeded: file), place.slice(at: 0, length: checksumOffset))
    }

    /// The latest of those that are whole, or one that knows nothing.
    init(_ header: UnsafeRawBufferPointer, file: UInt64, ledger: UInt64) {
        let block = Block(Self.bytes)
        defer { block.keep() }
        for offset in Self.odd + Self.even {
            guard header.count >= offset &+ Self.bytes else { continue }
            block.bytes.copy(header.slice(at: offset, length: Self.bytes), to: 0)
            guard Self.mend(block.bytes, file) else { continue }
            let place = block.read
            guard place.loadLittle(at: 8, as: UInt64.self) == ledger,
                place.loadLittle(at: 0, as: UInt64.self) > round
            else { continue }
            round = place.loadLittle(at: 0, as: UInt64.self)
            through = (0..<Engine.shardCount).map {
                place.loadLittle(at: 16 &+ 8 &* $0, as: UInt64.self)
            }
        }
    }

    /// Puts the bit right that is wrong, if it is one alone; whether the table is whole then. Any
    /// two tables that are whole differ in six bits at least: the distance of CRC-32C at up to
    /// 5,243 bits (Koopman, 32-Bit Cyclic Redundancy Codes for Internet Applications, 2002), of
    /// which a table has 4,352.
    private static func mend(_ place: UnsafeMutableRawBufferPointer, _ file: UInt64) -> Bool {
        let all = UnsafeRawBufferPointer(place)
        let wrong = checksum(all, file) ^ all.loadLittle(at: checksumOffset, as: UInt32.self)
        if wrong == 0 { return true }
        // Of the checksum itself.
        if wrong.nonzeroBitCount == 1 { return true }
        guard all.contains(where: { $0 != 0 }) else { return false }
        // What a bit changes of a checksum hangs on how far from the end it stands alone, and
        // that of the last bit before the checksum is known by trying.
        for offset in 0..<checksumOffset {
            for bit in 0..<8 as Range<UInt8> {
                place[offset] ^= 1 << bit
                if checksum(all, file) == all.loadLittle(at: checksumOffset, as: UInt32.self) {
                    return true
                }
                place[offset] ^= 1 << bit
            }
        }
        return false
    }
}
