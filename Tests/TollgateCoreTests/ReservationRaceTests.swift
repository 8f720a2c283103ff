import Testing
import TollgateWire

@testable import TollgateCore

/// 64 callers that reserve, extend, settle, cancel and die: a quota of N admits exactly N units,
/// and no hold is left (RELIABILITY C7).
@Suite struct ReservationRaceTests {
    private static let callers = 64
    private static let attempts = 40 * testScale
    private static let quota: UInt64 = 2_000

    /// One caller on one connection: what it knows to have been charged.
    private struct Caller {
        let worker: DecisionWorker
        let reply = UnsafeMutableRawBufferPointer.allocate(
            byteCount: DecisionWorker.replyBytesMax, alignment: 8)
        let token: String
        var random: SeededRandom
        var connection: UInt64 = 1
        var charged: UInt64 = 0

        mutating func reserve(_ tokens: UInt64) -> ReservationID? {
            let body = DecisionWorker.reserveBody(token, meters: [("tokens", tokens)])
            return HoldAnswer(
                body.withUnsafeBytes {
                    worker.reserve($0, connection: connection, into: reply)
                }, reply
            ).id
        }

        func extend(_ id: ReservationID, _ hold: UInt64, used: UInt64) -> Bool {
            let body = DecisionWorker.holdBody(id, meters: [("tokens", [hold, used])])
            return HoldAnswer(
                body.withUnsafeBytes { worker.extend($0, into: reply) }, reply
            ).isAllowed
        }

        mutating func settle(_ id: ReservationID, _ tokens: UInt64) -> Bool {
            let body = DecisionWorker.holdBody(id, meters: [("tokens", [tokens])])
            charged += tokens
            return HoldAnswer(
                body.withUnsafeBytes { worker.settle($0, into: reply) }, reply
            ).isAllowed
        }

        /// Everything that it was told held true.
        mutating func run() -> Bool {
            let estimate = UInt64.random(in: 1...9, using: &random)
            guard let id = reserve(estimate) else { return true }
            let actual = UInt64.random(in: 0...estimate, using: &random)
            switch Int.random(in: 0..<5, using: &random) {
            case 0:
                let more = extend(id, estimate + 3, used: actual) ? estimate + 3 : estimate
                return settle(id, UInt64.random(in: 0...more, using: &random))
            case 1:
                let body = DecisionWorker.cancelBody(id)
                return body.withUnsafeBytes { worker.cancel($0, into: reply) }.status == .ok
            case 2:
                guard extend(id, estimate, used: actual) else { return false }
                worker.release(connection: connection)
                connection += 1
                charged += actual
                return !extend(id, estimate, used: actual)
            default: return settle(id, actual)
            }
        }
    }

    @Test func aQuotaAdmitsExactlyItsUnitsWhoeverDies() throws {
        let harness = try EngineHarness(
            .holding(
                tokens: Self.quota, calls: 1 << 40, perMinute: 1 << 40, open: 1_000))
        let (engine, policy) = (harness.engine, harness.policy)
        let seed = SeededRandom.printed("callers that die").next0()
        let sums = onThreads(Self.callers) { index -> (UInt64, Bool) in
            let worker = engine.makeWorker()
            worker.beginTurn(EngineHarness.startMoment, policy: policy)
            var caller = Caller(
                worker: worker, token: EngineHarness.token(user: "user\(index % 7)"),
                random: SeededRandom(seed: seed &+ UInt64(index)))
            defer { caller.reply.deallocate() }
            var isTrue = true
            for _ in 0..<Self.attempts { isTrue = caller.run() && isTrue }
            return (caller.charged, isTrue)
        }
        #expect(sums.allSatisfy { $0.1 })
        var charged = sums.reduce(0) { $0 + $1.0 }
        #expect(charged <= Self.quota)
        #expect(engine.gauges.openReservations == 0)
        #expect(Array(harness.standing()["monthly_tokens"] ?? []) == [charged, 0])
        // What is left is admitted to the last unit.
        while let id = harness.reserve(tokens: 1).id {
            #expect(harness.settle(id, tokens: 1).isAllowed)
            charged += 1
            if charged > Self.quota { break }
        }
        #expect(charged == Self.quota)
        #expect(harness.standing()["monthly_tokens"] == [Self.quota, 0])
    }

    @Test func theSameIdFromManyIsChargedOnceAndAnsweredAlike() throws {
        let harness = try EngineHarness(.holding(perMinute: 1 << 40, open: 1_000))
        let (engine, policy) = (harness.engine, harness.policy)
        for id in UInt64(1)...20 {
            let answers = onThreads(10) { index -> HoldAnswer in
                let worker = engine.makeWorker()
                worker.beginTurn(EngineHarness.startMoment, policy: policy)
                let reply = UnsafeMutableRawBufferPointer.allocate(
                    byteCount: DecisionWorker.replyBytesMax, alignment: 8)
                defer { reply.deallocate() }
                let body = DecisionWorker.reserveBody(
                    EngineHarness.token(), meters: [("tokens", 3)],
                    flags: RequestFlags.detached, id: id)
                return HoldAnswer(
                    body.withUnsafeBytes {
                        worker.reserve($0, connection: UInt64(index) + 1, into: reply)
                    }, reply)
            }
            #expect(answers.count == 10 && answers.allSatisfy { $0 == answers[0] })
            #expect(answers[0].isAllowed)
            #expect(harness.numbers()[1] == 3 * id && harness.numbers()[3] == id)
        }
    }
}

extension SeededRandom {
    fileprivate func next0() -> UInt64 {
        var copy = self
        return copy.next()
    }
}
