import Testing
import TollgateWire

@testable import TollgateCore

/// Organizations' quotas with a minimum and a cap for each member.
@Suite struct EnginePoolTests {
    private func harness(
        limit: UInt64 = 100, min: UInt64 = 0, max: UInt64? = nil, members: [String] = []
    ) throws -> EngineHarness {
        var quota = QuotaDefinition(
            name: "pool", scope: .organization, limit: limit, period: .month)
        quota.memberMin = min
        quota.memberMax = max
        let harness = try EngineHarness(
            EngineQuotaModelTests.definition(PlanDefinition(name: "p", quotas: [quota]), nil))
        fill(harness, members)
        return harness
    }

    private func fill(_ harness: EngineHarness, _ members: [String]) {
        guard !members.isEmpty else { return }
        harness.engine.directory.put(
            OrganizationEntry(
                id: "acme", subscription: SubscriptionEntry(plan: "p", isServed: true)))
        for user in members {
            harness.engine.directory.put(UserEntry(organization: "acme", id: user))
        }
    }

    private func check(
        _ harness: EngineHarness, _ user: String, _ calls: UInt64, flags: UInt16 = 0
    ) -> Answer {
        let now = harness.moment.wall.seconds
        return harness.check(
            EngineHarness.token(user: user, plan: "p", issued: now - 10, expires: now + 100),
            operation: "op", meters: [("calls", calls)], flags: flags)
    }

    @Test func aMemberMayUseTheCapAndNoMore() throws {
        let harness = try harness(max: 30)
        #expect(check(harness, "ada", 30).quota.remaining == 0)
        let refused = check(harness, "ada", 1, flags: RequestFlags.explain)
        #expect(refused.reason == .quotaExhausted && refused.quotaName == "pool")
        #expect(refused.quota.limit == 30 && refused.quota.remaining == 0)
        // The member's share is explained beside the organization's, and it is what refuses.
        let reply = UnsafeRawBufferPointer(harness.reply)
        let names = refused.texts.reduce(0) { $0 + $1.utf8.count }
        let first = BodyBytes.decisionReply + names + BodyBytes.extensionHeader + 2
        #expect(reply[first + 1] == LimitScope.user.rawValue)
        #expect(reply[first + 2] == LimitEntryFlags.refused)
        #expect(reply.loadLittle(at: first + 24, as: UInt64.self) == 30)
        #expect(check(harness, "bob", 31).retry == WireLimits.retryNever)
        #expect(check(harness, "bob", 30).isAllowed)
        #expect(check(harness, "cyd", 30).isAllowed)
        // The pool itself has ten left.
        #expect(check(harness, "dot", 11).reason == .quotaExhausted)
        #expect(check(harness, "dot", 10).isAllowed)
        harness.advance(milliseconds: 30 * 86_400_000)
        #expect(check(harness, "ada", 30).isAllowed)
    }

    @Test func aGreedyMemberLeavesTheOthersWhatTheyAreOwed() throws {
        let harness = try harness(min: 20, members: ["ada", "bob", "cyd"])
        // Forty of a hundred are the others'.
        #expect(check(harness, "ada", 61).retry == WireLimits.retryNever)
        #expect(check(harness, "ada", 59).quota.remaining == 1)
        #expect(check(harness, "ada", 2).reason == .quotaExhausted)
        #expect(check(harness, "bob", 15).isAllowed)
        // What bob has used is his already, and owed to him no more.
        #expect(check(harness, "ada", 1).isAllowed)
        #expect(check(harness, "ada", 1).reason == .quotaExhausted)
        #expect(check(harness, "bob", 5).isAllowed)
        #expect(check(harness, "bob", 1).reason == .quotaExhausted)
        #expect(check(harness, "cyd", 20).isAllowed)
        #expect(check(harness, "cyd", 1).reason == .quotaExhausted)
        #expect(harness.usage(organization: "acme", user: "bob", plan: "p")["pool"] == 100)
    }

    @Test func whoJoinsIsOwedFromThenOn() throws {
        let harness = try harness(min: 20, members: ["ada"])
        #expect(check(harness, "ada", 70).isAllowed)
        harness.engine.directory.put(UserEntry(organization: "acme", id: "bob"))
        #expect(check(harness, "ada", 11).reason == .quotaExhausted)
        #expect(check(harness, "ada", 10).isAllowed)
        // Who leaves leaves what was kept for them until the period is over.
        harness.engine.directory.put(
            UserEntry(organization: "acme", id: "bob", isActive: false))
        #expect(check(harness, "ada", 1).reason == .quotaExhausted)
        harness.advance(milliseconds: 30 * 86_400_000)
        #expect(check(harness, "ada", 100).isAllowed)
    }

    @Test func withoutADirectoryWhoeverUsesSomethingIsAMember() throws {
        let harness = try harness(min: 20)
        #expect(check(harness, "bob", 5).isAllowed)
        #expect(check(harness, "ada", 81).reason == .quotaExhausted)
        #expect(check(harness, "ada", 80).isAllowed)
        #expect(check(harness, "bob", 15).isAllowed)
    }

    @Test func afterAResetWhoeverUsesSomethingIsAMemberStill() throws {
        let harness = try harness(min: 20)
        #expect(check(harness, "ada", 5).isAllowed)
        #expect(check(harness, "bob", 1).isAllowed)
        #expect(
            harness.engine.resetQuotas(of: "acme", isPersonal: false, at: harness.moment))
        #expect(check(harness, "bob", 1).isAllowed)
        #expect(check(harness, "ada", 1).isAllowed)
        // Of 98 that are left, 19 are owed to ada.
        #expect(check(harness, "bob", 80).reason == .quotaExhausted)
        #expect(check(harness, "bob", 79).isAllowed)
        #expect(check(harness, "ada", 19).isAllowed)
    }

    /// A sweep gives up bob's row after the reset; when he comes again he is one member, not two.
    @Test func whoWasForgottenIsCountedOnce() throws {
        let harness = try harness(min: 20)
        #expect(check(harness, "ada", 5).isAllowed)
        #expect(check(harness, "bob", 1).isAllowed)
        #expect(
            harness.engine.resetQuotas(of: "acme", isPersonal: false, at: harness.moment))
        #expect(check(harness, "ada", 1).isAllowed)
        harness.advance(milliseconds: 120_000)
        for _ in 0..<(4 * Engine.shardCount) { harness.worker.sweep() }
        #expect(check(harness, "bob", 1).isAllowed)
        // Of 98 that are left, 19 are owed to bob.
        #expect(check(harness, "ada", 80).reason == .quotaExhausted)
        #expect(check(harness, "ada", 79).isAllowed)
    }

    @Test func moreMinimaThanThereAreUnitsAreServedAsTheyCome() throws {
        let harness = try harness(
            limit: 30, min: 20, members: ["ada", "bob", "cyd"])
        #expect(check(harness, "ada", 21).reason == .quotaExhausted)
        #expect(check(harness, "ada", 20).isAllowed)
        #expect(check(harness, "bob", 10).isAllowed)
        #expect(check(harness, "cyd", 1).reason == .quotaExhausted)
    }

    @Test(arguments: [false, true])
    func afterAStartMembersAreOwedWhatTheyWere(withSnapshot: Bool) throws {
        let members = ["ada", "bob", "cyd"]
        let (harness, ledger) = (try harness(min: 20, max: 90, members: members), MemoryLedger())
        ledger.begin(harness.engine)
        #expect(check(harness, "bob", 15).isAllowed)
        #expect(check(harness, "ada", 50).isAllowed)
        var snapshot = MemoryLedger.Snapshot()
        if withSnapshot { snapshot = ledger.snapshot(of: harness.engine, at: harness.moment) }
        #expect(check(harness, "cyd", 4).isAllowed)
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(snapshot, into: engine, at: harness.moment)
        let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
        fill(again, members)
        // 69 are used, and 5 and 16 of the rest owed.
        #expect(check(again, "ada", 11).reason == .quotaExhausted)
        #expect(check(again, "ada", 10).isAllowed)
        #expect(check(again, "bob", 5).isAllowed)
        #expect(check(again, "cyd", 16).isAllowed)
        #expect(check(again, "cyd", 0).quota.remaining == 0)
    }

    /// Nobody has asked since the start: what others are owed is counted for her stream too.
    @Test(arguments: [[], ["ada", "bob"]])
    func afterAStartAStreamLeavesTheOthersWhatTheyAreOwed(members: [String]) throws {
        let (harness, ledger) = (try harness(min: 20, members: members), MemoryLedger())
        ledger.begin(harness.engine)
        #expect(check(harness, "bob", 5).isAllowed)
        let now = harness.moment.wall.seconds
        let body = DecisionWorker.reserveBody(
            EngineHarness.token(user: "ada", plan: "p", issued: now - 10, expires: now + 100),
            meters: [("calls", 1)], timeToLive: 60_000, flags: RequestFlags.detached,
            operation: "op")
        let outcome = body.withUnsafeBytes {
            harness.worker.reserve($0, connection: 1, into: harness.reply)
        }
        let id = try #require(HoldAnswer(outcome, harness.reply).id)
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: harness.moment)
        let again = try EngineHarness(engine: engine, policy: harness.policy, like: harness)
        again.engine.setLedgerState(.unjournaled)
        fill(again, members)
        // Of 100, 5 are used and 15 owed to bob.
        #expect(extend(again, id, 81).answer.reason == .quotaExhausted)
        #expect(extend(again, id, 80).isAllowed)
    }

    private func extend(
        _ harness: EngineHarness, _ id: ReservationID, _ calls: UInt64
    ) -> HoldAnswer {
        let body = DecisionWorker.holdBody(id, meters: [("calls", [calls, 0])])
        return HoldAnswer(
            body.withUnsafeBytes { harness.worker.extend($0, into: harness.reply) },
            harness.reply)
    }

    @Test func anOverrideIsOfTheOrganizationOrOfAMembersShare() throws {
        let harness = try harness(limit: 50, max: 30, members: ["ada"])
        harness.engine.directory.put(
            OrganizationEntry(
                id: "acme", subscription: SubscriptionEntry(plan: "p", isServed: true),
                overrides: [OverrideEntry(limit: "pool", units: 80)]))
        harness.engine.directory.put(
            UserEntry(
                organization: "acme", id: "bob",
                overrides: [OverrideEntry(limit: "pool", units: 45)]))
        #expect(check(harness, "ada", 31).reason == .quotaExhausted)
        #expect(check(harness, "ada", 30).isAllowed)
        #expect(check(harness, "bob", 46).reason == .quotaExhausted)
        #expect(check(harness, "bob", 45).isAllowed)
        #expect(check(harness, "cyd", 6).reason == .quotaExhausted)
    }
}
