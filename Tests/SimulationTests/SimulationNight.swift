import Foundation
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
        switch seed % 4 {
        case 0: plan.crashes = [.kill]
        case 1: plan.hasDiskTrouble = true
        case 2: plan.isAlways = true
        default: break
        }
        return plan
    }

    /// Without SIMULATION_HOURS and SIMULATION_RANGE, a few seeds that were never run before.
    @Test func nothingIsLostForHours() throws {
        let end = Date().addingTimeInterval((Self.hours ?? 0) * 3_600)
        let range = Self.range
        let first = range?.lowerBound ?? UInt64.random(in: 1_000_000...UInt64(1 << 62))
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

    /// Requests and upkeep of which every sequence of a length is run, SIMULATION_LENGTH or one,
    /// and ended at every call of the disk, by a kill and by a power cut.
    @Test func everyCallOfAShortSequenceMayBeTheLast() throws {
        // CHECK, RESERVE, SETTLE, a reset, regions ahead, a flush, the archive, a snapshot.
        let choices: [UInt64] = [0, 40, 56, 84, 90, 95, 108, 112]
        let length = Self.environment["SIMULATION_LENGTH"].flatMap { Int($0) } ?? 1
        var sequences: [[UInt64]] = [[]]
        for _ in 0..<length { sequences = sequences.flatMap { old in choices.map { old + [$0] } } }
        var (runs, failed) = (0, 0)
        for (number, sequence) in sequences.enumerated() {
            for kind in [CrashKind.kill, .power] {
                var (call, isReached) = (1, true)
                while isReached {
                    runs += 1
                    do {
                        isReached = try run(sequence, UInt64(number), kind, endsAt: call)
                    } catch {
                        failed += 1
                        if failed < 4 { print("\(sequence), \(kind) at call \(call): \(error)") }
                    }
                    call += 1
                }
            }
        }
        print("\(runs) ends of \(sequences.count) sequences of \(length), \(failed) failed")
        #expect(failed == 0)
    }

    /// Whether it came so far.
    private func run(
        _ sequence: [UInt64], _ number: UInt64, _ kind: CrashKind, endsAt call: Int
    ) throws -> Bool {
        let run = try Simulation(SimulationPlan(seed: 1 + number % 3))
        try run.start()
        // Something is there already: charged, held, and flushed or not.
        for choice: UInt64 in [30, 40, 30, 95, 40, 0] where !run.disk.hasCrashed {
            run.clock.advance(milliseconds: 7)
            try run.step(choice)
        }
        guard !run.disk.hasCrashed else { throw run.fail("crashed too early") }
        run.disk.faults.crashAfterCalls = call
        run.disk.faults.crashKind = kind
        for choice in sequence where !run.disk.hasCrashed { try run.step(choice) }
        let isReached = run.disk.hasCrashed
        if isReached { try run.recover() }
        try run.end()
        return isReached
    }
}
