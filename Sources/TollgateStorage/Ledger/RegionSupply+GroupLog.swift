import TollgateCore
import TollgateWire

/// Rounds that go to the group log.
extension RegionSupply {
    /// Puts what every shard journaled since it was last durable into a batch, and gives where they
    /// stand. `nil`: it does not fit, or a shard went through more than a region meanwhile.
    ///
    /// What is copied is complete and never changes: each position was taken between two of its
    /// shard's transactions. It stays mapped: no file is let go of that holds anything at or behind
    /// where the segments were last synced.
    func gather(into log: GroupLog) -> [UInt64]? {
        let stretches = (0..<Engine.shardCount).map { engine.journalStretch(shard: $0) }
        let (known, segments) = positionsAndSegments
        log.begin()
        for (stretch, from) in zip(stretches, known) where stretch.next > from {
            guard let current = RegionView(stretch.current, segments) else { return nil }
            if from < current.firstSequence {
                guard let previous = RegionView(stretch.previous, segments),
                    previous.firstSequence <= from,
                    previous.add(from, to: current.firstSequence, log)
                else { return nil }
            }
            let first = max(from, current.firstSequence)
            guard current.add(first, to: stretch.next, log) else { return nil }
        }
        return stretches.map(\.next)
    }
}

/// A region as it stands in memory, which has its header.
private struct RegionView {
    let firstSequence: UInt64
    private let bytes: UnsafeRawBufferPointer
    private let segment: UInt64
    private let offset: Int

    init?(_ region: JournalRegion?, _ segments: [UInt64: SegmentFile]) {
        guard let region, let file = segments[region.file], let base = file.memory.baseAddress
        else { return nil }
        bytes = UnsafeRawBufferPointer(start: region.base, count: region.bytes)
        segment = region.file
        offset = UnsafeRawPointer(region.base) - UnsafeRawPointer(base)
        firstSequence = bytes.loadLittle(
            at: JournalRegionHeader.firstSequenceOffset, as: UInt64.self)
    }

    /// Adds the slots from one sequence number to before another; with the first of all slots the
    /// region's header, which stands before it.
    func add(_ from: UInt64, to: UInt64, _ log: GroupLog) -> Bool {
        let place = { (sequence: UInt64) in
            JournalFormat.headerBytes &+ Int(truncatingIfNeeded: sequence &- firstSequence)
                &* JournalFormat.slotBytes
        }
        let start = from == firstSequence ? 0 : place(from)
        let end = place(to)
        guard start < end, end <= bytes.count else { return start == end }
        return log.add(
            segment: segment, offset: offset &+ start,
            bytes.slice(at: start, length: end &- start))
    }
}
