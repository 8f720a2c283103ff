import Foundation
import Glibc
import TestSupport
import Testing

/// What `Deploy/simulate` runs: seeds that were not run before, until the time is over, or those
/// that are named. A seed alone says what kind of run it is.
@Suite struct SimulationNight {
    private static let environment = ProcessInfo.processInfo.environment
    private static let hours = environment["SIMULATION_HOURS"].flatMap { Double($0) }

    /// The first and the last seed of SIMULATION_RANGE=A..B.
    private static var range: ClosedRange<UInt64>? {
        let ends = environment["SIMULATION_RANGE"]?.split(separator: ".").compactMap { UInt64($0) }
        guard let first = ends?.first, let last = ends?.last, first <= last else { return nil }
        return first...last
    }

    private static func plan(_ seed: UInt64) -> SimulationPlan {
        var plan = SimulationPlan(seed: seed)
        plan.takesQuotasOut = seed / 8 % 3 == 1
        switch seed % 8 {
        case 0: plan.crashes = [.kill]
        case 1, 5: plan.hasDiskTrouble = true
        case 2: (plan.isAlways, plan.hasDiskTrouble) = (true, seed / 8 % 2 == 0)
        case 3: (plan.rots, plan.crashes) = (true, [.kill])
        case 4: plan.liesAboutSync = true
        case 6: plan.failsOnce = (1 + Int(seed / 8 % 900), seed / 8 % 2 == 0 ? EIO : ENOSPC)
        default: break
        }
        return plan
    }

    /// Lives that failed once, one for each cause.
    @Test(arguments: [
        // A cut hold whose plan lost its pool, settled when the member's row was swept.
        292_355_767_677_370_517,
        // The same, and the pool's row as well.
        292_355_767_677_370_503,
        // A stream goes on after a start, before anybody has asked for the pool's members.
        1_643_135_881_299_535_333,
        // The call that fails once is of the start that nothing cuts short.
        1_643_135_881_299_535_430,
        // A reset of many users that a full disk cut off.
        1_643_135_881_299_536_949,
        // A member of a pool whose row was forgotten came again, and was counted twice.
        645_446_009_477_899_819,
    ] as [UInt64])
    func aLifeThatFailedDoesNot(_ seed: UInt64) throws {
        var plan = Self.plan(seed)
        // As it was when they did.
        plan.takesQuotasOut = false
        try Simulation(plan).run()
    }

    /// Without SIMULATION_HOURS and SIMULATION_RANGE, the same few seeds again, one of each kind.
    @Test func nothingIsLostForHours() throws {
        let end = Date().addingTimeInterval((Self.hours ?? 0) * 3_600)
        let range = Self.range
        let isNew = Self.hours != nil
        let first =
            range?.lowerBound ?? (isNew ? .random(in: 1_000_000...UInt64(1 << 62)) : 1_000)
        var statistics = SimulationStatistics()
        var (seed, runs, failed) = (first, 0, 0)
        func goesOn() -> Bool {
            if let range { return seed <= range.upperBound }
            return runs < 8 || Date() < end
        }
        while goesOn() {
            let run = try Simulation(Self.plan(seed))
            do { try run.run() } catch {
                failed += 1
                print("\(error)\nagain: Deploy/simulate --seeds \(seed)..\(seed)")
            }
            statistics.add(run.statistics)
            seed += 1
            runs += 1
            if runs % 1_000 == 0 { print("\(runs) seeds, \(failed) failed, up to seed \(seed)") }
        }
        print("\(runs) seeds from \(first) on, \(failed) failed\n\(statistics.text)")
        #expect(failed == 0)
    }
}
