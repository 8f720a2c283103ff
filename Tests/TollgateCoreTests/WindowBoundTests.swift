import Testing
import TollgateCore

/// Windows against an exact log of what was admitted (RELIABILITY C3; FIELD 2.5).
@Suite struct WindowBoundTests {
    /// How attempts come, so as to find a window that admits too much.
    private enum Arrivals: CaseIterable {
        /// Gaps at random.
        case random
        /// Bursts on the edges of the window's length, ±1 ns.
        case windowEdges
        /// Bursts on the edges of the sub-buckets, ±1 ns.
        case bucketEdges
        /// A burst, then one attempt after the other, slower and slower, as a saw's teeth.
        case sawtooth
        /// As soon as a refused attempt is told to come again, and 1 ns before.
        case retries

        func next(
            _ window: TestWindow, after now: UInt64, _ step: Int, _ random: inout SeededRandom
        ) -> UInt64 {
            let width = window.shape.bucketNanoseconds
            func edge(_ length: UInt64) -> UInt64 {
                let ahead =
                    Bool.random(using: &random) ? 1 : UInt64.random(in: 0...2, using: &random)
                let index = now / length + ahead
                return max(now, index * length + UInt64.random(in: 0...2, using: &random) - 1)
            }
            switch self {
            case .random: return now + UInt64.random(in: 0...window.nanoseconds / 8, using: &random)
            case .windowEdges: return step % 8 == 0 ? edge(window.nanoseconds) : now
            case .bucketEdges: return step % 4 == 0 ? edge(width) : now
            case .sawtooth: return now + width / 8 * UInt64(step % 12)
            case .retries:
                let wait = UInt64(window.retry(1, at: now)) * 1_000_000
                return wait == 0 ? now : now + wait - UInt64(step % 2)
            }
        }
    }

    /// Runs one trace and returns the most that any of three stretches held when a charge was
    /// admitted: a window, a stretch one sub-bucket shorter, and the window's oldest sub-bucket.
    private func run(
        _ window: TestWindow, _ arrivals: Arrivals, attempts: Int, _ random: inout SeededRandom
    ) -> (most: UInt64, mostShorter: UInt64, admitted: Int) {
        var log = ExactLog(nanoseconds: window.nanoseconds)
        var shorter = ExactLog(nanoseconds: window.nanoseconds - window.shape.bucketNanoseconds)
        var now = UInt64.random(in: window.nanoseconds...4 * window.nanoseconds, using: &random)
        var most: UInt64 = 0
        var mostShorter: UInt64 = 0
        for step in 0..<attempts {
            now = arrivals.next(window, after: now, step, &random)
            let units = UInt64.random(in: 1...3, using: &random)
            guard window.attempt(units, at: now) else { continue }
            log.charge(units, at: now)
            shorter.charge(units, at: now)
            most = max(most, log.used(at: now))
            mostShorter = max(mostShorter, shorter.used(at: now))
        }
        return (most, mostShorter, log.entries.count)
    }

    private func window(_ mode: WindowMode, _ random: inout SeededRandom) -> TestWindow {
        TestWindow(
            windowNanoseconds: UInt64.random(in: 1_000_000...2_000_000_000, using: &random),
            subBuckets: Int.random(in: 1...60, using: &random), mode: mode,
            limit: UInt64.random(in: 1...40, using: &random))
    }

    @Test func strictNeverAdmitsMoreThanTheLimitInAnyTrueWindow() {
        var random = SeededRandom.printed("strict windows")
        var admitted = 0
        for _ in 0..<(20_000 * testScale) {
            for arrivals in Arrivals.allCases {
                let window = window(.strict, &random)
                let result = run(window, arrivals, attempts: 40, &random)
                admitted += result.admitted
                if result.most > window.limit {
                    Issue.record("\(result.most) of \(window.limit), \(window.shape), \(arrivals)")
                }
            }
        }
        #expect(admitted > 500_000 * testScale)
    }

    @Test func smoothAdmitsLessThanTwiceTheLimitAndTheLimitInAStretchOneSubBucketShorter() {
        var random = SeededRandom.printed("smooth windows")
        for _ in 0..<(2_000 * testScale) {
            for arrivals in Arrivals.allCases {
                let window = window(.smooth, &random)
                let result = run(window, arrivals, attempts: 60, &random)
                if result.most >= 2 * window.limit || result.mostShorter > window.limit {
                    Issue.record("\(result) of \(window.limit), \(window.shape), \(arrivals)")
                }
            }
        }
    }

    @Test func theBoundOfSmoothIsReached() {
        let window = TestWindow(
            windowNanoseconds: 1_000_000_000, subBuckets: 20, mode: .smooth, limit: 100)
        let end = 50 * window.nanoseconds + window.shape.bucketNanoseconds - 1
        var admitted = 0
        for now in [end, end + window.nanoseconds - 1] {
            while window.attempt(1, at: now) { admitted += 1 }
        }
        #expect(admitted == 199)
    }

    /// Arrivals at a rate of the limit per window: what a strict window admits, as a part of what
    /// an exact log would.
    private func admittedPart(
        subBuckets: Int, limit: UInt64, isSteady: Bool, _ random: inout SeededRandom
    ) -> Double {
        let length: UInt64 = 1_000_000_000
        let window = TestWindow(
            windowNanoseconds: length, subBuckets: subBuckets, mode: .strict, limit: limit)
        var exact = ExactLog(nanoseconds: length)
        var now = 5 * length
        var admitted = 0
        for _ in 0..<max(20_000, 40 * limit) {
            let mean = length / limit
            now += isSteady ? mean : random.arrivalGap(meanNanoseconds: Double(mean))
            if exact.used(at: now) < limit { exact.charge(1, at: now) }
            if window.attempt(1, at: now) { admitted += 1 }
        }
        return Double(admitted) / Double(exact.entries.count)
    }

    @Test(arguments: [60, 100, 1_000] as [UInt64], 1...3 as ClosedRange<UInt64>)
    func theDefaultLosesAtMostThreeInAHundredWhenArrivalsAreRandom(limit: UInt64, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let part = admittedPart(
            subBuckets: RateLimitDefinition.subBucketsDefault, limit: limit, isSteady: false,
            &random)
        #expect(part >= 0.97 && part <= 1, "seed \(seed)")
    }

    @Test(arguments: [60, 100] as [UInt64], 1...3 as ClosedRange<UInt64>)
    func fiftySubBucketsLoseAtMostOneInAHundredOfRandomArrivals(limit: UInt64, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let part = admittedPart(subBuckets: 50, limit: limit, isSteady: false, &random)
        #expect(part >= 0.99 && part <= 1, "seed \(seed)")
    }

    @Test(arguments: [10, RateLimitDefinition.subBucketsDefault, 50])
    func aSteadyFlowLosesOneInOneMoreThanTheSubBuckets(subBuckets: Int) {
        var random = SeededRandom(seed: 1)
        let part = admittedPart(
            subBuckets: subBuckets, limit: 1_000, isSteady: true, &random)
        let lost = 1 / Double(subBuckets + 1)
        #expect(part >= 1 - lost - 0.002 && part < 1 - lost * 0.9)
    }
}
