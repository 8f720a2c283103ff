import Testing
import TollgateWire

@testable import TollgateCore

/// A quota that one reload takes out of the policy, for another of its scope, and the next puts
/// back within the period: it goes on from where it was, and what ends late takes nothing off
/// others.
@Suite struct LedgerReturnedQuotaTests {
    enum Limit: CaseIterable { case quotaOfUsers, quotaOfOrganizations, pool }

    /// When the daemon was started anew; every time from the journal alone, and from a snapshot
    /// that was made while the quota was out.
    enum Restart: CaseIterable {
        case never, whileItIsOut, whenItIsBack
        case whileItIsOutFromASnapshot, whenItIsBackFromASnapshot

        var isFromASnapshot: Bool {
            self == .whileItIsOutFromASnapshot || self == .whenItIsBackFromASnapshot
        }
    }

    /// A thousand tokens a month, and so many open at a time; `name`: of the quota, and in the
    /// limit's.
    static func policy(
        _ limit: Limit, _ name: String = "monthly_tokens", cut: CutStream = .estimate,
        open: UInt64 = 100
    ) -> PolicyDefinition {
        var policy = PolicyDefinition.holding(
            calls: 1 << 40, perMinute: 1 << 40, open: open, cut: cut)
        policy.plans[0].quotas[1].name = name
        policy.plans[0].concurrency[0].name = "open_\(name)"
        switch limit {
        case .quotaOfUsers: policy.plans[0].quotas[1].scope = .user
        case .quotaOfOrganizations: break
        case .pool: policy.plans[0].quotas[1].memberMin = 100
        }
        return policy
    }

    /// A daemon, and what it left to the next.
    struct Life {
        var harness: EngineHarness
        let ledger = MemoryLedger()
        private var snapshot = MemoryLedger.Snapshot()

        init(_ policy: PolicyDefinition) throws {
            harness = try EngineHarness(policy)
            ledger.begin(harness.engine)
        }

        mutating func save() {
            snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
        }

        mutating func restart() throws {
            ledger.tend(harness.engine)
            let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
            try ledger.restore(snapshot, into: engine, at: harness.moment)
            harness = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
            engine.setLedgerState(.unjournaled)
        }

        /// Takes the quota out, and whoever is there is charged by what came in its place; then
        /// puts it back.
        mutating func takeOutAndPutBack(
            _ limit: Limit, cut: CutStream = .estimate, open: UInt64 = 100, _ restart: Restart
        ) throws {
            let home = LedgerReturnedQuotaTests.policy(limit, cut: cut, open: open)
            let away = LedgerReturnedQuotaTests.policy(limit, "renamed", cut: cut, open: open)
            try harness.reload(away)
            for user in ["ada", "bob"] {
                let token = EngineHarness.token(user: user)
                #expect(harness.check(token, meters: [("tokens", 1)]).isAllowed)
            }
            ledger.tend(harness.engine)
            if restart.isFromASnapshot { save() }
            if restart == .whileItIsOut || restart == .whileItIsOutFromASnapshot {
                try self.restart()
            }
            try harness.reload(home)
        }

        /// Of the quota when its month is over: by the organization, and by its members.
        mutating func billed() -> (whole: UInt64, users: [String: UInt64]) {
            harness.advance(milliseconds: 31 * 86_400_000)
            var (whole, users): (UInt64, [String: UInt64]) = (0, [:])
            let all = ledger.closeWhatIsOver(of: harness.engine, at: harness.moment)
            for (name, closed) in all where name.contains(" monthly_tokens ") {
                if let user = closed.user {
                    users[user, default: 0] += closed.used
                } else {
                    whole += closed.used
                }
            }
            return (whole, users)
        }
    }

    /// Ada's hold was cut, and is settled with less than that was charged, or with more.
    @Test(arguments: Limit.allCases, [CutStream.nothing, .reported, .estimate])
    func aLateSettleTakesNothingOffOthers(_ limit: Limit, _ cut: CutStream) throws {
        for restart in Restart.allCases {
            for (settled, isOutThen) in [(50, false), (0, false), (250, false), (50, true)]
                as [(UInt64, Bool)]
            {
                var life = try Life(Self.policy(limit, cut: cut))
                let id = try #require(life.harness.reserve(tokens: 200, timeToLive: 1_000).id)
                #expect(life.harness.extend(id, hold: 200, used: 20).isAllowed)
                life.harness.advance(milliseconds: 1_000)
                life.harness.worker.tendHolds()
                if isOutThen {
                    try life.harness.reload(Self.policy(limit, "renamed", cut: cut))
                    #expect(life.harness.check(meters: [("tokens", 1)]).isAllowed)
                    #expect(life.harness.settle(id, tokens: settled).isAllowed)
                }
                try life.takeOutAndPutBack(limit, cut: cut, restart)
                #expect(life.harness.check(meters: [("tokens", 100)]).isAllowed)
                if restart == .whenItIsBack || restart == .whenItIsBackFromASnapshot {
                    try life.restart()
                }
                #expect(life.harness.settle(id, tokens: settled).isAllowed)
                let words = Comment(
                    rawValue: "\(limit) \(cut) \(restart) \(settled), out then: \(isOutThen)")
                let left = 1_000 - 100 - settled
                let over = life.harness.check(meters: [("tokens", left + 1)])
                #expect(over.reason == .quotaExhausted, words)
                #expect(life.harness.check(meters: [("tokens", left)]).isAllowed, words)
                let billed = life.billed()
                #expect(billed.whole == (limit == .quotaOfUsers ? 0 : 1_000), words)
                #expect(
                    billed.users == (limit == .quotaOfOrganizations ? [:] : ["ada": 1_000]), words)
            }
        }
    }

    /// Ada's hold is open meanwhile, and its end gives back what it held and nothing else.
    @Test(arguments: Limit.allCases, Restart.allCases)
    func anOpenHoldGoesOnHolding(_ limit: Limit, _ restart: Restart) throws {
        for isSettled in [true, false] {
            let words = Comment(rawValue: "\(limit) \(restart) settled: \(isSettled)")
            var life = try Life(Self.policy(limit))
            let detached = RequestFlags.detached
            let first = life.harness.reserve(tokens: 300, timeToLive: 600_000, flags: detached)
            let id = try #require(first.id)
            try life.takeOutAndPutBack(limit, restart)
            let second = life.harness.reserve(tokens: 600, timeToLive: 600_000, flags: detached)
            #expect(second.isAllowed, words)
            if restart == .whenItIsBack || restart == .whenItIsBackFromASnapshot {
                try life.restart()
            }
            func reserve(_ tokens: UInt64) -> HoldAnswer {
                life.harness.reserve(tokens: tokens, timeToLive: 600_000, flags: detached)
            }
            #expect(reserve(101).reason == .quotaExhausted, words)
            if isSettled {
                #expect(life.harness.settle(id, tokens: 70).isAllowed, words)
                #expect(reserve(331).reason == .quotaExhausted, words)
                #expect(reserve(330).isAllowed, words)
            } else {
                #expect(life.harness.cancel(id).isAllowed, words)
                #expect(reserve(401).reason == .quotaExhausted, words)
                #expect(reserve(400).isAllowed, words)
            }
        }
    }

    @Test(arguments: Restart.allCases)
    func whatIsOpenStaysCounted(_ restart: Restart) throws {
        var life = try Life(Self.policy(.quotaOfUsers, open: 2))
        func reserve() -> HoldAnswer {
            life.harness.reserve(tokens: 1, timeToLive: 600_000, flags: RequestFlags.detached)
        }
        let id = try #require(reserve().id)
        try life.takeOutAndPutBack(.quotaOfUsers, open: 2, restart)
        let second = try #require(reserve().id)
        if restart == .whenItIsBack || restart == .whenItIsBackFromASnapshot {
            try life.restart()
        }
        #expect(reserve().reason == .concurrencyExceeded)
        #expect(life.harness.settle(id, tokens: 1).isAllowed)
        #expect(reserve().isAllowed)
        #expect(reserve().reason == .concurrencyExceeded)
        #expect(life.harness.settle(second, tokens: 1).isAllowed)
        #expect(reserve().isAllowed)
        #expect(reserve().reason == .concurrencyExceeded)
    }

    /// What burnt for others is not given back for a hold.
    @Test func creditsOfOthersStayBurnt() throws {
        func policy(_ name: String) -> PolicyDefinition {
            var policy = PolicyDefinition.crediting { $0.name = name }
            policy.plans[0].holds.cutStream = .estimate
            return policy
        }
        let (harness, ledger) = (try EngineHarness(policy("tokens_quota")), MemoryLedger())
        ledger.begin(harness.engine)
        #expect(harness.grant("a", 50))
        let id = try #require(harness.hold(140, timeToLive: 1_000).id)
        harness.advance(milliseconds: 1_000)
        harness.worker.tendHolds()
        #expect(harness.burnt == ["a": 40])
        try harness.reload(policy("renamed"))
        #expect(harness.use(1).isAllowed)
        try harness.reload(policy("tokens_quota"))
        #expect(harness.use(10).isAllowed)
        #expect(harness.use(1).reason == .quotaExhausted)
        #expect(harness.burnt == ["a": 50])
        #expect(harness.settle(id, tokens: 20).isAllowed)
        #expect(harness.burnt == ["a": 0])
        #expect(harness.use(121).reason == .quotaExhausted)
        #expect(harness.use(120).isAllowed)
        #expect(harness.burnt == ["a": 50])
        harness.advance(milliseconds: 86_400_000)
        for shard in 0..<Engine.shardCount {
            var cursor = 0
            while cursor >= 0 {
                #expect(
                    harness.engine.closePeriods(
                        shard: shard, slots: 64, cursor: &cursor, now: harness.moment))
            }
        }
        // What was used while it was out, and of it.
        #expect(harness.closedCredits.map { $0[0] }.sorted() == [1, 150])
    }
}
