import Testing
import TollgateWire

@testable import TollgateCore

/// Holds against a plain model: dictionaries and sums.
@Suite struct ReservationModelTests {
    private struct Hold {
        var held: UInt64
        var reported: UInt64 = 0
        var end: UInt64
        var life: UInt64
        /// `nil`: it is open.
        var charged: UInt64?
        var isSettled = false
        var isCanceled = false
    }

    private struct Model {
        static let tokens: UInt64 = 400
        static let open = 6
        var used: UInt64 = 0
        var holds: [ReservationID: Hold] = [:]

        var held: UInt64 {
            holds.values.reduce(0) { $0 + ($1.charged == nil ? $1.held : 0) }
        }
        var count: Int { holds.values.filter { $0.charged == nil }.count }

        /// Cuts what is over: what was reported is charged.
        mutating func advance(to boot: UInt64) {
            for (id, hold) in holds where hold.charged == nil && hold.end <= boot { cut(id) }
        }

        mutating func cut(_ id: ReservationID) {
            guard let hold = holds[id] else { return }
            used += hold.reported
            holds[id]?.charged = hold.reported
        }

        mutating func settle(_ id: ReservationID, _ tokens: UInt64) -> Status {
            guard let hold = holds[id] else { return .notFound }
            if hold.isSettled { return hold.charged == tokens ? .ok : .conflict }
            used = used + tokens - (hold.charged ?? 0)
            holds[id]?.charged = tokens
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
        let harness: EngineHarness
        var model = Model()
        var random: SeededRandom

        mutating func pick() -> ReservationID? { model.holds.keys.randomElement(using: &random) }

        mutating func reserve() {
            let tokens = UInt64.random(in: 0...150, using: &random)
            let life = UInt32.random(in: 100...5_000, using: &random)
            let answer = harness.reserve(tokens: tokens, timeToLive: life)
            let reason: Reason =
                model.count >= Model.open
                ? .concurrencyExceeded
                : model.used + model.held + tokens > Model.tokens ? .quotaExhausted : .none
            #expect(answer.status == .ok && answer.reason == reason)
            guard let id = answer.id else { return }
            let nanoseconds = UInt64(life) * 1_000_000
            model.holds[id] = Hold(
                held: tokens, end: harness.boot + nanoseconds, life: nanoseconds)
        }

        mutating func extend() {
            guard let id = pick(), let hold = model.holds[id] else { return }
            let wanted = UInt64.random(in: 0...250, using: &random)
            let reported = UInt64.random(in: 0...100, using: &random)
            let answer = harness.extend(id, hold: wanted, used: reported)
            guard hold.charged == nil else {
                #expect(answer.status == .conflict)
                return
            }
            let more = wanted > hold.held ? wanted - hold.held : 0
            let isAllowed = more == 0 || model.used + model.held + more <= Model.tokens
            #expect(answer.isAllowed == isAllowed && answer.status == .ok)
            model.holds[id]?.reported = reported
            guard isAllowed else { return }
            model.holds[id]?.held += more
            model.holds[id]?.end = harness.boot + hold.life
        }

        mutating func settle() {
            guard let id = pick() else { return }
            let tokens =
                Bool.random(using: &random)
                ? model.holds[id]?.charged ?? 7 : UInt64.random(in: 0...60, using: &random)
            #expect(harness.settle(id, tokens: tokens).status == model.settle(id, tokens))
        }

        mutating func cancel() {
            guard let id = pick() else { return }
            #expect(harness.cancel(id).status == model.cancel(id))
        }

        mutating func step() {
            switch Int.random(in: 0..<8, using: &random) {
            case 0...2: reserve()
            case 3: extend()
            case 4: settle()
            case 5: cancel()
            case 6:
                let tokens = UInt64.random(in: 0...30, using: &random)
                let fits = model.used + model.held + tokens <= Model.tokens
                #expect(harness.check(meters: [("tokens", tokens)]).isAllowed == fits)
                if fits { model.used += tokens }
            default:
                harness.advance(milliseconds: UInt64.random(in: 0...1_500, using: &random))
                model.advance(to: harness.boot)
            }
        }
    }

    @Test func holdsAreWhatAPlainModelSays() throws {
        var random = SeededRandom.printed("holds and a model")
        for _ in 0..<(12 * testScale) {
            let harness = try EngineHarness(
                .holding(
                    tokens: Model.tokens, calls: 1 << 40, perMinute: 1 << 40, open: 6))
            let ledger = MemoryLedger()
            if Bool.random(using: &random) { ledger.begin(harness.engine) }
            var run = Run(harness: harness, random: SeededRandom(seed: random.next()))
            for _ in 0..<250 {
                run.step()
                if harness.engine.currentLedgerState == .serving { ledger.tend(harness.engine) }
                let numbers = harness.numbers()
                #expect(numbers[0] == run.model.used && numbers[1] == run.model.held)
                #expect(numbers[3] == UInt64(run.model.count))
            }
            guard harness.engine.currentLedgerState == .serving else { continue }
            try restoredIsAlike(harness, ledger, run.model)
        }
    }

    /// After a crash what was open is cut, for its connection is gone.
    private func restoredIsAlike(
        _ harness: EngineHarness, _ ledger: MemoryLedger, _ model: Model
    ) throws {
        var model = model
        for (id, hold) in model.holds where hold.charged == nil { model.cut(id) }
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: harness.moment)
        let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
        let numbers = again.numbers()
        #expect(numbers[0] == model.used && numbers[1] == 0 && numbers[3] == 0)
        for (id, hold) in model.holds where hold.isSettled {
            #expect(again.settle(id, tokens: hold.charged ?? 0).isAllowed)
        }
        #expect(again.numbers()[0] == model.used)
    }
}

#if !DEBUG
import CAllocationCount

@Suite struct ReservationAllocationTests {
    @Test func inSteadyStateNoVerbAllocates() throws {
        try #require(tg_allocations_are_counted() == 1)
        let harness = try EngineHarness(
            .holding(tokens: 1 << 50, calls: 1 << 50, perMinute: 1 << 50, open: 1_000))
        let token = EngineHarness.token()
        let reserve = DecisionWorker.reserveBody(token, meters: [("tokens", 9)])
        var unique = DecisionWorker.reserveBody(token, meters: [("tokens", 9)], id: 1)
        let reply = harness.reply
        func made(_ body: [UInt8]) -> ReservationID? {
            let outcome = body.withUnsafeBytes {
                harness.worker.reserve($0, connection: 1, into: reply)
            }
            return ReservationID(UnsafeRawBufferPointer(reply), at: outcome.bytes - 24)
        }
        var extend = DecisionWorker.holdBody(
            ReservationID(low: 0, high: 0), meters: [("tokens", [20, 10])])
        var settle = DecisionWorker.holdBody(
            ReservationID(low: 0, high: 0), meters: [("tokens", [11])])
        func put(_ id: ReservationID?, _ body: inout [UInt8]) {
            body.withUnsafeMutableBytes { id?.write(to: $0, at: 0) }
        }
        func round() {
            harness.boot += 1_000_000_000
            harness.wall += 1_000
            harness.beginTurn()
            put(made(reserve), &extend)
            _ = extend.withUnsafeBytes { harness.worker.extend($0, into: reply) }
            put(made(reserve), &settle)
            _ = settle.withUnsafeBytes { harness.worker.settle($0, into: reply) }
            _ = settle.withUnsafeBytes { harness.worker.settle($0, into: reply) }
            _ = settle.withUnsafeBytes { harness.worker.cancel($0, into: reply) }
            unique[unique.count - 3] &+= 1
            _ = made(unique)
            harness.worker.release(connection: 1)
            harness.worker.tendHolds()
        }
        for _ in 0..<1_300 { round() }
        let before = tg_allocations()
        for _ in 0..<100 { round() }
        // A conflict is refused with a status, which throws: Swift Testing allocates for it.
        #expect(tg_allocations() - before <= 200)
        #expect(harness.engine.gauges.openReservations == 0)
    }
}
#endif
