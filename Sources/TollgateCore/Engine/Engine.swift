import Synchronization

/// What an engine is made with. Ceilings bound memory: nobody new is let in beyond them.
package struct EngineConfiguration: Sendable {
    /// Random and secret: nobody may choose where names fall. With a ledger that of its directory,
    /// so that an organization stays in its shard; else drawn once per process.
    package var hashKey: (UInt64, UInt64)
    /// Of what no file ever holds; drawn once per process.
    package var digestKey: (UInt64, UInt64)
    package var organizationsMax = 100_000
    package var usersMax = 1_000_000
    package var addressesMax = 1_000_000
    /// Open ones, and ended ones that are still remembered.
    package var reservationsMax = 1_000_000

    package init(hashKey: (UInt64, UInt64), digestKey: (UInt64, UInt64)? = nil) {
        self.hashKey = hashKey
        self.digestKey = digestKey ?? hashKey
    }
}

/// What an engine holds now.
package struct EngineGauges: Sendable {
    package var organizations: Int
    package var users: Int
    package var addresses: Int
    /// Open ones, and ended ones that are still remembered.
    package var reservations: Int
    package var openReservations: Int
    package var idempotencyRecords: Int
    /// Bytes of all tables of counters.
    package var counterBytes: Int
    /// Requests refused because a table was at its ceiling.
    package var capacityRefusals: UInt64
    /// Requests of addresses that shared the overflow row.
    package var addressOverflows: UInt64
    /// The wall clock ran ahead by more than a day and is not believed.
    package var clockHeldForward: Bool
}

/// Where one shard's lock and its rows stand. Everything of an organization lies in one tenant
/// shard. The two are apart: whoever waits for the lock touches nothing of what it guards.
struct Shard {
    let lock: UnsafeMutablePointer<Lock>
    /// Guarded by `lock`.
    let table: UnsafeMutablePointer<RowTable>
    /// Of a tenant shard of the engine; guarded by `lock`.
    var ledger: UnsafeMutablePointer<ShardLedger>?
}

/// All counters: tenant shards, chosen by organization, and address shards. Shared by the workers,
/// one per thread; a worker holds at most one shard's lock at a time.
package final class Engine: Sendable {
    package static let shardCount = 64

    let configuration: EngineConfiguration
    let hash: KeyedHash
    let digestHash: KeyedHash
    let layouts = LayoutRegistry()
    package let operationNames = OperationNames()
    let keyWindows: KeyWindows
    /// The durable records, as decisions see them.
    package let directory: DirectoryImage
    // By shard, those of tenants first. Each table is guarded by its lock; the pointers never
    // change.
    private nonisolated(unsafe) let locks: UnsafeMutablePointer<Lock>
    private nonisolated(unsafe) let tables: UnsafeMutablePointer<RowTable>
    // Of tenant shards; each guarded by its lock.
    private nonisolated(unsafe) let ledgers: UnsafeMutablePointer<ShardLedger>
    let wants = RegionWants()
    let ledgerState = Atomic<UInt8>(LedgerState.off.rawValue)
    let organizations = Atomic<Int>(0)
    let users = Atomic<Int>(0)
    let addresses = Atomic<Int>(0)
    let reservations = Atomic<Int>(0)
    let openReservations = Atomic<Int>(0)
    let idempotencyRecords = Atomic<Int>(0)
    private let workers = Atomic<UInt32>(0)
    /// Keys with a limit of their own whose calls are counted.
    let credentials = Atomic<Int>(0)
    /// Rows of what is granted beyond quotas.
    let creditAccounts = Atomic<Int>(0)
    let capacityRefusals = Atomic<UInt64>(0)
    let addressOverflows = Atomic<UInt64>(0)
    let heldForward = Atomic<Bool>(false)
    /// Boottime, nanoseconds, of the last refused credential of anybody; 0 is never.
    let lastInvalidCredential = Atomic<UInt64>(0)
    let wouldDenyCounts = WouldDenyCounts()
    let verified: VerifiedMarks
    private let clockLock = Lock(.leaf)
    // Guarded by `clockLock`.
    private nonisolated(unsafe) var clock = BillingClock()

    package init(_ configuration: EngineConfiguration) {
        self.configuration = configuration
        hash = KeyedHash(configuration.hashKey)
        digestHash = KeyedHash(configuration.digestKey)
        verified = VerifiedMarks(digestHash)
        keyWindows = KeyWindows(layouts)
        directory = DirectoryImage(hash)
        locks = .allocate(capacity: 2 * Self.shardCount)
        tables = .allocate(capacity: 2 * Self.shardCount)
        for index in 0..<(2 * Self.shardCount) {
            (locks + index).initialize(to: Lock(.shard))
            (tables + index).initialize(to: RowTable())
        }
        ledgers = .allocate(capacity: Self.shardCount)
        for index in 0..<Self.shardCount {
            (ledgers + index).initialize(
                to: ShardLedger(index, layouts.names, hash, wants))
        }
    }

    deinit {
        for index in 0..<Self.shardCount { ledgers[index].free() }
        ledgers.deinitialize(count: Self.shardCount)
        ledgers.deallocate()
        locks.deinitialize(count: 2 * Self.shardCount)
        tables.deinitialize(count: 2 * Self.shardCount)
        locks.deallocate()
        tables.deallocate()
    }

    package func makeWorker() -> DecisionWorker {
        DecisionWorker(self, number: workers.wrappingAdd(1, ordering: .relaxed).newValue)
    }

    /// Makes the policy's layouts of rows known; false, and the policy must not be decided by, when
    /// there were too many different ones since start.
    package func accept(_ policy: PolicyImage) -> Bool {
        policy.layouts.allSatisfy { layouts.number(of: $0) != nil }
    }

    /// The highest bits: the table inside uses those below them.
    @inline(__always)
    func tenantShard(_ hash: UInt64) -> Shard { shard(Int(truncatingIfNeeded: hash &>> 58)) }

    @inline(__always)
    func addressShard(_ hash: UInt64) -> Shard {
        shard(Int(truncatingIfNeeded: hash &>> 58) &+ Self.shardCount)
    }

    /// Of `2 * shardCount`: those of tenants, then those of addresses.
    @inline(__always)
    func shard(_ index: Int) -> Shard {
        Shard(
            lock: locks + index, table: tables + index,
            ledger: index < Self.shardCount ? ledgers + index : nil)
    }

    /// What the clocks mean, the same for all workers.
    func read(_ now: Moment) -> BillingClock.Reading {
        clockLock.lock()
        let reading = clock.observe(now)
        clockLock.unlock()
        heldForward.store(reading.heldForward, ordering: .relaxed)
        return reading
    }

    /// The wall clock as quotas are counted by it: not back, and not ahead by more than 21 hours at
    /// once unless that is confirmed.
    package func billingTime(_ now: Moment) -> WallTime { read(now).period }

    /// The latest billing time that anything was decided by.
    package var billingReached: WallTime {
        clockLock.lock()
        defer { clockLock.unlock() }
        return clock.reached
    }

    /// Billing time goes on from what a ledger knows. Before the first request.
    package func restoreClock(_ start: BillingStart) {
        clockLock.lock()
        clock = BillingClock(start)
        clockLock.unlock()
    }

    /// Believe a wall clock that jumped ahead by more than a day.
    package func confirmClock() {
        clockLock.lock()
        clock.confirm()
        clockLock.unlock()
    }

    /// Takes each shard's lock for a moment: for an operator's question, not for every request.
    package var gauges: EngineGauges {
        var bytes = 0
        for index in 0..<(2 * Self.shardCount) {
            locks[index].lock()
            bytes += tables[index].bytesTaken
            locks[index].unlock()
        }
        return EngineGauges(
            organizations: organizations.load(ordering: .relaxed),
            users: users.load(ordering: .relaxed), addresses: addresses.load(ordering: .relaxed),
            reservations: reservations.load(ordering: .relaxed),
            openReservations: openReservations.load(ordering: .relaxed),
            idempotencyRecords: idempotencyRecords.load(ordering: .relaxed),
            counterBytes: bytes, capacityRefusals: capacityRefusals.load(ordering: .relaxed),
            addressOverflows: addressOverflows.load(ordering: .relaxed),
            clockHeldForward: heldForward.load(ordering: .relaxed))
    }

    /// Takes a place among `count`, of which there are `max`; false at the ceiling.
    func reserve(_ count: borrowing Atomic<Int>, max: Int) -> Bool {
        if count.wrappingAdd(1, ordering: .relaxed).newValue <= max { return true }
        count.wrappingSubtract(1, ordering: .relaxed)
        return false
    }
}
