import Testing
import TollgateWire

@testable import TollgateCore

/// Rows that move while a snapshot walks over their shard are in it, wherever they go.
@Suite struct LedgerWalkTests {
    /// With one quota more, a row whose id is so long has the place of one with the others' ids.
    private static let long = (0..<300).map {
        "user-\($0)-" + String(repeating: "x", count: 54 - String($0).utf8.count)
    }
    private static let short = (0..<300).map {
        "user-\($0)-" + String(repeating: "x", count: 14 - String($0).utf8.count)
    }

    private func use(_ harness: EngineHarness, _ ledger: MemoryLedger, users: [String]) {
        for user in users {
            let answer = harness.consume(
                organization: "acme", user: user, plan: "pro_tier", operation: "chat",
                meters: [("calls", 1), ("tokens", 2)])
            #expect(answer.isAllowed)
            ledger.tend(harness.engine)
        }
    }

    private func used(by users: [String], _ harness: EngineHarness) -> Set<[String: UInt64]> {
        Set(
            users.map { user in
                harness.usage(organization: "acme", user: user).filter { $0.key.contains("calls") }
            })
    }

    private static func withOneMore() -> PolicyDefinition {
        var policy = PolicyDefinition.small()
        for plan in policy.plans.indices {
            policy.plans[plan].quotas.append(
                QuotaDefinition(name: "monthly_calls", scope: .user, limit: 1_000, period: .month))
        }
        return policy
    }

    @Test func whoMovesWhileASnapshotIsWrittenIsInIt() throws {
        let (harness, ledger) = (try EngineHarness(), MemoryLedger())
        ledger.begin(harness.engine)
        use(harness, ledger, users: Self.long)
        use(harness, ledger, users: Self.short)
        let index = try #require(
            (0..<Engine.shardCount).first { harness.engine.journalPosition(shard: $0).next > 1 })
        // One slice of each shard before, and this one's first.
        var (slices, failure) = (0, nil as (any Error)?)
        let snapshot = ledger.snapshot(of: harness.engine, at: harness.moment) {
            slices += 1
            guard slices == index + 1 else { return }
            do { try harness.reload(Self.withOneMore()) } catch { failure = error }
            use(harness, ledger, users: Self.long)
            use(harness, ledger, users: Self.short)
        }
        #expect(failure == nil)
        // What comes after it names rows that it has.
        use(harness, ledger, users: Self.long + Self.short)
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(snapshot, into: engine, at: harness.moment)
        let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
        let all = Self.long + Self.short
        #expect(used(by: all, harness) == [["daily_calls": 3, "monthly_calls": 2]])
        #expect(used(by: all, again) == [["daily_calls": 3, "monthly_calls": 2]])
    }
}
