import TestSupport
import Testing

@testable import TollgateCore

/// Windows that were saved and put back: never more than the limit in any true window, whatever
/// the time between and wherever boottime begins anew (DESIGN, "Clocks").
@Suite struct WindowRestoreTests {
    private static let second: UInt64 = 1_000_000_000

    /// The window as a snapshot has it, in another that has just been made.
    private func restored(_ window: TestWindow, _ saved: SavedClocks, _ now: Moment) -> TestWindow {
        let again = TestWindow(
            windowNanoseconds: window.nanoseconds, subBuckets: Int(window.shape.buckets),
            mode: window.shape.mode, limit: window.limit)
        again.head.pointee = window.head.pointee
        again.ring.copyMemory(from: window.ring, byteCount: window.shape.ringBytes)
        Window.restore(again.head, again.ring, again.shape, saved: saved, now: now)
        return again
    }

    private func fill(
        _ window: TestWindow, _ log: inout ExactLog, from start: UInt64, boot: UInt64, count: Int,
        _ random: inout SeededRandom
    ) -> UInt64 {
        var now = start
        for _ in 0..<count {
            now += UInt64.random(in: 0...window.nanoseconds / 12, using: &random)
            let units = UInt64.random(in: 1...3, using: &random)
            guard window.attempt(units, at: now - boot) else { continue }
            log.charge(units, at: now)
            #expect(log.used(at: now) <= window.limit)
        }
        return now
    }

    @Test func noTrueWindowHoldsMoreThanItsLimitOverARestart() {
        var random = SeededRandom.printed("windows over a restart")
        for round in 0..<(2_000 * testScale) {
            let window = TestWindow(
                windowNanoseconds: UInt64.random(in: 1...90, using: &random) * Self.second,
                subBuckets: Int.random(in: 1...40, using: &random), mode: .strict,
                limit: UInt64.random(in: 1...30, using: &random))
            var log = ExactLog(nanoseconds: window.nanoseconds)
            // True time in nanoseconds; boottime is less by when the host was started.
            let began = fill(
                window, &log, from: 1_000_000 * Self.second, boot: 0, count: 60, &random)
            let isSameBoot = round % 4 == 0
            let pause = UInt64.random(in: 0...2 * window.nanoseconds, using: &random)
            let now = began + pause
            // Long ago, or just before: then some of the window lies before boottime began.
            let since = UInt64.random(in: 0...now / 2, using: &random)
            let boot = isSameBoot ? 0 : now - since / (round % 3 == 0 ? 1 : 10_000)
            let saved = SavedClocks(
                boot: BootTime(nanoseconds: began),
                wall: WallTime(milliseconds: Int64(began / 1_000_000)), isSameBoot: isSameBoot)
            // A clock that was set back, or not at all, makes what has passed less, never more.
            let wall = Int64(now / 1_000_000) - (round % 5 == 0 ? 3_600_000 : 0)
            let moment = Moment(
                boot: BootTime(nanoseconds: now - boot), wall: WallTime(milliseconds: wall))
            let again = restored(window, saved, moment)
            _ = fill(again, &log, from: now, boot: boot, count: 60, &random)
        }
    }

    @Test func whatIsOldIsGoneAndWhatIsLateLeavesOneBucketLater() {
        let window = TestWindow(
            windowNanoseconds: 60 * Self.second, subBuckets: 60, mode: .strict, limit: 10)
        #expect(window.attempt(10, at: 1_000 * Self.second))
        let saved = SavedClocks(
            boot: BootTime(nanoseconds: 1_001 * Self.second), wall: WallTime(seconds: 5_000),
            isSameBoot: false)
        func used(after seconds: Int64) -> UInt64 {
            let moment = Moment(
                boot: BootTime(nanoseconds: 900 * Self.second),
                wall: WallTime(seconds: 5_000 + seconds))
            return restored(window, saved, moment).used(at: moment.boot.nanoseconds)
        }
        #expect(used(after: 0) == 10)
        #expect(used(after: 58) == 10)
        #expect(used(after: 63) == 0)
        #expect(used(after: -100) == 10)
        #expect(used(after: Int64.max / 2_000_000) == 0)
    }

    @Test(arguments: [0, 1, 1 << 40, .max / 2, .max] as [UInt64])
    func noClocksAndNoCountsTrap(boot: UInt64) {
        let edges: [UInt64] = [0, 1, 1 << 40, .max / 2, .max]
        for limit in [100, 100_000, UInt64.max / 2] {
            for (newest, now) in edges.flatMap({ a in edges.map { (a, $0) } }) {
                for wall in [Int64.min, -1, 0, 1, .max / 2, .max] {
                    let window = TestWindow(
                        windowNanoseconds: Self.second, subBuckets: 10, mode: .strict,
                        limit: limit)
                    let bytes = window.shape.ringBytes
                    window.ring.initializeMemory(as: UInt8.self, repeating: 0xff, count: bytes)
                    window.head.pointee.newest = newest
                    window.head.pointee.sum = 5
                    for isSameBoot in [false, true] {
                        let saved = SavedClocks(
                            boot: BootTime(nanoseconds: boot), wall: WallTime(milliseconds: 5),
                            isSameBoot: isSameBoot)
                        let moment = Moment(
                            boot: BootTime(nanoseconds: now), wall: WallTime(milliseconds: wall))
                        let again = restored(window, saved, moment)
                        #expect(isSameBoot || again.head.pointee.newest == now / 100_000_000)
                    }
                }
            }
        }
    }
}
