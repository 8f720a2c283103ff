import Foundation
import Synchronization

/// How much larger than in `Deploy/test` the randomised tests are: TOLLGATE_TEST_SCALE, 1 unless
/// set. A night runs 100.
let testScale = ProcessInfo.processInfo.environment["TOLLGATE_TEST_SCALE"].flatMap { Int($0) } ?? 1

/// SplitMix64 (Steele, Lea, Flood, 2014): the same numbers for the same seed.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    /// A generator whose seed is printed; TOLLGATE_TEST_SEED repeats a run.
    static func printed(_ what: String) -> SeededRandom {
        let seed =
            ProcessInfo.processInfo.environment["TOLLGATE_TEST_SEED"].flatMap { UInt64($0) }
            ?? UInt64.random(in: 0...UInt64.max)
        print("\(what): seed \(seed)")
        return SeededRandom(seed: seed)
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

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
