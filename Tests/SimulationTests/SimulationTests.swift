import Foundation
import TestSupport
import Testing

/// The ledger under crashes, faults of the disk and steps of the clock. SIMULATION_SEED=n runs one
/// seed of each test alone; SIMULATION_SEEDS=n so many; `Deploy/simulate` goes on for hours.
@Suite struct SimulationTests {
    private static let environment = ProcessInfo.processInfo.environment

    static func seeds(_ count: Int) -> ClosedRange<UInt64> {
        if let one = environment["SIMULATION_SEED"].flatMap({ UInt64($0) }) { return one...one }
        let wanted = environment["SIMULATION_SEEDS"].flatMap { Int($0) }
        return 1...UInt64(wanted ?? count * testScale)
    }

    /// Runs every seed; what failed is told of the first few, and how many there were.
    static func simulate(
        _ what: String, seeds: ClosedRange<UInt64>, _ change: (inout SimulationPlan) -> Void
    ) throws -> SimulationStatistics {
        var statistics = SimulationStatistics()
        var failed = 0
        for seed in seeds {
            var plan = SimulationPlan(seed: seed)
            change(&plan)
            let run = try Simulation(plan)
            do { try run.run() } catch {
                failed += 1
                if failed <= 3 { Issue.record("\(what): \(error)") }
            }
            statistics.add(run.statistics)
        }
        print("\(what): \(seeds.count) seeds, \(failed) failed\n\(statistics.text)")
        if failed > 0 { Issue.record("\(what): \(failed) of \(seeds.count) seeds failed") }
        return statistics
    }

    @Test func aKilledProcessLosesNothingAndDoublesNothing() throws {
        let seeds = Self.seeds(21)
        let statistics = try Self.simulate("kill", seeds: seeds) { $0.crashes = [.kill] }
        guard seeds.count > 20 else { return }
        #expect(statistics.outcomes["recovered after kill", default: 0] > 20)
    }

    @Test func aPowerCutLosesAtMostTheEndThatWasNotSynced() throws {
        let seeds = Self.seeds(21)
        let statistics = try Self.simulate("power", seeds: seeds) { _ in }
        guard seeds.count > 20 else { return }
        #expect(statistics.outcomes["recovered after power", default: 0] > 20)
        #expect(statistics.outcomes["lost what was not synced", default: 0] > 5)
    }

    @Test func whatIsAcknowledgedAlwaysSurvivesAPowerCut() throws {
        let seeds = Self.seeds(11)
        let statistics = try Self.simulate("always", seeds: seeds) { $0.isAlways = true }
        guard seeds.count > 10 else { return }
        #expect(statistics.outcomes["flush to the group log", default: 0] > 50)
    }

    @Test func whatIsAcknowledgedSurvivesADiskThatFailsToo() throws {
        _ = try Self.simulate("always, trouble", seeds: Self.seeds(6)) {
            ($0.isAlways, $0.hasDiskTrouble) = (true, true)
        }
    }

    @Test func aDiskThatFailsAndHealsLosesNothing() throws {
        _ = try Self.simulate("trouble", seeds: Self.seeds(10)) { $0.hasDiskTrouble = true }
    }

    /// Whatever came in its place, a quota goes on where it was when it is put back.
    @Test func aQuotaThatIsPutBackHasForgottenNothing() throws {
        let seeds = Self.seeds(12)
        let statistics = try Self.simulate("put back", seeds: seeds) { $0.takesQuotasOut = true }
        guard seeds.count > 10 else { return }
        #expect(statistics.outcomes["settle cut: ok none", default: 0] > 2)
    }

    /// Each of these is a system that was broken on purpose.
    @Test(arguments: Mutation.inForce)
    func aBrokenSystemIsSeen(_ mutation: Mutation) throws {
        for seed in UInt64(1)...60 {
            var plan = SimulationPlan(seed: seed)
            mutation.adapt(&plan)
            let run = try Simulation(plan)
            guard mutation.matters(to: run.definition) else { continue }
            do { try run.run() } catch {
                print("\(mutation): seen with seed \(seed)")
                return
            }
        }
        Issue.record("\(mutation) went unseen for 60 seeds")
    }

    @Test func theSameSeedIsTheSameRun() throws {
        for seed in UInt64(1)...3 {
            func run() throws -> (Int, SimulationStatistics) {
                let run = try Simulation(SimulationPlan(seed: seed))
                try run.run()
                return (run.disk.callCount, run.statistics)
            }
            let (one, other) = (try run(), try run())
            #expect(one.0 == other.0)
            #expect(one.1.text == other.1.text)
        }
    }
}
