import COpenSSL
import TollgateCore

/// Where a log goes on: what was found of it when it was opened.
struct AuditTail {
    var log: UInt64
    var end = AuditEnd()
    var marks = AuditMarks()
    var segments: [AuditSegmentSummary] = []
    var headRound: UInt64 = 0
    /// Of the last segment, when nothing sealed it.
    var index = AuditIndexBuilder()
    var file: (any DiskFile)?
    /// The highest life that wrote.
    var life: UInt64 = 0
    /// What is to be noted in the chain.
    var gaps: [AuditGap] = []
    /// What `audit.head` says, where all of it is as it was written.
    var signed: AuditEnd?
    /// Why what was found is not proven to be what was written; `nil`: it is, but for what had not
    /// been signed when a daemon was killed.
    var doubt: String?
    /// Nothing was ever here.
    var isNew = false
}

/// Finds out where a log goes on, and takes away what was not whole. The directory is locked.
struct AuditRecovery {
    let settings: AuditSettings
    let disk: any Disk
    let now: WallTime
    let report: @Sendable (String) -> Void

    var directory: String { settings.directory }
    private func path(_ name: String) -> String { directory + "/" + name }

    /// Of a directory that is locked.
    func tail(_ key: AuditKey, _ random: RandomSource) throws(AuditFailure) -> AuditTail {
        let names = try onAuditDisk { () throws(DiskError) in
            for name in try disk.list(directory) where name.hasSuffix(AuditFiles.partSuffix) {
                try disk.remove(path(name))
            }
            return try disk.list(directory)
        }
        let places = try AuditHeadPlaces(disk, directory, key)
        let head = places.newest
        let numbers = names.compactMap(AuditFiles.segmentNumber).sorted()
        guard let last = numbers.last else {
            var tail = AuditTail(log: 0)
            if let head {
                tail.log = head.log
                tail.headRound = head.round
                tail.end = head.end
            } else {
                tail.log = try auditRandom(random, directory)
            }
            // A head is made before the rings are.
            tail.isNew = !places.isThere && !names.contains { AuditFiles.ringNumber($0) != nil }
            if !tail.isNew { try prove(places, [], key, &tail) }
            return tail
        }
        let file = try AuditSegmentFile(disk, directory, last)
        var tail = AuditTail(log: file.header.log)
        tail.headRound = head?.round ?? 0
        tail.life = file.header.life
        for number in numbers {
            let one = number == last ? file : try older(number)
            // One that is damaged is as old as the one before, to be removed with it.
            let created = one?.header.created ?? tail.segments.last?.created ?? 0
            tail.segments.append(
                AuditSegmentSummary(number: number, created: created, bytes: one?.bytes ?? 0))
        }
        try findMarks(numbers.dropLast(), before: file, &tail)
        try takeLast(file, &tail)
        try prove(places, numbers, key, &tail)
        return tail
    }

    /// A segment that nothing is written to any more; `nil`, and it is said, when it is damaged.
    func older(_ number: UInt64) throws(AuditFailure) -> AuditSegmentFile? {
        do throws(AuditFailure) { return try AuditSegmentFile(disk, directory, number) } catch {
            guard error.kind == .damaged else { throw error }
            report("\(error); the log goes on; look at it with: tollgate audit verify")
            return nil
        }
    }

    /// What the seal of the last sealed segment before says of the rings, and blocks behind it.
    private func findMarks(
        _ numbers: ArraySlice<UInt64>, before last: AuditSegmentFile, _ tail: inout AuditTail
    ) throws(AuditFailure) {
        var next = last
        var unsealed: [AuditSegmentFile] = []
        if try last.seal() != nil { return }
        for number in numbers.reversed() {
            guard let file = try older(number) else { break }
            file.limit(to: next.header.previousBytes)
            if let block = try file.seal(), let marks = Self.marks(block) {
                tail.marks = marks
                break
            }
            unsealed.append(file)
            next = file
        }
        for file in unsealed.reversed() {
            var walk = AuditWalk(file)
            var index = AuditIndexBuilder()
            while case .block(let block) = try walk.next() {
                try Self.take(block, file, &tail.marks, &index)
            }
        }
    }

    private static func marks(_ block: AuditReadBlock) -> AuditMarks? {
        defer { block.keep() }
        return AuditSeal(block.payload).map { AuditMarks($0.marks) }
    }

    /// The last segment: sealed, or to be gone on with.
    private func takeLast(
        _ file: AuditSegmentFile, _ tail: inout AuditTail
    ) throws(AuditFailure) {
        if let block = try file.seal(), let marks = Self.marks(block) {
            tail.marks = marks
            tail.end.segment = file.number
            tail.end.offset = file.bytes
            tail.end.block = block.head.number &+ 1
            tail.end.head = block.hash
            return
        }
        var walk = AuditWalk(file)
        var isWhole = false
        steps: while true {
            switch try walk.next() {
            case .block(let block): try Self.take(block, file, &tail.marks, &tail.index)
            case .end:
                isWhole = true
                break steps
            case .broken: break steps
            }
        }
        tail.end = walk.end
        if !isWhole { try cut(file, &tail) }
        let path = file.path
        tail.file = try onAuditDisk { () throws(DiskError) in
            let file = try disk.open(path, writable: true)
            // What the kernel has not written yet may never be.
            try file.sync()
            return file
        }
        tail.segments[tail.segments.count &- 1].bytes = tail.end.offset
    }

    /// What a block adds to what is known of rings, and to the index.
    private static func take(
        _ block: AuditReadBlock, _ file: AuditSegmentFile, _ marks: inout AuditMarks,
        _ index: inout AuditIndexBuilder
    ) throws(AuditFailure) {
        defer { block.keep() }
        var keys = AuditIndexKeys()
        switch block.head.kind {
        case .records:
            guard let page = AuditPage(block.payload, count: block.head.count) else {
                throw AuditFailure(
                    .damaged, file.path, offset: block.offset,
                    "its hash is right, and it is no block of records; move the segment away")
            }
            for source in page.rings { marks.add(source) }
            keys.organizations = page.organizations.map { AuditIndexKeys.hash($0) }
            keys.users = page.users.map { AuditIndexKeys.hash($0) }
            keys.keys = page.keys.map { AuditIndexKeys.hash($0) }
        case .gap:
            let gap = AuditGap(block.payload, first: block.head.first, last: block.head.last)
            if let gap, gap.cause == .dropped {
                marks.add(AuditDrop(ring: gap.ring, life: gap.life, through: gap.mark))
            }
        case .names, .seal: break
        }
        index.add(block.indexed, keys)
    }

    /// Keeps what stands behind the last whole block, and takes it off the segment.
    private func cut(_ file: AuditSegmentFile, _ tail: inout AuditTail) throws(AuditFailure) {
        let (end, bytes) = (tail.end.offset, file.bytes)
        let quarantine = path(AuditFiles.quarantine)
        let name = AuditFiles.segment(file.number) + "-\(end)-\(now.milliseconds)"
        let kept = try onAuditDisk { () throws(DiskError) in
            try disk.makeDirectory(quarantine)
            return try auditPart(quarantine + "/" + name, bytes: 0, disk)
        }
        try file.copy(end..<bytes, to: kept)
        let part = file.path + AuditFiles.partSuffix
        let whole = try onAuditDisk { () throws(DiskError) in
            try kept.sync()
            try disk.syncDirectory(quarantine)
            return try auditPart(part, bytes: 0, disk)
        }
        try file.copy(0..<end, to: whole)
        try onAuditDisk { () throws(DiskError) in
            try whole.sync()
            try disk.rename(part, to: file.path)
            try disk.syncDirectory(directory)
        }
        report(
            "\(file.path), byte \(end): \(bytes &- end) bytes at its end are no whole block; they"
                + " are kept in \(quarantine)/\(name)")
        tail.gaps.append(
            AuditGap(
                .torn, count: UInt64(truncatingIfNeeded: bytes &- end), life: file.header.life,
                first: now.milliseconds, last: now.milliseconds))
    }
}

/// Eight random bytes.
func auditRandom(_ random: RandomSource, _ path: String) throws(AuditFailure) -> UInt64 {
    var value: UInt64 = 0
    let isGood = withUnsafeMutableBytes(of: &value) { random($0) }
    guard isGood else { throw AuditFailure(.unfit, path, "the kernel gives no random bytes") }
    return value
}

func auditSystemRandom(_ bytes: UnsafeMutableRawBufferPointer) -> Bool {
    guard let base = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return true }
    return tg_random(base, bytes.count) == 1
}
