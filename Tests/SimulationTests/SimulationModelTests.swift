import Glibc
import TestSupport
import Testing
import TollgateStorage

@testable import TollgateCore

/// What the simulator itself takes for a failure, and what it must not: an alarm that is none
/// would teach to pass over those that are.
@Suite struct SimulationModelTests {
    /// A run that has begun, and ends no life of its own accord.
    private static func begun(isAlways: Bool) throws -> (Simulation, Machine) {
        var plan = SimulationPlan(seed: 1)
        (plan.isAlways, plan.crashes) = (isAlways, [])
        let run = try Simulation(plan)
        try run.start()
        return (run, try #require(run.machine))
    }

    private static func asked(_ organization: String, dryRun: Bool = false) -> Asked {
        Asked(
            organization: organization, user: "ada", plan: "free_tier", operation: "models",
            meters: ["calls": 1], dryRun: dryRun)
    }

    private static func cutPower(_ run: Simulation) throws {
        run.disk.heal()
        run.disk.faults.crashKind = .power
        run.disk.crash(.power)
        try run.recover()
    }

    /// Nothing was charged in that time, so no period of it was seen to have begun.
    @Test func billingTimeThatWasOnlyLookedAtMayComeAgain() throws {
        let (run, machine) = try Self.begun(isAlways: false)
        try run.charge(Self.asked("acme"), "consume", machine)
        try run.flush(machine)
        let (charged, position) = (machine.billing, machine.position(machine.shard(of: "globex")))
        run.clock.advance(milliseconds: 40 * SimulatedClock.day)
        try run.charge(Self.asked("globex", dryRun: true), "consume", machine)
        try run.flush(machine)
        try #require(machine.position(machine.shard(of: "globex")) == position)
        let looked = machine.billing
        try #require(looked > charged + 39 * SimulatedClock.day)
        try Self.cutPower(run)
        // The clock is ahead of all that is known by more than is believed, and is held.
        let again = try #require(run.machine)
        #expect(again.billing >= charged)
        #expect(again.billing < looked - 30 * SimulatedClock.day)
    }

    @Test func billingTimeThatWasWrittenByDoesNotRunBack() throws {
        let (run, machine) = try Self.begun(isAlways: false)
        try run.charge(Self.asked("acme"), "consume", machine)
        try run.flush(machine)
        // As if a charge of a later period stood there.
        let shard = machine.shard(of: "acme")
        let later = machine.billing + 9 * SimulatedClock.day
        machine.written[shard] = [
            Machine.Written(next: machine.position(shard), billing: later)
        ]
        #expect {
            try Self.cutPower(run)
        } throws: { error in
            "\(error)".contains("billing time ran back")
        }
    }

    /// Its reply leaves at once, whatever waits for a sync.
    @Test func anExtensionThatIsRefusedForTheLedgerPromisesNothing() throws {
        let (run, machine) = try Self.begun(isAlways: true)
        var held = Self.asked("acme")
        (held.meters, held.detached, held.ttl) = (["calls": 0], true, 60_000)
        try run.charge(held, "reserve", machine)
        try run.flush(machine)
        try #require(run.books["acme"]?.holds.count == 1)
        let shard = machine.shard(of: "acme")
        let acknowledged = machine.acknowledged[shard]
        try run.charge(Self.asked("acme"), "consume", machine)
        run.disk.faults.failing[.sync] = ENOSPC
        try run.flush(machine)
        try run.extend(machine)
        try #require(run.statistics.outcomes["extend open: ok ledgerUnavailable"] == 1)
        #expect(machine.acknowledged[shard] == acknowledged)
        try Self.cutPower(run)
    }

    /// What a sync had not come to when another failed is never synced, and the generation that
    /// ended the trouble holds it.
    @Test func aReplyWaitsForNoSegmentThatWasGivenUp() throws {
        let (run, machine) = try Self.begun(isAlways: true)
        for organization in Simulation.organizations {
            try run.charge(Self.asked(organization), "consume", machine)
        }
        run.disk.faults.failAfterCalls = (1, EIO)
        try run.flush(machine)
        try #require(run.disk.failedSyncs.count == 1)
        try #require(!run.disk.order.mark(run.disk).journals.isEmpty)
        try run.charge(Self.asked("acme"), "consume", machine)
        try #require(machine.waiting.count == 1)
        #expect(throws: SimulationFailure.self) {
            for reply in machine.waiting { try run.checkOrder(reply.mark) }
        }
        try run.flush(machine)
        #expect(machine.waiting.isEmpty)
        try Self.cutPower(run)
    }
}
