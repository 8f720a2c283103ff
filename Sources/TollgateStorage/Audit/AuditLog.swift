import Synchronization
import TollgateCore
import TollgateWire

/// Sees every entry once, before it is given back to its ring; then, before any is given back, may
/// make durable what it made of them.
package struct AuditWatcher: Sendable {
    package var look: @Sendable (AuditEntry) -> Void
    package var keep: @Sendable (WallTime) -> Void

    package init(
        look: @escaping @Sendable (AuditEntry) -> Void,
        keep: @escaping @Sendable (WallTime) -> Void
    ) {
        self.look = look
        self.keep = keep
    }
}

/// The audit log of a daemon: takes the entries of its rings into segments. It has its directory to
/// itself.
///
/// `drain` and `close` belong to one thread, which owns all that is not said to be otherwise;
/// `names` and `known` are guarded by `lock`. The rings' memory lasts as long as the log.
package final class AuditLog: @unchecked Sendable {
    // Sendable: see above.

    /// What was written is made durable so often.
    static let syncMilliseconds: Int64 = 1_000
    static let pruneMilliseconds: Int64 = 60_000

    package let settings: AuditSettings
    /// Looks at entries as they are taken. Set before the first is; of the thread that drains.
    package var watcher: AuditWatcher?
    private let disk: any Disk
    /// Held to the end.
    private let directoryLock: any DiskLock
    private let files: [AuditRingFile]
    /// Random, another each time: by it a ring's positions are told from an earlier one's.
    private let life: UInt64
    private var writer: AuditWriter
    private var builder = AuditBlockBuilder()
    /// By ring: how far it was read, whether that is in no block yet, its counter of drops as last
    /// noted, and when.
    private var positions: [AuditRingPosition]
    private var isUnreleased: [Bool]
    private var droppedNoted: [UInt64]
    private var noted: [Int64]
    private var lastSync: Int64
    private var lastPrune: Int64 = 0
    private var newest: Int64 = 0
    private var recorded: UInt64 = 0

    /// `nil`: segments stay as they are.
    private let packing: AuditPackingList?

    private let lock = Lock()
    private var names: [UInt32: [UInt8]] = [:]
    private var known = AuditStatus()

    /// Locks, takes the rings of the last life into the segments, makes new rings. `report` is told
    /// what an operator should know.
    package static func open(
        _ settings: AuditSettings, rings: Int, boot: (UInt64, UInt64), life: UInt64?,
        now: WallTime, report: @Sendable (String) -> Void
    ) throws(AuditFailure) -> AuditLog {
        let disk = SystemDisk(fileMode: 0o640, directoryMode: 0o750)
        return try withoutActuallyEscaping(report) { (report) throws(AuditFailure) in
            try AuditLog(
                settings, disk, rings: rings, boot: boot, life: life, now: now, report,
                auditSystemRandom)
        }
    }

    init(
        _ settings: AuditSettings, _ disk: any Disk, rings: Int, boot: (UInt64, UInt64),
        life: UInt64?, now: WallTime, _ report: @escaping @Sendable (String) -> Void,
        _ random: RandomSource
    ) throws(AuditFailure) {
        let opening = AuditOpening(
            settings: settings, disk: disk, boot: boot, now: now, report: report)
        try opening.checkSettings(rings: rings)
        directoryLock = try onAuditDisk { () throws(DiskError) in
            try disk.makeDirectory(settings.directory)
            return try disk.lock(settings.directory + "/" + AuditFiles.lock)
        }
        let key = try opening.key(random)
        let recovery = AuditRecovery(settings: settings, disk: disk, now: now, report: report)
        let tail = try recovery.tail(key, random)
        let own = try auditRandom(random, settings.directory)
        let place = AuditPlace(
            settings: settings, disk: disk, log: tail.log, key: key, life: life ?? own)
        var writer = AuditWriter(place, tail)
        if tail.isNew { try writer.sign() }
        for gap in tail.gaps { writer.push(gap.block) }
        // What a life that was killed left open is sealed: its index is known now. What an earlier
        // version left open has no other.
        if tail.file != nil {
            try writer.write(now: now) { _ in }
            if tail.version == AuditSegmentHeader.version {
                try writer.seal(now: now)
            } else {
                try writer.leave()
            }
        }
        let next = try opening.takeRings(&writer)
        for (ring, id) in next.sorted(by: { $0.key < $1.key }) { writer.note(ring, nextID: id) }
        files = try opening.makeRings(rings, life: own, next)
        self.settings = settings
        packing = settings.compresses ? AuditPackingList() : nil
        self.disk = disk
        self.life = own
        self.writer = writer
        positions = files.map { $0.ring.start }
        isUnreleased = files.map { _ in false }
        droppedNoted = files.map { _ in 0 }
        noted = files.map { _ in now.milliseconds }
        lastSync = now.milliseconds
        known.doubt = tail.doubt
        publish()
    }

    /// By reactor.
    package var rings: [AuditRing] { files.map(\.ring) }

    /// Another generation of the policy will be used: keeps what its indices mean, so that what is
    /// decided by it can be read even if the daemon is killed. Before it is published; any thread.
    package func add(_ names: AuditNames) throws(AuditFailure) {
        let encoded = names.encoded
        let block = Block(encoded.count)
        defer { block.keep() }
        encoded.withUnsafeBytes { block.bytes.copy($0, to: 0) }
        let name = AuditFiles.names(life: life, generation: names.generation)
        let path = settings.directory + "/" + name
        try onAuditDisk { () throws(DiskError) in
            let part = path + AuditFiles.partSuffix
            let file = try auditPart(part, bytes: 0, disk)
            try file.write(block.read, at: 0)
            try disk.rename(part, to: path)
        }
        lock.lock()
        self.names[names.generation] = encoded
        lock.unlock()
    }

    package var status: AuditStatus {
        lock.lock()
        var status = known
        lock.unlock()
        for file in files {
            status.waitingBytes &+= file.ring.waiting
            // First: it is counted behind the other.
            let refused = file.ring.refused
            status.refused &+= refused
            status.dropped &+= file.ring.dropped &- refused
        }
        return status
    }

    // MARK: draining

    /// One round: takes what waits in the rings, and writes it. Every 100 ms, or when a ring fills.
    package func drain(now: WallTime) {
        var failure: AuditFailure?
        do throws(AuditFailure) { try take(now: now) } catch { failure = error }
        // What is written is made durable even while nothing more can be.
        let isTime = now.milliseconds &- lastSync >= Self.syncMilliseconds
            || now.milliseconds < lastSync
        if isTime || writer.heldBytes > AuditWriter.heldBytesMax {
            do throws(AuditFailure) { try sync(now: now) } catch { failure = failure ?? error }
        }
        do throws(AuditFailure) { try adoptPacked() } catch { failure = failure ?? error }
        publish(failure)
    }

    private func adoptPacked() throws(AuditFailure) {
        guard let packing else { return }
        packing.offer(writer.ended)
        for one in packing.takeDone() { try writer.adopt(one.number, bytes: one.bytes) }
    }

    /// Compresses a segment that is sealed, if there is one to be; whether there was. Of a thread
    /// of its own, one; ends soon once it is not wanted any more.
    package func packNext(while isWanted: () -> Bool) throws(AuditFailure) -> Bool {
        guard let packing, let number = packing.next() else { return false }
        let work = AuditPacking(directory: settings.directory, disk: disk)
        do throws(AuditFailure) {
            if let bytes = try work.pack(number, while: isWanted) {
                packing.finish(number, bytes: bytes)
            }
        } catch {
            // Gone meanwhile, for its age.
            guard error.errno != DiskError.absent else { return true }
            packing.retry(number)
            throw error
        }
        return true
    }

    private func sync(now: WallTime) throws(AuditFailure) {
        try writer.sync()
        lastSync = now.milliseconds
        lock.lock()
        known.lastSyncMilliseconds = now.milliseconds
        lock.unlock()
        guard now.milliseconds &- lastPrune >= Self.pruneMilliseconds || writer.isPruning else {
            return
        }
        lastPrune = now.milliseconds
        try writer.prune(now: now)
    }

    private func take(now: WallTime) throws(AuditFailure) {
        lock.lock()
        writer.names = names
        lock.unlock()
        try write(now: now)
        if writer.isDue(now: now) { try seal(now: now) }
        for index in files.indices { try take(index, now: now) }
        if !builder.isEmpty { pushRecords() }
        try write(now: now)
    }

    private func seal(now: WallTime) throws(AuditFailure) {
        // It knows names that are forgotten with the segment.
        precondition(builder.isEmpty)
        try writer.seal(now: now)
    }

    private func take(_ index: Int, now: WallTime) throws(AuditFailure) {
        let (ring, number) = (files[index].ring, files[index].number)
        noteDropped(index, now: now)
        // What was there when it began; what comes meanwhile is of the next round.
        let end = positions[index].bytes &+ UInt64(truncatingIfNeeded: unread(index))
        while positions[index].bytes < end {
            let filling = builder.fill(
                ring, &positions[index], ring: number, life: life, &writer.book,
                look: watcher?.look)
            if !builder.isEmpty { newest = max(newest, builder.last) }
            isUnreleased[index] = true
            switch filling {
            case .done: break
            case .full:
                pushRecords()
                try write(now: now)
            case .damaged: giveUp(index, now: now)
            }
            guard writer.heldBytes <= AuditWriter.heldBytesMax else { return }
        }
        noted[index] = now.milliseconds
    }

    private func unread(_ index: Int) -> Int {
        let ring = files[index].ring
        let head = ring.start.bytes &+ UInt64(truncatingIfNeeded: ring.waiting)
        return Int(truncatingIfNeeded: head &- positions[index].bytes)
    }

    private func noteDropped(_ index: Int, now: WallTime) {
        let dropped = files[index].ring.dropped
        guard dropped > droppedNoted[index] else { return }
        if !builder.isEmpty { pushRecords() }
        writer.push(
            AuditGap(
                .dropped, ring: files[index].number, count: dropped &- droppedNoted[index],
                mark: dropped, life: life, first: noted[index], last: now.milliseconds
            ).block)
        droppedNoted[index] = dropped
    }

    /// What stands in the ring cannot be an entry: leaves out what was there, and says so.
    private func giveUp(_ index: Int, now: WallTime) {
        if !builder.isEmpty { pushRecords() }
        let left = unread(index)
        positions[index].bytes &+= UInt64(truncatingIfNeeded: left)
        var block = AuditGap(
            .unreadable, ring: files[index].number, count: UInt64(truncatingIfNeeded: left),
            life: life, first: noted[index], last: now.milliseconds
        ).block
        block.releases = [AuditRelease(ring: index, position: positions[index])]
        isUnreleased[index] = false
        writer.push(block)
    }

    private func pushRecords() {
        recorded &+= UInt64(builder.count)
        var block = builder.finish { number, _ in
            let index = Int(number) &- 1
            return index >= 0 && index < positions.count ? positions[index].bytes : 0
        }
        for index in files.indices where isUnreleased[index] {
            block.releases.append(AuditRelease(ring: index, position: positions[index]))
            isUnreleased[index] = false
        }
        writer.push(block)
    }

    private func write(now: WallTime) throws(AuditFailure) {
        watcher?.keep(now)
        try writer.write(now: now) { release in
            files[release.ring].ring.release(through: release.position)
        }
    }

    private func publish(_ failure: AuditFailure? = nil) {
        lock.lock()
        known.recorded = recorded
        known.segments = writer.segments.count
        known.bytes = writer.bytes
        known.newestDecision = newest
        known.failure = failure.map { "\($0)" }
        lock.unlock()
    }

    // MARK: the end

    /// The last round: drains, seals, syncs. The writers of the rings have ended. What could not
    /// be written stays in the rings, for the next life; `status.failure` says why.
    package func close(now: WallTime) {
        do throws(AuditFailure) {
            try take(now: now)
            for file in files { writer.note(file.number, nextID: file.ring.nextID) }
            try seal(now: now)
            try writer.sync()
            try adoptPacked()
            try onAuditDisk { () throws(DiskError) in
                for file in files { try file.file.sync() }
                for name in try disk.list(settings.directory)
                where AuditFiles.namesLife(name) == life {
                    try disk.remove(settings.directory + "/" + name)
                }
            }
            lastSync = now.milliseconds
            publish()
        } catch { publish(error) }
    }
}
