import TollgateWire

/// One item of a transaction that is whole.
package struct JournalItem {
    package var kind: JournalKind
    /// Of its first slot.
    package var sequence: UInt64
    /// Whether its transaction ends with it.
    package var endsTransaction: Bool
    /// 22 bytes, or as many as a longer item says. Valid until the reader's next call.
    package var payload: UnsafeRawBufferPointer
}

/// Where a region's reading ended, and why.
package struct JournalStop: Equatable, Sendable {
    package enum Why: Equatable, Sendable {
        /// A zero slot: nothing further was written, or it has not come to the disk.
        case end
        /// The region's last slot was read.
        case full
        /// There are fewer bytes than the region has.
        case truncated
        /// The slot, or the one before, is not what was written.
        case badChecksum
        /// The slot is whole, but stands in the wrong place.
        case badSequence
        /// The slot is whole and in its place, but its version has no such slot there.
        case malformed
    }

    package var why: Why
    /// Of the slot that was not read, from the region's beginning.
    package var offset: Int
    /// Behind the last whole transaction: from here on nothing counts. Less than `offset` when a
    /// transaction is there in part.
    package var wholeEnd: Int
    /// Of the slot at `wholeEnd`.
    package var nextSequence: UInt64
}

/// Reads a region: the items of its whole transactions, in order, up to the first slot that is
/// not what the journal writes there. No bytes make it trap. Allocates once.
package struct JournalReader: ~Copyable {
    package let header: JournalRegionHeader
    private let bytes: UnsafeRawBufferPointer
    /// Items of several slots are put together here.
    private let pieces: UnsafeMutableRawBufferPointer
    private var position = JournalFormat.headerBytes
    /// Behind the last whole transaction that was found; items up to here are checked.
    private var wholeEnd = JournalFormat.headerBytes
    private var chain: UInt32
    /// Set at the end.
    package private(set) var stop: JournalStop?

    /// `region` begins with the region's header and outlives the reader; what lies behind the
    /// region's end is not looked at.
    package init(_ region: UnsafeRawBufferPointer) throws(JournalHeaderFault) {
        header = try JournalRegionHeader(region)
        bytes = UnsafeRawBufferPointer(rebasing: region.prefix(Int(header.bytes)))
        chain = region.loadLittle(at: JournalFormat.headerBytes &- 4, as: UInt32.self)
        pieces = .allocate(byteCount: JournalFormat.itemBytesMax, alignment: 8)
    }

    deinit { pieces.deallocate() }

    /// The next item, or `nil`, and `stop` says why. Of a transaction that is not wholly there,
    /// nothing comes.
    package mutating func next() -> JournalItem? {
        if position == wholeEnd, stop != nil || !findTransaction() { return nil }
        let first = JournalSlot(bytes, at: position)
        guard let kind = JournalKind(rawValue: first.kind) else { return nil }
        let sequence = sequence(at: position)
        position &+= JournalFormat.slotBytes
        guard kind.isLong else {
            return JournalItem(
                kind: kind, sequence: sequence, endsTransaction: first.isLast,
                payload: first.payload)
        }
        let length = first.itemBytes
        var taken = min(length, JournalFormat.firstPieceBytes)
        let piece = first.payload.slice(at: 2, length: taken)
        if taken == length {
            return JournalItem(
                kind: kind, sequence: sequence, endsTransaction: first.isLast, payload: piece)
        }
        pieces.copy(piece, to: 0)
        var isLast = false
        while taken < length {
            let slot = JournalSlot(bytes, at: position)
            let count = min(length &- taken, JournalFormat.payloadBytes)
            pieces.copy(slot.payload.slice(at: 0, length: count), to: taken)
            taken &+= count
            isLast = slot.isLast
            position &+= JournalFormat.slotBytes
        }
        return JournalItem(
            kind: kind, sequence: sequence, endsTransaction: isLast,
            payload: UnsafeRawBufferPointer(pieces).slice(at: 0, length: length))
    }

    /// Whether all bytes from a stop on are zero, as a region's that was written no further.
    package func isZero(behind stop: JournalStop) -> Bool {
        UnsafeRawBufferPointer(rebasing: bytes.dropFirst(stop.wholeEnd)).isZero
    }

    /// What was known to be synced, by the last mark behind a stop: a slot at or below it was once
    /// on the disk, so its damage is no torn end.
    package func syncedThrough(behind stop: JournalStop) -> UInt64? {
        if isZero(behind: stop) { return nil }
        return Self.syncedThrough(in: bytes, from: stop.offset, firstSequence: header.firstSequence)
    }

    /// The same for a region whose header is damaged, without knowing its sequence numbers.
    package static func syncedThrough(
        in region: UnsafeRawBufferPointer, from offset: Int, firstSequence: UInt64?
    ) -> UInt64? {
        var highest: UInt64?
        var at = max(offset, JournalFormat.headerBytes)
        while region.count &- at >= JournalFormat.slotBytes {
            let slot = JournalSlot(region, at: at)
            if slot.kind == JournalKind.mark.rawValue, slot.flags == JournalFormat.lastFlag,
                isWhole(slot, in: region, at: at)
            {
                let synced = slot.payload.loadLittle(at: 0, as: UInt64.self)
                let own = firstSequence.map { sequence($0, at: at) }
                // A mark speaks of what was written before it.
                let isPlausible = own.map {
                    UInt32(truncatingIfNeeded: $0) == slot.sequence && synced < $0
                }
                if isPlausible ?? true { highest = max(highest ?? 0, synced) }
            }
            at &+= JournalFormat.slotBytes
        }
        return highest
    }

    /// By the checksum that stands in the slot before, or, should that be what is damaged, by the
    /// one that belongs there.
    private static func isWhole(
        _ slot: JournalSlot, in region: UnsafeRawBufferPointer, at offset: Int
    ) -> Bool {
        if offset == JournalFormat.headerBytes {
            return slot.isWhole(after: region.loadLittle(at: offset &- 4, as: UInt32.self))
        }
        let before = JournalSlot(region, at: offset &- JournalFormat.slotBytes)
        if slot.isWhole(after: before.checksum) { return true }
        let seedOffset =
            offset == JournalFormat.headerBytes &+ JournalFormat.slotBytes
            ? JournalFormat.headerBytes &- 4 : offset &- 2 &* JournalFormat.slotBytes
        let seed = region.loadLittle(at: seedOffset, as: UInt32.self)
        return slot.isWhole(after: before.computedChecksum(after: seed))
    }

    @inline(__always)
    private static func sequence(_ first: UInt64, at offset: Int) -> UInt64 {
        let slots = (offset &- JournalFormat.headerBytes) / JournalFormat.slotBytes
        return first &+ UInt64(truncatingIfNeeded: slots)
    }

    private func sequence(at offset: Int) -> UInt64 {
        Self.sequence(header.firstSequence, at: offset)
    }

    /// Checks slots up to the end of the next transaction; false, and `stop` is set, when it is
    /// not whole.
    private mutating func findTransaction() -> Bool {
        var at = wholeEnd
        var chain = chain
        // Of the item at hand: bytes that further slots must bring.
        var missing = 0
        var kind: UInt8 = 0
        while true {
            guard bytes.count &- at >= JournalFormat.slotBytes else {
                let isFull = bytes.count == Int(header.bytes) && at == bytes.count
                return end(isFull ? .full : .truncated, at)
            }
            let slot = JournalSlot(bytes, at: at)
            if slot.isZero { return end(.end, at) }
            guard slot.isWhole(after: chain) else { return end(.badChecksum, at) }
            guard slot.sequence == UInt32(truncatingIfNeeded: sequence(at: at)) else {
                return end(.badSequence, at)
            }
            if slot.isContinued {
                guard missing > 0, slot.kind == kind else { return end(.malformed, at) }
                missing = max(0, missing &- JournalFormat.payloadBytes)
            } else {
                guard missing == 0,
                    let known = JournalKind(slot.kind, version: header.version)
                else {
                    return end(.malformed, at)
                }
                kind = slot.kind
                missing =
                    known.isLong ? max(0, slot.itemBytes &- JournalFormat.firstPieceBytes) : 0
            }
            guard slot.hasKnownFlags, !slot.isLast || missing == 0 else {
                return end(.malformed, at)
            }
            chain = slot.checksum
            at &+= JournalFormat.slotBytes
            if slot.isLast { break }
        }
        wholeEnd = at
        self.chain = chain
        return true
    }

    private mutating func end(_ why: JournalStop.Why, _ offset: Int) -> Bool {
        stop = JournalStop(
            why: why, offset: offset, wholeEnd: wholeEnd, nextSequence: sequence(at: wholeEnd))
        return false
    }
}

/// 32 bytes of a region, as they stand.
private struct JournalSlot {
    private let bytes: UnsafeRawBufferPointer

    /// The slot lies inside (trapped): callers compare with the region's bytes first.
    init(_ region: UnsafeRawBufferPointer, at offset: Int) {
        bytes = region.slice(at: offset, length: JournalFormat.slotBytes)
    }

    var checksum: UInt32 { bytes.loadLittle(at: 0, as: UInt32.self) }
    var sequence: UInt32 { bytes.loadLittle(at: 4, as: UInt32.self) }
    var kind: UInt8 { bytes.loadLittle(at: 8, as: UInt8.self) }
    var flags: UInt8 { bytes.loadLittle(at: 9, as: UInt8.self) }
    var isLast: Bool { flags & JournalFormat.lastFlag != 0 }
    var isContinued: Bool { flags & JournalFormat.continuedFlag != 0 }
    var hasKnownFlags: Bool {
        flags & ~(JournalFormat.lastFlag | JournalFormat.continuedFlag) == 0
    }
    var payload: UnsafeRawBufferPointer {
        bytes.slice(at: JournalFormat.payloadOffset, length: JournalFormat.payloadBytes)
    }
    /// Of an item that may take several slots, in its first.
    var itemBytes: Int {
        Int(bytes.loadLittle(at: JournalFormat.payloadOffset, as: UInt16.self))
    }

    var isZero: Bool {
        var all: UInt64 = 0
        for offset in stride(from: 0, to: JournalFormat.slotBytes, by: 8) {
            all |= bytes.loadLittle(at: offset, as: UInt64.self)
        }
        return all == 0
    }

    func computedChecksum(after seed: UInt32) -> UInt32 {
        guard let base = bytes.baseAddress else { return 0 }
        return JournalFormat.checksum(seed, ofSlot: base)
    }

    func isWhole(after seed: UInt32) -> Bool { computedChecksum(after: seed) == checksum }
}
