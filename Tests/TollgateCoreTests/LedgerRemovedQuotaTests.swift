import Testing
import TollgateWire

@testable import TollgateCore

/// What somebody used of a quota that a policy has no more is billed once.
@Suite struct LedgerRemovedQuotaTests {
    private static func policy(_ quota: String) -> PolicyDefinition {
        var policy = PolicyDefinition.small()
        for plan in policy.plans.indices {
            policy.plans[plan].quotas = [
                QuotaDefinition(name: quota, scope: .user, limit: 1_000, period: .day)
            ]
        }
        return policy
    }

    private func spend(_ harness: EngineHarness, user: String = "ada", calls: UInt64) -> Answer {
        harness.consume(
            organization: "acme", user: user, plan: "pro_tier", operation: "chat",
            meters: [("calls", calls)])
    }

    /// Units of all periods that wait to be archived, by counter and user.
    private func closed(_ engine: Engine) -> [String: [UInt64]] {
        var found: [String: [UInt64]] = [:]
        for shard in 0..<Engine.shardCount {
            for period in engine.takeClosed(shard: shard).periods {
                guard let closed = period.bytes.withUnsafeBytes({ ClosedPeriod($0) }) else {
                    continue
                }
                let name = engine.counterNames[Int(closed.counter)].split(separator: " ")[1]
                found["\(name) \(closed.user ?? "")", default: []].append(closed.used)
            }
        }
        return found
    }

    private func closeAll(_ harness: EngineHarness) {
        for shard in 0..<Engine.shardCount {
            var cursor = 0
            while cursor >= 0 {
                #expect(
                    harness.engine.closePeriods(
                        shard: shard, slots: 64, cursor: &cursor, now: harness.moment))
            }
        }
    }

    @Test func whatWasUsedOfItIsBilledOnceAlsoAfterAStart() throws {
        let (harness, ledger) = (try EngineHarness(Self.policy("old")), MemoryLedger())
        ledger.begin(harness.engine)
        #expect(spend(harness, calls: 77).isAllowed)
        #expect(spend(harness, user: "bob", calls: 5).isAllowed)
        try harness.reload(Self.policy("new"))
        #expect(spend(harness, calls: 1).isAllowed)
        #expect(spend(harness, calls: 2).isAllowed)
        ledger.tend(harness.engine)
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: harness.moment)
        let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
        again.engine.setLedgerState(.unjournaled)
        for harness in [harness, again] {
            #expect(closed(harness.engine) == [:])
            harness.advance(milliseconds: 24 * 3_600_000)
            closeAll(harness)
            let all = ["old ada": [77], "old bob": [5], "new ada": [3]] as [String: [UInt64]]
            #expect(closed(harness.engine) == all)
        }
    }

    /// Of a period that is over nothing is dropped where it cannot be written, and nobody is told
    /// that memory is short.
    @Test func itIsKeptWhileTheJournalHasNoRoom() throws {
        let (harness, ledger) = (try EngineHarness(Self.policy("old")), MemoryLedger())
        ledger.begin(harness.engine)
        #expect(spend(harness, calls: 77).isAllowed)
        harness.advance(milliseconds: 24 * 3_600_000)
        while spend(harness, user: "bob", calls: 1).isAllowed {}
        try harness.reload(Self.policy("new"))
        #expect(spend(harness, calls: 1).reason == .ledgerUnavailable)
        #expect(closed(harness.engine)["old ada"] == nil)
        ledger.tend(harness.engine)
        #expect(spend(harness, calls: 1).isAllowed)
        #expect(closed(harness.engine)["old ada"] == [77])
    }

    /// A reload that takes a quota out by mistake and adds nothing leaves every row as it is: put
    /// back, it goes on where it was, and is billed once.
    @Test func whatIsPutBackGoesOnWhereItWas() throws {
        func policy(_ names: [String]) -> PolicyDefinition {
            var policy = PolicyDefinition.small()
            for plan in policy.plans.indices {
                policy.plans[plan].quotas = names.map {
                    QuotaDefinition(name: $0, scope: .user, limit: 100, period: .day)
                }
            }
            return policy
        }
        let (harness, ledger) = (try EngineHarness(policy(["old", "other"])), MemoryLedger())
        ledger.begin(harness.engine)
        #expect(spend(harness, calls: 77).isAllowed)
        try harness.reload(policy(["other"]))
        #expect(spend(harness, calls: 3).isAllowed)
        // Who comes meanwhile has no row with it.
        #expect(spend(harness, user: "bob", calls: 1).isAllowed)
        ledger.tend(harness.engine)
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: harness.moment)
        let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
        again.engine.setLedgerState(.unjournaled)
        for harness in [harness, again] {
            try harness.reload(policy(["old", "other"]))
            #expect(harness.usage(organization: "acme", user: "ada")["old"] == 77)
            for user in ["ada", "bob"] { #expect(spend(harness, user: user, calls: 5).isAllowed) }
            #expect(spend(harness, calls: 19).reason == .none)
            let last = harness.usage(organization: "acme", user: "ada")
            #expect(last["old"] == 101 && last["other"] == 104)
            harness.advance(milliseconds: 24 * 3_600_000)
            closeAll(harness)
            let all = closed(harness.engine)
            #expect(all["old ada"] == [101] && all["old bob"] == [5])
            #expect(all["other ada"] == [104] && all["other bob"] == [6])
        }
    }
}
