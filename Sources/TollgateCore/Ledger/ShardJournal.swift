import COpenSSL
import TollgateWire

/// Zeroed memory that a shard's journal may fill: a stretch of the mapped file `file`. It outlives
/// its use by the journal, which never gives it back.
package struct JournalRegion: Equatable, BitwiseCopyable, @unchecked Sendable {
    // Sendable: it is handed to one shard, whose lock guards what it points to from then on.
    package var base: UnsafeMutableRawPointer
    package var bytes: Int
    package var file: UInt64

    package init(base: UnsafeMutableRawPointer, bytes: Int, file: UInt64) {
        self.base = base
        self.bytes = bytes
        self.file = file
    }
}

/// Where one shard writes what it did: plain values, reached by pointer, guarded by the shard's
/// lock. Allocates nothing.
///
/// A transaction is `makeRoom`, then items, then `commit`. Each slot gets its checksum when the
/// next begins or the transaction ends, after all of its bytes: a process that is killed leaves a
/// beginning of what it wrote, and at most one slot behind it whose checksum is wrong. (Checksums
/// are computed by a C function that the compiler cannot see into, so no store moves across it.)
///
/// Invariant: `next ≤ end`, and `next` is a multiple of a slot from the region's beginning.
package struct ShardJournal: BitwiseCopyable {
    package static let regionBytesLeast = 16 * 1024
    package static let regionBytesMost = 1024 * 1024
    /// What fits into the smallest region, together with a mark. A transaction that does not asks
    /// for a larger region, and fits into the next.
    package static let transactionSlotsMax =
        (regionBytesLeast - JournalFormat.headerBytes) / JournalFormat.slotBytes - 1
    /// A region that went within this time asks for one of twice the size.
    private static let fastNanoseconds: UInt64 = 100_000_000
    /// One that lasted this long asks for one of half the size.
    private static let slowNanoseconds: UInt64 = 60_000_000_000

    /// The region that is written, and the one that comes next.
    package private(set) var current: JournalRegion?
    package private(set) var spare: JournalRegion?
    /// The next slot, and the end of the current region.
    private var next: UnsafeMutableRawPointer?
    private var end: UnsafeMutableRawPointer?
    /// The slot that has no checksum yet; `nil` between transactions.
    private var unsealed: UnsafeMutableRawPointer?
    /// The checksum of the slot, or the header, before the unsealed one.
    private var chain: UInt32 = 0
    /// Of the slot that is written next.
    package private(set) var nextSequence: UInt64 = 1
    /// Everything up to this is known to be synced.
    package private(set) var syncedThrough: UInt64 = 0
    private var markedThrough: UInt64 = 0
    /// From this billing time on a mark comes first, whatever was synced.
    private var markDue = WallTime(milliseconds: 0)
    /// Periods begin at times of day in their zones, and so at a quarter of an hour: with a mark
    /// in each, billing time is never before the beginning of a period that was charged in.
    private static let markMilliseconds: Int64 = 900_000
    private var startedAt = BootTime(nanoseconds: 0)
    /// Bytes that the next region should have.
    package private(set) var regionBytesWanted = ShardJournal.regionBytesLeast
    /// Bytes that it must have, since a transaction took as many.
    package private(set) var bytesNeeded = ShardJournal.regionBytesLeast
    private var shard: UInt16 = 0
    private var ledger: UInt64 = 0
    private var life: UInt64 = 0
    /// The region that was written before `current`; its slots end where those of `current` begin.
    package private(set) var previous: JournalRegion?

    package init() {}

    /// Says what regions' headers say from now on, and where sequence numbers go on. `billing`:
    /// what is known of billing time without this journal.
    package mutating func begin(
        shard: Int, ledger: UInt64, life: UInt64, nextSequence: UInt64,
        billing: WallTime = WallTime(milliseconds: 0)
    ) {
        self.shard = UInt16(truncatingIfNeeded: shard)
        self.ledger = ledger
        self.life = life
        self.nextSequence = nextSequence
        if billing.milliseconds > 0 { setMarkDue(after: billing) }
    }

    private mutating func setMarkDue(after billing: WallTime) {
        let quarter = billing.milliseconds / Self.markMilliseconds &+ 1
        markDue = WallTime(milliseconds: quarter &* Self.markMilliseconds)
    }

    package var wantsRegion: Bool { spare == nil }

    /// Takes a region for later; false, and it stays the caller's, when there is one already or it
    /// is too small for any transaction. Nothing is written to it before it is needed.
    package mutating func supply(_ region: JournalRegion) -> Bool {
        guard spare == nil, region.bytes >= Self.regionBytesLeast,
            region.bytes <= JournalFormat.regionBytesMax
        else { return false }
        spare = region
        return true
    }

    /// Forgets both regions, because their files cannot be trusted any more: what comes next
    /// needs new ones. What was written stays as it is.
    package mutating func dropRegions() {
        precondition(unsealed == nil)
        previous = nil
        current = nil
        spare = nil
        next = nil
        end = nil
    }

    /// Leaves one sequence number out, where nothing is written to: what is numbered after it is
    /// told from what was before.
    package mutating func skip() {
        precondition(unsealed == nil && current == nil)
        nextSequence &+= 1
    }

    /// Notes that everything up to this sequence number is on the disk: the next transaction is
    /// preceded by a mark that says so.
    package mutating func noteSynced(through sequence: UInt64) {
        syncedThrough = max(syncedThrough, sequence)
    }

    /// Begins a transaction of at most so many slots, in the spare region if the current one has
    /// not room for all of them. False, and nothing is written, when there is no room. A mark
    /// comes first where more is synced than the last one says, or its quarter of an hour is over.
    @inline(__always)
    package mutating func makeRoom(slots: Int, boot: BootTime, billing: WallTime) -> Bool {
        if syncedThrough > markedThrough || billing >= markDue {
            guard hasRoom(slots: slots &+ 1, boot) else { return false }
            appendMark(billing)
            return true
        }
        return hasRoom(slots: slots, boot)
    }

    @inline(__always)
    private mutating func hasRoom(slots: Int, _ boot: BootTime) -> Bool {
        if let next, let end, end - next >= slots &* JournalFormat.slotBytes { return true }
        return beginRegion(slots: slots, boot)
    }

    @inline(never)
    private mutating func beginRegion(slots: Int, _ boot: BootTime) -> Bool {
        guard let region = spare else { return false }
        guard slots <= (region.bytes - JournalFormat.headerBytes) / JournalFormat.slotBytes else {
            askForMore(slots)
            return false
        }
        if current != nil {
            let lasted = boot.nanoseconds &- min(startedAt.nanoseconds, boot.nanoseconds)
            if lasted <= Self.fastNanoseconds {
                regionBytesWanted = min(2 * regionBytesWanted, Self.regionBytesMost)
            } else if lasted >= Self.slowNanoseconds {
                regionBytesWanted = max(regionBytesWanted / 2, bytesNeeded)
            }
        }
        let bytes = region.bytes / JournalFormat.slotBytes * JournalFormat.slotBytes
        let header = JournalRegionHeader(
            shard: shard, bytes: UInt32(bytes), firstSequence: nextSequence, ledger: ledger,
            life: life, file: region.file)
        chain = header.write(to: UnsafeMutableRawBufferPointer(start: region.base, count: bytes))
        previous = current
        current = region
        spare = nil
        next = region.base + JournalFormat.headerBytes
        end = region.base + bytes
        startedAt = boot
        return true
    }

    /// The spare region is too small for a transaction: it is given up, empty, for a larger one,
    /// unless that was asked for before, and files are too small for it.
    private mutating func askForMore(_ slots: Int) {
        let bytes = JournalFormat.headerBytes + slots * JournalFormat.slotBytes
        guard bytes > bytesNeeded, bytes <= Self.regionBytesMost else { return }
        while bytesNeeded < bytes { bytesNeeded *= 2 }
        regionBytesWanted = max(regionBytesWanted, bytesNeeded)
        spare = nil
    }

    /// A transaction of its own.
    @inline(never)
    private mutating func appendMark(_ billing: WallTime) {
        guard let slot = openSlot(.mark) else { return }
        slot.storeBytes(of: syncedThrough.littleEndian, toByteOffset: 10, as: UInt64.self)
        slot.storeBytes(of: billing.milliseconds.littleEndian, toByteOffset: 18, as: Int64.self)
        markedThrough = syncedThrough
        setMarkDue(after: billing)
        commit()
    }

    /// Units used of the counter `counter` of the row numbered `row`.
    @inline(__always)
    package mutating func appendQuota(
        counter: UInt16, row: UInt32, used: UInt64, period: PeriodBytes
    ) {
        appendCounter(.quota, counter, row, used, period.word)
    }

    /// Units carried over into that counter's period.
    package mutating func appendCarried(counter: UInt16, row: UInt32, units: UInt64) {
        appendCounter(.carried, counter, row, units, 0)
    }

    @inline(__always)
    private mutating func appendCounter(
        _ kind: JournalKind, _ counter: UInt16, _ row: UInt32, _ units: UInt64, _ last: UInt64
    ) {
        guard let slot = openSlot(kind) else { return }
        slot.storeBytes(of: counter.littleEndian, toByteOffset: 10, as: UInt16.self)
        slot.storeBytes(of: row.littleEndian, toByteOffset: 12, as: UInt32.self)
        slot.storeBytes(of: units.littleEndian, toByteOffset: 16, as: UInt64.self)
        slot.storeBytes(of: last.littleEndian, toByteOffset: 24, as: UInt64.self)
    }

    /// An item that may take several slots, at most `JournalFormat.itemBytesMax` bytes.
    package mutating func append(_ kind: JournalKind, _ bytes: UnsafeRawBufferPointer) {
        precondition(kind.isLong && bytes.count <= JournalFormat.itemBytesMax)
        guard let slot = openSlot(kind) else { return }
        slot.storeBytes(
            of: UInt16(truncatingIfNeeded: bytes.count).littleEndian,
            toByteOffset: JournalFormat.payloadOffset, as: UInt16.self)
        let first = min(bytes.count, JournalFormat.firstPieceBytes)
        if let from = bytes.baseAddress {
            (slot + JournalFormat.payloadOffset + 2).copyMemory(from: from, byteCount: first)
        }
        appendRest(kind, bytes, from: first)
    }

    /// An item that begins with these 16 bytes, each a little-endian number; at least 4 follow.
    @inline(__always)
    package mutating func append(
        _ kind: JournalKind, head: (UInt64, UInt64), _ bytes: UnsafeRawBufferPointer
    ) {
        let count = Self.headBytes &+ bytes.count
        let first = JournalFormat.firstPieceBytes &- Self.headBytes
        precondition(
            kind.isLong && count <= JournalFormat.itemBytesMax && bytes.count >= first)
        guard let slot = openSlot(kind), let from = bytes.baseAddress else { return }
        let place = slot + JournalFormat.payloadOffset
        place.storeBytes(of: UInt16(truncatingIfNeeded: count).littleEndian, as: UInt16.self)
        place.storeBytes(of: head.0.littleEndian, toByteOffset: 2, as: UInt64.self)
        place.storeBytes(of: head.1.littleEndian, toByteOffset: 10, as: UInt64.self)
        place.storeBytes(of: from.loadUnaligned(as: UInt32.self), toByteOffset: 18, as: UInt32.self)
        appendRest(kind, bytes, from: first)
    }

    private static let headBytes = 16

    /// The slots that go on with an item, from its byte `start` on.
    private mutating func appendRest(
        _ kind: JournalKind, _ bytes: UnsafeRawBufferPointer, from start: Int
    ) {
        let left = bytes.count &- start
        guard left > 0, var from = bytes.baseAddress, var slot = unsealed, let end else { return }
        let slots = (left &+ JournalFormat.payloadBytes &- 1) / JournalFormat.payloadBytes
        precondition(
            end - slot >= (slots &+ 1) &* JournalFormat.slotBytes,
            "slots that makeRoom was not asked for")
        from += start
        seal(slot)
        slot += JournalFormat.slotBytes
        let kindAndFlags = UInt16(kind.rawValue) | UInt16(JournalFormat.continuedFlag) &<< 8
        // The last is sealed when it is known whether it is the last of all.
        let sealed = slots &- 1
        chain = JournalFormat.writeSlots(
            sealed, at: slot, from, after: chain, sequence: nextSequence, kindAndFlags)
        slot += sealed &* JournalFormat.slotBytes
        from += sealed &* JournalFormat.payloadBytes
        nextSequence &+= UInt64(truncatingIfNeeded: slots)
        slot.storeBytes(
            of: UInt32(truncatingIfNeeded: nextSequence &- 1).littleEndian, toByteOffset: 4,
            as: UInt32.self)
        slot.storeBytes(of: kindAndFlags.littleEndian, toByteOffset: 8, as: UInt16.self)
        (slot + JournalFormat.payloadOffset).copyMemory(
            from: from, byteCount: left &- sealed &* JournalFormat.payloadBytes)
        next = slot + JournalFormat.slotBytes
        unsealed = slot
    }

    /// Ends the transaction: before this none of it counts, and then all of it. One without any
    /// item leaves nothing.
    @inline(__always)
    package mutating func commit() {
        guard let slot = unsealed else { return }
        let flags = slot.load(fromByteOffset: 9, as: UInt8.self)
        slot.storeBytes(of: flags | JournalFormat.lastFlag, toByteOffset: 9, as: UInt8.self)
        seal(slot)
        unsealed = nil
        // Other shards write before this one does again: its next line is there by then.
        if let next { tg_prefetch(next + JournalFormat.slotBytes) }
    }

    /// Asks for so many slots behind those that `commit` asks for.
    @inline(__always)
    func prefetchNext(slots: Int) {
        guard let next else { return }
        var slot = 3
        while slot <= slots {
            tg_prefetch(next + slot &* JournalFormat.slotBytes)
            slot &+= 2
        }
    }

    /// The next slot, with its number and kind. `makeRoom` said how many there may be, so there is
    /// one: beyond its region nothing is ever written.
    @inline(__always)
    private mutating func openSlot(_ kind: JournalKind) -> UnsafeMutableRawPointer? {
        if let unsealed { seal(unsealed) }
        guard let slot = next, let end, slot < end else {
            preconditionFailure("a slot that makeRoom was not asked for")
        }
        let sequence = UInt32(truncatingIfNeeded: nextSequence)
        slot.storeBytes(of: sequence.littleEndian, toByteOffset: 4, as: UInt32.self)
        slot.storeBytes(of: UInt16(kind.rawValue).littleEndian, toByteOffset: 8, as: UInt16.self)
        nextSequence &+= 1
        next = slot + JournalFormat.slotBytes
        unsealed = slot
        return slot
    }

    @inline(__always)
    private mutating func seal(_ slot: UnsafeMutableRawPointer) {
        chain = JournalFormat.checksum(chain, ofSlot: slot)
        slot.storeBytes(of: chain.littleEndian, as: UInt32.self)
    }
}
