import Foundation
import TestSupport
import Testing

@Suite struct ExhaustiveTests {
    private func check(_ traces: ExhaustiveTraces) {
        print("exhaustive: \(traces.counts.text)")
        for failure in traces.counts.failures.prefix(3) { Issue.record("\(failure)") }
        #expect(traces.counts.failures.isEmpty)
    }

    /// One operation here, two at a larger scale; `Deploy/simulate --traces N` goes further.
    @Test func everyShortLifeSurvivesEveryPowerCut() throws {
        let wanted = ProcessInfo.processInfo.environment["SIMULATION_TRACES"].flatMap { Int($0) }
        let traces =
            wanted == nil
            ? ExhaustiveTraces(startStride: 16, subsetsMax: 5) : ExhaustiveTraces()
        try traces.run(length: wanted ?? min(2, testScale))
        check(traces)
        #expect(traces.counts.starts > 100)
    }

    @Test(arguments: [Mutation.skipsSync, .skipsDirectorySync, .skipsSnapshotSync])
    func aBrokenSystemIsSeenInAShortLife(_ mutation: Mutation) throws {
        let traces = ExhaustiveTraces(startStride: 16, subsetsMax: 5, mutation: mutation)
        try traces.run(length: 2)
        print("\(mutation): \(traces.counts.text)")
        #expect(!traces.counts.failures.isEmpty)
    }
}
