import Testing
import TollgateWire

@testable import TollgateCore

@Suite struct IdempotencyTests {
    private let harness: EngineHarness

    init() throws { harness = try EngineHarness(.holding()) }

    private func check(
        _ id: UInt64, tokens: UInt64 = 5, user: String = "ada", organization: String = "acme",
        flags: UInt16 = 0
    ) -> HoldAnswer {
        let body =
            EngineHarness.body(
                token: EngineHarness.token(user: user, organization: organization),
                meters: [("tokens", tokens)], flags: flags) + DecisionWorker.extensionField(id)
        return HoldAnswer(
            body.withUnsafeBytes { harness.worker.check($0, into: harness.reply) }, harness.reply)
    }

    private func consume(_ id: UInt64, tokens: UInt64) -> HoldAnswer {
        let body =
            EngineHarness.consumeBody(
                organization: "acme", user: "ada", plan: "pro_tier", operation: "chat",
                meters: [("tokens", tokens)]) + DecisionWorker.extensionField(id)
        return HoldAnswer(
            body.withUnsafeBytes { harness.worker.consume($0, into: harness.reply) },
            harness.reply)
    }

    @Test func theSameIdIsChargedOnceAndAnsweredAlike() {
        let first = check(7)
        #expect(first.isAllowed)
        harness.advance(milliseconds: 4_000)
        #expect(check(8).isAllowed)
        for _ in 0..<5 { #expect(check(7) == first) }
        #expect(harness.numbers() == [10, 0, 2, 0, 10])
        #expect(consume(9, tokens: 4) == consume(9, tokens: 4))
        #expect(harness.numbers()[0] == 14)
    }

    /// With `durability: always` a reply waits for the sync of what it tells.
    @Test func anAnswerThatIsGivenAgainWaitsForTheSyncLikeTheFirst() {
        let ledger = MemoryLedger()
        ledger.begin(harness.engine)
        harness.worker.hasJournaled = false
        #expect(check(7).isAllowed && harness.worker.hasJournaled)
        harness.worker.hasJournaled = false
        #expect(check(7).isAllowed && harness.worker.hasJournaled)
    }

    @Test func anIdThatStandsForAnotherRequestIsAConflict() {
        #expect(check(7).isAllowed)
        #expect(check(7, tokens: 6).status == .conflict)
        #expect(check(7, user: "bob").status == .conflict)
        #expect(consume(7, tokens: 5).status == .conflict)
        #expect(harness.reserve(tokens: 5, id: 7).status == .conflict)
        #expect(harness.numbers() == [5, 0, 1, 0, 5])
        #expect(check(7, organization: "other").isAllowed, "another organization's is another")
    }

    @Test func denialsAndDryRunsAreNotRemembered() {
        #expect(check(7, tokens: 601).reason == .rateLimited)
        #expect(check(8, flags: RequestFlags.dryRun).isAllowed)
        #expect(harness.engine.gauges.idempotencyRecords == 0)
        #expect(check(7, tokens: 5).isAllowed && check(8, tokens: 6).isAllowed)
    }

    @Test func explainIsNotRepeated() {
        let plain = check(7)
        let explained = check(7, flags: RequestFlags.explain)
        #expect(explained == plain)
        let first = check(8, flags: RequestFlags.explain)
        #expect(first.bytes.count > check(8).bytes.count)
        #expect(Array(first.bytes.prefix(check(8).bytes.count)) == check(8).bytes)
    }

    @Test func aReserveThatIsRepeatedIsTheSameReservation() throws {
        let first = harness.reserve(tokens: 100, connection: 1, id: 7)
        let again = harness.reserve(tokens: 100, connection: 2, id: 7)
        #expect(first.isAllowed && again == first)
        #expect(harness.numbers() == [0, 100, 0, 1, 100])
        // It came by the other connection last.
        harness.worker.release(connection: 1)
        #expect(harness.numbers()[3] == 1)
        harness.worker.release(connection: 2)
        #expect(harness.numbers()[3] == 0)
    }

    @Test func anIdIsRememberedForItsLifetime() {
        #expect(check(7).isAllowed)
        harness.advance(milliseconds: 599_999)
        #expect(check(7).isAllowed)
        #expect(harness.numbers()[0] == 5)
        harness.advance(milliseconds: 1)
        #expect(check(7).isAllowed)
        #expect(harness.numbers()[0] == 10)
        harness.advance(milliseconds: 600_000)
        harness.worker.tendHolds()
        #expect(harness.engine.gauges.idempotencyRecords == 0)
    }

    @Test func atTheCeilingNewIdsAreRefusedAndNothingIsCharged() throws {
        var policy = PolicyDefinition.holding()
        policy.idempotency.recordsMax = 2
        try harness.reload(policy)
        #expect(check(1).isAllowed && check(2).isAllowed)
        #expect(check(3).reason == .capacityExhausted)
        #expect(harness.reserve(tokens: 1, id: 4).reason == .capacityExhausted)
        #expect(check(1).isAllowed)
        #expect(harness.numbers() == [10, 0, 2, 0, 10])
        #expect(harness.engine.gauges.reservations == 0)
    }

    @Test func anAnswerOutlivesTheProcess() throws {
        let ledger = MemoryLedger()
        ledger.begin(harness.engine)
        let first = check(7)
        for snapshot in [
            MemoryLedger.Snapshot(), ledger.snapshot(of: harness.engine, at: harness.moment),
        ] {
            let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
            try ledger.restore(snapshot, into: engine, at: harness.moment)
            let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
            let body =
                EngineHarness.body(
                    token: EngineHarness.token(), meters: [("tokens", 5)])
                + DecisionWorker.extensionField(7)
            let answer = HoldAnswer(
                body.withUnsafeBytes { again.worker.check($0, into: again.reply) }, again.reply)
            #expect(answer.bytes == first.bytes)
            #expect(again.numbers()[0] == 5)
        }
    }

    @Test func forgettingAnOrganizationForgetsItsHoldsAndIds() {
        #expect(check(7).isAllowed)
        #expect(harness.reserve(tokens: 10).isAllowed)
        #expect(
            harness.engine.forget(organization: "acme", isPersonal: false, at: harness.moment))
        let gauges = harness.engine.gauges
        #expect(gauges.reservations == 0 && gauges.openReservations == 0)
        #expect(gauges.idempotencyRecords == 0)
        #expect(check(7).isAllowed)
        #expect(harness.numbers() == [5, 0, 1, 0, 5])
    }
}
