import TollgateCore
import TollgateWire

/// Where group commits go (`durability: always`): a file that was preallocated, written from front
/// to back. A round copies into one batch what each shard journaled since the last, writes it and
/// syncs this file alone, where syncing the segments would write a page of theirs for each shard.
/// What it says is needed until the segments are synced, which begins it anew as another epoch.
///
/// | state | | ways out |
/// |---|---|---|
/// | begun | an epoch, its batches numbered from 1 | the segments are synced: `beginAnew` |
/// | failed | a write or sync threw | none: whoever holds it lets go of it |
///
/// Why a reader is never misled: the head of an epoch is synced before its first batch is written,
/// and before that every batch of older epochs stands in the segments, synced; so what is left of
/// those may be torn or rewritten, and nobody asks. A batch is written once the one before it is
/// synced: if one is whole, all before it in its epoch were.
///
/// Guarded by the ledger's `syncing`. Invariant: `firstBatch <= at <= file.bytes`.
final class GroupLog: @unchecked Sendable {
    // Sendable: everything that changes is guarded by the ledger's `syncing`.

    /// A round with more goes to the segments.
    static let batchBytesMost = 256 * 1_024

    private let file: any DiskFile
    private var header: GroupLogHeader
    private let block: Block
    private var used = GroupBatch.headerBytes
    private var entries = 0
    /// Where the next batch begins, and its number.
    private var at = GroupLogHeader.firstBatch
    private var number: UInt64 = 1

    /// Makes the file, with a head and no batch, synced; not yet named as a ledger's is.
    init(
        _ part: String, bytes: Int, ledger: UInt64, life: UInt64, _ disk: any Disk
    ) throws(DiskError) {
        block = Block(min(Self.batchBytesMost, bytes &- GroupLogHeader.firstBatch))
        header = GroupLogHeader(
            ledger: ledger, life: life, epoch: 1, fileBytes: UInt64(truncatingIfNeeded: bytes))
        file = try disk.create(part, bytes: bytes)
        do throws(DiskError) { try writeHeader() } catch {
            discard([part], disk)
            throw error
        }
    }

    private func writeHeader() throws(DiskError) {
        let head = Block(GroupLogHeader.bytes)
        defer { head.keep() }
        header.write(to: head.bytes)
        try file.write(head.read, at: header.offset)
        try file.sync()
    }

    // MARK: one batch

    /// Begins a batch; what was added to one that was not written is forgotten.
    func begin() {
        used = GroupBatch.headerBytes
        entries = 0
    }

    /// Adds bytes of a segment that never change; false where there is no room for them.
    func add(segment: UInt64, offset: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
        let room = min(block.bytes.count, file.bytes &- at) &- used
        guard room >= GroupBatch.entryBytes, bytes.count <= room &- GroupBatch.entryBytes else {
            return false
        }
        block.bytes.storeLittle(segment, at: used)
        block.bytes.storeLittle(UInt32(truncatingIfNeeded: offset), at: used &+ 8)
        block.bytes.storeLittle(UInt32(truncatingIfNeeded: bytes.count), at: used &+ 12)
        block.bytes.copy(bytes, to: used &+ GroupBatch.entryBytes)
        used &+= GroupBatch.entryBytes &+ bytes.count
        entries &+= 1
        return true
    }

    /// Makes the batch durable. Once it has thrown, nothing more is to be asked of this log.
    func commit() throws(DiskError) {
        guard entries > 0 else { return }
        let batch = UnsafeMutableRawBufferPointer(rebasing: block.bytes.prefix(used))
        GroupBatch.seal(batch, entries: entries, number: number, header)
        try file.write(UnsafeRawBufferPointer(batch), at: at)
        try file.sync()
        at &+= GroupBatch.rounded(used)
        number &+= 1
        begin()
    }

    /// Everything that it says stands in the segments, synced: another epoch begins.
    func beginAnew() throws(DiskError) {
        guard number > 1 else { return }
        header.epoch &+= 1
        try writeHeader()
        at = GroupLogHeader.firstBatch
        number = 1
    }
}
