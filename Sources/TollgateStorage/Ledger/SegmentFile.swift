import TollgateCore
import TollgateWire

/// A file of the journal: preallocated, mapped, shared by all shards. One shard's stretches of it
/// are its regions (`JournalFormat`); they begin at multiples of 4096 and follow one another.
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | `TGJOURNL` |
/// | 8 | 2 | version |
/// | 10 | 6 | spare, 0 |
/// | 16 | 8 | number of the file, as in its name |
/// | 24 | 8 | ledger id |
/// | 32 | 8 | life |
/// | 40 | 8 | bytes of the file |
/// | 48 | 8 | of a life that went on behind one before: billing time when it began, ms; else 0 |
/// | 56 | 4 | spare, 0 |
/// | 60 | 4 | CRC-32C of bytes 0 to 59 |
/// | 128 | 544 | what was synced, of even rounds, once more (`SyncedTable`) |
/// | 1024 | 544 | of odd rounds |
/// | 2048 | 544 | of even rounds |
/// | 3072 | 544 | of odd rounds, once more |
/// | 3840 | 32 | that another file was made behind it (`SegmentFollower`) |
/// | 4096 | | regions |
struct SegmentHeader: Sendable, Equatable {
    static let bytes = 4_096
    static let alignment = 4_096
    static let version: UInt16 = 1
    private static let magic: UInt64 = 0x4c4e_5255_4f4a_4754

    var number: UInt64
    var ledger: UInt64
    var life: UInt64
    var fileBytes: UInt64
    var billing: WallTime

    init(
        number: UInt64, ledger: UInt64, life: UInt64, fileBytes: UInt64,
        billing: WallTime = WallTime(milliseconds: 0)
    ) {
        self.number = number
        self.ledger = ledger
        self.life = life
        self.fileBytes = fileBytes
        self.billing = billing
    }

    /// Into zeroed bytes.
    func write(to bytes: UnsafeMutableRawBufferPointer) {
        bytes.storeLittle(Self.magic, at: 0)
        bytes.storeLittle(Self.version, at: 8)
        bytes.storeLittle(number, at: 16)
        bytes.storeLittle(ledger, at: 24)
        bytes.storeLittle(life, at: 32)
        bytes.storeLittle(fileBytes, at: 40)
        bytes.storeLittle(billing.milliseconds, at: 48)
        let covered = UnsafeRawBufferPointer(bytes).slice(at: 0, length: 60)
        bytes.storeLittle(ledgerChecksum(0, covered), at: 60)
    }

    init(_ bytes: UnsafeRawBufferPointer, _ path: String) throws(LedgerFailure) {
        guard bytes.count >= Self.bytes, bytes.loadLittle(at: 0, as: UInt64.self) == Self.magic
        else { throw LedgerFailure(.damaged, path, offset: 0, "not a segment of a journal") }
        guard
            bytes.loadLittle(at: 60, as: UInt32.self)
                == ledgerChecksum(0, bytes.slice(at: 0, length: 60))
        else {
            throw LedgerFailure(.damaged, path, offset: 0, "the checksum of its header is wrong")
        }
        let version = bytes.loadLittle(at: 8, as: UInt16.self)
        guard version == Self.version else { throw .unknownVersion(path, version) }
        number = bytes.loadLittle(at: 16, as: UInt64.self)
        ledger = bytes.loadLittle(at: 24, as: UInt64.self)
        life = bytes.loadLittle(at: 32, as: UInt64.self)
        fileBytes = bytes.loadLittle(at: 40, as: UInt64.self)
        billing = WallTime(milliseconds: bytes.loadLittle(at: 48, as: Int64.self))
    }
}

/// A segment of this life: its mapping, and how much of it was given to shards.
///
/// `used` is guarded by the lock of the `RegionSupply` that owns it; the rest never changes. What
/// lies in the mapping belongs to the shards' journals, but for the table, which is written by one
/// round of syncs at a time. Invariant: `SegmentHeader.bytes <= used <= memory.count`.
final class SegmentFile: @unchecked Sendable {
    // Sendable: `used` is guarded by the supply's lock, the mapping by shards' locks.
    let number: UInt64
    let file: any DiskFile
    let memory: UnsafeMutableRawBufferPointer
    private let ledger: UInt64
    private var used = SegmentHeader.bytes

    /// Makes the file, durable in its place, with nothing but a header.
    init(
        _ options: LedgerOptions, _ disk: any Disk, number: UInt64, ledger: UInt64, life: UInt64,
        billing: WallTime
    ) throws(DiskError) {
        let bytes = options.segmentBytes
        let path = options.file(LedgerFiles.name(.journal, number))
        let part = path + LedgerFiles.partSuffix
        file = try Self.make(part, bytes, disk)
        do throws(DiskError) {
            memory = try file.map()
            SegmentHeader(
                number: number, ledger: ledger, life: life, fileBytes: UInt64(bytes),
                billing: billing
            ).write(to: memory)
            try file.sync()
            try disk.rename(part, to: path)
            try disk.syncDirectory(options.path)
        } catch {
            file.unmap()
            discard([part, path], disk)
            throw error
        }
        self.number = number
        self.ledger = ledger
    }

    private static func make(
        _ part: String, _ bytes: Int, _ disk: any Disk
    ) throws(DiskError) -> any DiskFile {
        do { return try disk.create(part, bytes: bytes) } catch {
            guard error.isPresent else { throw error }
            // Of an attempt that could not be undone.
            try disk.remove(part)
            return try disk.create(part, bytes: bytes)
        }
    }

    /// Zeroed memory for a shard, of about so many bytes; `nil` when there is no room for a region
    /// that is needed. Under the supply's lock.
    func take(bytes wanted: Int, atLeast needed: Int) -> JournalRegion? {
        let room = memory.count &- used
        let bytes = min(wanted, room) / SegmentHeader.alignment &* SegmentHeader.alignment
        guard bytes >= max(needed, ShardJournal.regionBytesLeast),
            let base = memory.baseAddress
        else {
            return nil
        }
        let region = JournalRegion(base: base + used, bytes: bytes, file: number)
        used &+= bytes
        return region
    }

    var bytesUsed: Int { used }

    /// Another file was made behind it. Under the supply's lock, by which it is mapped still.
    func noteFollower() {
        SegmentFollower.note(behind: number, ledger: ledger, in: memory)
    }

    func note(round: UInt64, synced: [UInt64]) {
        SyncedTable.write(
            round: round, through: synced, file: number, ledger: ledger, to: memory)
    }
}

/// Removes what a failed call may have left. It failed already: what removing says does not
/// matter, and the next start removes what is still there.
func discard(_ paths: [String], _ disk: any Disk) {
    for path in paths {
        do { try disk.remove(path) } catch {}
    }
}
