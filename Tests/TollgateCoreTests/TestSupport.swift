import Foundation
import Synchronization
import TestSupport

typealias SeededRandom = TestSupport.SeededRandom
let testScale = TestSupport.testScale

extension SeededRandom {
    /// The gap to the next arrival of a Poisson process, in nanoseconds.
    mutating func arrivalGap(meanNanoseconds: Double) -> UInt64 {
        UInt64(-log(1 - Double.random(in: 0..<1, using: &self)) * meanNanoseconds)
    }
}

/// What one thread runs, and what it came to: written by it, read after it was joined.
private final class ThreadTask<R>: @unchecked Sendable {
    let run: () -> R
    var result: R?

    init(_ run: @escaping () -> R) { self.run = run }
}

private func begin<R>(_ task: ThreadTask<R>) -> pthread_t {
    // Type-erased: a C function takes no context of its own.
    let body = Unmanaged.passRetained(ThreadTask<Void> { task.result = task.run() })
    var thread = pthread_t()
    let status = pthread_create(
        &thread, nil,
        { context in
            guard let context else { return nil }
            Unmanaged<ThreadTask<Void>>.fromOpaque(context).takeRetainedValue().run()
            return nil
        }, body.toOpaque())
    precondition(status == 0, "pthread_create: \(status)")
    return thread
}

/// Runs `body` on so many threads of the system at once, more than there are processors if need
/// be, and returns what each came to.
func onThreads<R: Sendable>(_ count: Int, _ body: @escaping @Sendable (Int) -> R) -> [R] {
    let tasks = (0..<count).map { index in ThreadTask { body(index) } }
    for thread in tasks.map({ begin($0) }) { pthread_join(thread, nil) }
    return tasks.compactMap(\.result)
}

/// Lets threads go on together. Each waits for all others at every use.
final class Gate: Sendable {
    private let arrived = Atomic<Int>(0)
    private let count: Int

    init(_ count: Int) { self.count = count }

    func pass(_ use: Int) {
        arrived.wrappingAdd(1, ordering: .sequentiallyConsistent)
        while arrived.load(ordering: .sequentiallyConsistent) < count * (use + 1) { sched_yield() }
    }
}
