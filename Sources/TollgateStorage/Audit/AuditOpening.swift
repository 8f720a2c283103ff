import TollgateCore
import TollgateWire

/// A ring of this life, and its file, whose mapping lasts as long.
struct AuditRingFile {
    let ring: AuditRing
    let file: any DiskFile
    let number: UInt8
}

/// Takes what the last life left in its rings into the log, and makes this life's.
struct AuditOpening {
    /// After a loss of power some ids may have been given out that nothing tells of.
    static let idSkip: UInt64 = 1 << 20
    static let ringsMax = 255

    let settings: AuditSettings
    let disk: any Disk
    let boot: (UInt64, UInt64)
    let now: WallTime
    let report: @Sendable (String) -> Void

    private func path(_ name: String) -> String { settings.directory + "/" + name }

    func checkSettings(rings: Int) throws(AuditFailure) {
        guard rings > 0, rings <= Self.ringsMax, AuditRing.isCapacity(settings.ringBytes) else {
            throw AuditFailure(
                .unfit, settings.directory,
                "a ring has a power of two bytes, from \(AuditRing.bytesLeast) to"
                    + " \(AuditRing.bytesMost); and there are at most \(Self.ringsMax)")
        }
        guard settings.segmentBytes >= AuditSettings.segmentBytesMin,
            settings.segmentBytes <= AuditSettings.segmentBytesMax, settings.segmentSeconds > 0
        else {
            throw AuditFailure(
                .unfit, settings.directory,
                "a segment has \(AuditSettings.segmentBytesMin) to"
                    + " \(AuditSettings.segmentBytesMax) bytes, and lasts a second at least")
        }
    }

    /// The key of the log's seals, made when there is none.
    func key(_ random: RandomSource) throws(AuditFailure) -> AuditKey {
        // Nobody else's, unlike the log's other files.
        let disk: any Disk = disk is SystemDisk ? SystemDisk() : disk
        let path = path(AuditFiles.key)
        let names = try onAuditDisk { () throws(DiskError) in try disk.list(settings.directory) }
        let block: Block
        if names.contains(AuditFiles.key) {
            block = try onAuditDisk { () throws(DiskError) in
                try disk.read(path, bytesMax: 4_096)
            }
        } else {
            block = Block(AuditFiles.keyBytes)
            if names.contains(where: { AuditFiles.segmentNumber($0) != nil }) {
                report(
                    "\(path) is missing, and another is made: what the old one signed cannot be"
                        + " checked; stop, put it back from a backup, and start again")
            }
            guard random(block.bytes) else {
                throw AuditFailure(.unfit, path, "the kernel gives no random bytes")
            }
            try onAuditDisk { () throws(DiskError) in
                let part = path + AuditFiles.partSuffix
                let file = try auditPart(part, bytes: 0, disk)
                try file.write(block.read, at: 0)
                try file.sync()
                try disk.rename(part, to: path)
                try disk.syncDirectory(settings.directory)
            }
        }
        defer { block.keep() }
        guard block.used == AuditFiles.keyBytes, let key = AuditKey(block.read) else {
            throw AuditFailure(
                .damaged, path,
                "not a key of \(AuditFiles.keyBytes) bytes; put it back from a backup, or move it"
                    + " away: then seals made before cannot be checked")
        }
        return key
    }

    // MARK: the last life

    /// Writes what is in rings that are there, and removes nothing. Gives the ids that go on.
    func takeRings(
        _ writer: inout AuditWriter
    ) throws(AuditFailure) -> [UInt8: UInt64] {
        let names = try onAuditDisk { () throws(DiskError) in
            try disk.list(settings.directory)
        }
        var next: [UInt8: UInt64] = [:]
        for mark in writer.marks.all {
            next[mark.ring] = max(mark.nextID, mark.highest &+ 1) &+ Self.idSkip
        }
        for name in names {
            guard let number = AuditFiles.ringNumber(name).flatMap(UInt8.init(exactly:)) else {
                continue
            }
            let file = try onAuditDisk { () throws(DiskError) in
                try disk.open(path(name), writable: true)
            }
            guard file.bytes > 0 else { continue }
            let memory = try onAuditDisk { () throws(DiskError) in try file.map() }
            defer { file.unmap() }
            guard let base = memory.baseAddress, let ring = AuditRing(base, bytes: memory.count),
                ring.number == UInt32(number)
            else {
                report("\(path(name)): not a ring; what was in it is lost")
                gap(.unreadable, number, UInt64(truncatingIfNeeded: memory.count), 0, &writer)
                continue
            }
            let known = next[number] ?? 0
            let isOfBoot = ring.boot == boot
            if ring.nextID >> 56 == UInt64(number) {
                // Exact, for as long as the kernel has kept it.
                next[number] =
                    isOfBoot
                    ? max(ring.nextID, known == 0 ? 0 : known &- Self.idSkip)
                    : max(ring.nextID &+ Self.idSkip, known)
            }
            try take(ring, number, isOfBoot, names, &writer)
        }
        try writer.write(now: now) { _ in }
        writer.forgetNames()
        try writer.sync()
        return next
    }

    private func take(
        _ ring: AuditRing, _ number: UInt8, _ isOfBoot: Bool, _ names: [String],
        _ writer: inout AuditWriter
    ) throws(AuditFailure) {
        guard isOfBoot else {
            guard ring.waiting > 0 else { return }
            report(
                "\(path(AuditFiles.ring(UInt32(number)))): the host was started anew since it was"
                    + " written: \(ring.waiting) bytes of decisions that were not in the log yet"
                    + " are lost")
            let count = UInt64(truncatingIfNeeded: ring.waiting)
            return gap(.powerLoss, number, count, ring.life, &writer)
        }
        try loadNames(names, life: ring.life, &writer)
        let mark = writer.marks.mark(number)
        let isKnown = mark?.life == ring.life
        let dropped = isKnown ? mark?.dropped ?? 0 : 0
        if ring.dropped > dropped {
            writer.push(
                AuditGap(
                    .dropped, ring: number, count: ring.dropped &- dropped, mark: ring.dropped,
                    life: ring.life, first: now.milliseconds, last: now.milliseconds
                ).block)
        }
        // Written, but not given back: it was killed in between.
        var position = ring.start
        let end = position.bytes &+ UInt64(truncatingIfNeeded: ring.waiting)
        if isKnown, let mark, mark.position > position.bytes {
            position.bytes = min(mark.position, end)
        }
        try takeEntries(ring, number, position, end, &writer)
    }

    private func takeEntries(
        _ ring: AuditRing, _ number: UInt8, _ start: AuditRingPosition, _ end: UInt64,
        _ writer: inout AuditWriter
    ) throws(AuditFailure) {
        var position = start
        var builder = AuditBlockBuilder()
        while position.bytes < end {
            let filling = builder.fill(
                ring, &position, ring: number, life: ring.life, &writer.book)
            if !builder.isEmpty { writer.push(builder.finish { _, _ in position.bytes }) }
            // The memory of a large ring is not doubled.
            try writer.write(now: now) { _ in }
            guard filling != .damaged else {
                report("\(path(AuditFiles.ring(UInt32(number)))): its end is not readable")
                gap(.unreadable, number, end &- position.bytes, ring.life, &writer)
                return
            }
        }
    }

    private func gap(
        _ cause: AuditGap.Cause, _ ring: UInt8, _ count: UInt64, _ life: UInt64,
        _ writer: inout AuditWriter
    ) {
        writer.push(
            AuditGap(
                cause, ring: ring, count: count, life: life, first: now.milliseconds,
                last: now.milliseconds
            ).block)
    }

    private func loadNames(
        _ names: [String], life: UInt64, _ writer: inout AuditWriter
    ) throws(AuditFailure) {
        for name in names where AuditFiles.namesLife(name) == life {
            let block = try onAuditDisk { () throws(DiskError) in
                try disk.read(path(name), bytesMax: AuditBlockHead.sealMax)
            }
            defer { block.keep() }
            guard let decoded = AuditNames(decoding: block.read) else {
                report("\(path(name)): not readable: its records show numbers instead of names")
                continue
            }
            writer.names[decoded.generation] = Array(block.read)
        }
    }

    // MARK: this life

    /// Makes the rings anew, and removes what only the last life needed: all of it is durable.
    func makeRings(
        _ count: Int, life: UInt64, _ next: [UInt8: UInt64]
    ) throws(AuditFailure) -> [AuditRingFile] {
        var made: [AuditRingFile] = []
        for place in 1...max(1, count) {
            let number = UInt8(truncatingIfNeeded: place)
            let path = path(AuditFiles.ring(UInt32(number)))
            let bytes = AuditRing.headerBytes &+ settings.ringBytes
            let part = path + AuditFiles.partSuffix
            let file = try onAuditDisk { () throws(DiskError) in
                try auditPart(part, bytes: bytes, disk)
            }
            let memory = try onAuditDisk { () throws(DiskError) in try file.map() }
            guard let base = memory.baseAddress else { continue }
            let ring = AuditRing(
                making: base, capacity: settings.ringBytes, number: UInt32(number), boot: boot,
                life: life, nextID: next[number] ?? (UInt64(number) &<< 56 | 1))
            try onAuditDisk { () throws(DiskError) in try disk.rename(part, to: path) }
            made.append(AuditRingFile(ring: ring, file: file, number: number))
        }
        try onAuditDisk { () throws(DiskError) in
            for name in try disk.list(settings.directory) {
                let ring = AuditFiles.ringNumber(name)
                let isOldRing = ring.map { Int($0) > count } ?? false
                if isOldRing || AuditFiles.namesLife(name) != nil { try disk.remove(path(name)) }
            }
            try disk.syncDirectory(settings.directory)
        }
        return made
    }
}
