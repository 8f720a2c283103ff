import Glibc
import Testing
import TollgateWire

@testable import TollgateCore

/// Whoever waited for a shard while the ledger's state changed goes by the state as it is then: the
/// snapshot that ends trouble stands still.
@Suite struct LedgerStateRaceTests {
    private static let acme = "acme"

    private static func shard(_ engine: Engine) -> Int {
        DirectoryImage.withBytes(acme) {
            Int(TenantHash($0, isPersonal: false, engine.hash).hash >> 58)
        }
    }

    /// A call that waits for a shard that serves, which then refuses: it changes nothing.
    private func expectRefused(
        _ call: @escaping @Sendable (Engine, Moment) -> Bool
    ) throws {
        let (harness, ledger) = (try EngineHarness(.crediting { $0.limit = 0 }), MemoryLedger())
        ledger.begin(harness.engine)
        #expect(harness.grant("a", 50) && harness.use(10).isAllowed)
        harness.advance(milliseconds: 86_400_000)
        ledger.tend(harness.engine)
        let (engine, now) = (harness.engine, harness.moment)
        let index = Self.shard(engine)
        let before = engine.journalPosition(shard: index)
        let (rows, burnt) = (engine.gauges, harness.burnt)
        let gate = Gate(2)
        let results = onThreads(2) { thread -> Bool in
            if thread == 1 {
                gate.pass(0)
                return call(engine, now)
            }
            let shard = engine.shard(index)
            shard.lock.pointee.lock()
            gate.pass(0)
            // The other comes to the lock meanwhile; if it comes later, it is refused as well.
            usleep(50_000)
            engine.setLedgerState(.refusing)
            shard.lock.pointee.unlock()
            return true
        }
        #expect(results == [true, false])
        #expect(engine.journalPosition(shard: index) == before && engine.closedWaiting == 0)
        #expect(engine.gauges.organizations == rows.organizations && harness.burnt == burnt)
        // It is asked for again.
        engine.setLedgerState(.serving)
        #expect(call(engine, now))
        #expect(engine.journalPosition(shard: index).next > before.next)
    }

    @Test func periodsThatAreOverStay() throws {
        try expectRefused { engine, now in
            var cursor = 0
            return engine.closePeriods(
                shard: Self.shard(engine), slots: 4_096, cursor: &cursor, now: now)
        }
    }

    @Test func aResetWaits() throws {
        try expectRefused {
            $0.resetQuotas(of: Self.acme, isPersonal: false, at: $1)
        }
    }

    @Test func anOrganizationIsNotForgotten() throws {
        try expectRefused { $0.forget(organization: Self.acme, isPersonal: false, at: $1) }
    }

    @Test func aGrantIsNotForgotten() throws {
        try expectRefused {
            $0.forgetGrant(
                "a", quota: "tokens_quota", organization: Self.acme, isPersonal: false, at: $1)
        }
    }
}
