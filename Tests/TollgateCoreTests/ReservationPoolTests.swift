import Testing
import TollgateWire

@testable import TollgateCore

/// Holds of members who share an organization's quota, against a plain model; over a restart too.
@Suite struct ReservationPoolTests {
    private struct Hold {
        var user: String
        var units: UInt64
        var connection: UInt64
        var end: UInt64
        var isDetached: Bool
        var charged: UInt64?
        var isSettled = false
        var isCanceled = false
    }

    private struct Model {
        var limit: UInt64
        var min: UInt64
        var max: UInt64?
        var users: [String]
        var used: [String: UInt64] = [:]
        var holds: [ReservationID: Hold] = [:]

        func occupied(_ user: String) -> UInt64 {
            holds.values.reduce(used[user] ?? 0) {
                $0 + ($1.user == user && $1.charged == nil ? $1.units : 0)
            }
        }

        func owed(_ user: String) -> UInt64 {
            let occupied = occupied(user)
            return min > occupied ? min - occupied : 0
        }

        func admits(_ user: String, _ wanted: UInt64) -> Bool {
            if let max, occupied(user) + wanted > max { return false }
            let all = users.reduce(0) { $0 + occupied($1) } + wanted
            let others = users.reduce(0) { $0 + ($1 == user ? 0 : owed($1)) }
            return all <= limit && (wanted <= owed(user) || all + others <= limit)
        }

        /// Nothing was reported, so a cut costs nothing.
        mutating func cut(where isCut: (Hold) -> Bool) {
            for (id, hold) in holds where hold.charged == nil && isCut(hold) {
                holds[id]?.charged = 0
            }
        }

        mutating func settle(_ id: ReservationID, _ units: UInt64) -> Status {
            guard let hold = holds[id] else { return .notFound }
            if hold.isSettled { return hold.charged == units ? .ok : .conflict }
            used[hold.user] = (used[hold.user] ?? 0) + units - (hold.charged ?? 0)
            holds[id]?.charged = units
            holds[id]?.isSettled = true
            return .ok
        }

        mutating func cancel(_ id: ReservationID) -> Status {
            guard let hold = holds[id] else { return .notFound }
            if hold.isCanceled, !hold.isSettled { return .ok }
            guard hold.charged == nil else { return .conflict }
            holds[id]?.charged = 0
            holds[id]?.isCanceled = true
            return .ok
        }
    }

    private struct Run {
        var harness: EngineHarness
        var model: Model
        var random: SeededRandom
        var refused = 0

        private mutating func user() -> String {
            model.users.randomElement(using: &random) ?? "ada"
        }

        /// In an order that hangs on the seed alone.
        private mutating func pick() -> ReservationID? {
            model.holds.keys.sorted { ($0.high, $0.low) < ($1.high, $1.low) }
                .randomElement(using: &random)
        }

        private mutating func reserve() {
            let (user, units) = (user(), UInt64.random(in: 0...40, using: &random))
            let life = UInt32.random(in: 1_000...20_000, using: &random)
            let isDetached = Bool.random(using: &random)
            let connection = UInt64.random(in: 1...3, using: &random)
            let answer = harness.reserve(
                tokens: units, user: user, timeToLive: life,
                flags: isDetached ? RequestFlags.detached : 0, connection: connection)
            let isAdmitted = model.admits(user, units)
            #expect(answer.isAllowed == isAdmitted, "\(user) \(units) of \(model)")
            #expect(isAdmitted || answer.reason == .quotaExhausted)
            refused += isAdmitted ? 0 : 1
            guard let id = answer.id else { return }
            model.holds[id] = Hold(
                user: user, units: units, connection: connection,
                end: harness.boot + UInt64(life) * 1_000_000, isDetached: isDetached)
        }

        mutating func step() {
            switch Int.random(in: 0..<10, using: &random) {
            case 0...3: reserve()
            case 4:
                guard let id = pick() else { return }
                // Also more than was held, and more than there is.
                let units = UInt64.random(in: 0...60, using: &random)
                #expect(harness.settle(id, tokens: units).status == model.settle(id, units))
            case 5...6:
                guard let id = pick() else { return }
                #expect(harness.cancel(id).status == model.cancel(id))
            case 7:
                let (user, units) = (user(), UInt64.random(in: 0...20, using: &random))
                let isAdmitted = model.admits(user, units)
                let now = harness.moment.wall.seconds
                let answer = harness.check(
                    EngineHarness.token(user: user, issued: now - 10, expires: now + 100),
                    meters: [("tokens", units)])
                #expect(answer.isAllowed == isAdmitted, "\(user) \(units) of \(model)")
                if isAdmitted { model.used[user] = (model.used[user] ?? 0) + units }
            case 8:
                let connection = UInt64.random(in: 1...3, using: &random)
                harness.worker.release(connection: connection)
                model.cut { !$0.isDetached && $0.connection == connection }
            default:
                harness.advance(milliseconds: UInt64.random(in: 0...4_000, using: &random))
                let boot = harness.boot
                model.cut { $0.end <= boot }
            }
        }

        /// What was charged is the model's, of each member, and of all together.
        func compare() {
            harness.worker.tendHolds()
            var shares: [String: UInt64] = [:]
            var whole: UInt64 = 0
            for shard in 0..<Engine.shardCount {
                for saved in harness.engine.savedUsage(shard: shard) {
                    if saved.counter.hasPrefix("m monthly_tokens ") {
                        shares[saved.user ?? ""] = saved.used
                    } else if saved.counter.hasPrefix("q monthly_tokens ") {
                        whole = saved.used
                    }
                }
            }
            #expect(shares == model.used.filter { $0.value > 0 })
            #expect(whole == shares.values.reduce(0, +))
            let open = model.holds.values.filter { $0.charged == nil }.count
            #expect(harness.engine.gauges.openReservations == open)
        }
    }

    private func fill(_ engine: Engine, _ users: [String]) {
        engine.directory.put(
            OrganizationEntry(
                id: "acme", subscription: SubscriptionEntry(plan: "pro_tier", isServed: true)))
        for user in users { engine.directory.put(UserEntry(organization: "acme", id: user)) }
    }

    @Test func membersHoldNoMoreThanTheirsAndLeaveOthersWhatTheyAreOwed() throws {
        var random = SeededRandom.printed("holds of a pool")
        var refused = 0
        for _ in 0..<(20 * testScale) {
            let users = ["ada", "bob", "cyd", "dot"]
            let limit = UInt64.random(in: 100...300, using: &random)
            var model = Model(
                limit: limit, min: UInt64.random(in: 0...(limit / 4), using: &random), max: nil,
                users: users)
            if model.min == 0 || Bool.random(using: &random) {
                model.max = UInt64.random(in: max(model.min, 20)...150, using: &random)
            }
            var policy = PolicyDefinition.holding(
                tokens: limit, calls: 1 << 40, perMinute: 1 << 40, open: 1_000)
            policy.plans[0].quotas[1].memberMin = model.min
            policy.plans[0].quotas[1].memberMax = model.max
            let (harness, ledger) = (try EngineHarness(policy), MemoryLedger())
            fill(harness.engine, users)
            ledger.begin(harness.engine)
            var run = Run(
                harness: harness, model: model, random: SeededRandom(seed: random.next()))
            var snapshot = MemoryLedger.Snapshot()
            for number in 0..<150 {
                run.step()
                run.compare()
                ledger.tend(harness.engine)
                if number == 70, Bool.random(using: &random) {
                    snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
                }
            }
            let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
            fill(engine, users)
            try ledger.restore(snapshot, into: engine, at: harness.moment)
            run.harness = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
            run.model.cut { !$0.isDetached }
            for _ in 0..<80 {
                run.compare()
                run.step()
            }
            refused += run.refused
        }
        #expect(refused > 100, "\(refused)")
    }
}
