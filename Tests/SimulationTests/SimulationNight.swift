import Foundation
import Testing

/// What `Deploy/simulate` runs: seeds that were not run before, until the time is over.
@Suite struct SimulationNight {
    private static let hours =
        ProcessInfo.processInfo.environment["SIMULATION_HOURS"].flatMap { Double($0) }

    /// Without SIMULATION_HOURS, a few seeds that were never run before.
    @Test func nothingIsLostForHours() throws {
        let end = Date().addingTimeInterval((Self.hours ?? 0) * 3_600)
        var seed = UInt64.random(in: 1_000_000...UInt64(1 << 62))
        var statistics = SimulationStatistics()
        var (runs, failed) = (0, 0)
        while runs < 12 || Date() < end {
            seed += 1
            runs += 1
            var plan = SimulationPlan(seed: seed)
            plan.hasDiskTrouble = runs % 3 == 0
            if runs % 2 == 0 { plan.crashes = [.kill] }
            let run = try Simulation(plan)
            do { try run.run() } catch {
                failed += 1
                print("trouble \(plan.hasDiskTrouble), crashes \(plan.crashes): \(error)")
            }
            statistics.add(run.statistics)
            if runs % 1_000 == 0 { print("\(runs) seeds, \(failed) failed") }
        }
        print("\(runs) seeds, \(failed) failed\n\(statistics.text)")
        let names = statistics.operations.filter { $0.value > runs / 10 }.map(\.key)
        print("the rarest pair: \(statistics.rarestPair(of: names))")
        #expect(failed == 0)
    }
}
