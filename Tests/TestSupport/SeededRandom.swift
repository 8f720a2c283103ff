import Foundation

/// How much larger than in `Deploy/test` the randomised tests are: TOLLGATE_TEST_SCALE, 1 unless
/// set. A night runs 100.
package let testScale =
    ProcessInfo.processInfo.environment["TOLLGATE_TEST_SCALE"].flatMap { Int($0) } ?? 1

/// SplitMix64 (Steele, Lea, Flood, 2014): the same numbers for the same seed.
package struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    /// A generator whose seed is printed; TOLLGATE_TEST_SEED repeats a run.
    package static func printed(_ what: String) -> SeededRandom {
        let seed =
            ProcessInfo.processInfo.environment["TOLLGATE_TEST_SEED"].flatMap { UInt64($0) }
            ?? UInt64.random(in: 0...UInt64.max)
        print("\(what): seed \(seed)")
        return SeededRandom(seed: seed)
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
