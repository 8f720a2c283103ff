import Glibc
import Synchronization
import TollgateCore

/// Results of work that several threads share, each in a place of its own.
private final class ParallelWork<T>: @unchecked Sendable {
    // Sendable: an index is given out once, so each place is written by one thread; they are read
    // when all threads were joined.
    private let body: @Sendable (Int) throws(LedgerFailure) -> T
    private let next = Atomic<Int>(0)
    private let failed = Atomic<Bool>(false)
    private let count: Int
    private let results: UnsafeMutablePointer<Result<T, LedgerFailure>?>

    init(_ count: Int, _ body: @escaping @Sendable (Int) throws(LedgerFailure) -> T) {
        self.count = count
        self.body = body
        results = .allocate(capacity: max(count, 1))
        results.initialize(repeating: nil, count: max(count, 1))
    }

    deinit {
        results.deinitialize(count: max(count, 1))
        results.deallocate()
    }

    /// Takes indices until there are none, or one has failed.
    func run() {
        while !failed.load(ordering: .relaxed) {
            let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
            guard index < count else { return }
            do throws(LedgerFailure) {
                (results + index).pointee = .success(try body(index))
            } catch {
                (results + index).pointee = .failure(error)
                failed.store(true, ordering: .relaxed)
            }
        }
    }

    /// All of them, or the first failure by index.
    func collect() throws(LedgerFailure) -> [T] {
        var all: [T] = []
        for index in 0..<count {
            guard let result = (results + index).pointee else { continue }
            all.append(try result.get())
        }
        return all
    }
}

/// `body` of 0 up to `count`, by so many threads; this one among them.
func inParallel<T>(
    _ count: Int, threads: Int, _ body: @escaping @Sendable (Int) throws(LedgerFailure) -> T
) throws(LedgerFailure) -> [T] {
    let work = ParallelWork(count, body)
    var others: [pthread_t] = []
    while others.count &+ 1 < min(threads, count) {
        guard let thread = startThread({ work.run() }) else { break }
        others.append(thread)
    }
    work.run()
    for thread in others { pthread_join(thread, nil) }
    return try work.collect()
}

private final class ThreadBody {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// `nil` when the system gives no thread; the others do its work.
private func startThread(_ body: @escaping @Sendable () -> Void) -> pthread_t? {
    var thread = pthread_t()
    let boxed = Unmanaged.passRetained(ThreadBody(body))
    let result = pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().body()
            return nil
        }, boxed.toOpaque())
    guard result == 0 else {
        boxed.release()
        return nil
    }
    return thread
}
