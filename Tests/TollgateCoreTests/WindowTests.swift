import Testing
import TollgateCore
import TollgateWire

@Suite struct WindowTests {
    static let second: UInt64 = 1_000_000_000

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

    @Test(arguments: [WindowMode.strict, .smooth], 1...10)
    func aResetIsWhenNothingIsCountedAndNotAMillisecondEarlier(mode: WindowMode, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<200 {
            let window = TestWindow(
                windowNanoseconds: Self.second, subBuckets: Int.random(in: 1...30, using: &random),
                mode: mode, limit: 100)
            var now = UInt64.random(in: 1...10 * Self.second, using: &random)
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                now += UInt64.random(in: 0...400_000_000, using: &random)
                _ = window.attempt(1, at: now)
            }
            // Looking moves the window on, and changes nothing of what is counted.
            now += UInt64.random(in: 0...900_000_000, using: &random)
            guard window.used(at: now) > 0 else { continue }
            let reset = window.reset(at: now) * 1_000_000
            #expect(reset > 0 && window.used(at: now + reset - 1_000_000) > 0, "seed \(seed)")
            #expect(window.used(at: now + reset) == 0, "seed \(seed)")
        }
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
        window.charge(.max)
        window.charge(.max)
        #expect(!window.admits(1, at: Self.second))
        #expect(window.admits(100, at: 3 * Self.second))
    }

    /// M3: limits and charges at the edges of 16, 31, 32, 53 and 64 bits, against arithmetic that
    /// cannot overflow (128 bits).
    @Test(arguments: [WindowMode.strict, .smooth])
    func countersAtTheEdgesOfTheirWidthRefuseAndNeverWrap(mode: WindowMode) {
        var random = SeededRandom.printed("edges of counters")
        let edges = [15, 16, 31, 32, 53, 63].flatMap { bits -> [UInt64] in
            [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]
        }
        let values = edges + [0, 1, 2, .max - 1, .max]
        for limit in values {
            let window = TestWindow(
                windowNanoseconds: Self.second, subBuckets: 4, mode: mode, limit: limit)
            for round in 0..<20 as Range<UInt64> {
                let start = (3 + 4 * round) * Self.second
                var charged: UInt128 = 0
                for step in 0..<4 as Range<UInt64> {
                    let now = start + step * 240_000_000
                    let units = values[Int.random(in: 0..<values.count, using: &random)]
                    let fits = charged + UInt128(units) <= UInt128(limit)
                    let admits = window.admits(units, at: now)
                    #expect(admits == fits, "\(charged) + \(units) of \(limit)")
                    _ = window.retry(units, at: now)
                    _ = window.reset(at: now)
                    // Past the limit too, as CONSUME does. What is counted then may be less than
                    // what came, never less than the limit.
                    guard fits || Bool.random(using: &random) else { continue }
                    window.charge(units)
                    charged += UInt128(units)
                    let used = window.used(at: now)
                    #expect(UInt128(used) == charged || used >= limit)
                    if UInt128(used) != charged { break }
                }
            }
        }
    }

    @Test(arguments: 1...20) func migrationForgetsNothingThatIsStillInside(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<100 {
            func window(_ length: UInt64, _ mode: WindowMode) -> TestWindow {
                TestWindow(
                    windowNanoseconds: length, subBuckets: Int.random(in: 1...30, using: &random),
                    mode: mode, limit: [20, 40_000].randomElement(using: &random) ?? 20)
            }
            let old = window(Self.second, Bool.random(using: &random) ? .strict : .smooth)
            let new = window(UInt64.random(in: 1_000_000...Self.second, using: &random), .strict)
            var log = ExactLog(nanoseconds: new.nanoseconds)
            var now = UInt64.random(in: 0...5 * Self.second, using: &random)
            for attempt in 0..<60 {
                now += UInt64.random(in: 0...40_000_000, using: &random)
                if attempt == 30 {
                    Window.migrate(
                        old.head, old.ring, old.shape, to: new.head, new.ring, new.shape,
                        now: BootTime(nanoseconds: now))
                }
                let window = attempt < 30 ? old : new
                let before = log.used(at: now)
                guard window.attempt(1, at: now) else { continue }
                log.charge(1, at: now)
                if attempt >= 30 { #expect(before < new.limit, "seed \(seed)") }
            }
        }
    }

    @Test func aWorkerWhoseTurnBeganEarlierMigratesLaterChargesAsOfTheirTime() {
        let old = TestWindow(
            windowNanoseconds: Self.second, subBuckets: 10, mode: .strict, limit: 5)
        let new = TestWindow(
            windowNanoseconds: 50_000_000, subBuckets: 50, mode: .strict, limit: 5)
        // Charged at the begin of a sub-bucket, migrated by a turn that began 20 ms before.
        let charged = 7 * Self.second
        for _ in 0..<5 { #expect(old.attempt(1, at: charged)) }
        Window.migrate(
            old.head, old.ring, old.shape, to: new.head, new.ring, new.shape,
            now: BootTime(nanoseconds: charged - 20_000_000))
        #expect(!new.admits(1, at: charged + 49_000_000))
        #expect(new.admits(1, at: charged + 51_000_000))
    }
}
