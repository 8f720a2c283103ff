import Testing
import TollgateWire

@testable import TollgateCore

/// A journal that ends somewhere, a snapshot in the middle of something, a clock that was set: what
/// was done as one thing is there as a whole or not at all.
@Suite struct LedgerCutTests {
    private static let crowd = (0..<300).map { "user-\($0)-of-an-organization" }

    private func restored(
        _ ledger: MemoryLedger, _ snapshot: MemoryLedger.Snapshot, like harness: EngineHarness
    ) throws -> EngineHarness {
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(snapshot, into: engine, at: harness.moment)
        return try EngineHarness(engine: engine, policy: harness.policy, like: harness)
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

    private func used(by users: [String], _ harness: EngineHarness) -> Set<UInt64> {
        Set(
            users.map {
                harness.usage(organization: "acme", user: $0)["daily_calls"] ?? 0
            })
    }

    /// The only one that anything was journaled in.
    private func shard(of harness: EngineHarness) -> Int? {
        (0..<Engine.shardCount).first { harness.engine.journalPosition(shard: $0).next > 1 }
    }

    /// However much of the journal is there: a reset that takes many transactions is whole.
    @Test(arguments: [6, 150]) func aResetIsWholeWhereverTheJournalEnds(users: Int) throws {
        let users = Array(Self.crowd.prefix(users))
        let (harness, ledger) = (try EngineHarness(), MemoryLedger(regionBytes: 1 << 16))
        ledger.begin(harness.engine)
        use(harness, ledger, users: users)
        let index = try #require(shard(of: harness))
        let before = harness.engine.journalPosition(shard: index).next
        #expect(
            harness.engine.resetQuotas(of: "acme", isPersonal: false, at: harness.moment))
        let after = harness.engine.journalPosition(shard: index).next
        let region = try #require(
            ledger.regions.first {
                (try? JournalReader(UnsafeRawBufferPointer($0)))?.header.shard == UInt16(index)
            })
        var (whole, none) = (0, 0)
        let ends = Array(stride(from: after, through: before, by: -41)) + [before]
        for next in ends {
            let end = JournalFormat.headerBytes + Int(next - 1) * JournalFormat.slotBytes
            UnsafeMutableRawBufferPointer(rebasing: region[end...])
                .initializeMemory(as: UInt8.self, repeating: 0)
            let again = try restored(ledger, MemoryLedger.Snapshot(), like: harness)
            let closed = again.engine.takeClosed(shard: index).count
            let counts = used(by: users, again)
            switch counts {
            case [0]:
                whole += 1
                // Each user's calls, and the organization's tokens.
                #expect(closed == users.count + 1)
            case [1]:
                none += 1
                #expect(closed == 0)
            default: Issue.record("\(counts) at slot \(next), from \(before) to \(after)")
            }
        }
        #expect(whole > 0 && none > 0)
        #expect(used(by: users, harness) == [0])
    }

    /// One that the journal had not room for is ended by upkeep, and by a snapshot's reader.
    @Test func aResetThatRanOutOfRoomIsEnded() throws {
        let (harness, ledger) = (try EngineHarness(), MemoryLedger())
        ledger.begin(harness.engine)
        use(harness, ledger, users: Self.crowd)
        #expect(
            !harness.engine.resetQuotas(of: "acme", isPersonal: false, at: harness.moment))
        let snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
        let again = try restored(ledger, snapshot, like: harness)
        #expect(used(by: Self.crowd, again) == [0])
        var isDone = false
        for _ in 0..<100 where !isDone {
            ledger.tend(harness.engine)
            isDone = (0..<Engine.shardCount).allSatisfy { shard in
                var cursor = 0
                var hasRoom = true
                while cursor >= 0, hasRoom {
                    hasRoom = harness.engine.closePeriods(
                        shard: shard, slots: 64, cursor: &cursor, now: harness.moment)
                }
                return hasRoom
            }
        }
        #expect(isDone)
        #expect(used(by: Self.crowd, harness) == [0])
        use(harness, ledger, users: ["ada"])
        #expect(used(by: ["ada"], harness) == [1])
    }

    /// The journal tells of rows that no snapshot has: they were copied last, and forgotten first.
    @Test func rowsThatAreGivenUpWhileASnapshotIsWrittenAreNotMissed() throws {
        let (harness, ledger) = (try EngineHarness(), MemoryLedger())
        ledger.begin(harness.engine)
        use(harness, ledger, users: Self.crowd)
        let index = try #require(shard(of: harness))
        // One slice of each shard before, and this one's first.
        var slices = 0
        let snapshot = ledger.snapshot(of: harness.engine, at: harness.moment) {
            slices += 1
            guard slices == index + 1 else { return }
            use(harness, ledger, users: Self.crowd)
            harness.advance(milliseconds: 40 * 86_400_000)
            for _ in 0..<(40 * Engine.shardCount) {
                harness.worker.sweep()
                ledger.tend(harness.engine)
            }
        }
        #expect(harness.engine.gauges.users == 0)
        let again = try restored(ledger, snapshot, like: harness)
        #expect(used(by: Self.crowd, again) == [0])
        #expect(
            again.engine.closedWaiting == harness.engine.closedWaiting)
    }

    /// Whoever set the clock back meanwhile: no period begins anew, and none before one that was
    /// charged in.
    @Test func aPeriodThatWasChargedInHasBegunAfterARestart() throws {
        let (harness, ledger) = (try EngineHarness(), MemoryLedger())
        ledger.begin(harness.engine)
        use(harness, ledger, users: ["ada"])
        let day: Int64 = 86_400_000
        let midnight = (harness.wall / day + 1) * day
        harness.advance(milliseconds: UInt64(midnight - harness.wall + 3))
        use(harness, ledger, users: ["bob"])
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(MemoryLedger.Snapshot(), into: engine, at: harness.moment)
        #expect(ledger.billing.milliseconds >= midnight)
    }

    /// A period whose first request is a RESERVE has what the one before left over, also after a
    /// start.
    @Test func whatWasCarriedOverIsThereThoughNothingWasChargedYet() throws {
        var policy = PolicyDefinition.small()
        for plan in policy.plans.indices {
            for quota in policy.plans[plan].quotas.indices
            where policy.plans[plan].quotas[quota].name == "daily_calls" {
                policy.plans[plan].quotas[quota].rolloverMax = 1_000
            }
        }
        let (harness, ledger) = (try EngineHarness(policy), MemoryLedger())
        ledger.begin(harness.engine)
        use(harness, ledger, users: ["ada"])
        let first = harness.limits(EngineHarness.token())["daily_calls"] ?? 0
        harness.advance(milliseconds: 2 * 3_600_000)
        let body = DecisionWorker.reserveBody(EngineHarness.token(), meters: [("calls", 1)])
        let outcome = body.withUnsafeBytes {
            harness.worker.reserve($0, connection: 1, into: harness.reply)
        }
        #expect(outcome.status == .ok && harness.reply[0] == 1)
        let second = harness.limits(EngineHarness.token())["daily_calls"] ?? 0
        #expect(second == 2 * first - 1)
        let again = try restored(ledger, MemoryLedger.Snapshot(), like: harness)
        #expect(again.limits(EngineHarness.token())["daily_calls"] == second)
    }
}
