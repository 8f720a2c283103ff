import TollgateStorage

@testable import TollgateCore

/// One life of a daemon: what is gone when it ends.
final class Machine {
    let engine: Engine
    /// Connections are dealt out among them.
    let workers: [DecisionWorker]
    let ledger: Ledger
    let report: RecoveryReport
    /// What is known to be durable, by shard: every slot below it.
    var synced: [UInt64]
    var writer: SnapshotWriter?
    /// `durability: always`, by shard: everything below it was told to somebody.
    var acknowledged = [UInt64](repeating: 0, count: Engine.shardCount)
    /// By shard: everything below it was seen to be on the disk.
    var covered = [UInt64](repeating: 0, count: Engine.shardCount)
    /// Replies that wait for a sync: what they are of, and what they wait for.
    var waiting: [(shard: Int, position: UInt64, mark: WriteOrder.Mark)] = []
    /// By shard of an organization, oldest first.
    var written: [Int: [Written]] = [:]
    private let base: SimulatedDisk
    private var isTroubled = false
    private var failuresKnown = 0
    private var shards: [String: Int] = [:]

    /// How far a shard's journal had come when billing time, in milliseconds, went on.
    struct Written {
        var next: UInt64
        var billing: Int64
    }

    init(
        _ disk: BrokenDisk, now: Moment, boot: UInt64, segmentBytes: Int, keepsGroupLog: Bool,
        resuming: Bool, random: () -> UInt64
    ) throws {
        var options = LedgerOptions(path: "/ledger", bootID: (boot, 1))
        options.threads = 1
        options.segmentBytes = segmentBytes
        options.keepsGroupLog = keepsGroupLog
        options.groupLogBytes = 64 * 1_024
        base = disk.base
        ledger = try Ledger(options, disk, random: random)
        var configuration = EngineConfiguration(hashKey: ledger.hashKey)
        configuration.usersMax = 1_000
        engine = Engine(configuration)
        workers = [engine.makeWorker(), engine.makeWorker()]
        report = try ledger.recover(into: engine, now: now, resuming: resuming)
        synced = (0..<Engine.shardCount).map { [engine] in
            engine.journalPosition(shard: $0).next
        }
        failuresKnown = base.failureCount
    }

    /// Something of the disk fails, or did: charges may be refused until it is seen to be well.
    var mayRefuse: Bool {
        get { isTroubled || base.failureCount > failuresKnown }
        set { (isTroubled, failuresKnown) = (newValue, base.failureCount) }
    }

    func beginTurn(_ now: Moment, _ policy: PolicyImage) {
        noteWritten()
        for worker in workers { worker.beginTurn(now, policy: policy) }
    }

    /// What was written since the last turn was, by that turn's billing time.
    func noteWritten() {
        for shard in shards.values {
            let next = position(shard)
            guard next > written[shard]?.last?.next ?? 0 else { continue }
            written[shard, default: []].append(Written(next: next, billing: billing))
        }
    }

    /// As a reactor does before the next request, when a shard has gone on to its last region.
    func giveReady() {
        if engine.wantsRegions != 0 { ledger.giveReady() }
    }

    /// Milliseconds of billing time, as of the last turn.
    var billing: Int64 { workers[0].clock.period.milliseconds }

    var billingSeconds: Int64 { workers[0].clock.period.seconds }

    func shard(of organization: String) -> Int {
        if let known = shards[organization] { return known }
        let hash = DirectoryImage.withBytes(organization) {
            TenantHash($0, isPersonal: false, engine.hash).hash
        }
        let shard = Int(truncatingIfNeeded: hash >> 58)
        shards[organization] = shard
        return shard
    }

    /// Of the slot that the shard's journal is written to next.
    func position(_ shard: Int) -> UInt64 { engine.journalPosition(shard: shard).next }

    /// Puts every period that is over among the closed ones; false when the journal had no room.
    func closePeriods(_ now: Moment) -> Bool {
        for shard in 0..<Engine.shardCount {
            var cursor = 0
            while cursor >= 0 {
                guard engine.closePeriods(shard: shard, slots: 64, cursor: &cursor, now: now)
                else { return false }
            }
        }
        return true
    }

    /// Everything that was closed: what waits, and what was archived.
    func closed() throws -> [String: [Books.Closed: UInt64]] {
        var found: [String: [Books.Closed: UInt64]] = [:]
        func add(_ counter: String, _ period: ClosedPeriod) {
            let words = counter.split(separator: " ")
            let quota = words.count > 1 ? String(words[1]) : counter
            let key = Books.Closed(
                key: Books.Key(user: period.user ?? "", quota: quota), end: period.endSeconds)
            found[period.organization, default: [:]][key, default: 0] += period.used
        }
        let names = engine.counterNames
        for shard in 0..<Engine.shardCount {
            for entry in engine.takeClosed(shard: shard).periods {
                guard let period = entry.bytes.withUnsafeBytes({ ClosedPeriod($0) }) else {
                    throw SimulationFailure(description: "what waits is no closed period")
                }
                add(names[Int(period.counter)], period)
            }
        }
        var cursor = UsageCursor()
        var isEnd = false
        while !isEnd {
            let page = try ledger.closedPeriods(after: cursor, count: 50) { _ in true }
            for entry in page.periods { add(entry.counter, entry.period) }
            (cursor, isEnd) = (page.next, page.isEnd)
        }
        return found
    }
}

/// What is open, by the engine's own rows.
extension Machine {
    struct OpenHold {
        var id: [UInt8]
        /// Boottime in nanoseconds.
        var end: UInt64
    }

    /// Reservations that are open, the first to end first.
    var open: [OpenHold] {
        var found: [OpenHold] = []
        for index in 0..<Engine.shardCount {
            let shard = engine.shard(index)
            shard.table.pointee.forEach { row in
                guard row.kind == RowKind.reservation.rawValue else { return }
                let reservation = Reservation(row)
                guard reservation.state == .open, let ledger = shard.ledger else { return }
                let end = ledger.pointee.kept.open.end(of: reservation.kept)
                found.append(OpenHold(id: Array(row.id), end: end))
            }
        }
        return found.sorted { ($0.end, $0.id[0]) < ($1.end, $1.id[0]) }
    }

    /// Whether a reset of the organization has begun that is not done.
    func isResetting(_ organization: String) -> Bool {
        let shard = engine.shard(shard(of: organization))
        return DirectoryImage.withBytes(organization) { id in
            let key = TenantHash(id, isPersonal: false, engine.hash).organizationKey(id)
            let found = shard.table.pointee.find(key)
            return found != .none && shard.table.pointee.row(found).isResetting
        }
    }

    /// How a reservation has ended; `nil`: it is forgotten.
    func state(of id: [UInt8]) -> Hold.State? {
        engine.withReservation(id.withUnsafeBytes { ReservationID($0) }) { reservation, _ in
            Hold.State(rawValue: reservation.state.rawValue)
        } ?? nil
    }

    /// Ended reservations in the order in which they ended.
    func ordered(_ ids: [[UInt8]]) -> [[UInt8]] {
        var order: [[UInt8]] = []
        for index in 0..<Engine.shardCount {
            let shard = engine.shard(index)
            guard let ledger = shard.ledger else { continue }
            var handle = ledger.pointee.kept.ended.first
            while handle != .none {
                let row = shard.table.pointee.row(handle)
                order.append(Array(row.id))
                handle = KeptRow(row).head.pointee.next
            }
        }
        return order.filter { ids.contains($0) }
    }

    /// A counter that does not hold what the open reservations hold of it.
    var unbalanced: String? {
        for index in 0..<Engine.shardCount {
            let shard = engine.shard(index)
            var sums: [UnsafeMutableRawPointer: UInt64] = [:]
            shard.table.pointee.forEach { row in
                guard row.kind == RowKind.reservation.rawValue else { return }
                let reservation = Reservation(row)
                guard reservation.state == .open else { return }
                for line in 0..<reservation.lineCount {
                    add(reservation.lines[line], reservation, shard, &sums)
                }
            }
            var wrong: String?
            shard.table.pointee.forEach { row in
                guard row.hasCounters else { return }
                for slot in engine.layouts.layout(row.layout).slots {
                    let place = row.counters + slot.headOffset
                    let counted: UInt64
                    switch slot.kind {
                    case .quota: counted = row.quota(slot.headOffset).pointee.held
                    case .concurrency:
                        counted = UInt64(row.concurrency(slot.headOffset).pointee.open)
                    case .window, .pool, .grants: continue
                    }
                    if counted != sums[place, default: 0] {
                        wrong = "\(slot.identity): holds \(counted), reservations"
                            + " \(sums[place, default: 0])"
                    }
                }
            }
            if let wrong { return wrong }
        }
        return nil
    }

    private func add(
        _ line: ReservationLine, _ reservation: Reservation, _ shard: Shard,
        _ sums: inout [UnsafeMutableRawPointer: UInt64]
    ) {
        guard let (row, place) = engine.place(of: line, reservation, in: shard) else { return }
        if place.kind == .quota {
            guard line.periodEnd == row.quota(place.offset).pointee.endSeconds else { return }
        }
        guard place.kind != .window else { return }
        sums[row.counters + place.offset, default: 0] += line.units
    }

    // MARK: broken on purpose

    /// Gives back of an organization's quotas what was given back already.
    func releaseAgain(_ organization: String) {
        let shard = engine.shard(shard(of: organization))
        shard.table.pointee.forEach { row in
            guard row.hasCounters else { return }
            for slot in engine.layouts.layout(row.layout).slots where slot.kind == .quota {
                let cell = row.quota(slot.headOffset)
                if cell.pointee.held > 0 { cell.pointee.held -= 1 }
            }
        }
    }

    /// As if no member had taken anything of a pool.
    func loseShares() {
        for index in 0..<Engine.shardCount {
            engine.shard(index).table.pointee.forEach { row in
                guard row.hasCounters else { return }
                for slot in engine.layouts.layout(row.layout).slots
                where slot.kind == .quota && slot.identity.hasPrefix("m ") {
                    row.quota(slot.headOffset).pointee.used = 0
                }
            }
        }
    }

    /// As if the journal had never had rows of this kind.
    func lose(_ kind: RowKind) {
        for index in 0..<Engine.shardCount {
            let shard = engine.shard(index)
            var gone: [Row] = []
            shard.table.pointee.forEach { row in
                if row.kind == kind.rawValue { gone.append(row) }
                guard kind == .reservation, row.hasCounters else { return }
                for slot in engine.layouts.layout(row.layout).slots {
                    if slot.kind == .quota { row.quota(slot.headOffset).pointee.held = 0 }
                    if slot.kind == .concurrency {
                        row.concurrency(slot.headOffset).pointee.open = 0
                    }
                }
            }
            for row in gone { workers[0].forget(KeptRow(row), in: shard) }
        }
    }
}
