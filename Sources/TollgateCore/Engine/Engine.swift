import Synchronization

/// What an engine is made with. Ceilings bound memory: nobody new is let in beyond them.
package struct EngineConfiguration: Sendable {
    /// Random, secret, drawn once per process: nobody may choose where names fall.
    package var hashKey: (UInt64, UInt64)
    package var organizationsMax = 100_000
    package var usersMax = 1_000_000
    package var addressesMax = 1_000_000

    package init(hashKey: (UInt64, UInt64)) { self.hashKey = hashKey }
}

/// What an engine holds now.
package struct EngineGauges: Sendable {
    package var organizations: Int
    package var users: Int
    package var addresses: Int
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
}

/// All counters: tenant shards, chosen by organization, and address shards. Shared by the workers,
/// one per thread; a worker holds at most one shard's lock at a time.
package final class Engine: Sendable {
    static let shardCount = 64

    let configuration: EngineConfiguration
    let hash: KeyedHash
    let layouts = LayoutRegistry()
    let keyWindows: KeyWindows
    /// The durable records, as decisions see them.
    package let directory: DirectoryImage
    // By shard, those of tenants first. Each table is guarded by its lock; the pointers never
    // change.
    private nonisolated(unsafe) let locks: UnsafeMutablePointer<Lock>
    private nonisolated(unsafe) let tables: UnsafeMutablePointer<RowTable>
    let organizations = Atomic<Int>(0)
    let users = Atomic<Int>(0)
    let addresses = Atomic<Int>(0)
    /// Keys with a limit of their own whose calls are counted.
    let credentials = Atomic<Int>(0)
    let capacityRefusals = Atomic<UInt64>(0)
    let addressOverflows = Atomic<UInt64>(0)
    let heldForward = Atomic<Bool>(false)
    /// Boottime, nanoseconds, of the last refused credential of anybody; 0 is never.
    let lastInvalidCredential = Atomic<UInt64>(0)
    let verified: VerifiedMarks
    private let clockLock = Lock()
    // Guarded by `clockLock`.
    private nonisolated(unsafe) var clock = BillingClock()

    package init(_ configuration: EngineConfiguration) {
        self.configuration = configuration
        hash = KeyedHash(configuration.hashKey)
        verified = VerifiedMarks(hash)
        keyWindows = KeyWindows(layouts)
        directory = DirectoryImage(hash)
        locks = .allocate(capacity: 2 * Self.shardCount)
        tables = .allocate(capacity: 2 * Self.shardCount)
        for index in 0..<(2 * Self.shardCount) {
            (locks + index).initialize(to: Lock())
            (tables + index).initialize(to: RowTable())
        }
    }

    deinit {
        locks.deinitialize(count: 2 * Self.shardCount)
        tables.deinitialize(count: 2 * Self.shardCount)
        locks.deallocate()
        tables.deallocate()
    }

    package func makeWorker() -> DecisionWorker { DecisionWorker(self) }

    /// Makes the policy's layouts of rows known; false, and the policy must not be decided by, when
    /// there were too many different ones since start.
    package func accept(_ policy: PolicyImage) -> Bool {
        policy.layouts.allSatisfy { layouts.number(of: $0) != nil }
    }

    /// The upper bits: the table inside uses the lower ones.
    @inline(__always)
    func tenantShard(_ hash: UInt64) -> Shard { shard(Int(truncatingIfNeeded: hash &>> 58)) }

    @inline(__always)
    func addressShard(_ hash: UInt64) -> Shard {
        shard(Int(truncatingIfNeeded: hash &>> 58) &+ Self.shardCount)
    }

    /// Of `2 * shardCount`: those of tenants, then those of addresses.
    @inline(__always)
    func shard(_ index: Int) -> Shard { Shard(lock: locks + index, table: tables + index) }

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
