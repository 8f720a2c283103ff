import Synchronization
import TollgateWire

/// The directory as decisions see it: organizations, users, API keys and revocations, in memory.
///
/// One thread changes it, after the change is on the disk; any thread reads it. A reader waits for
/// another thread's look at the same shard at most, never for a disk. Everything of a tenant lies
/// in the shard of its organization, keys lie in shards of their own by their id; a thread holds
/// the lock of one of them at a time.
///
/// Workers remember whom a credential stands for together with the `epoch` that they read before
/// they looked it up. Each change raises the epoch, after the change and before it returns: who
/// reads the new epoch finds the change, who remembers an older one looks again.
package final class DirectoryImage: Sendable {
    static let shardCount = 64

    let hash: KeyedHash
    // By shard, those of tenants first. Each table is guarded by its lock; the pointers never
    // change.
    private nonisolated(unsafe) let locks: UnsafeMutablePointer<Lock>
    private nonisolated(unsafe) let tables: UnsafeMutablePointer<RowTable>
    private let currentEpoch = Atomic<UInt64>(1)
    let organizations = Atomic<Int>(0)
    let users = Atomic<Int>(0)
    let keys = Atomic<Int>(0)
    let revocations = Atomic<Int>(0)
    let notes = KeyNotes()
    let calendars = CalendarTable()

    init(_ hash: KeyedHash) {
        self.hash = hash
        locks = .allocate(capacity: 2 * Self.shardCount)
        tables = .allocate(capacity: 2 * Self.shardCount)
        for index in 0..<(2 * Self.shardCount) {
            (locks + index).initialize(to: Lock(.shard))
            (tables + index).initialize(to: RowTable())
        }
    }

    deinit {
        for index in 0..<(2 * Self.shardCount) {
            tables[index].forEach { Self.release($0) }
        }
        locks.deinitialize(count: 2 * Self.shardCount)
        tables.deinitialize(count: 2 * Self.shardCount)
        locks.deallocate()
        tables.deallocate()
    }

    /// Read before a look-up; see above.
    @inline(__always)
    var epoch: UInt64 { currentEpoch.load(ordering: .acquiring) }

    /// Nobody and nothing stands in it.
    var isEmpty: Bool {
        organizations.load(ordering: .relaxed) == 0 && users.load(ordering: .relaxed) == 0
            && keys.load(ordering: .relaxed) == 0 && revocations.load(ordering: .relaxed) == 0
    }

    package var counts: (organizations: Int, users: Int, keys: Int, revocations: Int) {
        (
            organizations.load(ordering: .relaxed), users.load(ordering: .relaxed),
            keys.load(ordering: .relaxed), revocations.load(ordering: .relaxed)
        )
    }

    /// Bytes of all tables.
    package var bytesTaken: Int {
        (0..<(2 * Self.shardCount)).reduce(0) { sum, index in
            locks[index].lock()
            defer { locks[index].unlock() }
            return sum + tables[index].bytesTaken
        }
    }

    @inline(__always)
    func tenantShard(_ hash: UInt64) -> Shard { shard(Int(truncatingIfNeeded: hash &>> 58)) }

    @inline(__always)
    func keyShard(_ hash: UInt64) -> Shard {
        shard(Int(truncatingIfNeeded: hash &>> 58) &+ Self.shardCount)
    }

    func shard(_ index: Int) -> Shard { Shard(lock: locks + index, table: tables + index) }

    func raiseEpoch() { currentEpoch.add(1, ordering: .acquiringAndReleasing) }

    // MARK: changes

    /// Puts a row in the place of the one of the same key, if there is one. `write` fills the
    /// zeroed payload. Traps when memory is short: a change that is on the disk must not be left
    /// out.
    func put(
        _ key: RowKey, in shard: Shard, bytes: Int, _ count: borrowing Atomic<Int>,
        replacing: (Row) -> Void = { _ in }, _ write: (Row) -> Void
    ) {
        shard.lock.pointee.lock()
        let old = shard.table.pointee.find(key)
        if old != .none {
            replacing(shard.table.pointee.row(old))
            Self.release(shard.table.pointee.row(old))
            shard.table.pointee.remove(old)
        } else {
            count.wrappingAdd(1, ordering: .relaxed)
        }
        let made = shard.table.pointee.insert(key, layout: 0, layoutBytes: (bytes + 7) & ~7)
        guard made != .none else { preconditionFailure("out of memory for the directory") }
        write(shard.table.pointee.row(made))
        shard.lock.pointee.unlock()
        raiseEpoch()
    }

    func remove(
        _ key: RowKey, in shard: Shard, _ count: borrowing Atomic<Int>,
        removing: (Row) -> Void = { _ in }
    ) {
        shard.lock.pointee.lock()
        let old = shard.table.pointee.find(key)
        if old != .none {
            removing(shard.table.pointee.row(old))
            Self.release(shard.table.pointee.row(old))
            shard.table.pointee.remove(old)
            count.wrappingSubtract(1, ordering: .relaxed)
        }
        shard.lock.pointee.unlock()
        raiseEpoch()
    }

    /// The calendar of an organization's subscription; 0 where it has none. Takes the lock of the
    /// organization's shard here, so under no other lock.
    func calendar(of tenant: TenantHash, _ id: UnsafeRawBufferPointer) -> UInt16 {
        let shard = tenantShard(tenant.hash)
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let found = shard.table.pointee.find(tenant.organizationKey(id))
        guard found != .none else { return 0 }
        let record = shard.table.pointee.row(found).payload(OrganizationRow.self).pointee
        return record.hasSubscription ? record.calendar : 0
    }

    /// Takes out the rows of a shard that `isGone` names; how many. Linear in the shard.
    func removeAll(
        in shard: Shard, _ count: borrowing Atomic<Int>, where isGone: (Row) -> Bool
    ) -> Int {
        shard.lock.pointee.lock()
        defer { shard.lock.pointee.unlock() }
        let removed = shard.table.pointee.removeAll { row in
            guard isGone(row) else { return false }
            Self.release(row)
            return true
        }
        count.wrappingSubtract(removed, ordering: .relaxed)
        return removed
    }

    /// Lets go of what a row points at.
    private static func release(_ row: Row) {
        switch RowKind(rawValue: row.kind) {
        case .organization, .personalOrganization:
            releaseObject(row.payload(OrganizationRow.self).pointee.overrides, OverrideList.self)
        case .user: releaseObject(row.payload(UserRow.self).pointee.overrides, OverrideList.self)
        case .key: releaseObject(row.payload(KeyRow.self).pointee.details, KeyDetails.self)
        default: break
        }
    }
}

/// Who owns rows of a directory: the hashes of an organization, as `Principal` makes them.
struct TenantHash: BitwiseCopyable {
    var kind: RowKind
    var hash: UInt64
    var fingerprint: UInt32

    init(kind: RowKind, hash: UInt64, fingerprint: UInt32) {
        self.kind = kind
        self.hash = hash
        self.fingerprint = fingerprint
    }

    init(_ organization: UnsafeRawBufferPointer, isPersonal: Bool, _ keyed: KeyedHash) {
        kind = isPersonal ? .personalOrganization : .organization
        let wide = keyed.wideHash(organization, tweak: UInt64(kind.rawValue))
        hash = wide.hash
        fingerprint = wide.fingerprint
    }

    func organizationKey(_ id: UnsafeRawBufferPointer) -> RowKey {
        RowKey(kind: kind, owner: 0, id: id, hash: hash)
    }

    /// Whether a user's row is of this organization: by all 96 bits.
    func owns(_ row: Row, _ keyed: KeyedHash) -> Bool {
        row.owner == fingerprint && row.hash == keyed.hash(row.id, tweak: hash)
    }

    func userKey(_ id: UnsafeRawBufferPointer, _ keyed: KeyedHash) -> RowKey {
        RowKey(
            kind: .user, owner: fingerprint, id: id,
            hash: id.count == 0 ? 0 : keyed.hash(id, tweak: hash))
    }
}
