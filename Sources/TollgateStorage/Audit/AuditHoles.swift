import TollgateCore

/// What is not there of a log, as far as the names of its files, their headers and `audit.head`
/// tell: nothing is hashed. All else is for `verify`.
package struct AuditHole: Sendable, Equatable, CustomStringConvertible {
    package enum What: Sendable, Equatable {
        /// Segments, with another behind them.
        case segments
        /// The log's last segments, which `audit.head` says were there.
        case lastSegments
        /// The end of one segment, which has so many bytes and had more.
        case end(bytes: Int, meant: UInt64)
    }

    package var what: What
    /// Segments.
    package var first: UInt64
    package var last: UInt64
    /// When what stands behind it was begun; `nil`: nothing does, or it is not known.
    package var until: WallTime?

    package var description: String {
        let which = first == last ? "segment \(first) is" : "segments \(first) to \(last) are"
        switch what {
        case .segments: return "\(which) missing: \(last &+ 1) is the next that is there"
        case .lastSegments: return "\(which) missing: the log was durable up to there"
        case .end(let bytes, let meant):
            return "segment \(first) ends at byte \(bytes), and had \(meant): its end is missing"
        }
    }
}

/// Left out of an answer, since it is damaged and that was wanted (`AuditQuery.skipsDamaged`).
package struct AuditLeftOut: Sendable, Equatable, CustomStringConvertible {
    package var segment: UInt64
    /// `nil`: all of the segment, or its index, without which it is read from its beginning.
    package var block: UInt64?
    package var path: String
    package var offset: Int?
    /// The offset is of what the segment was before it was compressed.
    package var isPacked = false
    /// What stands behind it in the segment cannot be told apart, and is left out with it.
    package var isToEnd = false

    package var description: String {
        var text = "segment \(segment), "
        if let block { text += "block \(block), " }
        text += path
        if let offset { text += ", byte \(offset)" + (isPacked ? " of what was compressed" : "") }
        return text + (isToEnd ? ", and all behind it in the segment" : "")
    }
}

/// A segment, wherever a copy of it lies.
package struct AuditSegmentID: Sendable, Hashable {
    package var log: UInt64
    package var number: UInt64
}

extension AuditReader {
    /// Something of a log is there: not any directory is one that has no decisions.
    package func isLog() throws(AuditFailure) -> Bool {
        try onAuditDisk { () throws(DiskError) in try disk.list(directory) }.contains {
            $0 == AuditFiles.key || $0 == AuditFiles.head || AuditFiles.segmentNumber($0) != nil
                || AuditFiles.ringNumber($0) != nil
        }
    }

    /// What its segments are, but for those whose header is damaged.
    package func segmentIDs() throws(AuditFailure) -> [AuditSegmentID] {
        var found: [AuditSegmentID] = []
        for number in try numbers() {
            guard let file = try file(number) else { continue }
            found.append(AuditSegmentID(log: file.header.log, number: number))
        }
        return found
    }

    /// What is missing between the first segment and the log's end.
    package func holes() throws(AuditFailure) -> [AuditHole] {
        let found = try lookForHoles()
        // The daemon may have removed the oldest while their names were read.
        return found.isEmpty ? found : try lookForHoles()
    }

    private func lookForHoles() throws(AuditFailure) -> [AuditHole] {
        // Before the segments: what it says must be there by then.
        let head = try AuditHeadPlaces(disk, directory, nil).newest
        var holes: [AuditHole] = []
        var log: UInt64?
        var before: (number: UInt64, file: AuditSegmentFile?)?
        for number in try numbers() {
            let file = try file(number)
            log = file?.header.log ?? log
            if let before, number != before.number &+ 1 {
                holes.append(
                    AuditHole(
                        what: .segments, first: before.number &+ 1, last: number &- 1,
                        until: file.map { WallTime(milliseconds: $0.header.created) }))
            } else if let file, let short = before?.file.flatMap({ $0.end(file.header) }) {
                holes.append(short)
            }
            before = (number, file)
        }
        guard let head, head.end.segment > 0, log == nil || log == head.log else { return holes }
        let last = before?.number ?? head.end.segment &- 1
        if last < head.end.segment {
            holes.append(
                AuditHole(what: .lastSegments, first: last &+ 1, last: head.end.segment))
        } else if last == head.end.segment, let file = before?.file, file.bytes < head.end.offset {
            let meant = UInt64(truncatingIfNeeded: head.end.offset)
            holes.append(
                AuditHole(what: .end(bytes: file.bytes, meant: meant), first: last, last: last))
        }
        return holes
    }

    /// `nil`: it is damaged, or was removed meanwhile.
    private func file(_ number: UInt64) throws(AuditFailure) -> AuditSegmentFile? {
        do throws(AuditFailure) { return try AuditSegmentFile(disk, directory, number) } catch {
            if error.kind == .damaged || error.errno == DiskError.absent { return nil }
            throw error
        }
    }
}

extension AuditSegmentFile {
    /// What is missing at its end, as the header of the segment behind it says.
    fileprivate func end(_ next: AuditSegmentHeader) -> AuditHole? {
        guard next.previousBytes > UInt64(truncatingIfNeeded: bytes) else { return nil }
        return AuditHole(
            what: .end(bytes: bytes, meant: next.previousBytes), first: number, last: number,
            until: WallTime(milliseconds: next.created))
    }
}
