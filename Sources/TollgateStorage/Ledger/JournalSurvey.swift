import TollgateCore

/// Every region of all segments, each read to its end: for who wants to know of all damage, where
/// recovery stops at the first. It tells damage from torn ends as recovery does (`JournalChain`):
/// by what is known to have been synced, and by where the next life began.
struct JournalSurvey {
    struct Region: Sendable {
        var segment: SegmentScan
        var offset: Int
        var header: JournalRegionHeader
        /// The sequence number behind its last whole transaction, and where in the file that ends.
        var next: UInt64
        var wholeEnd: Int
        /// Nothing but zeros stands there.
        var isClean: Bool
        /// The highest of its marks: all below was synced once.
        var marked: UInt64
    }

    /// Slots that were on the disk once and are in no region.
    private struct Gap {
        var shard: Int
        var life: UInt64
        var from: UInt64
        var to: UInt64
        /// Where the region before them ends.
        var place: (path: String, offset: Int)

        var words: String { "slots \(from) to \(to &- 1) of shard \(shard)" }
    }

    let segments: [SegmentScan]
    private(set) var failures: [LedgerFailure] = []
    private(set) var notes: [LedgerNote] = []
    /// By number of the segment: how many slots of whole transactions it holds.
    private(set) var slots: [UInt64: UInt64] = [:]
    private let lives: [UInt64]
    private var gaps: [Gap] = []

    /// `floors`: by shard, the first slot that some whole generation needs; `nil` without any.
    init(_ segments: [SegmentScan], floors: [UInt64]?, threads: Int) throws(LedgerFailure) {
        self.segments = segments
        lives = Set(segments.map(\.header.life)).sorted()
        let looks = try inParallel(segments.count, threads: threads) {
            (index) throws(LedgerFailure) in
            Self.look(at: segments[index])
        }
        failures = looks.compactMap(\.failure)
        let regions = looks.flatMap(\.regions)
        for region in regions {
            let own = region.next &- region.header.firstSequence
            slots[region.segment.header.number, default: 0] &+= own
        }
        for shard in 0..<Engine.shardCount {
            let own = regions.filter { Int($0.header.shard) == shard }.sorted {
                ($0.header.life, $0.header.firstSequence)
                    < ($1.header.life, $1.header.firstSequence)
            }
            walk(shard, own, floor: floors?[shard])
        }
        noteStrays()
    }

    /// As far as the disk gives it.
    private static func look(
        at segment: SegmentScan
    ) -> (regions: [Region], failure: LedgerFailure?) {
        var regions: [Region] = []
        for (offset, header) in segment.regions {
            do throws(LedgerFailure) {
                let block = try segment.read(offset, Int(header.bytes))
                defer { block.keep() }
                regions.append(try look(at: segment, offset, block.read))
            } catch { return (regions, error) }
        }
        return (regions, nil)
    }

    private static func look(
        at segment: SegmentScan, _ offset: Int, _ bytes: UnsafeRawBufferPointer
    ) throws(LedgerFailure) -> Region {
        let changed = LedgerFailure(
            .damaged, segment.path, offset: offset, "the disk gives other bytes than a moment ago")
        do {
            var reader = try JournalReader(bytes)
            while reader.next() != nil {}
            guard let stop = reader.stop else { throw changed }
            let marked = JournalReader.syncedThrough(
                in: bytes, from: 0, firstSequence: reader.header.firstSequence)
            return Region(
                segment: segment, offset: offset, header: reader.header, next: stop.nextSequence,
                wholeEnd: offset &+ stop.wholeEnd, isClean: reader.isZero(behind: stop),
                marked: marked.map { $0 &+ 1 } ?? 0)
        } catch { throw changed }
    }

    // MARK: one shard

    private mutating func walk(_ shard: Int, _ regions: [Region], floor: UInt64?) {
        var at: UInt64?
        for life in lives {
            let own = regions.filter { $0.header.life == life }
            let later = regions.filter { $0.header.life > life }.map(\.header.firstSequence)
            let limit = later.min() ?? .max
            // The next life began where this one ended.
            let synced = limit == .max ? synced(shard, life, own) : limit
            for (index, region) in own.enumerated() {
                let first = region.header.firstSequence
                if let at, at < min(first, synced) {
                    miss(shard, life, at, min(first, synced), own, before: index, floor)
                } else if let at, at < first, limit == .max {
                    cut(region, from: region.offset)
                }
                let following =
                    own.dropFirst(index &+ 1).first?.header.firstSequence ?? .max
                end(of: region, wanted: min(synced, following), limit, floor ?? 0)
                at = min(max(region.next, min(synced, following)), limit)
                if region.isClean, region.next < min(synced, following) { at = region.next }
            }
            if let last = at, last < synced, synced != .max {
                miss(shard, life, last, synced, own, before: own.count, floor)
                at = synced
            }
        }
    }

    /// Slots below were synced.
    private func synced(_ shard: Int, _ life: UInt64, _ regions: [Region]) -> UInt64 {
        var most = regions.map(\.marked).max() ?? 0
        for segment in segments where segment.header.life == life {
            most = max(most, segment.table.through[shard])
        }
        return most
    }

    /// What stands behind a region's last whole transaction, where not nothing does.
    private mutating func end(
        of region: Region, wanted: UInt64, _ limit: UInt64, _ floor: UInt64
    ) {
        guard !region.isClean else { return }
        guard region.next < wanted else {
            if limit == .max, region.next <= limit { cut(region, from: region.wholeEnd) }
            return
        }
        let what =
            "slots \(region.next) to \(wanted &- 1) of shard \(region.header.shard) were on the"
            + " disk once, and are not what was written"
        if wanted > floor {
            failures.append(
                LedgerFailure(
                    .damaged, region.segment.path, offset: region.wholeEnd, what))
        } else {
            notes.append(
                LedgerNote(
                    path: region.segment.path, offset: region.wholeEnd,
                    words: what + "; every snapshot is younger, so nothing needs them"))
        }
    }

    private mutating func cut(_ region: Region, from offset: Int) {
        notes.append(
            LedgerNote(
                path: region.segment.path, offset: offset,
                words: "the end of shard \(region.header.shard) was being written when the daemon"
                    + " ended", isCutByStart: true))
    }

    private mutating func miss(
        _ shard: Int, _ life: UInt64, _ from: UInt64, _ to: UInt64, _ regions: [Region],
        before index: Int, _ floor: UInt64?
    ) {
        guard let floor, to > floor else { return }
        let last = regions.prefix(index).last ?? regions.first
        let place = last.map { ($0.segment.path, $0.wholeEnd) }
        let path = segments.last { $0.header.life == life }?.path ?? ""
        gaps.append(
            Gap(
                shard: shard, life: life, from: max(from, floor), to: to,
                place: place ?? (path, SegmentHeader.bytes)))
    }

    // MARK: bytes of no region

    /// Where slots are missing, bytes that belong to no region are one whose header is damaged.
    private mutating func noteStrays() {
        var explained: Set<UInt64> = []
        for segment in segments {
            for stray in segment.strays {
                let missing = gaps.filter { $0.life == segment.header.life }
                guard !missing.isEmpty else {
                    notes.append(
                        LedgerNote(
                            path: segment.path, offset: stray.offset,
                            words: "\(stray.bytes) bytes that belong to nothing",
                            isCutByStart: segment.header.life == lives.last))
                    continue
                }
                explained.insert(segment.header.life)
                failures.append(
                    LedgerFailure(
                        .damaged, segment.path, offset: stray.offset,
                        "a region that has no header any more; what was on the disk once and is"
                            + " in no other: " + Self.list(missing.map(\.words))))
            }
        }
        for gap in gaps where !explained.contains(gap.life) {
            failures.append(
                LedgerFailure(
                    .damaged, gap.place.path, offset: gap.place.offset,
                    "\(gap.words) were on the disk once, and are in no file"))
        }
    }

    /// The first few.
    private static func list(_ words: [String]) -> String {
        let more = words.count > 4 ? ", and \(words.count &- 4) more" : ""
        return words.prefix(4).joined(separator: ", ") + more
    }
}
