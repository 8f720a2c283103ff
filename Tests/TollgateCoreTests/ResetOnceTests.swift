import Testing
import TollgateWire

@testable import TollgateCore

/// A reset that has an id is done once, however often it is asked for and wherever it was cut off.
@Suite struct ResetOnceTests {
    private let id = ResetID(low: 0x1234, high: 0x5678)

    private func restored(
        _ ledger: MemoryLedger, _ snapshot: MemoryLedger.Snapshot, like harness: EngineHarness
    ) throws -> (EngineHarness, MemoryLedger) {
        let engine = Engine(EngineConfiguration(hashKey: (1, 2)))
        try ledger.restore(snapshot, into: engine, at: harness.moment)
        let next = MemoryLedger(regionBytes: 1 << 16)
        next.begin(engine, life: 2)
        return (try EngineHarness(engine: engine, policy: harness.policy, like: harness), next)
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
        Set(users.map { harness.usage(organization: "acme", user: $0)["daily_calls"] ?? 0 })
    }

    private func reset(_ harness: EngineHarness, _ id: ResetID?) -> Bool {
        harness.engine.resetQuotas(
            of: "acme", isPersonal: false, once: id, at: harness.moment)
    }

    /// Six users fit into one transaction of the journal; 150 take many.
    @Test(arguments: [6, 150]) func itIsDoneOnceWhereverTheJournalEnds(count: Int) throws {
        let users = (0..<count).map { "user-\($0)-of-an-organization" }
        let (harness, ledger) = (try EngineHarness(), MemoryLedger(regionBytes: 1 << 16))
        ledger.begin(harness.engine)
        use(harness, ledger, users: users)
        let index = try #require(
            (0..<Engine.shardCount).first { harness.engine.journalPosition(shard: $0).next > 1 })
        let before = harness.engine.journalPosition(shard: index).next
        #expect(reset(harness, id))
        let after = harness.engine.journalPosition(shard: index).next
        let region = try #require(
            ledger.regions.first {
                (try? JournalReader(UnsafeRawBufferPointer($0)))?.header.shard == UInt16(index)
            })
        var (whole, none) = (0, 0)
        let step = count > 10 ? -151 : -5
        for next in Array(stride(from: after, through: before, by: step)) + [before] {
            let end = JournalFormat.headerBytes + Int(next - 1) * JournalFormat.slotBytes
            UnsafeMutableRawBufferPointer(rebasing: region[end...])
                .initializeMemory(as: UInt8.self, repeating: 0)
            let (again, more) = try restored(ledger, MemoryLedger.Snapshot(), like: harness)
            let wasDone = used(by: users, again) == [0]
            use(again, more, users: users)
            #expect(used(by: users, again) == [wasDone ? 1 : 2])
            #expect(reset(again, id))
            #expect(used(by: users, again) == [wasDone ? 1 : 0], "cut at \(next)")
            if wasDone { whole += 1 } else { none += 1 }
        }
        #expect(whole > 0 && none > 0)
    }

    /// Also where nothing had been used, or nothing could be journaled; and a snapshot knows it.
    @Test func itIsKnownUntilItIsForgotten() throws {
        let (harness, ledger) = (try EngineHarness(), MemoryLedger(regionBytes: 1 << 16))
        ledger.begin(harness.engine)
        #expect(reset(harness, id))
        use(harness, ledger, users: ["ada"])
        let snapshot = ledger.snapshot(of: harness.engine, at: harness.moment)
        var (again, more) = try restored(ledger, snapshot, like: harness)
        #expect(reset(again, id) && used(by: ["ada"], again) == [1])
        for _ in 0..<(4 * Engine.shardCount) { again.worker.sweep() }
        #expect(reset(again, id) && used(by: ["ada"], again) == [1])
        again.engine.setLedgerState(.refusing)
        let other = ResetID(low: 7, high: 8)
        #expect(!reset(again, other) && used(by: ["ada"], again) == [1])
        again.engine.setLedgerState(.unjournaled)
        #expect(reset(again, other) && used(by: ["ada"], again) == [0])
        use(again, more, users: ["ada"])
        again.engine.setLedgerState(.refusing)
        let healed = more.snapshot(of: again.engine, at: again.moment)
        (again, more) = try restored(more, healed, like: again)
        #expect(reset(again, other) && reset(again, id) && used(by: ["ada"], again) == [1])
        again.engine.keepResets([other])
        #expect(reset(again, other) && used(by: ["ada"], again) == [1])
        #expect(reset(again, id) && used(by: ["ada"], again) == [0])
        use(again, more, users: ["ada"])
        again.engine.forgetReset(other, of: "acme", isPersonal: false)
        #expect(reset(again, id) && used(by: ["ada"], again) == [1])
        #expect(reset(again, other) && used(by: ["ada"], again) == [0])
    }

    /// Of an organization that is gone nothing is left.
    @Test func itIsForgottenWithItsOrganization() throws {
        let (harness, ledger) = (try EngineHarness(), MemoryLedger(regionBytes: 1 << 16))
        ledger.begin(harness.engine)
        #expect(reset(harness, id))
        #expect(
            harness.engine.forget(organization: "acme", isPersonal: false, at: harness.moment))
        let (again, more) = try restored(ledger, MemoryLedger.Snapshot(), like: harness)
        use(again, more, users: ["ada"])
        #expect(reset(again, id) && used(by: ["ada"], again) == [0])
    }
}
