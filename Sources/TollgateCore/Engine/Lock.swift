import Glibc

/// The one lock of the core: a `pthread_mutex_t` at an address that does not move.
///
/// Held for a few hundred nanoseconds at most. Two are held at once in one case: a row that is
/// migrated asks the registry of layouts for a number, whose lock is a leaf; so no order is needed.
/// `Synchronization.Mutex` hands over slowly under contention on Linux and makes the thread
/// sanitizer report races that are none; pthread's does neither.
package struct Lock: ~Copyable, @unchecked Sendable {
    // Sendable: the mutex is made to be used from many threads; the pointer never changes.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    package init() {
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
        let result = pthread_mutex_lock(mutex)
        precondition(result == 0)
    }

    @inline(__always)
    package func tryLock() -> Bool { pthread_mutex_trylock(mutex) == 0 }

    @inline(__always)
    package func unlock() {
        let result = pthread_mutex_unlock(mutex)
        precondition(result == 0)
    }
}
