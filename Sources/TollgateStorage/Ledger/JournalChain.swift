import TollgateCore

/// What was cut off a journal, because it is no part of what was written whole: kept in quarantine.
package struct LedgerCut: Sendable, Equatable {
    package var path: String
    /// `nil`: of no region that can be told.
    package var shard: Int?
    package var offset: Int
    package var bytes: Int
    /// Of the first slot that was cut.
    package var sequence: UInt64?
    /// It was synced once: what it held was acknowledged. Only a repair cuts such.
    package var isLoss: Bool
}

/// What of one shard's journal is to be replayed.
struct ShardChain: Sendable {
    struct Piece: Sendable {
        var segment: SegmentScan
        var offset: Int
        var bytes: Int
        /// Transactions that begin at or behind `from` and end before or at `to`.
        var from: UInt64
        var to: UInt64
    }

    var pieces: [Piece] = []
    /// The sequence number that comes next.
    var next: UInt64
    var cuts: [LedgerCut] = []
    /// Slots below this sequence number were synced once.
    var required: UInt64 = 0
    /// Where it ends too early, and why: what was synced once is not all there.
    var fault: LedgerFailure?
}

/// Finds, for one shard, the way from a snapshot through the regions of all files and lives to the
/// end of the journal, checking every slot.
///
/// Of the region with the sequence number at hand, all whole transactions count, then it goes on
/// in the region that begins where these end. A later life began where recovery had ended the one
/// before: what stood behind that there was cut then. So a life's chain ends where the next begins,
/// or before, where of the next life's regions the power left only later ones; unless something
/// says that what is missing was synced.
struct JournalChain {
    private typealias Region = (segment: SegmentScan, offset: Int, header: JournalRegionHeader)

    private let shard: Int
    private let directory: String
    private var chain: ShardChain
    /// Slots below were synced once.
    private var required: UInt64
    /// Where the last region's whole transactions end, when something else follows there.
    private var torn: (region: Region, wholeEnd: Int)?

    /// `start` and `end`: where the snapshot, of that life, found the shard.
    static func find(
        shard: Int, start: UInt64, end: UInt64, life: UInt64, in segments: [SegmentScan],
        directory: String
    ) throws(LedgerFailure) -> ShardChain {
        var finder = JournalChain(shard: shard, start: start, end: end, directory: directory)
        var regions: [Region] = []
        for segment in segments where segment.header.life >= life {
            for region in segment.regions where Int(region.header.shard) == shard {
                regions.append((segment, region.offset, region.header))
            }
        }
        regions.sort {
            ($0.header.life, $0.header.firstSequence) < ($1.header.life, $1.header.firstSequence)
        }
        for lifeAtHand in Set(segments.map(\.header.life)).sorted() where lifeAtHand >= life {
            // Where the next life that wrote anything here began.
            let later = regions.filter { $0.header.life > lifeAtHand }
            let limit = later.map(\.header.firstSequence).min() ?? .max
            let own = regions.filter { $0.header.life == lifeAtHand }
            for segment in segments where segment.header.life == lifeAtHand {
                finder.required = max(
                    finder.required, min(segment.table.through[shard], limit))
            }
            try finder.follow(own, limit: limit)
            if finder.chain.fault != nil { break }
        }
        return finder.ended()
    }

    private init(shard: Int, start: UInt64, end: UInt64, directory: String) {
        self.shard = shard
        self.directory = directory
        chain = ShardChain(next: start)
        required = end
    }

    /// Follows one life's regions up to `limit`.
    private mutating func follow(
        _ regions: [Region], limit: UInt64
    ) throws(LedgerFailure) {
        torn = nil
        // The one that holds the sequence number at hand is the last that begins at or before it.
        var index = (regions.lastIndex { $0.header.firstSequence <= chain.next }) ?? 0
        while index < regions.count, chain.next < limit {
            let region = regions[index]
            guard region.header.firstSequence <= chain.next else { break }
            let bytes = Int(region.header.bytes)
            let block = try region.segment.read(region.offset, bytes)
            defer { block.keep() }
            let end = try check(block.read, region, limit)
            let to = min(end.nextSequence, limit)
            guard end.nextSequence >= chain.next else { break }
            if to > chain.next {
                chain.pieces.append(
                    ShardChain.Piece(
                        segment: region.segment, offset: region.offset, bytes: bytes,
                        from: chain.next, to: to))
                chain.next = to
            }
            if to == limit { break }
            index &+= 1
        }
        if limit == .max || chain.next < limit {
            noteMarks(regions[min(index, regions.count)...], limit: limit)
        }
        // Else the life that comes next began here, and its first region never reached the disk:
        // what it had read was synced before, and that is known here, or written anew with its own.
        if chain.next < min(required, limit), limit != .max {
            fail(
                torn.map { ($0.region.segment.path, $0.region.offset &+ $0.wholeEnd) },
                before: limit)
        }
    }

    /// Reads a region to its end; what stands there is noted when it is not nothing.
    private mutating func check(
        _ bytes: UnsafeRawBufferPointer, _ region: Region, _ limit: UInt64
    ) throws(LedgerFailure) -> JournalStop {
        let place = region.segment.path
        do {
            var reader = try JournalReader(bytes)
            while reader.next() != nil {}
            guard let stop = reader.stop else {
                throw LedgerFailure(.damaged, place, offset: region.offset, "does not end")
            }
            torn = reader.isZero(behind: stop) ? nil : (region, stop.wholeEnd)
            if let marked = reader.syncedThrough(behind: stop) {
                required = max(required, min(marked &+ 1, limit))
            }
            return stop
        } catch let error as JournalHeaderFault {
            throw LedgerFailure(
                .damaged, place, offset: region.offset, "no region: \(error)")
        } catch let error as LedgerFailure {
            throw error
        } catch {
            throw LedgerFailure(.damaged, place, offset: region.offset, "cannot be read")
        }
    }

    /// Regions that the chain does not reach: their marks may tell that it should have.
    private mutating func noteMarks(_ regions: ArraySlice<Region>, limit: UInt64) {
        for region in regions where region.header.firstSequence > chain.next {
            do {
                let block = try region.segment.read(region.offset, Int(region.header.bytes))
                defer { block.keep() }
                let marked = JournalReader.syncedThrough(
                    in: block.read, from: 0, firstSequence: region.header.firstSequence)
                if let marked { required = max(required, min(marked &+ 1, limit)) }
            } catch {
                chain.fault = error
            }
            chain.cuts.append(cut(region, from: 0, sequence: region.header.firstSequence))
        }
    }

    private mutating func fail(_ place: (path: String, offset: Int)?, before: UInt64) {
        guard chain.fault == nil else { return }
        chain.fault = LedgerFailure(
            .damaged, place?.path ?? directory, offset: place?.offset,
            "the journal of shard \(shard) lacks numbers \(chain.next) to \(before &- 1), which"
                + " were on the disk once")
    }

    private func cut(_ region: Region, from offset: Int, sequence: UInt64) -> LedgerCut {
        LedgerCut(
            path: region.segment.path, shard: shard, offset: region.offset &+ offset,
            bytes: Int(region.header.bytes) &- offset, sequence: sequence, isLoss: false)
    }

    private consuming func ended() -> ShardChain {
        if let torn {
            chain.cuts.insert(
                cut(torn.region, from: torn.wholeEnd, sequence: chain.next), at: 0)
        }
        if chain.next < required {
            fail(
                torn.map { ($0.region.segment.path, $0.region.offset &+ $0.wholeEnd) },
                before: required)
        }
        chain.required = required
        if chain.fault != nil {
            for index in chain.cuts.indices { chain.cuts[index].isLoss = true }
        }
        return chain
    }
}
