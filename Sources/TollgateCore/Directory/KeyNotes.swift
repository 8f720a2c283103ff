import Synchronization

/// A key whose secret was seen and is to be kept under the newest pepper.
package struct KeyRehash: Sendable, Equatable {
    package var id: APIKeyID
    package var organization: String
    /// Only what is still kept so is replaced.
    package var from: APIKeyDigest
    package var to: APIKeyDigest
    package var pepper: UInt32
}

/// When a key was used last.
package struct NotedUse: Sendable, Equatable {
    package var id: APIKeyID
    package var organization: String
    package var at: WallTime
}

/// What decisions leave for the directory's thread, and the peppers that it gave them. Bounded:
/// beyond the ceilings nothing is noted, and a later use of the key is.
final class KeyNotes: Sendable {
    static let usedMax = 100_000
    static let rehashesMax = 1_024

    private let lock = Lock(.leaf)
    // All guarded by the lock; peppers are set before the first decision, and never again.
    private nonisolated(unsafe) var used: [APIKeyID] = []
    private nonisolated(unsafe) var rehashes: [APIKeyID: KeyRehash] = [:]
    private nonisolated(unsafe) var peppers: [APIKeyPepper] = []
    private let hasPeppers = Atomic<Bool>(false)

    func set(_ peppers: [APIKeyPepper]) {
        precondition(!hasPeppers.load(ordering: .acquiring), "peppers are set once")
        self.peppers = peppers.sorted { $0.generation < $1.generation }
        hasPeppers.store(!peppers.isEmpty, ordering: .releasing)
    }

    /// The newest; `nil` when there are none.
    @inline(__always)
    var pepper: APIKeyPepper? {
        hasPeppers.load(ordering: .acquiring) ? peppers.last : nil
    }

    @inline(__always)
    func pepper(_ generation: UInt32) -> APIKeyPepper? {
        guard hasPeppers.load(ordering: .acquiring) else { return nil }
        for pepper in peppers where pepper.generation == generation { return pepper }
        return nil
    }

    /// Whether there was room.
    func note(used id: APIKeyID) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        guard used.count < Self.usedMax else { return false }
        used.append(id)
        return true
    }

    func note(_ rehash: KeyRehash) {
        lock.lock()
        defer { lock.unlock() }
        if rehashes.count < Self.rehashesMax { rehashes[rehash.id] = rehash }
    }

    func takeUsed() -> [APIKeyID] {
        lock.lock()
        defer { lock.unlock() }
        let taken = used
        used = []
        return taken
    }

    /// By id, so that the order is the same whatever the process.
    func takeRehashes() -> [KeyRehash] {
        lock.lock()
        defer { lock.unlock() }
        let taken = rehashes.values.sorted { $0.id.description < $1.id.description }
        rehashes = [:]
        return taken
    }
}

extension DirectoryImage {
    /// At start, once, before the first decision: the highest generation is used for new secrets.
    package func setPeppers(_ peppers: [APIKeyPepper]) { notes.set(peppers) }

    package func takeRehashes() -> [KeyRehash] { notes.takeRehashes() }

    /// Uses since it was asked last, each key once.
    package func takeUses() -> [NotedUse] {
        notes.takeUsed().compactMap { id in
            withKey(id) { row in
                row.payload(KeyRow.self).pointee.isNoted = false
                return NotedUse(
                    id: id, organization: String(decoding: KeyRow.organization(row), as: UTF8.self),
                    at: WallTime(milliseconds: row.payload(KeyRow.self).pointee.lastUsed))
            }
        }
    }

    /// `nil`: never, or not known.
    package func lastUsed(_ id: APIKeyID) -> WallTime? {
        let at = withKey(id) { $0.payload(KeyRow.self).pointee.lastUsed } ?? 0
        return at > 0 ? WallTime(milliseconds: at) : nil
    }

    /// Notes a use. Called at most once a minute and key by each worker.
    func noteUse(_ id: APIKeyID, at now: WallTime) {
        let isFirst = withKey(id) { row in
            let record = row.payload(KeyRow.self)
            record.pointee.lastUsed = max(record.pointee.lastUsed, now.milliseconds)
            defer { record.pointee.isNoted = true }
            return !record.pointee.isNoted
        }
        // The shard's lock is let go before the notes' is taken.
        guard isFirst == true, !notes.note(used: id) else { return }
        withKey(id) { $0.payload(KeyRow.self).pointee.isNoted = false }
    }

    @discardableResult
    func withKey<R>(_ id: APIKeyID, _ body: (Row) -> R) -> R? {
        withUnsafeBytes(of: id) { bytes in
            let key = keyKey(bytes)
            let shard = keyShard(key.hash)
            shard.lock.pointee.lock()
            defer { shard.lock.pointee.unlock() }
            let handle = shard.table.pointee.find(key)
            return handle == .none ? nil : body(shard.table.pointee.row(handle))
        }
    }
}
