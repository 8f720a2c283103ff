import Glibc

/// What a lock guards, and so under which others it may be taken: a thread takes one of a higher
/// rank than all that it holds, so nobody waits for whom waits for him.
///
/// No two shards' locks are ever held together, of the counters or of the directory: whoever needs
/// both lets one go first. A build for debugging traps where that is not so.
package enum LockRank: UInt8 {
    /// Of what works with an engine: files, connections, settings. Their order is their owners';
    /// they are taken before any of those below, never under one.
    case outer
    /// A shard's: rows and what belongs to them.
    case shard
    /// Of the registry of layouts, which a row asks that is made or migrated.
    case registry
    /// Under it none is taken.
    case leaf
}

/// The one lock of the core: a `pthread_mutex_t` at an address that does not move.
///
/// Held for a few hundred nanoseconds at most; `LockRank` says which may be held together.
/// `Synchronization.Mutex` hands over slowly under contention on Linux and makes the thread
/// sanitizer report races that are none; pthread's does neither.
package struct Lock: ~Copyable, @unchecked Sendable {
    // Sendable: the mutex is made to be used from many threads; the pointer never changes.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    #if DEBUG
        private let rank: LockRank
    #endif

    package init(_ rank: LockRank = .outer) {
        #if DEBUG
            self.rank = rank
        #endif
        mutex = .allocate(capacity: 1)
        let result = pthread_mutex_init(mutex, nil)
        precondition(result == 0, "pthread_mutex_init failed: \(result)")
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    @inline(__always)
    package func lock() {
        #if DEBUG
            HeldRanks.take(rank)
        #endif
        let result = pthread_mutex_lock(mutex)
        precondition(result == 0)
    }

    @inline(__always)
    package func tryLock() -> Bool {
        guard pthread_mutex_trylock(mutex) == 0 else { return false }
        #if DEBUG
            HeldRanks.take(rank)
        #endif
        return true
    }

    @inline(__always)
    package func unlock() {
        #if DEBUG
            HeldRanks.letGo(rank)
        #endif
        let result = pthread_mutex_unlock(mutex)
        precondition(result == 0)
    }
}

#if DEBUG
    /// The ranks of the locks that this thread holds, by bit; `outer` is not counted.
    private enum HeldRanks {
        private static let key: pthread_key_t = {
            var key = pthread_key_t()
            let result = pthread_key_create(&key, nil)
            precondition(result == 0, "pthread_key_create failed: \(result)")
            return key
        }()

        private static var held: UInt {
            get { UInt(bitPattern: pthread_getspecific(key)) }
            set { pthread_setspecific(key, UnsafeRawPointer(bitPattern: newValue)) }
        }

        /// Before it is waited for: what would wait for ever traps instead.
        static func take(_ rank: LockRank) {
            let held = held
            precondition(
                held >> UInt(rank.rawValue) == 0,
                "a lock of rank \(rank) is taken while some are held that it may not be under")
            if rank != .outer { Self.held = held | 1 << UInt(rank.rawValue) }
        }

        static func letGo(_ rank: LockRank) {
            if rank != .outer { held &= ~(1 << UInt(rank.rawValue)) }
        }
    }
#endif
