import TestSupport
import Testing
import TollgateWire

@testable import TollgateCore

/// What a journal and a snapshot hold is the state that was.
@Suite struct LedgerRestoreTests {
    private static let organizations = ["acme", "beta", "gamma", "delta"]
    private static let users = ["ada", "bob", "cyd", "dot", "eve", "fay"]

    private func use(_ harness: EngineHarness, _ random: inout SeededRandom) {
        let organization = Self.organizations.randomElement(using: &random) ?? ""
        let user = Self.users.randomElement(using: &random) ?? ""
        let isAlone = Int.random(in: 0..<5, using: &random) == 0
        let plan = ["free_tier", "pro_tier", "open_tier"].randomElement(using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0:
            _ = harness.consume(
                organization: isAlone ? user : organization, user: user, plan: "pro_tier",
                operation: "chat", meters: [("tokens", UInt64.random(in: 0...50, using: &random))],
                flags: isAlone ? RequestFlags.personalOrganization : 0)
        default:
            let token = EngineHarness.token(
                user: user, organization: isAlone ? nil : organization, plan: plan)
            _ = harness.check(
                token, operation: "chat", meters: [("tokens", 3)],
                address: [10, 0, 0, UInt8.random(in: 1...9, using: &random)])
        }
    }

    private func usage(of harness: EngineHarness) -> [String: [String: UInt64]] {
        var all: [String: [String: UInt64]] = [:]
        for organization in Self.organizations {
            for user in Self.users {
                for plan in ["free_tier", "pro_tier"] {
                    all["\(organization)/\(user)/\(plan)"] = harness.usage(
                        organization: organization, user: user, plan: plan
                    ).filter { $0.key.contains("ly_") }
                }
            }
        }
        return all
    }

    private func restored(
        _ ledger: MemoryLedger, _ snapshot: MemoryLedger.Snapshot, like harness: EngineHarness
    ) throws -> EngineHarness {
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(snapshot, into: engine, at: harness.moment)
        return try EngineHarness(engine: engine, policy: harness.policy, like: harness)
    }

    @Test func aJournalAloneHoldsEveryCharge() throws {
        var random = SeededRandom.printed("a journal alone")
        for _ in 0..<(4 * testScale) {
            let (harness, ledger) = (try EngineHarness(), MemoryLedger())
            ledger.begin(harness.engine)
            for _ in 0..<600 {
                use(harness, &random)
                if Int.random(in: 0..<9, using: &random) == 0 { ledger.tend(harness.engine) }
                harness.advance(milliseconds: UInt64.random(in: 0...900, using: &random))
            }
            let again = try restored(ledger, MemoryLedger.Snapshot(), like: harness)
            #expect(usage(of: again) == usage(of: harness))
            #expect(again.engine.gauges.users <= harness.engine.gauges.users)
        }
    }

    @Test func aSnapshotThatWasTakenMeanwhileAndTheJournalHoldEveryCharge() throws {
        var random = SeededRandom.printed("a snapshot meanwhile")
        for _ in 0..<(4 * testScale) {
            let (harness, ledger) = (try EngineHarness(), MemoryLedger())
            ledger.begin(harness.engine)
            for _ in 0..<300 { use(harness, &random) }
            let snapshot = ledger.snapshot(of: harness.engine, at: harness.moment) {
                for _ in 0..<4 { use(harness, &random) }
                ledger.tend(harness.engine)
            }
            for _ in 0..<200 { use(harness, &random) }
            let again = try restored(ledger, snapshot, like: harness)
            #expect(usage(of: again) == usage(of: harness))
        }
    }

    /// Rows without counters have numbers too, and in a second life those of others.
    @Test func oneLifeAfterAnotherWithRequestsThatCarryIdsHoldsEveryCharge() throws {
        var random = SeededRandom.printed("one life after another")
        var (harness, ledger) = (try EngineHarness(), MemoryLedger())
        ledger.begin(harness.engine)
        var snapshot = MemoryLedger.Snapshot()
        for _ in 0..<6 {
            for round in 0..<60 {
                use(harness, &random)
                consume(harness, &random)
                ledger.tend(harness.engine)
                guard round == 30 else { continue }
                snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
            }
            let before = usage(of: harness)
            harness = try restored(ledger, snapshot, like: harness)
            #expect(usage(of: harness) == before)
            ledger = MemoryLedger()
            ledger.begin(harness.engine)
            snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
        }
    }

    private func consume(_ harness: EngineHarness, _ random: inout SeededRandom) {
        let user = Self.users.randomElement(using: &random) ?? ""
        var body = EngineHarness.consumeBody(
            organization: Self.organizations.randomElement(using: &random) ?? "", user: user,
            plan: "pro_tier", operation: "chat", meters: [("tokens", 3), ("calls", 1)])
        // Of the last 40 requests some come again.
        let id = UInt8.random(in: 1...40, using: &random)
        body += [ExtensionTag.idempotencyID, ExtensionFlags.critical, 16, 0]
        body += [UInt8](repeating: id, count: 15) + Array(user.utf8.prefix(1))
        _ = body.withUnsafeBytes { harness.worker.consume($0, into: harness.reply) }
    }

    @Test func whereThereIsNoRoomNothingIsCharged() throws {
        let (harness, ledger) = (try EngineHarness(), MemoryLedger())
        harness.engine.beginJournal(ledgerID: 7, life: 1)
        let denied = harness.check()
        #expect(denied.reason == .ledgerUnavailable)
        #expect(harness.usage(organization: "acme", user: "ada")["daily_calls"] == 0)
        let consumed = harness.consume(
            organization: "acme", user: "ada", plan: "pro_tier", operation: "chat",
            meters: [("tokens", 5)])
        #expect(consumed.reason == .ledgerUnavailable)
        // What touches no quota goes on.
        #expect(harness.check(EngineHarness.token(plan: "open_tier")).isAllowed)
        ledger.tend(harness.engine)
        #expect(harness.check().isAllowed)
        harness.engine.setLedgerState(.refusing)
        #expect(harness.check().reason == .ledgerUnavailable)
        harness.engine.setLedgerState(.serving)
        #expect(harness.check().isAllowed)
        #expect(harness.usage(organization: "acme", user: "ada")["daily_calls"] == 2)
    }

    @Test func aPeriodThatIsOverIsKeptOnceWhoeverClosesIt() throws {
        let (harness, ledger) = (try EngineHarness(), MemoryLedger())
        ledger.begin(harness.engine)
        for _ in 0..<3 { #expect(harness.check(meters: [("tokens", 2)]).isAllowed) }
        harness.wall += 86_400_000
        harness.boot += 86_400_000_000_000
        harness.beginTurn()
        // By the next use, or by a walk: the day, not the month.
        #expect(harness.usage(organization: "acme", user: "ada")["daily_calls"] == 0)
        close(harness)
        close(harness)
        let found = (0..<Engine.shardCount).flatMap {
            harness.engine.takeClosed(shard: $0).periods.compactMap { entry in
                entry.bytes.withUnsafeBytes { ClosedPeriod($0) }
            }
        }
        #expect(found.count == 1)
        let period = try #require(found.first)
        #expect(period.organization == "acme" && period.user == "ada" && period.used == 3)
        #expect(!period.isPersonal)
        #expect(Int64(period.startDay) == EngineHarness.startSeconds / 86_400)
        #expect(harness.engine.counterNames[Int(period.counter)] == "q daily_calls calls 1")
        // A restart knows it as closed, and still has it to archive.
        let again = try restored(ledger, MemoryLedger.Snapshot(), like: harness)
        #expect(again.engine.closedWaiting == 1)
        // Its end had come: no clock that was set back reopens it.
        #expect(ledger.billing >= WallTime(seconds: period.endSeconds))
        close(again)
        #expect(again.engine.closedWaiting == 1)
    }

    private func close(_ harness: EngineHarness) {
        for shard in 0..<Engine.shardCount {
            var cursor = 0
            while cursor >= 0 {
                let hasRoom = harness.engine.closePeriods(
                    shard: shard, slots: 8, cursor: &cursor, now: harness.moment)
                #expect(hasRoom)
            }
        }
    }

    @Test func anOrganizationThatIsForgottenStaysForgotten() throws {
        let (harness, ledger) = (try EngineHarness(), MemoryLedger())
        ledger.begin(harness.engine)
        let other = EngineHarness.token(user: "ada", organization: "beta")
        for token in [EngineHarness.token(), other] { #expect(harness.check(token).isAllowed) }
        let isGone = harness.engine.forget(
            organization: "acme", isPersonal: false, at: harness.moment)
        #expect(isGone)
        let again = try restored(ledger, MemoryLedger.Snapshot(), like: harness)
        #expect(again.engine.gauges.organizations == 1 && again.engine.gauges.users == 1)
        let gone = again.usage(organization: "acme", user: "ada", plan: "pro_tier")
        #expect(gone["daily_calls"] == 0)
        #expect(again.usage(organization: "beta", user: "ada")["daily_calls"] == 1)
        // What it had used is still to be billed.
        #expect(again.engine.closedWaiting == harness.engine.closedWaiting)
        #expect(harness.engine.closedWaiting == 1)
    }

    /// The journal names a row when it first can, behind a snapshot that has it: what was charged
    /// before, with leave to do without a journal, and what was carried over stand there alone.
    @Test func whatARowHadBeforeTheJournalNamedItIsNotLost() throws {
        var policy = PolicyDefinition.small()
        policy.plans[1].quotas = ["calls", "tokens"].map {
            var quota = QuotaDefinition(
                name: "daily_\($0)", scope: .organization, meter: $0, limit: 1_000, period: .day)
            quota.rolloverMax = 1_000
            return quota
        }
        let (harness, ledger) = (try EngineHarness(policy), MemoryLedger())
        ledger.begin(harness.engine)
        func consume(_ calls: UInt64, _ tokens: UInt64) -> Bool {
            harness.consume(
                organization: "acme", user: "ada", plan: "pro_tier", operation: "chat",
                meters: [("calls", calls), ("tokens", tokens)]
            ).isAllowed
        }
        harness.engine.setLedgerState(.unjournaled)
        #expect(consume(100, 10))
        harness.advance(milliseconds: 86_400_000)
        #expect(consume(7, 2))
        harness.engine.setLedgerState(.refusing)
        let snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
        harness.engine.setLedgerState(.serving)
        // Of tokens alone anything is journaled: each costs ten.
        #expect(consume(0, 1))
        func limits(_ harness: EngineHarness) -> [String: UInt64] {
            harness.limits(harness.creditToken).filter { $0.key.hasPrefix("daily_") }
        }
        #expect(limits(harness) == ["daily_calls": 1_900, "daily_tokens": 1_900])
        let again = try restored(ledger, snapshot, like: harness)
        #expect(limits(again) == limits(harness))
        let used = again.usage(organization: "acme", user: "ada", plan: "pro_tier")
        #expect(used["daily_calls"] == 7 && used["daily_tokens"] == 30)
    }

    /// Numbers go round after four thousand million rows of a shard.
    @Test func aNumberThatIsAnothersByNowStaysAnothers() throws {
        let (harness, ledger) = (try EngineHarness(), MemoryLedger())
        ledger.begin(harness.engine)
        let one = EngineHarness.token(user: "ada")
        let other = EngineHarness.token(user: "bob")
        func number(_ user: String, _ change: (inout UInt32) -> Void) {
            for index in 0..<Engine.shardCount {
                harness.engine.shard(index).table.pointee.forEach { row in
                    guard row.kind == RowKind.user.rawValue, Array(row.id) == Array(user.utf8)
                    else { return }
                    change(&row.number)
                    row.isDefined = false
                }
            }
        }
        #expect(harness.check(one).isAllowed && harness.check(other).isAllowed)
        // Bob's row gets the number that ada's had, and then ada's another.
        var taken: UInt32 = 0
        number("ada") { taken = $0 }
        number("bob") { $0 = taken }
        #expect(harness.check(other).isAllowed)
        number("ada") { $0 = 4_000_000_000 }
        #expect(harness.check(one).isAllowed && harness.check(other).isAllowed)
        let again = try restored(ledger, MemoryLedger.Snapshot(), like: harness)
        #expect(usage(of: again) == usage(of: harness))
    }

    /// Every 17th bit: so all bits of a byte, all bytes of a field, over the rows.
    @Test func aFlippedBitOfAnImageIsAFaultOrANumber() throws {
        let (harness, ledger) = (try EngineHarness(), MemoryLedger())
        ledger.begin(harness.engine)
        for _ in 0..<3 { _ = harness.check(meters: [("tokens", 2)]) }
        let snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
        let shard = try #require(snapshot.images.firstIndex { !$0.isEmpty })
        for bit in stride(from: 0, to: snapshot.images[shard].count * 8, by: 17) {
            var damaged = snapshot
            damaged.images[shard][bit / 8] ^= 1 << UInt8(bit % 8)
            // Checksums find these; without them nothing may trap either.
            _ = try? restored(ledger, damaged, like: harness)
        }
    }
}
