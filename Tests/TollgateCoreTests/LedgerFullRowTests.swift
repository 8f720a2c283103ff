import Testing
import TollgateWire

@testable import TollgateCore

/// So many quotas come and go within their periods that a row has no room for all of them: what it
/// has no room for is closed as a part of its period, and what was held of it is given up.
@Suite struct LedgerFullRowTests {
    private static func home() -> PolicyDefinition {
        var policy = PolicyDefinition.holding(
            calls: 1 << 40, perMinute: 1 << 40, open: 3, cut: .estimate)
        policy.plans[0].quotas[1].scope = .user
        return policy
    }

    /// As many quotas as a plan may have, under other names each time.
    private static func wide(_ round: Int) -> PolicyDefinition {
        var policy = home()
        policy.plans[0].rateLimits = []
        policy.plans[0].concurrency = []
        policy.plans[0].quotas = (0..<PolicyLimits.limitsPerPlanMax).map {
            QuotaDefinition(
                name: "wide\(round)_\($0)", scope: .user, limit: 1 << 40, period: .month)
        }
        return policy
    }

    private struct Life {
        var harness: EngineHarness
        let ledger = MemoryLedger(isGrowing: true)
        let cut: ReservationID
        let open: ReservationID
        /// What was closed of the quota that ada has spent 200 of.
        var parts: [UInt64] = []

        /// A hold of 200 was cut, one of 300 is open, and then there is no room for their quota.
        init() throws {
            harness = try EngineHarness(LedgerFullRowTests.home())
            ledger.begin(harness.engine)
            cut = try #require(harness.reserve(tokens: 200, timeToLive: 1_000).id)
            harness.advance(milliseconds: 1_000)
            harness.worker.tendHolds()
            let detached = RequestFlags.detached
            open = try #require(
                harness.reserve(tokens: 300, timeToLive: 600_000, flags: detached).id)
            for round in 0..<40 where parts.isEmpty {
                try harness.reload(LedgerFullRowTests.wide(round))
                for _ in 0..<100 where !harness.check(meters: [("tokens", 0)]).isAllowed {
                    ledger.tend(harness.engine)
                }
                ledger.tend(harness.engine)
                parts = closed
            }
        }

        var closed: [UInt64] {
            (0..<Engine.shardCount).flatMap { shard in
                harness.engine.takeClosed(shard: shard).periods.compactMap { item -> UInt64? in
                    guard let period = item.bytes.withUnsafeBytes({ ClosedPeriod($0) }),
                        harness.engine.counterNames[Int(period.counter)].contains("monthly_tokens")
                    else { return nil }
                    return period.used
                }
            }
        }

        mutating func restart() throws {
            let snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
            let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
            try ledger.restore(snapshot, into: engine, at: harness.moment)
            harness = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
            engine.setLedgerState(.unjournaled)
        }
    }

    @Test(arguments: [false, true])
    func whatEndsLateTakesNothingOffOthers(_ isRestarted: Bool) throws {
        var life = try Life()
        #expect(life.parts == [200])
        if isRestarted { try life.restart() }
        try life.harness.reload(Self.home())
        func reserve(_ tokens: UInt64) -> HoldAnswer {
            life.harness.reserve(
                tokens: tokens, timeToLive: 600_000, flags: RequestFlags.detached)
        }
        #expect(life.harness.check(meters: [("tokens", 100)]).isAllowed)
        #expect(reserve(600).isAllowed)
        #expect(life.harness.settle(life.cut, tokens: 50).isAllowed)
        #expect(life.harness.cancel(life.open).isAllowed)
        #expect(reserve(301).reason == .quotaExhausted)
        #expect(reserve(299).isAllowed)
        #expect(reserve(1).isAllowed)
        #expect(reserve(0).reason == .concurrencyExceeded)
    }
}
