import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore

/// Months of grants, holds, expiry, changes of the limit and restarts against `CreditModel`.
@Suite struct EngineCreditModelTests {
    /// One life after the other of an engine, with the directory's grants beside it.
    private struct Walk {
        var random: SeededRandom
        var model: CreditModel
        var harness: EngineHarness
        var ledger = MemoryLedger()
        var snapshot = MemoryLedger.Snapshot()
        var ids: [Int: ReservationID] = [:]
        var closed: [[UInt64]] = []
        var next = 0
        /// What was done in this step.
        var done: [String] = []
        var kinds = ["burnt": 0, "refused": 0, "lapsed": 0, "restarts": 0, "overage": 0, "retry": 0]

        init(_ random: SeededRandom) throws {
            self.random = random
            model = CreditModel(
                limit: UInt64.random(in: 0...60, using: &self.random), overage: nil, rolloverMax: 0,
                now: EngineHarness.startSeconds * 1_000)
            var quota = (isSoft: false, overage: UInt64?.none, rollover: UInt64?.none)
            if Int.random(in: 0..<3, using: &self.random) == 0 {
                quota = (true, UInt64.random(in: 0...30, using: &self.random), nil)
                model.overage = quota.overage
            }
            if Bool.random(using: &self.random) {
                quota.rollover = UInt64.random(in: 1...50, using: &self.random)
                model.rolloverMax = quota.rollover ?? 0
            }
            let (limit, made) = (model.limit, quota)
            var policy = PolicyDefinition.crediting {
                ($0.limit, $0.isSoft, $0.overageMax) = (limit, made.isSoft, made.overage)
                $0.rolloverMax = made.rollover
            }
            policy.plans[0].holds.ttlMaxMilliseconds = 86_400_000
            harness = try EngineHarness(policy)
            ledger.begin(harness.engine)
            harness.engine.directory.put(
                OrganizationEntry(
                    id: "acme", subscription: SubscriptionEntry(plan: "pro_tier", isServed: true)))
            // Of whom nothing is known nothing is carried over.
            _ = harness.use(0)
            model.roll()
        }

        private mutating func number(_ range: ClosedRange<UInt64>) -> UInt64 {
            UInt64.random(in: range, using: &random)
        }

        private mutating func chance(_ of: Int) -> Bool {
            Int.random(in: 0..<of, using: &random) == 0
        }

        mutating func step() throws -> Bool {
            done = []
            let hours: [UInt64] = [0, 0, 0, 0, 1, 3, 11, 24, 31, 24 * 9, 24 * 35]
            let gap = (hours.randomElement(using: &random) ?? 0) * 3_600_000
            harness.advance(milliseconds: gap + number(0...4_000_000))
            ledger.tend(harness.engine)
            model.now = harness.wall
            if chance(3) { grant() }
            if chance(15) { void() }
            if chance(25) { limit() }
            if chance(30) { reset() }
            if chance(6) { forget() }
            if chance(40) { snapshot = ledger.snapshot(of: harness.engine, at: harness.moment) }
            if chance(25) { try restart() }
            model.roll()
            // What will be carried over nobody is told.
            if chance(20), model.holds.isEmpty, model.rolloverMax == 0 { return waitAsTold() }
            ask()
            return check()
        }

        private mutating func ask() {
            let units = number(0...40)
            let what = Int.random(in: 0..<8, using: &random)
            done.append("ask \(what) for \(units)")
            switch what {
            case 0:
                model.charge(units)
                let flags = harness.spend(units).flags
                kinds["overage", default: 0] += flags & DecisionFlags.overage == 0 ? 0 : 1
            case 1...2:
                let life = Int64.random(in: 1_000...20_000_000, using: &random)
                let isAllowed = model.admits(units)
                let answer = harness.hold(units, timeToLive: UInt32(life))
                #expect(answer.isAllowed == isAllowed, "\(answer.reason) of \(units)")
                guard isAllowed else { return }
                model.hold(next, units, milliseconds: life)
                ids[next] = answer.id
                next += 1
            case 3:
                guard let key = model.holds.keys.sorted().randomElement(using: &random),
                    let id = ids[key]
                else { return }
                model.settle(key, units)
                #expect(harness.settle(id, tokens: units).isAllowed)
            default:
                let isAllowed = model.admits(units)
                let answer = harness.use(units)
                #expect(answer.isAllowed == isAllowed)
                if isAllowed { model.charge(units) } else { kinds["refused", default: 0] += 1 }
                #expect(answer.quota.limit == model.whole)
                #expect(answer.quota.remaining == model.remaining)
            }
        }

        /// Everything that can be seen is the model's.
        private mutating func check() -> Bool {
            let state = harness.use(0, flags: RequestFlags.dryRun).quota
            #expect(state.limit == model.whole && state.remaining == model.remaining)
            var expected: [String: UInt64] = [:]
            for grant in model.grants { expected[grant.id] = grant.burnt }
            let burnt = harness.burnt
            #expect(burnt == expected)
            let used = harness.usage(organization: "acme", user: "", plan: "pro_tier")
            #expect(used["tokens_quota"] == model.used)
            let shown = harness.shownGrants.filter(\.isUsable).map(\.id)
            #expect(Set(shown) == Set(model.grants.filter { $0.isUsable(model.now) }.map(\.id)))
            #expect(closed + harness.closedCredits == model.closed)
            return burnt == expected && state.limit == model.whole
                && closed + harness.closedCredits == model.closed
        }

        /// Whoever waits as long as they were told is admitted then, and not before.
        private mutating func waitAsTold() -> Bool {
            let units = model.remaining + (model.overage ?? 0) + number(1...20)
            let answer = harness.use(units, flags: RequestFlags.dryRun)
            #expect(answer.reason == .quotaExhausted)
            guard answer.retry != WireLimits.retryNever, answer.retry > 1 else { return true }
            harness.advance(milliseconds: UInt64(answer.retry) - 1)
            #expect(!harness.use(units, flags: RequestFlags.dryRun).isAllowed)
            harness.advance(milliseconds: 1)
            let isAllowed = harness.use(units, flags: RequestFlags.dryRun).isAllowed
            #expect(isAllowed)
            model.now = harness.wall
            model.roll()
            kinds["retry", default: 0] += 1
            return isAllowed
        }

        private mutating func grant() {
            done.append("grant")
            guard model.grants.filter({ $0.isActive(model.now) }).count < 8,
                model.grants.count < 15
            else { return }
            let begins = chance(3) ? Int64(number(0...200_000_000)) : 0
            let made = CreditModel.Grant(
                id: "g\(next)", units: number(1...50), priority: UInt8(number(0...3)),
                effective: model.now + begins,
                expires: chance(3) ? nil : model.now + begins + Int64(number(1...900_000_000)),
                created: model.now)
            next += 1
            model.grants.append(made)
            put(made)
        }

        private func put(_ grant: CreditModel.Grant) {
            let isPut = harness.grant(
                grant.id, grant.units, priority: grant.priority,
                begins: grant.effective - harness.wall,
                ends: grant.expires.map { $0 - harness.wall },
                created: grant.created, isVoided: grant.isVoided)
            #expect(isPut)
        }

        private mutating func void() {
            done.append("void")
            guard let index = model.grants.indices.randomElement(using: &random) else { return }
            model.grants[index].isVoided = true
            put(model.grants[index])
        }

        private mutating func limit() {
            done.append("limit")
            model.roll()
            _ = harness.use(0, flags: RequestFlags.dryRun)
            model.limit = number(0...80)
            harness.engine.directory.put(
                OrganizationEntry(
                    id: "acme", subscription: SubscriptionEntry(plan: "pro_tier", isServed: true),
                    overrides: [OverrideEntry(limit: "tokens_quota", units: model.limit)]))
        }

        private mutating func reset() {
            done.append("reset")
            model.roll()
            _ = harness.use(0)
            #expect(
                harness.engine.resetQuotas(of: "acme", isPersonal: false, at: harness.moment))
            model.reset()
        }

        private mutating func forget() {
            done.append("forget")
            guard let index = model.grants.firstIndex(where: { !$0.isActive(model.now) })
            else { return }
            let gone = model.grants.remove(at: index)
            #expect(
                harness.engine.forgetGrant(
                    gone.id, quota: "tokens_quota", organization: "acme", isPersonal: false,
                    at: harness.moment))
            kinds["lapsed", default: 0] += gone.burnt < gone.units ? 1 : 0
        }

        private mutating func restart() throws {
            done.append("restart")
            // Of a period in which nothing was charged yet no journal tells.
            model.roll()
            model.charge(1)
            #expect(harness.spend(1).isAllowed)
            let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
            closed += harness.closedCredits
            let waiting = harness.closedCredits.count
            let old = harness
            try ledger.restore(snapshot, into: engine, at: old.moment)
            harness = try EngineHarness(engine: engine, policy: old.policy, like: old)
            // What waited for the archive waits again, as far as the journal goes back.
            let again = harness.closedCredits
            #expect(waiting <= closed.count && again.count <= closed.count)
            #expect(again == Array(closed.suffix(again.count)))
            closed.removeLast(again.count)
            harness.engine.directory.put(
                OrganizationEntry(
                    id: "acme", subscription: SubscriptionEntry(plan: "pro_tier", isServed: true),
                    overrides: [OverrideEntry(limit: "tokens_quota", units: model.limit)]))
            ledger = MemoryLedger()
            ledger.begin(harness.engine, life: UInt64(kinds["restarts", default: 0]) + 2)
            for grant in model.grants.shuffled(using: &random) { put(grant) }
            snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
            kinds["restarts", default: 0] += 1
        }
    }

    @Test func monthsOfGrantsAreTheModels() throws {
        var random = SeededRandom.printed("credits")
        var kinds: [String: Int] = [:]
        let wanted = ["overage", "burnt", "lapsed", "restarts", "refused", "retry"]
        var walks = 0
        // The rarest comes about once or so in a walk: on until it was seen often enough.
        while walks < 12 * testScale
            || walks < 120 * testScale && !wanted.allSatisfy({ kinds[$0, default: 0] > 10 })
        {
            walks += 1
            let seed = random.next()
            var walk = try Walk(SeededRandom(seed: seed))
            for _ in 0..<200 {
                guard try walk.step() else {
                    Issue.record("walk of seed \(seed): \(walk.done) \(walk.model)")
                    return
                }
            }
            walk.kinds["burnt"] = Int(walk.model.grants.reduce(0) { $0 + $1.burnt })
            kinds.merge(walk.kinds) { $0 + $1 }
        }
        #expect(wanted.allSatisfy { kinds[$0, default: 0] > 10 }, "\(kinds)")
    }
}
