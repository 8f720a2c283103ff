import Testing
import TollgateWire

@testable import TollgateCore

/// Workers whose turns began at different moments, step by step (RELIABILITY C2b, T1, T4).
@Suite struct EngineTurnTests {
    /// A worker of an engine that others share.
    private final class Turns {
        let harness: EngineHarness
        let worker: DecisionWorker

        init(_ harness: EngineHarness) {
            self.harness = harness
            worker = harness.engine.makeWorker()
        }

        func begin(boot: UInt64, wall: Int64) {
            worker.beginTurn(
                Moment(boot: BootTime(nanoseconds: boot), wall: WallTime(milliseconds: wall)),
                policy: harness.policy)
        }

        func check(_ token: String) -> Answer {
            let body = EngineHarness.body(token: token, operation: "models", address: [])
            let outcome = body.withUnsafeBytes { worker.check($0, into: harness.reply) }
            return Answer(outcome, UnsafeRawBufferPointer(harness.reply))
        }
    }

    /// All orders of `counts[i]` steps of each worker `i`.
    private static func orders(_ counts: [Int]) -> [[Int]] {
        if counts.allSatisfy({ $0 == 0 }) { return [[]] }
        return counts.indices.filter { counts[$0] > 0 }.flatMap { worker -> [[Int]] in
            var rest = counts
            rest[worker] -= 1
            return orders(rest).map { [worker] + $0 }
        }
    }

    @Test func inEveryOrderOfThreeWorkersStepsNoLimitIsPassed() throws {
        var policy = PolicyDefinition.small()
        policy.plans[1].rateLimits = [
            RateLimitDefinition(
                name: "w", scope: .organization, limit: 2, windowNanoseconds: 1_000_000_000,
                subBuckets: 4)
        ]
        policy.plans[1].quotas = [
            QuotaDefinition(name: "q", scope: .organization, limit: 3, period: .day)
        ]
        let harness = try EngineHarness(policy)
        let workers = (0..<3).map { _ in Turns(harness) }
        // Each begins a turn, checks, begins another, checks. A turn that began earlier goes on
        // with its moment when others have charged later ones.
        let orders = Self.orders([4, 4, 4])
        #expect(orders.count == 34_650)
        for (number, order) in orders.enumerated() where number % max(1, 2 / testScale) == 0 {
            Self.run(order, workers, organization: "o\(number)")
        }
    }

    private static func run(
        _ order: [Int], _ workers: [Turns], organization: String
    ) {
        let token = EngineHarness.token(organization: organization)
        var taken = [0, 0, 0]
        var boots: [UInt64] = [0, 0, 0]
        var admitted: [(boot: UInt64, worker: Int)] = []
        // Turns begin at the moment of their step: 200 ms after the step before.
        for (step, worker) in order.enumerated() {
            let boot = 1_000_000_000_000 + UInt64(step) * 200_000_000
            if taken[worker] == 0 || taken[worker] == 2 {
                boots[worker] = boot
                workers[worker].begin(
                    boot: boot, wall: EngineHarness.startSeconds * 1_000 + Int64(step) * 200)
            } else if workers[worker].check(token).isAllowed {
                admitted.append((boots[worker], worker))
            }
            taken[worker] += 1
        }
        for charge in admitted {
            let inside = admitted.filter {
                $0.boot <= charge.boot && charge.boot - $0.boot < 1_000_000_000
            }
            #expect(inside.count <= 2, "order \(order)")
        }
        #expect(admitted.count <= 3, "order \(order)")
    }

    @Test func aRowThatIsOverByOneWorkersClockIsKeptForAnotherWhoseTurnBeganEarlier() throws {
        var policy = PolicyDefinition.small(userPerSecond: 2, daily: 3)
        policy.plans[1].rateLimits.removeLast(2)
        policy.plans[1].quotas.removeLast()
        let harness = try EngineHarness(policy)
        let early = Turns(harness)
        let late = Turns(harness)
        let token = EngineHarness.token(expires: EngineHarness.startSeconds + 80_000)
        // 2023-11-14T22:13:20Z: the day ends in 6,400 s.
        func begin(_ turns: Turns, at milliseconds: Int64) {
            turns.begin(
                boot: 1_000_000_000_000 + UInt64(milliseconds) * 1_000_000,
                wall: EngineHarness.startSeconds * 1_000 + milliseconds)
        }
        for milliseconds in [0, 2_000, 6_399_000] as [Int64] {
            begin(early, at: milliseconds)
            #expect(early.check(token).isAllowed)
        }
        begin(early, at: 6_399_999)
        begin(late, at: 6_401_500)
        for _ in 0..<400 { late.worker.sweep() }
        #expect(early.check(token).reason == .quotaExhausted)
        #expect(harness.engine.gauges.users == 1)
        begin(late, at: 6_415_000)
        for _ in 0..<400 { late.worker.sweep() }
        #expect(harness.engine.gauges.users == 0)
    }

    @Test func aPeriodEndsOnceWhenItsZoneIsEdited() throws {
        var policy = PolicyDefinition.small(userPerSecond: 1_000, daily: 2)
        let harness = try EngineHarness(policy)
        for _ in 0..<2 { #expect(harness.check(operation: "models").isAllowed) }
        // An hour ahead of UTC: the next midnight comes an hour before the one that was counted to.
        policy.timeZone = ZoneRules(
            name: "T", transitions: [], offsets: [], firstOffset: 3_600)
        try harness.reload(policy)
        let refused = harness.check(operation: "models")
        #expect(refused.reason == .quotaExhausted && refused.retry == 6_400_000)
        harness.advance(milliseconds: 6_399_999)
        #expect(harness.check(operation: "models").reason == .quotaExhausted)
        harness.advance(milliseconds: 1)
        for _ in 0..<2 { #expect(harness.check(operation: "models").isAllowed) }
        let next = harness.check(operation: "models")
        #expect(next.reason == .quotaExhausted && next.retry == 82_800_000)
    }

    @Test func windowsDoNotSeeStepsOfTheWallClockAndPeriodsNeverReopen() throws {
        for seed in 1...UInt64(8 * testScale) {
            var random = SeededRandom(seed: seed)
            let policy = PolicyDefinition.small(userPerSecond: 4, daily: 30)
            let stepped = try EngineHarness(policy)
            let steady = try EngineHarness(policy)
            var admitted: [Int64: UInt64] = [:]
            var last = Int64.min
            for _ in 0..<200 {
                let passed = UInt64.random(in: 0...400, using: &random)
                steady.advance(milliseconds: passed)
                if Int.random(in: 0..<6, using: &random) == 0 {
                    stepped.wall += BillingClockTests.step(&random)
                }
                stepped.advance(milliseconds: passed)
                // A dry run with no quota to look at tells of the window alone.
                func rate(_ harness: EngineHarness) -> UInt64? {
                    harness.usage(organization: "acme", user: "ada", plan: "pro_tier")["per_second"]
                }
                let before = rate(stepped)
                #expect(before == rate(steady), "seed \(seed)")
                let period = stepped.worker.clock.period
                #expect(period.milliseconds >= last, "seed \(seed)")
                last = period.milliseconds
                for harness in [stepped, steady] {
                    _ = harness.consume(
                        organization: "acme", user: "ada", plan: "pro_tier", operation: "models",
                        meters: [("calls", before ?? 0 < 4 ? 1 : 0)])
                }
                let day = Calendar.interval(of: .day, at: period, zone: .utc)
                if before ?? 0 < 4 { admitted[day.end, default: 0] += 1 }
                let used = stepped.usage(organization: "acme", user: "ada", plan: "pro_tier")
                #expect(used["daily_calls"] == admitted[day.end] ?? 0, "seed \(seed)")
            }
        }
    }
}
