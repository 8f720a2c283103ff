import TollgateCore

/// Which segments are to be compressed, between the thread that writes the log and the one that
/// compresses.
final class AuditPackingList: Sendable {
    private struct State {
        var sealed: [UInt64] = []
        /// Those that were looked at: they are compressed, or cannot be.
        var seen: Set<UInt64> = []
        var done: [(number: UInt64, bytes: Int)] = []
    }

    private let lock = Lock()
    // Guarded by `lock`.
    private nonisolated(unsafe) var state = State()

    /// All that are sealed, ascending.
    func offer(_ numbers: [UInt64]) {
        lock.lock()
        defer { lock.unlock() }
        guard numbers != state.sealed else { return }
        state.sealed = numbers
        state.seen.formIntersection(numbers)
    }

    /// The oldest that was not looked at, which counts as looked at from now on.
    func next() -> UInt64? {
        lock.lock()
        defer { lock.unlock() }
        guard let number = state.sealed.first(where: { !state.seen.contains($0) }) else {
            return nil
        }
        state.seen.insert(number)
        return number
    }

    /// It stands beside the segment, and is to be put into its place.
    func finish(_ number: UInt64, bytes: Int) {
        lock.lock()
        defer { lock.unlock() }
        state.done.append((number, bytes))
    }

    /// It is to be tried again.
    func retry(_ number: UInt64) {
        lock.lock()
        defer { lock.unlock() }
        state.seen.remove(number)
    }

    func takeDone() -> [(number: UInt64, bytes: Int)] {
        lock.lock()
        defer { lock.unlock() }
        let done = state.done
        state.done = []
        return done
    }
}
