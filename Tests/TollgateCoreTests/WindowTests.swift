import Testing
import TollgateCore
import TollgateWire

/// A window in memory of its own.
private final class TestWindow {
    let shape: WindowShape
    let limit: UInt64
    let head = UnsafeMutablePointer<WindowHead>.allocate(capacity: 1)
    let ring: UnsafeMutableRawPointer

    init(windowNanoseconds: UInt64, subBuckets: Int, mode: WindowMode, limit: UInt64) {
        shape = .make(
            windowNanoseconds: windowNanoseconds, subBuckets: subBuckets, mode: mode, limit: limit)
        self.limit = limit
        head.initialize(to: WindowHead())
        ring = .allocate(byteCount: shape.ringBytes, alignment: 8)
        ring.initializeMemory(as: UInt8.self, repeating: 0, count: shape.ringBytes)
    }

    deinit {
        head.deallocate()
        ring.deallocate()
    }

    func admits(_ units: UInt64, at now: UInt64) -> Bool {
        let now = BootTime(nanoseconds: now)
        Window.advance(head, ring, shape, now: now)
        let used = Window.used(head, ring, shape, now: now)
        return Window.admits(used: used, units: units, limit: limit)
    }

    func attempt(_ units: UInt64, at now: UInt64) -> Bool {
        guard admits(units, at: now) else { return false }
        Window.charge(head, ring, shape, units: units)
        return true
    }

    func retry(_ units: UInt64, at now: UInt64) -> UInt32 {
        Window.retryMilliseconds(
            head, ring, shape, now: BootTime(nanoseconds: now), units: units, limit: limit)
    }
}

@Suite struct WindowTests {
    static let second: UInt64 = 1_000_000_000

    /// Admissions of a random trace, as (instant, units).
    private func trace(
        _ window: TestWindow, seed: UInt64, attempts: Int, gapMax: UInt64
    ) -> [(UInt64, UInt64)] {
        var random = SeededRandom(seed: seed)
        var now = 5 * Self.second
        var admitted: [(UInt64, UInt64)] = []
        for _ in 0..<attempts {
            now += UInt64.random(in: 0...gapMax, using: &random)
            let units = UInt64.random(in: 1...3, using: &random)
            if window.attempt(units, at: now) { admitted.append((now, units)) }
        }
        return admitted
    }

    @Test(arguments: 1...40) func strictNeverAdmitsMoreThanTheLimitInAnyTrueWindow(seed: UInt64) {
        let limit: UInt64 = 50
        let window = TestWindow(
            windowNanoseconds: Self.second, subBuckets: Int(seed % 21) + 1, mode: .strict,
            limit: limit)
        let log = trace(window, seed: seed, attempts: 4_000, gapMax: 20_000_000)
        var first = 0
        var sum: UInt64 = 0
        for (instant, units) in log {
            sum += units
            while instant - log[first].0 >= Self.second {
                sum -= log[first].1
                first += 1
            }
            #expect(sum <= limit, "seed \(seed)")
        }
        #expect(log.count > 100)
    }

    @Test(arguments: [WindowMode.strict, .smooth], 1...20)
    func aRetryPassesAtItsTimeAndNotAMillisecondEarlier(mode: WindowMode, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let window = TestWindow(
            windowNanoseconds: Self.second, subBuckets: 20, mode: mode, limit: 40)
        var now = 7 * Self.second
        var refused = 0
        for _ in 0..<500 {
            now += UInt64.random(in: 0...30_000_000, using: &random)
            let units = UInt64.random(in: 1...10, using: &random)
            if window.attempt(units, at: now) { continue }
            refused += 1
            let wait = UInt64(window.retry(units, at: now)) * 1_000_000
            #expect(wait > 0, "seed \(seed)")
            #expect(!window.admits(units, at: now + wait - 1_000_000), "seed \(seed)")
            #expect(window.admits(units, at: now + wait), "seed \(seed)")
            now += wait
        }
        #expect(refused > 10)
    }

    @Test func aRequestLargerThanTheLimitIsNeverToldToRetry() {
        let window = TestWindow(
            windowNanoseconds: Self.second, subBuckets: 10, mode: .strict, limit: 5)
        #expect(window.retry(6, at: Self.second) == WireLimits.retryNever)
    }

    @Test func chargesBeyondTheCellSaturateAndKeepRefusing() {
        let window = TestWindow(
            windowNanoseconds: Self.second, subBuckets: 10, mode: .strict, limit: 100)
        #expect(window.admits(1, at: Self.second))
        Window.charge(window.head, window.ring, window.shape, units: .max)
        Window.charge(window.head, window.ring, window.shape, units: .max)
        #expect(!window.admits(1, at: Self.second))
        #expect(window.admits(100, at: 3 * Self.second))
    }
}

/// SplitMix64 (Steele, Lea, Flood, 2014): the same numbers for the same seed.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
