import TollgateStorage

@testable import TollgateCore

/// One life of a daemon: what is gone when it ends.
final class Machine {
    let engine: Engine
    let worker: DecisionWorker
    let ledger: Ledger
    let report: RecoveryReport
    /// What is known to be durable, by shard: every slot below it.
    var synced: [UInt64]
    var writer: SnapshotWriter?
    /// Something of the disk fails, or did: charges may be refused until it is seen to be well.
    var mayRefuse = false
    private var shards: [String: Int] = [:]

    init(
        _ disk: any Disk, now: Moment, boot: UInt64, segmentBytes: Int, random: () -> UInt64
    ) throws {
        var options = LedgerOptions(path: "/ledger", bootID: (boot, 1))
        options.threads = 1
        options.segmentBytes = segmentBytes
        ledger = try Ledger(options, disk, random: random)
        var configuration = EngineConfiguration(hashKey: ledger.hashKey)
        configuration.usersMax = 1_000
        engine = Engine(configuration)
        worker = engine.makeWorker()
        report = try ledger.recover(into: engine, now: now)
        synced = (0..<Engine.shardCount).map { [engine] in
            engine.journalPosition(shard: $0).next
        }
    }

    func beginTurn(_ now: Moment, _ policy: PolicyImage) {
        worker.beginTurn(now, policy: policy)
    }

    /// Milliseconds of billing time, as of the last turn.
    var billing: Int64 { worker.clock.period.milliseconds }

    var billingSeconds: Int64 { worker.clock.period.seconds }

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
