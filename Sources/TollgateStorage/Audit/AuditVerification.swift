import TollgateCore
import TollgateWire

/// What was found when a whole log was checked.
package struct AuditVerification: Sendable, Equatable {
    /// Where something is not as it was written.
    package struct Fault: Sendable, Equatable, CustomStringConvertible {
        /// 0: it is of none, but of the log as a whole.
        package var segment: UInt64
        /// The block that belongs there; `nil`: of the segment as a whole.
        package var block: UInt64?
        package var path: String
        package var offset: Int
        package var words: String
        /// The offset is of what the segment was before it was compressed.
        package var isPacked = false

        package var description: String {
            let place = block.map { "block \($0), " } ?? ""
            let file = segment == 0 ? "" : "segment \(segment), "
            let whose = isPacked ? " of what was compressed" : ""
            return "\(file)\(place)\(path), byte \(offset)\(whose): \(words)"
        }
    }

    package var faults: [Fault] = []
    package var gaps: [AuditGap] = []
    /// Where the log begins: above 1, older ones were removed.
    package var firstSegment: UInt64 = 0
    package var segments = 0
    package var blocks: UInt64 = 0
    package var records: UInt64 = 0
    /// Seals whose signature is the key's; without a key none is checked.
    package var sealsSigned = 0
    package var seals = 0
    /// The log ends with a seal: its daemon has ended in order.
    package var isSealed = false
    /// How far the log must go at least: `audit.head`.
    package var head: AuditHeadFile?
    /// Signatures were looked at.
    package var hasKey = false
    /// Blocks at the log's end that no signature covers: a second's of a daemon that runs, what one
    /// that was killed had not come to, or what somebody has added.
    package var unsigned: UInt64 = 0
    /// The earliest wall clock in them.
    package var unsignedSince: WallTime?

    package var isWhole: Bool { faults.isEmpty }
    /// The last time that a daemon went on from what it could not prove.
    package var doubt: AuditGap? { gaps.last { $0.cause == .lost } }

    package init() {}
}

extension AuditReader {
    private static let looksMax = 5

    /// Checks every byte of the log: hashes, chain, seals, signatures with a key, and that nothing
    /// is missing at its end. Faults are in the result; thrown is what keeps from looking.
    package func verify(key: AuditKey? = nil) throws(AuditFailure) -> AuditVerification {
        var looks = 1
        while true {
            var check = AuditCheck(self, key)
            do throws(AuditFailure) {
                let isSound = try check.open()
                // It may be just being written, or made with the first segment.
                if isSound || looks == Self.looksMax {
                    try check.run()
                    return check.result
                }
            } catch {
                // The daemon may have removed the oldest meanwhile.
                guard error.errno == DiskError.absent, looks < Self.looksMax else { throw error }
                // Not the directory.
                _ = try numbers()
            }
            looks &+= 1
        }
    }
}

/// The work of a verification.
struct AuditCheck {
    private static let looksMax = 5

    private let reader: AuditReader
    private let key: AuditKey?
    var result = AuditVerification()
    private var places: AuditHeadPlaces?
    private var numbers: [UInt64] = []
    /// The head as it was when the last segment was begun with.
    private var later: AuditEnd?
    /// The first segment with blocks that nothing behind them signs.
    private var unsignedSegment: UInt64?
    private var end = AuditEnd()
    private var log: UInt64?
    private var prunedBelow: UInt64 = 1
    private var isHeadFound = false
    /// Of the segment that is walked: its blocks, and how many names they say.
    private var blocks: [AuditIndexBlock] = []
    private var names = AuditNameCounts()
    /// It is compressed, and was opened.
    private var packed: UInt64?

    init(_ reader: AuditReader, _ key: AuditKey?) {
        self.reader = reader
        self.key = key
    }

    /// Looks what there is; false when the head is not as it should be.
    mutating func open() throws(AuditFailure) -> Bool {
        // Before the segments: what it says must be there by then.
        let places = try AuditHeadPlaces(reader.disk, reader.directory, key)
        let names = try onAuditDisk { () throws(DiskError) in
            try reader.disk.list(reader.directory)
        }
        numbers = names.compactMap(AuditFiles.segmentNumber).sorted()
        // It is made before the rings are, and they before the first segment.
        let isWanted =
            !numbers.isEmpty || names.contains { AuditFiles.ringNumber($0) != nil }
        if places.isThere || isWanted { self.places = places }
        return self.places?.words == nil
    }

    mutating func run() throws(AuditFailure) {
        checkPlaces()
        result.hasKey = key != nil
        result.head = places?.newest
        result.firstSegment = numbers.first ?? 0
        isHeadFound =
            result.head?.end.segment == 0 && (numbers.isEmpty || result.firstSegment == 1)
        for (place, number) in numbers.enumerated() {
            let next = place &+ 1 < numbers.count ? numbers[place &+ 1] : nil
            if next == nil { try lookAgain() }
            try check(number, next: next, isFirst: place == 0)
        }
        checkHead()
        checkSigned()
        if result.firstSegment > prunedBelow, result.firstSegment > 1 {
            fault(
                nil, AuditFiles.segment(prunedBelow), 0, segment: prunedBelow,
                "is missing: the log begins with segment \(result.firstSegment), and no note says"
                    + " that older ones were removed")
        }
    }

    private mutating func fault(
        _ block: UInt64?, _ name: String, _ offset: Int, segment: UInt64, _ words: String
    ) {
        result.faults.append(
            AuditVerification.Fault(
                segment: segment, block: block, path: reader.directory + "/" + name,
                offset: offset, words: words, isPacked: segment > 0 && segment == packed))
    }

    private mutating func checkPlaces() {
        guard let places, let words = places.words else { return }
        guard places.newest != nil else { return fault(nil, AuditFiles.head, 0, segment: 0, words) }
        for offset in places.damaged { fault(nil, AuditFiles.head, offset, segment: 0, words) }
    }

    /// A daemon that runs has signed more by now, and all before the last segment.
    private mutating func lookAgain() throws(AuditFailure) {
        guard let head = try AuditHeadPlaces(reader.disk, reader.directory, key).newest else {
            return
        }
        later = head.end
        if head.end == end { cover() }
    }

    /// What stands before is signed.
    private mutating func cover() {
        result.unsigned = 0
        result.unsignedSince = nil
        unsignedSegment = nil
    }

    /// Every segment that another follows is sealed, or its end was signed before that was begun.
    private mutating func checkSigned() {
        guard key != nil, let unsignedSegment, unsignedSegment != numbers.last else { return }
        fault(
            nil, AuditFiles.segment(unsignedSegment), 0, segment: unsignedSegment,
            "no signature covers its end, and another segment follows")
    }

    private mutating func checkHead() {
        guard let head = result.head, !isHeadFound else { return }
        fault(
            head.end.block &- 1, AuditFiles.segment(head.end.segment), head.end.offset,
            segment: head.end.segment,
            "the log was durable up to here, and does not have this block any more: it was cut, or"
                + " changed")
    }

    /// One segment; `end` is where the one before came to.
    private mutating func check(
        _ number: UInt64, next: UInt64?, isFirst: Bool
    ) throws(AuditFailure) {
        let name = AuditFiles.segment(number)
        let file: AuditSegmentFile
        do throws(AuditFailure) {
            file = try AuditSegmentFile(reader.disk, reader.directory, number)
        } catch {
            if error.kind == .disk { throw error }
            fault(nil, name, error.offset ?? 0, segment: number, error.message)
            end = AuditEnd()
            end.segment = number
            return
        }
        result.segments &+= 1
        packed = file.isPacked ? number : nil
        checkStart(file, isFirst: isFirst)
        var missing: UInt64?
        if let next, next == number &+ 1 {
            // How much of it is meant; a header that is damaged is told of by itself.
            do throws(AuditFailure) {
                let following = try AuditSegmentFile(reader.disk, reader.directory, next)
                let meant = following.header.previousBytes
                if meant > UInt64(truncatingIfNeeded: file.bytes) { missing = meant }
                file.limit(to: meant)
            } catch {
                if error.kind == .disk { throw error }
            }
        }
        let before = result.faults.count
        try walk(file, isLast: next == nil)
        if let missing, result.faults.count == before {
            fault(
                end.block, name, file.bytes, segment: number,
                "its end is missing: the segment behind it follows byte \(missing)")
        }
    }

    private mutating func checkStart(_ file: AuditSegmentFile, isFirst: Bool) {
        let name = AuditFiles.segment(file.number)
        let header = file.header
        if let log, header.log != log {
            fault(nil, name, 24, segment: file.number, "it is of another log")
        }
        log = log ?? header.log
        if isFirst {
            if header.number == 1, header.firstBlock != 0 || header.previous != .zero {
                fault(nil, name, 32, segment: file.number, "the first segment follows nothing")
            }
            return
        }
        if file.number != end.segment &+ 1 {
            fault(
                nil, AuditFiles.segment(end.segment &+ 1), 0, segment: end.segment &+ 1,
                "is missing: segment \(file.number) is the next that is there")
        } else if end.block != 0 || end.head != .zero, !header.follows(end) {
            fault(
                header.firstBlock, name, 64, segment: file.number,
                "it does not follow the segment before, which ends at byte \(end.offset) with block"
                    + " \(end.block &- 1)")
        }
    }

    private mutating func walk(_ file: AuditSegmentFile, isLast: Bool) throws(AuditFailure) {
        var walk = AuditWalk(file)
        var looks = 0
        (blocks, names) = ([], AuditNameCounts())
        noteHead(walk.end)
        while true {
            let before = walk.end
            switch try walk.next() {
            case .block(let block):
                try check(block, file, previous: before.head)
                noteHead(walk.end)
            case .end:
                end = walk.end
                result.isSealed = walk.isSealed
                // Void is only what an open segment has behind its durable end.
                if walk.isSealed, file.bytesThere > end.offset {
                    fault(
                        end.block, AuditFiles.segment(file.number), end.offset,
                        segment: file.number, "there are bytes behind the seal")
                }
                return
            case .broken(let words):
                // The daemon may be writing just there.
                if isLast, looks < Self.looksMax {
                    let again = try AuditSegmentFile(reader.disk, reader.directory, file.number)
                    if again.bytes > walk.file.bytes {
                        looks &+= 1
                        walk = AuditWalk(again, from: before)
                        continue
                    }
                }
                fault(
                    before.block, AuditFiles.segment(file.number), before.offset,
                    segment: file.number, isLast ? words + "; the log ends here" : words)
                end = AuditEnd()
                end.segment = file.number
                return
            }
        }
    }

    private mutating func noteHead(_ end: AuditEnd) {
        if end == result.head?.end { isHeadFound = true }
        if end == result.head?.end || end == later { cover() }
    }

    private mutating func check(
        _ block: AuditReadBlock, _ file: AuditSegmentFile, previous: AuditHash
    ) throws(AuditFailure) {
        defer { block.keep() }
        result.blocks &+= 1
        result.unsigned &+= 1
        unsignedSegment = unsignedSegment ?? file.number
        let first = WallTime(milliseconds: block.head.first)
        result.unsignedSince = min(result.unsignedSince ?? first, first)
        var indexed = block.indexed
        var isGood = false
        switch block.head.kind {
        case .records:
            result.records &+= UInt64(block.head.count)
            if let page = try file.page(block) {
                defer { page.keep() }
                isGood = try page.isWhole(behind: names)
                if !page.isFirstVersion { indexed.fresh = page.fresh }
                names = names + indexed.fresh
            }
        case .names: isGood = AuditNames(decoding: block.payload) != nil
        case .gap:
            let gap = AuditGap(block.payload, first: block.head.first, last: block.head.last)
            isGood = gap != nil
            if let gap {
                result.gaps.append(gap)
                if gap.cause == .pruned { prunedBelow = max(prunedBelow, gap.mark) }
            }
        case .seal:
            result.seals &+= 1
            isGood = try AuditSeal(block, version: file.header.version)?.blocks == blocks
            if let key, isGood {
                if AuditSeal.isSigned(block, file.header, previous: previous, key) {
                    result.sealsSigned &+= 1
                    cover()
                } else {
                    fault(
                        block.head.number, AuditFiles.segment(file.number), block.offset,
                        segment: file.number, "its seal is not signed with this key")
                }
            }
        }
        blocks.append(indexed)
        guard !isGood else { return }
        fault(
            block.head.number, AuditFiles.segment(file.number), block.offset,
            segment: file.number, "its hash is right, and it is no block of its kind")
    }
}
