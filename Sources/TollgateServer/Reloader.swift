import CLinux
import Glibc
import TollgateCore

/// Reads the policy again for whoever asks, on one thread of its own: reading a policy must not
/// hold up decisions. One load at a time, however many ask: those who ask while a load runs share
/// the next one, so each gets the outcome of a load that began after it asked.
///
/// Life: `start`, then `request` at will, then `end`, once; what is asked after that is refused.
final class Reloader: Sendable {
    package typealias Outcome = Result<UInt64, PolicyCompileError>
    typealias Waiter = @Sendable (Outcome) -> Void
    static let waitersMax = 1_024

    private let load: @Sendable () -> Outcome
    /// Written to by whoever asks, reactors among them.
    let wakeDescriptor: Int32
    private let lock = Lock()
    // Guarded by the lock.
    private nonisolated(unsafe) var waiters: [Waiter] = []
    private nonisolated(unsafe) var isWanted = false
    private nonisolated(unsafe) var isEnding = false
    private let thread = ServiceThread()

    init(load: @escaping @Sendable () -> Outcome) throws(StartError) {
        self.load = load
        // Blocking: its thread has nothing else to do.
        wakeDescriptor = eventfd(0, Int32(EFD_CLOEXEC))
        guard wakeDescriptor >= 0 else {
            throw StartError("eventfd: \(errorText(errno))", exitCode: 71)
        }
    }

    deinit { close(wakeDescriptor) }

    func start() throws(StartError) {
        try thread.begin { [self] in run() }
    }

    /// Asks for a load. The waiter, if any, is called once: on the reloader's thread with the
    /// outcome, or at once when too many wait.
    func request(_ waiter: Waiter? = nil) {
        lock.lock()
        let isTaken = !isEnding && waiters.count < Self.waitersMax
        if isTaken {
            isWanted = true
            if let waiter { waiters.append(waiter) }
        }
        lock.unlock()
        guard isTaken else {
            waiter?(.failure(PolicyCompileError(messages: ["too many reloads wait already"])))
            return
        }
        wake()
    }

    /// Lets a load that runs finish, and answers who waits.
    func end() {
        lock.lock()
        isEnding = true
        lock.unlock()
        wake()
        thread.join()
    }

    private func wake() {
        var one: UInt64 = 1
        _ = write(wakeDescriptor, &one, 8)
    }

    private func run() {
        while true {
            lock.lock()
            let (asked, isDue, isLast) = (waiters, isWanted, isEnding)
            waiters = []
            isWanted = false
            lock.unlock()
            if isLast {
                let ending = PolicyCompileError(messages: ["the daemon is ending"])
                for waiter in asked { waiter(.failure(ending)) }
                return
            }
            if isDue {
                let outcome = load()
                for waiter in asked { waiter(outcome) }
                continue
            }
            var count: UInt64 = 0
            _ = read(wakeDescriptor, &count, 8)
        }
    }
}
