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
    var version = AuditSegmentHeader.version
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
        tail.version = file.header.version
        for number in numbers {
            let one = number == last ? file : try older(number)
            // One that is damaged is as old as the one before, to be removed with it.
            let created = one?.header.created ?? tail.segments.last?.created ?? 0
            tail.segments.append(
                AuditSegmentSummary(number: number, created: created, bytes: one?.storedBytes ?? 0))
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
            if let block = try file.seal(), let marks = try Self.marks(block, file) {
                tail.marks = marks
                break
            }
            unsealed.append(file)
            next = file
        }
        for file in unsealed.reversed() {
            var walk = AuditWalk(file)
            while case .block(let block) = try walk.next() {
                _ = try Self.take(block, file, &tail.marks)
            }
        }
    }

    private static func marks(
        _ block: AuditReadBlock, _ file: AuditSegmentFile
    ) throws(AuditFailure) -> AuditMarks? {
        defer { block.keep() }
        guard let seal = try AuditSeal(block, version: file.header.version) else { return nil }
        return AuditMarks(seal.marks)
    }

    /// The last segment: sealed, or to be gone on with.
    private func takeLast(
        _ file: AuditSegmentFile, _ tail: inout AuditTail
    ) throws(AuditFailure) {
        if let block = try file.seal(), let marks = try Self.marks(block, file) {
            tail.marks = marks
            tail.end.segment = file.number
            tail.end.offset = file.bytes
            tail.end.block = block.head.number &+ 1
            tail.end.head = block.hash
            return
        }
        var walk = AuditWalk(file)
        var names = AuditNameHashes()
        var isWhole = false
        steps: while true {
            switch try walk.next() {
            case .block(let block):
                let page = try Self.take(block, file, &tail.marks)
                var (indexed, keys) = (block.indexed, AuditIndexKeys())
                if let page, file.header.version > 1 {
                    guard let found = try names.take(page) else { throw Self.no(block, file) }
                    (indexed.fresh, keys) = (page.fresh, found)
                }
                tail.index.add(indexed, keys)
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

    private static func no(_ block: AuditReadBlock, _ file: AuditSegmentFile) -> AuditFailure {
        AuditFailure(
            .damaged, file.path, offset: block.offset,
            "its hash is right, and it is no block of records; move the segment away")
    }

    /// What a block adds to what is known of rings; its page, of a block of records.
    private static func take(
        _ block: AuditReadBlock, _ file: AuditSegmentFile, _ marks: inout AuditMarks
    ) throws(AuditFailure) -> AuditPage? {
        defer { block.keep() }
        switch block.head.kind {
        case .records:
            guard let page = try file.page(block) else { throw no(block, file) }
            for source in page.rings { marks.add(source) }
            return page
        case .gap:
            let gap = AuditGap(block.payload, first: block.head.first, last: block.head.last)
            if let gap, gap.cause == .dropped {
                marks.add(AuditDrop(ring: gap.ring, life: gap.life, through: gap.mark))
            }
        case .names, .seal: break
        }
        return nil
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

/// What an index finds the names by that a segment's blocks have said, by number.
struct AuditNameHashes {
    private var lists: [[UInt32]] = [[], [], []]

    var counts: AuditNameCounts {
        AuditNameCounts(
            organizations: lists[0].count, users: lists[1].count, keys: lists[2].count)
    }

    /// The hashes of all names that the next block's records have; `nil`: it is not the next, or
    /// none.
    mutating func take(_ page: AuditPage) throws(AuditFailure) -> AuditIndexKeys? {
        defer { page.keep() }
        guard page.before == counts, let pieces = page.pieces,
            let names = try page.newNames(pieces), let records = try page.all()
        else { return nil }
        for (kind, own) in names.enumerated() {
            lists[kind].append(contentsOf: own.map { AuditIndexKeys.hash($0) })
        }
        var keys = AuditIndexKeys()
        keys.organizations = page.groups.map { lists[0][$0.organization] }
        keys.users = Set(records.map(\.user)).sorted().map { lists[1][$0] }
        keys.keys = Set(records.compactMap(\.key)).sorted().map { lists[2][$0] }
        return keys
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
